/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/steps.h - a procedure as a table of steps that can be undone.
 * Owns: nothing.
 * Threads: the caller's.
 * Units: ns; the log has each step in ms.
 * Errors: the first failing step's; the steps before it are then undone, last one first.
 *
 * The build with fault injection (stasis-fault) obeys STASIS_FAULT=TABLE/STEP:HOW[,TABLE/STEP:HOW...],
 * each once and in this order: "fail" instead of the step, "fail-after" once it is done, "kill" (SIGKILL)
 * before it, "kill-after" after it. */
#ifndef CPR_STEPS_H
#define CPR_STEPS_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEPS_MAX 24

struct step {
	const char *name;
	int (*run)(void *ctx, struct error *err);
	void (*undo)(void *ctx); /* NULL: nothing to undo. Called only if run succeeded */
};

struct step_table {
	const char *name;
	const struct step *step;
	uint32_t nsteps;
	/* May be NULL. Between two steps: may the procedure go on? If not, the first of them is undone
	 * too. */
	int (*may_go_on)(void *ctx, struct error *err);
};

struct steps_done {
	const char *step;	     /* under way, or the one that failed */
	uint64_t took_ns[STEPS_MAX]; /* of each step that ran */
};
int steps_run(const struct step_table *table, void *ctx, struct steps_done *done,
	      struct error *err) must_check;
/* From the step of this name on: "stop-vcpus 0.071 ms, collect 0.301 ms"; returns text. */
char *steps_times(const struct step_table *table, const char *first, const struct steps_done *done,
		  char *text, size_t size);
/* Fault injection only: STASIS_FAULT=list asks for the names of all steps. */
bool steps_list_asked(void);
void steps_list(const struct step_table *table);
#endif
