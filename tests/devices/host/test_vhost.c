/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Rings that the kernel serves: what it is told, when it is stopped, and who goes on where. */
#include "tests/fakes/fake_vhost.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <linux/virtio_vsock.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define EVENTS	2
#define VERSION 1ull << 32

static void boot_vsock(void)
{
	rig.opt.vsock_cid = 77;
	rig.opt.serial.kind = CHARDEV_NONE;
	virtio_guest_boot();
	driver_start(&drv, "vsock0", EVERY);
}

static void offer(uint32_t queue, uint32_t i)
{
	const struct driver_buffer buffer = {buffer_gpa(i), 64};

	memset(driver_ram(buffer.gpa), 0xee, 64);
	driver_add(&drv, queue, &buffer, queue == TX, queue != TX);
	driver_kick(&drv, queue);
}

static void write_fd(int fd)
{
	const uint64_t one = 1;

	ck_assert_int_eq(write(fd, &one, sizeof(one)), sizeof(one));
}

TEST(kernel_is_told)
{
	const struct fake_vhost *in = fake_vhost;

	boot_vsock();
	ck_assert_uint_eq(driver_config(&drv, 0, 8), 77);
	ck_assert_uint_eq(in->cid, 77);
	ck_assert(in->has_owner && in->runs);
	ck_assert(in->features & VERSION);
	ck_assert(in->features >> VIRTIO_VSOCK_F_SEQPACKET & 1);
	ck_assert_uint_eq(in->memory.head.nregions, 1);
	ck_assert_uint_eq(in->memory.region[0].guest_phys_addr, 0);
	ck_assert_uint_eq(in->memory.region[0].memory_size, DRIVER_RAM_BYTES);
	ck_assert_uint_eq(in->memory.region[0].userspace_addr, (uintptr_t)driver_ram(0));
	for (uint32_t i = 0; i < 2; i++) {
		const struct virtio_queue *queue = &virtio_of(rig.dev)->queue[i];

		ck_assert_uint_eq(in->ring[i].size, DRIVER_QUEUE_SIZE);
		ck_assert_uint_eq(in->ring[i].addr.desc_user_addr, (uintptr_t)queue->q.desc);
		ck_assert_uint_eq(in->ring[i].addr.avail_user_addr, (uintptr_t)queue->q.avail);
		ck_assert_uint_eq(in->ring[i].addr.used_user_addr, (uintptr_t)queue->q.used);
		ck_assert_int_eq(in->ring[i].kick, queue->kick_fd);
		ck_assert_int_ge(in->ring[i].call, 0);
		ck_assert_int_ge(in->ring[i].error, 0);
	}
	/* The kernel interrupts the driver. */
	driver_isr(&drv);
	write_fd(in->ring[1].call);
	rig_spin();
	ck_assert_uint_eq(driver_isr(&drv), 1);
	driver_reset(&drv);
	ck_assert(!in->runs);
	ck_assert_int_eq(in->ring[0].kick, -1);
}

TEST(rings_go_on)
{
	const struct virtio_state *s;

	boot_vsock();
	for (uint32_t i = 0; i < 5; i++)
		offer(TX, i);
	ck_assert_uint_eq(fake_vhost_serve(fake_vhost, TX, 3, 0), 3);
	for (uint32_t round = 0; round < 3; round++) {
		rig_reload();
		ck_assert(fake_vhost->runs);
		ck_assert_uint_eq(fake_vhost->ring[TX].base, 3 + round);
		ck_assert_uint_eq(fake_vhost_serve(fake_vhost, TX, 1, 0), round < 2);
	}
	for (uint32_t i = 0; i < 5; i++)
		driver_wait(&drv, TX);
	/* Indices go round; the kernel knows 16 bits of them. */
	for (uint32_t i = 0; i < 70000; i++) {
		offer(TX, 0);
		ck_assert_uint_eq(fake_vhost_serve(fake_vhost, TX, 1, 0), 1);
		driver_wait(&drv, TX);
	}
	rig_reload();
	s = device_state(rig.dev);
	ck_assert_uint_eq(fake_vhost->ring[TX].base, (70005) % 65536);
	ck_assert_uint_eq(s->queue_next_used[TX], 70005 % 65536);
}

/* What is saved behind all members is nothing. */
TEST(vsock_checks)
{
	const struct state_desc *desc;
	uint8_t *bad;

	boot_vsock();
	desc = rig.dev->ops->state;
	bad = malloc(desc->size);
	memcpy(bad, device_state(rig.dev), desc->size);
	ck_assert_int_eq(state_check(desc, bad, NULL), 0);
	bad[desc->size - 1] = 1;
	ck_assert_int_eq(state_check(desc, bad, NULL), -EINVAL);
	free(bad);
}

static void expect_reset_event(uint32_t i)
{
	ck_assert_uint_eq(driver_wait(&drv, EVENTS), sizeof(struct virtio_vsock_event));
	ck_assert_uint_eq(*(uint32_t *)driver_ram(buffer_gpa(i)),
			  VIRTIO_VSOCK_EVENT_TRANSPORT_RESET);
}

