/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram/turn.h"
#include "vmm/base/bytes.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/notify.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define FILE_VARIABLE  "STASIS_LOADS_FILE"
#define COUNT_VARIABLE "STASIS_LOADS"
#define LOADS_MIN      2
#define LOADS_MAX      1024
#define POLL_NS	       (CLOCK_NS_PER_S / 20)
/* Whoever holds a turn may hang with its storage, and others must not. */
#define PATIENCE_NS (600 * CLOCK_NS_PER_S)

static uint64_t default_loads(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus / 2 > LOADS_MIN ? (uint64_t)cpus / 2 : LOADS_MIN;
}

static uint64_t loads(void)
{
	const char *text = getenv(COUNT_VARIABLE);
	char *end;
	unsigned long n;

	if (!text || !*text)
		return default_loads();
	n = strtoul(text, &end, 10);
	if (*end || *text == '-' || n < 1 || n > LOADS_MAX) {
		log_warn(COUNT_VARIABLE "=%s: must be 1 to %d loads at a time", text, LOADS_MAX);
		return default_loads();
	}
	return n;
}

/* Each byte of the file is a turn. 0, or -EAGAIN: others have them all. */
static int lock_one(int fd, uint64_t n)
{
	int ret = -EAGAIN;

	for (uint64_t i = 0; ret == -EAGAIN && i < n; i++)
		ret = file_lock(fd, F_WRLCK, i, 1, false);
	return ret;
}

static int wait_for_one(int fd, uint64_t n, const struct ram_watch *watch, struct error *err)
{
	const struct timespec pause = {.tv_nsec = POLL_NS};
	const uint64_t end_ns = clock_now_ns() + PATIENCE_NS;
	uint64_t next_ns = 0, now_ns;
	char text[64];
	int ret;

	snprintf(text, sizeof(text), "waits for %llu other load%s", (unsigned long long)n,
		 n == 1 ? "" : "s");
	while ((ret = lock_one(fd, n)) == -EAGAIN) {
		now_ns = clock_now_ns();
		if (now_ns > end_ns) {
			log_warn("waited %llu s for other loads: going on beside them",
				 PATIENCE_NS / CLOCK_NS_PER_S);
			return 0;
		}
		if (now_ns >= next_ns) {
			if (!next_ns)
				log_info("%s", text);
			notify_busy(text);
			next_ns = now_ns + CLOCK_NS_PER_S;
		}
		ret = watch ? watch->fn(watch->opaque, 0, err) : 0;
		if (ret)
			return ret;
		nanosleep(&pause, NULL);
	}
	if (ret) /* a file system without locks */
		log_debug(FILE_VARIABLE ": %s", strerror(-ret));
	return 0;
}

int turn_take(int *turn, const struct ram_watch *watch, struct error *err)
{
	const char *path = getenv(FILE_VARIABLE);
	int ret;

	*turn = path && *path ? open(path, O_RDWR | O_CLOEXEC) : -1;
	if (*turn < 0)
		return 0;
	ret = wait_for_one(*turn, loads(), watch, err);
	if (ret)
		turn_give_back(turn);
	return ret;
}

void turn_give_back(int *turn)
{
	if (*turn >= 0)
		close(*turn);
	*turn = -1;
}
