/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the kernel's log from its start and passes on what must not be in it. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <string.h>
#include <unistd.h>

static const char *const complaints[] = {
	"soft lockup",
	"hard LOCKUP",
	"detected stall", /* RCU: "rcu_preempt detected stalls on ..." */
	"self-detected stall",
	"kthread starved",
	"blocked for more than", /* hung task */
	"Marking clocksource",	 /* ... 'tsc' as unstable because the skew is too large */
	"Marking TSC unstable",
	"timekeeping watchdog",
	"TSC warp between CPUs",
	"BUG:",
	"WARNING: CPU:",
	"Oops",
	"general protection",
	"nobody cared", /* irq N: ... */
	"too much work for irq",
	"lost ticks",
	"RIP: 0010", /* where it hung */
};

static const char *const harmless[] = {
	/* Said of every AMD machine without constant_tsc and with more than one CPU, unmeasured: emulated hosts have
	 * none. kvm-clock does not depend on it. */
	"Marking TSC unstable due to TSCs unsynchronized",
	/* The CPU was busy elsewhere between two reads of a clock, so the watchdog skips this test: it says nothing of
	 * the clock (cs_watchdog_read() in kernel/time/clocksource.c). */
	" wd-wd read-back delay of ",
};
static int fd = -1;

static bool has_one(const char *text, const char *const words[], size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strstr(text, words[i]))
			return true;
	return false;
}

static void check_text(const char *text)
{
	if (!has_one(text, harmless, sizeof(harmless) / sizeof(harmless[0])) &&
	    has_one(text, complaints, sizeof(complaints) / sizeof(complaints[0])))
		bad("kernel: %s", text);
}

void kmsg_start(void)
{
	fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	if (fd < 0)
		bad("/dev/kmsg: %s", strerror(errno));
}

/* A record is "priority,number,time,flags;text", one a read(). */
void kmsg_poll(void)
{
	char record[2048], *text;
	ssize_t n;

	while ((n = read(fd, record, sizeof(record) - 1)) > 0 || (n < 0 && errno == EPIPE)) {
		if (n < 0)
			continue; /* overwritten before it was read */
		record[n] = '\0';
		text = strchr(record, ';');
		if (!text)
			continue;
		text[strcspn(text, "\n")] = '\0';
		check_text(text + 1);
	}
}
