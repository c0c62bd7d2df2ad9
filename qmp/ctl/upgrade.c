/* SPDX-License-Identifier: GPL-2.0-or-later */
/* upgrade: another binary under a running guest. It is saved with mode=restart, and its unit, started again, loads it.
 * The save comes first and by itself: where it fails the guest runs on, while the stop of a unit cannot be refused. */
#include "qmp/ctl/check.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/list.h"
#include "qmp/ctl/manage.h"
#include "qmp/ctl/process.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include "vmm/base/bytes.h"
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

enum result { UPGRADED, CURRENT, FAILED, IS_OFF };

struct upgrade {
	struct vms_vm vm;
	bool json, all;
	enum result result;
	char *text; /* the versions, or why it has failed */
	uint64_t downtime_ms;
};

/* What would keep its guest from being loaded, once it is saved? Then it had better run on. */
static int check_load(const struct vms_vm *vm, struct error *err)
{
	struct json_object *faults = check_compared(vm);
	struct json_object *first = json_object_array_get_idx(faults, 0);
	int ret = first ? error_set(err, -EINVAL, "%s: %s", ctl_string(first, "/fault"),
				    ctl_string(first, "/way-out"))
			: 0;

	json_object_put(faults);
	return ret;
}

static int check_upgrade(const struct vms_vm *vm, struct error *err)
{
	static const char *const can[] = {"running", "paused", "suspended", "inmigrate", NULL};
	const char *state = vms_state(vm), *const *one = can;

	if (!vm->file)
		return error_set(err, -ENOENT,
				 "has no configuration file, so nothing starts it again");
	if (vm->fault)
		return error_set(err, -EINVAL, "could not start again: %s", vm->fault);
	if (vm->reach != VMS_SERVES)
		return error_set(err, -EBUSY, "is %s%s%s", state, vm->why ? ": " : "",
				 vm->why ? vm->why : "");
	while (*one && strcmp(*one, state) != 0)
		one++;
	if (!*one)
		return error_set(err, -EBUSY, "is %s", state);
	if (!manage_waits(vm) && manage_why_not(vm, "restart"))
		return error_set(err, -EOPNOTSUPP, "cannot be saved: %s",
				 manage_why_not(vm, "restart"));
	return manage_waits(vm) ? 0 : check_load(vm, err);
}

/* Is it the guest that was saved, as it was? */
static int check_back(const struct vms_vm *before, const struct vms_vm *after, struct error *err)
{
	struct json_object *loaded = ctl_member(after->answers, "/cprinfo/loaded");

	if (manage_waits(before) && manage_waits(after))
		return 0;
	if (after->reach != VMS_SERVES || manage_waits(after))
		return error_set(err, -EIO,
				 "is NOT back, it is %s%s%s; its guest is safe in RAM and "
				 "checkpoint: stasisctl load %s",
				 vms_state(after), after->why ? ": " : "",
				 after->why ? after->why : "", after->name);
	if (!loaded)
		return error_set(err, -EIO, "its guest was not loaded, another one has booted");
	if (strcmp(vms_state(before), vms_state(after)) != 0)
		return error_set(err, -EIO, "is back, but was %s and is %s", vms_state(before),
				 vms_state(after));
	return 0;
}

static int replace(struct upgrade *upgrade, struct error *err)
{
	const struct vms_vm *before = &upgrade->vm;
	struct vms_vm after;
	const bool is_saved = manage_waits(before);
	int ret = is_saved ? 0 : manage_save(before, "restart", err);

	if (ret) {
		error_prefix(err, "cannot be saved");
		return ret;
	}
	if (!unit_do(is_saved ? "restart" : "start", before->name))
		return error_set(err, -EIO,
				 "is NOT back: its unit does not start; its guest is safe in RAM "
				 "and checkpoint: mend what systemctl status stasis@%s says, then "
				 "stasisctl load %s",
				 before->name, before->name);
	vms_get(&after, before->name);
	ret = check_back(before, &after, err);
	if (!ret) {
		upgrade->downtime_ms =
			json_object_get_uint64(ctl_member(after.answers, "/cprinfo/downtime-ms"));
		upgrade->text = ctl_text("%s -> %s", list_version(before), list_version(&after));
	}
	vms_put(&after);
	return ret;
}

