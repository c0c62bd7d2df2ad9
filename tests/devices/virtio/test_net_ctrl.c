/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue of the network card, and what it lets through afterwards. */
#include "tests/rig/net_fixture.h"
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#define OK  VIRTIO_NET_OK
#define ERR VIRTIO_NET_ERR

static int peer = -1;
static bool is_late; /* the driver adds a command when the device has just found none */

bool late_want_kicks(struct virtq *q);

static void add_late(void)
{
	const uint64_t gpa = buffer_gpa(60);

	driver_add(&drv, CTRL, (struct driver_buffer[]){{gpa, 3}, {gpa + 8, 1}}, 1, 1);
}

/* In place of net_ctrl.c's virtq_want_kicks(). */
bool late_want_kicks(struct virtq *q)
{
	if (is_late)
		add_late();
	is_late = false;
	return virtq_want_kicks(q);
}

/* An inherited socket: there is nothing to connect to. */
static void connect_card(void)
{
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fd), 0);
	peer = fd[0];
	card.fd = fd[1];
}

static void set_up(uint64_t features)
{
	card_options(NET_FD, 1);
	connect_card();
	virtio_guest_boot();
	driver_start(&drv, "net0", features);
}

static uint8_t mode(uint8_t command, uint8_t on)
{
	return control(VIRTIO_NET_CTRL_RX, command, &on, 1);
}

/* Sends a frame to this address and then one that passes for sure: did the first one pass too? */
static bool passes_frame(const char *to, const char *tail, uint32_t bytes)
{
	struct {
		uint32_t length;
		uint8_t frame[60];
	} packet = {htonl(60), {0}};
	uint32_t n = 0;

	fill_frame(packet.frame, 60, to, 0);
	memcpy(packet.frame + 12, tail, bytes);
	for (uint32_t i = 0; i < 2; i++)
		offer_rx(i, 1526);
	ck_assert_int_eq(send(peer, &packet, sizeof(packet), 0), sizeof(packet));
	fill_frame(packet.frame, 60, MAC_TEXT, 0);
	packet.frame[59] = 0xaa;
	ck_assert_int_eq(send(peer, &packet, sizeof(packet), 0), sizeof(packet));
	do {
		ck_assert_uint_eq(driver_wait(&drv, RX), 60 + HEADER);
		n++;
	} while (((uint8_t *)driver_ram(buffer_gpa(n - 1)))[HEADER + 59] != 0xaa);
	/* The buffer that is left over goes back by a reset of the driver's view. */
	if (n == 1)
		ck_assert_int_eq(send(peer, &packet, sizeof(packet), 0), sizeof(packet));
	if (n == 1)
		driver_wait(&drv, RX);
	return n == 2;
}

static bool passes(const char *to)
{
	return passes_frame(to, "\x88\xb5", 2);
}

START_TEST(modes)
{
	set_up(EVERY & ~NET_FEATURE(CTRL_VLAN));
	ck_assert(passes("\x52\x54\0\0\0\x77")); /* promiscuous from the start */
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_PROMISC, 0), OK);
	ck_assert(!passes("\x52\x54\0\0\0\x77"));
	ck_assert(passes("\xff\xff\xff\xff\xff\xff"));
	ck_assert(!passes("\x33\x33\0\0\0\x01"));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
	ck_assert(passes("\x33\x33\0\0\0\x01"));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOMULTI, 1), OK);
	ck_assert(!passes("\x33\x33\0\0\0\x01"));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), OK);
	ck_assert(passes("\x52\x54\0\0\0\x77"));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1), OK);
	ck_assert(!passes("\xff\xff\xff\xff\xff\xff"));
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_NOBCAST + 1, 1), ERR);
	virtio_guest_end();
}
END_TEST

static uint32_t table(uint8_t *to, uint32_t nunicast, uint32_t nmulticast)
{
	uint32_t at = 0;

	memcpy(to, &nunicast, 4);
	at += 4;
	for (uint32_t i = 0; i < nunicast; i++, at += 6)
		memcpy(to + at, (uint8_t[]){0x52, 0x54, 1, 0, 0, (uint8_t)i}, 6);
	memcpy(to + at, &nmulticast, 4);
	at += 4;
	for (uint32_t i = 0; i < nmulticast; i++, at += 6)
		memcpy(to + at, (uint8_t[]){0x33, 0x33, 1, 0, 0, (uint8_t)i}, 6);
	return at;
}

static uint8_t set_table(uint32_t nunicast, uint32_t nmulticast, int more_bytes)
{
	uint8_t data[2048] = {0};
	uint32_t bytes = table(data, nunicast, nmulticast);

	return control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, data,
		       (uint32_t)((int)bytes + more_bytes));
}

