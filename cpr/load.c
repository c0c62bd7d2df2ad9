/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "cpr/snapshot.h"
#include "cpr/steps.h"
#include "devices/devices.h"
#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

struct load {
	struct vm *vm;
	struct cpr_job job;
	const char *path;
	bool stay_paused;
	const char *const *accept; /* disks; NULL: none */
	enum runstate former;	   /* comes back if a step fails */
	struct checkpoint ckpt;
	struct snapshot *snap;
	bool live;	/* the guest ran when it was saved, or slept */
	bool suspended; /* it slept */
	bool spent;	/* the label says running */
	uint64_t downtime_ns;
	struct steps_done done;
};

/* FILE.loaded is there and FILE is not: was the guest saved to FILE, or to another file since? */
static int join_loaded(const struct load *load, int ret, struct error *err)
{
	const struct label *label = &load->vm->label;
	char path[PATH_MAX], uuid[UUID_TEXT];
	struct snapshot *head = NULL;
	bool is_earlier = false;

	snprintf(path, sizeof(path), "%s" CHECKPOINT_LOADED_SUFFIX, load->path);
	if (label->state == LABEL_SAVED && !snapshot_read_head(&head, AT_FDCWD, path, NULL)) {
		is_earlier = memcmp(head->root.id, label->checkpoint_id, sizeof(head->root.id));
		snapshot_free(head);
	}
	if (!is_earlier)
		return error_join(err, ret, "it was loaded already and is %s now", path);
	return error_join(err, ret,
			  "%s is an earlier checkpoint: load the file that the last cprsave wrote, "
			  "checkpoint %s",
			  path, uuid_format(label->checkpoint_id, uuid));
}

static int step_open(void *ctx, struct error *err)
{
	struct load *load = ctx;
	int ret = checkpoint_read(&load->ckpt, AT_FDCWD, load->path, err);

	if (ret == -ENOENT && checkpoint_file_find(load->path) == CHECKPOINT_LOADED)
		return join_loaded(load, ret, err);
	return ret ? ret : snapshot_new(&load->snap, load->vm, true, err);
}

/* RAM that is no path. */
static int check_memory(const struct snapshot *snap, struct error *err)
{
	const struct memory_state *memory = &snap->memory;
	char name[STATE_SHOWN_BYTES], version[STATE_SHOWN_BYTES];

	if (*memory->kept_fd)
		return error_set(err, -ENOTSUP,
				 "RAM is the kept descriptor '%s', which stasis " STASIS_VERSION
				 " cannot open: load it with stasis %s, which saved it",
				 state_shown((const char *)memory->kept_fd, name),
				 state_shown(snap->vmm.version, version));
	if (*memory->session)
		return error_set(err, -ENOTSUP,
				 "RAM is token %#llx of Live Update session '%s', which "
				 "stasis " STASIS_VERSION
				 " cannot open: load it with stasis %s, which saved it",
				 (unsigned long long)memory->token,
				 state_shown((const char *)memory->session, name),
				 state_shown(snap->vmm.version, version));
	return 0;
}

static int step_machine(void *ctx, struct error *err)
{
	struct load *load = ctx;
	struct snapshot *snap = load->snap;
	int ret = checkpoint_load(&load->ckpt, snap->section, SNAPSHOT_HEAD_SECTIONS, false, err);

	ret = ret ? ret : check_memory(snap, err);
	if (ret)
		return ret;
	load->live =
		!load->stay_paused && strcmp(snap->root.run_state, runstate_name[RUNSTATE_PAUSED]);
	load->suspended = snap->root.suspended ||
			  !strcmp(snap->root.run_state, runstate_name[RUNSTATE_SUSPENDED]);
	return machine_compare(&snap->machine, load->suspended, load->vm, err);
}

