/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/log.h - lines for the operator, on stderr.
 * Owns: the level, set once by main before other threads start, and a descriptor of stderr.
 * Threads: any. Nobody waits for the reader of the log, and lines never mix.
 * Errors: none. Lines that cannot be written are dropped, and the next line says how many. */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

struct loop;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

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
#endif
