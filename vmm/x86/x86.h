/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/x86.h - shared by the files of vmm/x86/: the VM's x86 part and its saved state.
 * Owns: struct arch_vm its CPUID tables and boot files; struct arch_state its vCPU states.
 * Threads: main only, vCPUs paused.
 * Units: ns for kvmclock, cycles for TSC values and offsets.
 * Errors: 0 or -errno with one message. Documentation/virt/kvm/api.rst, devices/vcpu.rst. */
#ifndef VMM_X86_X86_H
#define VMM_X86_X86_H
#include "cpr/state.h"
#include "vmm/base/error.h"
#include "vmm/options.h"
#include "vmm/x86/boot.h"
#include "vmm/x86/cpuid.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct irq;

#define CPU_MAX_MSRS	512
#define CPU_CPUID_CELLS 7 /* function, index, flags, eax, ebx, ecx, edx */
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

struct arch_vm {
	struct boot_files files; /* open from the first arch_boot_check() on */
	bool cpuid_set;
	bool catch_up; /* the next resume lets kvmclock jump over the downtime */
	uint32_t xsave_bytes;
	struct clock_state clock;  /* snapshot of the last pause */
	struct kvm_pit_state2 pit; /* the same; with --machine pit=on */
	struct kvm_cpuid2 *cpuid[OPTIONS_MAX_CPUS];
};

/* arch.c */
bool cpu_has_tsc_deadline(const struct vm *vm);
/* For a boot or a reset, once: a loaded guest keeps the CPUID that it was saved with. */
int cpu_set_cpuids(struct vm *vm, struct error *err) must_check;

extern const struct state_desc *const cpu_state_table, *const irqchip_state_table,
							       *const clock_state_table;

/* cpu.c: one vCPU by its descriptor alone, so that it works for a vCPU of a temporary VM, too. */
int cpu_save(int kvm_fd, int vcpu_fd, uint32_t xsave_bytes, const struct kvm_cpuid2 *cpuid,
	     bool model, struct cpu_state *state, struct error *err) must_check;
void cpu_cpuid_from_state(const struct cpu_state *state, struct kvm_cpuid2 *cpuid);
struct kvm_cpuid2 *cpu_cpuid_new(void);
/* Load has parts: the VM's clock and interrupt controllers are loaded between them. */
int cpu_load_cpuid(int vcpu_fd, const struct kvm_cpuid2 *cpuid, struct error *err) must_check;
int cpu_load_system(int vcpu_fd, const struct cpu_state *state, struct error *err) must_check;
int cpu_load_execution(int vcpu_fd, const struct cpu_state *state, struct error *err) must_check;

/* msr.c. model: with the MSRs that describe the CPU; they are not part of a reset. */
int msr_save(int kvm_fd, int vcpu_fd, bool model, struct cpu_state *state,
	     struct error *err) must_check;
enum msr_when { MSR_NEVER, MSR_BEFORE_LAPIC, MSR_AFTER_LAPIC, MSR_LATE, MSR_LAST };
int msr_load(int vcpu_fd, const struct cpu_state *state, enum msr_when when,
	     struct error *err) must_check;
int msr_get(int vcpu_fd, uint32_t index, uint64_t *value) must_check;
int msr_set(int vcpu_fd, uint32_t index, uint64_t value) must_check;

/* irqchip.c. The PIT also has functions of its own: it is a clock, and stands still with the others. */
int pit_get(int vm_fd, struct kvm_pit_state2 *pit) must_check;
int pit_set(int vm_fd, const struct kvm_pit_state2 *pit) must_check;
int irqchip_create(struct irq *irq, bool pit, struct error *err) must_check;
int irqchip_save(int vm_fd, bool pit, struct irqchip_state *state, struct error *err) must_check;
int irqchip_load(int vm_fd, const struct irqchip_state *state, struct error *err) must_check;

/* clock.c, with the two of arch.h. */
int clock_restore(struct vm *vm, struct error *err) must_check;
uint64_t clock_downtime_ns(const struct clock_state *clock);
#endif
