/* SPDX-License-Identifier: GPL-2.0-or-later */
/* start, stop, save, load and delete: each looks at the VM first, and says afterwards what has become of it. */
#include "qmp/ctl/conn.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/list.h"
#include "qmp/ctl/manage.h"
#include "qmp/ctl/process.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void look_again(struct vms_vm *vm)
{
	char *name = vm->name;

	vm->name = NULL;
	vms_put(vm);
	vms_get(vm, name);
	free(name);
}

bool manage_waits(const struct vms_vm *vm)
{
	return !strcmp(vms_state(vm), "inmigrate");
}

static int say_state(const struct vms_vm *vm)
{
	if (manage_waits(vm))
		printf("%s: is saved and waits to be loaded: stasisctl load %s\n", vm->name,
		       vm->name);
	else
		printf("%s: %s\n", vm->name, vms_state(vm));
	return CTL_OK;
}

/* Looks at a VM that has to have a good configuration file. */
static bool get_startable(struct vms_vm *vm, const char *name)
{
	if (!list_get(vm, name))
		return false;
	if (vm->file && !vm->fault)
		return true;
	if (vm->file)
		ctl_complain("%s: its configuration is faulty: %s", name, vm->fault);
	else
		ctl_complain("%s: runs without a configuration file: nothing starts it again",
			     name);
	vms_put(vm);
	return false;
}

/* Is there a process that answers? If not, says why. */
static bool serves(const struct vms_vm *vm)
{
	if (vm->reach == VMS_OFF)
		ctl_complain("%s: is %s, not running", vm->name, vms_state(vm));
	else if (vm->reach != VMS_SERVES)
		ctl_complain("%s: %s: %s", vm->name, vms_state(vm), vms_reason(vm));
	return vm->reach == VMS_SERVES;
}

/* systemctl says only that it has failed. */
static void say_trouble(const char *name)
{
	char *trouble = unit_trouble(name);

	if (trouble)
		ctl_complain("%s: %s", name, trouble);
	free(trouble);
}

int verb_start(const struct verb_call *call)
{
	struct vms_vm vm;
	int status = CTL_FAILED;

	if (!get_startable(&vm, call->name))
		return CTL_FAILED;
	if (unit_do("start", call->name)) {
		look_again(&vm);
		status = serves(&vm) ? say_state(&vm) : CTL_FAILED;
	} else {
		say_trouble(vm.name);
	}
	vms_put(&vm);
	return status;
}

int verb_stop(const struct verb_call *call)
{
	struct vms_vm vm;
	int status = CTL_FAILED;

	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	if (unit_do("stop", call->name)) {
		look_again(&vm);
		if (vm.reach == VMS_OFF)
			status = say_state(&vm);
		else
			ctl_complain("%s: still %s: stasis@%s.service does not run it; its guest "
				     "may be asked to shut down: stasisctl %s system_powerdown",
				     vm.name, vms_state(&vm), vm.name, vm.socket);
	}
	vms_put(&vm);
	return status;
}

/* --- save and load */

/* True: the VM can be saved so that it outlives what the mode says. */
static bool can_save(const struct vms_vm *vm, const char *mode)
{
	struct json_object *modes = ctl_member(vm->answers, "/cprinfo/modes");

	for (size_t i = 0; i < ctl_length(modes); i++)
		if (!strcmp(ctl_string(json_object_array_get_idx(modes, i), ""), mode))
			return true;
	return false;
}

struct json_object *manage_refusal(const struct vms_vm *vm, const char *mode)
{
	struct json_object *refused = ctl_member(vm->answers, "/cprinfo/refused");

	for (size_t i = 0; i < ctl_length(refused); i++) {
		struct json_object *one = json_object_array_get_idx(refused, i);

		if (!strcmp(ctl_string(one, "/mode"), mode))
			return one;
	}
	return NULL;
}

const char *manage_why_not(const struct vms_vm *vm, const char *mode)
{
	const char *reason = ctl_string(manage_refusal(vm, mode), "/reason");

	if (can_save(vm, mode))
		return NULL;
	return *reason ? reason : "it does not say why";
}

static int ask_to_save(const struct vms_vm *vm, const char *mode, struct error *err)
{
	const pid_t pid = json_object_get_int(ctl_member(vm->answers, "/cprinfo/pid"));
	struct json_object *arguments = ctl_made(json_object_new_object());
	int ret;

	ctl_add_text(arguments, "mode", mode);
	ret = conn_ask(vm->socket, MANAGE_LIMIT_S, "cprsave", arguments, NULL, err);
	/* It holds RAM, disks and locks until its end. */
	return ret || !pid ? ret : process_await_end(pid, MANAGE_LIMIT_S, err);
}

int manage_save(const struct vms_vm *vm, const char *mode, struct error *err)
{
	struct error cause;
	struct vms_vm now;
	int ret = ask_to_save(vm, mode, &cause);

	if (!ret)
		return 0;
	/* No answer is no refusal. */
	vms_get(&now, vm->name);
	if (now.reach == VMS_OFF && !strcmp(vms_state(&now), "saved"))
		ret = 0;
	else if (now.reach == VMS_SERVES)
		*err = cause;
	else
		error_set(err, ret, "%s; now it is %s: stasisctl status %s", cause.msg,
			  vms_state(&now), vm->name);
	vms_put(&now);
	return ret;
}

