/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Check's own two functions report to a runner, which there is none of here: see CMakeLists.txt. */
#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

void fuzz_mark_point(const char *file, int line)
{
	(void)file;
	(void)line;
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
