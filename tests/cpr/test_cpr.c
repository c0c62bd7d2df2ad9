/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refusals of cprsave and cprload name the way out, and what cprinfo lists is what cprsave would do. No guest runs:
 * each is met before one would. */
#include "cpr/cpr.h"
#include "devices/devices.h"
#include "ram/backend.h"
#include "ram/ram.h"
#include "tests/rig/checkpoint_fixture.h"
#include "tests/rig/unit.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define GOLDEN_CHECKPOINT GOLDEN_DIR "/checkpoint-1.0.0"
#define RAM_BYTES	  (2 << 20)

static char folder[] = "/tmp/stasis-test.XXXXXX";
static struct options opt = {.name = "vm1", .uuid = {1, 2, 3}};
static struct vm vm;
static struct error err;

/* A VM without KVM and devices: RAM in a file is all that these refusals look at. */
static void setup(void)
{
	struct ram_config config = {.size_bytes = RAM_BYTES, .path = "ram"};

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	vm = (struct vm)VM_INIT;
	vm.opt = &opt;
	vm.kvm_fd = vm.vm_fd = -1;
	vm.nvcpus = 1;
	ck_assert_msg(!ram_open(&vm.ram, &config, &err), "%s", err.msg);
}

static void teardown(void)
{
	ram_close(&vm.ram);
	unlink("ram");
	unlink("checkpoint");
	ck_assert_int_eq(rmdir(folder), 0);
	memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
}

static void says(const char *text)
{
	ck_assert_msg(strstr(err.msg, text), "'%s' does not say '%s'", err.msg, text);
}

/* Trying again is no way out where the guest stands still. */
TEST_RANGE(save_of_a_guest_that_ends, 0, 3)
{
	const struct cpr_save_args args = {
		.file = "checkpoint", .mode = CPR_RESTART, .timeout_ns = VM_PAUSE_NS};

	static const enum vm_request request[] = {VM_REQUEST_SHUTDOWN, VM_REQUEST_RESET,
						  VM_REQUEST_SUSPEND};

	vm.requests = request[_i];
	vm.runstate = RUNSTATE_PAUSED;
	ck_assert_int_lt(cpr_save(&vm, &args, &err), 0);
	says("has asked for power-off, reset or sleep: run 'cont' before saving");
	vm.runstate = RUNSTATE_RUNNING;
	ck_assert_int_lt(cpr_save(&vm, &args, &err), 0);
	says("try again");
	ck_assert_int_eq(vm.runstate, RUNSTATE_RUNNING);
	ck_assert_int_ne(access("checkpoint", F_OK), 0);
}

static const char *kept_fd = "", *session = "";

/* A real guest's state, of this VM, saved under another kernel. */
static void make_checkpoint(const char *host_kernel)
{
	struct snapshot *snap = sections_load(GOLDEN_CHECKPOINT);
	struct label label = {.state = LABEL_SAVED, .ram_size_bytes = RAM_BYTES};

	machine_describe(&snap->machine, &vm);
	snap->nsections = snap->first_device;
	for (uint32_t i = 0; i < vm.ndevices; i++) {
		struct state_section *section = &snap->section[snap->nsections++];

		strcpy(section->name, vm.device[i]->name);
		section->desc = vm.device[i]->ops->state;
		section->state = device_state(vm.device[i]);
	}
	snap->memory.nhash = 0;
	strcpy((char *)snap->memory.kept_fd, kept_fd);
	strcpy((char *)snap->memory.session, session);
	snap->memory.token = *session ? 0x2a : 0;
	strcpy(snap->root.mode, "reboot");
	memset(snap->vmm.host_kernel, 0, sizeof(snap->vmm.host_kernel));
	strcpy(snap->vmm.host_kernel, host_kernel);
	sections_write(snap, "checkpoint");
	memcpy(label.vm_id, opt.uuid, sizeof(label.vm_id));
	memcpy(label.checkpoint_id, snap->root.id, sizeof(label.checkpoint_id));
	ck_assert_msg(!label_write(&vm.ram, &label, &err), "%s", err.msg);
	snapshot_free(snap);
}

