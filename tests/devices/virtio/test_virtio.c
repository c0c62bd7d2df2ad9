/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio over PCI around a fake device: status, features, queues, save and load; capabilities, registers,
 * ioeventfds, interrupts. */
#include "tests/rig/unit.h"
#include "tests/rig/virtio_fixture.h"
#include "vmm/base/loop.h"
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <sys/eventfd.h>

TEST(features)
{
	const uint64_t all = VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX |
			     1ull << VIRTIO_RING_F_INDIRECT_DESC | 1ull << FEATURE;
	uint64_t offered = get(VIRTIO_PCI_COMMON_DF, 4);

	set(VIRTIO_PCI_COMMON_DFSELECT, 4, 1);
	offered |= get(VIRTIO_PCI_COMMON_DF, 4) << 32;
	ck_assert_uint_eq(offered, all);
	set(VIRTIO_PCI_COMMON_DFSELECT, 4, 2);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_DF, 4), 0);
	set_status(VIRTIO_CONFIG_S_ACKNOWLEDGE);
	accept_features(all & ~VERSION_1);
	ck_assert_uint_eq(set_status(11), 3); /* without VERSION_1 */
	accept_features(all | 1);
	ck_assert_uint_eq(set_status(11), 3); /* more than is offered */
	accept_features(all);
	ck_assert_uint_eq(set_status(11), 11);
	accept_features(VERSION_1); /* too late */
	ck_assert_uint_eq(state()->accepted, all);
	ck_assert(virtio_has(virtio(), FEATURE));
	ck_assert(!virtio_has(virtio(), FEATURE + 1));
}

TEST(status_machine)
{
	ck_assert_uint_eq(status(), 0);
	ck_assert_uint_eq(set_status(VIRTIO_CONFIG_S_DRIVER_OK | 3), 3); /* without features */
	ck_assert_uint_eq(set_status(VIRTIO_CONFIG_S_NEEDS_RESET | 0x30), 3);
	ck_assert_uint_eq(fake.starts, 0);
	go();
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert_uint_eq(set_status(1), READY); /* bits stay */
	set_status(READY);
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert_uint_eq(set_status(READY | VIRTIO_CONFIG_S_FAILED), READY | 0x80);
	ck_assert_uint_eq(set_status(0), 0);
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_eq(state()->queue_enable[0], 0);
	ck_assert_uint_eq(state()->queue_desc[0], 0);
	ck_assert_uint_eq(state()->accepted, 0);
	go();
	ck_assert_uint_eq(fake.starts, 2);
}

TEST(ring_outside_ram)
{
	negotiate(VERSION_1);
	set_queue(1);
	set_ring(0, 2 * MIB - 16ull * SIZE + 16, RING(0) + 0x1000, RING(0) + 0x2000);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_Q_ENABLE, 2), 0);
	ck_assert_uint_eq(status() & VIRTIO_CONFIG_S_NEEDS_RESET, VIRTIO_CONFIG_S_NEEDS_RESET);
	set_status(READY);
	ck_assert_uint_eq(fake.starts, 0);
	go();
	ck_assert_uint_eq(fake.starts, 1);
}

TEST(kicks)
{
	set(NOTIFY, 2, 0);
	set(NOTIFY + 4, 2, 1);
	ck_assert_uint_eq(fake.kicks + kicks_of(1), 0);
	go();
	ck_assert_uint_eq(fake.kicks, 1); /* by the core, at the start */
	ck_assert_uint_eq(kicks_of(1), 1);
	ck_assert_int_eq(virtio()->queue[0].kick_fd, -1);
	set(NOTIFY, 2, 0);
	set(NOTIFY + 4, 4, 1);
	set(NOTIFY + 4, 1, 7);
	ck_assert_uint_eq(fake.kicks, 2);
	ck_assert_uint_eq(kicks_of(1), 2);
	set(NOTIFY + 2, 2, 0);	/* nobody's */
	set(NOTIFY + 8, 2, 2);	/* not enabled */
	set(NOTIFY + 12, 2, 3); /* no queue */
	set(NOTIFY + 0xffc, 4, 3);
	ck_assert_uint_eq(fake.kicks + kicks_of(1), 2);
	virtio_broken(virtio(), 0, "for a test");
	set(NOTIFY, 2, 0);
	set(NOTIFY + 4, 2, 1);
	ck_assert_uint_eq(fake.kicks + kicks_of(1), 2);
}

