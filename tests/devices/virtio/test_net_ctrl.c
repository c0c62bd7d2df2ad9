/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue of the network card. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/unit.h"
#include <sys/socket.h>
#include <unistd.h>

#define OK  VIRTIO_NET_OK
#define ERR VIRTIO_NET_ERR

/* A command that anybody may give who has negotiated it. */
static const uint8_t set_mac[] = {
	VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, 0x52, 0x54, 0, 0, 0, 0x99};

static int peer = -1;
static bool is_late; /* the driver adds a command when the device has just found none */

bool __real_virtq_want_kicks(struct virtq *q);
bool __wrap_virtq_want_kicks(struct virtq *q);

static void add_late(void)
{
	const uint64_t gpa = buffer_gpa(60);

	driver_add(&drv, CTRL, (struct driver_buffer[]){{gpa, sizeof(set_mac)}, {gpa + 8, 1}}, 1,
		   1);
}

/* Adds the command after the device has found the control queue empty, before it asks for kicks. */
bool __wrap_virtq_want_kicks(struct virtq *q)
{
	if (is_late && q == &net_of(rig.dev)->virtio.queue[CTRL].q) {
		is_late = false;
		add_late();
	}
	return __real_virtq_want_kicks(q);
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

TEST(mac)
{
	set_up(EVERY);
	ck_assert_uint_eq(
		control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, set_mac + 2, 6), OK);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, "12345", 5),
			  ERR);
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x990000005452);
	/* A driver that starts anew finds the option's. */
	driver_start(&drv, "net0", EVERY);
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x030201005452);
}

TEST(refused)
{
	const uint64_t offloads = 0;
	const uint16_t pairs = 1;
	const uint8_t on = 1;

	set_up(EVERY & ~NET_FEATURE(CTRL_MAC_ADDR));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, NULL, 0),
			  ERR); /* nobody asked */
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
			  ERR);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &offloads, 8),
			  ERR);
	ck_assert_uint_eq(
		control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, set_mac + 2, 6), ERR);
	/* There is no receive filter. */
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_RX, VIRTIO_NET_CTRL_RX_PROMISC, &on, 1), ERR);
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_VLAN, VIRTIO_NET_CTRL_VLAN_ADD, &pairs, 2), ERR);
	ck_assert_uint_eq(control(77, 0, &on, 1), ERR);
}

/* Whichever pass of a turn it is, a command that comes as the queue was found empty is taken. */
TEST(comes_late)
{
	set_up(EVERY);
	memcpy(driver_ram(buffer_gpa(60)), set_mac, sizeof(set_mac));
	for (uint32_t n = DRIVER_QUEUE_SIZE - 2; n < DRIVER_QUEUE_SIZE; n++) {
		pthread_mutex_lock(&rig.dev->lock);
		is_late = true;
		/* The same one over and over: so are the descriptors that they share. */
		for (uint32_t i = 0; i < n; i++)
			add_late();
		pthread_mutex_unlock(&rig.dev->lock);
		driver_kick(&drv, CTRL);
		for (uint32_t i = 0; i <= n; i++)
			ck_assert_uint_eq(driver_wait(&drv, CTRL), 1);
	}
}

TEST(odd_chains)
{
	const struct driver_buffer byte = {buffer_gpa(0), 1}, two = {buffer_gpa(0), 2};
	const struct driver_buffer split[] = {{buffer_gpa(0), 1},
					      {buffer_gpa(0) + 1, 1},
					      {buffer_gpa(0) + 2, sizeof(set_mac) - 2},
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
	memcpy(driver_ram(buffer_gpa(0)), set_mac, sizeof(set_mac));
	driver_add(&drv, CTRL, split, 3, 1);
	driver_kick(&drv, CTRL);
	ck_assert_uint_eq(driver_wait(&drv, CTRL), 1);
	ck_assert_uint_eq(*(uint8_t *)driver_ram(buffer_gpa(1)), OK);
	ck_assert_mem_eq(net_of(rig.dev)->s.mac, set_mac + 2, 6);
}

TEST(survives_a_load)
{
	set_up(EVERY);
	control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, set_mac + 2, 6);
	close(peer);
	connect_card();
	rig_reload();
	ck_assert_uint_eq(driver_config(&drv, 0, 6), 0x990000005452);
}

/* A descriptor is the card's alone: who is at its other end sees the card close it. */
TEST(hangs_up)
{
	const uint32_t nonsense = 0;
	uint8_t byte;

	set_up(EVERY);
	ck_assert_int_eq(send(peer, &nonsense, sizeof(nonsense), 0), sizeof(nonsense));
	offer_rx(0, 1526);
	RIG_WAIT_FOR(recv(peer, &byte, 1, MSG_DONTWAIT) == 0);
}

TEST(checks_states)
{
	const struct state_desc *desc;
	struct net_state good, bad;

	set_up(EVERY);
	desc = rig.dev->ops->state;
	memcpy(&good, device_state(rig.dev), sizeof(good));
	ck_assert_int_eq(state_check(desc, &good, NULL), 0);
#define REFUSES(change)                                   \
	do {                                              \
		bad = good;                               \
		change;                                   \
		ck_assert(state_check(desc, &bad, NULL)); \
	} while (0)
	REFUSES(bad.pairs = 0);
	REFUSES(bad.pairs = 2);
	REFUSES(bad.max_pairs = 2);
	REFUSES(bad.max_pairs = 0);
	REFUSES((bad.max_pairs = 2, bad.pairs = 2, bad.virtio.nqueues = 5));
	REFUSES(bad.offloads = NET_FEATURE(GUEST_TSO4));
	REFUSES(bad.offloads = NET_FEATURE(MAC));
	REFUSES(bad.link_down = 2);
	REFUSES(bad.announce = 4);
	REFUSES(bad.offloads_chosen = 2);
	REFUSES(bad.pad[4] = 1);
}

UNIT_MAIN(rig_open, rig_close)
