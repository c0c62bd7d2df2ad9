/* SPDX-License-Identifier: GPL-2.0-or-later */
/* net-peer unix:SOCKET | tap:IFNAME | bridge:IFNAME - the other end of the guest "net". Sends each of its frames back,
 * behind one for somebody else that the guest has to drop. Over a socket it takes one VMM after the other; a tap or a
 * bridge it makes itself. Ends by SIGTERM with "ECHOES echoes RARPS rarps CONNECTIONS connections", or with status 1 and why. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define FRAME_BYTES  4096
#define ECHO_TYPE    0x88b5 /* local experimental */

static volatile sig_atomic_t is_over;
static uint64_t echoes, rarps, connections;

static void on_term(int signal)
{
	(void)signal;
	is_over = 1;
}

static void fail(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(EXIT_FAILURE);
}

/* Reads or writes all of it; false: the other end is gone, or it is over. */
static bool all(int fd, void *data, size_t bytes, bool is_write)
{
	for (size_t at = 0; at < bytes;) {
		uint8_t *here = (uint8_t *)data + at;
		ssize_t n = is_write ? send(fd, here, bytes - at, MSG_NOSIGNAL)
				     : read(fd, here, bytes - at);

		if (n <= 0)
			return false;
		at += (size_t)n;
	}
	return true;
}

/* A frame behind its length, or on a tap without it. */
static bool send_frame(int fd, bool is_tap, uint8_t *frame, uint32_t bytes)
{
	uint32_t length = htonl(bytes);

	memcpy(frame - LENGTH_BYTES, &length, sizeof(length));
	return is_tap ? send(fd, frame, bytes, 0) == (ssize_t)bytes || errno == ENOBUFS
		      : all(fd, frame - LENGTH_BYTES, LENGTH_BYTES + bytes, true);
}

static uint32_t receive_frame(int fd, bool is_tap, uint8_t *frame)
{
	uint32_t length;

	if (is_tap) {
		ssize_t n = read(fd, frame, FRAME_BYTES);

		return n > 0 ? (uint32_t)n : 0;
	}
	if (!all(fd, &length, sizeof(length), false))
		return 0;
	length = ntohl(length);
	if (length > FRAME_BYTES || length < ETH_HLEN) {
		errno = EPROTO;
		fail("a frame's length");
	}
	return all(fd, frame, length, false) ? length : 0;
}

static bool answer(int fd, bool is_tap, uint8_t *frame, uint32_t bytes)
{
	const uint16_t type = (uint16_t)(frame[12] << 8 | frame[13]);
	uint8_t own[ETH_ALEN] = {2, 0, 0, 0, 0, 1};

	rarps += type == ETH_P_RARP;
	if (type != ECHO_TYPE)
		return true;
	memcpy(frame, "\2\0\0\0\0\x99", ETH_ALEN);
	if (!send_frame(fd, is_tap, frame, bytes))
		return false;
	memcpy(frame, frame + ETH_ALEN, ETH_ALEN);
	memcpy(frame + ETH_ALEN, own, ETH_ALEN);
	echoes++;
	return send_frame(fd, is_tap, frame, bytes);
}

static void serve(int fd, bool is_tap)
{
	uint8_t buffer[LENGTH_BYTES + FRAME_BYTES], *frame = buffer + LENGTH_BYTES;

	connections++;
	while (!is_over) {
		uint32_t bytes = receive_frame(fd, is_tap, frame);

		if (bytes && answer(fd, is_tap, frame, bytes))
			continue;
		/* An interface that went down for a moment says so once. */
		if (!is_tap)
			break;
	}
	close(fd);
}

static void by_socket(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) || listen(fd, 4))
		fail(path);
	while (!is_over) {
		int client = accept4(fd, NULL, NULL, SOCK_CLOEXEC);

		if (client >= 0)
			serve(client, false);
	}
}

/* One that stays when a VMM ends. */
static void make_tap(const char *name)
{
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
	struct ifreq ifr = {.ifr_flags = IFF_TAP | IFF_NO_PI | IFF_VNET_HDR};

	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	if (fd < 0 || ioctl(fd, TUNSETIFF, &ifr) || ioctl(fd, TUNSETPERSIST, 1))
		fail("no tap (as root, with /dev/net/tun)");
	close(fd);
}

static void set_up(const char *name)
{
	int wire = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	strncpy(ifr.ifr_name, name, sizeof(ifr.ifr_name) - 1);
	if (ioctl(wire, SIOCGIFFLAGS, &ifr))
		fail(name);
	ifr.ifr_flags |= IFF_UP;
	if (ioctl(wire, SIOCSIFFLAGS, &ifr))
		fail(name);
	ifr.ifr_mtu = FRAME_BYTES - ETH_HLEN;
	if (ioctl(wire, SIOCSIFMTU, &ifr))
		fail(name);
	close(wire);
}

static void make_bridge(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (ioctl(fd, SIOCBRADDBR, name))
		fail("no bridge (as root, with the module bridge)");
	close(fd);
}

/* What a host sees at its interface. Of a bridge it is every frame, also one that is for nobody there. */
static void by_interface(const char *name)
{
	struct packet_mreq every = {.mr_type = PACKET_MR_PROMISC};
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	int fd, on = 1;

	set_up(name);
	fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC, 0);
	addr.sll_ifindex = every.mr_ifindex = (int)if_nametoindex(name);
	if (fd < 0 || setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &every, sizeof(every)) ||
	    setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) ||
	    bind(fd, (struct sockaddr *)&addr, sizeof(addr)))
		fail(name);
	puts("ready");
	fflush(stdout);
	serve(fd, true);
}

int main(int argc, char **argv)
{
	const struct sigaction action = {.sa_handler = on_term};

	sigaction(SIGTERM, &action, NULL);
	if (argc == 2 && !strncmp(argv[1], "unix:", 5)) {
		by_socket(argv[1] + 5);
	} else if (argc == 2 && !strncmp(argv[1], "tap:", 4)) {
		make_tap(argv[1] + 4);
		by_interface(argv[1] + 4);
	} else if (argc == 2 && !strncmp(argv[1], "bridge:", 7)) {
		make_bridge(argv[1] + 7);
		by_interface(argv[1] + 7);
	} else {
		fprintf(stderr, "usage: net-peer unix:SOCKET | tap:IFNAME | bridge:IFNAME\n");
		return EXIT_FAILURE;
	}
	printf("%" PRIu64 " echoes %" PRIu64 " rarps %" PRIu64 " connections\n", echoes, rarps,
	       connections);
	return EXIT_SUCCESS;
}
