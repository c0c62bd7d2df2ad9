/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/log.h"
#include "vmm/base/bytes.h"
#include "vmm/base/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- text that is safe to show */

/* Controls, line ends and changes of the writing direction. */
static bool is_control(uint32_t c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

size_t text_utf8(const char *text, size_t len, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *byte = (const uint8_t *)text;
	size_t n = byte[0] < 0x80 ? 1 : byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? byte[0] : byte[0] & (0x7fu >> n);

	if (n > len || (n > 1 && byte[0] < 0xc0) || byte[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (byte[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return n;
}

size_t text_safe_bytes(const char *text, size_t len)
{
	uint32_t code;
	size_t n = text_utf8(text, len, &code);

	return n && !is_control(code) ? n : 0;
}

void text_clean(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = text_safe_bytes(text + i, len - i);
		if (!n)
			text[i] = '?';
	}
}

/* --- inherited descriptors */

void output_open_missing(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int output_reopen(int fd, int flags)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (!fstat(fd, &st) && (S_ISFIFO(st.st_mode) || isatty(fd))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* For a descriptor that can neither be reopened, such as another user's terminal, nor be made non-blocking.
 * When it is ready a pipe has room for PIPE_BUF bytes, a terminal for one byte; a file always has. */
static ssize_t write_when_ready(int fd, const void *data, size_t bytes)
{
	const size_t most = isatty(fd) ? 1 : PIPE_BUF;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	if (poll(&ready, 1, 0) < 1) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, data, bytes < most ? bytes : most);
}

ssize_t output_write(int fd, const void *data, size_t bytes)
{
	ssize_t n = send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		return write(fd, data, bytes);
	return write_when_ready(fd, data, bytes);
}

/* --- the log */

static const char *const level_name[] = {"error", "warn", "info", "debug"};
#define LEVELS ((int)ARRAY_SIZE(level_name))

/* sd-daemon(3): what the journal takes for a line's priority. */
static const char *const journal_level[] = {"<3>", "<4>", "<6>", "<7>"};

static enum log_level max_level = LOG_WARN;
static bool to_journal;
static char prefix[64] = "stasis";

static struct {
	pthread_mutex_t lock; /* leaf; never held while something waits */
	int fd;
	unsigned long long lost; /* lines since the last one that could be written */
	bool is_torn;		 /* the last write stopped within a line */
} out = {.lock = PTHREAD_MUTEX_INITIALIZER, .fd = STDERR_FILENO};

/* systemd names the device and the inode of the journal's stream; stderr may be redirected since. */
static bool is_journal(void)
{
	const char *stream = getenv("JOURNAL_STREAM");
	struct stat st;
	char own[64];

	if (!stream || fstat(STDERR_FILENO, &st))
		return false;
	snprintf(own, sizeof(own), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	return !strcmp(own, stream);
}

const char *log_priority(enum log_level level)
{
	return is_journal() ? journal_level[level] : "";
}

void log_init(enum log_level level, const char *vm_name)
{
	int own = out.fd == STDERR_FILENO ? output_reopen(STDERR_FILENO, O_WRONLY) : -1;

	to_journal = is_journal();
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
	n = snprintf(line, sizeof(line), "%s%s%s: warn: %llu %s of this log could not be written\n",
		     out.is_torn ? "\n" : "", to_journal ? journal_level[LOG_WARN] : "", prefix,
		     out.lost, out.lost == 1 ? "line" : "lines");
	if (!put(line, (size_t)n))
		return false;
	out.lost = 0;
	return true;
}

static void on_room(void *opaque, uint32_t events)
{
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
	n = snprintf(line, sizeof(line), "%s%s: %s: ", to_journal ? journal_level[level] : "",
		     prefix, level_name[level]);
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
