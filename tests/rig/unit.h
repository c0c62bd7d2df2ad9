/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/unit.h - the end of every unit test's main().
 * Owns: the suite, from the call on.
 * Threads: main.
 * Units: none.
 * Errors: EXIT_FAILURE if any check failed. Check's manual, "SRunner Output". */
#ifndef TESTS_RIG_UNIT_H
#define TESTS_RIG_UNIT_H
#include <check.h>
#include <stdlib.h>

static inline int unit_run(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_ENV);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* One suite, one case, each test between setup() and teardown() and within timeout_s. */
static inline int unit_run_case(const char *name, const TTest *const *test, size_t ntests,
				void (*setup)(void), void (*teardown)(void), double timeout_s)
{
	Suite *suite = suite_create(name);
	TCase *tcase = tcase_create(name);

	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, timeout_s);
	for (size_t i = 0; i < ntests; i++)
		tcase_add_test(tcase, test[i]);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
#endif
