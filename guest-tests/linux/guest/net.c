/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One TCP connection, made once, to a peer outside the host; the stream in it proves itself. */
#include "guest.h"
#include "stream.h"
#include <arpa/inet.h>
#include <errno.h>
#include <linux/sockios.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>

#define ADDRESS "10.0.2.50/24"
#define PEER	"10.0.2.2"

static struct stream stream;
static long port;
static unsigned int frame_ms;
static atomic_bool connected;
static volatile sig_atomic_t stop;

/* What was sent and not acknowledged yet. */
static int unacked_bytes(void)
{
	int queued = 0, unsent = 0;

	if (ioctl(stream.fd, SIOCOUTQ, &queued) || ioctl(stream.fd, SIOCOUTQNSD, &unsent))
		bad("net: SIOCOUTQ: %s", strerror(errno));
	return queued - unsent;
}

static void *run(void *argument)
{
	struct sockaddr_in peer = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
	int ret;

	(void)argument;
	inet_aton(PEER, &peer.sin_addr);
	if (system("ip link set eth0 up && ip address add " ADDRESS " dev eth0")) {
		bad("net: no eth0");
		return NULL;
	}
	stream.fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (connect(stream.fd, (struct sockaddr *)&peer, sizeof(peer))) {
		bad("net: connect: %s", strerror(errno));
		return NULL;
	}
	print("GUEST net connected");
	atomic_store(&connected, true);
	ret = stream_run(&stream, frame_ms, &stop);
	if (stop)
		return NULL;
	bad("net: the connection ended: %s", ret ? strerror(-ret) : "closed");
	return NULL;
}

void net_start(long to_port, unsigned int period_ms)
{
	if (!to_port)
		return;
	port = to_port;
	frame_ms = period_ms;
	thread_start(run, NULL);
}

/* Linux breaks the queues of virtio devices when it shuts down, and its card's driver then tries to send
 * for ever, which holds up the power-off. */
void net_stop(void)
{
	stop = 1;
	if (port && system("ip link set eth0 down"))
		bad("net: eth0 stays up");
}

size_t net_poll(char *text, size_t size)
{
	if (!atomic_load(&connected))
		return 0;
	if (stream.wrong || stream.peer_wrong)
		bad("net: %llu frames wrong here, %llu there", (unsigned long long)stream.wrong,
		    (unsigned long long)stream.peer_wrong);
	return (size_t)snprintf(text, size, " sent=%llu received=%llu unacked=%d",
				(unsigned long long)stream.sent,
				(unsigned long long)stream.received, unacked_bytes());
}
