/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/steps.h"
#include "devices/devices.h"
#include "ram/turn.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

/* FILE.loaded is there and FILE is not: was the guest saved to FILE, or to another file since? */
static int join_loaded(const struct cpr_job *job, int ret, struct error *err)
{
	const struct label *label = &job->vm->label;
	char path[PATH_MAX], uuid[UUID_TEXT];
	struct snapshot *head = NULL;
	bool is_earlier = false;

	snprintf(path, sizeof(path), "%s" CHECKPOINT_LOADED_SUFFIX, job->path);
	if (label->state == LABEL_SAVED && !checkpoint_read_head(&head, AT_FDCWD, path, NULL)) {
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

static int step_open(struct cpr_job *job, struct error *err)
{
	int ret = checkpoint_read(&job->ckpt, AT_FDCWD, job->path, false, err);

	if (ret == -ENOENT && checkpoint_file_find(job->path) == CHECKPOINT_LOADED)
		return join_loaded(job, ret, err);
	return ret ? ret : snapshot_new(&job->snap, job->vm, true, err);
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

static int step_machine(struct cpr_job *job, struct error *err)
{
	struct snapshot *snap = job->snap;
	int ret = checkpoint_load(&job->ckpt, snap->section, SNAPSHOT_HEAD_SECTIONS, false, err);

	ret = ret ? ret : check_memory(snap, err);
	if (ret)
		return ret;
	job->live =
		!job->stay_paused && strcmp(snap->root.run_state, runstate_name[RUNSTATE_PAUSED]);
	job->suspended = snap->root.suspended ||
			 !strcmp(snap->root.run_state, runstate_name[RUNSTATE_SUSPENDED]);
	return machine_compare(&snap->machine, job->suspended, job->vm, err);
}

/* The label is the one truth about this RAM: does it hold the guest of this checkpoint? */
static int step_label(struct cpr_job *job, struct error *err)
{
	struct vm *vm = job->vm;
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
	if (memcmp(vm->label.checkpoint_id, job->snap->root.id, sizeof(vm->label.checkpoint_id)))
		return error_set(
			err, -ESTALE,
			"this checkpoint was already loaded, or its save failed: load the file "
			"of the last cprsave, which RAM %s waits for (checkpoint %s; this is %s)",
			path, uuid_format(vm->label.checkpoint_id, of_ram),
			uuid_format(job->snap->root.id, of_file));
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
static int step_parse(struct cpr_job *job, struct error *err)
{
	return checkpoint_load(&job->ckpt, job->snap->section, job->snap->nsections, true, err);
}

/* Naming a disk that is not there is a mistake: another one was meant. */
static int check_accepted(const struct cpr_job *job, struct error *err)
{
	for (const char *const *name = job->accept; name && *name; name++) {
		const struct device *dev = devices_find(job->vm, *name);
		char shown[STATE_SHOWN_BYTES];

		if (!dev || !dev->ops->recognize)
			return error_join(err, -EINVAL, "accept-disks: this VM has no disk '%s'",
					  state_shown(*name, shown));
	}
	return 0;
}

/* Does what was saved fit the devices of this command line and host? All differences at once. */
static int step_compare(struct cpr_job *job, struct error *err)
{
	struct error local = {""};
	int ret, bad;

	err = err ? err : &local;
	err->msg[0] = '\0';
	ret = check_accepted(job, err);
	bad = devices_compare(job->vm, job->snap->saved, job->suspended, job->accept, err);
	return bad ? bad : ret;
}

/* A save with mode=restart did not sync RAM: what was only in the page cache is gone with the
 * kernel that had it, while label and checkpoint look as they should. */
static int check_boot(const struct cpr_job *job, struct error *err)
{
	const struct snapshot *snap = job->snap;
	char now[sizeof(snap->vmm.host_boot_id)];
	int ret;

	if (strcmp(snap->root.mode, cpr_mode_name[CPR_RESTART]) || !job->vm->ram.backend->sync)
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
		snapshot_ram_path(job->vm));
}

/* This KVM refuses it; the kernel it was saved on accepted it: name that kernel. */
static void name_way_out(const struct cpr_job *job, struct error *err)
{
	const char *saved_on = job->snap->vmm.host_kernel;
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
static int not_ended(struct cpr_job *job, struct error *err)
{
	if (job->spent ||
	    !(atomic_load(&job->vm->requests) & (VM_REQUEST_SIGNAL | VM_REQUEST_QUIT)))
		return 0;
	return error_set(err, -ECANCELED, "this process was asked to end: the guest stays saved");
}

static int check_hash(struct cpr_job *job, struct error *err)
{
	const struct memory_state *memory = &job->snap->memory;
	struct ram_watch watch;
	uint8_t hash[sizeof(memory->hash)];
	int turn, ret;

	if (!memory->nhash)
		return 0;
	watch = steps_walk(job);
	ret = turn_take(&turn, &watch, err);
	if (ret)
		return ret;
	ret = ram_hash(&job->vm->ram, &watch, hash, err);
	turn_give_back(&turn);
	if (!ret && memcmp(hash, memory->hash, sizeof(hash)))
		ret = error_set(err, -EIO,
				"RAM %s has changed since it was saved, so the guest cannot go on "
				"in it: bring back what was in it, or boot with --discard-saved, "
				"and the saved guest is lost",
				snapshot_ram_path(job->vm));
	return ret;
}

static int step_check(struct cpr_job *job, struct error *err)
{
	int ret = check_boot(job, err);

	ret = ret ? ret : check_hash(job, err);
	if (ret)
		return ret;
	ret = arch_state_check(job->vm, job->snap->arch, err);
	if (ret)
		name_way_out(job, err);
	return ret;
}

/* From here on the machine is no longer that of power-on. */
static int step_commit(struct cpr_job *job, struct error *err)
{
	int ret;

	job->vm->needs_reset = true;
	ret = arch_state_load(job->vm, job->snap->arch, err);
	if (ret) {
		name_way_out(job, err);
		arch_state_unload(job->vm);
	} else {
		devices_commit(job->vm, job->snap->saved);
	}
	return ret;
}

static void undo_commit(struct cpr_job *job)
{
	devices_reset(job->vm);
	arch_state_unload(job->vm);
}

static int step_post_load(struct cpr_job *job, struct error *err)
{
	return devices_post_load(job->vm, err);
}

/* What the checkpoint says is still true of the guest: it has not executed an instruction, and KVM
 * writes to its RAM as the last thing that `late` does. */
static void undo_label_running(struct cpr_job *job)
{
	struct error err;

	job->spent = false;
	if (label_set(&job->vm->ram, &job->vm->label, job->snap->root.id, &err))
		log_error("cprload: the label cannot be set back to saved: %s", err.msg);
}

/* The checkpoint is spent as soon as this is durable: no guest is ever loaded twice. */
static int step_label_running(struct cpr_job *job, struct error *err)
{
	int ret = label_set(&job->vm->ram, &job->vm->label, NULL, err);

	if (ret) /* it may be half written */
		undo_label_running(job);
	job->spent = !ret;
	return ret;
}

static int step_late(struct cpr_job *job, struct error *err)
{
	return arch_state_load_late(job->vm, job->snap->arch, err);
}

/* After the last step: nothing here can fail. */
static void resume(struct cpr_job *job)
{
	struct vm *vm = job->vm;

	job->downtime_ns = arch_state_downtime_ns(job->snap->arch);
	vm->needs_reset = false;
	vm->has_run = true;
	memcpy(vm->loaded_id, job->snap->root.id, sizeof(vm->loaded_id));
	vm->downtime_ns = job->downtime_ns;
	vm->suspended = job->suspended;
	if (job->live)
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
const struct step_table cpr_load_table = {"load", "cprload", load_step, ARRAY_SIZE(load_step),
					  not_ended};
_Static_assert(ARRAY_SIZE(load_step) <= STEPS_MAX, "took_ns[]");

/* The steps that only look: a load that ends before it commits anything. */
static int look(struct cpr_job *job, struct error *err)
{
	struct step_table table = cpr_load_table;

	for (table.nsteps = 0; load_step[table.nsteps].run != step_commit;)
		table.nsteps++;
	return steps_run(&table, job, err);
}

static void log_load(const struct cpr_job *job)
{
	uint64_t took_all_ns = clock_now_ns() - job->began_ns;
	char times[400];

	log_info("cprload: %s from %s, %zu bytes: the guest stood still " CLOCK_MS ", this load "
		 "took " CLOCK_MS " of it (%s); it is %s",
		 job->snap->root.mode, job->path, job->ckpt.size_bytes,
		 CLOCK_MS_OF(job->downtime_ns), CLOCK_MS_OF(took_all_ns),
		 steps_times(&cpr_load_table, "open", job, times, sizeof(times)),
		 runstate_name[job->vm->runstate]);
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
	struct cpr_job job = {
		.vm = vm,
		.path = path,
		.stay_paused = stay_paused,
		.accept = accept,
		.former = vm->runstate,
	};
	int ret = check_allowed(vm, err);

	if (ret)
		return ret;
	vm_set_runstate(vm, RUNSTATE_RESTORE_VM);
	ret = vm->opt->check ? look(&job, err) : steps_run(&cpr_load_table, &job, err);
	if (!ret && !vm->opt->check) {
		resume(&job);
		log_load(&job);
		checkpoint_file_retire(path, vm);
	} else if (ret) {
		vm_set_runstate(vm, job.former);
	}
	checkpoint_free(&job.ckpt);
	snapshot_free(job.snap);
	return ret;
}

int cpr_load(struct vm *vm, const char *file, const char *const *accept_disks, struct error *err)
{
	return run(vm, file, false, accept_disks, err);
}

/* --- at start */

static int refuse_strangers(struct vm *vm, struct error *err)
{
	char uuid[UUID_TEXT];

	if (label_is_of(&vm->label, vm->opt->uuid) || vm->ram.created)
		return 0;
	if (vm->label.state == LABEL_SAVED)
		return error_set(
			err, -EPERM,
			"RAM %s holds another VM, saved (uuid %s): give it other memory, or "
			"discard that VM with --uuid %s --discard-saved",
			snapshot_ram_path(vm), uuid_format(vm->label.vm_id, uuid), uuid);
	/* Discarding writes to RAM: that waits for the boot. */
	return label_check_overlap(&vm->ram, vm->opt->uuid, vm->opt->discard_saved, err);
}

/* Waits for cprload, which comes over QMP. */
static int wait_for_load(struct vm *vm, const struct error *why, struct error *err)
{
	char uuid[UUID_TEXT];
	const char *id = uuid_format(vm->label.checkpoint_id, uuid);
	bool is_saved = vm->label.state == LABEL_SAVED;

	vm_set_runstate(vm, RUNSTATE_INMIGRATE);
	if (!vm->opt->qmp_path)
		return error_set(
			err, -EINVAL,
			"%s; %sor boot with --discard-saved and lose the saved guest "
			"(RAM %s%s%s)",
			why->msg, is_saved ? "load it with --incoming FILE or over --qmp, " : "",
			snapshot_ram_path(vm), is_saved ? ", checkpoint " : "", is_saved ? id : "");
	log_warn("%s; this start waits for cprload, --discard-saved would boot and lose the saved "
		 "guest (RAM %s%s%s)",
		 why->msg, snapshot_ram_path(vm), is_saved ? ", checkpoint " : "",
		 is_saved ? id : "");
	return 0;
}

/* A supervisor that restarts a VM which has just saved itself for a kexec must not bring the guest back:
 * the host is about to kexec. An operator who wants it back in this boot uses cprload. */
static bool is_for_next_boot(const char *path)
{
	struct snapshot *head;
	char now[sizeof(head->vmm.host_boot_id)];
	bool ret;

	if (checkpoint_read_head(&head, AT_FDCWD, path, NULL))
		return false; /* the load says why */
	/* Without a boot id of the host, the operator decides by cprload. */
	ret = !strcmp(head->root.mode, cpr_mode_name[CPR_REBOOT]) &&
	      (snapshot_boot_id(now, NULL) || !strcmp(head->vmm.host_boot_id, now));
	snapshot_free(head);
	return ret;
}

static int start_saved(struct vm *vm, struct error *err)
{
	const char *file = vm->opt->incoming == INCOMING_DEFER ? NULL : vm->opt->cpr_file;
	struct error why;

	if (!file) {
		error_set(&why, -EBUSY, "this VM is saved");
	} else if (is_for_next_boot(file)) {
		error_set(&why, -EBUSY,
			  "%s was saved with mode=reboot, and the host has not been rebooted since",
			  file);
	} else {
		vm_set_runstate(vm, RUNSTATE_INMIGRATE);
		if (!run(vm, file, vm->opt->paused, NULL, &why))
			return 0;
		error_prefix(&why, "the saved guest is not loaded");
	}
	return wait_for_load(vm, &why, err);
}

/* RAM has no label of this VM: it is new, or the label was lost. Where FILE was never loaded, that
 * guest may be what is in this RAM. */
static int start_without_label(struct vm *vm, struct error *err)
{
	const char *file = vm->opt->cpr_file;
	struct error why;

	if (vm->awaits_guest) {
		error_set(&why, -ENODATA,
			  vm->ram.created
				  ? "RAM file %s is missing, though %s was never loaded: bring it "
				    "back and start again"
				  : "RAM %s has no label of this VM, though %s was never loaded: "
				    "look whether this is the guest's RAM",
			  snapshot_ram_path(vm), file);
		return wait_for_load(vm, &why, err);
	}
	if (checkpoint_file_find(file) == CHECKPOINT_LOADED)
		log_warn("RAM %s has no label of this VM, and %s" CHECKPOINT_LOADED_SUFFIX
			 " was loaded: the last run ended without a save; booting",
			 snapshot_ram_path(vm), file);
	return 0;
}

/* A bad --cpr-file refuses a boot, whose guest could not be saved, but not a load. */
static int check_cpr_file(const struct vm *vm, bool boots, struct error *err)
{
	const char *file = vm->opt->cpr_file;
	struct error why;
	int ret;

	if (!file)
		return 0;
	ret = checkpoint_file_check_name(file, &why);
	if (ret)
		return error_set(err, ret, "--cpr-file %s", why.msg);
	ret = checkpoint_file_check(file, boots && !vm->opt->discard_saved ? vm : NULL, &why);
	if (!ret)
		return 0;
	if (boots)
		return error_set(err, ret, "--cpr-file %s", why.msg);
	log_warn("--cpr-file %s: cprsave without a file will be refused", why.msg);
	return 0;
}

bool cpr_boot_loses(const struct vm *vm, struct error *what)
{
	char uuid[UUID_TEXT];

	if (label_is_of(&vm->label, vm->opt->uuid) && vm->label.state == LABEL_SAVED)
		error_set(what, 0, "the guest saved in checkpoint %s is lost",
			  uuid_format(vm->label.checkpoint_id, uuid));
	else if (!label_fits(&vm->label, &vm->ram, vm->opt->uuid) && !vm->ram.created)
		error_set(what, 0,
			  "RAM %s has no label of this VM: all that is in it is overwritten",
			  snapshot_ram_path(vm));
	else
		return false;
	return true;
}

bool cpr_file_waits(const struct options *opt)
{
	return opt->cpr_file && checkpoint_file_find(opt->cpr_file) == CHECKPOINT_WAITS;
}

static void give_up_file(struct vm *vm)
{
	if (vm->opt->cpr_file)
		checkpoint_file_give_up(vm->opt->cpr_file, vm);
}

int cpr_start(struct vm *vm, struct error *err)
{
	const struct options *opt = vm->opt;
	struct error what;
	bool is_ours = label_is_of(&vm->label, opt->uuid);
	bool is_saved = is_ours && vm->label.state == LABEL_SAVED && !opt->discard_saved;
	int ret = refuse_strangers(vm, err);

	vm->on_claim = give_up_file;
	ret = ret ? ret : check_cpr_file(vm, !is_saved && opt->incoming == INCOMING_NO, err);
	if (ret)
		return ret;
	if (opt->incoming == INCOMING_FILE) {
		vm_set_runstate(vm, RUNSTATE_INMIGRATE);
		ret = run(vm, opt->incoming_file, opt->paused, NULL, err);
		if (ret)
			error_prefix(err, "--incoming");
		return ret;
	}
	if (is_saved)
		return start_saved(vm, err);
	if (opt->incoming == INCOMING_DEFER) {
		vm_set_runstate(vm, RUNSTATE_INMIGRATE);
		return 0;
	}
	if (!is_ours && opt->cpr_file && !opt->discard_saved)
		return start_without_label(vm, err);
	if (opt->discard_saved && !opt->check && cpr_boot_loses(vm, &what))
		log_warn("--discard-saved: %s", what.msg);
	if (is_ours && vm->label.state == LABEL_RUNNING)
		log_warn("RAM %s: the last run of this VM ended without a save; booting",
			 snapshot_ram_path(vm));
	return 0;
}

bool cpr_list_steps_if_asked(void)
{
	if (!steps_list_asked())
		return false;
	steps_list(&cpr_save_table);
	steps_list(&cpr_load_table);
	return true;
}
