/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/irq.h - interrupts into the guest: lines of the in-kernel controllers, MSIs, irqfds.
 * Owns: the table of routes; the VM descriptor is vm.c's.
 * Threads: any.
 * Units: GSIs 0-15 reach PIC and IOAPIC, 16-23 the IOAPIC alone, those of MSI routes follow.
 * Errors: lines and MSIs have none that a device could act on: KVM refuses only a wrong GSI, or an address of
 * no interrupt controller, which is the guest's fault and logged. Documentation/virt/kvm/api.rst, 4.25
 * KVM_IRQ_LINE, 4.52 KVM_SET_GSI_ROUTING, 4.71 KVM_SIGNAL_MSI, 4.75 KVM_IRQFD. */
#ifndef VMM_IRQ_H
#define VMM_IRQ_H
#include "vmm/arch.h"
#include "vmm/base/loop.h"
#include <linux/kvm.h>

#define IRQ_MAX_ROUTES 2048 /* 16 functions with 65 vectors each, and the queues of vhost */

struct irq_msi {
	uint64_t address;
	uint32_t data;
};

struct irq {
	int vm_fd;
	/* Routes of lines, from irqchip_create(); 0: KVM's defaults. */
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

/* Level of a line; an edge-triggered one needs true, then false. */
void irq_set(const struct irq *irq, uint32_t gsi, bool level);
/* On return the interrupt is in the local APIC: a pause cannot lose it. */
void irq_signal_msi(const struct irq *irq, const struct irq_msi *msi);

/* For back ends in the kernel (vhost, VFIO), which signal an eventfd: a GSI that is routed to an MSI. KVM sees
 * no change before irq_route_commit(): one ioctl for all of them. */
int irq_route_alloc(struct irq *irq, uint32_t *gsi, struct error *err) must_check;
void irq_route_free(struct irq *irq, uint32_t gsi);
void irq_route_set(struct irq *irq, uint32_t gsi, const struct irq_msi *msi);
int irq_route_commit(struct irq *irq, struct error *err) must_check;
/* From now on an event on fd raises the GSI; one that is pending does so at once. */
int irq_attach_fd(const struct irq *irq, uint32_t gsi, int fd, struct error *err) must_check;
/* The same for a line that stays high until the guest ends the interrupt. KVM signals that to resample_fd; a
 * device that still has a reason asserts the line again. */
int irq_attach_level_fd(const struct irq *irq, uint32_t gsi, int fd, int resample_fd,
			struct error *err) must_check;
void irq_detach_fd(const struct irq *irq, uint32_t gsi, int fd);

/* A level-triggered line as its device drives it: KVM is called on changes only. */
struct irq_line {
	const struct irq *irq;
	uint32_t gsi;
	bool level;
};

/* Calls KVM even without a change: a reset or a load may have changed the irqchip's level. */
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

/* MSI and MSI-X vectors that the kernel (vhost, VFIO) raises by an eventfd (irq_vector.c). While the guest has a
 * vector unmasked, KVM takes the eventfd (irqfd). Otherwise the event loop serves it, or events wait in it.
 *
 * Life of a vector: its owner fills fd. When masks or messages may have changed, irq_vector_set() for each
 * vector concerned, then one irq_vectors_commit() for all of them: each change of KVM's routes costs a
 * grace period. irq_vector_release() before the owner closes fd. All with the device's lock held.
 * Failure: a vector that gets no route or irqfd is served as if it were masked, one message is logged, and
 * the next set and commit try again. */
struct irq_vector {
	int fd;		    /* the owner's non-blocking eventfd; -1: none */
	void *opaque;	    /* of the fallback */
	uint32_t gsi;	    /* its route; 0: it has not been unmasked yet */
	struct irq_msi msi; /* what the route sends */
	bool unmasked;	    /* by the last set */
	bool changed;	    /* the route is not in KVM yet */
	bool attached;	    /* KVM takes fd */
	bool in_loop;
};

/* The vectors of one device. */
struct irq_vectors {
	struct irq *irq;
	const char *name; /* of the device, for messages */
	struct irq_vector *vector;
	/* Serves fd, with this lock held, while KVM does not. NULL: events wait in fd. */
	loop_fn fallback;
	struct loop *loop;
	pthread_mutex_t *lock;
};

/* From the next commit on the vector sends msi; NULL: it is masked. */
void irq_vector_set(struct irq_vectors *vectors, uint32_t i, const struct irq_msi *msi);
/* For vectors first to end - 1. */
void irq_vectors_commit(struct irq_vectors *vectors, uint32_t first, uint32_t end);
/* Takes fd from KVM and the loop, and frees the route. */
void irq_vector_release(struct irq_vectors *vectors, uint32_t i);
/* As the kernel raises it. */
void irq_vector_raise(const struct irq_vector *vector);
/* Without a fallback: it was raised and not sent. */
bool irq_vector_pending(const struct irq_vector *vector);
#endif
