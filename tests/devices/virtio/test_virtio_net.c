/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card with a stream socket behind it: packets, announcements, link. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/ram_lost.h"
#include "tests/rig/unit.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#define NS_PER_MS 1000000ull

static int listener = -1, peer = -1;
static uint8_t frame[70000], seen[70000];

static void await_peer(void)
{
	for (int i = 0; peer < 0 && i < 3000; i++) {
		peer = accept4(listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
		rig_spin();
	}
	ck_assert_int_ge(peer, 0);
}

static void set_up(uint64_t features)
{
	card_options(NET_STREAM, 1);
	snprintf(card.path, sizeof(card.path), "/tmp/stasis-net-%d", (int)getpid());
	listener = rig_listen(card.path);
	virtio_guest_boot();
	await_peer();
	driver_start(&drv, "net0", features);
}

static void tear_down(void)
{
	rig_close();
	unlink(card.path);
}

/* Reads exactly n bytes that the card sends. */
static void peer_read(void *to, size_t n)
{
	for (size_t at = 0, tries = 0; at < n;) {
		ssize_t got = recv(peer, (uint8_t *)to + at, n - at, MSG_DONTWAIT);

		ck_assert_msg(got > 0 || (got < 0 && errno == EAGAIN), "the card has hung up");
		ck_assert_msg(tries++ < 3000, "%zu of %zu bytes came", at, n);
		if (got > 0)
			at += (size_t)got;
		else
			rig_spin();
	}
}

/* The next frame that the card sends; returns its length. */
static uint32_t peer_frame(void)
{
	uint32_t bytes;

	peer_read(&bytes, sizeof(bytes));
	bytes = ntohl(bytes);
	ck_assert_uint_le(bytes, sizeof(seen));
	peer_read(seen, bytes);
	return bytes;
}

static bool is_disconnected(void)
{
	bool ret;

	pthread_mutex_lock(&rig.dev->lock);
	ret = net_of(rig.dev)->backend.fd[0] < 0;
	pthread_mutex_unlock(&rig.dev->lock);
	return ret;
}

static bool peer_has_nothing(void)
{
	uint8_t byte;

	rig_spins(20);
	return recv(peer, &byte, 1, MSG_DONTWAIT | MSG_PEEK) < 0 && errno == EAGAIN;
}

static void peer_send(const uint8_t *data, uint32_t bytes)
{
	uint32_t length = htonl(bytes);

	ck_assert_int_eq(send(peer, &length, sizeof(length), 0), sizeof(length));
	ck_assert_int_eq(send(peer, data, bytes, 0), bytes);
}

static void reload(void)
{
	rig_reload();
	close(peer);
	peer = -1;
	await_peer();
}

static void no_rx(void)
{
	uint16_t head;
	uint32_t bytes;

	rig_spins(20);
	ck_assert(!driver_get(&drv, RX, &head, &bytes));
}

static const struct virtio_net_hdr_v1 *rx_header(uint32_t i)
{
	return driver_ram(buffer_gpa(i));
}

TEST(shows_itself)
{
	const uint64_t offloads = NET_FEATURE(CSUM) | NET_FEATURE(GUEST_CSUM) |
				  NET_FEATURE(HOST_TSO4) | NET_FEATURE(GUEST_TSO4) |
				  NET_FEATURE(CTRL_GUEST_OFFLOADS);

	set_up(EVERY);
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x030201005452);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP);
	ck_assert_uint_eq(driver_config(&drv, 8, 2), 1);
	/* A stream has no header that could carry them. */
	ck_assert_uint_eq(driver_offered(&drv) & offloads, 0);
	ck_assert(driver_offered(&drv) & NET_FEATURE(MRG_RXBUF));
	/* Nor is there a filter: with vhost none could be honoured. */
	ck_assert_uint_eq(driver_offered(&drv) & (NET_FEATURE(CTRL_RX) | NET_FEATURE(CTRL_VLAN)),
			  0);
	ck_assert(!(driver_offered(&drv) & NET_FEATURE(MQ)));
	ck_assert(net_is(rig.dev));
	ck_assert_str_eq(net_id(rig.dev), "net0");
}

