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
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <string.h>
#include <unistd.h>

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
static struct fake fake;
/* What KVM was given. */
static struct ioeventfd {
	uint64_t gpa;
	int fd;
} assigned[QUEUES];
static uint64_t bar; /* where the registers are */

struct fake_state {
	struct virtio_state virtio;
};
#define FAKE_STATE(F, A, V, T) VIRTIO_STATE_ROWS(F, A, V, T)

static inline const char *fake_check(const void *state)
{
	return virtio_check(&((const struct fake_state *)state)->virtio);
}
STATE_DEFINE(fake_state, FAKE_STATE, "fake", fake_check);

struct fake_device {
	struct virtio virtio;
	struct fake_state s;
};

int __wrap_ioctl(int fd, unsigned long request, ...);
int __wrap_ioctl(int fd, unsigned long request, ...)
{
	const struct kvm_ioeventfd *io;
	va_list list;

	ck_assert_uint_eq(request, KVM_IOEVENTFD);
	va_start(list, request);
	io = va_arg(list, const struct kvm_ioeventfd *);
	va_end(list);
	ck_assert_uint_eq(io->len, 0);
	for (struct ioeventfd *a = assigned; a < assigned + QUEUES; a++) {
		if (io->flags & KVM_IOEVENTFD_FLAG_DEASSIGN ? a->gpa == io->addr : !a->gpa) {
			*a = (struct ioeventfd){io->addr, io->fd};
			if (io->flags & KVM_IOEVENTFD_FLAG_DEASSIGN)
				a->gpa = 0;
			return 0;
		}
	}
	ck_abort_msg("an ioeventfd too many, or one that is not there");
	return -1;
}

static inline void fake_kick(struct virtio *v, uint32_t queue)
{
	ck_assert_uint_eq(queue, 0);
	fake.kicks++;
}

static inline void fake_start(struct virtio *v)
{
	fake.starts++;
	if (fake.call_fd >= 0)
		virtio_call_fd(v, 1, fake.call_fd);
}

static inline int fake_stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	fake.deadline_ns = deadline_ns;
	if (fake.busy)
		return error_set(err, -ETIMEDOUT, "busy");
	fake.stops++;
	if (fake.call_fd >= 0)
		virtio_call_fd(v, 1, -1);
	return 0;
}

static inline void fake_reset(struct virtio *v)
{
	fake.resets++;
}

static inline void fake_config_write(struct virtio *v, uint32_t offset, uint32_t bytes,
				     uint32_t value)
{
	ck_assert_uint_le(offset + bytes, CONFIG);
	fake.config_offset = offset;
	fake.config_bytes = bytes;
	fake.config_value = value;
}

static inline int fake_attach(struct device *dev, struct vm *vm, struct error *err)
{
	static const struct virtio_ops ops = {
		.id = 42,
		.class_code = 0xff0000,
		.kick = fake_kick,
		.start = fake_start,
		.stop = fake_stop,
		.reset = fake_reset,
		.config_write = fake_config_write,
	};
	struct fake_device *d = container_of(dev, struct fake_device, virtio.dev);
	struct virtio *v = &d->virtio;

	v->ops = &ops;
	v->features = 1ull << FEATURE;
	v->nqueues = QUEUES;
	v->queue[0].max_size = v->queue[1].max_size = SIZE;
	v->queue[1].by_fd = true;
	v->config = fake.config;
	v->config_bytes = CONFIG;
	return virtio_attach(v, vm, err);
}

/* As the VM ends: KVM is asked to take off none of its ioeventfds, which end with it. */
static inline void fake_detach(struct device *dev)
{
	const struct ioeventfd before = assigned[0];

	virtio_detach(dev);
	ck_assert_uint_eq(assigned[0].gpa, before.gpa);
	memset(assigned, 0, sizeof(assigned));
}

static const struct device_ops fake_ops = {
	.type = "fake",
	.needs = &pci_host_ops,
	.state = &fake_state_desc,
	DEVICE_STRUCT(struct fake_device),
	.attach = fake_attach,
	.detach = fake_detach,
	.reset = virtio_reset,
	.pause = virtio_pause,
	.compare = virtio_compare,
	.post_load = virtio_post_load,
	.resume = virtio_resume,
};

/* The rig's own table: the others are not linked. */
const struct device_ops *const device_table[] = {&pci_host_ops, &fake_ops};
const uint32_t device_table_rows = 2;

static inline struct virtio *virtio(void)
{
	return virtio_of(rig.dev);
}

static inline struct virtio_state *state(void)
{
	return virtio()->s;
}

/* --- the driver */
/* Config space. */
static inline uint32_t config_read(uint32_t offset, uint32_t bytes)
{
	return (uint32_t)rig_mmio_read(RIG_ECAM + (SLOT << 15) + offset, bytes);
}

static inline void config_write(uint32_t offset, uint32_t bytes, uint32_t value)
{
	rig_mmio_write(RIG_ECAM + (SLOT << 15) + offset, bytes, value);
}

