/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Other programs and processes. */
#include "qmp/ctl/process.h"
#include "qmp/ctl/run.h"
#include "tests/rig/unit.h"
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

static struct run_output result;
static struct error err;

static int sh(const char *script, double limit_s)
{
	const char *const argv[] = {"sh", "-c", script, NULL};

	return run_capture(argv, limit_s, &result, &err);
}

TEST(keeps_output_and_status)
{
	ck_assert_int_eq(sh("echo out; echo err >&2; cat; exit 3", 60), 0);
	ck_assert_int_eq(result.status, 3);
	ck_assert_str_eq(result.out, "out\n");
	ck_assert_str_eq(result.err, "err\n");
	run_free(&result);
	ck_assert_int_eq(sh("kill -9 $$", 60), 0);
	ck_assert_int_eq(result.status, 255);
	run_free(&result);
}

TEST(ends_one_that_takes_too_long)
{
	ck_assert_int_eq(sh("exec sleep 600", 0.2), -ETIMEDOUT);
	unit_says(err.msg, WORDS("sh: process ", ": has not ended within 0.2 s"));
	ck_assert_int_eq(waitpid(-1, NULL, 0), -1);
}

TEST(names_one_that_is_missing)
{
	const char *const argv[] = {"/no/such", NULL};
	int status;

	ck_assert_int_eq(run_capture(argv, 60, &result, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "/no/such: No such file or directory");
	ck_assert_int_eq(run_here(argv, &status, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "/no/such: No such file or directory");
}

static const struct {
	const char *script, *says;
} refusals[] = {
	{"exit 4", "stasis: exit status 4"},
	{"echo 'stasis: no such option' >&2; exit 1", "no such option"},
	{"echo 'stasis vm1: error: /x: no label' >&2; exit 1", "/x: no label"},
	{"printf 'stasis: one\\nstasis: two\\n\\n' >&2; exit 1", "two"},
	{"printf 'of another \\033[2J' >&2; exit 1", "of another ?[2J"},
};

TEST_EACH(refusal, refusals)
{
	ck_assert_int_eq(sh(refusals[_i].script, 60), 0);
	ck_assert_int_eq(run_refused("stasis", &result, &err), -EREMOTEIO);
	ck_assert_str_eq(err.msg, refusals[_i].says);
	run_free(&result);
}

TEST(end_of_a_process)
{
	pid_t pid = fork();
	uint64_t uptime_s;

	if (!pid)
		for (;;)
			pause();
	ck_assert_int_eq(process_await_end(pid, 0.1, &err), -ETIMEDOUT);
	unit_says(err.msg, WORDS("process ", "has not ended within 0.1 s"));
	ck_assert(process_uptime_s(pid, &uptime_s));
	ck_assert_uint_lt(uptime_s, 600);
	kill(pid, SIGKILL);
	ck_assert_int_eq(process_await_end(pid, 60, &err), 0);
	waitpid(pid, NULL, 0);
	ck_assert_int_eq(process_await_end(pid, 60, &err), 0);
	ck_assert(!process_uptime_s(pid, &uptime_s));
	ck_assert_int_eq(process_binary(pid), PROCESS_BINARY_UNKNOWN);
}

TEST(binary_in_path)
{
	setenv("STASIS", "", 1);
	setenv("PATH", "/no/such:/proc/self", 1);
	ck_assert_str_eq(run_stasis(), "stasis");
	ck_assert_int_eq(process_binary(getpid()), PROCESS_BINARY_UNKNOWN);
	setenv("STASIS", "exe", 1); /* that of this process, in /proc/self */
	ck_assert_int_eq(process_binary(getpid()), PROCESS_BINARY_INSTALLED);
	setenv("STASIS", "/bin/sh", 1);
	ck_assert_int_eq(process_binary(getpid()), PROCESS_BINARY_OLD);
}

UNIT_MAIN(NULL, NULL)
