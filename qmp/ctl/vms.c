/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/vms.h"
#include "qmp/ctl/conn.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/run.h"
#include "vmm/base/bytes.h"
#include "vmm/option_table.h"
#include <dirent.h>
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_END ".conf"

char *vms_path(const char *fmt, ...)
{
	const char *root = getenv("STASIS_ROOT");
	char *path, *whole;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&path, fmt, ap) < 0)
		path = NULL;
	va_end(ap);
	whole = ctl_text("%s%s", root ? root : "", (char *)ctl_memory(path));
	free(path);
	return whole;
}

bool vms_is_name(const char *name)
{
	return *name && *name != '.' && *name != '-' && strlen(name) <= 64 &&
	       option_is_word(name, "._-+:@");
}

/* --- which there are */

static void set_places(struct vms_vm *vm, const char *name)
{
	struct stat st;

	*vm = (struct vms_vm){.name = ctl_text("%s", name)};
	vm->file = vms_path("/etc/stasis/%s" FILE_END, name);
	vm->socket = vms_path("/run/stasis/%s/qmp", name);
	if (!stat(vm->file, &st) || errno != ENOENT)
		return;
	free(vm->file);
	vm->file = NULL;
}

static bool is_known(const struct vms *vms, const char *name)
{
	for (size_t i = 0; i < vms->n; i++)
		if (!strcmp(vms->vm[i].name, name))
			return true;
	return false;
}

static void add_vm(struct vms *vms, const char *name)
{
	if (is_known(vms, name))
		return;
	vms->vm = ctl_memory(realloc(vms->vm, (vms->n + 1) * sizeof(*vms->vm)));
	set_places(&vms->vm[vms->n++], name);
}

/* Each entry of a folder that has the end, without it. A folder that is not there has none. */
static int add_from(struct vms *vms, char *folder, const char *end, struct error *err)
{
	const size_t end_bytes = strlen(end);
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int ret = dir || errno == ENOENT ? 0 : -errno;

	while (dir && (entry = readdir(dir))) {
		char *name = ctl_text("%s", entry->d_name);
		const size_t n = strlen(name);

		if (n > end_bytes && !strcmp(name + n - end_bytes, end)) {
			name[n - end_bytes] = '\0';
			if (*name != '.')
				add_vm(vms, name);
		}
		free(name);
	}
	if (dir)
		closedir(dir);
	if (ret)
		error_set(err, ret, "%s: %s", folder, strerror(-ret));
	free(folder);
	return ret;
}

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct vms_vm *)a)->name, ((const struct vms_vm *)b)->name);
}

/* A folder that a VM without a file has left is no VM. */
static void drop_remains(struct vms *vms)
{
	size_t n = 0;

	for (size_t i = 0; i < vms->n; i++)
		if (vms->vm[i].file || !access(vms->vm[i].socket, F_OK))
			vms->vm[n++] = vms->vm[i];
		else
			vms_put(&vms->vm[i]);
	vms->n = n;
}

int vms_find(struct vms *vms, struct error *err)
{
	int ret;

	*vms = (struct vms){0};
	ret = add_from(vms, vms_path("/etc/stasis"), FILE_END, err);
	if (!ret)
		ret = add_from(vms, vms_path("/run/stasis"), "", err);
	if (ret) {
		vms_free(vms);
		return ret;
	}
	drop_remains(vms);
	if (vms->n)
		qsort(vms->vm, vms->n, sizeof(*vms->vm), by_name);
	return 0;
}

void vms_put(struct vms_vm *vm)
{
	free(vm->name);
	free(vm->file);
	free(vm->socket);
	free(vm->fault);
	free(vm->ram.path);
	free(vm->file_ram.path);
	free(vm->why);
	free(vm->options);
	json_object_put(vm->answers);
}

void vms_free(struct vms *vms)
{
	for (size_t i = 0; i < vms->n; i++)
		vms_put(&vms->vm[i]);
	free(vms->vm);
	*vms = (struct vms){0};
}

/* --- what their files say */

/* In place: each line ends with a NUL, and an empty one is the end of all. There is room for one more byte. */
static void split_lines(char *text)
{
	char *to = text;

	for (const char *from = text; *from; from++)
		if (*from != '\n' || (to > text && to[-1]))
			*to++ = (char)(*from == '\n' ? '\0' : *from);
	to[0] = to[1] = '\0';
}

