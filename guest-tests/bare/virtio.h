/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A driver for virtio over PCI, modern only, with split rings: as little as drives a device.
 * Owns: the rings, in RAM from VIRTIO_HEAP_GPA on; one vector for each queue and one for config of each device.
 * Threads: vCPU 0; interrupt handlers only count.
 * Units: GPA = address; bytes.
 * Errors: what a device may not do fails the guest.
 * Source: virtio 1.2, chapters 2, 3 and 4.1. An example:
 *
 *	virtio_open(&dev, 4, 0);
 *	virtq_add(&dev.queue[0], buffers, nread, nwrite, request);
 *	virtq_kick(&dev.queue[0]);
 *	request = virtq_wait(&dev.queue[0], &bytes);
 */
#ifndef BARE_VIRTIO_H
#define BARE_VIRTIO_H
#include "rt.h"

#define VIRTIO_INDIRECT	 (1ull << 28)
#define VIRTIO_EVENT_IDX (1ull << 29)
#define VIRTIO_VERSION_1 (1ull << 32)

#define VIRTIO_ACKNOWLEDGE 1
#define VIRTIO_DRIVER	   2
#define VIRTIO_DRIVER_OK   4
#define VIRTIO_FEATURES_OK 8
#define VIRTIO_NEEDS_RESET 0x40
#define VIRTIO_FAILED	   0x80

#define VIRTQ_NEXT     1
#define VIRTQ_WRITE    2
#define VIRTQ_IS_TABLE 4

#define VIRTIO_HEAP_GPA	  0x400000ul
#define VIRTIO_MAX_QUEUES 18
#define VIRTQ_MAX_SIZE	  256
#define VIRTQ_MAX_BUFFERS 16 /* of a chain */
#define VIRTIO_NO_VECTOR  0xffff

enum virtio_irq { VIRTIO_POLL, VIRTIO_INTX, VIRTIO_MSIX };

struct virtq_desc {
	uint64_t gpa;
	uint32_t bytes;
	uint16_t flags, next;
};
struct virtq_ring_avail {
	uint16_t flags, idx, ring[];
};
struct virtq_ring_used {
	uint16_t flags, idx;
	struct {
		uint32_t id, bytes;
	} ring[];
};

struct virtio_common {
	uint32_t offered_select, offered, accepted_select, accepted;
	uint16_t config_vector, nqueues;
	uint8_t status, generation;
	uint16_t queue_select, queue_size, queue_vector, queue_enable, queue_notify_off;
	uint32_t queue_desc[2], queue_avail[2], queue_used[2]; /* low, high */
};

struct virtio_dev;
struct virtq {
	struct virtio_dev *dev;
	uint16_t index, size;
	struct virtq_desc *desc;
	struct virtq_desc (*table)[VIRTQ_MAX_BUFFERS]; /* an indirect one for each head */
	volatile struct virtq_ring_avail *avail;
	volatile struct virtq_ring_used *used;
	volatile uint16_t *notify;
	void **token;	      /* of the chain that begins with each descriptor */
	uint16_t free, nfree; /* descriptors, linked by next */
	uint16_t seen;	      /* of used */
	uint16_t nadded;      /* behind avail->idx */
	uint16_t kicked;      /* avail->idx when the device was kicked last */
	volatile uint64_t irqs;
};

struct virtio_dev {
	uint32_t slot;
	volatile struct virtio_common *common;
	volatile uint8_t *isr;
	volatile uint8_t *config;
	uint64_t features; /* negotiated */
	uint16_t nqueues;
	enum virtio_irq irq;
	volatile uint64_t intx, config_irqs;
	uint8_t cap_common, cap_pci_cfg;
	uint64_t notify_gpa;
	uint32_t notify_multiplier;
	struct virtq queue[VIRTIO_MAX_QUEUES];
};

struct virtq_buffer {
	void *at;
	uint32_t bytes;
};

/* Config space of function 0 of a slot; all ones: nobody there. */
uint32_t pci_read(uint32_t slot, uint32_t offset, uint32_t bytes);
void pci_write(uint32_t slot, uint32_t offset, uint32_t bytes, uint32_t value);
/* Moves a memory BAR, decoding off meanwhile, and maps it. */
void pci_move_bar(uint32_t slot, uint32_t bar, uint64_t gpa);
uint64_t pci_bar_gpa(uint32_t slot, uint32_t bar);

/* RAM that nobody gives back; zeroed, aligned to 4096. */
void *virtio_alloc(uint64_t bytes);
/* The nth device with this virtio ID: maps its BARs, touches nothing else. False: there is none. */
bool virtio_find(struct virtio_dev *dev, uint16_t id, uint32_t nth);
/* Where its registers are, anew after a BAR was moved. */
void virtio_map(struct virtio_dev *dev);
/* Writes 0 to status and waits for it. */
void virtio_reset(struct virtio_dev *dev);
/* From reset to DRIVER_OK, with those of the wanted features that are offered; VERSION_1 always.
 * The caller has called irq_init() unless it polls. */
void virtio_init(struct virtio_dev *dev, uint64_t wanted, enum virtio_irq irq);
/* irq_init(), virtio_find() of the first one and virtio_init(), as the command line says: mode=poll, mode=intx or else
 * MSI-X; "indirect" and "event". All that is wanted has to be offered. */
void virtio_open(struct virtio_dev *dev, uint16_t id, uint64_t wanted);
uint64_t virtio_irqs(const struct virtio_dev *dev); /* of queue 0, or of the pin */
/* The steps of it, for those who do it in another way. */
void virtio_negotiate(struct virtio_dev *dev, uint64_t wanted, enum virtio_irq irq);
void virtio_ready(struct virtio_dev *dev);

/* Where the rings of the selected queue are. */
void virtio_set_rings(struct virtio_dev *dev, uint64_t desc, uint64_t avail, uint64_t used);

/* virtio-console: its queues with an agent's port, and its control messages. */
#define CONSOLE_MULTIPORT 2
enum { CONSOLE_RX, CONSOLE_TX, CONTROL_RX, CONTROL_TX, AGENT_RX, AGENT_TX };
enum { DEVICE_READY, PORT_ADD, PORT_READY = 3, CONSOLE_PORT, PORT_OPEN = 6, PORT_NAME };
struct console_control {
	uint32_t id;
	uint16_t event, value;
};
/* With the value 1. */
void console_say(struct virtio_dev *dev, uint32_t id, uint16_t event);

/* Puts a chain there, in an indirect table if that was negotiated and it has several buffers. The device does not see
 * it before virtq_kick(). The token comes back from virtq_get(). */
void virtq_add(struct virtq *q, const struct virtq_buffer *buffer, uint32_t nread, uint32_t nwrite,
	       void *token);
/* One buffer that the device writes to, which is its own token. */
void virtq_offer(struct virtq *q, void *data, uint32_t bytes);
/* Publishes what was added; tells the device if it wants to know. */
void virtq_kick(struct virtq *q);
/* The token of the next chain that the device has given back; NULL: none yet. */
void *virtq_get(struct virtq *q, uint32_t *bytes);
/* The same, waiting: for the interrupt unless the device is polled. */
void *virtq_wait(struct virtq *q, uint32_t *bytes);
/* virtq_offer() and virtq_kick(). */
void virtq_give(struct virtq *q, void *data, uint32_t bytes);
/* One buffer that the device reads, alone in its queue: returns when it has been taken. */
void virtq_send(struct virtq *q, void *data, uint32_t bytes);
#endif
