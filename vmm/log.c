/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/log.h"
#include "vmm/clock.h"
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const char *const level_name[] = {"error", "warn", "info", "debug"};
#define LEVELS ((int)(sizeof(level_name) / sizeof(level_name[0])))

static enum log_level max_level = LOG_WARN;
static char prefix[64] = "stasis";

void log_init(enum log_level level, const char *vm_name)
{
	max_level = level;
	snprintf(prefix, sizeof(prefix), "stasis%s%s", vm_name ? " " : "", vm_name ? vm_name : "");
}

int log_level_parse(const char *name)
{
	for (int i = 0; i < LEVELS; i++)
		if (!strcmp(name, level_name[i]))
			return i;
	return -1;
}

void log_print(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;
	int n, m;

	if (level > max_level)
		return;
	n = snprintf(line, sizeof(line), "%s: %s: ", prefix, level_name[level]);
	va_start(ap, fmt);
	m = vsnprintf(line + n, sizeof(line) - (size_t)n - 1, fmt, ap);
	va_end(ap);
	n += m < (int)sizeof(line) - n - 1 ? m : (int)sizeof(line) - n - 2;
	line[n++] = '\n';
	/* A log that cannot be written is no reason to stop a guest. */
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return;
}

int log_ratelimit(_Atomic long long *last_ns)
{
	long long now_ns = (long long)clock_now_ns(), last = atomic_load(last_ns);

	if (last && now_ns - last < (long long)CLOCK_NS_PER_S)
		return 0;
	return atomic_compare_exchange_strong(last_ns, &last, now_ns);
}
