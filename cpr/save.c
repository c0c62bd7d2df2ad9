/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "cpr/snapshot.h"
#include "cpr/steps.h"
#include "devices/devices.h"
#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <string.h>

struct save {
	struct vm *vm;
	struct cpr_job job;
	const char *path;
	enum cpr_mode mode;
	bool ram_check;
	uint64_t timeout_ns, deadline_ns;
	enum runstate former; /* comes back if a step fails */
	bool live;
	struct snapshot *snap;
	struct checkpoint ckpt;
	struct checkpoint_file file;
	uint64_t stopped_at_ns;
	struct steps_done done;
};

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
 * nobody would ask again. */
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

static int step_check(void *ctx, struct error *err)
{
	struct save *save = ctx;
	int ret = checkpoint_file_open(&save->file, save->path, err);

	ret = ret ? ret : checkpoint_file_check_name(save->path, err);
	ret = ret ? ret : cpr_possible(save->vm, save->mode, err);
	ret = ret ? ret : check_requests(save->vm, err);
	if (ret)
		return ret;
	if (ram_fd_survives(save->file.dir_fd) < mode_needs[save->mode])
		return error_set(err, -EOPNOTSUPP,
				 "%s: its folder does not outlive a reboot (tmpfs, ramfs, or an "
				 "overlay or device on them): choose a file on a disk, or "
				 "mode=restart",
				 save->path);
	return 0;
}

/* Before the guest stops: memory, FILE.new and its space. */
static int step_prepare(void *ctx, struct error *err)
{
	struct save *save = ctx;
	int ret = snapshot_new(&save->snap, save->vm, false, err);

	ret = ret ? ret : snapshot_describe(save->snap, save->vm, save->mode, err);
	ret = ret ? ret
		  : checkpoint_reserve(&save->ckpt, save->snap->section, save->snap->nsections,
				       err);
	return ret ? ret
		   : checkpoint_file_create(&save->file, save->vm, save->ckpt.buffer_bytes, err);
}

static void undo_prepare(void *ctx)
{
	struct save *save = ctx;

	checkpoint_file_remove(&save->file);
}

static int in_time(void *ctx, struct error *err)
{
	const struct save *save = ctx;

	if (clock_now_ns() <= save->deadline_ns)
		return 0;
	return error_set(err, -ETIMEDOUT,
			 "time limit of %llu ms passed in step %s: give more by timeout-ms",
			 (unsigned long long)save->timeout_ns / 1000000, save->done.step);
}

/* Within a walk through RAM. */
static int go_on(void *ctx, uint64_t done_bytes, struct error *err)
{
	struct save *save = ctx;
	int ret = job_go_on(&save->job, done_bytes, err);

	return ret ? ret : in_time(save, err);
}

static struct ram_watch walk(struct save *save)
{
	job_walk(&save->job, save->done.step);
	return (struct ram_watch){go_on, save};
}

/* Most of RAM is clean on the disk before the guest stops; the rest follows in sync-ram. */
static int step_presync(void *ctx, struct error *err)
{
	struct save *save = ctx;
	struct ram_watch watch;

	if (save->mode != CPR_REBOOT || !save->live)
		return 0;
	watch = walk(save);
	return ram_sync(&save->vm->ram, &watch, err);
}

/* Names the limit, once. */
static int late(const struct save *save, int ret, struct error *err)
{
	return ret == -ETIMEDOUT ? error_join(err, ret, "the time limit was %llu ms (timeout-ms)",
					      (unsigned long long)save->timeout_ns / 1000000)
				 : ret;
}

/* What the guest was told is written is on the disks. With mode=restart the page cache, which has
 * it, outlives this process. */
static int flush(struct save *save, struct error *err)
{
	if (save->mode != CPR_REBOOT)
		return 0;
	return late(save, devices_flush(save->vm, save->deadline_ns, err), err);
}

/* What a load recognizes the disks by. */
static int identify(struct save *save, struct error *err)
{
	return late(save, devices_identify(save->vm, save->deadline_ns, err), err);
}

/* Most of what the disks have to write, so that little is left when the guest stands still; and what is
 * to be read of them then is in a cache, be it the drive's. */
static int step_preflush(void *ctx, struct error *err)
{
	struct save *save = ctx;
	int ret = save->live ? flush(save, err) : 0;

	return ret || !save->live ? ret : identify(save, err);
}

static int step_stop_vcpus(void *ctx, struct error *err)
{
	struct save *save = ctx;
	int ret;

	save->stopped_at_ns = clock_now_ns();
	if (save->live)
		vm_pause_vcpus(save->vm);
	vm_set_runstate(save->vm, RUNSTATE_SAVE_VM);
	ret = check_requests(save->vm, err);
	if (!ret)
		return 0;
	vm_set_runstate(save->vm, save->former);
	if (save->live)
		vm_resume_vcpus(save->vm);
	return ret;
}

static void undo_stop_vcpus(void *ctx)
{
	struct save *save = ctx;

	vm_set_runstate(save->vm, save->former);
	if (save->live)
		vm_resume_vcpus(save->vm);
}

