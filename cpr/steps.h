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
#include "cpr/checkpoint.h"
#include "cpr/cpr.h"
#include "vmm/base/error.h"
#include "vmm/vm.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STEPS_MAX 24

struct cpr_job;
struct step {
	const char *name;
	int (*run)(struct cpr_job *job, struct error *err);
	void (*undo)(struct cpr_job *job); /* NULL: nothing to undo. Called only if run succeeded */
};

struct step_table {
	const char *name, *operation;
	const struct step *step;
	uint32_t nsteps;
	/* May be NULL. Called between two steps, and within a walk through RAM. Not 0: the procedure ends, and
	 * a step that is done is undone too. */
	int (*may_go_on)(struct cpr_job *job, struct error *err);
};

/* A save or load under way, on the stack of its function. Others come to the main thread within the long steps,
 * the walks through RAM, by vm->serve: they see its status and may cancel it. */
struct cpr_job {
	struct vm *vm;
	const char *path;
	enum runstate former; /* comes back if a step fails */
	bool live;	      /* of a load: the guest ran when it was saved, or slept */
	struct snapshot *snap;
	struct checkpoint ckpt;

	/* Of a save. */
	enum cpr_mode mode;
	bool ram_check;
	uint64_t timeout_ns, deadline_ns, stopped_at_ns;
	struct checkpoint_file file;

	/* Of a load. */
	bool stay_paused;
	const char *const *accept; /* disks; NULL: none */
	bool suspended;		   /* the guest slept when it was saved */
	bool spent;		   /* the label says running */
	uint64_t downtime_ns;

	/* Of steps.c. */
	const struct step_table *table;
	const char *step; /* under way, or the one that failed */
	uint64_t began_ns, next_serve_ns;
	uint64_t took_ns[STEPS_MAX]; /* of each step that ran */
	struct cpr_status status;
	bool cancelled;
};

int steps_run(const struct step_table *table, struct cpr_job *job, struct error *err) must_check;
/* A step that walks through all of RAM begins. */
struct ram_watch steps_walk(struct cpr_job *job);
/* From the step of this name on: "stop-vcpus 0.071 ms, collect 0.301 ms"; returns text. */
char *steps_times(const struct step_table *table, const char *first, const struct cpr_job *job,
		  char *text, size_t size);
/* Fault injection only: STASIS_FAULT=list asks for the names of all steps. */
bool steps_list_asked(void);
void steps_list(const struct step_table *table);

extern const struct step_table cpr_save_table, cpr_load_table;
#endif
