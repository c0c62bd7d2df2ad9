/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/virtio_fixture.h - a fake virtio device in the rig, and its driver, register by register.
 * Owns: machine, device and guest RAM, from virtio_fixture_open() to virtio_fixture_close().
 * virtio 1.2, 3.1 and 4.1. */
#ifndef TESTS_RIG_VIRTIO_FIXTURE_H
#define TESTS_RIG_VIRTIO_FIXTURE_H
#include "devices/pci/pci.h"
#include "devices/virtio/virtio.h"
#include "tests/rig/device_rig.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define MIB	(1ull << 20)
#define SLOT	1u /* of the device */
#define GSI	17 /* of that slot */
#define QUEUES	3  /* 0 by ops->kick, 1 by its eventfd, 2 is not there */
#define SIZE	16
#define RING(q) (0x10000ull * ((q) + 1)) /* table; avail at + 0x1000, used at + 0x2000 */
#define FEATURE 7
#define CONFIG	8
#define ISR	0x1000
#define DEVICE	0x2000
#define NOTIFY	0x3000
#define READY                                                                                 \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | \
	 VIRTIO_CONFIG_S_DRIVER_OK)
#define VERSION_1 (1ull << VIRTIO_F_VERSION_1)

/* What the device was asked for, and how it answers. */
struct fake {
	uint32_t kicks, starts, stops, resets, config_offset, config_bytes, config_value;
	bool busy;	      /* does not stop */
	uint64_t deadline_ns; /* of the last stop */
	int call_fd;
	uint8_t config[CONFIG];
};
extern struct fake fake;
/* What KVM was given. */
struct ioeventfd {
	uint64_t gpa;
	int fd;
};
extern struct ioeventfd assigned[QUEUES];
extern uint64_t bar; /* where the registers are */

void virtio_fixture_open(void);
void virtio_fixture_close(void);
struct virtio *virtio(void);
struct virtio_state *state(void);
/* Config space. */
uint32_t config_read(uint32_t offset, uint32_t bytes);
void config_write(uint32_t offset, uint32_t bytes, uint32_t value);
void map_bars(bool on);
/* The BAR. */
uint64_t get(uint64_t offset, uint32_t size);
void set(uint64_t offset, uint32_t size, uint64_t value);
uint8_t status(void);
/* Returns what it reads as then. */
uint8_t set_status(uint8_t value);
void accept_features(uint64_t features);
void set_ring(uint32_t queue, uint64_t desc, uint64_t avail, uint64_t used);
void set_queue(uint32_t queue);
/* Up to FEATURES_OK, and all the way with both queues. */
void negotiate(uint64_t features);
void go(void);
/* Takes them. */
uint64_t kicks_of(uint32_t queue);
uint64_t msix_entry(uint32_t vector);
/* All vectors unmasked, each with 100 more than its number as data. */
void use_msix(void);
uint32_t last_msi(void);
#endif
