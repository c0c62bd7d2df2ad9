/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/steps.h"
#include "devices/devices.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <string.h>

static const enum ram_survives mode_needs[CPR_MODES] = {
	[CPR_REBOOT] = RAM_SURVIVES_KEXEC,
	[CPR_RESTART] = RAM_SURVIVES_PROCESS,
};

int cpr_possible(struct vm *vm, enum cpr_mode mode, struct error *err)
{
	int ret;

	if (vm->runstate == RUNSTATE_PRELAUNCH)
		return error_set(err, -EBUSY,
				 "the guest has not run yet: there is nothing to save");
	if (runstate_reason[vm->runstate])
		return error_set(err, -EBUSY, "%s", runstate_reason[vm->runstate]);
	ret = ram_check_survives(&vm->ram, mode_needs[mode], err);
	return ret ? ret : devices_may_save(vm, mode_needs[mode], err);
}

/* A guest that has asked for power-off, reset or sleep, or whose vCPU broke, is not one to come back to:
 * the request is not in the checkpoint and would be lost. */
static int check_requests(const struct vm *vm, struct error *err)
{
	if (vm_guest_waits(vm))
		return error_set(
			err, -EBUSY,
			vm->runstate == RUNSTATE_PAUSED
				? "the guest has asked for power-off, reset or sleep: run "
				  "'cont' before saving"
				: "the guest has just asked for power-off, reset or sleep: "
				  "try again");
	if (atomic_load(&vm->requests) & (VM_REQUEST_ERROR | VM_REQUEST_BROKEN_RAM))
		return error_set(err, -EIO, "a vCPU cannot go on (see the log)");
	return 0;
}

static int step_check(struct cpr_job *job, struct error *err)
{
	int ret = checkpoint_file_open(&job->file, job->path, err);

	ret = ret ? ret : checkpoint_file_check_name(job->path, err);
	ret = ret ? ret : cpr_possible(job->vm, job->mode, err);
	ret = ret ? ret : check_requests(job->vm, err);
	if (ret)
		return ret;
	if (ram_fd_survives(job->file.dir_fd) < mode_needs[job->mode])
		return error_set(err, -EOPNOTSUPP,
				 "%s: its folder does not outlive a reboot (tmpfs, ramfs, or an "
				 "overlay or device on them): choose a file on a disk, or "
				 "mode=restart",
				 job->path);
	return 0;
}

/* Before the guest stops: memory, FILE.new and its space. */
static int step_prepare(struct cpr_job *job, struct error *err)
{
	int ret = snapshot_new(&job->snap, job->vm, false, err);

	ret = ret ? ret : snapshot_describe(job->snap, job->vm, job->mode, err);
	ret = ret ? ret
		  : checkpoint_reserve(&job->ckpt, job->snap->section, job->snap->nsections, err);
	return ret ? ret : checkpoint_file_create(&job->file, job->vm, job->ckpt.buffer_bytes, err);
}

static void undo_prepare(struct cpr_job *job)
{
	checkpoint_file_remove(&job->file);
}

static int in_time(struct cpr_job *job, struct error *err)
{
	if (clock_now_ns() <= job->deadline_ns)
		return 0;
	return error_set(err, -ETIMEDOUT,
			 "time limit of %llu ms passed in step %s: give more by timeout-ms",
			 (unsigned long long)job->timeout_ns / 1000000, job->step);
}

/* Most of RAM is clean on the disk before the guest stops; the rest follows in sync-ram. */
static int step_presync(struct cpr_job *job, struct error *err)
{
	struct ram_watch watch;

	if (job->mode != CPR_REBOOT || !job->live)
		return 0;
	watch = steps_walk(job);
	return ram_sync(&job->vm->ram, &watch, err);
}

/* Names the limit, once. */
static int name_limit(const struct cpr_job *job, int ret, struct error *err)
{
	return ret == -ETIMEDOUT ? error_join(err, ret, "the time limit was %llu ms (timeout-ms)",
					      (unsigned long long)job->timeout_ns / 1000000)
				 : ret;
}

/* What the guest was told is written is on the disks. With mode=restart the page cache, which has
 * it, outlives this process. */
static int step_flush(struct cpr_job *job, struct error *err)
{
	if (job->mode != CPR_REBOOT)
		return 0;
	return name_limit(job, devices_flush(job->vm, job->deadline_ns, err), err);
}

/* What a load recognizes the disks by. After the flush, the last thing that changes a file's mtime. */
static int step_identify(struct cpr_job *job, struct error *err)
{
	return name_limit(job, devices_identify(job->vm, job->deadline_ns, err), err);
}

/* Most of what the disks have to write, so that little is left when the guest stands still; and what is
 * to be read of them then is in a cache, be it the drive's. */
static int step_preflush(struct cpr_job *job, struct error *err)
{
	int ret = job->live ? step_flush(job, err) : 0;

	return ret || !job->live ? ret : step_identify(job, err);
}

static void undo_stop_vcpus(struct cpr_job *job)
{
	vm_set_runstate(job->vm, job->former);
	if (job->live)
		vm_resume_vcpus(job->vm);
}

static int step_stop_vcpus(struct cpr_job *job, struct error *err)
{
	int ret;

	job->stopped_at_ns = clock_now_ns();
	if (job->live)
		vm_pause_vcpus(job->vm);
	vm_set_runstate(job->vm, RUNSTATE_SAVE_VM);
	ret = check_requests(job->vm, err);
	if (ret)
		undo_stop_vcpus(job);
	return ret;
}

