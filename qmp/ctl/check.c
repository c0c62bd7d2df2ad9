/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/check.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/manage.h"
#include "qmp/ctl/memory.h"
#include "qmp/ctl/run.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include "ram/ram.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define OLDEST_SYSTEMD 252
#define LEAST_DELAY_S  60
#define HOST_LIMIT_S \
	30.0 /* for systemctl and busctl: on a busy host, no answer must not look like a fault */

/* vm NULL: of the host */
__attribute__((format(printf, 4, 5))) static void add_fault(struct json_object *faults,
							    const struct vms_vm *vm,
							    const char *way_out, const char *fmt,
							    ...)
{
	struct json_object *fault = ctl_made(json_object_new_object());
	char *text;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	if (vm)
		ctl_add_text(fault, "vm", vm->name);
	ctl_add_text(fault, "fault", ctl_memory(text));
	ctl_add_text(fault, "way-out", way_out);
	free(text);
	ctl_append(faults, fault);
}

/* --- the host: its systemd and the service that saves the guests */

static char *printed(const char *const argv[])
{
	return run_printed(argv, HOST_LIMIT_S);
}

#define LOGIND "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"

/* text may be NULL */
static bool number_after(const char *text, const char *word, unsigned long long *number)
{
	const size_t n = strlen(word);
	char *end;

	if (!text || strncmp(text, word, n) != 0)
		return false;
	*number = strtoull(text + n, &end, 10);
	return end != text + n;
}

static void check_systemd(struct json_object *faults)
{
	char *text = printed((const char *const[]){"systemctl", "--version", NULL});
	unsigned long long version;

	if (!number_after(text, "systemd ", &version))
		add_fault(faults, NULL, "systemctl --version", "systemd does not tell its version");
	else if (version < OLDEST_SYSTEMD)
		add_fault(faults, NULL, "use kexec-update, or a host with a newer systemd",
			  "systemd %llu cannot save guests before a kexec: it takes %d", version,
			  OLDEST_SYSTEMD);
	free(text);
}

static void check_saver(struct json_object *faults)
{
	char *text =
		printed((const char *const[]){"busctl", "call", LOGIND, "ListInhibitors", NULL});
	unsigned long long delay_us;

	if (!text)
		add_fault(faults, NULL, "systemctl status systemd-logind",
			  "systemd-logind does not tell whether stasis-saver holds a lock");
	else if (!strstr(text, "\"stasis-saver\""))
		add_fault(faults, NULL, "systemctl enable --now stasis-saver",
			  "stasis-saver does not run or holds no lock: no guest would be saved");
	free(text);
	text = printed((const char *const[]){"busctl", "get-property", LOGIND,
					     "InhibitDelayMaxUSec", NULL});
	if (!number_after(text, "t ", &delay_us))
		add_fault(faults, NULL, "systemctl status systemd-logind",
			  "systemd-logind does not tell how long it waits for saves");
	else if (delay_us < LEAST_DELAY_S * 1000000ull)
		add_fault(faults, NULL,
			  "set InhibitDelayMaxSec=900 in a drop-in of logind.conf, and restart "
			  "systemd-logind and stasis-saver",
			  "systemd-logind waits only %llu s for saves", delay_us / 1000000);
	free(text);
}

/* --- a VM */

#define CHANGE_BACK "change that back, or shut the guest down first"

/* What in its file, or in the program, would refuse to load its guest: stasis --compare says it, a line each. */
static void check_compare(struct json_object *faults, const struct vms_vm *vm)
{
	const char *info = json_object_to_json_string(ctl_member(vm->answers, "/cprinfo"));
	const int fd = memfd_create("cprinfo", MFD_CLOEXEC);
	char *path = ctl_text("/proc/%d/fd/%d", getpid(), fd);
	char *qmp = ctl_text("unix:%s", vm->socket);
	const char *const argv[] = {run_stasis(), "--config",  vm->file, "--qmp",
				    qmp,	  "--compare", path,	 NULL};
	struct run_output output = {0};
	struct error err;
	int ret = 0;

	if (fd < 0 || write(fd, info, strlen(info)) != (ssize_t)strlen(info))
		ret = error_set(&err, -EIO, "memfd: %s", strerror(errno));
	if (!ret)
		ret = run_capture(argv, VMS_LIMIT_S, &output, &err);
	if (!ret) {
		char *rest = output.out, *line;

		if (output.status && !*output.out)
			ret = run_refused("stasis", &output, &err);
		while ((line = strsep(&rest, "\n")))
			if (*line)
				add_fault(faults, vm, CHANGE_BACK,
					  "its guest would not be loaded again: %s", line);
		run_free(&output);
	}
	if (ret)
		add_fault(faults, vm, CHANGE_BACK, "its guest would not be loaded again: %s",
			  err.msg);
	free(path);
	free(qmp);
	if (fd >= 0)
		close(fd);
}

