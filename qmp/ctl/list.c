/* SPDX-License-Identifier: GPL-2.0-or-later */
/* list and status: what is known of a VM as one JSON object, and tables that show parts of it. */
#include "qmp/ctl/list.h"
#include "qmp/ctl/check.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/process.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include "vmm/base/bytes.h"
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* --- the facts */

static void add_ram(struct json_object *facts, const struct vms_vm *vm)
{
	struct json_object *ram = ctl_made(json_object_new_object());

	if (vm->ram.path) {
		ctl_add_text(ram, "path", vm->ram.path);
		ctl_add_number(ram, "offset", vm->ram.offset_bytes);
	}
	ctl_add_number(ram, "size", vm->ram.size_bytes);
	ctl_add(facts, "ram", ram);
}

const char *list_version(const struct vms_vm *vm)
{
	const char *version = ctl_string(vm->answers, "/query-version/package");

	return !strncmp(version, "stasis ", 7) ? version + 7 : version;
}

static void add_process(struct json_object *facts, const struct vms_vm *vm)
{
	const pid_t pid = json_object_get_int(ctl_member(vm->answers, "/cprinfo/pid"));
	struct json_object *downtime = ctl_member(vm->answers, "/cprinfo/downtime-ms");
	const char *version = list_version(vm);
	const enum process_binary binary = pid ? process_binary(pid) : PROCESS_BINARY_UNKNOWN;
	uint64_t uptime_s;

	if (pid)
		ctl_add_number(facts, "pid", (uint64_t)pid);
	if (pid && process_uptime_s(pid, &uptime_s))
		ctl_add_number(facts, "uptime-s", uptime_s);
	if (downtime)
		ctl_add(facts, "downtime-ms", json_object_get(downtime));
	if (*version)
		ctl_add_text(facts, "version", version);
	if (binary != PROCESS_BINARY_UNKNOWN)
		ctl_add(facts, "old-binary",
			ctl_made(json_object_new_boolean(binary == PROCESS_BINARY_OLD)));
}

/* What an update would do, "refused" if something stops it. */
static void add_update(struct json_object *facts, const struct vms_vm *vm)
{
	struct json_object *faults = check_one(vm);
	const bool refused = json_object_array_length(faults) > 0;

	ctl_add_text(facts, "update", refused ? "refused" : check_policy(vm));
	if (refused)
		ctl_add(facts, "update-faults", faults);
	else
		json_object_put(faults);
}

/* Why its state is what it is; nothing, if nothing is wrong. */
static void add_reason(struct json_object *facts, const struct vms_vm *vm)
{
	const char *reason = vms_reason(vm);
	char *trouble = vm->reach == VMS_OFF && !reason ? unit_trouble(vm->name) : NULL;

	if (reason || trouble)
		ctl_add_text(facts, "reason", reason ? reason : trouble);
	free(trouble);
}

struct json_object *list_facts(const struct vms_vm *vm)
{
	struct json_object *facts = ctl_made(json_object_new_object());

	ctl_add_text(facts, "name", vm->name);
	ctl_add_text(facts, "state", vms_state(vm));
	add_reason(facts, vm);
	if (vm->file)
		ctl_add_text(facts, "file", vm->file);
	if (vm->cpus)
		ctl_add_number(facts, "vcpus", vm->cpus);
	if (vm->ram.size_bytes)
		add_ram(facts, vm);
	if (vm->reach == VMS_SERVES) {
		add_process(facts, vm);
		add_update(facts, vm);
	}
	return facts;
}

/* --- how they are shown; *text is the caller's to free */

static char *show_plain(struct json_object *value)
{
	return ctl_text("%s", json_object_get_string(value));
}

char *list_size(uint64_t bytes)
{
	static const char units[] = "KMGT";
	size_t unit = 0;

	if (!bytes || bytes % 1024)
		return ctl_text("%" PRIu64, bytes);
	for (bytes /= 1024; bytes % 1024 == 0 && units[unit + 1]; bytes /= 1024)
		unit++;
	return ctl_text("%" PRIu64 "%c", bytes, units[unit]);
}

static char *show_size(struct json_object *value)
{
	return list_size(json_object_get_uint64(value));
}

/* "/dev/dax0.0+2G", "anonymous" */
static char *show_place(struct json_object *ram)
{
	const uint64_t offset_bytes = json_object_get_uint64(ctl_member(ram, "/offset"));
	char *offset = list_size(offset_bytes), *text;

	if (!ctl_member(ram, "/path"))
		text = ctl_text("anonymous");
	else if (offset_bytes)
		text = ctl_text("%s+%s", ctl_string(ram, "/path"), offset);
	else
		text = ctl_text("%s", ctl_string(ram, "/path"));
	free(offset);
	return text;
}

/* "3d04h", "4h05m", "5m06s", "6s" */
static char *show_time(struct json_object *value)
{
	const uint64_t s = json_object_get_uint64(value), minutes = s / 60, hours = minutes / 60;

	if (hours >= 24)
		return ctl_text("%" PRIu64 "d%02" PRIu64 "h", hours / 24, hours % 24);
	if (hours)
		return ctl_text("%" PRIu64 "h%02" PRIu64 "m", hours, minutes % 60);
	if (minutes)
		return ctl_text("%" PRIu64 "m%02" PRIu64 "s", minutes, s % 60);
	return ctl_text("%" PRIu64 "s", s);
}

static char *show_ms(struct json_object *value)
{
	return ctl_text("%" PRIu64 "ms", json_object_get_uint64(value));
}

static char *show_binary(struct json_object *value)
{
	return ctl_text("%s", json_object_get_boolean(value) ? "old" : "installed");
}

