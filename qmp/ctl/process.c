/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source: proc(5), pidfd_open(2). */
#include "qmp/ctl/process.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/run.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define STARTTIME 20 /* fields after the name of the program, which may have spaces */

bool process_uptime_s(pid_t pid, uint64_t *uptime_s)
{
	const long ticks_per_s = sysconf(_SC_CLK_TCK);
	char path[64], text[1024] = "", *field;
	struct timespec now;
	uint64_t start_s;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "re");
	if (!file)
		return false;
	field = fgets(text, sizeof(text), file) ? strrchr(text, ')') : NULL;
	fclose(file);
	for (int i = 0; field && i < STARTTIME; i++) {
		field = strchr(field, ' ');
		field = field ? field + 1 : NULL;
	}
	if (!field || clock_gettime(CLOCK_BOOTTIME, &now))
		return false;
	start_s = strtoull(field, NULL, 10) / (uint64_t)ticks_per_s;
	*uptime_s = (uint64_t)now.tv_sec > start_s ? (uint64_t)now.tv_sec - start_s : 0;
	return true;
}

/* The first one in PATH, unless it is a path. */
static bool find_program(const char *program, struct stat *st)
{
	const char *path = getenv("PATH");
	char *copy, *rest, *folder;
	bool found = false;

	if (strchr(program, '/') || !path)
		return !stat(program, st);
	copy = rest = ctl_text("%s", path);
	while (!found && (folder = strsep(&rest, ":"))) {
		char *file = ctl_text("%s/%s", *folder ? folder : ".", program);

		found = !access(file, X_OK) && !stat(file, st);
		free(file);
	}
	free(copy);
	return found;
}

enum process_binary process_binary(pid_t pid)
{
	struct stat runs, installed;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	if (stat(path, &runs) || !find_program(run_stasis(), &installed))
		return PROCESS_BINARY_UNKNOWN;
	return runs.st_dev == installed.st_dev && runs.st_ino == installed.st_ino
		       ? PROCESS_BINARY_INSTALLED
		       : PROCESS_BINARY_OLD;
}

int process_await_end(pid_t pid, double limit_s, struct error *err)
{
	struct pollfd pfd = {.fd = pidfd_open(pid, 0), .events = POLLIN};
	const double end_s = ctl_now_s() + limit_s;
	double left_s;
	int n = 0;

	if (pfd.fd < 0)
		return errno == ESRCH
			       ? 0
			       : error_set(err, -errno, "process %d: %s", pid, strerror(errno));
	while (n <= 0 && (left_s = end_s - ctl_now_s()) > 0) {
		n = poll(&pfd, 1, (int)(left_s * 1000) + 1);
		if (n < 0 && errno != EINTR)
			break;
	}
	close(pfd.fd);
	return n > 0 ? 0
		     : error_set(err, -ETIMEDOUT, "process %d: has not ended within %g s", pid,
				 limit_s);
}