TEST(sends)
{

	set_up(EVERY);
	for (uint32_t i = 0; i < 200; i++) {
		uint32_t bytes = 14 + i * 40;

		fill_frame(frame, bytes, "\xff\xff\xff\xff\xff\xff", i);
		send_frame(0, NULL, frame, bytes);
		ck_assert_uint_eq(driver_wait(&drv, TX), 0);
		ck_assert_uint_eq(peer_frame(), bytes);
		ck_assert_mem_eq(seen, frame, bytes);
	}
}

TEST(drops_bad_lengths)
{
	const struct driver_buffer tiny = {buffer_gpa(0), HEADER + 13};
	const struct driver_buffer huge[] = {{buffer_gpa(0), 65536}, {buffer_gpa(1), 4096}};
	const struct driver_buffer write = {buffer_gpa(0), 100};

	set_up(EVERY);
	driver_add(&drv, TX, &tiny, 1, 0);
	driver_add(&drv, TX, huge, 2, 0);
	driver_add(&drv, TX, &write, 0, 1);
	driver_kick(&drv, TX);
	for (int i = 0; i < 3; i++)
		ck_assert_uint_eq(driver_wait(&drv, TX), 0);
	ck_assert(peer_has_nothing());
	fill_frame(frame, 60, MAC_TEXT, 1);
	send_frame(0, NULL, frame, 60);
	ck_assert_uint_eq(peer_frame(), 60);
}

TEST(receives_merged)
{
	const uint32_t bytes = 4000;
	uint32_t at = 0;

	set_up(EVERY);
	for (uint32_t i = 0; i < 8; i++)
		offer_rx(i, 1526);
	fill_frame(frame, bytes, MAC_TEXT, 3);
	peer_send(frame, bytes);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1526);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1526);
	ck_assert_uint_eq(driver_wait(&drv, RX), bytes + HEADER - 2 * 1526ul);
	ck_assert_uint_eq(rx_header(0)->num_buffers, 3);
	ck_assert_uint_eq(rx_header(0)->flags, 0);
	for (uint32_t i = 0; i < 3; i++) {
		uint32_t from = i ? 0 : HEADER, n = 1526 - from;

		n = n < bytes - at ? n : bytes - at;
		ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(i)) + from, frame + at, n);
		at += n;
	}
	/* The next one begins in the next buffer. */
	peer_send(frame, 60);
	ck_assert_uint_eq(driver_wait(&drv, RX), 60 + HEADER);
	ck_assert_uint_eq(rx_header(3)->num_buffers, 1);
	ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(3)) + HEADER, frame, 60);
}

TEST(receives_unmerged)
{
	set_up(EVERY & ~NET_FEATURE(MRG_RXBUF));
	for (uint32_t i = 0; i < 4; i++)
		offer_rx(i, 1526);
	fill_frame(frame, 4000, MAC_TEXT, 4);
	peer_send(frame, 1000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1000 + HEADER);
	ck_assert_uint_eq(rx_header(0)->num_buffers, 1);
	/* What no single buffer holds is lost; its buffer is not. */
	peer_send(frame, 4000);
	peer_send(frame, 1514);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1514 + HEADER);
	ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(1)) + HEADER, frame, 1514);
}

/* A packet that is longer than the buffers of the moment waits for more of them. */
TEST(waits_for_buffers)
{
	set_up(EVERY);
	fill_frame(frame, 5000, MAC_TEXT, 5);
	peer_send(frame, 60);
	no_rx();
	offer_rx(0, 2000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 60 + HEADER);
	peer_send(frame, 5000);
	offer_rx(1, 2000);
	no_rx();
	offer_rx(2, 2000);
	no_rx();
	offer_rx(3, 2000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 2000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 2000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1000 + HEADER);
	ck_assert_uint_eq(rx_header(1)->num_buffers, 3);
	ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(1)) + HEADER, frame, 2000 - HEADER);
	ck_assert_mem_eq(driver_ram(buffer_gpa(2)), frame + 2000 - HEADER, 2000);
	ck_assert_mem_eq(driver_ram(buffer_gpa(3)), frame + 4000 - HEADER, 1000 + HEADER);
}