/* Without KVM nothing that the guest has in use is on offer. */
TEST(load_on_another_kernel)
{
	struct utsname host;

	make_checkpoint("6.1.0-old\x1b");
	vm.runstate = RUNSTATE_PRELAUNCH;
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", NULL, &err), 0);
	says("; it was saved on Linux 6.1.0-old?: boot that one to load it");
	ck_assert_int_eq(vm.runstate, RUNSTATE_PRELAUNCH);
	/* Nor is this one's name a way out. */
	uname(&host);
	make_checkpoint(host.release);
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", NULL, &err), 0);
	ck_assert_ptr_null(strstr(err.msg, "boot that one"));
}

/* RAM of later releases, which is no path. */
TEST(ram_that_is_no_path)
{
	vm.runstate = RUNSTATE_PRELAUNCH;
	kept_fd = "vm1-ram\x1b";
	make_checkpoint("6.1.0-old");
	ck_assert_int_eq(cpr_load(&vm, "checkpoint", NULL, &err), -ENOTSUP);
	says("RAM is the kept descriptor 'vm1-ram?', which stasis " STASIS_VERSION " cannot open");
	kept_fd = "";
	session = "stasis";
	make_checkpoint("6.1.0-old");
	ck_assert_int_eq(cpr_load(&vm, "checkpoint", NULL, &err), -ENOTSUP);
	says("RAM is token 0x2a of Live Update session 'stasis', which stasis " STASIS_VERSION
	     " cannot open");
	session = "";
	ck_assert_int_eq(vm.runstate, RUNSTATE_PRELAUNCH);
}

TEST(names_of_ram)
{
	struct snapshot *snap = sections_load(GOLDEN_CHECKPOINT);
	const struct state_desc *desc = snap->section[SNAPSHOT_HEAD_SECTIONS - 1].desc;
	struct memory_state memory = snap->memory;

	ck_assert_int_eq(state_check(desc, &memory, &err), 0);
	memory.token = 1;
	ck_assert_int_eq(state_check(desc, &memory, &err), -EINVAL);
	says("memory: 'token' without 'session'");
	memory = snap->memory;
	memory.session[1] = 'x'; /* after the end of the name */
	ck_assert_int_eq(state_check(desc, &memory, &err), -EINVAL);
	memory = snap->memory;
	memset(memory.kept_fd, 'x', sizeof(memory.kept_fd));
	ck_assert_int_eq(state_check(desc, &memory, &err), -EINVAL);
	says("memory: 'kept_fd' or 'session' is not a name");
	snapshot_free(snap);
}

/* A process that is about to end takes no guest with it. */
TEST(load_in_a_process_that_ends)
{
	struct label label;

	make_checkpoint("6.1.0-old");
	vm.runstate = RUNSTATE_INMIGRATE;
	vm.requests = VM_REQUEST_SIGNAL;
	ck_assert_int_eq(cpr_load(&vm, "checkpoint", NULL, &err), -ECANCELED);
	says("this process was asked to end: the guest stays saved");
	ck_assert_int_eq(vm.runstate, RUNSTATE_INMIGRATE);
	ck_assert_int_eq(access("checkpoint", F_OK), 0);
	ck_assert(!label_read(&vm.ram, &label, &err) && label.state == LABEL_SAVED);
	vm.requests = 0;
}

/* --- devices */

static struct {
	int paused, resumed;
	bool stuck;
} fake[2];

static int fake_settle(struct device *dev, uint64_t deadline_ns, struct error *error)
{
	if (fake[dev->instance].stuck)
		return error_set(error, -ETIMEDOUT, "3 requests are in flight");
	fake[dev->instance].paused++;
	return 0;
}

/* A disk's time is not the guest's, which wants the device's registers. */
static int fake_flush(struct device *dev, uint64_t deadline_ns, struct error *error)
{
	ck_assert_int_eq(pthread_mutex_trylock(&dev->lock), 0);
	pthread_mutex_unlock(&dev->lock);
	return fake_settle(dev, deadline_ns, error);
}

static void fake_resume(struct device *dev)
{
	fake[dev->instance].resumed++;
}

struct fake_state {
	uint64_t size_bytes;
};
#define FAKE_STATE(F, A, V, T) F(T, size_bytes, ST_CONSTANT)
STATE_DEFINE(fake_state, FAKE_STATE, "fake", NULL);

struct fake_device {
	struct device dev;
	struct fake_state s;
};

static uint32_t two(const struct options *unused)
{
	return 2;
}

