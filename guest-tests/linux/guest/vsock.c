/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A connection to the host by vsock: numbers that have to come back. When it ends, as it does when
 * the host is another one, the next one is made. */
#include "guest.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <linux/vm_sockets.h>
#include <unistd.h>

#define PAUSE_US 100000

static long port;

/* Returns why it ended. */
static int talk(int fd)
{
	char text[32], answer[32];
	ssize_t n;

	for (unsigned long number = 1;; number++) {
		int length = snprintf(text, sizeof(text), "%lu\n", number);

		if (send(fd, text, (size_t)length, MSG_NOSIGNAL) != length)
			return errno;
		n = recv(fd, answer, sizeof(answer), 0);
		if (n <= 0)
			return n ? errno : 0;
		if (n != length || memcmp(text, answer, (size_t)n))
			bad("vsock: '%.*s' came back for '%.*s'", (int)n - 1, answer, length - 1,
			    text);
		if (number == 1)
			print("GUEST vsock talks");
		usleep(PAUSE_US);
	}
}

static void *run(void *argument)
{
	struct sockaddr_vm host = {.svm_family = AF_VSOCK, .svm_cid = VMADDR_CID_HOST};

	(void)argument;
	host.svm_port = (unsigned int)port;
	for (;;) {
		int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

		if (fd < 0) {
			bad("vsock: %s", strerror(errno));
			return NULL;
		}
		if (!connect(fd, (struct sockaddr *)&host, sizeof(host)))
			print("GUEST vsock ended: %s", strerror(talk(fd)));
		close(fd);
		usleep(PAUSE_US);
	}
}

void vsock_start(long to_port)
{
	port = to_port;
	if (port)
		thread_start(run, NULL);
}