/* Many small packets through a ring whose buffers go round. */
TEST(receives_many)
{
	set_up(EVERY);
	for (uint32_t i = 0; i < 32; i++)
		offer_rx(i, 1526);
	for (uint32_t i = 0; i < 1000; i++) {
		uint32_t bytes = 60 + i % 1400;

		fill_frame(frame, bytes, MAC_TEXT, i);
		peer_send(frame, bytes);
		ck_assert_uint_eq(driver_wait(&drv, RX), bytes + HEADER);
		ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(i % 32)) + HEADER, frame, bytes);
		offer_rx(i % 32, 1526);
		if (i % 100 == 50)
			reload();
	}
}

/* A peer that does not read: frames wait in the ring, none is cut or lost. */
TEST(waits_for_the_peer)
{
	uint32_t sent = 0, done = 0, bytes;
	uint16_t head;

	set_up(EVERY);
	for (; sent < 30; sent++) {
		fill_frame(frame, 60000, MAC_TEXT, sent);
		send_frame(sent, NULL, frame, 60000);
	}
	rig_spins(50);
	while (driver_get(&drv, TX, &head, &bytes))
		done++;
	ck_assert_uint_lt(done, sent);
	for (uint32_t i = 0; i < sent; i++) {
		fill_frame(frame, 60000, MAC_TEXT, i);
		ck_assert_uint_eq(peer_frame(), 60000);
		ck_assert_mem_eq(seen, frame, 60000);
	}
	for (; done < sent; done++)
		driver_wait(&drv, TX);
}

/* A frame that is half sent when the guest is stopped is sent to its end when it goes on. */
TEST(stops_half_sent)
{
	struct error err = {""};

	set_up(EVERY);
	for (uint32_t i = 0; i < 30; i++) {
		fill_frame(frame, 60000, MAC_TEXT, i);
		send_frame(i, NULL, frame, 60000);
	}
	rig_spins(50);
	pthread_mutex_lock(&rig.dev->lock);
	ck_assert(net_of(rig.dev)->backend.unsent);
	ck_assert_int_eq(rig.dev->ops->pause(rig.dev, UINT64_MAX, &err), 0);
	ck_assert(net_of(rig.dev)->backend.unsent);
	rig.dev->ops->resume(rig.dev);
	pthread_mutex_unlock(&rig.dev->lock);
	for (uint32_t i = 0; i < 30; i++) {
		fill_frame(frame, 60000, MAC_TEXT, i);
		ck_assert_uint_eq(peer_frame(), 60000);
		ck_assert_mem_eq(seen, frame, 60000);
	}
}

TEST(connects_again)
{

	set_up(EVERY);
	offer_rx(0, 1526);
	close(listener);
	unlink(card.path);
	close(peer);
	peer = -1;
	RIG_WAIT_FOR(is_disconnected());
	/* Nobody there: frames are lost, the guest does not wait. */
	fill_frame(frame, 60, MAC_TEXT, 0);
	send_frame(1, NULL, frame, 60);
	driver_wait(&drv, TX);
	rig_advance(3000 * NS_PER_MS);
	ck_assert(is_disconnected());
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP);
	listener = rig_listen(card.path);
	rig_advance(1000 * NS_PER_MS);
	await_peer();
	send_frame(1, NULL, frame, 60);
	ck_assert_uint_eq(peer_frame(), 60);
	peer_send(frame, 100);
	ck_assert_uint_eq(driver_wait(&drv, RX), 100 + HEADER);
}

/* Of a frame that the peer cut short nothing reaches the guest, and nothing of it the next. */
TEST(distrusts_the_peer)
{
	static const uint32_t bad[] = {0, NET_PACKET_BYTES, UINT32_MAX};

	set_up(EVERY);
	offer_rx(0, 1526);
	fill_frame(frame, 200, MAC_TEXT, 0);
	for (uint32_t i = 0; i <= ARRAY_SIZE(bad); i++) {
		uint32_t length = htonl(i ? bad[i - 1] : 200);

		ck_assert_int_eq(send(peer, &length, sizeof(length), 0), sizeof(length));
		send(peer, frame, 100, MSG_NOSIGNAL);
		if (!i)
			close(peer);
		RIG_WAIT_FOR(is_disconnected());
		if (i)
			close(peer);
		peer = -1;
		rig_advance(1000 * NS_PER_MS);
		await_peer();
	}
	no_rx();
	peer_send(frame, 200);
	ck_assert_uint_eq(driver_wait(&drv, RX), 200 + HEADER);
	ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(0)) + HEADER, frame, 200);
}

