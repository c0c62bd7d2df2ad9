/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands and their table. What a run state forbids, vm.c and cpr/ refuse by name. */
#include "cpr/cpr.h"
#include "qmp/command.h"
#include "vmm/base/bytes.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define HANDLER(name) static QMP_HANDLER(name)

/* {"qemu": {...}, "package": ...}: QEMU's clients know the member by that name. */
static void add_version(struct json_out *out, const char *name)
{
	json_out_open(out, name, '{');
	json_out_open(out, "qemu", '{');
	json_out_int(out, "major", STASIS_MAJOR);
	json_out_int(out, "minor", STASIS_MINOR);
	json_out_int(out, "micro", STASIS_MICRO);
	json_out_close(out, '}');
	json_out_string(out, "package", "stasis " STASIS_VERSION);
	json_out_close(out, '}');
}

void commands_greeting(struct json_out *out)
{
	json_out_open(out, NULL, '{');
	json_out_open(out, "QMP", '{');
	add_version(out, "version");
	json_out_open(out, "capabilities", '[');
	json_out_close(out, ']');
	json_out_close(out, '}');
	json_out_close(out, '}');
	json_out_end_line(out);
}

HANDLER(qmp_capabilities)
{
	const struct json_node *enable = json_member(call->args, "enable");

	if (enable && enable->first)
		return error_set(err, -EINVAL, "Capability %s not available",
				 enable->first->text ? enable->first->text : "of another type");
	call->session->negotiated = true;
	return 0;
}

HANDLER(query_version)
{
	add_version(call->out, RETURN);
	return 0;
}

HANDLER(query_status)
{
	const enum runstate state = call->session->vm->runstate;

	json_out_open(call->out, RETURN, '{');
	json_out_string(call->out, "status", runstate_name[state]);
	json_out_bool(call->out, "running", state == RUNSTATE_RUNNING);
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_current_machine)
{
	json_out_open(call->out, RETURN, '{');
	json_out_bool(call->out, "wakeup-suspend-support", call->session->vm->opt->s3);
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_name)
{
	const char *name = call->session->vm->opt->name;

	json_out_open(call->out, RETURN, '{');
	if (name)
		json_out_string(call->out, "name", name);
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_uuid)
{
	char text[UUID_TEXT];

	json_out_open(call->out, RETURN, '{');
	json_out_string(call->out, "UUID", uuid_format(call->session->vm->opt->uuid, text));
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_kvm)
{
	json_out_open(call->out, RETURN, '{');
	json_out_bool(call->out, "enabled", true);
	json_out_bool(call->out, "present", true);
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_cpus_fast)
{
	const struct vm *vm = call->session->vm;
	struct json_out *out = call->out;
	char path[32];

	json_out_open(out, RETURN, '[');
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		/* QEMU's clients expect a path; here it leads nowhere. */
		snprintf(path, sizeof(path), "/machine/cpu[%u]", i);
		json_out_open(out, NULL, '{');
		json_out_uint(out, "cpu-index", i);
		json_out_string(out, "qom-path", path);
		json_out_uint(out, "thread-id", (uint64_t)vm->vcpu[i].tid);
		json_out_string(out, "target", arch_name);
		json_out_open(out, "props", '{');
		json_out_uint(out, "socket-id", 0);
		json_out_uint(out, "core-id", i);
		json_out_uint(out, "thread-id", 0);
		json_out_close(out, '}');
		json_out_close(out, '}');
	}
	json_out_close(out, ']');
	return 0;
}

