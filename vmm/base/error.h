/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/error.h - one error message on its way from the place that failed to the one that reports it.
 * Threads: a struct error belongs to one thread at a time; usually it is on the caller's stack.
 * Errors: codes are negative errno values. error_set() and error_join() return the code they were given, so
 * that
 *         return error_set(err, -EINVAL, "--cpus %s: 1 to 64", arg);
 * is the whole failure path. A message is one line without a full stop that names the thing and the way out.
 * It is reported once, by the consumer: QMP reply, stderr or log. */
#ifndef VMM_BASE_ERROR_H
#define VMM_BASE_ERROR_H
#include <stdarg.h>

#define ERROR_MAX 1024

struct error {
	char msg[ERROR_MAX];
};

#define must_check __attribute__((warn_unused_result))

/* Sets the message and returns `code`. err may be NULL: then only the code counts. */
int error_set(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#ifdef __clang_analyzer__
/* The analyzer does not see the code that error_set() returns, and assumes that it can be 0. */
#define error_set(err, code, ...) ((void)error_set(err, code, __VA_ARGS__), code)
#endif
/* Appends "; " and the message to the one that is there, for lists of faults; "..." where no room is left.
 * err->msg[0] must be 0 before the first one. Returns `code`. */
int error_join(struct error *err, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
/* Puts "what: " before the message that is there: for a caller that knows the context. */
void error_prefix(struct error *err, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* strerror() of a positive errno of a call that creates a file or a socket: ENOENT means its folder. */
const char *error_making(int errno_code);
#endif
