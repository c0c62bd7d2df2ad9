/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/steps.h - a procedure as a table of steps that can be undone.
 * Owns: nothing.
 * Threads: the caller's.
 * Units: the log has the µs of each step at level debug.
 * Errors: the first failing step's; the steps before it are then undone, last one first. */
#ifndef CPR_STEPS_H
#define CPR_STEPS_H
#include "vmm/error.h"
#include <stdint.h>

struct step {
	const char *name;
	int (*run)(void *ctx, struct error *err);
	void (*undo)(void *ctx); /* NULL: nothing to undo. Called only if run succeeded */
};

/* The build with fault injection fails or kills at the step that STASIS_FAULT names:
 * "TABLE/STEP:fail" or "TABLE/STEP:kill". */
int steps_run(const char *table_name, const struct step *step, uint32_t nsteps, void *ctx,
	      struct error *err) must_check;
#endif