HANDLER(query_memory_size_summary)
{
	json_out_open(call->out, RETURN, '{');
	json_out_uint(call->out, "base-memory", call->session->vm->ram.config.size_bytes);
	json_out_uint(call->out, "plugged-memory", 0);
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(query_commands)
{
	json_out_open(call->out, RETURN, '[');
	for (uint32_t i = 0; i < qmp_ncommands; i++)
		args_describe(call->out, &qmp_commands[i]);
	json_out_close(call->out, ']');
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

/* The SHUTDOWN event comes before the reply, as in QEMU. */
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

/* The path for cpr/: NULL for the file of --cpr-file. */
static int cpr_file(const struct qmp_call *call, const char **file, struct error *err)
{
	*file = args_string(call, "file");
	if (!*file && !call->session->vm->opt->cpr_file)
		return error_set(err, -EINVAL,
				 "Parameter 'file' is missing, and no --cpr-file says which");
	if (*file && !**file)
		return error_set(err, -EINVAL,
				 "Parameter 'file' is empty: give the path of a checkpoint");
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
	const struct json_node *list = json_member(call->args, "accept-disks");
	const char *accept[OPTIONS_MAX_DISKS + 1] = {NULL}, *file;
	uint32_t n = 0;
	int ret = cpr_file(call, &file, err);

	for (const struct json_node *name = list ? list->first : NULL; name; name = name->next) {
		if (name->kind != JSON_STRING || strlen(name->text) != name->text_len)
			return error_set(
				err, -EINVAL,
				"Invalid parameter type for 'accept-disks', expected: array "
				"of strings");
		if (n == OPTIONS_MAX_DISKS)
			return error_set(err, -EINVAL,
					 "Parameter 'accept-disks' has more than %d names",
					 OPTIONS_MAX_DISKS);
		accept[n++] = name->text;
	}
	return ret ? ret : cpr_load(call->session->vm, file, accept, err);
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

static void add_modes(struct json_out *out, struct vm *vm)
{
	struct error reason[CPR_MODES];
	int ret[CPR_MODES];

	json_out_open(out, "modes", '[');
	for (uint32_t mode = 0; mode < CPR_MODES; mode++) {
		ret[mode] = cpr_possible(vm, (enum cpr_mode)mode, &reason[mode]);
		if (!ret[mode])
			json_out_string(out, NULL, cpr_mode_name[mode]);
	}
	json_out_close(out, ']');
	json_out_open(out, "refused", '[');
	for (uint32_t mode = 0; mode < CPR_MODES; mode++) {
		if (!ret[mode])
			continue;
		json_out_open(out, NULL, '{');
		json_out_string(out, "mode", cpr_mode_name[mode]);
		json_out_string(out, "reason", reason[mode].msg);
		if (ret[mode] == -EAGAIN)
			json_out_bool(out, "needs-suspend", true);
		json_out_close(out, '}');
	}
	json_out_close(out, ']');
}

static void add_ram(struct json_out *out, const struct ram *ram)
{
	json_out_open(out, "ram", '{');
	json_out_string(out, "backend", ram->backend->name);
	if (ram->config.path)
		json_out_string(out, "path", ram->config.path);
	json_out_uint(out, "offset", ram->config.offset_bytes);
	json_out_uint(out, "size", ram->config.size_bytes);
	json_out_close(out, '}');
}

/* Besides the modes: what a script must know to start this process again after a kexec. */
HANDLER(cprinfo)
{
	struct vm *vm = call->session->vm;
	struct json_out *out = call->out;
	char id[UUID_TEXT];

	json_out_open(out, RETURN, '{');
	add_modes(out, vm);
	add_ram(out, &vm->ram);
	json_out_open(out, "devices", '[');
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		json_out_open(out, NULL, '{');
		json_out_string(out, "name", vm->device[i]->name);
		json_out_string(out, "type", vm->device[i]->ops->type);
		json_out_close(out, '}');
	}
	json_out_close(out, ']');
	json_out_uint(out, "pid", (uint64_t)getpid());
	json_out_string(out, "serial", chardev_name(vm->opt->serial.kind));
	if (vm->opt->cpr_file)
		json_out_string(out, "cpr-file", vm->opt->cpr_file);
	if (memcmp(vm->loaded_id, (uint8_t[sizeof(vm->loaded_id)]){0}, sizeof(vm->loaded_id)))
		json_out_string(out, "loaded", uuid_format(vm->loaded_id, id));
	json_out_close(out, '}');
	return 0;
}

HANDLER(query_cpr)
{
	struct cpr_status status;

	json_out_open(call->out, RETURN, '{');
	if (cpr_query(call->session->vm, &status)) {
		json_out_string(call->out, "operation", status.operation);
		json_out_string(call->out, "step", status.step);
		json_out_uint(call->out, "done", status.done_bytes);
		json_out_uint(call->out, "total", status.total_bytes);
	} else {
		json_out_string(call->out, "operation", "none");
	}
	json_out_close(call->out, '}');
	return 0;
}

HANDLER(cancel)
{
	return cpr_cancel(call->session->vm, err);
}

#define DAY_MS		  (24ll * 3600 * 1000)
#define ANY_STRING	  .type = QMP_STRING
#define ANY_INTEGER	  .type = QMP_INTEGER
#define BOOLEAN		  .type = QMP_BOOLEAN
#define INTEGER(from, to) .type = QMP_INTEGER, .min = (from), .max = (to)
#define ONE_OF(list)	  .type = QMP_STRING, .values = (list), .nvalues = ARRAY_SIZE(list)
/* A command that may run during a save or load. */
#define QUERY(command, fn, ...)                                                           \
	{                                                                                 \
		.name = (command), .run = (fn), .meanwhile = true, .arg = { __VA_ARGS__ } \
	}
#define COMMAND(command, fn, ...)                                      \
	{                                                              \
		.name = (command), .run = (fn), .arg = { __VA_ARGS__ } \
	}

/* clang-format off */
const struct qmp_command qmp_commands[] = {
	{.name = "qmp_capabilities", .run = qmp_capabilities, .negotiates = true, .meanwhile = true,
	 .arg = {{"enable", .type = QMP_ARRAY, .optional = true}}},
	QUERY("query-version", query_version),
	QUERY("query-status", query_status),
	QUERY("query-current-machine", query_current_machine),
	QUERY("query-name", query_name),
	QUERY("query-uuid", query_uuid),
	QUERY("query-kvm", query_kvm),
	QUERY("query-cpus-fast", query_cpus_fast),
	QUERY("query-memory-size-summary", query_memory_size_summary),
	QUERY("query-commands", query_commands),
	QUERY("query-block", commands_query_block),
	QUERY("query-blockstats", commands_query_blockstats),
	QUERY("query-chardev", commands_query_chardev),
	QUERY("query-pci", commands_query_pci),
	COMMAND("stop", stop),
	COMMAND("cont", cont),
	COMMAND("quit", quit),
	COMMAND("system_powerdown", system_powerdown),
	COMMAND("system_wakeup", system_wakeup),
	COMMAND("system_reset", system_reset),
	COMMAND("set_link", commands_set_link,
		{"name", ANY_STRING},
		{"up", BOOLEAN}),
	/* QEMU's clients give a schedule; here each interface has its own. */
	COMMAND("announce-self", commands_announce_self,
		{"initial", ANY_INTEGER, .optional = true},
		{"max", ANY_INTEGER, .optional = true},
		{"rounds", ANY_INTEGER, .optional = true},
		{"step", ANY_INTEGER, .optional = true},
		{"interfaces", .type = QMP_ARRAY, .optional = true},
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
		{"file", ANY_STRING, .optional = true},
		{"accept-disks", .type = QMP_ARRAY, .optional = true}),
	QUERY("cprinfo", cprinfo),
	QUERY("query-cpr", query_cpr),
	QUERY("cpr-cancel", cancel),
};
/* clang-format on */
const uint32_t qmp_ncommands = ARRAY_SIZE(qmp_commands);