/* used_event and the flag decide whether virtio_used() signals. */
TEST(used)
{
	const uint16_t none = VRING_AVAIL_F_NO_INTERRUPT;

	go();
	use_msix();
	virtq_push(&virtio()->queue[0].q, 0, 0);
	virtio_used(virtio(), 0);
	ck_assert_uint_eq(rig.nmsis, 1);
	ck_assert_int_eq(ram_write(&rig.vm.ram, RING(0) + 0x1000, &none, 2), 0);
	virtq_push(&virtio()->queue[0].q, 0, 0);
	virtio_used(virtio(), 0);
	ck_assert_uint_eq(rig.nmsis, 1);
}

TEST(broken)
{
	go();
	use_msix();
	virtio_broken(virtio(), 0, "for a test");
	virtio_broken(virtio(), 0, "for a test, again");
	ck_assert_uint_eq(rig.nmsis, 1);
	ck_assert_uint_eq(last_msi(), 100 + QUEUES);
	ck_assert_uint_eq(status(), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
	rig_reload();
	ck_assert_uint_eq(status(), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert_uint_eq(set_status(0), 0);
	go();
	ck_assert_uint_eq(fake.starts, 2);
}

/* The driver's memory is its own again only when status reads 0. */
TEST(reset_waits)
{
	struct error err;

	go();
	fake.resets = 0;
	fake.busy = true;
	ck_assert_uint_eq(set_status(0), READY);
	ck_assert_uint_eq(set_status(3), READY);
	ck_assert_uint_eq(fake.resets, 0);
	ck_assert_int_eq(virtio_pause(rig.dev, 0, &err), -ETIMEDOUT);
	ck_assert_uint_eq(status(), READY);
	fake.busy = false;
	ck_assert_uint_eq(status(), 0);
	ck_assert_uint_eq(fake.resets, 1);
	/* A driver that does not ask loses nothing of what it says next. */
	go();
	fake.busy = true;
	set_status(0);
	fake.busy = false;
	ck_assert_uint_eq(set_status(3), 3);
	go();
	fake.busy = true;
	set_status(0);
	fake.busy = false;
	rig_reload(); /* the pause ends it too */
	ck_assert_uint_eq(status(), 0);
}

static void set_master(bool on)
{
	config_write(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | (on ? PCI_COMMAND_MASTER : 0));
}

/* A kernel that is about to start another one takes the bus from its devices: from then on they
 * leave memory alone. */
TEST(bus_master)
{
	go();
	set_master(false);
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_eq(status(), READY);
	set(NOTIFY, 2, 0);
	ck_assert_uint_eq(fake.kicks, 1);
	virtio_resume(rig.dev);
	rig_reload();
	ck_assert_uint_eq(fake.starts, 1);
	set_master(true);
	ck_assert_uint_eq(fake.starts, 2);
	ck_assert_uint_eq(fake.kicks, 2); /* what came meanwhile */
	set_master(true);
	ck_assert_uint_eq(fake.starts, 2);
	set_master(false);
	go();
	ck_assert_uint_eq(fake.starts, 2);
	set_master(true);
	ck_assert_uint_eq(fake.starts, 3);
	ck_assert_uint_eq(status(), READY);
}

TEST(bus_master_with_io)
{
	uint64_t before_ns = clock_now_ns(); /* virtio.c has the host's clock, not the rig's */

	go();
	fake.busy = true;
	set_status(0);
	ck_assert_uint_eq(fake.deadline_ns, 0);
	set_master(false);
	ck_assert_uint_gt(fake.deadline_ns, before_ns); /* it had its time */
	ck_assert_uint_eq(status(), READY | VIRTIO_CONFIG_S_NEEDS_RESET);
	set_master(true);
	set_master(false);
	ck_assert_uint_eq(fake.deadline_ns, 0); /* and no more of it */
	fake.busy = false;
	set_master(false);
	set_master(true);
	ck_assert_uint_eq(fake.stops, 1);
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert_uint_eq(status(), 0);
	go();
	ck_assert_uint_eq(fake.starts, 2);
}

TEST(pause_fails)
{
	struct error err;

	go();
	fake.busy = true;
	ck_assert_int_eq(virtio_pause(rig.dev, 0, &err), -ETIMEDOUT);
	virtio_resume(rig.dev);
	ck_assert_uint_eq(fake.starts, 1);
	set(NOTIFY, 2, 0);
	ck_assert_uint_eq(fake.kicks, 2);
}

TEST(reload)
{
	go();
	use_msix();
	virtio()->queue[0].q.last_avail = 0xfffe;
	virtio()->queue[0].q.next_used = 3;
	kicks_of(1);
	fake.kicks = 0;
	rig_reload();
	ck_assert_uint_eq(fake.starts, 2);
	ck_assert_uint_eq(virtio()->queue[0].q.last_avail, 0xfffe);
	ck_assert_uint_eq(virtio()->queue[0].q.next_used, 3);
	/* What was on its way is nowhere else: both ways once more. */
	ck_assert_uint_eq(fake.kicks, 1);
	ck_assert_uint_eq(kicks_of(1), 1);
	ck_assert_uint_eq(rig.nmsis, 2);
	ck_assert_uint_eq(last_msi(), 101);
	ck_assert_uint_eq(status(), READY);
	ck_assert_uint_eq(get(VIRTIO_PCI_COMMON_NUMQ, 2), QUEUES);
	ck_assert_uint_eq(state()->queue_vector[1], 1);
	virtio_signal(virtio(), 0);
	ck_assert_uint_eq(last_msi(), 100);
}

TEST(reload_early)
{
	negotiate(VERSION_1);
	set_queue(1);
	rig_reload();
	ck_assert_uint_eq(fake.starts, 0);
	ck_assert_uint_eq(status(), READY & ~VIRTIO_CONFIG_S_DRIVER_OK);
	set_queue(0);
	set_status(READY);
	ck_assert_uint_eq(fake.starts, 1);
	ck_assert(virtio()->queue[1].running);
	virtio_signal(virtio(), 1);
	rig_reload();
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(get(ISR, 1), 1);
}

TEST(compares)
{
	struct virtio_state saved;
	struct error err = {""};

	go();
	saved = *state();
	ck_assert_int_eq(virtio_compare(rig.dev, &saved, &err), 0);
	saved.offered |= 1ull << 33;
	saved.nqueues = 2;
	saved.queue_size[1] = 2 * SIZE;
	ck_assert_int_eq(virtio_compare(rig.dev, &saved, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "2 queues, here are 3"));
	ck_assert_ptr_nonnull(strstr(err.msg, "feature bit 33 (unknown) is missing"));
	ck_assert_ptr_nonnull(strstr(err.msg, "start with the options that it was saved with"));
	ck_assert_ptr_nonnull(strstr(err.msg, "32 entries in queue 1"));
	saved = *state();
	virtio()->features &= ~(1ull << VIRTIO_RING_F_EVENT_IDX);
	err.msg[0] = '\0';
	ck_assert_int_eq(virtio_compare(rig.dev, &saved, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "feature bit 29 (VIRTIO_RING_F_EVENT_IDX) is"));
	ck_assert_str_eq(virtio_feature_name(VIRTIO_ID_NET, VIRTIO_NET_F_MQ), "VIRTIO_NET_F_MQ");
	virtio()->features |= 1ull << VIRTIO_RING_F_EVENT_IDX;
	/* A host with more to offer is no difference, and the guest is not told. */
	saved = *state();
	virtio()->features |= 1ull << 40;
	ck_assert_int_eq(virtio_compare(rig.dev, &saved, &err), 0);
	rig_reload();
	set_status(0);
	ck_assert_uint_eq(state()->offered, saved.offered);
}

/* What check() cannot know, for it has no RAM to look at. */
TEST(loads_no_ring_outside_ram)
{
	struct error err;

	go();
	ck_assert_int_eq(virtio_pause(rig.dev, UINT64_MAX, &err), 0);
	state()->queue_avail[1] = 2 * MIB;
	ck_assert_ptr_null(virtio_check(state()));
	ck_assert_int_ne(virtio_post_load(rig.dev, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "queue 1"));
}

#define REFUSED(change)                                                                          \
	do {                                                                                     \
		struct virtio_state s = good;                                                    \
		change;                                                                          \
		ck_assert_msg(state_check(rig.dev->ops->state, &s, NULL), "taken: %s", #change); \
	} while (0)

TEST(checks)
{
	struct virtio_state good;

	go();
	good = *state();
	ck_assert_ptr_null(virtio_check(&good));
	REFUSED(s.status |= 0x10);
	REFUSED(s.status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK);
	REFUSED(s.accepted |= 1ull << 50);
	REFUSED(s.accepted &= ~VERSION_1);
	REFUSED(s.isr = 4);
	REFUSED(s.nqueues = VIRTIO_MAX_QUEUES + 1);
	REFUSED(s.nqueues = 1);
	REFUSED(s.config_vector = QUEUES + 1);
	REFUSED(s.queue_vector[1] = QUEUES + 1);
	REFUSED(s.queue_size[0] = 12);
	REFUSED(s.queue_size[0] = 2048);
	REFUSED(s.queue_size[0] = 0);
	REFUSED(s.queue_enable[0] = 2);
	REFUSED(s.queue_enable[2] = 1);
	REFUSED(s.queue_enable[VIRTIO_MAX_QUEUES - 1] = 1);
	REFUSED(s.queue_desc[0] += 8);
	REFUSED(s.queue_avail[0] += 1);
	REFUSED(s.queue_used[0] += 2);
	REFUSED(s.pci.slot = 99);
}

/* --- over PCI: capabilities, registers, ioeventfds, interrupts */

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
