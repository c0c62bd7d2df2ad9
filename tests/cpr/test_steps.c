/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Step tables: order, undoing in reverse, and the faults of the build that injects them. */
#include "cpr/steps.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static char trace[64];
static int fails_at; /* 1: a, 2: b, 3: c, 0: none */

static int run(char name, int number, struct error *err)
{
	size_t n = strlen(trace);

	trace[n] = name;
	trace[n + 1] = '\0';
	return fails_at == number ? error_set(err, -ENOSPC, "step %c", name) : 0;
}
static int run_a(void *ctx, struct error *err)
{
	(void)ctx;
	return run('a', 1, err);
}
static int run_b(void *ctx, struct error *err)
{
	(void)ctx;
	return run('b', 2, err);
}
static int run_c(void *ctx, struct error *err)
{
	(void)ctx;
	return run('c', 3, err);
}
static void undo_a(void *ctx)
{
	(void)ctx;
	strcat(trace, "A");
}
static void undo_c(void *ctx)
{
	(void)ctx;
	strcat(trace, "C");
}

static const struct step step[] = {{"a", run_a, undo_a}, {"b", run_b, NULL}, {"c", run_c, undo_c}};
static const struct step_table table = {"test", step, 3, NULL};

static int walk(const char *fault, int fails, struct error *err)
{
	struct steps_done done;

	trace[0] = '\0';
	fails_at = fails;
	if (fault)
		setenv("STASIS_FAULT", fault, 1);
	else
		unsetenv("STASIS_FAULT");
	return steps_run(&table, NULL, &done, err);
}

TEST(order)
{
	struct error err;

	ck_assert_int_eq(walk(NULL, 0, &err), 0);
	ck_assert_str_eq(trace, "abc");
}

static int stop_at_b(void *ctx, struct error *err)
{
	const struct steps_done *done = ctx;

	return !strcmp(done->step, "b") ? error_set(err, -ETIMEDOUT, "too late in step b") : 0;
}

/* A step that is done when the procedure may not go on is undone with those before it. */
TEST(may_go_on)
{
	static const struct step limited[] = {
		{"a", run_a, undo_a}, {"b", run_b, undo_c}, {"c", run_c, NULL}};
	static const struct step_table limits = {"test", limited, 3, stop_at_b};
	struct error err;
	struct steps_done done;

	trace[0] = '\0';
	fails_at = 0;
	unsetenv("STASIS_FAULT");
	ck_assert_int_eq(steps_run(&limits, &done, &done, &err), -ETIMEDOUT);
	ck_assert_str_eq(err.msg, "too late in step b");
	ck_assert_str_eq(trace, "abCA");
	/* Nothing comes after the last step, so nobody asks. */
	static const struct step_table two = {"test", limited, 2, stop_at_b};

	trace[0] = '\0';
	ck_assert_int_eq(steps_run(&two, &done, &done, &err), 0);
	ck_assert_str_eq(trace, "ab");
}

/* The failing step undoes itself; those before it are undone, last one first. */
TEST_RANGE(undo, 0, 4)
{
	static const char *const expected[] = {"abc", "a", "abA", "abcA"};
	struct error err;

	ck_assert_int_eq(walk(NULL, _i, &err), _i ? -ENOSPC : 0);
	ck_assert_str_eq(trace, expected[_i]);
	if (_i) {
		char word[] = "step ?";

		word[5] = (char)('a' + _i - 1);
		ck_assert_str_eq(err.msg, word);
	}
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
	const struct steps_done done = {.took_ns = {1000, 2500, 3000999}};
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
