/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/log.h"
#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/base/loop.h"
#include "vmm/base/output.h"
#include "vmm/base/text.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

static const char *const level_name[] = {"error", "warn", "info", "debug"};
#define LEVELS ((int)ARRAY_SIZE(level_name))

static enum log_level max_level = LOG_WARN;
static char prefix[64] = "stasis";

static struct {
	pthread_mutex_t lock; /* leaf; never held while something waits */
	int fd;
	unsigned long long lost; /* lines since the last one that could be written */
	bool is_torn;		 /* the last write stopped within a line */
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

void log_init(enum log_level level, const char *vm_name)
{
	int own = out.fd == STDERR_FILENO ? output_reopen(STDERR_FILENO, O_WRONLY) : -1;

	if (own >= 0)
		out.fd = own;
	max_level = level;
	snprintf(prefix, sizeof(prefix), "stasis%s%s", vm_name ? " " : "", vm_name ? vm_name : "");
}

/* Whole lines only, as far as possible. */
static bool put(const char *line, size_t n)
{
	size_t done = 0;
	ssize_t ret;

	do {
		ret = output_write(out.fd, line + done, n - done);
		done += ret > 0 ? (size_t)ret : 0;
	} while (done < n && (ret > 0 || errno == EINTR));
	if (done)
		out.is_torn = done < n;
	return done == n;
}

static bool tell_lost(void)
{
	char line[160];
	int n;

	if (!out.lost)
		return true;
	n = snprintf(line, sizeof(line), "%s%s: warn: %llu %s of this log could not be written\n",
		     out.is_torn ? "\n" : "", prefix, out.lost, out.lost == 1 ? "line" : "lines");
	if (!put(line, (size_t)n))
		return false;
	out.lost = 0;
	return true;
}

static void on_room(void *opaque, uint32_t events)
{
	(void)opaque;
	(void)events;
	pthread_mutex_lock(&out.lock);
	(void)tell_lost();
	pthread_mutex_unlock(&out.lock);
}

void log_watch(struct loop *loop)
{
	/* A file is always ready and cannot be watched. A terminal may be ready without room for the rest of
	 * the line: edge-triggered. */
	if (loop_add(loop, out.fd, EPOLLOUT | EPOLLET, on_room, NULL, NULL))
		return;
}

void log_unwatch(struct loop *loop)
{
	loop_del(loop, out.fd);
	on_room(NULL, 0);
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
	/* A line may quote a client, a checkpoint or a guest: their text must not look like another line. */
	text_clean(line, (size_t)n);
	line[n++] = '\n';
	/* A log that cannot be written does not stop a guest. */
	pthread_mutex_lock(&out.lock);
	if (!tell_lost() || !put(line, (size_t)n))
		out.lost++;
	pthread_mutex_unlock(&out.lock);
}

int log_ratelimit(_Atomic long long *last_ns)
{
	long long now_ns = (long long)clock_now_ns(), last = atomic_load(last_ns);

	if (last && now_ns - last < (long long)CLOCK_NS_PER_S)
		return 0;
	return atomic_compare_exchange_strong(last_ns, &last, now_ns);
}