TEST(tiny_frames_are_dropped)
{
	set_up(EVERY);
	offer_rx(0, 1526);
	fill_frame(frame, 60, MAC_TEXT, 0);
	peer_send(frame, 13);
	peer_send(frame, 14);
	ck_assert_uint_eq(driver_wait(&drv, RX), 14 + HEADER);
}

TEST(link_down)
{

	set_up(EVERY);
	offer_rx(0, 1526);
	fill_frame(frame, 60, MAC_TEXT, 0);
	driver_isr(&drv);
	set_link(false);
	ck_assert_uint_eq(driver_isr(&drv) & 2, 2);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), 0);
	send_frame(1, NULL, frame, 60);
	driver_wait(&drv, TX);
	ck_assert(peer_has_nothing());
	peer_send(frame, 60);
	no_rx();
	/* Over a load and a reset by the driver it stays so, and nobody is announced. */
	reload();
	rig_advance(2000 * NS_PER_MS);
	ck_assert(peer_has_nothing());
	driver_start(&drv, "net0", EVERY);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), 0);
	offer_rx(0, 1526);
	set_link(true);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP);
	send_frame(1, NULL, frame, 60);
	ck_assert_uint_eq(peer_frame(), 60);
	peer_send(frame, 60);
	ck_assert_uint_eq(driver_wait(&drv, RX), 60 + HEADER);
}

/* A load that fails half-way leaves neither its link nor an announcement to the boot that follows. */
TEST(load_that_fails)
{
	struct error err;

	set_up(EVERY);
	pthread_mutex_lock(&rig.dev->lock);
	ck_assert_int_eq(rig.dev->ops->pause(rig.dev, UINT64_MAX, &err), 0);
	net_of(rig.dev)->s.link_down = 1;
	ck_assert_int_eq(rig.dev->ops->post_load(rig.dev, &err), 0);
	rig.dev->ops->reset(rig.dev);
	rig.dev->ops->resume(rig.dev);
	pthread_mutex_unlock(&rig.dev->lock);
	ck_assert(peer_has_nothing());
	ck_assert_uint_eq(net_of(rig.dev)->s.link_down, 0);
}

static void check_rarp(void)
{
	static const uint8_t start[] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x52, 0x54, 0, 1, 2,
					3,    0x80, 0x35, 0,	1,    8,    0,	  6,	4, 0, 3,
					0x52, 0x54, 0,	  1,	2,    3,    0,	  0,	0, 0, 0x52,
					0x54, 0,    1,	  2,	3,    0,    0,	  0,	0};

	ck_assert_uint_eq(peer_frame(), 60);
	ck_assert_mem_eq(seen, start, sizeof(start));
}

/* A save may come while kicks are off, which is in the guest's RAM: they are on again. */
TEST(kicks_after_a_load)
{
	set_up(EVERY & ~(1ull << VIRTIO_RING_F_EVENT_IDX));
	for (uint32_t queue = RX; queue <= TX; queue++) {
		uint16_t *flags = (void *)net_of(rig.dev)->virtio.queue[queue].q.used;

		RIG_WAIT_FOR(!__atomic_load_n(flags, __ATOMIC_RELAXED));
		pthread_mutex_lock(&rig.dev->lock);
		*flags = VRING_USED_F_NO_NOTIFY;
		pthread_mutex_unlock(&rig.dev->lock);
		reload();
		RIG_WAIT_FOR(!__atomic_load_n(flags, __ATOMIC_RELAXED));
	}
}

TEST(announces_itself)
{
	static const uint32_t gap_ms[] = {50, 150, 250, 350};

	set_up(EVERY);
	driver_isr(&drv);
	reload();
	check_rarp();
	ck_assert_uint_eq(driver_isr(&drv) & 2, 2);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
			  VIRTIO_NET_OK);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP);
	for (uint32_t i = 0; i < 4; i++) {
		rig_advance((gap_ms[i] - 1) * NS_PER_MS);
		ck_assert(peer_has_nothing());
		rig_advance(NS_PER_MS);
		check_rarp();
		ck_assert_uint_eq(driver_isr(&drv) & 2, 2);
	}
	rig_advance(10000 * NS_PER_MS);
	ck_assert(peer_has_nothing());
	/* The driver has not acknowledged the last one: over a load too it is still asked. */
	rig_reload();
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP | VIRTIO_NET_S_ANNOUNCE);
}

