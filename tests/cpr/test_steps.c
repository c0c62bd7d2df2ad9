/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Step tables: order, undoing in reverse, and the faults of the build that injects them. */
#include "cpr/steps.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static struct vm vm;
static struct cpr_job under_way = {.vm = &vm};
static char trace[64];
static char fails_at; /* a step; 0: none */

static int run(struct cpr_job *job, struct error *err)
{
	strcat(trace, job->step);
	return *job->step == fails_at ? error_set(err, -ENOSPC, "step %s", job->step) : 0;
}

static void undo_a(struct cpr_job *job)
{
	strcat(trace, "A");
}

static void undo_c(struct cpr_job *job)
{
	strcat(trace, "C");
}

static const struct step step[] = {{"a", run, undo_a}, {"b", run, NULL}, {"c", run, undo_c}};
static const struct step_table table = {"test", "testing", step, 3, NULL};

static int walk(const char *fault, char fails, struct error *err)
{
	trace[0] = '\0';
	fails_at = fails;
	if (fault)
		setenv("STASIS_FAULT", fault, 1);
	else
		unsetenv("STASIS_FAULT");
	return steps_run(&table, &under_way, err);
}

TEST(order)
{
	struct error err;

	ck_assert_int_eq(walk(NULL, 0, &err), 0);
	ck_assert_str_eq(trace, "abc");
}

static int stop_at_b(struct cpr_job *job, struct error *err)
{
	return !strcmp(job->step, "b") ? error_set(err, -ETIMEDOUT, "too late in step b") : 0;
}

/* A step that is done when the procedure may not go on is undone with those before it. */
TEST(may_go_on)
{
	static const struct step limited[] = {
		{"a", run, undo_a}, {"b", run, undo_c}, {"c", run, NULL}};
	static const struct step_table limits = {"test", "testing", limited, 3, stop_at_b};
	struct error err;

	trace[0] = '\0';
	fails_at = 0;
	unsetenv("STASIS_FAULT");
	ck_assert_int_eq(steps_run(&limits, &under_way, &err), -ETIMEDOUT);
	ck_assert_str_eq(err.msg, "too late in step b");
	ck_assert_str_eq(trace, "abCA");
	/* Nothing comes after the last step, so nobody asks. */
	static const struct step_table two = {"test", "testing", limited, 2, stop_at_b};

	trace[0] = '\0';
	ck_assert_int_eq(steps_run(&two, &under_way, &err), 0);
	ck_assert_str_eq(trace, "ab");
}

/* The failing step undoes itself; those before it are undone, last one first. */
TEST_RANGE(undo, 0, 4)
{
	static const char *const expected[] = {"abc", "a", "abA", "abcA"};
	struct error err;

	ck_assert_int_eq(walk(NULL, _i ? (char)('a' + _i - 1) : 0, &err), _i ? -ENOSPC : 0);
	ck_assert_str_eq(trace, expected[_i]);
	if (_i)
		ck_assert_int_eq(err.msg[strlen("step ")], fails_at);
}

TEST(fault_strikes_once)
{
	struct error err;

	ck_assert_int_eq(walk("test/c:fail", 0, &err), -EIO);
	ck_assert_str_eq(trace, "abA");
	ck_assert_ptr_nonnull(strstr(err.msg, "test/c"));
	ck_assert_int_eq(walk("test/c:fail", 0, &err), 0);
	ck_assert_str_eq(trace, "abc");
}

/* What is done is undone, be it by the last step. */
TEST_RANGE(fault_after, 0, 3)
{
	static const char *const fault[] = {"test/a:fail-after", "test/b:fail-after",
					    "test/c:fail-after"};
	static const char *const expected[] = {"aA", "abA", "abcCA"};
	struct error err;

	ck_assert_int_eq(walk(fault[_i], 0, &err), -EIO);
	ck_assert_str_eq(trace, expected[_i]);
	ck_assert_int_eq(walk(fault[_i], 0, &err), 0);
}

TEST_RANGE(fault_of_other_tables, 0, 5)
{
	static const char *const other[] = {"load/c:fail", "test/d:fail", "test/c", "", "list"};
	struct error err;

	ck_assert_int_eq(walk(other[_i], 0, &err), 0);
	ck_assert_str_eq(trace, "abc");
}

TEST_SIGNAL(kill, SIGKILL, 0, 2)
{
	struct error err;

	(void)!walk(_i ? "test/b:kill-after" : "test/b:kill", 0, &err);
	ck_abort_msg("still alive");
}

TEST(times)
{
	const struct cpr_job done = {.took_ns = {1000, 2500, 3000999}};
	char text[64], little[8];

	ck_assert_str_eq(steps_times(&table, "b", &done, text, sizeof(text)),
			 "b 0.002 ms, c 3.000 ms");
	ck_assert_str_eq(steps_times(&table, "a", &done, little, sizeof(little)), "a 0.001");
}

/* Faults of a list strike one after another, each once. */
TEST(fault_list)
{
	static const char faults[] = "test/b:fail,test/a:fail-after,other/c:fail";
	struct error err;

	ck_assert_int_eq(walk(faults, 0, &err), -EIO);
	ck_assert_str_eq(trace, "aA");
	ck_assert_int_eq(walk(faults, 0, &err), -EIO);
	ck_assert_str_eq(trace, "aA");
	ck_assert_str_eq(err.msg, "test/a: made to fail by STASIS_FAULT");
	ck_assert_int_eq(walk(faults, 0, &err), 0);
	ck_assert_str_eq(trace, "abc");
	ck_assert_int_eq(walk("test/c:fail", 0, &err), 0); /* the list has ended */
}

TEST(list)
{
	unsetenv("STASIS_FAULT");
	ck_assert(!steps_list_asked());
	setenv("STASIS_FAULT", "list", 1);
	ck_assert(steps_list_asked());
}

UNIT_MAIN(NULL, NULL)
