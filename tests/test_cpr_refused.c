/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Refusals of cprsave and cprload name the way out. No guest runs: each is met before one would. */
#include "checkpoint_fixture.h"
#include "cpr/cpr.h"
#include "ram/label.h"
#include "tests/unit.h"
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#define GOLDEN_CHECKPOINT GOLDEN_DIR "/checkpoint-0.1.0"
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
START_TEST(test_save_of_a_guest_that_ends)
{
	const struct cpr_save_args args = {.file = "checkpoint", .mode = CPR_RESTART};

	vm.requests = _i ? VM_REQUEST_RESET : VM_REQUEST_SHUTDOWN;
	vm.runstate = RUNSTATE_PAUSED;
	ck_assert_int_lt(cpr_save(&vm, &args, &err), 0);
	says("cont it first: it has asked for power-off or reset");
	vm.runstate = RUNSTATE_RUNNING;
	ck_assert_int_lt(cpr_save(&vm, &args, &err), 0);
	says("try again");
	ck_assert_int_eq(vm.runstate, RUNSTATE_RUNNING);
	ck_assert_int_ne(access("checkpoint", F_OK), 0);
}
END_TEST

/* A real guest's state, of this VM, saved under another kernel. */
static void make_checkpoint(const char *host_kernel)
{
	struct snapshot *snap = sections_new();
	struct label label = {.state = LABEL_SAVED, .ram_size_bytes = RAM_BYTES};
	struct checkpoint ckpt;
	FILE *out = fopen("checkpoint", "wb");

	ck_assert_ptr_nonnull(out);
	ck_assert_int_eq(checkpoint_read(&ckpt, AT_FDCWD, GOLDEN_CHECKPOINT, &err), 0);
	ck_assert_int_eq(checkpoint_load(&ckpt, snap->section, snap->nsections, true, &err), 0);
	checkpoint_free(&ckpt);
	machine_describe(&snap->machine, &vm);
	snap->memory.nhash = 0;
	strcpy(snap->root.mode, "reboot");
	memset(snap->vmm.host_kernel, 0, sizeof(snap->vmm.host_kernel));
	strcpy(snap->vmm.host_kernel, host_kernel);
	ck_assert_int_eq(checkpoint_reserve(&ckpt, snap->section, snap->first_device, &err), 0);
	ck_assert_msg(!checkpoint_build(&ckpt, snap->section, snap->first_device, &err), "%s",
		      err.msg);
	ck_assert_uint_eq(fwrite(ckpt.data, ckpt.size_bytes, 1, out), 1);
	fclose(out);
	memcpy(label.vm_id, opt.uuid, sizeof(label.vm_id));
	memcpy(label.checkpoint_id, snap->root.id, sizeof(label.checkpoint_id));
	ck_assert_msg(!label_write(&vm.ram, &label, &err), "%s", err.msg);
	checkpoint_free(&ckpt);
	sections_free(snap);
}

/* Without KVM nothing that the guest has in use is on offer. */
START_TEST(test_load_on_another_kernel)
{
	struct utsname host;

	make_checkpoint("6.1.0-old\x1b");
	vm.runstate = RUNSTATE_PRELAUNCH;
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", &err), 0);
	says("; it was saved on Linux 6.1.0-old?: boot that one to load it");
	ck_assert_int_eq(vm.runstate, RUNSTATE_PRELAUNCH);
	/* Nor is this one's name a way out. */
	uname(&host);
	make_checkpoint(host.release);
	ck_assert_int_lt(cpr_load(&vm, "checkpoint", &err), 0);
	ck_assert_ptr_null(strstr(err.msg, "boot that one"));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("cpr-refused");
	TCase *tc = tcase_create("cpr-refused");

	tcase_add_checked_fixture(tc, setup, teardown);
	tcase_add_loop_test(tc, test_save_of_a_guest_that_ends, 0, 2);
	tcase_add_test(tc, test_load_on_another_kernel);
	suite_add_tcase(suite, tc);
	return unit_run(suite);
}
