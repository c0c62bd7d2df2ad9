/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Reads the kernel's log from its start and passes on what must not be in it. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
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

/* Said of every AMD machine without constant_tsc and with more than one CPU, unmeasured: emulated
 * hosts have none. kvm-clock does not depend on it. */
static const char harmless[] = "Marking TSC unstable due to TSCs unsynchronized";
static int fd = -1;

static void check_text(const char *text)
{
	if (strstr(text, harmless))
		return;
	for (size_t i = 0; i < sizeof(complaints) / sizeof(complaints[0]); i++)
		if (strstr(text, complaints[i]))
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
