/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio over PCI: capabilities, registers, ioeventfds, interrupts. */
#include "tests/rig/unit.h"
#include "tests/rig/virtio_fixture.h"
#include <sys/eventfd.h>
#include <unistd.h>

TEST(identity)
{
	uint32_t seen = 0, window[16] = {0};

	ck_assert_uint_eq(config_read(PCI_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_eq(config_read(PCI_DEVICE_ID, 2), 0x1040 + 42);
	ck_assert_uint_eq(config_read(PCI_REVISION_ID, 1), 1);
	ck_assert_uint_eq(config_read(PCI_SUBSYSTEM_VENDOR_ID, 2), 0x1af4);
	ck_assert_uint_ge(config_read(PCI_SUBSYSTEM_ID, 2), 0x40);
	for (uint32_t at = config_read(PCI_CAPABILITY_LIST, 1); at;
	     at = config_read(at + PCI_CAP_LIST_NEXT, 1)) {
		uint32_t type = config_read(at + 3, 1);

		if (config_read(at, 1) != PCI_CAP_ID_VNDR)
			continue;
		ck_assert_uint_lt(type, 16);
		seen |= 1u << type;
		ck_assert_uint_eq(config_read(at + 4, 1), 2);
		window[type] = config_read(at + 8, 4);
		ck_assert_uint_eq(
			config_read(at + 2, 1),
			type == VIRTIO_PCI_CAP_NOTIFY_CFG || type == VIRTIO_PCI_CAP_PCI_CFG ? 20
											    : 16);
		if (type == VIRTIO_PCI_CAP_NOTIFY_CFG)
			ck_assert_uint_eq(config_read(at + 16, 4), 4);
	}
	ck_assert_uint_eq(seen, 0x3e);
	ck_assert_uint_eq(window[VIRTIO_PCI_CAP_ISR_CFG], ISR);
	ck_assert_uint_eq(window[VIRTIO_PCI_CAP_DEVICE_CFG], DEVICE);
	ck_assert_uint_eq(window[VIRTIO_PCI_CAP_NOTIFY_CFG], NOTIFY);
}

TEST(queue_setup)
{
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	negotiate(VERSION_1);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), SIZE);
	for (uint32_t bad = 0; bad < 70000; bad += bad < 40 ? 1 : 997) {
		set(VIRTIO_PCI_COMMON_Q_SIZE, 2, 8);
		set(VIRTIO_PCI_COMMON_Q_SIZE, 2, bad);
		if (bad == 1 || bad == 2 || bad == 4 || bad == 16)
			ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), bad);
		else
			ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), 8);
	}
	set(VIRTIO_PCI_COMMON_Q_MSIX, 2, QUEUES + 1);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_MSIX, 2), 0xffff);
	set_queue(0);
	set_ring(0, 0, 0, 0); /* enabled: it stays where it is */
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_DESCLO, 4), RING(0));
	set(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_NOFF, 2), 1);
	/* One that is not there, and one that could not be. */
	set_ring(2, RING(2), RING(2) + 0x1000, RING(2) + 0x2000);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	set_ring(QUEUES, RING(2), RING(2), RING(2));
	set_ring(0xffff, RING(2), RING(2), RING(2));
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_SIZE, 2), 0);
	ck_assert_uint_eq(status(), READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
}

TEST(ioeventfds_follow_the_bar)
{
	ck_assert_uint_eq(assigned[0].gpa, 0);
	go();
	ck_assert_uint_eq(assigned[0].gpa, bar + NOTIFY + 4);
	ck_assert_int_eq(assigned[0].fd, virtio()->queue[1].kick_fd);
	ck_assert_uint_eq(assigned[1].gpa, 0); /* queue 0 has a handler */
	map_bars(false);
	ck_assert_uint_eq(assigned[0].gpa, 0);
	config_write(PCI_BASE_ADDRESS_2, 4, RIG_MMIO32 + 0x100000);
	config_write(PCI_BASE_ADDRESS_3, 4, 0);
	map_bars(true);
	bar = RIG_MMIO32 + 0x100000;
	ck_assert_uint_eq(assigned[0].gpa, bar + NOTIFY + 4);
	ck_assert_uint_eq(status(), READY);
	config_write(PCI_BASE_ADDRESS_2, 4, RIG_MMIO32 + 0x200000); /* as it is decoding */
	bar = RIG_MMIO32 + 0x200000;
	ck_assert_uint_eq(assigned[0].gpa, bar + NOTIFY + 4);
	set_status(0);
	go();
	ck_assert_uint_eq(assigned[0].gpa, bar + NOTIFY + 4);
	ck_assert_uint_eq(assigned[1].gpa, 0);
	ck_assert_uint_gt(kicks_of(1), 0);
}

