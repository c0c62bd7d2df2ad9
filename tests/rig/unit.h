/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/unit.h - a test program: every TEST() in the file runs, in the order of the file, each in a process of its own.
 *
 *	TEST(adds) { ck_assert_int_eq(1 + 1, 2); }
 *	TEST_EACH(refuses, rows) { ... rows[_i] ... }	// once for each row of a table
 *	UNIT_MAIN(setup, teardown)			// around each test; NULL: nothing to do
 *
 * Source: Check's manual. Its START_TEST() wants a second list of all tests in main(). */
#ifndef TESTS_RIG_UNIT_H
#define TESTS_RIG_UNIT_H
#include "vmm/base/bytes.h"
#include <check.h>
#include <errno.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#define UNIT_TIMEOUT_S 600 /* for a test that hangs, not for a slow machine */

struct unit_test {
	TTest test;
	int begin, end; /* of _i */
	int signal;	/* that ends it; 0: none */
	struct unit_test *next;
};

static struct unit_test *unit_first, **unit_last = &unit_first;

static inline void unit_add(struct unit_test *test)
{
	*unit_last = test;
	unit_last = &test->next;
}

/* Constructors of one file run in its order. */
#define TEST_SIGNAL(name, signal, begin, end)                                              \
	static void name##_fn(int _i);                                                     \
	static void __attribute__((constructor)) name##_add(void)                          \
	{                                                                                  \
		static struct unit_test test = {                                           \
			{#name, name##_fn, __FILE__, __LINE__}, begin, end, signal, NULL}; \
		unit_add(&test);                                                           \
	}                                                                                  \
	static void name##_fn(int _i __attribute__((unused)))
#define TEST_RANGE(name, begin, end) TEST_SIGNAL(name, 0, begin, end)
#define TEST_EACH(name, table)	     TEST_RANGE(name, 0, (int)ARRAY_SIZE(table))
#define TEST(name)		     TEST_RANGE(name, 0, 1)

/* The message has all of these words, which end with NULL. */
static inline void unit_says(const char *msg, const char *const *word)
{
	for (; *word; word++)
		ck_assert_msg(strstr(msg, *word) != NULL, "no \"%s\" in: %s", *word, msg);
	ck_assert_msg(!strchr(msg, '\n'), "more than a line: %s", msg);
}
#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* What main() returns. */
static inline int unit_main(void (*setup)(void), void (*teardown)(void))
{
	Suite *suite = suite_create(program_invocation_short_name);
	TCase *tcase = tcase_create("all");
	SRunner *runner = srunner_create(suite);
	int failed;

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, UNIT_TIMEOUT_S);
	for (struct unit_test *t = unit_first; t; t = t->next)
		tcase_add_loop_test_raise_signal(tcase, &t->test, t->signal, t->begin, t->end);
	suite_add_tcase(suite, tcase);
	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner) || !srunner_ntests_run(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT_MAIN(setup, teardown)                 \
	int main(void)                             \
	{                                          \
		return unit_main(setup, teardown); \
	}
#endif