/* The label is the one truth about this RAM: does it hold the guest of this checkpoint? */
static int step_label(void *ctx, struct error *err)
{
	struct load *load = ctx;
	struct vm *vm = load->vm;
	const char *path = snapshot_ram_path(vm);
	char of_ram[UUID_TEXT], of_file[UUID_TEXT];
	int ret = label_read(&vm->ram, &vm->label, err);

	if (ret)
		return ret;
	if (vm->label.state == LABEL_NONE)
		return error_set(
			err, -ENODATA,
			"RAM %s has no label, so the guest's memory is not in it: give the "
			"path= and offset= that it was saved with",
			path);
	if (!label_is_of(&vm->label, vm->opt->uuid))
		return error_set(
			err, -EPERM,
			"RAM %s belongs to another VM: give this VM its own (that one has uuid %s)",
			path, uuid_format(vm->label.vm_id, of_ram));
	if (vm->label.state != LABEL_SAVED)
		return error_set(
			err, -ESTALE,
			"this checkpoint was already loaded, or its save failed: the guest "
			"has run on in RAM %s, and a start without --incoming boots anew",
			path);
	if (memcmp(vm->label.checkpoint_id, load->snap->root.id, sizeof(vm->label.checkpoint_id)))
		return error_set(
			err, -ESTALE,
			"this checkpoint was already loaded, or its save failed: load the file "
			"of the last cprsave, which RAM %s waits for (checkpoint %s; this is %s)",
			path, uuid_format(vm->label.checkpoint_id, of_ram),
			uuid_format(load->snap->root.id, of_file));
	if (vm->label.ram_size_bytes != vm->ram.config.size_bytes)
		return error_set(
			err, -EINVAL,
			"RAM %s: its label is of %llu MiB, the command line gives %llu MiB: give "
			"the size= that it was saved with",
			path, (unsigned long long)vm->label.ram_size_bytes >> 20,
			(unsigned long long)vm->ram.config.size_bytes >> 20);
	return 0;
}

/* All of it into scratch, each section checked by its table. */
static int step_parse(void *ctx, struct error *err)
{
	struct load *load = ctx;

	return checkpoint_load(&load->ckpt, load->snap->section, load->snap->nsections, true, err);
}

/* Naming a disk that is not there is a mistake: another one was meant. */
static int check_accepted(const struct load *load, struct error *err)
{
	for (const char *const *name = load->accept; name && *name; name++) {
		const struct device *dev = devices_find(load->vm, *name);
		char shown[STATE_SHOWN_BYTES];

		if (!dev || !dev->ops->recognize)
			return error_join(err, -EINVAL, "accept-disks: this VM has no disk '%s'",
					  state_shown(*name, shown));
	}
	return 0;
}

/* Does what was saved fit the devices of this command line and host? All differences at once. */
static int step_compare(void *ctx, struct error *err)
{
	struct load *load = ctx;
	struct error local = {""};
	int ret, bad;

	err = err ? err : &local;
	err->msg[0] = '\0';
	ret = check_accepted(load, err);
	bad = devices_compare(load->vm, load->snap->saved, load->suspended, load->accept, err);
	return bad ? bad : ret;
}

/* A save with mode=restart did not sync RAM: what was only in the page cache is gone with the
 * kernel that had it, while label and checkpoint look as they should. */
static int check_boot(const struct load *load, struct error *err)
{
	const struct snapshot *snap = load->snap;
	char now[sizeof(snap->vmm.host_boot_id)];
	int ret;

	if (strcmp(snap->root.mode, cpr_mode_name[CPR_RESTART]) || !load->vm->ram.backend->sync)
		return 0;
	ret = snapshot_boot_id(now, err);
	if (ret)
		return ret;
	if (!strcmp(now, snap->vmm.host_boot_id))
		return 0;
	return error_set(
		err, -ESTALE,
		"saved with mode=restart, and the host has been rebooted since: RAM %s may "
		"be incomplete; save with mode=reboot next time",
		snapshot_ram_path(load->vm));
}

