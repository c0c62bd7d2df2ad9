/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Answers each line that comes through a virtio console or port with the same line. */
#include "guest.h"
#include <fcntl.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <termios.h>
#include <unistd.h>

#define PORTS	 "/sys/class/virtio-ports/*/name"
#define PAUSE_US 100000

static void *run(void *argument)
{
	int fd = (int)(intptr_t)argument;
	char text[4096];
	ssize_t n;

	for (;;) {
		n = read(fd, text, sizeof(text));
		if (n <= 0)
			usleep(PAUSE_US); /* nobody is connected on the host's side */
		else if (write(fd, text, (size_t)n) != n)
			print("GUEST port: nobody took %zd bytes", n);
	}
	return NULL;
}

static void echo_on(const char *path)
{
	int fd = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY);
	struct termios t;

	if (fd < 0)
		return;
	if (!tcgetattr(fd, &t)) {
		cfmakeraw(&t);
		tcsetattr(fd, TCSANOW, &t);
	}
	print("GUEST echo on %s", path);
	thread_start(run, (void *)(intptr_t)fd);
}

/* "/sys/class/virtio-ports/vport2p1/name" -> "/dev/vport2p1"; the console's port has no name. */
void port_start(void)
{
	char name[64], path[64];
	glob_t list;

	echo_on("/dev/hvc0");
	if (glob(PORTS, 0, NULL, &list))
		return;
	for (size_t i = 0; i < list.gl_pathc; i++) {
		const char *port = strstr(list.gl_pathv[i], "/vport");

		if (!port || !read_line(list.gl_pathv[i], name, sizeof(name)))
			continue;
		snprintf(path, sizeof(path), "/dev%.*s", (int)strcspn(port + 1, "/") + 1, port);
		echo_on(path);
	}
	globfree(&list);
}