TEST(guest_hears_of_the_break)
{
	uint32_t bytes;
	uint16_t head;

	boot_vsock();
	offer(EVENTS, 0);
	offer(EVENTS, 1);
	ck_assert(!driver_get(&drv, EVENTS, &head, &bytes));
	rig_reload();
	expect_reset_event(0);
	ck_assert(!driver_get(&drv, EVENTS, &head, &bytes));
	rig_reload();
	expect_reset_event(1);
	/* No buffer: it waits for one, over another load too, and comes once. */
	rig_reload();
	rig_reload();
	ck_assert(!driver_get(&drv, EVENTS, &head, &bytes));
	offer(EVENTS, 2);
	expect_reset_event(2);
	offer(EVENTS, 3);
	ck_assert(!driver_get(&drv, EVENTS, &head, &bytes));
}

TEST(ring_that_the_kernel_gives_up)
{
	boot_vsock();
	write_fd(fake_vhost->ring[0].error);
	RIG_WAIT_FOR(driver_status(&drv) & 0x40);
	driver_start(&drv, "vsock0", EVERY);
	ck_assert(fake_vhost->runs);
}

TEST(vsock_refusals)
{
	const struct state_desc *desc;
	const uint64_t other = 78;
	struct error err = {""};
	uint8_t *saved;

	rig.opt.vsock_cid = 77;
	rig.opt.serial.kind = CHARDEV_NONE;
	fake_vhost_absent = true;
	rig_refuses(-ENOENT, WORDS("modprobe vhost_vsock"));
	fake_vhost_absent = false;
	fake_vhost_fails = VHOST_VSOCK_SET_GUEST_CID;
	fake_vhost_errno = EADDRINUSE;
	rig_refuses(-EADDRINUSE, WORDS("cid=77 is another VM's"));
	fake_vhost_fails = 0;
	boot_vsock();
	desc = rig.dev->ops->state;
	saved = malloc(desc->size);
	memcpy(saved, device_state(rig.dev), desc->size);
	memcpy(saved + state_row_find(desc, "cid")->offset, &other, sizeof(other));
	err.msg[0] = 0;
	ck_assert_int_eq(state_compare(desc, saved, device_state(rig.dev), &err), -EINVAL);
	ck_assert_str_eq(err.msg, "checkpoint has cid=78, this VM has 77");
	free(saved);
}

TEST(vsock_start_that_fails)
{
	static const unsigned long fails[] = {VHOST_SET_FEATURES, VHOST_SET_VRING_ADDR,
					      VHOST_SET_VRING_KICK, VHOST_VSOCK_SET_RUNNING};

	boot_vsock();
	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		fake_vhost_errno = EFAULT;
		fake_vhost_fails = fails[i];
		rig_reload();
		ck_assert_uint_eq(driver_status(&drv) & 0x40, 0x40);
		ck_assert(!fake_vhost->runs);
		fake_vhost_fails = 0;
		driver_start(&drv, "vsock0", EVERY);
		ck_assert(fake_vhost->runs);
	}
}

/* --- network */

static void boot_net(uint32_t queues, enum on_off_auto vhost, uint64_t features)
{
	tap_options(queues);
	card.vhost = vhost;
	virtio_guest_boot();
	driver_start(&drv, "net0", features);
}

