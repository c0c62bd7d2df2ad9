/* SPDX-License-Identifier: GPL-2.0-or-later */
/* peer [PERIOD_MS]: the other end of the guest's TCP connection, outside the host. Listens on
 * 127.0.0.1 and prints "port N"; serves one connection until it ends or SIGTERM comes, then prints
 * what it saw. Exit status: 0 only if every frame was right and the one connection was the only. */
#include "guest/stream.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define FRAMES_MIN 100
#define PERIOD_MS  20

static volatile sig_atomic_t stop;
static struct stream stream = {.side = 1};
static double last_s, longest_s;

static void on_term(int signal)
{
	(void)signal;
	stop = 1;
}

static double now_s(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* The longest silence is the guest's downtime, as the outside sees it. */
static void on_frame(struct stream *s)
{
	double now = now_s();

	if (last_s > 0 && now - last_s > 1)
		printf("silence of %.1f s before frame %llu\n", now - last_s,
		       (unsigned long long)s->received);
	if (last_s > 0 && now - last_s > longest_s)
		longest_s = now - last_s;
	last_s = now;
}

static int listen_here(void)
{
	struct sockaddr_in address = {.sin_family = AF_INET};
	socklen_t length = sizeof(address);
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

	address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) || listen(fd, 8) ||
	    getsockname(fd, (struct sockaddr *)&address, &length)) {
		perror("peer");
		exit(1);
	}
	printf("port %u\n", ntohs(address.sin_port));
	return fd;
}

static unsigned int more_connections(int listener)
{
	unsigned int n = 0;

	fcntl(listener, F_SETFL, O_NONBLOCK);
	while (accept(listener, NULL, NULL) >= 0)
		n++;
	return n;
}

int main(int argc, char **argv)
{
	struct sigaction action = {.sa_handler = on_term}; /* no SA_RESTART: accept() ends */
	unsigned int period_ms = argc > 1 ? (unsigned int)strtoul(argv[1], NULL, 10) : PERIOD_MS,
		     more;
	int listener, ret = -ENOTCONN, good;

	setvbuf(stdout, NULL, _IOLBF, 0);
	sigaction(SIGTERM, &action, NULL);
	listener = listen_here();
	stream.fd = accept(listener, NULL, NULL);
	stream.on_frame = on_frame;
	if (stream.fd >= 0)
		ret = stream_run(&stream, period_ms, &stop);
	more = more_connections(listener);
	good = stream.received >= FRAMES_MIN && stream.peer_received >= FRAMES_MIN &&
	       !stream.wrong && !stream.peer_wrong && !more;
	printf("peer: %s: %llu frames from the guest, %llu to it, %llu and %llu wrong, %u more "
	       "connections, longest silence %.1f s, end: %s\n",
	       good ? "ok" : "NOT OK", (unsigned long long)stream.received,
	       (unsigned long long)stream.peer_received, (unsigned long long)stream.wrong,
	       (unsigned long long)stream.peer_wrong, more, longest_s,
	       ret ? strerror(-ret) : "closed");
	return !good;
}