/* A column of list, or a line of status. A fact that is not known is shown as "-". */
struct column {
	const char *head;
	const char *fact; /* a JSON pointer */
	char *(*show)(struct json_object *value);
};

static const struct column list_columns[] = {
	{"NAME", "/name", show_plain},
	{"STATE", "/state", show_plain},
	{"VCPUS", "/vcpus", show_plain},
	{"RAM", "/ram/size", show_size},
	{"AT", "/ram", show_place},
	{"UP", "/uptime-s", show_time},
	{"DOWNTIME", "/downtime-ms", show_ms},
	{"VERSION", "/version", show_plain},
	{"BINARY", "/old-binary", show_binary},
	{"UPDATE", "/update", show_plain},
};

static const struct column status_lines[] = {
	{"name", "/name", show_plain},	     {"state", "/state", show_plain},
	{"reason", "/reason", show_plain},   {"configuration", "/file", show_plain},
	{"vCPUs", "/vcpus", show_plain},     {"RAM", "/ram/size", show_size},
	{"RAM is at", "/ram", show_place},   {"process", "/pid", show_plain},
	{"up", "/uptime-s", show_time},	     {"last downtime", "/downtime-ms", show_ms},
	{"version", "/version", show_plain}, {"binary", "/old-binary", show_binary},
	{"update", "/update", show_plain},
};

static char *cell(const struct column *column, struct json_object *facts)
{
	struct json_object *value = ctl_member(facts, column->fact);

	return value ? column->show(value) : ctl_text("-");
}

/* Without trailing blanks, and with text that no terminal obeys. */
static void put_row(char **cells, const size_t *widths, size_t n)
{
	char *line = ctl_text("%s", ""), *longer;
	size_t last = n;

	while (last && !*cells[last - 1])
		last--;
	for (size_t i = 0; i < last; i++) {
		longer = ctl_text("%s%-*s", line, i + 1 < last ? (int)widths[i] + 2 : 0, cells[i]);
		free(line);
		line = longer;
	}
	ctl_put_text(stdout, CTL_LINE, line, SIZE_MAX, false);
	free(line);
}

void list_table(char **cells, size_t rows, size_t columns)
{
	size_t *widths = ctl_memory(calloc(columns + 1, sizeof(*widths)));

	for (size_t i = 0; i < rows * columns; i++)
		if (strlen(cells[i]) > widths[i % columns])
			widths[i % columns] = strlen(cells[i]);
	for (size_t row = 0; row < rows; row++)
		put_row(cells + row * columns, widths, columns);
	for (size_t i = 0; i < rows * columns; i++)
		free(cells[i]);
	free(widths);
}

/* all: an array of facts */
static void print_list(struct json_object *all)
{
	const size_t rows = json_object_array_length(all) + 1, columns = ARRAY_SIZE(list_columns);
	char **cells = ctl_memory(calloc(rows * columns, sizeof(*cells)));

	for (size_t i = 0; i < columns; i++)
		cells[i] = ctl_text("%s", list_columns[i].head);
	for (size_t row = 1; row < rows; row++)
		for (size_t i = 0; i < columns; i++)
			cells[row * columns + i] =
				cell(&list_columns[i], json_object_array_get_idx(all, row - 1));
	list_table(cells, rows, columns);
	free(cells);
}

/* Below the table, for a table has no room for them. */
static void print_reasons(struct json_object *all)
{
	for (size_t i = 0; i < json_object_array_length(all); i++) {
		struct json_object *facts = json_object_array_get_idx(all, i);

		if (ctl_member(facts, "/reason"))
			ctl_complain("%s: %s", ctl_string(facts, "/name"),
				     ctl_string(facts, "/reason"));
	}
}

bool list_get_all(struct vms *vms)
{
	struct error err;
	const int ret = vms_find(vms, &err);

	if (ret)
		ctl_complain("%s", err.msg);
	else
		vms_look_all(vms);
	return !ret;
}

int verb_list(const struct verb_call *call)
{
	struct json_object *all;
	struct vms vms;

	if (!list_get_all(&vms))
		return CTL_FAILED;
	all = ctl_made(json_object_new_array());
	for (size_t i = 0; i < vms.n; i++)
		ctl_append(all, list_facts(&vms.vm[i]));
	if (call->json) {
		ctl_print(all, false);
	} else {
		print_list(all);
		fflush(stdout);
		print_reasons(all);
	}
	json_object_put(all);
	vms_free(&vms);
	return CTL_OK;
}

bool list_get(struct vms_vm *vm, const char *name)
{
	/* Else "../../tmp/x" would be a VM, which delete removes. */
	if (!vms_is_name(name)) {
		ctl_complain("%s: is no name: " VMS_NAME_HELP, name);
		return false;
	}
	vms_get(vm, name);
	if (vms_exists(vm))
		return true;
	ctl_complain("%s: there is no such VM: neither %s.conf in /etc/stasis nor a process; see "
		     "stasisctl list",
		     name, name);
	vms_put(vm);
	return false;
}

int verb_status(const struct verb_call *call)
{
	struct json_object *facts;
	struct vms_vm vm;

	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	facts = list_facts(&vm);
	if (call->json)
		ctl_print(facts, false);
	for (size_t i = 0; !call->json && i < ARRAY_SIZE(status_lines); i++) {
		char *text = cell(&status_lines[i], facts), *line;

		line = ctl_text("%-15s%s", status_lines[i].head, text);
		if (ctl_member(facts, status_lines[i].fact))
			ctl_put_text(stdout, CTL_LINE, line, SIZE_MAX, false);
		free(line);
		free(text);
	}
	json_object_put(facts);
	vms_put(&vm);
	return CTL_OK;
}
