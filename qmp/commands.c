/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands and their table. What a run state forbids, vm.c and cpr/ refuse by name. */
#include "qmp/command.h"
#include "cpr/cpr.h"
#include "qmp/add.h"
#include "vmm/uuid.h"
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#define HANDLER(name) static QMP_HANDLER(name)

HANDLER(qmp_capabilities)
{
	struct json_object *enable = json_object_object_get(call->args, "enable");

	if (enable && json_object_array_length(enable))
		return error_set(err, -EINVAL, "Capability %s not available",
				 json_object_get_string(json_object_array_get_idx(enable, 0)));
	call->session->negotiated = true;
	return 0;
}

HANDLER(query_version)
{
	call->ret = dispatch_version();
	return 0;
}

HANDLER(query_status)
{
	const enum runstate state = call->session->vm->runstate;

	call->ret = json_object_new_object();
	add_string(call->ret, "status", runstate_name[state]);
	add_bool(call->ret, "running", state == RUNSTATE_RUNNING);
	return 0;
}

HANDLER(query_current_machine)
{
	call->ret = json_object_new_object();
	add_bool(call->ret, "wakeup-suspend-support", call->session->vm->opt->s3);
	return 0;
}

HANDLER(query_name)
{
	const char *name = call->session->vm->opt->name;

	call->ret = json_object_new_object();
	if (name)
		add_string(call->ret, "name", name);
	return 0;
}

HANDLER(query_uuid)
{
	char text[UUID_TEXT];

	call->ret = json_object_new_object();
	add_string(call->ret, "UUID", uuid_format(call->session->vm->opt->uuid, text));
	return 0;
}

HANDLER(query_kvm)
{
	call->ret = json_object_new_object();
	add_bool(call->ret, "enabled", true);
	add_bool(call->ret, "present", true);
	return 0;
}

HANDLER(query_cpus_fast)
{
	const struct vm *vm = call->session->vm;
	char path[32];

	call->ret = json_object_new_array();
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct json_object *cpu = add_row(call->ret), *props;

		/* QEMU's clients want a path; it leads nowhere here. */
		snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
		add_uint(cpu, "cpu-index", i);
		add_string(cpu, "qom-path", path);
		add_uint(cpu, "thread-id", (uint64_t)vm->vcpu[i].tid);
		add_string(cpu, "target", arch_name);
		props = add_object(cpu, "props");
		add_uint(props, "socket-id", 0);
		add_uint(props, "core-id", i);
		add_uint(props, "thread-id", 0);
	}
	return 0;
}

HANDLER(query_memory_size_summary)
{
	call->ret = json_object_new_object();
	add_uint(call->ret, "base-memory", call->session->vm->ram.config.size_bytes);
	add_uint(call->ret, "plugged-memory", 0);
	return 0;
}

HANDLER(query_commands)
{
	call->ret = json_object_new_array();
	for (uint32_t i = 0; i < qmp_ncommands; i++) {
		struct json_object *row = add_row(call->ret);

		add_string(row, "name", qmp_commands[i].name);
		json_object_object_add(row, "arguments", args_describe(&qmp_commands[i]));
	}
	return 0;
}

HANDLER(stop)
{
	return vm_stop(call->session->vm, err);
}

HANDLER(cont)
{
	return vm_cont(call->session->vm, err);
}

/* Its SHUTDOWN event comes before its return, as from QEMU. */
HANDLER(quit)
{
	vm_quit(call->session->vm, false, "host-qmp-quit", 0);
	return 0;
}

HANDLER(system_powerdown)
{
	return vm_powerdown(call->session->vm, err);
}

HANDLER(system_wakeup)
{
	return vm_wakeup(call->session->vm, err);
}

HANDLER(system_reset)
{
	return vm_reset(call->session->vm, false, "host-qmp-system-reset", err);
}

/* Returns what cpr/ takes: NULL for the file of --cpr-file. */
static int cpr_file(const struct qmp_call *call, const char **file, struct error *err)
{
	*file = args_string(call, "file");
	if (!*file && !call->session->vm->opt->cpr_file)
		return error_set(err, -EINVAL,
				 "Parameter 'file' is missing, and no --cpr-file says which");
	return 0;
}

enum ram_check { RAM_CHECK_NONE, RAM_CHECK_FULL, RAM_CHECKS };
static const char *const ram_check_name[RAM_CHECKS] = {"none", "full"};

HANDLER(cprsave)
{
	struct cpr_save_args save = {
		.mode = (enum cpr_mode)args_enum(call, "mode", CPR_REBOOT),
		.ram_check = args_enum(call, "ram-check", RAM_CHECK_NONE) == RAM_CHECK_FULL,
		.timeout_ns =
			(uint64_t)args_int(call, "timeout-ms", VM_PAUSE_NS / 1000000) * 1000000,
	};
	int ret = cpr_file(call, &save.file, err);

	if (!ret)
		ret = cpr_save(call->session->vm, &save, err);
	call->session->saved = !ret;
	return ret;
}

HANDLER(cprload)
{
	const char *file;
	int ret = cpr_file(call, &file, err);

	return ret ? ret : cpr_load(call->session->vm, file, err);
}

