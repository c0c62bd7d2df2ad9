/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/job.h"
#include "vmm/base/clock.h"
#include <errno.h>

/* Seldom enough to cost nothing, often enough for whoever waits for an answer. */
#define SERVE_NS (CLOCK_NS_PER_S / 100)

void job_begin(struct cpr_job *job, struct vm *vm, const char *operation)
{
	*job = (struct cpr_job){.vm = vm, .status.operation = operation, .status.step = ""};
	job->next_serve_ns = clock_now_ns() + SERVE_NS;
	vm->cpr = job;
}

void job_end(struct cpr_job *job)
{
	job->vm->cpr = NULL;
}

void job_walk(struct cpr_job *job, const char *step)
{
	job->status.step = step;
	job->status.done_bytes = 0;
	job->status.total_bytes = job->vm->ram.config.size_bytes;
}

int job_go_on(struct cpr_job *job, uint64_t done_bytes, struct error *err)
{
	struct vm *vm = job->vm;

	job->status.done_bytes = done_bytes;
	if (vm->serve && clock_now_ns() >= job->next_serve_ns) {
		vm->serve(vm->event_opaque);
		job->next_serve_ns = clock_now_ns() + SERVE_NS;
	}
	if (job->cancelled)
		return error_set(err, -ECANCELED, "%s was cancelled by cpr-cancel in step %s",
				 job->status.operation, job->status.step);
	return 0;
}

bool cpr_query(const struct vm *vm, struct cpr_status *status)
{
	if (vm->cpr)
		*status = vm->cpr->status;
	return vm->cpr;
}

int cpr_cancel(struct vm *vm, struct error *err)
{
	if (!vm->cpr)
		return error_set(err, -EINVAL, "neither a cprsave nor a cprload is under way");
	vm->cpr->cancelled = true;
	return 0;
}