START_TEST(mac_table)
{
	static const uint8_t lie[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};
	struct net_info info;

	set_up(EVERY & ~NET_FEATURE(CTRL_VLAN));
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(set_table(3, 2, 0), OK);
	ck_assert(passes("\x52\x54\x01\0\0\x02"));
	ck_assert(!passes("\x52\x54\x01\0\0\x03"));
	ck_assert(passes("\x33\x33\x01\0\0\x01"));
	ck_assert(!passes("\x33\x33\x01\0\0\x02"));
	/* Wrong in any part: nothing changes. */
	ck_assert_uint_eq(set_table(1, 1, -1), ERR);
	ck_assert_uint_eq(set_table(1, 1, 1), ERR);
	ck_assert_uint_eq(
		control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, lie, sizeof(lie)), ERR);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_TABLE_SET, NULL, 0),
			  ERR);
	query(&info);
	ck_assert_uint_eq(info.nunicast, 3);
	ck_assert_uint_eq(info.nmulticast, 2);
	ck_assert_mem_eq(info.unicast_table[2], "\x52\x54\x01\0\0\x02", 6);
	ck_assert_mem_eq(info.multicast_table[1], "\x33\x33\x01\0\0\x01", 6);
	ck_assert(!info.promiscuous);
	/* One list too long for what the other leaves: all of its kind pass. */
	ck_assert_uint_eq(set_table(60, 4, 0), OK);
	query(&info);
	ck_assert(!info.unicast_overflow && !info.multicast_overflow);
	ck_assert_uint_eq(set_table(60, 5, 0), OK);
	query(&info);
	ck_assert(!info.unicast_overflow && info.multicast_overflow);
	ck_assert_uint_eq(info.nmulticast, 0);
	ck_assert(passes("\x33\x33\x77\0\0\x07"));
	ck_assert(!passes("\x52\x54\x01\0\0\x3c"));
	ck_assert_uint_eq(set_table(65, 1, 0), OK);
	ck_assert(passes("\x52\x54\x77\0\0\x07"));
	ck_assert(!passes("\x33\x33\x77\0\0\x07"));
	virtio_guest_end();
}
END_TEST

START_TEST(vlans)
{
	const uint16_t vlan = 0x123, none = 0x1000;

	set_up(EVERY);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert(passes("\xff\xff\xff\xff\xff\xff"));
	ck_assert(!passes_frame("\xff\xff\xff\xff\xff\xff", "\x81\0\x31\x23", 4));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2), OK);
	ck_assert(passes_frame("\xff\xff\xff\xff\xff\xff", "\x81\0\x31\x23", 4));
	ck_assert(!passes_frame("\xff\xff\xff\xff\xff\xff", "\x81\0\x31\x24", 4));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_DEL, &vlan, 2), OK);
	ck_assert(!passes_frame("\xff\xff\xff\xff\xff\xff", "\x81\0\x31\x23", 4));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &none, 2), ERR);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 1), ERR);
	virtio_guest_end();
}
END_TEST

START_TEST(mac)
{
	set_up(EVERY);
	ck_assert_uint_eq(
		control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\x52\x54\0\0\0\x99", 6),
		OK);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "12345", 5),
			  ERR);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x990000005452);
	/* A driver that starts anew finds the option's. */
	driver_start(&drv, "net0", EVERY);
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x030201005452);
	virtio_guest_end();
}
END_TEST

START_TEST(refused)
{
	const uint64_t offloads = 0;
	const uint16_t pairs = 1;
	const uint8_t on = 1;

	set_up(EVERY & ~NET_FEATURE(CTRL_RX_EXTRA));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
			  ERR); /* nobody asked */
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
			  ERR);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8),
			  ERR);
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLUNI, 1), ERR);
	ck_assert_uint_eq(mode(VIRTIO_NET_CTRL_RX_ALLMULTI, 1), OK);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, NULL, 0), ERR);
	ck_assert_uint_eq(control(77, 0, &on, 1), ERR);
	virtio_guest_end();
}
END_TEST

/* Whichever pass of a turn it is, a command that comes as the queue was found empty is taken. */
START_TEST(comes_late)
{
	set_up(EVERY);
	memcpy(driver_ram(buffer_gpa(60)),
	       (uint8_t[]){VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, 1}, 3);
	for (uint32_t n = DRIVER_QUEUE_SIZE - 2; n < DRIVER_QUEUE_SIZE; n++) {
		pthread_mutex_lock(&drv.dev->lock);
		is_late = true;
		/* The same one over and over: so are the descriptors that they share. */
		for (uint32_t i = 0; i < n; i++)
			add_late();
		pthread_mutex_unlock(&drv.dev->lock);
		driver_kick(&drv, CTRL);
		for (uint32_t i = 0; i <= n; i++)
			ck_assert_uint_eq(driver_wait(&drv, CTRL), 1);
	}
	virtio_guest_end();
}
END_TEST

