/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/arch.h - the seam to the architecture: everything that knows x86 is behind these functions.
 * Owns: struct arch_vm (private to the arch) from arch_vm_create() to arch_vm_destroy();
 *	struct arch_state belongs to who allocated it.
 * Threads: main only, vCPUs paused, except arch_log_registers().
 * Units: ns for kvmclock, host TSC cycles for the snapshot.
 * Errors: 0 or -errno with one message. */
#ifndef VMM_ARCH_H
#define VMM_ARCH_H
#include "cpr/state.h"
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct vcpu;
struct arch_vm;	   /* irqchip, PIT, CPUID template, clock snapshot */
struct arch_state; /* all the guest can observe of vCPUs, irqchips and clock, as state structs */

extern const char arch_name[];

/* Interrupt lines take the GSIs below; MSIs of kernel back ends those from here on. */
#define ARCH_FIRST_MSI_GSI   24
#define ARCH_MAX_LINE_ROUTES 40

/* Where PCI lies in the guest's address spaces. */
struct arch_pci_layout {
	uint64_t ecam_gpa, ecam_bytes; /* one bus */
	uint64_t mmio32_gpa, mmio32_bytes;
	uint64_t mmio64_gpa, mmio64_bytes; /* 0 bytes: the CPU or RAM leaves no room */
	uint64_t pio_port, pio_bytes;
	uint64_t irqchip_gpa, irqchip_bytes; /* KVM's: no BAR lies here */
	uint32_t intx_gsi, nintx_gsis;	     /* pin A of slot n is on intx_gsi + n % nintx_gsis */
};
void arch_pci_layout(const struct vm *vm, struct arch_pci_layout *layout);

/* Memory layout only: which GPAs RAM takes. Called before memslots exist. */
int arch_ram_layout(struct vm *vm, struct error *err) must_check;
/* Interrupt controllers and timers; after the memslots (cheaper then), before the vCPUs. */
int arch_vm_create(struct vm *vm, struct error *err) must_check;
void arch_vm_destroy(struct vm *vm);
/* Opens and checks kernel and initrd without touching RAM, so that a wrong file is told at start. They
 * stay open for later resets. */
int arch_boot_check(const struct vm *vm, struct error *err) must_check;
/* Places kernel, initrd, command line and tables in RAM and sets the first vCPU on its entry. */
int arch_boot(struct vm *vm, struct error *err) must_check;
/* Puts vCPUs and interrupt controllers into the state of power-on; the clock goes on. */
int arch_reset(struct vm *vm, struct error *err) must_check;
/* After S3: the same, and the first vCPU enters the guest where it has asked for that. -EFAULT: it has
 * left no such place; nothing is changed. */
int arch_wake(struct vm *vm, struct error *err) must_check;
/* For the log when a vCPU cannot go on; on its own thread or with vCPUs paused. */
void arch_log_registers(const struct vcpu *vcpu);

/* Snapshot when vCPUs have stopped; restored by each resume, so that no downtime is seen. */
void arch_clock_stop(struct vm *vm);
void arch_clock_resume(struct vm *vm);

/* Checkpoint. The sections are walked for save, load, print and check alike. */
int arch_state_new(struct arch_state **state, uint32_t nvcpus, struct error *err) must_check;
void arch_state_free(struct arch_state *state);
/* Up to max sections ("cpu@0", "irqchip", "clock"); returns how many there are. */
uint32_t arch_state_sections(struct arch_state *state, struct state_section *section, uint32_t max);
int arch_state_save(struct vm *vm, struct arch_state *state, struct error *err) must_check;
/* Does this host offer what the state needs (CPUID bits, MSRs, XSAVE size)? Names what is missing.
 */
int arch_state_check(const struct vm *vm, const struct arch_state *state,
		     struct error *err) must_check;
/* Everything that does not write to guest RAM; may be tried again with another state. */
int arch_state_load(struct vm *vm, const struct arch_state *state, struct error *err) must_check;
/* After a load that failed: nothing of that guest is left for the next one. */
void arch_state_unload(struct vm *vm);
/* The rest, once the label says running: MSRs whose setting writes guest RAM. */
int arch_state_load_late(struct vm *vm, const struct arch_state *state,
			 struct error *err) must_check;
/* ns of host time since the state's clock was stopped, by host TSC; for reports. */
uint64_t arch_state_downtime_ns(const struct arch_state *state);
#endif
