/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/virtio_driver.h - a guest of a few lines in the rig: finds a virtio device by its registers,
 * negotiates, and drives its queues.
 * Owns: guest RAM and all devices that rig.opt asks for, from virtio_guest_boot() to _end().
 * Threads: one; devices may have their own.
 * Units: addresses are GPAs; lengths are bytes. virtio 1.2, 3.1 and 4.1. */
#ifndef TESTS_RIG_VIRTIO_DRIVER_H
#define TESTS_RIG_VIRTIO_DRIVER_H
#include "devices/virtio/virtio.h"
#include "tests/rig/device_rig.h"
#include <linux/virtio_ring.h>

#define DRIVER_QUEUE_SIZE 64
#define DRIVER_RAM_BYTES  (8u << 20)
#define DRIVER_BUFFERS	  0x200000u /* RAM from here on is the test's */

struct driver {
	uint64_t common, isr, config, notify;
	uint32_t notify_step;
	uint16_t added[VIRTIO_MAX_QUEUES]; /* descriptors ever used: they go round */
	uint16_t seen[VIRTIO_MAX_QUEUES];  /* of the used ring */
};

struct driver_buffer {
	uint64_t gpa;
	uint32_t bytes;
};

void virtio_guest_boot(void);
/* Before rig_close(), which does the same. */
void virtio_guest_end(void);

/* The device becomes rig.dev. From reset to DRIVER_OK with those of these features that are offered, and VERSION_1. */
void driver_start(struct driver *drv, const char *device, uint64_t features);
void driver_reset(struct driver *drv);
uint64_t driver_offered(struct driver *drv);
/* Where a structure of the device is, by its capability, whose own member is extra; 0: its BAR is not mapped. */
uint64_t driver_structure(const struct virtio *v, uint8_t type, uint32_t *extra);
/* Memory decoding and bus mastering. */
void driver_enable_function(const struct virtio *v);
/* Empty rings of this size, which are not enabled yet. common: the GPA of that structure. */
void driver_set_rings(uint64_t common, uint32_t queue, uint32_t size);
/* The rings of a queue; its descriptor table comes first, available ring and used ring 4 KiB and 8 KiB on. */
uint64_t driver_ring_gpa(uint32_t queue);
struct vring_desc *driver_desc(uint32_t queue);
struct vring_avail *driver_avail(uint32_t queue);
struct vring_used *driver_used(uint32_t queue);
/* Makes the chain with this head available. */
void driver_offer(uint32_t queue, uint16_t head);
/* Adds a chain; returns its head. */
uint16_t driver_add(struct driver *drv, uint32_t queue, const struct driver_buffer *buffer,
		    uint32_t nread, uint32_t nwrite);
void driver_kick(struct driver *drv, uint32_t queue);
/* The next chain that is given back; false: none. */
bool driver_get(struct driver *drv, uint32_t queue, uint16_t *head, uint32_t *bytes);
/* The same, waited for. */
uint32_t driver_wait(struct driver *drv, uint32_t queue);
uint64_t driver_config(const struct driver *drv, uint32_t offset, uint32_t bytes);
/* ISR, which the read clears: 1 queues, 2 config. */
uint32_t driver_isr(const struct driver *drv);
uint32_t driver_status(const struct driver *drv);
void driver_set_status(const struct driver *drv, uint32_t status);
void *driver_ram(uint64_t gpa);
#endif
