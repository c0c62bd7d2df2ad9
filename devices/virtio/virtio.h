/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio.h - virtio devices over PCI: features, status, queues, device config, notifications.
 * A device is its config, its features and its queue handlers.
 *
 * Life of a device:
 *	attach: the device fills struct virtio, virtio_attach() makes eventfds and the PCI function
 *	the driver negotiates features, sets up queues and DRIVER_OK: start(), each queue is kicked
 *	a kick (ioeventfd to kick_fd, or kick()): the handler pops chains, works, pushes, virtio_used()
 *	pause: stop() waits for chains in flight up to a deadline; ring indices go into the state
 *	resume, here or after a load: start(), each queue is kicked and signalled once
 *	detach: what can be stopped at once is stopped, then the PCI function and the eventfds go
 * When something fails:
 *	the driver breaks a rule: virtio_broken(), DEVICE_NEEDS_RESET, queues rest until its reset
 *	the driver resets with requests in flight: status reads as not 0 until they have ended
 *	stop() misses its deadline: it returns -ETIMEDOUT and the device goes on
 * Lock order: the PCI bus's (config space); dev->lock; a device's own (the disk's io.lock); isr_lock;
 *	last the locks of vectors and INTx lines.
 *
 * Owns: struct virtio is the first member of the device's struct, struct virtio_state the first
 *	of its state; the eventfds of queues belong to the core.
 * Threads: start, stop, reset, kick, config_write run with dev->lock held. A device with a thread of
 *	its own for queues hands them over in start and has them back after stop. virtio_signal(),
 *	virtio_used(), virtio_broken(): any thread.
 * Errors: a driver's fault sets DEVICE_NEEDS_RESET on this device alone. virtio 1.2, chapters 2
 *	and 3, 4.1 "Virtio Over PCI Bus". Legacy and packed rings are not offered. */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H
#include "devices/pci/pci.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/irq.h"
#include <stdatomic.h>

#define VIRTIO_MAX_QUEUES 18
#define VIRTIO_NAME_BYTES 16

/* Everything the driver can observe of virtio itself. */
struct virtio_state {
	uint64_t offered;  /* features of the device, as this guest was offered them */
	uint64_t accepted; /* features that the driver took */
	uint64_t queue_desc[VIRTIO_MAX_QUEUES];
	uint64_t queue_avail[VIRTIO_MAX_QUEUES];
	uint64_t queue_used[VIRTIO_MAX_QUEUES];
	uint16_t queue_size[VIRTIO_MAX_QUEUES];
	uint16_t queue_enable[VIRTIO_MAX_QUEUES];
	uint16_t queue_vector[VIRTIO_MAX_QUEUES];
	uint16_t queue_last_avail[VIRTIO_MAX_QUEUES];
	uint16_t queue_next_used[VIRTIO_MAX_QUEUES];
	uint32_t offered_select, accepted_select;
	uint16_t queue_select, config_vector;
	uint8_t status, isr, generation;
	uint8_t nqueues;
	struct pci_state pci;
};
_Static_assert(sizeof(struct virtio_state) % 8 == 0, "a device's own members follow");

#define VIRTIO_STATE_ROWS(F, A, V, T)      \
	F(T, virtio.offered)               \
	F(T, virtio.accepted)              \
	F(T, virtio.queue_desc)            \
	F(T, virtio.queue_avail)           \
	F(T, virtio.queue_used)            \
	F(T, virtio.queue_size)            \
	F(T, virtio.queue_enable, ST_BOOL) \
	F(T, virtio.queue_vector)          \
	F(T, virtio.queue_last_avail)      \
	F(T, virtio.queue_next_used)       \
	F(T, virtio.offered_select)        \
	F(T, virtio.accepted_select)       \
	F(T, virtio.queue_select)          \
	F(T, virtio.config_vector)         \
	F(T, virtio.status)                \
	F(T, virtio.isr)                   \
	F(T, virtio.generation)            \
	F(T, virtio.nqueues)               \
	PCI_STATE_ROWS(F, A, V, T, virtio.pci)

struct virtio;

struct virtio_ops {
	uint16_t id;	     /* virtio device ID: 1 net, 2 block, 3 console, 4 entropy, 19 vsock */
	uint32_t class_code; /* of the PCI function */
	/* The driver has added to the queue. NULL, or a queue that is by_fd: kicks arrive on kick_fd. */
	void (*kick)(struct virtio *v, uint32_t queue);
	/* DRIVER_OK and bus master, or the guest goes on: enabled queues are in virtio->queue[].q. The core
	 * kicks each of them afterwards. May be NULL. */
	void (*start)(struct virtio *v);
	/* On return no chain is in flight and only the caller uses the queues. -ETIMEDOUT at the
	 * deadline: the device goes on and stop may be called again. Deadline 0 has passed: stops if
	 * nothing is in flight. May be NULL. */
	int (*stop)(struct virtio *v, uint64_t deadline_ns, struct error *err);
	/* Resets the device's own state, at power-on and by the driver. May be NULL. */
	void (*reset)(struct virtio *v);
	/* The driver wrote `bytes` of device config at offset; NULL: read-only. */
	void (*config_write)(struct virtio *v, uint32_t offset, uint32_t bytes, uint32_t value);
};

struct virtio_queue {
	struct virtq q;
	uint16_t max_size; /* filled by the device: what is offered */
	bool by_fd;	   /* filled by the device: kicks arrive on kick_fd, ops->kick or not */
	bool running;	   /* between start and stop, and enabled */
	int kick_fd;	   /* eventfd, non-blocking; -1 if ops->kick takes it */
	uint64_t kick_gpa; /* of KVM's ioeventfd; 0: none */
	struct virtio *virtio;
};

struct virtio {
	struct device dev;
	/* Filled by the device before virtio_attach(). */
	const struct virtio_ops *ops;
	uint64_t features; /* what this host can offer; the core adds VERSION_1 and the ring's */
	uint32_t nqueues;
	void *config; /* device config, little endian, as the driver reads it. May be NULL */
	uint32_t config_bytes;

	struct virtio_queue queue[VIRTIO_MAX_QUEUES];
	struct irq_vector call[VIRTIO_MAX_QUEUES]; /* fd: of virtio_call_fd() */
	struct irq_vectors calls;
	struct pci_func pci;
	struct virtio_state *s; /* in the device's own */
	uint8_t cfg_cap;	/* offset of VIRTIO_PCI_CAP_PCI_CFG */
	bool started;		/* between ops->start and ops->stop */
	bool resetting;		/* the driver wrote 0 to status, requests are still in flight */
	/* The driver broke the rules: handlers leave the queues alone. Requests in flight may end. */
	atomic_bool broken;
	pthread_mutex_t
		isr_lock; /* keeps ISR and pin consistent; the pin's own lock is taken inside */
};

/* The core's part of device_ops: the device's own functions call these, or are these. */
int virtio_attach(struct virtio *v, struct vm *vm, struct error *err) must_check;
/* Stops if nothing is in flight, and closes the kick_fds: a thread that waits for them has ended
 * before. */
void virtio_detach(struct device *dev);
void virtio_reset(struct device *dev);
int virtio_pause(struct device *dev, uint64_t deadline_ns, struct error *err) must_check;
/* After the device's own comparison: if err has a message already, PCI's differences, which only follow from
 * it, are left out. */
int virtio_compare(struct device *dev, const void *saved, struct error *err) must_check;
int virtio_post_load(struct device *dev, struct error *err) must_check;
void virtio_resume(struct device *dev);
/* For check() of the device's state table. */
const char *virtio_check(const struct virtio_state *state);

static inline struct virtio *virtio_of(const struct device *dev)
{
	return container_of(dev, struct virtio, dev);
}

static inline bool virtio_has(const struct virtio *v, uint32_t feature)
{
	return v->s->accepted >> feature & 1;
}

/* The handler of a kick_fd calls it first. */
void virtio_take_kick(const struct virtio *v, uint32_t queue);
/* As if the driver had kicked: for a handler that ends its turn early. */
void virtio_kick(struct virtio *v, uint32_t queue);
/* Interrupts the driver for this queue, whether it asked for that or not. */
void virtio_signal(struct virtio *v, uint32_t queue);
/* Interrupts the driver if virtq_should_signal(); for the thread that serves the queue. */
void virtio_used(struct virtio *v, uint32_t queue);
/* Device config has changed: generation, ISR, interrupt. With dev->lock held, as config is. */
void virtio_config_changed(struct virtio *v);
/* The driver broke the rules: DEVICE_NEEDS_RESET and one line in the log. */
void virtio_broken(struct virtio *v, uint32_t queue, const char *why);

/* For back ends in the kernel: call_fd raises the queue's interrupt, by irqfd where the vector is
 * unmasked and MSI-X on, else through the main loop. Between start and stop. -1: none any more. */
void virtio_call_fd(struct virtio *v, uint32_t queue, int call_fd);

/* For a message about a feature bit of devices with this ID. */
const char *virtio_feature_name(uint16_t id, uint32_t bit);
#endif