static const char *chardev_name(enum chardev_kind kind)
{
	switch (kind) {
	case CHARDEV_STDIO:
		return "stdio";
	case CHARDEV_UNIX:
		return "unix";
	case CHARDEV_FILE:
		return "file";
	case CHARDEV_NONE:
		break;
	}
	return "none";
}

/* Beyond the modes: what a script must know of this process to start it again elsewhere in time. */
HANDLER(cprinfo)
{
	struct vm *vm = call->session->vm;
	struct json_object *modes, *refused, *ram, *devices, *row;
	struct error reason;
	int ret;

	call->ret = json_object_new_object();
	modes = add_array(call->ret, "modes");
	refused = add_array(call->ret, "refused");
	for (uint32_t mode = 0; mode < CPR_MODES; mode++) {
		ret = cpr_possible(vm, (enum cpr_mode)mode, &reason);
		if (!ret) {
			json_object_array_add(modes, json_object_new_string(cpr_mode_name[mode]));
			continue;
		}
		row = add_row(refused);
		add_string(row, "mode", cpr_mode_name[mode]);
		add_string(row, "reason", reason.msg);
		if (ret == -EAGAIN)
			add_bool(row, "needs-suspend", true);
	}
	ram = add_object(call->ret, "ram");
	add_string(ram, "backend", vm->ram.backend->name);
	if (vm->ram.config.path)
		add_string(ram, "path", vm->ram.config.path);
	add_uint(ram, "offset", vm->ram.config.offset_bytes);
	add_uint(ram, "size", vm->ram.config.size_bytes);
	devices = add_array(call->ret, "devices");
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		row = add_row(devices);
		add_string(row, "name", vm->device[i]->name);
		add_string(row, "type", vm->device[i]->ops->type);
	}
	add_uint(call->ret, "pid", (uint64_t)getpid());
	add_string(call->ret, "serial", chardev_name(vm->opt->serial.kind));
	if (vm->opt->cpr_file)
		add_string(call->ret, "cpr-file", vm->opt->cpr_file);
	return 0;
}

#define DAY_MS		  (24ll * 3600 * 1000)
#define COUNT(array)	  (sizeof(array) / sizeof((array)[0]))
#define ANY_STRING	  .type = json_type_string
#define ANY_INTEGER	  .type = json_type_int
#define BOOLEAN		  .type = json_type_boolean
#define INTEGER(from, to) .type = json_type_int, .min = (from), .max = (to)
#define ONE_OF(list)	  .type = json_type_string, .values = (list), .nvalues = COUNT(list)
#define COMMAND(command, fn, ...)                                      \
	{                                                              \
		.name = (command), .run = (fn), .arg = { __VA_ARGS__ } \
	}

/* clang-format off */
const struct qmp_command qmp_commands[] = {
	{.name = "qmp_capabilities", .run = qmp_capabilities, .negotiates = true,
	 .arg = {{"enable", .type = json_type_array, .optional = true}}},
	COMMAND("query-version", query_version),
	COMMAND("query-status", query_status),
	COMMAND("query-current-machine", query_current_machine),
	COMMAND("query-name", query_name),
	COMMAND("query-uuid", query_uuid),
	COMMAND("query-kvm", query_kvm),
	COMMAND("query-cpus-fast", query_cpus_fast),
	COMMAND("query-memory-size-summary", query_memory_size_summary),
	COMMAND("query-commands", query_commands),
	COMMAND("query-block", commands_query_block),
	COMMAND("query-blockstats", commands_query_blockstats),
	COMMAND("query-chardev", commands_query_chardev),
	COMMAND("query-pci", commands_query_pci),
	COMMAND("query-rx-filter", commands_query_rx_filter,
		{"name", ANY_STRING, .optional = true}),
	COMMAND("stop", stop),
	COMMAND("cont", cont),
	COMMAND("quit", quit),
	COMMAND("system_powerdown", system_powerdown),
	COMMAND("system_wakeup", system_wakeup),
	COMMAND("system_reset", system_reset),
	COMMAND("set_link", commands_set_link,
		{"name", ANY_STRING},
		{"up", BOOLEAN}),
	/* QEMU's clients give a schedule; cards here have their own. */
	COMMAND("announce-self", commands_announce_self,
		{"initial", ANY_INTEGER, .optional = true},
		{"max", ANY_INTEGER, .optional = true},
		{"rounds", ANY_INTEGER, .optional = true},
		{"step", ANY_INTEGER, .optional = true},
		{"interfaces", .type = json_type_array, .optional = true},
		{"id", ANY_STRING, .optional = true}),
	COMMAND("block_resize", commands_block_resize,
		{"device", ANY_STRING, .optional = true},
		{"node-name", ANY_STRING, .optional = true},
		{"size", ANY_INTEGER}),
	COMMAND("cprsave", cprsave,
		{"file", ANY_STRING, .optional = true},
		{"mode", ONE_OF(cpr_mode_name)},
		{"ram-check", ONE_OF(ram_check_name), .optional = true},
		{"timeout-ms", INTEGER(1, DAY_MS), .optional = true}),
	COMMAND("cprload", cprload,
		{"file", ANY_STRING, .optional = true}),
	COMMAND("cprinfo", cprinfo),
};
/* clang-format on */
const uint32_t qmp_ncommands = COUNT(qmp_commands);
