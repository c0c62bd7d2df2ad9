/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/notify.h"
#include <dlfcn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>

/* Between two calls of notify_busy() there is about a second, more on a slow disk. */
#define EXTEND "EXTEND_TIMEOUT_USEC=120000000"

typedef int (*notify_fn)(int unset_environment, const char *state);

static bool is_ready;

/* libsystemd brings five libraries along: only a service loads it, and only once its guest runs. */
static notify_fn load(void)
{
	void *library = dlopen("libsystemd.so.0", RTLD_NOW | RTLD_LOCAL);
	notify_fn fn = NULL;

	if (library)
		*(void **)&fn = dlsym(library, "sd_notify");
	return fn;
}

static void send(const char *state, const char *status)
{
	static notify_fn fn;
	char text[512];

	if (!getenv("NOTIFY_SOCKET"))
		return;
	if (!fn)
		fn = load();
	if (!fn)
		return;
	snprintf(text, sizeof(text), "STATUS=%s\n%s", status, state);
	(void)fn(0, text);
}

void notify_ready(const char *status)
{
	is_ready = true;
	send("READY=1", status);
}

void notify_status(const char *status)
{
	if (is_ready)
		send("", status);
}

void notify_busy(const char *status)
{
	send(EXTEND, status);
}

void notify_stopping(void)
{
	if (is_ready)
		send("STOPPING=1", "ends");
}