int vms_show(const char *file, char **options, struct error *err)
{
	const char *const argv[] = {run_stasis(), "--config", file, "--show", NULL};
	struct run_output output;
	int ret = run_capture(argv, VMS_LIMIT_S, &output, err);

	if (ret)
		return ret;
	if (output.status) {
		ret = run_refused("stasis", &output, err);
	} else {
		*options = ctl_memory(realloc(output.out, strlen(output.out) + 2));
		output.out = NULL;
		split_lines(*options);
	}
	run_free(&output);
	return ret;
}

const char *vms_option(const struct vms_vm *vm, const char *name, const char **at)
{
	const size_t n = strlen(name);
	const char *line = at && *at ? *at : vm->options;

	for (; line && *line; line += strlen(line) + 1) {
		if (strncmp(line, name, n) != 0 || (line[n] && line[n] != ' ' && line[n] != '='))
			continue;
		if (at)
			*at = line + strlen(line) + 1;
		return line[n] ? line + n + 1 : "";
	}
	return NULL;
}

char *vms_list_value(const char *list, const char *key)
{
	char *copy = ctl_text("%s", list), *rest = copy, *pair, *value = NULL;
	const size_t n = strlen(key);

	while (!value && (pair = option_next(&rest)))
		if (!strncmp(pair, key, n) && pair[n] == '=')
			value = ctl_text("%s", pair + n + 1);
	free(copy);
	return value;
}

static uint64_t list_size(const char *list, const char *key)
{
	char *text = vms_list_value(list, key);
	uint64_t bytes = 0;

	if (text && option_size(text, &bytes))
		bytes = 0;
	free(text);
	return bytes;
}

static void look_at_file(struct vms_vm *vm)
{
	struct error err;
	const char *memory, *cpus;

	if (vms_show(vm->file, &vm->options, &err)) {
		vm->fault = ctl_text("%s", err.msg);
		return;
	}
	memory = vms_option(vm, "memory", NULL);
	cpus = vms_option(vm, "cpus", NULL);
	vm->cpus = cpus ? (uint32_t)strtoul(cpus, NULL, 10) : 1;
	vm->file_ram.size_bytes = memory ? list_size(memory, "size") : 256 << 20;
	if (memory) {
		vm->file_ram.path = vms_list_value(memory, "path");
		vm->file_ram.offset_bytes = list_size(memory, "offset");
	}
	vm->ram = vm->file_ram;
	vm->ram.path = vm->ram.path ? ctl_text("%s", vm->ram.path) : NULL;
}

/* --- what their processes say */

/* Of a VM that runs, its own word counts and not the file's, which may have been edited since. */
static void take_answers(struct vms_vm *vm)
{
	struct json_object *cpus = ctl_member(vm->answers, "/query-cpus-fast");
	struct json_object *size = ctl_member(vm->answers, "/cprinfo/ram/size");

	if (ctl_length(cpus))
		vm->cpus = (uint32_t)ctl_length(cpus);
	if (!size)
		return;
	free(vm->ram.path);
	vm->ram.path = *ctl_string(vm->answers, "/cprinfo/ram/path")
			       ? ctl_text("%s", ctl_string(vm->answers, "/cprinfo/ram/path"))
			       : NULL;
	vm->ram.size_bytes = json_object_get_uint64(size);
	vm->ram.offset_bytes =
		json_object_get_uint64(ctl_member(vm->answers, "/cprinfo/ram/offset"));
}

/* A process that another one serves, or that walks through RAM, does not answer: that is no failure. */
static int ask_all(struct vms_vm *vm, struct conn *conn, struct error *err)
{
	static const char *const commands[] = {"query-status",	  "query-version", "cprinfo",
					       "query-cpus-fast", "query-chardev", "query-cpr"};
	struct json_object *value;
	int ret;

	for (size_t i = 0; i < ARRAY_SIZE(commands); i++) {
		ret = conn_execute(conn, commands[i], NULL, &value, err);
		if (!ret)
			ctl_add(vm->answers, commands[i], value);
		else if (ret != -EREMOTEIO) /* that is an older VM */
			return ret;
	}
	return ctl_member(vm->answers, "/query-status/status")
		       ? 0
		       : error_set(err, -EPROTO, "%s: tells no run state", vm->socket);
}

static void look_at_process(struct vms_vm *vm)
{
	struct conn conn = {.total.s = VMS_LIMIT_S};
	struct error err;
	int ret = conn_open(&conn, vm->socket, &err);

	vm->answers = ctl_made(json_object_new_object());
	if (!ret)
		ret = ask_all(vm, &conn, &err);
	conn_close(&conn);
	switch (ret) {
	case 0:
		vm->reach = VMS_SERVES;
		take_answers(vm);
		return;
	case -ENOENT:
	case -ECONNREFUSED:
		vm->reach = VMS_OFF;
		return;
	case -EBUSY:
	case -ETIMEDOUT:
		vm->reach = VMS_BUSY;
		break;
	default:
		vm->reach = VMS_UNREACHABLE;
	}
	vm->why = ctl_text("%s", err.msg);
}

