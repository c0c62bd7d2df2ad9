/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/steps.h - a procedure as a table of steps that can be undone.
 * Units: ns; the log has each step in ms.
 * Errors: the first failing step's; the steps before it are then undone, last one first.
 *
 * The build with fault injection (stasis-fault) obeys STASIS_FAULT=TABLE/STEP:HOW[,TABLE/STEP:HOW...],
 * each once and in this order: "fail" instead of the step, "fail-after" once it is done, "kill" (SIGKILL)
 * before it, "kill-after" after it. */
#ifndef CPR_STEPS_H
#define CPR_STEPS_H
#include "cpr/cpr.h"
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
	/* May be NULL. Called between two steps. Not 0: the procedure ends, and the first of them is undone
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

/* A save or load under way: what others see of it, and how they end it. It is on the stack of cpr_save() or
 * cpr_load(). Others come to the main thread within the long steps, the walks through RAM, by vm->serve. */
struct cpr_job {
	struct vm *vm;
	struct cpr_status status;
	bool cancelled;
	uint64_t next_serve_ns;
};

void job_begin(struct cpr_job *job, struct vm *vm, const char *operation);
void job_end(struct cpr_job *job);
/* A step that walks through all of RAM begins. */
void job_walk(struct cpr_job *job, const char *step);
/* From now and then within the walk: serves others, and says if it may go on. */
int job_go_on(struct cpr_job *job, uint64_t done_bytes, struct error *err) must_check;

extern const struct step_table cpr_save_table, cpr_load_table;

/* cpr_load() for a start: stay_paused leaves a guest that ran when saved stopped. */
int load_at_start(struct vm *vm, const char *path, bool stay_paused, struct error *err) must_check;
#endif
