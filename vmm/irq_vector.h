/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/irq_vector.h - MSI and MSI-X vectors that the kernel (vhost, VFIO) raises by an eventfd. While the guest
 * has a vector unmasked, KVM takes the eventfd (irqfd). Otherwise the event loop serves it, or events
 * wait in it.
 *
 * Life of a vector: its owner fills fd. When masks or messages may have changed, irq_vector_set() for each
 * vector concerned, then one irq_vectors_commit() for all of them: each change of KVM's routes costs a
 * grace period. irq_vector_release() before the owner closes fd.
 * Failure: a vector that gets no route or irqfd is served as if it were masked, one message is logged, and
 * the next set and commit try again.
 *
 * Threads: with the device's lock held. */
#ifndef VMM_IRQ_VECTOR_H
#define VMM_IRQ_VECTOR_H
#include "vmm/base/loop.h"
#include "vmm/irq.h"

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