static int step_pause_devices(struct cpr_job *job, struct error *err)
{
	if (!job->live)
		return 0;
	return name_limit(job, devices_pause(job->vm, job->deadline_ns, err), err);
}

static void undo_pause_devices(struct cpr_job *job)
{
	if (job->live)
		devices_resume(job->vm);
}

static int step_collect(struct cpr_job *job, struct error *err)
{
	return arch_state_save(job->vm, job->snap->arch, err);
}

/* A step of its own: it reads all of RAM, and can be cancelled. */
static int step_hash(struct cpr_job *job, struct error *err)
{
	struct memory_state *memory = &job->snap->memory;
	struct ram_watch watch;

	if (!job->ram_check)
		return 0;
	watch = steps_walk(job);
	memory->nhash = sizeof(memory->hash);
	return ram_hash(&job->vm->ram, &watch, memory->hash, err);
}

static int step_build(struct cpr_job *job, struct error *err)
{
	return checkpoint_build(&job->ckpt, job->snap->section, job->snap->nsections, err);
}

static int step_write(struct cpr_job *job, struct error *err)
{
	return checkpoint_file_write(&job->file, job->ckpt.data, job->ckpt.size_bytes, err);
}

/* Before the guest runs on: even if the label still says saved, what was written here cannot be
 * loaded over RAM that has changed. The file itself goes when the guest runs again. */
static void undo_write(struct cpr_job *job)
{
	checkpoint_file_void(&job->file);
}

static int step_sync_ram(struct cpr_job *job, struct error *err)
{
	struct ram_watch watch = steps_walk(job);
	int ret = job->mode == CPR_REBOOT ? ram_sync(&job->vm->ram, &watch, err) : 0;

	/* RAM may have lost a page since the first look. */
	return ret ? ret : ram_check_survives(&job->vm->ram, mode_needs[job->mode], err);
}

static int step_fsync(struct cpr_job *job, struct error *err)
{
	return checkpoint_file_sync(&job->file, err);
}

static int step_rename(struct cpr_job *job, struct error *err)
{
	return checkpoint_file_publish(&job->file, err);
}

static int step_fsync_folder(struct cpr_job *job, struct error *err)
{
	return checkpoint_file_sync_folder(&job->file, err);
}

static void undo_label(struct cpr_job *job)
{
	struct error err;

	if (label_set(&job->vm->ram, &job->vm->label, NULL, &err))
		log_error("cprsave: the label cannot be set back to running (%s): the next start "
			  "will need --discard-saved",
			  err.msg);
}

static int step_label(struct cpr_job *job, struct error *err)
{
	int ret = label_set(&job->vm->ram, &job->vm->label, job->snap->root.id, err);

	if (ret) /* it may be half written */
		undo_label(job);
	return ret;
}

static const struct step save_step[] = {
	{"check", step_check, NULL},
	{"prepare", step_prepare, undo_prepare},
	{"presync", step_presync, NULL},
	{"preflush", step_preflush, NULL},
	/* From here on the guest waits. */
	{"stop-vcpus", step_stop_vcpus, undo_stop_vcpus},
	{"pause-devices", step_pause_devices, undo_pause_devices},
	{"flush-devices", step_flush, NULL},
	{"identify", step_identify, NULL},
	{"collect", step_collect, NULL},
	{"hash-ram", step_hash, NULL},
	{"build", step_build, NULL},
	{"write", step_write, undo_write},
	{"sync-ram", step_sync_ram, NULL},
	{"fsync", step_fsync, NULL},
	{"rename", step_rename, NULL}, /* undone by those of "write" and "prepare" */
	{"fsync-folder", step_fsync_folder, NULL},
	/* The commit point: after it the checkpoint is good and this process may not run the guest. */
	{"label", step_label, undo_label},
};

const struct step_table cpr_save_table = {"save", "cprsave", save_step, ARRAY_SIZE(save_step),
					  in_time};
_Static_assert(ARRAY_SIZE(save_step) <= STEPS_MAX, "took_ns[]");

static void log_save(const struct cpr_job *job)
{
	uint64_t end_ns = clock_now_ns();
	char times[400];

	log_info("cprsave: %s to %s, %zu bytes: stopped " CLOCK_MS " (%s), before that " CLOCK_MS,
		 cpr_mode_name[job->mode], job->path, job->ckpt.size_bytes,
		 CLOCK_MS_OF(end_ns - job->stopped_at_ns),
		 steps_times(&cpr_save_table, "stop-vcpus", job, times, sizeof(times)),
		 CLOCK_MS_OF(job->stopped_at_ns - job->began_ns));
}

int cpr_save(struct vm *vm, const struct cpr_save_args *args, struct error *err)
{
	struct cpr_job job = {
		.vm = vm,
		.path = args->file,
		.mode = args->mode,
		.ram_check = args->ram_check,
		.timeout_ns = args->timeout_ns,
		.deadline_ns = clock_now_ns() + args->timeout_ns,
		.former = vm->runstate,
		.live = vm_is_live(vm),
		.file = {.dir_fd = -1, .fd = -1},
	};
	int ret = steps_run(&cpr_save_table, &job, err);

	if (!ret) {
		/* Report I/O that failed while it was drained: the main loop will not run again. */
		vm_report_posted(vm);
		vm_set_runstate(vm, RUNSTATE_POSTMIGRATE);
		vm->exit_status = args->mode == CPR_REBOOT ? CPR_EXIT_REBOOT : 0;
		log_save(&job);
	}
	checkpoint_file_close(&job.file);
	checkpoint_free(&job.ckpt);
	snapshot_free(job.snap);
	return ret;
}
