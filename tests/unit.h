/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/unit.h - the end of every unit test's main().
 * Owns: the suite, from the call on.
 * Threads: main.
 * Units: none.
 * Errors: EXIT_FAILURE if any check failed. Check's manual, "SRunner Output". */
#ifndef TESTS_UNIT_H
#define TESTS_UNIT_H
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
#endif
