/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/irq.h - interrupt lines of the in-kernel interrupt controllers.
 * Owns: nothing but the VM descriptor's number.
 * Threads: any.
 * Units: GSI: 0-15 reach PIC and IOAPIC, 16-23 the IOAPIC alone (KVM's default routing).
 * Errors: none that a device could act on: KVM_IRQ_LINE fails only for a wrong GSI, a bug, which
 *	is logged. Documentation/virt/kvm/api.rst, 4.25 KVM_IRQ_LINE. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H
#include <stdbool.h>
#include <stdint.h>

struct irq {
	int vm_fd;
};

/* Level of a line; an edge-triggered one wants true, then false. */
void irq_set(const struct irq *irq, uint32_t gsi, bool level);

/* A level-triggered line as its device drives it: KVM hears of changes only. */
struct irq_line {
	const struct irq *irq;
	uint32_t gsi;
	bool level;
};

/* The irqchip may have forgotten the line (reset, load): tells it, whatever we believe. */
static inline void irq_line_renew(struct irq_line *line, bool level)
{
	line->level = level;
	irq_set(line->irq, line->gsi, level);
}

static inline void irq_line_set(struct irq_line *line, bool level)
{
	if (level != line->level)
		irq_line_renew(line, level);
}
#endif
