/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/irq.h - interrupts into the guest: lines of the in-kernel controllers, MSIs, irqfds.
 * Owns: the table of MSI routes; the VM descriptor is vm.c's.
 * Threads: any.
 * Units: GSI: 0-15 reach PIC and IOAPIC, 16-23 the IOAPIC alone, those of MSI routes come behind.
 * Errors: none that a device could act on for lines and MSIs: KVM fails only for a wrong GSI or
 *	for an address that is no interrupt controller's, which is the guest's fault and logged.
 *	Documentation/virt/kvm/api.rst, 4.25 KVM_IRQ_LINE, 4.52 KVM_SET_GSI_ROUTING,
 *	4.71 KVM_SIGNAL_MSI, 4.75 KVM_IRQFD. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H
#include "vmm/arch.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define IRQ_MAX_ROUTES 2048 /* 16 functions with 65 vectors each, and the queues of vhost */

struct irq_msi {
	uint64_t address;
	uint32_t data;
};

struct irq {
	int vm_fd;
	/* Of the lines; KVM's own until there are any. */
	struct kvm_irq_routing_entry line_route[ARCH_MAX_LINE_ROUTES];
	uint32_t nline_routes;
	pthread_mutex_t lock; /* leaf; guards the routes of MSIs */
	struct irq_route {
		bool used;
		struct irq_msi msi;
	} route[IRQ_MAX_ROUTES];
};

void irq_init(struct irq *irq, int vm_fd);
void irq_close(struct irq *irq);

/* Level of a line; an edge-triggered one wants true, then false. */
void irq_set(const struct irq *irq, uint32_t gsi, bool level);
/* On return the interrupt is in the local APIC: no pause can lose it. */
void irq_signal_msi(const struct irq *irq, const struct irq_msi *msi);

/* For back ends in the kernel (vhost, VFIO), which signal an eventfd: a GSI that stands for an MSI.
 * Nothing reaches KVM before irq_route_commit(): one ioctl for all that changed. */
int irq_route_alloc(struct irq *irq, uint32_t *gsi, struct error *err) must_check;
void irq_route_free(struct irq *irq, uint32_t gsi);
void irq_route_set(struct irq *irq, uint32_t gsi, const struct irq_msi *msi);
int irq_route_commit(struct irq *irq, struct error *err) must_check;
/* An event on fd from now on raises the GSI; one that is pending does so at once. */
int irq_attach_fd(const struct irq *irq, uint32_t gsi, int fd, struct error *err) must_check;
/* The same of a line that stays high until the guest has ended the interrupt, which KVM signals to
 * resample_fd: who has asserted it does so again if it still has reason to. */
int irq_attach_level_fd(const struct irq *irq, uint32_t gsi, int fd, int resample_fd,
			struct error *err) must_check;
void irq_detach_fd(const struct irq *irq, uint32_t gsi, int fd);

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
