/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/steps.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Seldom enough to cost nothing, often enough for a client that waits for an answer. */
#define SERVE_NS (CLOCK_NS_PER_S / 100)

/* What the build with fault injection shall do. */
static const char *wanted_fault(void)
{
#ifdef STASIS_FAULT_INJECTION
	return getenv("STASIS_FAULT");
#else
	return NULL;
#endif
}

/* Does STASIS_FAULT name this step and this kind of fault next? Its faults strike in turn, each once. */
static bool fault(const struct step_table *table, const struct step *step, const char *how)
{
	static size_t used_chars; /* characters of the list that are done with */
	const char *wanted = wanted_fault();
	char name[128];
	size_t len;

	if (!wanted || used_chars > strlen(wanted))
		return false;
	wanted += used_chars;
	len = strcspn(wanted, ",");
	snprintf(name, sizeof(name), "%s/%s:%s", table->name, step->name, how);
	if (len != strlen(name) || strncmp(name, wanted, len))
		return false;
	used_chars += len + 1;
	return true;
}

bool steps_list_asked(void)
{
	const char *wanted = wanted_fault();

	return wanted && !strcmp(wanted, "list");
}

static int made_to_fail(const struct step_table *table, const struct step *step, struct error *err)
{
	return error_set(err, -EIO, "%s/%s: made to fail by STASIS_FAULT", table->name, step->name);
}

/* is_done: the step itself succeeded, so that its undo is due if the procedure fails. */
static int run_one(const struct step_table *table, uint32_t index, struct cpr_job *job,
		   bool *is_done, struct error *err)
{
	const struct step *step = &table->step[index];
	int ret;

	*is_done = false;
	if (fault(table, step, "kill"))
		kill(getpid(), SIGKILL);
	if (fault(table, step, "fail"))
		return made_to_fail(table, step, err);
	ret = step->run(job, err);
	if (ret)
		return ret;
	*is_done = true;
	if (fault(table, step, "kill-after"))
		kill(getpid(), SIGKILL);
	if (fault(table, step, "fail-after"))
		return made_to_fail(table, step, err);
	return table->may_go_on && index + 1 < table->nsteps ? table->may_go_on(job, err) : 0;
}

int steps_run(const struct step_table *table, struct cpr_job *job, struct error *err)
{
	uint64_t start_ns = clock_now_ns();
	int ret = 0;

	job->table = table;
	job->began_ns = start_ns;
	job->next_serve_ns = start_ns + SERVE_NS;
	job->status = (struct cpr_status){.operation = table->operation, .step = ""};
	job->vm->cpr = job;
	for (uint32_t i = 0; i < table->nsteps && !ret; i++) {
		bool is_done;
		uint64_t end_ns;

		job->step = table->step[i].name;
		ret = run_one(table, i, job, &is_done, err);
		end_ns = clock_now_ns();
		job->took_ns[i] = end_ns - start_ns;
		start_ns = end_ns;
		log_debug("%s/%s: %s, " CLOCK_MS, table->name, job->step, ret ? "failed" : "done",
			  CLOCK_MS_OF(job->took_ns[i]));
		for (uint32_t k = ret ? i + is_done : 0; k-- > 0;)
			if (table->step[k].undo)
				table->step[k].undo(job);
	}
	job->vm->cpr = NULL;
	return ret;
}

static int go_on(void *opaque, uint64_t done_bytes, struct error *err)
{
	struct cpr_job *job = opaque;
	struct vm *vm = job->vm;

	job->status.done_bytes = done_bytes;
	if (vm->serve && clock_now_ns() >= job->next_serve_ns) {
		vm->serve(vm->event_opaque);
		job->next_serve_ns = clock_now_ns() + SERVE_NS;
	}
	if (job->cancelled)
		return error_set(err, -ECANCELED, "%s was cancelled by cpr-cancel in step %s",
				 job->status.operation, job->status.step);
	return job->table->may_go_on ? job->table->may_go_on(job, err) : 0;
}

struct ram_watch steps_walk(struct cpr_job *job)
{
	job->status.step = job->step;
	job->status.done_bytes = 0;
	job->status.total_bytes = job->vm->ram.config.size_bytes;
	return (struct ram_watch){go_on, job};
}

char *steps_times(const struct step_table *table, const char *first, const struct cpr_job *job,
		  char *text, size_t size)
{
	size_t used = 0;
	uint32_t i = 0;

	while (strcmp(table->step[i].name, first))
		i++;
	*text = '\0';
	for (; i < table->nsteps && used < size; i++)
		used += (size_t)snprintf(text + used, size - used, "%s%s " CLOCK_MS,
					 used ? ", " : "", table->step[i].name,
					 CLOCK_MS_OF(job->took_ns[i]));
	return text;
}

void steps_list(const struct step_table *table)
{
	for (uint32_t i = 0; i < table->nsteps; i++)
		printf("%s/%s\n", table->name, table->step[i].name);
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
