/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/log.h - what operators read: lines on stderr, writes to inherited descriptors, and text that is safe to
 * show.
 * Owns: the level, set once by main before other threads start, and a descriptor of stderr.
 * Threads: any. Nobody waits for the reader of the log, and lines never mix.
 * Errors: none of the log. Lines that cannot be written are dropped, and the next line says how many. */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct loop;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

/* What a line on stderr begins with so that the journal knows its level; empty if it is not the journal. */
const char *log_priority(enum log_level level);
void log_init(enum log_level level, const char *vm_name);
/* While a loop is watched, the log says what was dropped as soon as there is room, and not only with the next
 * line. */
void log_watch(struct loop *loop);
void log_unwatch(struct loop *loop);
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)
/* For messages that a guest can cause at will: at most one line a second for each place in the code. */
#define log_guest(...)                                    \
	do {                                              \
		static _Atomic long long last_ns_;        \
		if (log_ratelimit(&last_ns_))             \
			log_print(LOG_WARN, __VA_ARGS__); \
	} while (0)
int log_ratelimit(_Atomic long long *last_ns);

/* Inherited descriptors, for log and consoles, without ever blocking. SIGPIPE must be ignored. Errors are -1 and
 * errno of dup(2) or write(2). */

/* Opens /dev/null for standard descriptors that are closed. Call it first in main(), or else the next file
 * that is opened becomes the standard output. */
void output_open_missing(void);
/* A new descriptor for what fd is open on, with O_RDONLY or O_WRONLY; the caller closes it. Pipes and
 * terminals are reopened non-blocking, which does not affect the shell that shares the inherited description. */
int output_reopen(int fd, int flags);
/* write(2) of up to `bytes`. -1 and EAGAIN where it would block, also if others share fd. */
ssize_t output_write(int fd, const void *data, size_t bytes);

/* Text that a client, a checkpoint or a guest wrote. */

/* Bytes of the first character of text, of len > 0 bytes, and its code point; 0: not valid UTF-8 (RFC 3629). */
size_t text_utf8(const char *text, size_t len, uint32_t *code);
/* The same if the character is safe to show; 0: not UTF-8, or a control, a line end or a change of direction. */
size_t text_safe_bytes(const char *text, size_t len);
/* Replaces every byte that is not safe by '?', in place; line feeds as well. */
void text_clean(char *text, size_t len);

/* For output that must be ASCII. */
static inline char text_ascii(char c)
{
	return c >= ' ' && c <= '~' ? c : '?';
}
#endif
