/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/notify.h"
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* Between two calls of notify_busy() there is about a second, more on a slow disk. */
#define EXTEND "EXTEND_TIMEOUT_USEC=120000000"

static bool is_ready;

/* Not libsystemd's sd_notify(3): it waits for a manager that does not read, whose queue all services share, and here the
 * main thread would wait, with the guest paused. A status may be lost. */
static void tell(const char *state, const char *status, bool waits)
{
	const char *path = getenv("NOTIFY_SOCKET");
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	size_t n = path ? strlen(path) : 0;
	char text[512];
	int fd, len;

	if (!n || n >= sizeof(address.sun_path))
		return;
	memcpy(address.sun_path, path, n);
	if (*path == '@')
		address.sun_path[0] = '\0';
	fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return;
	len = snprintf(text, sizeof(text), "STATUS=%s\n%s", status, state);
	(void)!sendto(fd, text, (size_t)len < sizeof(text) ? (size_t)len : sizeof(text) - 1,
		      MSG_NOSIGNAL | (waits ? 0 : MSG_DONTWAIT), (struct sockaddr *)&address,
		      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + n));
	close(fd);
}

/* READY must arrive, so it waits, in a thread of its own. */
static void *send_ready(void *status)
{
	tell("READY=1", status, true);
	return NULL;
}

void notify_ready(const char *status)
{
	pthread_t thread;

	is_ready = true;
	if (!getenv("NOTIFY_SOCKET"))
		return;
	if (pthread_create(&thread, NULL, send_ready, (void *)status))
		tell("READY=1", status, false);
	else
		pthread_detach(thread);
}

void notify_status(const char *status)
{
	if (is_ready)
		tell("", status, false);
}

void notify_busy(const char *status)
{
	tell(EXTEND, status, false);
}

void notify_stopping(void)
{
	if (is_ready)
		tell("STOPPING=1", "ends", false);
}