static inline void map_bars(bool on)
{
	config_write(PCI_COMMAND, 2, PCI_COMMAND_MASTER | (on ? PCI_COMMAND_MEMORY : 0));
}

/* The BAR. */
static inline uint64_t get(uint64_t offset, uint32_t size)
{
	return rig_mmio_read(bar + offset, size);
}

static inline void set(uint64_t offset, uint32_t size, uint64_t value)
{
	rig_mmio_write(bar + offset, size, value);
}

static inline uint8_t status(void)
{
	return (uint8_t)get(VIRTIO_PCI_COMMON_STATUS, 1);
}

/* Returns what it reads as then. */
static inline uint8_t set_status(uint8_t value)
{
	set(VIRTIO_PCI_COMMON_STATUS, 1, value);
	return status();
}

static inline void accept_features(uint64_t features)
{
	for (uint32_t half = 0; half < 2; half++) {
		set(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		set(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> (32 * half)));
	}
}

static inline void set_ring(uint32_t queue, uint64_t desc, uint64_t avail, uint64_t used)
{
	set(VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	set(VIRTIO_PCI_COMMON_Q_DESCLO, 4, (uint32_t)desc);
	set(VIRTIO_PCI_COMMON_Q_DESCHI, 4, desc >> 32);
	set(VIRTIO_PCI_COMMON_Q_AVAILLO, 4, (uint32_t)avail);
	set(VIRTIO_PCI_COMMON_Q_AVAILHI, 4, avail >> 32);
	set(VIRTIO_PCI_COMMON_Q_USEDLO, 4, (uint32_t)used);
	set(VIRTIO_PCI_COMMON_Q_USEDHI, 4, used >> 32);
	set(VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

static inline void set_queue(uint32_t queue)
{
	set_ring(queue, RING(queue), RING(queue) + 0x1000, RING(queue) + 0x2000);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
}

/* Up to FEATURES_OK, and all the way with both queues. */
static inline void negotiate(uint64_t features)
{
	set_status(0);
	accept_features(features);
	set_status(READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(status(), READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
}

static inline void go(void)
{
	negotiate(VERSION_1);
	set_queue(0);
	set_queue(1);
	ck_assert_uint_eq(set_status(READY), READY);
}

/* Takes them. */
static inline uint64_t kicks_of(uint32_t queue)
{
	uint64_t n = 0;

	(void)!read(virtio()->queue[queue].kick_fd, &n, sizeof(n));
	return n;
}

static inline uint8_t msix_cap(void)
{
	uint8_t at = (uint8_t)config_read(PCI_CAPABILITY_LIST, 1);

	while (config_read(at, 1) != PCI_CAP_ID_MSIX)
		at = (uint8_t)config_read(at + 1u, 1);
	return at;
}

static inline uint64_t msix_entry(uint32_t vector)
{
	return config_read(PCI_BASE_ADDRESS_0, 4) + 16ull * vector;
}

/* All vectors unmasked, each with 100 more than its number as data. */
static inline void use_msix(void)
{
	for (uint32_t i = 0; i <= QUEUES; i++) {
		rig_mmio_write(msix_entry(i), 4, 0xfee00000);
		rig_mmio_write(msix_entry(i) + 8, 4, 100 + i);
		rig_mmio_write(msix_entry(i) + 12, 4, 0);
	}
	config_write(msix_cap() + 2u, 2, PCI_MSIX_FLAGS_ENABLE);
	set(VIRTIO_PCI_COMMON_MSIX, 2, QUEUES);
	for (uint32_t i = 0; i < 2; i++) {
		set(VIRTIO_PCI_COMMON_Q_SELECT, 2, i);
		set(VIRTIO_PCI_COMMON_Q_MSIX, 2, i);
		ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_MSIX, 2), i);
	}
}

static inline uint32_t last_msi(void)
{
	if (!rig.nmsis)
		ck_abort_msg("no MSI was sent");
	return rig.msi[rig.nmsis < RIG_MSIS ? rig.nmsis - 1 : RIG_MSIS - 1].data;
}

static inline void virtio_fixture_open(void)
{
	struct error err = {""};

	memset(&fake, 0, sizeof(fake));
	memset(assigned, 0, sizeof(assigned));
	fake.call_fd = -1;
	rig_open();
	rig_ram(2 * MIB);
	ck_assert_int_eq(devices_attach(&rig.vm, &err), 0);
	devices_resume(&rig.vm);
	rig.dev = devices_find(&rig.vm, "fake0");
	map_bars(true);
	bar = config_read(PCI_BASE_ADDRESS_2, 4) & ~0xfull;
	bar |= (uint64_t)config_read(PCI_BASE_ADDRESS_3, 4) << 32;
}

static inline void virtio_fixture_close(void)
{
	fake.busy = false;
	rig_close();
}
#endif
