/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/arch.h - the interface to the architecture: everything that knows x86 is behind these functions.
 * Owns: struct arch_vm (private to the architecture) from arch_vm_create() to arch_vm_destroy(); a struct
 * arch_state belongs to whoever allocated it.
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
struct arch_vm; /* irqchip, PIT, CPUID template, clock snapshot */
struct arch_state; /* everything that the guest can observe of vCPUs, interrupt controllers and clock */

extern const char arch_name[];

/* Interrupt lines use the GSIs below, MSIs of kernel back ends the ones from here on. */
#define ARCH_FIRST_MSI_GSI   24
#define ARCH_MAX_LINE_ROUTES 40

/* PCI in the guest's address spaces. */
struct arch_pci_layout {
	uint64_t ecam_gpa, ecam_bytes; /* one bus */
	uint64_t mmio32_gpa, mmio32_bytes;
	uint64_t mmio64_gpa, mmio64_bytes; /* 0 bytes: the CPU or RAM leaves no room */
	uint64_t pio_port, pio_bytes;
	uint64_t irqchip_gpa, irqchip_bytes; /* KVM uses it: no BAR may be there */
	uint32_t intx_gsi, nintx_gsis;	     /* pin A of slot n is on intx_gsi + n % nintx_gsis */
};
void arch_pci_layout(const struct vm *vm, struct arch_pci_layout *layout);

/* Which GPAs RAM takes. Called before there are memslots. */
int arch_ram_layout(struct vm *vm, struct error *err) must_check;
/* Interrupt controllers and timers; after the memslots, which is faster, and before the vCPUs. */
int arch_vm_create(struct vm *vm, struct error *err) must_check;
void arch_vm_destroy(struct vm *vm);
/* Opens and checks kernel and initrd without touching RAM: a wrong file is reported at start. The files stay
 * open for later resets. */
int arch_boot_check(const struct vm *vm, struct error *err) must_check;
/* Writes kernel, initrd, command line and tables to RAM and sets the first vCPU to its entry. */
int arch_boot(struct vm *vm, struct error *err) must_check;
/* Sets vCPUs and interrupt controllers to the state of power-on; the clock goes on. */
int arch_reset(struct vm *vm, struct error *err) must_check;
/* After S3: the same, and the first vCPU enters the guest at its waking vector. -EFAULT: there is none;
 * nothing is changed. */
int arch_wake(struct vm *vm, struct error *err) must_check;
/* For the log when a vCPU cannot go on; on its own thread, or with vCPUs paused. */
void arch_log_registers(const struct vcpu *vcpu);

/* Takes a snapshot when vCPUs have stopped; every resume restores it, so that the guest sees no downtime. */
void arch_clock_stop(struct vm *vm);
void arch_clock_resume(struct vm *vm);

/* Checkpoint. Save, load, check and --inspect walk the same sections. */
int arch_state_new(struct arch_state **state, uint32_t nvcpus, struct error *err) must_check;
void arch_state_free(struct arch_state *state);
/* Up to max sections ("cpu@0", "irqchip", "clock"); returns how many there are. */
uint32_t arch_state_sections(struct arch_state *state, struct state_section *section, uint32_t max);
int arch_state_save(struct vm *vm, struct arch_state *state, struct error *err) must_check;
/* Does this host offer what the state needs (CPUID bits, MSRs, XSAVE size)? Names what is missing.
 */
int arch_state_check(const struct vm *vm, const struct arch_state *state,
		     struct error *err) must_check;
/* Everything that does not write to guest RAM. May be repeated with another state. */
int arch_state_load(struct vm *vm, const struct arch_state *state, struct error *err) must_check;
/* After a failed load: removes what was loaded. */
void arch_state_unload(struct vm *vm);
/* After the label says running: MSRs that write guest RAM when they are set. */
int arch_state_load_late(struct vm *vm, const struct arch_state *state,
			 struct error *err) must_check;
/* ns of host time since the state's clock was stopped, by host TSC; for reports. */
uint64_t arch_state_downtime_ns(const struct arch_state *state);
#endif
