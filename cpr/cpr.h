/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/cpr.h - cprsave and cprload as QMP and main see them.
 * Owns: nothing between calls.
 * Threads: main only.
 * Units: ns.
 * Errors: 0 or -errno with one message. A failed save brings the former run state back; a failed
 *	load leaves checkpoint and RAM as they were and may be tried again. */
#ifndef CPR_CPR_H
#define CPR_CPR_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>

struct vm;
struct ram_config;
struct options;

enum cpr_mode { CPR_REBOOT, CPR_RESTART, CPR_MODES };
extern const char *const cpr_mode_name[CPR_MODES]; /* "reboot", "restart" */

struct cpr_save_args {
	const char *file; /* NULL: --cpr-file */
	enum cpr_mode mode;
	bool ram_check; /* hash all of RAM into the checkpoint */
	/* For all of it up to the point where the label is written. One step alone may take longer:
	 * writing RAM back cannot be broken off. Then it fails behind that step. */
	uint64_t timeout_ns;
};

/* Exit status of a VMM that has saved its guest for a boot of the host: whoever starts VMMs again
 * when they end must not do so before that. */
#define CPR_EXIT_REBOOT 3

/* On success the checkpoint is durable, the run state is postmigrate and the VMM shall end with
 * vm->exit_status. */
int cpr_save(struct vm *vm, const struct cpr_save_args *args, struct error *err) must_check;
/* On success the guest runs, or is paused if it was when saved, and the file is FILE.loaded. file
 * NULL: that of --cpr-file. accept_disks: NULL, or names, up to a NULL, of disks that are taken
 * although they are not those which were saved. */
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
/* Is there a checkpoint to load by the name of --cpr-file? For vm->file_waits. */
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
/* Prints a checkpoint to stdout for --inspect. */
int cpr_inspect(const char *path, bool json, struct error *err) must_check;
/* Of config's path; size_bytes 0: whichever label fits offset_bytes. */
int cpr_inspect_memory(const struct ram_config *config, bool json, struct error *err) must_check;
#endif