static bool outlives_kexec(const char *path)
{
	int fd = open(path, O_PATH | O_CLOEXEC);
	bool ret = fd < 0 || ram_fd_survives(fd) >=
				     RAM_SURVIVES_KEXEC; /* what is not there is said elsewhere */

	if (fd >= 0)
		close(fd);
	return ret;
}

/* Is what it needs for its load still there after the boot? */
static void check_places(struct json_object *faults, const struct vms_vm *vm)
{
	const char *file = vms_option(vm, "cpr-file", NULL), *at = NULL, *disk;
	char folder[PATH_MAX];

	if (file && snprintf(folder, sizeof(folder), "%s", file) < (int)sizeof(folder) &&
	    strrchr(folder, '/')) {
		strrchr(folder, '/')[1] = '\0';
		if (!outlives_kexec(folder))
			add_fault(faults, vm, "name a file on a disk: cpr-file",
				  "its checkpoint %s would not outlive a boot", file);
	}
	while ((disk = vms_option(vm, "disk", &at))) {
		char *path = vms_list_value(disk, "path");

		if (path && !outlives_kexec(path))
			add_fault(faults, vm, "copy it to a disk",
				  "its disk %s would not outlive a boot", path);
		free(path);
	}
}

static void check_save(struct json_object *faults, const struct vms_vm *vm, const char *update)
{
	struct json_object *refused = manage_refusal(vm, "reboot");
	const bool suspends = !strcmp(update, "suspend");
	const bool is_awake = !strcmp(vms_state(vm), "running");

	if (suspends && is_awake && !vms_option(vm, "agent", NULL))
		add_fault(faults, vm, "give it the option agent, and qemu-guest-agent in the guest",
			  "its guest is to sleep (update=suspend), and has no agent that could put "
			  "it to sleep");
	if (!refused)
		return;
	if (!json_object_get_boolean(ctl_member(refused, "/needs-suspend")))
		add_fault(faults, vm, "give it update=shutdown if it may be shut down",
			  "cannot be saved: %s", ctl_string(refused, "/reason"));
	else if (!suspends || !is_awake)
		add_fault(faults, vm, "suspend the guest, or give it update=suspend and an agent",
			  "cannot be saved: %s", ctl_string(refused, "/reason"));
}

/* Who saves it, and who starts it again? */
static void check_unit(struct json_object *faults, const struct vms_vm *vm)
{
	char *unit = ctl_text("stasis@%s.service", vm->name);
	char *start = ctl_text("systemctl enable %s", unit);
	char *text = printed(
		(const char *const[]){"systemctl", "show", "-P", "ActiveState", unit, NULL});

	if (!text || strncmp(text, "active", 6) != 0)
		add_fault(faults, vm, "shut it down and start it as that unit, or use kexec-update",
			  "runs, but not as %s: nobody would save it", unit);
	free(text);
	text = printed((const char *const[]){"systemctl", "is-enabled", unit, NULL});
	if (!text)
		add_fault(faults, vm, start,
			  "%s is not enabled: after the boot nothing would start it", unit);
	free(text);
	free(start);
	free(unit);
}

const char *check_policy(const struct vms_vm *vm)
{
	const char *update = vms_option(vm, "update", NULL);

	return update ? update : "save";
}