static const struct device_ops fake_ops = {
	.type = "fake",
	.count = two,
	.state = &fake_state_desc,
	DEVICE_STRUCT(struct fake_device),
	.pause = fake_settle,
	.flush = fake_flush,
	.resume = fake_resume,
};
static struct fake_device fake_device[2] = {
	{{.ops = &fake_ops, .name = "fake0"}, {0}},
	{{.ops = &fake_ops, .name = "fake1", .instance = 1}, {0}},
};

static void add_devices(void)
{
	memset(fake, 0, sizeof(fake));
	for (int i = 0; i < 2; i++) {
		pthread_mutex_init(&fake_device[i].dev.lock, NULL);
		vm.device[vm.ndevices++] = &fake_device[i].dev;
		fake_device[i].s.size_bytes = 100;
	}
}

/* The one that does not drain is named, the others go on. */
TEST(device_that_does_not_drain)
{
	add_devices();
	fake[1].stuck = true;
	ck_assert_int_eq(devices_pause(&vm, UINT64_MAX, &err), -ETIMEDOUT);
	ck_assert_str_eq(err.msg, "fake1: 3 requests are in flight");
	ck_assert_int_eq(fake[0].paused, 1);
	ck_assert_int_eq(fake[0].resumed, 1);
	ck_assert_int_eq(fake[1].resumed, 0);
	ck_assert_int_eq(devices_flush(&vm, UINT64_MAX, &err), -ETIMEDOUT);
	ck_assert_str_eq(err.msg, "fake1: 3 requests are in flight");
	fake[1].stuck = false;
	ck_assert_int_eq(devices_flush(&vm, UINT64_MAX, &err), 0);
	ck_assert_int_eq(devices_pause(&vm, UINT64_MAX, &err), 0);
	devices_resume(&vm);
	ck_assert_int_eq(fake[1].resumed, 1);
}

TEST(time_limit)
{
	const struct cpr_save_args args = {
		.file = "checkpoint", .mode = CPR_RESTART, .timeout_ns = 1};

	vm.runstate = RUNSTATE_PAUSED;
	ck_assert_int_eq(cpr_save(&vm, &args, &err), -ETIMEDOUT);
	ck_assert_str_eq(err.msg,
			 "time limit of 0 ms passed in step check: give more by timeout-ms");
	ck_assert_int_eq(vm.runstate, RUNSTATE_PAUSED);
	ck_assert_int_ne(access("checkpoint.new", F_OK), 0);
}

/* All differences of all devices in one message. */
TEST(devices_that_differ)
{
	add_devices();
	make_checkpoint("6.1.0-old");
	fake_device[0].s.size_bytes = 200;
	fake_device[1].s.size_bytes = 300;
	vm.runstate = RUNSTATE_PRELAUNCH;
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", NULL, &err), 0);
	ck_assert_str_eq(
		err.msg,
		"fake0: checkpoint has size-bytes=100, this VM has 200; fake1: checkpoint has "
		"size-bytes=100, this VM has 300");
	ck_assert_uint_eq(fake_device[0].s.size_bytes, 200);
	ck_assert_int_eq(vm.runstate, RUNSTATE_PRELAUNCH);
	/* The same sizes: on to the next step. */
	fake_device[0].s.size_bytes = fake_device[1].s.size_bytes = 100;
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", NULL, &err), 0);
	ck_assert_ptr_null(strstr(err.msg, "fake"));
}

/* --- what cprinfo lists */

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
	says("not run yet");
}

TEST(backends)
{
	vm.runstate = RUNSTATE_RUNNING;
	vm.ram.backend = &ram_tmpfs;
	vm.ram.config.path = "/dev/shm/ram";
	ck_assert_int_lt(cpr_possible(&vm, CPR_REBOOT, &err), 0);
	says("/dev/shm/ram");
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
	says("nic0 cannot be saved: its link has no table");
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
	says("gpu0 cannot be saved");
	vm.ndevices = 1;
	vm.ram.backend = &ram_memfd;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), -EOPNOTSUPP);
	vm.ram.backend = &ram_file;
	vm.suspended = true;
	vm.runstate = RUNSTATE_SUSPENDED;
	ck_assert_int_eq(cpr_possible(&vm, CPR_REBOOT, &err), 0);
}

UNIT_MAIN(setup, teardown)
