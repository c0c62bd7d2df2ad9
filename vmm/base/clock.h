/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/clock.h - the host's monotonic clock. */
#ifndef VMM_BASE_CLOCK_H
#define VMM_BASE_CLOCK_H
#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_S 1000000000ull

/* A time as the log shows it: "3.071 ms". */
#define CLOCK_MS	"%llu.%03llu ms"
#define CLOCK_MS_OF(ns) (unsigned long long)(ns) / 1000000, (unsigned long long)(ns) / 1000 % 1000

static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}
#endif
