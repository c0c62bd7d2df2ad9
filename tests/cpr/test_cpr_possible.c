/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What cprinfo lists is what cprsave would do. */
#include "cpr/cpr.h"
#include "ram/backend.h"
#include "tests/rig/unit.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static struct vm vm = VM_INIT;
static struct error err;

TEST(run_states)
{
	static const bool can[RUNSTATES] = {
		[RUNSTATE_RUNNING] = true, [RUNSTATE_PAUSED] = true, [RUNSTATE_SUSPENDED] = true};

	vm.ram.backend = &ram_file;
	for (int state = 0; state < RUNSTATES; state++) {
		vm.runstate = (enum runstate)state;
		for (int mode = 0; mode < CPR_MODES; mode++)
			ck_assert_msg(!cpr_possible(&vm, (enum cpr_mode)mode, &err) == can[state],
				      "%s in run state %s", cpr_mode_name[mode],
				      runstate_name[state]);
	}
	vm.runstate = RUNSTATE_PRELAUNCH;
	ck_assert_int_lt(cpr_possible(&vm, CPR_REBOOT, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "not run yet"));
}

TEST(backends)
{
	vm.runstate = RUNSTATE_RUNNING;
	vm.ram.backend = &ram_tmpfs;
	vm.ram.config.path = "/dev/shm/ram";
	ck_assert_int_lt(cpr_possible(&vm, CPR_REBOOT, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "/dev/shm/ram"));
	ck_assert_int_eq(cpr_possible(&vm, CPR_RESTART, &err), 0);
}

TEST(device_without_state)
{
	static const struct device_ops ops = {.type = "nic", .unsaved = "its link has no table"};
	static struct device nic = {.ops = &ops, .name = "nic0"};

	vm.runstate = RUNSTATE_RUNNING;
	vm.ram.backend = &ram_file;
	vm.device[0] = &nic;
	vm.ndevices = 1;
	ck_assert_int_lt(cpr_possible(&vm, CPR_REBOOT, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "nic0 cannot be saved: its link has no table"));
}

static int may_save(struct device *dev, struct error *why)
{
	ck_assert_str_eq(dev->name, "nic0");
	return dev->vm->suspended ? 0 : error_set(why, -EAGAIN, "the guest is awake");
}

/* As a device says; cprsave and cprinfo ask the same. */
TEST(device_that_must_sleep)
{
	static const struct state_desc desc = {.type = "nic"};
	static const struct device_ops ops = {.type = "nic", .state = &desc, .may_save = may_save};
	static struct device nic = {
		.ops = &ops, .name = "nic0", .vm = &vm, .lock = PTHREAD_MUTEX_INITIALIZER};
	static const struct device_ops other_ops = {.type = "gpu"};
	static struct device other = {
		.ops = &other_ops, .name = "gpu0", .vm = &vm, .lock = PTHREAD_MUTEX_INITIALIZER};

	vm.runstate = RUNSTATE_RUNNING;
	vm.ram.backend = &ram_file;
	vm.device[0] = &nic;
	vm.ndevices = 1;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), -EAGAIN);
	ck_assert_str_eq(err.msg, "the guest is awake");
	/* What sleep would not mend is said first. */
	vm.device[1] = &other;
	vm.ndevices = 2;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(err.msg, "gpu0 cannot be saved"));
	vm.ndevices = 1;
	vm.ram.backend = &ram_memfd;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), -EOPNOTSUPP);
	vm.ram.backend = &ram_file;
	vm.suspended = true;
	vm.runstate = RUNSTATE_SUSPENDED;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), 0);
}

UNIT_MAIN(NULL, NULL)
