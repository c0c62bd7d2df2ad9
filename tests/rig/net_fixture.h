/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/net_fixture.h - a network card in the rig, with a guest's driver on one side.
 * Owns: the options of one card.
 * Threads: one; the card has its own. */
#ifndef TESTS_RIG_NET_FIXTURE_H
#define TESTS_RIG_NET_FIXTURE_H
#include "devices/virtio/virtio_net.h"
#include "tests/rig/virtio_driver.h"
#include <fcntl.h>
#include <sched.h>
#include <string.h>
#include <unistd.h>

#define RX	 0
#define TX	 1
#define CTRL	 2
#define HEADER	 sizeof(struct virtio_net_hdr_v1)
#define EVERY	 UINT64_MAX
#define TAP	 "stasis0"
#define MAC_TEXT "\x52\x54\x00\x01\x02\x03"

static struct net_config card;
static struct driver drv;

/* A buffer of the test's, of up to 64 KiB; each has its place. */
static inline uint64_t buffer_gpa(uint32_t i)
{
	return DRIVER_BUFFERS + ((uint64_t)i << 16);
}

static inline void offer_rx(uint32_t i, uint32_t bytes)
{
	const struct driver_buffer buffer = {buffer_gpa(i), bytes};

	memset(driver_ram(buffer.gpa), 0xee, bytes);
	driver_add(&drv, RX, &buffer, 0, 1);
	driver_kick(&drv, RX);
}

static inline void fill_frame(uint8_t *frame, uint32_t bytes, const char *to, uint32_t seed)
{
	memcpy(frame, to, 6);
	memcpy(frame + 6, "\x02\0\0\0\0\x09\x88\xb5", 8); /* local experimental EtherType */
	for (uint32_t i = 14; i < bytes; i++)
		frame[i] = (uint8_t)(seed + i * 7 + i / 256);
}

/* A frame to send behind a header, NULL: all zeroes; the device is not kicked. */
static inline void put_frame(uint32_t i, const struct virtio_net_hdr_v1 *header,
			     const uint8_t *frame, uint32_t bytes)
{
	const struct driver_buffer buffer[] = {{buffer_gpa(i), HEADER},
					       {buffer_gpa(i) + HEADER, bytes}};

	memset(driver_ram(buffer[0].gpa), 0, HEADER);
	if (header)
		memcpy(driver_ram(buffer[0].gpa), header, HEADER);
	memcpy(driver_ram(buffer[1].gpa), frame, bytes);
	driver_add(&drv, TX, buffer, 2, 0);
}

static inline void send_frame(uint32_t i, const struct virtio_net_hdr_v1 *header,
			      const uint8_t *frame, uint32_t bytes)
{
	put_frame(i, header, frame, bytes);
	driver_kick(&drv, TX);
}

/* Returns the device's answer. */
static inline uint8_t control_at(uint32_t queue, uint8_t class, uint8_t command, const void *data,
				 uint32_t bytes)
{
	const uint64_t gpa = buffer_gpa(60);
	const struct driver_buffer buffer[] = {{gpa, 2}, {gpa + 16, bytes}, {gpa + 8, 1}};
	const struct driver_buffer bare[] = {{gpa, 2}, {gpa + 8, 1}};
	uint8_t *at = driver_ram(gpa);

	at[0] = class;
	at[1] = command;
	at[8] = 0x55;
	if (bytes)
		memcpy(at + 16, data, bytes);
	driver_add(&drv, queue, bytes ? buffer : bare, bytes ? 2 : 1, 1);
	driver_kick(&drv, queue);
	ck_assert_uint_eq(driver_wait(&drv, queue), 1);
	return at[8];
}

static inline uint8_t control(uint8_t class, uint8_t command, const void *data, uint32_t bytes)
{
	return control_at(CTRL, class, command, data, bytes);
}

static inline void card_options(enum net_kind kind, uint32_t queues)
{
	card = (struct net_config){
		.id = "net0", .kind = kind, .queues = queues, .vhost = AUTO_OFF, .fd = -1};
	memcpy(card.mac, MAC_TEXT, sizeof(card.mac));
	rig.opt.net = &card;
	rig.opt.nnets = 1;
	rig.opt.serial.kind = CHARDEV_NONE;
}

/* Nothing but the test's packets is to cross the tap. */
static inline void no_ipv6(void)
{
	int fd = open("/proc/sys/net/ipv6/conf/default/disable_ipv6", O_WRONLY | O_CLOEXEC);

	ck_assert(fd < 0 || write(fd, "1", 1) == 1);
	if (fd >= 0)
		close(fd);
}

/* A card with a tap, in a network namespace of the test's. */
static inline void tap_options(uint32_t queues)
{
	ck_assert_msg(!unshare(CLONE_NEWNET) && !access("/dev/net/tun", R_OK | W_OK),
		      "these tests make a tap in a network namespace: run them as root, with "
		      "/dev/net/tun there (modprobe tun)");
	no_ipv6();
	card_options(NET_TAP, queues);
	strcpy(card.path, TAP);
}

static inline void set_link(bool up)
{
	struct device *dev = devices_find(&rig.vm, "net0");

	pthread_mutex_lock(&dev->lock);
	net_set_link(dev, up);
	pthread_mutex_unlock(&dev->lock);
}
#endif