/* A driver that cannot announce itself is not asked to; the network hears of it all the same. */
TEST(announces_for_the_driver)
{
	set_up(EVERY & ~NET_FEATURE(GUEST_ANNOUNCE));
	driver_isr(&drv);
	pthread_mutex_lock(&rig.dev->lock);
	net_announce(rig.dev);
	pthread_mutex_unlock(&rig.dev->lock);
	check_rarp();
	ck_assert_uint_eq(driver_isr(&drv) & 2, 0);
	ck_assert_uint_eq(driver_config(&drv, 6, 2), VIRTIO_NET_S_LINK_UP);
}

/* Once the driver has reset the card and reads a status of 0, what it gave to the card is its own again: virtio 1.2,
 * 2.4.1. A driver may free its rings then, and the guest use that memory for anything. */
TEST(reset_leaves_memory_alone)
{
	uint8_t *before = malloc(DRIVER_RAM_BYTES);

	set_up(EVERY);
	for (uint32_t i = 0; i < 8; i++)
		offer_rx(i, 1526);
	fill_frame(frame, 1000, MAC_TEXT, 5);
	peer_send(frame, 1000);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1000 + HEADER);
	peer_send(frame, 1000); /* this one may still come */
	driver_reset(&drv);
	driver_isr(&drv);
	ck_assert_ptr_nonnull(before);
	memcpy(before, driver_ram(0), DRIVER_RAM_BYTES);
	for (int i = 0; i < 8; i++)
		peer_send(frame, 1000);
	rig_spins(50);
	ck_assert(!memcmp(before, driver_ram(0), DRIVER_RAM_BYTES));
	ck_assert_uint_eq(driver_isr(&drv), 0);
	free(before);
}

TEST(broken_ring)
{
	const struct driver_buffer read = {buffer_gpa(0), 100};

	set_up(EVERY);
	driver_add(&drv, RX, &read, 1, 0);
	driver_kick(&drv, RX);
	fill_frame(frame, 60, MAC_TEXT, 0);
	RIG_WAIT_FOR(driver_status(&drv) & 0x40);
	peer_send(frame, 60);
	no_rx();
	driver_start(&drv, "net0", EVERY);
	send_frame(1, NULL, frame, 60);
	ck_assert_uint_eq(peer_frame(), 60);
	offer_rx(0, 1526);
	ck_assert_uint_eq(driver_wait(&drv, RX), 60 + HEADER);
}

TEST(compares)
{
	struct net_state saved;
	struct error err = {""};

	set_up(EVERY);
	memcpy(&saved, device_state(rig.dev), sizeof(saved));
	ck_assert_int_eq(rig.dev->ops->compare(rig.dev, &saved, &err), 0);
	saved.hardware_mac[5]++;
	ck_assert_int_eq(rig.dev->ops->compare(rig.dev, &saved, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "52:54:00:01:02:04"));
	ck_assert_ptr_nonnull(strstr(err.msg, "52:54:00:01:02:03"));
	err.msg[0] = 0;
	saved.max_pairs = 2;
	ck_assert_int_eq(rig.dev->ops->compare(rig.dev, &saved, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "queues=2"));
	err.msg[0] = 0;
	memcpy(&saved, device_state(rig.dev), sizeof(saved));
	saved.virtio.offered |= NET_FEATURE(HOST_TSO4);
	ck_assert_int_eq(rig.dev->ops->compare(rig.dev, &saved, &err), -EINVAL);
	ck_assert(*err.msg);
}

/* Guest RAM that is not there is no fault of the connection's. */
TEST(ram_lost)
{

	set_up(EVERY);
	fill_frame(frame, 1000, MAC_TEXT, 0);
	put_frame(1, NULL, frame, 1000);
	ram_lost_begin(buffer_gpa(1));
	driver_kick(&drv, TX);
	ram_lost_end(buffer_gpa(1));
	ck_assert(peer_has_nothing());
	ck_assert(!is_disconnected());
}

UNIT_MAIN(rig_open, tear_down)