START_TEST(odd_chains)
{
	const struct driver_buffer byte = {buffer_gpa(0), 1}, two = {buffer_gpa(0), 2};
	const struct driver_buffer split[] = {{buffer_gpa(0), 1},
					      {buffer_gpa(0) + 1, 1},
					      {buffer_gpa(0) + 2, 1},
					      {buffer_gpa(1), 1}};

	set_up(EVERY);
	/* No room for an answer, no header, a header in pieces. */
	driver_add(&drv, CTRL, &two, 1, 0);
	driver_kick(&drv, CTRL);
	ck_assert_uint_eq(driver_wait(&drv, CTRL), 0);
	driver_add(&drv, CTRL, (struct driver_buffer[]){byte, split[3]}, 1, 1);
	driver_kick(&drv, CTRL);
	ck_assert_uint_eq(driver_wait(&drv, CTRL), 1);
	ck_assert_uint_eq(*(uint8_t *)driver_ram(buffer_gpa(1)), ERR);
	memcpy(driver_ram(buffer_gpa(0)),
	       (uint8_t[]){VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_ALLMULTI, 1}, 3);
	driver_add(&drv, CTRL, split, 3, 1);
	driver_kick(&drv, CTRL);
	ck_assert_uint_eq(driver_wait(&drv, CTRL), 1);
	ck_assert_uint_eq(*(uint8_t *)driver_ram(buffer_gpa(1)), OK);
	ck_assert_uint_eq(net_state(drv.dev)->allmulti, 1);
	virtio_guest_end();
}
END_TEST

/* All that the driver has asked for is the same after a load, and so is what passes. */
START_TEST(survives_a_load)
{
	const uint16_t vlan = 7;
	struct net_info before, after;

	set_up(EVERY);
	mode(VIRTIO_NET_CTRL_RX_PROMISC, 0);
	mode(VIRTIO_NET_CTRL_RX_NOBCAST, 1);
	set_table(2, 62, 0);
	control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &vlan, 2);
	control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "\x52\x54\0\0\0\x99", 6);
	query(&before);
	close(peer);
	connect_card();
	virtio_guest_reload();
	drv.dev = devices_find(&rig.vm, "net0");
	query(&after);
	after.id = before.id;
	memcpy(after.backend, before.backend, sizeof(after.backend));
	ck_assert_mem_eq(&before, &after, sizeof(before));
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x990000005452);
	virtio_guest_end();
}
END_TEST

/* A descriptor is the card's alone: who is at its other end sees the card close it. */
START_TEST(hangs_up)
{
	const uint32_t nonsense = 0;
	uint8_t byte;

	set_up(EVERY);
	ck_assert_int_eq(send(peer, &nonsense, sizeof(nonsense), 0), sizeof(nonsense));
	offer_rx(0, 1526);
	RIG_WAIT_FOR(recv(peer, &byte, 1, MSG_DONTWAIT) == 0);
	virtio_guest_end();
}
END_TEST

START_TEST(checks_states)
{
	const struct state_desc *desc;
	struct net_state good, bad;

	set_up(EVERY);
	desc = drv.dev->ops->state;
	memcpy(&good, drv.dev->state, sizeof(good));
	ck_assert_ptr_null(desc->check(&good));
#define REFUSES(change)                       \
	do {                                  \
		bad = good;                   \
		change;                       \
		ck_assert(desc->check(&bad)); \
	} while (0)
	REFUSES(bad.pairs = 0);
	REFUSES(bad.pairs = 2);
	REFUSES(bad.max_pairs = 2);
	REFUSES(bad.max_pairs = 0);
	REFUSES((bad.max_pairs = 2, bad.pairs = 2, bad.virtio.nqueues = 5));
	REFUSES(bad.offloads = NET_FEATURE(GUEST_TSO4));
	REFUSES(bad.offloads = NET_FEATURE(MAC));
	REFUSES(bad.nunicast = 65);
	REFUSES((bad.nunicast = 60, bad.nmulticast = 5));
	REFUSES((bad.nunicast = 60, bad.nmulticast = UINT32_MAX));
	REFUSES(bad.promisc = 2);
	REFUSES(bad.link_down = 2);
	REFUSES(bad.announce = 4);
	REFUSES(bad.offloads_chosen = 2);
	REFUSES(bad.pad[4] = 1);
	virtio_guest_end();
}
END_TEST

RIG_MAIN("net-ctrl", modes, mac_table, vlans, mac, refused, comes_late, odd_chains, hangs_up,
	 survives_a_load, checks_states)