/* --- what their RAM says */

/* A comma within a path is written twice. */
static char *doubled(const char *path)
{
	char *text = ctl_memory(malloc(2 * strlen(path) + 1)), *to = text;

	for (; *path; path++) {
		if (*path == ',')
			*to++ = ',';
		*to++ = *path;
	}
	*to = '\0';
	return text;
}

static enum vms_label label_of(const char *text)
{
	static const char *const names[] = {[VMS_LABEL_NONE] = "none",
					    [VMS_LABEL_RUNNING] = "running",
					    [VMS_LABEL_SAVED] = "saved"};
	struct json_object *label = json_tokener_parse(text);
	enum vms_label found = VMS_LABEL_UNKNOWN;

	for (size_t i = VMS_LABEL_NONE; i < ARRAY_SIZE(names); i++)
		if (!strcmp(ctl_string(label, "/state"), names[i]))
			found = (enum vms_label)i;
	json_object_put(label);
	return found;
}

static void look_at_ram(struct vms_vm *vm)
{
	char *path = doubled(vm->ram.path);
	char *place =
		ctl_text("%s,offset=%llu,size=%llu", path, (unsigned long long)vm->ram.offset_bytes,
			 (unsigned long long)vm->ram.size_bytes);
	const char *const argv[] = {run_stasis(), "--inspect-memory", place, "--json", NULL};
	struct run_output output;
	struct error err;
	int ret = 0;

	free(path);
	if (access(vm->ram.path, F_OK) && errno == ENOENT)
		vm->label = VMS_LABEL_NONE; /* a start makes it */
	else
		ret = run_capture(argv, VMS_LIMIT_S, &output, &err);
	if (!ret && vm->label == VMS_LABEL_UNKNOWN) {
		if (output.status)
			ret = run_refused("stasis", &output, &err);
		else
			vm->label = label_of(output.out);
		run_free(&output);
	}
	if (ret)
		vm->why = ctl_text("%s", err.msg);
	free(place);
}

/* --- all of it */

void vms_look(struct vms_vm *vm)
{
	if (vm->file)
		look_at_file(vm);
	look_at_process(vm);
	if (vm->reach == VMS_OFF && vm->ram.path)
		look_at_ram(vm);
}

struct each {
	size_t n;
	atomic_size_t next;
	void (*fn)(void *opaque, size_t i);
	void *opaque;
};

static void *work(void *opaque)
{
	struct each *each = opaque;

	for (size_t i; (i = atomic_fetch_add(&each->next, 1)) < each->n;)
		each->fn(each->opaque, i);
	return NULL;
}

void vms_each(size_t n, size_t jobs, void (*fn)(void *opaque, size_t i), void *opaque)
{
	const size_t most = jobs < n ? jobs : n;
	pthread_t *thread = ctl_memory(calloc(most + 1, sizeof(*thread)));
	struct each each = {.n = n, .fn = fn, .opaque = opaque};
	size_t started = 0;

	/* This thread is one of them; a thread that cannot be made is done without. */
	while (started + 1 < most && !pthread_create(&thread[started], NULL, work, &each))
		started++;
	work(&each);
	while (started)
		pthread_join(thread[--started], NULL);
	free(thread);
}

static void look(void *opaque, size_t i)
{
	struct vms *vms = opaque;

	vms_look(&vms->vm[i]);
}

void vms_look_all(struct vms *vms)
{
	vms_each(vms->n, vms->n, look, vms);
}

void vms_get(struct vms_vm *vm, const char *name)
{
	set_places(vm, name);
	vms_look(vm);
}

bool vms_exists(const struct vms_vm *vm)
{
	return vm->file || vm->reach != VMS_OFF;
}

const char *vms_state(const struct vms_vm *vm)
{
	switch (vm->reach) {
	case VMS_SERVES:
		return ctl_string(vm->answers, "/query-status/status");
	case VMS_BUSY:
		return "busy";
	case VMS_UNREACHABLE:
		return "unreachable";
	default:
		break;
	}
	if (vm->fault)
		return "faulty";
	/* Without its label, nobody knows whether it holds a guest. */
	if (vm->ram.path && vm->label == VMS_LABEL_UNKNOWN)
		return "unknown";
	return vm->label == VMS_LABEL_SAVED ? "saved" : "off";
}

const char *vms_reason(const struct vms_vm *vm)
{
	return vm->why ? vm->why : vm->fault;
}
