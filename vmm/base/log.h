/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/log.h - lines for the operator, on stderr.
 * Owns: the level, set once by main before any thread starts, and a descriptor for what stderr is.
 * Threads: any; nobody waits for who reads the log, and lines never mix.
 * Units: none.
 * Errors: none; lines that cannot be written are lost, and how many is the next line that can. */
#ifndef VMM_BASE_LOG_H
#define VMM_BASE_LOG_H

struct loop;

enum log_level { LOG_ERROR, LOG_WARN, LOG_INFO, LOG_DEBUG };

void log_init(enum log_level level, const char *vm_name);
/* Between the two, what was lost is told as soon as there is room and not only with the next line. */
void log_watch(struct loop *loop);
void log_unwatch(struct loop *loop);
void log_print(enum log_level level, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

#define log_error(...) log_print(LOG_ERROR, __VA_ARGS__)
#define log_warn(...)  log_print(LOG_WARN, __VA_ARGS__)
#define log_info(...)  log_print(LOG_INFO, __VA_ARGS__)
#define log_debug(...) log_print(LOG_DEBUG, __VA_ARGS__)
/* For what a guest can provoke at will: at most one line a second for each place in the code. */
#define log_guest(...)                                    \
	do {                                              \
		static _Atomic long long last_ns_;        \
		if (log_ratelimit(&last_ns_))             \
			log_print(LOG_WARN, __VA_ARGS__); \
	} while (0)
int log_ratelimit(_Atomic long long *last_ns);
#endif
