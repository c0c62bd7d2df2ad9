/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Two proofs. Across CPUs: a thread on each compares CLOCK_MONOTONIC with the latest value that any
 * of them has published: reading less than what was published before the read is time going back.
 * Over a stop: clocks_poll() compares each clock with its value a tick ago. */
#include "guest.h"
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#define CPUS_MAX       64
#define ROUND_CHECKS   100
#define ROUND_PAUSE_NS 5000000
#define INSTANT_NS     1000000
#define MAX_READS      100
#define CLOCKSOURCE    "/sys/devices/system/clocksource/clocksource0/"

static _Atomic uint64_t latest_ns;
static _Atomic uint64_t longest_gap_ns; /* between two rounds of one thread, since the last tick */
static _Atomic uint64_t rounds[CPUS_MAX];
static unsigned int ncpus;
static char clocksource[64];

static const struct {
	clockid_t id;
	const char *name;
} clocks[] = {
	{CLOCK_MONOTONIC, "mono"},
	{CLOCK_REALTIME, "real"},
	{CLOCK_BOOTTIME, "boot"},
};
#define CLOCKS (sizeof(clocks) / sizeof(clocks[0]))
static uint64_t last_ns[CLOCKS];

uint64_t clock_ns(clockid_t id)
{
	struct timespec t;

	clock_gettime(id, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static uint64_t check_order(unsigned int cpu)
{
	uint64_t before_ns = atomic_load(&latest_ns);
	uint64_t now_ns = clock_ns(CLOCK_MONOTONIC);

	if (now_ns < before_ns)
		bad("clock: cpu %u went back by %llu ns", cpu,
		    (unsigned long long)(before_ns - now_ns));
	while (before_ns < now_ns && !atomic_compare_exchange_weak(&latest_ns, &before_ns, now_ns))
		;
	return now_ns;
}

static void raise_to(_Atomic uint64_t *maximum, uint64_t value)
{
	uint64_t old = atomic_load(maximum);

	while (old < value && !atomic_compare_exchange_weak(maximum, &old, value))
		;
}

static void *run_cpu(void *argument)
{
	const struct timespec pause = {0, ROUND_PAUSE_NS};
	unsigned int cpu = (unsigned int)(uintptr_t)argument;
	uint64_t now_ns, round_ns;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	if (sched_setaffinity(0, sizeof(set), &set))
		bad("clock: no cpu %u", cpu);
	round_ns = check_order(cpu);
	for (;;) {
		nanosleep(&pause, NULL);
		now_ns = check_order(cpu);
		raise_to(&longest_gap_ns, now_ns - round_ns);
		round_ns = now_ns;
		for (int i = 0; i < ROUND_CHECKS; i++)
			check_order(cpu);
		atomic_fetch_add(&rounds[cpu], 1);
	}
	return NULL;
}

void clocks_start(unsigned int cpus)
{
	ncpus = cpus < CPUS_MAX ? cpus : CPUS_MAX;
	read_line(CLOCKSOURCE "current_clocksource", clocksource, sizeof(clocksource));
	for (size_t i = 0; i < CLOCKS; i++)
		last_ns[i] = clock_ns(clocks[i].id);
	for (unsigned int cpu = 0; cpu < ncpus; cpu++)
		thread_start(run_cpu, (void *)(uintptr_t)cpu);
}

static void check_clocksource(void)
{
	char now[sizeof(clocksource)];

	read_line(CLOCKSOURCE "current_clocksource", now, sizeof(now));
	if (!strcmp(now, clocksource))
		return;
	if (!strcmp(now, "tsc")) /* the best there is: the kernel has finished calibrating it */
		print("GUEST clocksource=%s", now);
	else
		bad("clocksource: %s, was %s", now, clocksource);
	strcpy(clocksource, now);
}

/* All clocks at one instant: on a busy machine a vCPU may stand still between two reads. */
static void read_clocks(uint64_t now_ns[CLOCKS])
{
	for (int try = 0; try < MAX_READS; try++) {
		for (size_t i = 0; i < CLOCKS; i++)
			now_ns[i] = clock_ns(clocks[i].id);
		if (clock_ns(CLOCK_MONOTONIC) - now_ns[0] < INSTANT_NS)
			return;
	}
}

/* Fills text with the clocks and each CPU's rounds; true when a clock jumped. */
bool clocks_poll(unsigned int period_ms, char *text, size_t size)
{
	const uint64_t limit_ns = (period_ms + 500) * (uint64_t)1000000;
	uint64_t now_ns[CLOCKS];
	bool jump = false;
	size_t n = 0;

	check_clocksource();
	read_clocks(now_ns);
	for (size_t i = 0; i < CLOCKS; i++) {
		int64_t delta_ns = (int64_t)(now_ns[i] - last_ns[i]);

		if (delta_ns < 0 && clocks[i].id != CLOCK_REALTIME)
			bad("clock: %s went back by %.6f s", clocks[i].name,
			    (double)-delta_ns / 1e9);
		if (delta_ns < 0 || delta_ns > (int64_t)limit_ns) {
			print("JUMP %s %+.3f s", clocks[i].name, (double)delta_ns / 1e9);
			jump = true;
		}
		n += (size_t)snprintf(text + n, size - n, "%s=%.3f ", clocks[i].name,
				      (double)now_ns[i] / 1e9);
		last_ns[i] = now_ns[i];
	}
	n += (size_t)snprintf(text + n, size - n, "gap=%.3f",
			      (double)atomic_exchange(&longest_gap_ns, 0) / 1e9);
	for (unsigned int cpu = 0; cpu < ncpus && n < size; cpu++)
		n += (size_t)snprintf(text + n, size - n, "%s%llu", cpu ? "," : " cpu=",
				      (unsigned long long)atomic_load(&rounds[cpu]));
	return jump;
}

void clocks_print(void)
{
	char available[128];

	read_line(CLOCKSOURCE "available_clocksource", available, sizeof(available));
	print("GUEST clocksource=%s available=%s", clocksource, available);
	for (size_t i = 0; i < CLOCKS; i++)
		print("GUEST clock %s=%.6f", clocks[i].name, (double)clock_ns(clocks[i].id) / 1e9);
}
