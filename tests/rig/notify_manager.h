/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/notify_manager.h - a service manager for a test: NOTIFY_SOCKET leads to it. Its socket is the caller's. */
#ifndef TESTS_RIG_NOTIFY_MANAGER_H
#define TESTS_RIG_NOTIFY_MANAGER_H
#include "tests/rig/unit.h"
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static inline int notify_manager(void)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	int manager = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path + 1, sizeof(address.sun_path) - 1, "test-notify-%d", getpid());
	ck_assert_int_eq(bind(manager, (struct sockaddr *)&address,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + 1 +
					  strlen(address.sun_path + 1))),
			 0);
	address.sun_path[0] = '@';
	setenv("NOTIFY_SOCKET", address.sun_path, 1);
	return manager;
}
#endif
