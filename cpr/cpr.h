/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/cpr.h - cprsave and cprload: the guest's state goes to a file and comes back, its RAM stays in place.
 *
 * Words
 *	checkpoint	FILE: everything the guest can observe except its RAM. Its content
 *			never changes.
 *	checkpoint id	128 random bits, made by each save: in the checkpoint and in the label.
 *	label		a record after guest RAM (ram/label.c): whose RAM this is, and running or
 *			saved(checkpoint id). It alone decides whether a guest runs or can be loaded.
 *	commit		the write of the label, in a save and in a load: before it all is as it was,
 *			after it only writing the label again undoes it.
 *	spent		of a checkpoint: the label does not name it (any more). It can never be loaded.
 *	FILE.new	a checkpoint that is being written. FILE.loaded: FILE after its load.
 *
 * Save (save.c), all steps within one time limit
 *	check, prepare		may this guest be saved; memory, FILE.new with its space
 *	presync, preflush	RAM and disks are written back while the guest still runs
 *	stop-vcpus, pause-devices, flush-devices, identify
 *				nothing moves any more
 *	collect, hash-ram, build, write, sync-ram, fsync, rename, fsync-folder
 *				FILE is whole and durable; the label still says running
 *	label			saved(id), durable: the commit. The process ends without running the guest.
 *   A step that fails: its predecessors are undone, last one first. Label running again, if it was written,
 *   and durable; FILE.new emptied; devices and vCPUs go on; the file is removed. The guest noticed
 *   only a pause.
 *   Killed before the label: the guest is lost as in a power cut, and what files are left is spent.
 *
 * Load (load.c), in a fresh process with the same command line
 *	open, machine, label	the file is intact, of this machine, and the label names its id
 *	parse, compare, check	all of it into scratch; it fits devices, host and KVM
 *	commit, post-load	into vCPUs and devices; neither guest RAM nor the host is touched
 *	label-running		durable: the commit. The checkpoint is spent.
 *	late			what makes KVM write to guest RAM
 *   Then the guest runs, and FILE becomes FILE.loaded. A step that fails: label saved again, devices reset,
 *   the run state is the former one. Checkpoint and RAM are as they were: it may be tried again.
 *
 * Locks: none is held between steps. vCPUs and devices are stopped, so that all belongs to the main thread;
 *	devices.c takes each device's lock around its callbacks.
 * Threads: main only.
 * Units: ns.
 * Errors: 0 or -errno with one message. */
#ifndef CPR_CPR_H
#define CPR_CPR_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct vm;
struct ram_config;
struct options;

enum cpr_mode { CPR_REBOOT, CPR_RESTART, CPR_MODES };
extern const char *const cpr_mode_name[CPR_MODES]; /* "reboot", "restart" */

struct cpr_save_args {
	const char *file;
	enum cpr_mode mode;
	bool ram_check; /* hash all of RAM into the checkpoint */
	/* For all steps before the label. One step may take longer: an msync cannot be broken off.
	 * Then the save fails after that step. */
	uint64_t timeout_ns;
};

/* Exit status of a VMM that has saved its guest for a boot of the host: it must not be started again
 * before that boot. */
#define CPR_EXIT_REBOOT 3

/* On success the checkpoint is durable, the run state is postmigrate and the VMM shall end with
 * vm->exit_status. */
int cpr_save(struct vm *vm, const struct cpr_save_args *args, struct error *err) must_check;
/* On success the guest runs, or is paused if it was when saved, and the file is FILE.loaded.
 * accept_disks: NULL, or names, up to a NULL, of disks that are taken although they are not those that
 * were saved. */
int cpr_load(struct vm *vm, const char *file, const char *const *accept_disks,
	     struct error *err) must_check;
/* 0 if a save in this mode could work now, else why not (run state, RAM, a device without state). */
int cpr_possible(struct vm *vm, enum cpr_mode mode, struct error *err) must_check;
/* How far a save or load is. */
struct cpr_status {
	const char *operation; /* "cprsave", "cprload" */
	const char *step;
	uint64_t done_bytes, total_bytes; /* of RAM, in this step */
};
/* False: none is under way. */
bool cpr_query(const struct vm *vm, struct cpr_status *status);
/* It will soon fail with a message that says so, and all is as before it. */
int cpr_cancel(struct vm *vm, struct error *err) must_check;
/* Is there a checkpoint to load by the name of --cpr-file? For vm_create(). */
bool cpr_file_waits(const struct options *opt);
/* At start: does this RAM hold a saved guest, and what then? Sets run state inmigrate and loads if
 * the options say so; leaves prelaunch for a boot. Refuses RAM saved by another VM, and to boot a
 * guest that --cpr-file could not be written for. With --check it only looks: a load that would do
 * leaves run state restore-vm. */
int cpr_start(struct vm *vm, struct error *err) must_check;
/* After cpr_start(): does a boot lose what is in this RAM? `what` says what that is. */
bool cpr_boot_loses(const struct vm *vm, struct error *what);
/* The build with fault injection: STASIS_FAULT=list prints the names of all steps. False: was not
 * asked to. */
bool cpr_list_steps_if_asked(void);
/* For --compare: prints a line for each thing in these options, or in this program, that would refuse
 * to load the guest of the running VM whose cprinfo is in the file. Returns how many. */
int cpr_compare(const struct options *now, const char *path, FILE *out,
		struct error *err) must_check;
/* Prints a checkpoint to stdout for --inspect. */
int cpr_inspect(const char *path, bool json, struct error *err) must_check;
/* Of config's path; size_bytes 0: whichever label fits offset_bytes. */
int cpr_inspect_memory(const struct ram_config *config, bool json, struct error *err) must_check;
#endif
