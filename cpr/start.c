/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "cpr/checkpoint_file.h"
#include "cpr/snapshot.h"
#include "cpr/tables.h"
#include "vmm/log.h"
#include "vmm/uuid.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static bool is_ours(const struct vm *vm)
{
	return vm->label.state != LABEL_NONE &&
	       !memcmp(vm->label.vm_id, vm->opt->uuid, sizeof(vm->opt->uuid));
}

static int refuse_strangers(struct vm *vm, struct error *err)
{
	char uuid[UUID_TEXT];

	if (is_ours(vm) || vm->ram.created)
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

/* Is this file the checkpoint that the label waits for? */
static bool goes_with_ram(const struct vm *vm, const char *path)
{
	struct snapshot *head = calloc(1, sizeof(*head));
	struct checkpoint ckpt = {0};
	bool ret = false;

	if (!head)
		return false;
	snapshot_head_sections(head);
	if (!checkpoint_read(&ckpt, AT_FDCWD, path, NULL))
		ret = !checkpoint_load(&ckpt, head->section, head->nsections, false, NULL) &&
		      !memcmp(head->root.id, vm->label.checkpoint_id, sizeof(head->root.id));
	checkpoint_free(&ckpt);
	free(head);
	return ret;
}

/* A save killed between label and rename leaves the checkpoint whole in FILE.new. */
const char *cpr_file_with_guest(const struct vm *vm, char temp[PATH_MAX])
{
	const char *file = vm->opt->cpr_file;

	if (snprintf(temp, PATH_MAX, "%s" CHECKPOINT_TEMP_SUFFIX, file) >= PATH_MAX ||
	    vm->label.state != LABEL_SAVED || !goes_with_ram(vm, temp))
		return file;
	log_info("%s holds the guest: its save was killed just before the end; loading that", temp);
	return temp;
}

static void log_wait(const struct vm *vm, const char *why)
{
	char uuid[UUID_TEXT];

	log_warn("RAM %s holds this VM, saved in checkpoint %s%s%s: waiting for cprload "
		 "(--discard-saved boots instead)",
		 snapshot_ram_path(vm), uuid_format(vm->label.checkpoint_id, uuid), why ? "; " : "",
		 why ? why : "");
}

/* Waits for cprload, which only QMP can bring. */
static int wait_for_load(const struct vm *vm, const char *why, struct error *err)
{
	char uuid[UUID_TEXT];

	log_wait(vm, why);
	if (vm->opt->qmp_path)
		return 0;
	return error_set(err, -EINVAL,
			 "RAM %s is saved in checkpoint %s: load it with --incoming FILE or over "
			 "--qmp, or boot with --discard-saved",
			 snapshot_ram_path(vm), uuid_format(vm->label.checkpoint_id, uuid));
}

static int start_saved(struct vm *vm, struct error *err)
{
	char temp[PATH_MAX];
	struct error why;

	vm_set_runstate(vm, RUNSTATE_INMIGRATE);
	if (vm->opt->incoming == INCOMING_DEFER || !vm->opt->cpr_file)
		return wait_for_load(vm, NULL, err);
	if (load_at_start(vm, cpr_file_with_guest(vm, temp), vm->opt->paused, &why))
		return wait_for_load(vm, why.msg, err);
	return 0;
}

int cpr_start(struct vm *vm, struct error *err)
{
	const struct options *opt = vm->opt;
	int ret;

	label_read(&vm->ram, &vm->label);
	ret = refuse_strangers(vm, err);
	if (ret)
		return ret;
	if (opt->incoming == INCOMING_FILE) {
		vm_set_runstate(vm, RUNSTATE_INMIGRATE);
		return load_at_start(vm, opt->incoming_file, opt->paused, err);
	}
	if (is_ours(vm) && vm->label.state == LABEL_SAVED && !opt->discard_saved)
		return start_saved(vm, err);
	if (opt->incoming == INCOMING_DEFER) {
		vm_set_runstate(vm, RUNSTATE_INMIGRATE);
		return 0;
	}
	if (is_ours(vm) && vm->label.state == LABEL_RUNNING)
		log_warn("RAM %s: the last run of this VM ended without a save; booting",
			 snapshot_ram_path(vm));
	return 0;
}

int cpr_boot_label(struct vm *vm, struct error *err)
{
	struct label label = {.state = LABEL_RUNNING};
	/* A label of another size is of RAM that began elsewhere: some of ours was not in it. */
	bool ours = is_ours(vm) && vm->label.ram_size_bytes == vm->ram.config.size_bytes;
	int ret;

	if (ours && vm->label.state == LABEL_RUNNING)
		return 0;
	if (!ours && !vm->ram.created) {
		ret = label_check_overlap(&vm->ram, vm->opt->uuid, vm->opt->discard_saved, err);
		if (!ret)
			ret = label_spend_overlap(&vm->ram, vm->opt->uuid, err);
		if (ret)
			return ret;
		/* No guest reads what another one, or this host, left in memory. */
		log_info("RAM %s: clearing what was in it", snapshot_ram_path(vm));
		ram_zero(&vm->ram);
	}
	memcpy(label.vm_id, vm->opt->uuid, sizeof(label.vm_id));
	label.ram_size_bytes = vm->ram.config.size_bytes;
	ret = label_write(&vm->ram, &label, err);
	if (!ret)
		vm->label = label;
	return ret;
}

bool cpr_list_steps_if_asked(void)
{
	if (!steps_list_asked())
		return false;
	steps_list(&cpr_save_table);
	steps_list(&cpr_load_table);
	return true;
}
