/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/virtio_fixture.h"
#include <linux/kvm.h>
#include <stdarg.h>
#include <unistd.h>

struct fake fake;
struct ioeventfd assigned[QUEUES];
uint64_t bar;

struct fake_state {
	struct virtio_state virtio;
};
#define FAKE_STATE(F, A, V, T) VIRTIO_STATE_ROWS(F, A, V, T)

static const char *fake_check(const void *state)
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

	(void)fd;
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

static void fake_kick(struct virtio *v, uint32_t queue)
{
	(void)v;
	ck_assert_uint_eq(queue, 0);
	fake.kicks++;
}

static void fake_start(struct virtio *v)
{
	fake.starts++;
	if (fake.call_fd >= 0)
		virtio_call_fd(v, 1, fake.call_fd);
}

static int fake_stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	fake.deadline_ns = deadline_ns;
	if (fake.busy)
		return error_set(err, -ETIMEDOUT, "busy");
	fake.stops++;
	if (fake.call_fd >= 0)
		virtio_call_fd(v, 1, -1);
	return 0;
}

static void fake_reset(struct virtio *v)
{
	(void)v;
	fake.resets++;
}

static void fake_config_write(struct virtio *v, uint32_t offset, uint32_t bytes, uint32_t value)
{
	(void)v;
	ck_assert_uint_le(offset + bytes, CONFIG);
	fake.config_offset = offset;
	fake.config_bytes = bytes;
	fake.config_value = value;
}

static int fake_attach(struct device *dev, struct vm *vm, struct error *err)
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
static void fake_detach(struct device *dev)
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

struct virtio *virtio(void)
{
	return virtio_of(rig.dev);
}

struct virtio_state *state(void)
{
	return virtio()->s;
}

/* --- the driver */
uint32_t config_read(uint32_t offset, uint32_t bytes)
{
	return (uint32_t)rig_mmio_read(RIG_ECAM + (SLOT << 15) + offset, bytes);
}

void config_write(uint32_t offset, uint32_t bytes, uint32_t value)
{
	rig_mmio_write(RIG_ECAM + (SLOT << 15) + offset, bytes, value);
}

void map_bars(bool on)
{
	config_write(PCI_COMMAND, 2, PCI_COMMAND_MASTER | (on ? PCI_COMMAND_MEMORY : 0));
}

uint64_t get(uint64_t offset, uint32_t size)
{
	return rig_mmio_read(bar + offset, size);
}

void set(uint64_t offset, uint32_t size, uint64_t value)
{
	rig_mmio_write(bar + offset, size, value);
}

uint8_t status(void)
{
	return (uint8_t)get(VIRTIO_PCI_COMMON_STATUS, 1);
}

uint8_t set_status(uint8_t value)
{
	set(VIRTIO_PCI_COMMON_STATUS, 1, value);
	return status();
}

void accept_features(uint64_t features)
{
	for (uint32_t half = 0; half < 2; half++) {
		set(VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		set(VIRTIO_PCI_COMMON_GF, 4, (uint32_t)(features >> (32 * half)));
	}
}

void set_ring(uint32_t queue, uint64_t desc, uint64_t avail, uint64_t used)
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

void set_queue(uint32_t queue)
{
	set_ring(queue, RING(queue), RING(queue) + 0x1000, RING(queue) + 0x2000);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 1);
}

void negotiate(uint64_t features)
{
	set_status(0);
	accept_features(features);
	set_status(READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(status(), READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
}

void go(void)
{
	negotiate(VERSION_1);
	set_queue(0);
	set_queue(1);
	ck_assert_uint_eq(set_status(READY), READY);
}

uint64_t kicks_of(uint32_t queue)
{
	uint64_t n = 0;

	(void)!read(virtio()->queue[queue].kick_fd, &n, sizeof(n));
	return n;
}

static uint8_t msix_cap(void)
{
	uint8_t at = (uint8_t)config_read(PCI_CAPABILITY_LIST, 1);

	while (config_read(at, 1) != PCI_CAP_ID_MSIX)
		at = (uint8_t)config_read(at + 1u, 1);
	return at;
}

uint64_t msix_entry(uint32_t vector)
{
	return config_read(PCI_BASE_ADDRESS_0, 4) + 16ull * vector;
}

void use_msix(void)
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

uint32_t last_msi(void)
{
	if (!rig.nmsis)
		ck_abort_msg("no MSI was sent");
	return rig.msi[rig.nmsis < RIG_MSIS ? rig.nmsis - 1 : RIG_MSIS - 1].data;
}

void virtio_fixture_open(void)
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

void virtio_fixture_close(void)
{
	fake.busy = false;
	rig_close();
}