TEST(intx)
{
	virtio_config_changed(virtio()); /* nobody is ready for it */
	ck_assert(!rig.line[GSI]);
	go();
	virtio_signal(virtio(), 1);
	ck_assert(rig.line[GSI]);
	virtio_config_changed(virtio());
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_CFGGENERATION, 1), 2);
	ck_assert_uint_eq(get(ISR + 1, 1), 0);
	ck_assert_uint_eq(get(ISR, 1), 3);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(get(ISR, 1), 0);
	virtio_signal(virtio(), 0);
	set_status(0);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(get(ISR, 1), 0);
	ck_assert_uint_eq(rig.nmsis, 0);
}

TEST(msix)
{
	go();
	use_msix();
	virtio_signal(virtio(), 1);
	ck_assert_uint_eq(last_msi(), 101);
	virtio_config_changed(virtio());
	ck_assert_uint_eq(last_msi(), 100 + QUEUES);
	ck_assert_uint_eq(rig.nmsis, 2);
	set(VIRTIO_PCI_COMMON_Q_SELECT, 2, 1);
	set(VIRTIO_PCI_COMMON_Q_MSIX, 2, 0xffff);
	virtio_signal(virtio(), 1);
	ck_assert_uint_eq(rig.nmsis, 2);
	ck_assert(!rig.line[GSI]);
	rig_mmio_write(msix_entry(0) + 12, 4, 1);
	virtio_signal(virtio(), 0);
	ck_assert_uint_eq(rig.nmsis, 2);
	rig_mmio_write(msix_entry(0) + 12, 4, 0);
	ck_assert_uint_eq(last_msi(), 100);
}

TEST(device_config)
{
	memcpy(fake.config, "\1\2\3\4\5\6\7\10", CONFIG);
	ck_assert_uint_eq(get(DEVICE, 8), 0x0807060504030201);
	ck_assert_uint_eq(get(DEVICE + 1, 2), 0x0302);
	ck_assert_uint_eq(get(DEVICE + 5, 4), 0);
	ck_assert_uint_eq(get(DEVICE + CONFIG, 1), 0);
	set(DEVICE + 2, 2, 0xabcd);
	ck_assert_uint_eq(fake.config_offset, 2);
	ck_assert_uint_eq(fake.config_bytes, 2);
	ck_assert_uint_eq(fake.config_value, 0xabcd);
	set(DEVICE, 8, 0x1122334455667788);
	ck_assert_uint_eq(fake.config_offset, 4);
	ck_assert_uint_eq(fake.config_value, 0x11223344);
	fake.config_bytes = 0;
	set(DEVICE + 7, 2, 1);
	set(DEVICE + 0xfff, 1, 1);
	ck_assert_uint_eq(fake.config_bytes, 0);
}

/* Through config space, with no BAR mapped. */
TEST(bar_by_config_space)
{
	uint32_t cap = virtio()->cfg_cap;

	go();
	map_bars(false);
	config_write(cap + 4, 1, 2);
	config_write(cap + 8, 4, VIRTIO_PCI_COMMON_STATUS);
	config_write(cap + 12, 4, 1);
	ck_assert_uint_eq(config_read(cap + 16, 1), READY);
	config_write(cap + 16, 4, READY | VIRTIO_CONFIG_S_FAILED);
	ck_assert_uint_eq(config_read(cap + 16, 4), READY | VIRTIO_CONFIG_S_FAILED);
	config_write(cap + 8, 4, NOTIFY);
	config_write(cap + 12, 4, 2);
	config_write(cap + 16, 2, 0);
	ck_assert_uint_eq(fake.kicks, 2);
	/* Windows that are none. */
	for (uint32_t i = 0; i < 6; i++) {
		static const struct {
			uint32_t bar, offset, length;
		} bad[] = {{0, 0, 4}, {2, 0x4000, 4}, {2, 0xfffffffc, 4}, {2, NOTIFY, 0xffffffff},
			   {2, 1, 2}, {7, NOTIFY, 2}};

		config_write(cap + 4, 1, bad[i].bar);
		config_write(cap + 8, 4, bad[i].offset);
		config_write(cap + 12, 4, bad[i].length);
		config_read(cap + 16, 4);
		config_write(cap + 16, 4, 0);
	}
	ck_assert_uint_eq(fake.kicks, 2);
}

