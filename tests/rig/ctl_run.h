/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/ctl_run.h - runs the program stasisctl (STASISCTL is its path) and keeps what it prints.
 * Errors: what goes wrong fails the test. */
#ifndef TESTS_RIG_CTL_RUN_H
#define TESTS_RIG_CTL_RUN_H
#include "tests/rig/qmp_fixture.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

static char output[65536];

static inline void replace(const char *word, const char *by)
{
	const size_t len = strlen(word), by_len = strlen(by);

	for (char *at = output; (at = strstr(at, word)); at += by_len) {
		memmove(at + by_len, at + len, strlen(at + len) + 1);
		memcpy(at, by, by_len);
	}
}

/* Runs stasisctl through the shell, $SOCKET replaced; stdout and stderr go to output, the socket's path as
 * SOCKET. Returns the exit status. */
static inline int run(const char *arguments)
{
	char command[1024];
	FILE *pipe;
	size_t n;
	int status;

	/* It leaves its memory to the kernel when it dies of an error. */
	snprintf(command, sizeof(command),
		 "export SOCKET=%s ASAN_OPTIONS=detect_leaks=0; timeout 20 %s %s 2>&1", f.socket,
		 STASISCTL, arguments);
	pipe = popen(command, "r"); /* NOLINT(cert-env33-c): the test's own words */
	ck_assert_ptr_nonnull(pipe);
	n = fread(output, 1, sizeof(output) - 1, pipe);
	output[n] = '\0';
	replace(f.socket, "SOCKET");
	status = pclose(pipe);
	ck_assert(WIFEXITED(status));
	return WEXITSTATUS(status);
}

struct row {
	const char *arguments;
	int status;
	const char *output;
};
#endif
