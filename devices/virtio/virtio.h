/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio.h - the virtio device core over modern virtio-pci: features, status, queues, device
 * config, notifications. A device is its config, its features and its queue handlers.
 * Owns: struct virtio is the first member of the device's host part, struct virtio_state the first
 *	of its state; the eventfds of queues belong to the core.
 * Threads: see devices/device.h for the callbacks: start, stop, reset, kick, config_write run with
 *	dev->lock held. A device whose queues are served by a thread of its own gives them away in
 *	start and has them back after stop. virtio_signal(), virtio_broken(): any thread.
 * Units: bytes; deadlines are clock_now_ns().
 * Errors: a driver's fault sets DEVICE_NEEDS_RESET on this device alone. virtio 1.2, chapters 2
 *	and 3, 4.1 "Virtio Over PCI Bus". Legacy and packed rings are not offered. */
#ifndef DEVICES_VIRTIO_VIRTIO_H
#define DEVICES_VIRTIO_VIRTIO_H
#include "devices/pci/pci.h"
#include "devices/virtio/virtqueue.h"
#include "vmm/irq_vector.h"
#include <stdatomic.h>

#define VIRTIO_MAX_QUEUES 18
#define VIRTIO_NAME_BYTES 16

/* Everything the driver can observe of the transport. */
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

#define VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, virtio.offered)          \
	F(T, virtio.accepted)         \
	F(T, virtio.queue_desc)       \
	F(T, virtio.queue_avail)      \
	F(T, virtio.queue_used)       \
	F(T, virtio.queue_size)       \
	F(T, virtio.queue_enable)     \
	F(T, virtio.queue_vector)     \
	F(T, virtio.queue_last_avail) \
	F(T, virtio.queue_next_used)  \
	F(T, virtio.offered_select)   \
	F(T, virtio.accepted_select)  \
	F(T, virtio.queue_select)     \
	F(T, virtio.config_vector)    \
	F(T, virtio.status)           \
	F(T, virtio.isr)              \
	F(T, virtio.generation)       \
	F(T, virtio.nqueues)          \
	PCI_STATE_ROWS(F, A, V, T, virtio.pci)

struct virtio_ops {
	uint16_t id;	     /* virtio device ID: 1 net, 2 block, 3 console, 4 entropy, 19 vsock */
	uint32_t class_code; /* of the PCI function */
	/* Queue handler: the driver has put something there. NULL, or a queue that is by_fd: it arrives
	 * on kick_fd instead. */
	void (*kick)(struct device *dev, uint32_t queue);
	/* The driver is ready and the function bus master, or the guest goes on: enabled queues are in virtio->queue[].q. The core
	 * kicks each of them afterwards. */
	void (*start)(struct device *dev);
	/* On return no chain is in the device's hands and nobody but the caller uses the queues. Fails
	 * with -ETIMEDOUT at the deadline, and the device goes on; so it may be asked again. A deadline
	 * of 0 is one that has passed: what can be stopped at once is stopped. May be NULL. */
	int (*stop)(struct device *dev, uint64_t deadline_ns, struct error *err);
	/* Of the device's own state, at power-on and at a reset by the driver. May be NULL. */
	void (*reset)(struct device *dev);
	/* The driver wrote `bytes` of device config at offset; NULL: read-only. */
	void (*config_write)(struct device *dev, uint32_t offset, uint32_t bytes, uint32_t value);
};

struct virtio_queue {
	struct virtq q;
	uint16_t max_size; /* filled by the device: what is offered */
	bool by_fd;   /* filled by the device: kicks arrive on kick_fd though there is ops->kick */
	bool running; /* between start and stop, and enabled */
	int kick_fd;  /* eventfd, non-blocking; -1 if ops->kick takes it */
	uint64_t kick_gpa; /* where KVM has its ioeventfd now; 0: nowhere */
	struct device *dev;
};

struct virtio {
	/* Filled by the device before virtio_attach(). */
	const struct virtio_ops *ops;
	uint64_t
		features; /* all that this host could offer; the core adds VERSION_1 and the ring's */
	uint32_t nqueues;
	void *config; /* little endian, as the driver reads it; core copies from here. May be NULL */
	uint32_t config_bytes;

	struct virtio_queue queue[VIRTIO_MAX_QUEUES];
	struct irq_vector call[VIRTIO_MAX_QUEUES]; /* fd: of virtio_call_fd() */
	struct irq_vectors calls;
	struct pci_func pci;
	struct device *dev;
	uint8_t cfg_cap; /* where the capability is that reaches BARs through config space */
	bool started;	 /* between ops->start and ops->stop */
	bool resetting;	 /* the driver has written 0 to status; what is in flight is waited for */
	/* The driver broke the rules: handlers leave the queues alone. What is in flight may end. */
	atomic_bool broken;
	pthread_mutex_t isr_lock; /* ISR and pin go together; the pin's own lock is taken inside */
};

/* The core's part of device_ops: the device's own functions call these, or are these. */
int virtio_attach(struct device *dev, struct vm *vm, struct error *err) must_check;
/* Stops what can be stopped at once and closes the kick_fds: who has a thread that waits for them
 * ends it before. */
void virtio_detach(struct device *dev);
void virtio_reset(struct device *dev);
int virtio_pause(struct device *dev, uint64_t deadline_ns, struct error *err) must_check;
/* Behind what the device itself has to say: with any of that in err, PCI's differences are left out,
 * which only follow from it. */
int virtio_compare(struct device *dev, const void *saved, struct error *err) must_check;
int virtio_post_load(struct device *dev, struct error *err) must_check;
void virtio_resume(struct device *dev);
/* For check() of the device's state table. */
const char *virtio_check(const struct virtio_state *state);

static inline bool virtio_has(const struct device *dev, uint32_t feature)
{
	return ((const struct virtio_state *)dev->state)->accepted >> feature & 1;
}

/* The handler of a kick_fd begins with it. */
void virtio_take_kick(struct device *dev, uint32_t queue);
/* As if the driver had kicked: for a handler that has done enough for one turn. */
void virtio_kick(struct device *dev, uint32_t queue);
/* Interrupts the driver for this queue, without looking whether it wants it. */
void virtio_signal(struct device *dev, uint32_t queue);
/* The same if virtq_should_signal(); for the thread that serves the queue. */
void virtio_used(struct device *dev, uint32_t queue);
/* Device config has changed: generation, ISR, interrupt. With dev->lock held, as config is. */
void virtio_config_changed(struct device *dev);
/* The driver broke the rules: DEVICE_NEEDS_RESET, one line in the log, and this device rests. */
void virtio_broken(struct device *dev, uint32_t queue, const char *why);

/* For back ends in the kernel: call_fd raises the queue's interrupt, by irqfd where the vector is
 * unmasked and MSI-X on, else through the main loop. Between start and stop. -1: no longer. */
void virtio_call_fd(struct device *dev, uint32_t queue, int call_fd);
#endif
