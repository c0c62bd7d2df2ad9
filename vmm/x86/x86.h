/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/x86.h - shared by the files of vmm/x86/: the guest's physical addresses, the VM's x86 part and its saved
 * state.
 * Owns: struct arch_vm its CPUID tables and boot files; struct arch_state its vCPU states.
 * Threads: main only, vCPUs paused.
 * Units: GPAs and bytes; ns for kvmclock, cycles for TSC values and offsets.
 * Errors: 0 or -errno with one message. Documentation/virt/kvm/api.rst, devices/vcpu.rst. */
#ifndef VMM_X86_X86_H
#define VMM_X86_X86_H
#include "cpr/state.h"
#include "ram/ram.h"
#include "vmm/arch.h"
#include "vmm/base/error.h"
#include "vmm/options.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct irq;

/* Every guest physical address that the VMM chooses; ports and IRQs of devices are in their headers. ACPI 6.4, 15
 * "System Address Map Interfaces". */

/* Below 640 KiB: structures that the kernel reads once at its entry; ordinary RAM afterwards. */
#define LAYOUT_GDT_GPA	       0x500UL
#define LAYOUT_START_INFO_GPA  0x6000UL /* PVH: hvm_start_info, module list, memory map */
#define LAYOUT_BOOT_PARAMS_GPA 0x7000UL /* bzImage: the "zero page" */
#define LAYOUT_BOOT_STACK_GPA  0x8ff0UL /* grows down; neither protocol requires a stack */
#define LAYOUT_PAGE_TABLES_GPA 0x9000UL /* PML4, PDPT and four page directories: 4 GiB */
#define LAYOUT_CMDLINE_GPA     0x20000UL
#define LAYOUT_CMDLINE_BYTES   0x10000UL

/* 640 KiB to 1 MiB. */
#define LAYOUT_EBDA_GPA	      0x9fc00UL
#define LAYOUT_VGA_GPA	      0xa0000UL
#define LAYOUT_BIOS_GPA	      0xe0000UL /* where the RSDP is searched: ACPI 6.4, 5.2.5.1 */
#define LAYOUT_ACPI_GPA	      LAYOUT_BIOS_GPA
#define LAYOUT_ACPI_BYTES     0x10000UL
#define LAYOUT_KERNEL_MIN_GPA 0x100000UL /* neither kernel nor initrd is lower */

/* RAM: from 0 to the PCI hole, and the rest from 4 GiB. The hole has room for ECAM and 32-bit BARs below the
 * interrupt controllers. */
#define LAYOUT_LOW_RAM_END_GPA 0xc0000000UL
#define LAYOUT_HIGH_RAM_GPA    0x100000000UL
#define LAYOUT_PCI_ECAM_GPA    0xc0000000UL
#define LAYOUT_PCI_ECAM_BYTES  0x100000UL /* bus 0 alone */
#define LAYOUT_PCI_MMIO32_GPA  0xd0000000UL
#define LAYOUT_IOAPIC_GPA      0xfec00000UL
#define LAYOUT_LAPIC_GPA       0xfee00000UL
#define LAYOUT_PCI_PIO_PORT    0xc000UL /* ports; all above are I/O BARs' */
#define LAYOUT_PCI_PIO_BYTES   0x4000UL
/* KVM_SET_IDENTITY_MAP_ADDR takes one page, KVM_SET_TSS_ADDR three: only Intel CPUs without
 * unrestricted guests use them. */
#define LAYOUT_IDENTITY_MAP_GPA 0xfffbc000UL
#define LAYOUT_TSS_GPA		0xfffbd000UL
#define LAYOUT_KVM_END_GPA	0xfffc0000UL

#define CPUID_MAX_ENTRIES 256
#define CPU_MAX_MSRS	  512
#define CPU_CPUID_CELLS	  7 /* function, index, flags, eax, ebx, ecx, edx */
/* x87, SSE, AVX, AVX-512 and PKRU take 2696 bytes; KVM gives no less than one page. */
#define CPU_MAX_XSAVE 8192

/* One vCPU. KVM's structs are saved as they are: its ABI never changes them. */
struct cpu_state {
	uint64_t msrs[2 * CPU_MAX_MSRS]; /* index, value, index, value ... */
	uint8_t regs[sizeof(struct kvm_regs)];
	uint8_t sregs2[sizeof(struct kvm_sregs2)];
	uint8_t xsave[CPU_MAX_XSAVE];
	uint8_t xcrs[sizeof(struct kvm_xcrs)];
	uint8_t lapic[sizeof(struct kvm_lapic_state)];
	uint8_t events[sizeof(struct kvm_vcpu_events)];
	uint8_t debugregs[sizeof(struct kvm_debugregs)];
	uint32_t cpuid[CPU_CPUID_CELLS * CPUID_MAX_ENTRIES];
	uint32_t nmsrs, ncpuid, nxsave; /* elements used */
	uint32_t mp_state;
	uint32_t tsc_khz; /* rate of the guest's TSC */
	uint32_t id;
};

/* In-kernel interrupt controllers and timer. */
struct irqchip_state {
	uint8_t pic0[sizeof(struct kvm_pic_state)];
	uint8_t pic1[sizeof(struct kvm_pic_state)];
	uint8_t ioapic[sizeof(struct kvm_ioapic_state)];
	uint8_t pit[sizeof(struct kvm_pit_state2)];
	uint32_t has_pit;
};

