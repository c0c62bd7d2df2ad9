/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "cpr/snapshot.h"
#include "cpr/steps.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

	if (snapshot_read_head(&head, AT_FDCWD, path, NULL))
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
		if (!load_at_start(vm, file, vm->opt->paused, &why))
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

/* What is wrong with --cpr-file keeps a guest from booting, for it could not be saved later; but not
 * one from coming back. */
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
	if (boots && !vm->opt->discard_saved)
		ret = checkpoint_file_check(file, vm, &why);
	else
		ret = checkpoint_file_check_folder(file, &why);
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
		ret = load_at_start(vm, opt->incoming_file, opt->paused, err);
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