int verb_save(const struct verb_call *call)
{
	struct error err;
	struct vms_vm vm;
	const char *mode;
	int status = CTL_FAILED, ret;

	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	mode = serves(&vm) && can_save(&vm, "reboot") ? "reboot" : "restart";
	if (vm.reach != VMS_SERVES)
		;
	else if (manage_waits(&vm))
		status = say_state(&vm);
	else if (manage_why_not(&vm, mode)) {
		ctl_complain("%s: cannot be saved: %s", vm.name, manage_why_not(&vm, mode));
	} else {
		ret = manage_save(&vm, mode, &err);
		status = ctl_status(ret);
		if (ret)
			ctl_complain("%s: %s", vm.name, err.msg);
		else
			printf("%s: saved; %s\n", vm.name,
			       !strcmp(mode, "reboot") ? "the host may kexec"
						       : "it does not outlive a kexec of the host");
	}
	vms_put(&vm);
	return status;
}

int verb_load(const struct verb_call *call)
{
	struct error err;
	struct vms_vm vm;
	int status = CTL_FAILED, ret = 0;

	if (!get_startable(&vm, call->name))
		return CTL_FAILED;
	if (vm.reach == VMS_OFF && strcmp(vms_state(&vm), "saved") != 0) {
		ctl_complain("%s: is %s: its RAM holds no saved guest", vm.name, vms_state(&vm));
	} else if (vm.reach == VMS_SERVES && !manage_waits(&vm)) {
		ctl_complain("%s: is %s: there is nothing to load", vm.name, vms_state(&vm));
	} else if (vm.reach != VMS_OFF || unit_do("start", vm.name)) {
		look_again(&vm);
		if (manage_waits(&vm))
			ret = conn_ask(vm.socket, MANAGE_LIMIT_S, "cprload", NULL, NULL, &err);
		if (ret) {
			ctl_complain("%s: %s; its guest is safe in RAM and checkpoint", vm.name,
				     err.msg);
			status = ctl_status(ret);
		} else {
			look_again(&vm);
			status = serves(&vm) ? say_state(&vm) : CTL_FAILED;
		}
	}
	vms_put(&vm);
	return status;
}

/* --- delete */

/* Nothing that may run, or be a guest, loses its file. */
static bool may_delete(const struct vms_vm *vm)
{
	if (!vm->file)
		ctl_complain("%s: has no configuration file", vm->name);
	else if (vm->reach == VMS_SERVES)
		ctl_complain("%s: is %s: stop it first: stasisctl stop %s", vm->name, vms_state(vm),
			     vm->name);
	else if (vm->reach != VMS_OFF)
		ctl_complain("%s: %s: %s", vm->name, vms_state(vm), vms_reason(vm));
	else if (vm->fault)
		ctl_complain("%s: nobody knows whether its RAM holds a saved guest: %s; see "
			     "stasisctl edit %s",
			     vm->name, vm->fault, vm->name);
	else if (!strcmp(vms_state(vm), "saved"))
		ctl_complain("%s: its RAM holds a saved guest: load it (stasisctl load %s), then "
			     "stop it",
			     vm->name, vm->name);
	else if (!strcmp(vms_state(vm), "unknown"))
		ctl_complain("%s: nobody knows whether its RAM holds a saved guest: %s", vm->name,
			     vms_reason(vm) ? vms_reason(vm) : "its label cannot be read");
	else
		return true;
	return false;
}

/* What the files have named stays. */
static void say_what_stays(const struct vms_vm *vm)
{
	const char *at = NULL, *disk;
	char *offset = list_size(vm->file_ram.offset_bytes);
	char *size = list_size(vm->file_ram.size_bytes), *path;

	printf("%s: deleted; disks and RAM are as they were\n", vm->name);
	if (vm->file_ram.path)
		printf("%s: its RAM was %s of %s at %s\n", vm->name, size, vm->file_ram.path,
		       offset);
	while ((disk = vms_option(vm, "disk", &at))) {
		path = vms_list_value(disk, "path");
		printf("%s: its disk was %s\n", vm->name, path ? path : disk);
		free(path);
	}
	free(offset);
	free(size);
}

int verb_delete(const struct verb_call *call)
{
	int status = CTL_FAILED, ret;
	struct vms_vm vm;
	char *folder;

	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	if (may_delete(&vm) && unit_disable(vm.name)) {
		folder = ctl_text("%s.d", vm.file);
		ret = ctl_remove_folder(folder);
		if (ret)
			ctl_complain("%s: %s", folder, strerror(-ret));
		else if (unlink(vm.file))
			ctl_complain("%s: %s", vm.file, strerror(errno));
		else
			status = CTL_OK;
		free(folder);
	}
	if (status == CTL_OK) {
		say_what_stays(&vm);
		fflush(stdout);
		unit_reload();
	}
	vms_put(&vm);
	return status;
}