/* All clocks at the instant when the vCPUs had stopped. */
struct clock_state {
	uint64_t kvmclock_ns;
	uint64_t host_tsc;
	uint64_t realtime_ns;		       /* host wall clock */
	uint64_t tsc[OPTIONS_MAX_CPUS];	       /* guest TSC of each vCPU */
	uint64_t tsc_offset[OPTIONS_MAX_CPUS]; /* guest TSC - host TSC, as KVM keeps it */
	uint32_t ntsc, noffsets;	       /* noffsets is 0 where KVM has no such attribute */
	uint32_t tsc_khz;		       /* host TSC */
	uint32_t valid;			       /* 0: the guest has not run yet */
};

struct arch_state {
	uint32_t nvcpus;
	struct irqchip_state irqchip;
	struct clock_state clock;
	struct cpu_state cpu[];
};

/* How the first vCPU enters the kernel. */
struct boot_entry {
	bool long_mode; /* 64-bit mode with paging; else 32-bit protected mode without */
	uint64_t rip, rsp;
	uint64_t rsi; /* bzImage: boot_params */
	uint64_t rbx; /* PVH: hvm_start_info */
};

struct boot_file {
	const char *path;
	int fd; /* -1: none */
	uint64_t size_bytes;
};
struct boot_files {
	struct boot_file kernel, initrd;
};
#define BOOT_FILES_NONE                          \
	{                                        \
		.kernel.fd = -1, .initrd.fd = -1 \
	}

struct arch_vm {
	/* Open from the first arch_boot_check() on: a reset finds the kernel that the guest was booted with, even if
	 * its file has been removed. */
	struct boot_files files;
	bool cpuid_set;
	bool catch_up; /* the next resume lets kvmclock jump over the downtime */
	uint32_t xsave_bytes;
	struct clock_state clock;  /* snapshot of the last pause */
	struct kvm_pit_state2 pit; /* the same; with --machine pit=on */
	struct kvm_cpuid2 *cpuid[OPTIONS_MAX_CPUS];
};

extern const struct state_desc *const clock_state_table;

/* msr.c. model: with the MSRs that describe the CPU; they are not part of a reset. */
int msr_save(int kvm_fd, int vcpu_fd, bool model, struct cpu_state *state,
	     struct error *err) must_check;
enum msr_when { MSR_NEVER, MSR_BEFORE_LAPIC, MSR_AFTER_LAPIC, MSR_LATE, MSR_LAST };
int msr_load(int vcpu_fd, const struct cpu_state *state, enum msr_when when,
	     struct error *err) must_check;
int msr_get(int vcpu_fd, uint32_t index, uint64_t *value) must_check;
int msr_set(int vcpu_fd, uint32_t index, uint64_t value) must_check;

/* arch.c. For a machine, or a temporary VM. */
int irqchip_create(struct irq *irq, bool pit, struct error *err) must_check;

/* clock.c, with those of arch.h. */
int clock_restore(struct vm *vm, struct error *err) must_check;

/* boot.c: from --kernel, --initrd and --append to a guest that can enter its kernel. */

/* Opens the files unless they are open, reads their headers and checks that everything fits; touches no RAM.
 * On failure files is unchanged. */
int boot_check(struct boot_files *files, const struct options *opt, uint64_t ram_size_bytes,
	       struct error *err) must_check;
/* Repeats boot_check(), then writes everything into guest RAM; for each boot and each reset. pci: NULL if the
 * machine has none. */
int boot_place(struct vm *vm, struct boot_files *files, const struct arch_pci_layout *pci,
	       struct boot_entry *entry, struct error *err) must_check;
void boot_files_close(struct boot_files *files);
/* sregs: as KVM gives them for a vCPU after power-on; regs: written in full. */
void boot_set_registers(const struct boot_entry *entry, struct kvm_sregs2 *sregs,
			struct kvm_regs *regs);

/* acpi.c: the tables at LAYOUT_ACPI_GPA: RSDP (first), XSDT, FADT, FACS, MADT and the DSDT of dsdt.asl; with PCI MCFG
 * and the SSDTs of pci.asl and pci64.asl; with S3 the SSDT of s3.asl. ACPI 6.4, chapter 5. */

/* pci: NULL if the machine has none. */
int acpi_write(const struct ram *ram, uint32_t nvcpus, const struct arch_pci_layout *pci, bool s3,
	       struct error *err) must_check;
/* GPA at which the guest wants to be entered in real mode after S3; 0: none that is possible. */
uint32_t acpi_waking_vector(const struct ram *ram);

/* cpuid.c: the CPU that the guest sees: what KVM supports, as far as its state can be saved. Any thread. Intel SDM
 * volume 2A "CPUID", AMD APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.rst. */

/* out: room for CPUID_MAX_ENTRIES. The result is vCPU 0's; cpuid_topology() adapts it to another vCPU. */
int cpuid_build(int kvm_fd, uint32_t nvcpus, struct kvm_cpuid2 *out, bool has_tsc_deadline,
		struct error *err) must_check;
/* cpuid_build() without the ioctl. io: in what KVM supports, out what the guest gets. */
void cpuid_filter(struct kvm_cpuid2 *io, uint32_t nvcpus, bool has_tsc_deadline);
/* One socket, nvcpus cores, one thread each; APIC id = vcpu_id. May be applied again. */
void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t vcpu_id, uint32_t nvcpus);
/* Can a saved CPU run on this host? host: from cpuid_build(). Topology, and what KVM computes while the guest
 * runs, are not compared; the host may offer more. */
int cpuid_compare(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host,
		  struct error *err) must_check;
#endif