static void check_vm(struct json_object *faults, const struct vms_vm *vm)
{
	const char *update = check_policy(vm);

	if (vm->reach == VMS_OFF)
		return;
	if (vm->reach != VMS_SERVES) {
		add_fault(
			faults, vm,
			"check again; if it stays so, find out who is connected to its QMP socket",
			"%s: %s", vms_state(vm), vm->why);
		return;
	}
	if (unit_systemd_runs())
		check_unit(faults, vm);
	if (!vm->file) {
		add_fault(faults, vm, "write /etc/stasis/NAME.conf, or use kexec-update",
			  "has no configuration file: nothing would start it again");
		return;
	}
	if (!strcmp(update, "shutdown"))
		return;
	check_compare(faults, vm);
	check_save(faults, vm, update);
	check_places(faults, vm);
}

struct json_object *check_one(const struct vms_vm *vm)
{
	struct json_object *faults = ctl_made(json_object_new_array());

	check_vm(faults, vm);
	return faults;
}

struct json_object *check_compared(const struct vms_vm *vm)
{
	struct json_object *faults = ctl_made(json_object_new_array());

	check_compare(faults, vm);
	return faults;
}

/* --- two VMs */

static void add_overlap(struct json_object *faults, const struct vms_vm *vm, const char *path,
			struct json_object *range)
{
	struct json_object *others = ctl_member(range, "/overlaps");

	for (size_t i = 0; others && i < json_object_array_length(others); i++)
		add_fault(
			faults, vm, "give each VM a range of its own: memory offset=",
			"its RAM %s, offset %llu M, size %llu M and label, overlaps that of %s",
			path,
			(unsigned long long)json_object_get_uint64(ctl_member(range, "/offset")) >>
				20,
			(unsigned long long)json_object_get_uint64(ctl_member(range, "/size")) >>
				20,
			json_object_get_string(json_object_array_get_idx(others, i)));
}

static void check_overlaps(struct json_object *faults, const struct vms_vm *vm,
			   struct json_object *devices)
{
	for (size_t i = 0; i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		struct json_object *ranges = ctl_member(device, "/ranges");

		for (size_t j = 0; j < json_object_array_length(ranges); j++) {
			struct json_object *range = json_object_array_get_idx(ranges, j);

			if (!strcmp(ctl_string(range, "/owner"), vm->name))
				add_overlap(faults, vm, ctl_string(device, "/path"), range);
		}
	}
}

/* --- all of it */

struct json_object *check_faults(const char *name)
{
	struct json_object *faults = ctl_made(json_object_new_array()), *devices;
	struct error err;
	struct vms vms;
	bool found = !name;

	if (vms_find(&vms, &err)) {
		add_fault(faults, NULL, "make it readable, or be root", "%s", err.msg);
		return faults;
	}
	vms_look_all(&vms);
	if (!name && unit_systemd_runs()) {
		check_systemd(faults);
		check_saver(faults);
	}
	devices = memory_devices(&vms);
	for (size_t i = 0; i < vms.n; i++) {
		if (name && strcmp(name, vms.vm[i].name) != 0)
			continue;
		found = true;
		check_vm(faults, &vms.vm[i]);
		check_overlaps(faults, &vms.vm[i], devices);
	}
	json_object_put(devices);
	if (!found)
		add_fault(faults, NULL, "stasisctl list names those that exist",
			  "there is no VM %s", name);
	vms_free(&vms);
	return faults;
}

int check(const char *name, bool json)
{
	struct json_object *faults = check_faults(name);
	const size_t n = json_object_array_length(faults);

	if (json)
		ctl_print(faults, false);
	for (size_t i = 0; i < n && !json; i++) {
		struct json_object *fault = json_object_array_get_idx(faults, i);
		const char *vm = ctl_string(fault, "/vm");
		char *line = ctl_text("%s: %s", *vm ? vm : "host", ctl_string(fault, "/fault"));
		char *way_out = ctl_text("    %s", ctl_string(fault, "/way-out"));

		ctl_put_text(stdout, CTL_LINE, line, SIZE_MAX, false);
		ctl_put_text(stdout, CTL_LINE, way_out, SIZE_MAX, false);
		free(line);
		free(way_out);
	}
	if (!n && !json)
		printf("nothing would stop an update%s%s\n", name ? " of " : "", name ? name : "");
	json_object_put(faults);
	return n ? CTL_FAILED : CTL_OK;
}

int verb_check(const struct verb_call *call)
{
	return check(call->words[0], call->json);
}
