/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/job.h - a save or load under way: what others see of it, and how they end it.
 * Owns: nothing; the job is on the stack of whoever saves or loads.
 * Threads: main only. Others come to the main thread within the long steps, the walks through RAM, by
 *	vm->serve.
 * Units: bytes, ns.
 * Errors: -ECANCELED once somebody has asked for the end. */
#ifndef CPR_JOB_H
#define CPR_JOB_H
#include "cpr/cpr.h"
#include "vmm/vm.h"

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
#endif