static int step_pause_devices(void *ctx, struct error *err)
{
	struct save *save = ctx;

	if (!save->live)
		return 0;
	return late(save, devices_pause(save->vm, save->deadline_ns, err), err);
}

static void undo_pause_devices(void *ctx)
{
	struct save *save = ctx;

	if (save->live)
		devices_resume(save->vm);
}

static int step_flush(void *ctx, struct error *err)
{
	return flush(ctx, err);
}

/* After the flush, the last thing that changes a file's mtime. */
static int step_identify(void *ctx, struct error *err)
{
	return identify(ctx, err);
}

static int step_collect(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return arch_state_save(save->vm, save->snap->arch, err);
}

/* A step of its own: it reads all of RAM, and can be cancelled. */
static int step_hash(void *ctx, struct error *err)
{
	struct save *save = ctx;
	struct memory_state *memory = &save->snap->memory;
	struct ram_watch watch;

	if (!save->ram_check)
		return 0;
	watch = walk(save);
	memory->nhash = sizeof(memory->hash);
	return ram_hash(&save->vm->ram, &watch, memory->hash, err);
}

static int step_build(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return checkpoint_build(&save->ckpt, save->snap->section, save->snap->nsections, err);
}

static int step_write(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return checkpoint_file_write(&save->file, save->ckpt.data, save->ckpt.size_bytes, err);
}

/* Before the guest runs on: should the label still say saved, what was written here cannot be loaded over
 * RAM that has changed. The file itself goes when the guest runs again. */
static void undo_write(void *ctx)
{
	struct save *save = ctx;

	checkpoint_file_void(&save->file);
}

static int step_sync_ram(void *ctx, struct error *err)
{
	struct save *save = ctx;
	struct ram_watch watch = walk(save);
	int ret = save->mode == CPR_REBOOT ? ram_sync(&save->vm->ram, &watch, err) : 0;

	/* RAM may have lost a page since the first look. */
	return ret ? ret : ram_check_survives(&save->vm->ram, mode_needs[save->mode], err);
}

static int step_fsync(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return checkpoint_file_sync(&save->file, err);
}

static int step_rename(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return checkpoint_file_publish(&save->file, err);
}

static int step_fsync_folder(void *ctx, struct error *err)
{
	struct save *save = ctx;

	return checkpoint_file_sync_folder(&save->file, err);
}

static void undo_label(void *ctx)
{
	struct save *save = ctx;
	struct error err;

	if (label_set(&save->vm->ram, &save->vm->label, NULL, &err))
		log_error("cprsave: the label cannot be set back to running (%s): the next start "
			  "will need --discard-saved",
			  err.msg);
}

static int step_label(void *ctx, struct error *err)
{
	struct save *save = ctx;
	int ret = label_set(&save->vm->ram, &save->vm->label, save->snap->root.id, err);

	if (ret) /* it may be half written */
		undo_label(ctx);
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

const struct step_table cpr_save_table = {"save", save_step, ARRAY_SIZE(save_step), in_time};
_Static_assert(ARRAY_SIZE(save_step) <= STEPS_MAX, "took_ns[]");

static void log_save(const struct save *save, uint64_t began_ns)
{
	uint64_t end_ns = clock_now_ns();
	char times[400];

	log_info("cprsave: %s to %s, %zu bytes: stopped " CLOCK_MS " (%s), before that " CLOCK_MS,
		 cpr_mode_name[save->mode], save->path, save->ckpt.size_bytes,
		 CLOCK_MS_OF(end_ns - save->stopped_at_ns),
		 steps_times(&cpr_save_table, "stop-vcpus", &save->done, times, sizeof(times)),
		 CLOCK_MS_OF(save->stopped_at_ns - began_ns));
}

int cpr_save(struct vm *vm, const struct cpr_save_args *args, struct error *err)
{
	struct save save = {
		.vm = vm,
		.path = args->file ? args->file : vm->opt->cpr_file,
		.mode = args->mode,
		.ram_check = args->ram_check,
		.timeout_ns = args->timeout_ns,
		.former = vm->runstate,
		.live = vm_is_live(vm),
		.file = {.dir_fd = -1, .fd = -1},
	};
	uint64_t began_ns = clock_now_ns();
	int ret = -EINVAL;

	if (!save.path)
		return error_set(err, ret,
				 "no file: give the argument 'file', or start "
				 "with --cpr-file");
	save.deadline_ns = began_ns + save.timeout_ns;
	job_begin(&save.job, vm, "cprsave");
	ret = steps_run(&cpr_save_table, &save, &save.done, err);
	job_end(&save.job);
	if (!ret) {
		/* Report I/O that failed while it was drained: the main loop will not run again. */
		vm_report_posted(vm);
		vm_set_runstate(vm, RUNSTATE_POSTMIGRATE);
		vm->exit_status = args->mode == CPR_REBOOT ? CPR_EXIT_REBOOT : 0;
		log_save(&save, began_ns);
	}
	checkpoint_file_close(&save.file);
	checkpoint_free(&save.ckpt);
	snapshot_free(save.snap);
	return ret;
}
