/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a service manager hears. */
#include "tests/rig/notify_manager.h"
#include "vmm/base/notify.h"
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int manager;

static void be_manager(void)
{
	manager = notify_manager();
}

/* "": nothing has been sent. READY comes from a thread. */
static void hears(const char *expected)
{
	char text[256];
	ssize_t n = recv(manager, text, sizeof(text) - 1, *expected ? 0 : MSG_DONTWAIT);

	text[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(text, expected);
}

TEST(ready_comes_first)
{
	notify_status("inmigrate");
	notify_stopping();
	hears("");
	notify_busy("/dev/dax0.0: 1 of 2 MiB hashed");
	hears("STATUS=/dev/dax0.0: 1 of 2 MiB hashed\nEXTEND_TIMEOUT_USEC=120000000");
	notify_ready("running");
	hears("STATUS=running\nREADY=1");
	notify_status("paused");
	hears("STATUS=paused\n");
	notify_stopping();
	hears("STATUS=ends\nSTOPPING=1");
}

TEST(manager_that_does_not_read_holds_up_nothing)
{
	notify_ready("running");
	hears("STATUS=running\nREADY=1");
	for (int i = 0; i < 100000; i++)
		notify_status("paused");
	notify_ready("running");
	notify_stopping();
}

TEST(nobody_asked)
{
	unsetenv("NOTIFY_SOCKET");
	notify_ready("running");
	hears("");
}

UNIT_MAIN(be_manager, NULL)