/* What this host's KVM refuses, that of the kernel which it was saved on took. */
static void name_way_out(const struct load *load, struct error *err)
{
	const char *saved_on = load->snap->vmm.host_kernel;
	char shown[STATE_SHOWN_BYTES], way_out[STATE_SHOWN_BYTES + 80];
	struct utsname host;
	size_t used, max;

	if (!err || uname(&host) || !strcmp(saved_on, host.release))
		return;
	max = (size_t)snprintf(way_out, sizeof(way_out),
			       "; it was saved on Linux %s: boot that one to load it",
			       state_shown(saved_on, shown));
	max = sizeof(err->msg) - 1 - max;
	used = strnlen(err->msg, max);
	snprintf(err->msg + used, sizeof(err->msg) - used, "%s", way_out);
}

/* A signal ends this process as soon as the load is over: the guest must still be saved then. */
static int not_ended(void *ctx, struct error *err)
{
	const struct load *load = ctx;

	if (load->spent ||
	    !(atomic_load(&load->vm->requests) & (VM_REQUEST_SIGNAL | VM_REQUEST_QUIT)))
		return 0;
	return error_set(err, -ECANCELED, "this process was asked to end: the guest stays saved");
}

/* Within a walk through RAM. */
static int go_on(void *ctx, uint64_t done_bytes, struct error *err)
{
	struct load *load = ctx;
	int ret = job_go_on(&load->job, done_bytes, err);

	return ret ? ret : not_ended(load, err);
}

static int check_hash(struct load *load, struct error *err)
{
	const struct memory_state *memory = &load->snap->memory;
	const struct ram_watch watch = {go_on, load};
	uint8_t hash[sizeof(memory->hash)];
	int ret;

	if (!memory->nhash)
		return 0;
	job_walk(&load->job, load->done.step);
	ret = ram_hash(&load->vm->ram, &watch, hash, err);
	if (!ret && memcmp(hash, memory->hash, sizeof(hash)))
		ret = error_set(err, -EIO,
				"RAM %s has changed since it was saved, so the guest cannot go on "
				"in it: bring back what was in it, or boot with --discard-saved, "
				"and the saved guest is lost",
				snapshot_ram_path(load->vm));
	return ret;
}

static int step_check(void *ctx, struct error *err)
{
	struct load *load = ctx;
	int ret = check_boot(load, err);

	ret = ret ? ret : check_hash(load, err);
	if (ret)
		return ret;
	ret = arch_state_check(load->vm, load->snap->arch, err);
	if (ret)
		name_way_out(load, err);
	return ret;
}

/* From here on the machine is no longer that of power-on. */
static int step_commit(void *ctx, struct error *err)
{
	struct load *load = ctx;
	int ret;

	load->vm->needs_reset = true;
	ret = arch_state_load(load->vm, load->snap->arch, err);
	if (ret) {
		name_way_out(load, err);
		arch_state_unload(load->vm);
	} else {
		devices_commit(load->vm, load->snap->saved);
	}
	return ret;
}

static void undo_commit(void *ctx)
{
	struct load *load = ctx;

	devices_reset(load->vm);
	arch_state_unload(load->vm);
}

static int step_post_load(void *ctx, struct error *err)
{
	struct load *load = ctx;

	return devices_post_load(load->vm, err);
}

/* What the checkpoint says is still true of the guest: it has not executed an instruction, and KVM
 * writes to its RAM as the last thing that `late` does. */
static void undo_label_running(void *ctx)
{
	struct load *load = ctx;
	struct error err;

	load->spent = false;
	if (label_set(&load->vm->ram, &load->vm->label, load->snap->root.id, &err))
		log_error("cprload: the label cannot be set back to saved: %s", err.msg);
}

/* The checkpoint is spent as soon as this is durable: no guest is ever loaded twice. */
static int step_label_running(void *ctx, struct error *err)
{
	struct load *load = ctx;
	int ret = label_set(&load->vm->ram, &load->vm->label, NULL, err);

	if (ret) /* it may be half written */
		undo_label_running(ctx);
	load->spent = !ret;
	return ret;
}

static int step_late(void *ctx, struct error *err)
{
	struct load *load = ctx;

	return arch_state_load_late(load->vm, load->snap->arch, err);
}

