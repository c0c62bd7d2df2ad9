/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fuzz/fuzz.h"
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ROUNDS 3

static void quit(void *opaque, uint32_t events)
{
	loop_quit(opaque);
}

void fuzz_serve(struct loop *loop)
{
	/* Always ready, and last among those that are. */
	int fd = eventfd(1, EFD_CLOEXEC);

	for (int i = 0; i < ROUNDS; i++) {
		ck_assert_int_eq(loop_add(loop, fd, EPOLLIN, quit, loop, NULL), 0);
		loop->stop = false;
		loop_run(loop);
		loop_del(loop, fd);
	}
	close(fd);
}

/* Check's own two functions report to a runner, which there is none of here: see CMakeLists.txt. */
void fuzz_mark_point(const char *file, int line)
{
}

void fuzz_assert_failed(const char *file, int line, const char *expr, const char *msg, ...)
{
	va_list args;

	fprintf(stderr, "%s:%d: %s", file, line, expr);
	if (msg) {
		va_start(args, msg);
		fputs(": ", stderr);
		vfprintf(stderr, msg, args);
		va_end(args);
	}
	fputc('\n', stderr);
	abort();
}