static void say(const struct upgrade *upgrade)
{
	const char *name = upgrade->vm.name;

	if (upgrade->result == FAILED)
		ctl_complain("%s: %s", name, upgrade->text);
	else if (upgrade->json)
		return;
	else if (upgrade->result == CURRENT)
		printf("%s: runs the installed binary already\n", name);
	else
		printf("%s: %s, stood still for %llu ms\n", name, upgrade->text,
		       (unsigned long long)upgrade->downtime_ms);
	fflush(stdout);
}

/* A guest that is saved has to come back: nothing ends this program between the two. */
static void block_signals(int how)
{
	static const int ends[] = {SIGINT, SIGTERM, SIGHUP, SIGPIPE};
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		sigaddset(&set, ends[i]);
	pthread_sigmask(how, &set, NULL);
}

static bool is_interrupted(void)
{
	sigset_t set;

	return !sigpending(&set) && (sigismember(&set, SIGINT) || sigismember(&set, SIGTERM) ||
				     sigismember(&set, SIGHUP));
}

static void upgrade_one(void *opaque, size_t i)
{
	struct upgrade *upgrade = (struct upgrade *)opaque + i;
	struct vms_vm *vm = &upgrade->vm;
	struct error err;
	pid_t pid;
	int ret;

	/* Now, not before the upgrade of others: it may have changed since. */
	if (upgrade->all)
		vms_look(vm);
	if (upgrade->all && vm->reach == VMS_OFF) {
		upgrade->result = IS_OFF; /* it starts with the new binary anyway */
		return;
	}
	pid = json_object_get_int(ctl_member(vm->answers, "/cprinfo/pid"));
	ret = is_interrupted() ? error_set(&err, -EINTR, "is not upgraded: interrupted")
			       : check_upgrade(vm, &err);
	if (!ret && process_binary(pid) == PROCESS_BINARY_INSTALLED) {
		upgrade->result = CURRENT;
	} else {
		if (!ret)
			ret = replace(upgrade, &err);
		upgrade->result = ret ? FAILED : UPGRADED;
	}
	if (ret)
		upgrade->text = ctl_text("%s", err.msg);
	say(upgrade);
}

static struct json_object *describe(const struct upgrade *upgrade)
{
	static const char *const results[] = {"upgraded", "current", "failed"};
	struct json_object *object = ctl_made(json_object_new_object());

	ctl_add_text(object, "name", upgrade->vm.name);
	ctl_add_text(object, "result", results[upgrade->result]);
	if (upgrade->result == UPGRADED)
		ctl_add_number(object, "downtime-ms", upgrade->downtime_ms);
	if (upgrade->result == FAILED)
		ctl_add_text(object, "reason", upgrade->text);
	return object;
}

static int upgrade_all(struct upgrade *upgrade, size_t n, const struct verb_call *call)
{
	struct json_object *all = ctl_made(json_object_new_array());
	int status = CTL_OK;

	block_signals(SIG_BLOCK);
	vms_each(n, call->jobs, upgrade_one, upgrade);
	for (size_t i = 0; i < n; i++) {
		if (upgrade[i].result == FAILED)
			status = CTL_FAILED;
		if (upgrade[i].result != IS_OFF)
			ctl_append(all, describe(&upgrade[i]));
	}
	if (call->json)
		ctl_print(all, false);
	fflush(stdout);
	json_object_put(all);
	block_signals(SIG_UNBLOCK); /* now it ends */
	return status;
}

int verb_upgrade(const struct verb_call *call)
{
	struct upgrade *upgrade = NULL;
	struct error err;
	struct vms vms = {0};
	size_t n = 0;
	int status;

	if (call->all && vms_find(&vms, &err)) {
		ctl_complain("%s", err.msg);
		return CTL_FAILED;
	}
	upgrade = ctl_memory(calloc(vms.n + 1, sizeof(*upgrade)));
	if (!call->all && list_get(&upgrade[0].vm, call->name))
		n = 1;
	for (size_t i = 0; i < vms.n; i++)
		upgrade[n++].vm = vms.vm[i];
	free(vms.vm);
	for (size_t i = 0; i < n; i++)
		upgrade[i].json = call->json, upgrade[i].all = call->all;
	status = upgrade_all(upgrade, n, call);
	if (!call->all && !n)
		status = CTL_FAILED;
	for (size_t i = 0; i < n; i++) {
		vms_put(&upgrade[i].vm);
		free(upgrade[i].text);
	}
	free(upgrade);
	return status;
}