/* After the last step: nothing here can fail. */
static void resume(struct load *load)
{
	struct vm *vm = load->vm;

	load->downtime_ns = arch_state_downtime_ns(load->snap->arch);
	vm->needs_reset = false;
	vm->has_run = true;
	memcpy(vm->loaded_id, load->snap->root.id, sizeof(vm->loaded_id));
	vm->suspended = load->suspended;
	if (load->live)
		vm_go_on(vm);
	else
		vm_set_runstate(vm, RUNSTATE_PAUSED);
}

static const struct step load_step[] = {
	{"open", step_open, NULL},
	{"machine", step_machine, NULL},
	{"label", step_label, NULL},
	{"parse", step_parse, NULL},
	{"compare", step_compare, NULL},
	{"check", step_check, NULL},
	{"commit", step_commit, undo_commit},
	{"post-load", step_post_load, NULL},
	{"label-running", step_label_running, undo_label_running},
	{"late", step_late, NULL},
};
const struct step_table cpr_load_table = {"load", load_step, ARRAY_SIZE(load_step), not_ended};
_Static_assert(ARRAY_SIZE(load_step) <= STEPS_MAX, "took_ns[]");

/* The steps that only look: a load that ends before it commits anything. */
static int look(struct load *load, struct error *err)
{
	struct step_table table = cpr_load_table;

	for (table.nsteps = 0; load_step[table.nsteps].run != step_commit;)
		table.nsteps++;
	return steps_run(&table, load, &load->done, err);
}

static void log_load(const struct load *load, uint64_t began_ns)
{
	uint64_t took_all_ns = clock_now_ns() - began_ns;
	char times[400];

	log_info("cprload: %s from %s, %zu bytes: the guest stood still " CLOCK_MS ", this load "
		 "took " CLOCK_MS " of it (%s); it is %s",
		 load->snap->root.mode, load->path, load->ckpt.size_bytes,
		 CLOCK_MS_OF(load->downtime_ns), CLOCK_MS_OF(took_all_ns),
		 steps_times(&cpr_load_table, "open", &load->done, times, sizeof(times)),
		 runstate_name[load->vm->runstate]);
}

static int check_allowed(const struct vm *vm, struct error *err)
{
	if (vm->has_run)
		return error_set(err, -EBUSY,
				 "the guest has run in this process: load into a fresh one");
	if (vm->runstate != RUNSTATE_PRELAUNCH && vm->runstate != RUNSTATE_INMIGRATE)
		return error_set(err, -EBUSY, "cprload is not possible in run state %s",
				 runstate_name[vm->runstate]);
	return 0;
}

static int run(struct vm *vm, const char *path, bool stay_paused, const char *const *accept,
	       struct error *err)
{
	struct load load = {
		.vm = vm,
		.path = path,
		.stay_paused = stay_paused,
		.accept = accept,
		.former = vm->runstate,
	};
	uint64_t began_ns = clock_now_ns();
	int ret = check_allowed(vm, err);

	if (ret)
		return ret;
	vm_set_runstate(vm, RUNSTATE_RESTORE_VM);
	job_begin(&load.job, vm, "cprload");
	ret = vm->opt->check ? look(&load, err)
			     : steps_run(&cpr_load_table, &load, &load.done, err);
	job_end(&load.job);
	if (!ret && !vm->opt->check) {
		resume(&load);
		log_load(&load, began_ns);
		checkpoint_file_retire(path, vm);
	} else if (ret) {
		vm_set_runstate(vm, load.former);
	}
	checkpoint_free(&load.ckpt);
	snapshot_free(load.snap);
	return ret;
}

int load_at_start(struct vm *vm, const char *path, bool stay_paused, struct error *err)
{
	return run(vm, path, stay_paused, NULL, err);
}

int cpr_load(struct vm *vm, const char *file, const char *const *accept_disks, struct error *err)
{
	if (!file && !vm->opt->cpr_file)
		return error_set(err, -EINVAL,
				 "no file: give the argument 'file', or "
				 "start with --cpr-file");
	return run(vm, file ? file : vm->opt->cpr_file, false, accept_disks, err);
}