static uint32_t seen_by(uint32_t fd)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write((int)fd, &one, sizeof(one)), sizeof(one));
	rig_spin();
	return rig.nmsis;
}

TEST(call_fds)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	fake.call_fd = fd;
	go();
	ck_assert_uint_eq(rig_routes(), 0); /* no MSI-X yet */
	(void)seen_by((uint32_t)fd);
	ck_assert(rig.line[GSI]);
	use_msix();
	ck_assert_uint_eq(rig_routes(), 1);
	ck_assert(rig.route[0].committed);
	ck_assert_int_eq(rig.route[0].fd, fd);
	ck_assert_uint_eq(rig.route[0].msi.data, 101);
	ck_assert_uint_eq(seen_by((uint32_t)fd), 0); /* KVM's now */
	rig_mmio_write(msix_entry(1) + 8, 4, 55);
	ck_assert_uint_eq(rig.route[0].msi.data, 55);
	ck_assert(rig.route[0].committed);
	rig_mmio_write(msix_entry(1) + 12, 4, 1);
	ck_assert_int_eq(rig.route[0].fd, 0);
	ck_assert_uint_eq(seen_by((uint32_t)fd), 0); /* pending */
	rig_mmio_write(msix_entry(1) + 12, 4, 0);
	ck_assert_uint_eq(last_msi(), 55);
	ck_assert_int_eq(rig.route[0].fd, fd);
	rig_reload();
	ck_assert_int_eq(rig.route[0].fd, fd);
	ck_assert_uint_eq(rig_routes(), 1);
	set_status(0);
	ck_assert_uint_eq(rig_routes(), 0);
	close(fd);
}

/* The main loop does what KVM has no memory for, until it has. */
TEST(call_fds_without_routes)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

	fake.call_fd = fd;
	go();
	rig.commit_fails = true;
	use_msix();
	rig_mmio_write(msix_entry(0) + 12, 4, 1); /* another queue's: looks at all of them again */
	ck_assert_uint_eq(seen_by((uint32_t)fd), 1);
	ck_assert_uint_eq(last_msi(), 101);
	rig.commit_fails = false;
	rig_mmio_write(msix_entry(0) + 12, 4, 0);
	ck_assert_int_eq(rig.route[0].fd, fd);
	/* One that KVM has leads elsewhere from now on. */
	rig.commit_fails = true;
	rig_mmio_write(msix_entry(1) + 8, 4, 55);
	ck_assert_uint_eq(seen_by((uint32_t)fd), 2);
	ck_assert_uint_eq(last_msi(), 55);
	ck_assert_uint_eq(rig_routes(), 0);
	set_status(0);
	close(fd);
}

/* Any width, any offset, any value: the device stays one that can be saved and set up again. */
TEST(pokes)
{
	uint64_t random = 1;

	for (uint32_t i = 0; i < 200000; i++) {
		uint32_t size, what;
		uint64_t offset;

		random = random * 6364136223846793005 + 1442695040888963407;
		what = (uint32_t)(random >> 32);
		size = 1u << (what & 3);
		offset = what >> 4 & 0x3fff & ~(size - 1);
		if (what & 1u << 30)
			offset &= 0x303f; /* mostly where something is */
		if (what & 8)
			set(offset, size, what & 1u << 31 ? random : random >> 52);
		else
			(void)get(offset, size);
		if (i % 1000 == 0)
			rig_reload();
	}
	ck_assert_ptr_null(virtio_check(state()));
	set_status(0);
	go();
}

UNIT_MAIN(virtio_fixture_open, virtio_fixture_close)