TEST(net_by_kernel)
{
	boot_net(2, AUTO_AUTO, EVERY);
	/* The tap's header is the driver's: the kernel adds none. */
	ck_assert(fake_vhost[0].features >> VIRTIO_NET_F_MRG_RXBUF & 1);
	ck_assert(!(fake_vhost[0].features >> VHOST_NET_F_VIRTIO_NET_HDR & 1));
	ck_assert(fake_vhost[0].features & VERSION);
	for (uint32_t ring = 0; ring < 2; ring++) {
		ck_assert_int_eq(fake_vhost[0].ring[ring].backend, net_of(rig.dev)->backend.fd[0]);
		ck_assert_int_eq(fake_vhost[1].ring[ring].backend, -1);
	}
	ck_assert_uint_eq(
		control_at(4, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\2\0", 2),
		VIRTIO_NET_OK);
	ck_assert_int_eq(fake_vhost[0].ring[1].backend, net_of(rig.dev)->backend.fd[0]);
	ck_assert_int_eq(fake_vhost[1].ring[1].backend, net_of(rig.dev)->backend.fd[1]);
	ck_assert_uint_eq(fake_vhost[1].ring[0].addr.desc_user_addr,
			  (uintptr_t)net_of(rig.dev)->virtio.queue[2].q.desc);
	ck_assert_uint_eq(
		control_at(4, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, "\1\0", 2),
		VIRTIO_NET_OK);
	ck_assert_int_eq(fake_vhost[1].ring[1].backend, -1);
}

static void send_some(uint32_t n)
{
	uint8_t frame[60];

	fill_frame(frame, sizeof(frame), MAC_TEXT, 0);
	for (uint32_t i = 0; i < n; i++)
		send_frame(i, NULL, frame, sizeof(frame));
}

/* From the kernel to this process and back, as loads and the link have it. */
TEST(net_changes_hands)
{
	boot_net(1, AUTO_ON, EVERY);
	send_some(5);
	ck_assert_uint_eq(fake_vhost_serve(fake_vhost, TX, 2, 0), 2);
	card.vhost = AUTO_OFF;
	rig_reload();
	ck_assert(!net_of(rig.dev)->has_vhost);
	for (int i = 0; i < 5; i++)
		driver_wait(&drv, TX);
	for (uint32_t i = 0; i < 4; i++)
		offer_rx(i, 1526);
	rig_spins(20); /* buffers are popped ahead */
	card.vhost = AUTO_AUTO;
	rig_reload();
	ck_assert(net_of(rig.dev)->vhost_runs);
	ck_assert_uint_eq(fake_vhost->ring[TX].base, 5);
	ck_assert_uint_eq(fake_vhost->ring[RX].base, 0);
	ck_assert_uint_eq(fake_vhost_serve(fake_vhost, RX, 9, 72), 4);
	for (int i = 0; i < 4; i++)
		ck_assert_uint_eq(driver_wait(&drv, RX), 72);
	set_link(false);
	ck_assert_int_eq(fake_vhost->ring[TX].backend, -1);
	send_some(3);
	for (int i = 0; i < 3; i++)
		driver_wait(&drv, TX);
	set_link(true);
	ck_assert_uint_eq(fake_vhost->ring[TX].base, 8);
	ck_assert_int_ge(fake_vhost->ring[TX].backend, 0);
}

static void add_set_pairs(uint32_t i, uint8_t pairs)
{
	const uint64_t gpa = buffer_gpa(i);

	memcpy(driver_ram(gpa),
	       (uint8_t[]){VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, pairs, 0}, 4);
	driver_add(&drv, 4, (struct driver_buffer[]){{gpa, 4}, {gpa + 8, 1}}, 1, 1);
}

static void turn(void *opaque, uint32_t events)
{
	loop_quit(&rig.vm.loop);
}

/* To change pairs takes long: not twice without others in between, and not for nothing. */
TEST(net_pairs)
{
	uint32_t bytes;
	uint16_t head;
	int fd[2];

	boot_net(2, AUTO_ON, EVERY);
	rig_spin();
	fake_vhost_errno = EFAULT;
	fake_vhost_fails = VHOST_NET_SET_BACKEND;
	add_set_pairs(0, 1);
	driver_kick(&drv, 4);
	driver_wait(&drv, 4);
	ck_assert(net_of(rig.dev)->vhost_runs);
	fake_vhost_fails = 0;
	add_set_pairs(0, 2);
	add_set_pairs(1, 1);
	driver_kick(&drv, 4);
	/* Somebody who is ready behind the first turn. */
	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(loop_add(&rig.vm.loop, fd[1], EPOLLOUT, turn, NULL, NULL), 0);
	rig.vm.loop.stop = false;
	loop_run(&rig.vm.loop);
	ck_assert(driver_get(&drv, 4, &head, &bytes));
	ck_assert(!driver_get(&drv, 4, &head, &bytes));
	loop_del(&rig.vm.loop, fd[1]);
	driver_wait(&drv, 4);
}

/* A kernel that does not take the rings after all costs speed alone. */
TEST(net_without_kernel)
{
	static const unsigned long fails[] = {VHOST_SET_FEATURES, VHOST_SET_VRING_BASE,
					      VHOST_SET_VRING_KICK, VHOST_NET_SET_BACKEND};

	boot_net(1, AUTO_ON, EVERY);
	for (size_t i = 0; i < ARRAY_SIZE(fails); i++) {
		fake_vhost_errno = EFAULT;
		fake_vhost_fails = fails[i];
		driver_start(&drv, "net0", EVERY);
		ck_assert(!net_of(rig.dev)->vhost_runs);
		send_some(2);
		driver_wait(&drv, TX);
		driver_wait(&drv, TX);
		fake_vhost_fails = 0;
		driver_start(&drv, "net0", EVERY);
		ck_assert(net_of(rig.dev)->vhost_runs);
	}
}

TEST(net_refusals)
{
	struct error err = {""};

	tap_options(1);
	card.vhost = AUTO_ON;
	fake_vhost_absent = true;
	rig_refuses(-ENOENT, WORDS("modprobe vhost_net"));
	card.vhost = AUTO_AUTO;
	ck_assert_int_eq(devices_attach(&rig.vm, &err), 0);
	ck_assert(!net_of(devices_find(&rig.vm, "net0"))->has_vhost);
}

UNIT_MAIN(rig_open, rig_close)
