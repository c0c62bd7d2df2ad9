/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include <time.h>

/* SHUTDOWN, RESET */
static void add_cause(struct json_out *data, const struct vm_event *event)
{
	json_out_bool(data, "guest", event->guest);
	json_out_string(data, "reason", event->reason);
}

static void add_block_io_error(struct json_out *data, const struct vm_event *event)
{
	json_out_string(data, "device", event->id);
	commands_disk_path(data, "qom-path", event->id);
	json_out_string(data, "node-name", event->id);
	json_out_string(data, "operation", event->operation);
	json_out_string(data, "action", "report");
	json_out_bool(data, "nospace", event->on);
	json_out_string(data, "reason", event->reason);
}

static void add_panic(struct json_out *data, const struct vm_event *event)
{
	json_out_string(data, "action", event->reason);
}

static void add_port(struct json_out *data, const struct vm_event *event)
{
	json_out_string(data, "id", event->id);
	json_out_bool(data, "open", event->on);
}

static void add_vfio_error(struct json_out *data, const struct vm_event *event)
{
	json_out_string(data, "id", event->id);
	json_out_string(data, "reason", event->reason);
}

/* add_data: the members of "data", as QEMU has them; NULL: there is no data. */
static const struct {
	const char *name;
	void (*add_data)(struct json_out *data, const struct vm_event *event);
} events[] = {
	[VM_EVENT_STOP] = {"STOP", NULL},
	[VM_EVENT_RESUME] = {"RESUME", NULL},
	[VM_EVENT_SHUTDOWN] = {"SHUTDOWN", add_cause},
	[VM_EVENT_RESET] = {"RESET", add_cause},
	[VM_EVENT_POWERDOWN] = {"POWERDOWN", NULL},
	[VM_EVENT_SUSPEND] = {"SUSPEND", NULL},
	[VM_EVENT_WAKEUP] = {"WAKEUP", NULL},
	[VM_EVENT_BLOCK_IO_ERROR] = {"BLOCK_IO_ERROR", add_block_io_error},
	[VM_EVENT_GUEST_PANICKED] = {"GUEST_PANICKED", add_panic},
	[VM_EVENT_GUEST_CRASHLOADED] = {"GUEST_CRASHLOADED", add_panic},
	[VM_EVENT_VSERPORT_CHANGE] = {"VSERPORT_CHANGE", add_port},
	[VM_EVENT_VFIO_DEVICE_ERROR] = {"VFIO_DEVICE_ERROR", add_vfio_error},
};

void events_line(struct json_out *out, const struct vm_event *event)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_out_open(out, NULL, '{');
	json_out_open(out, "timestamp", '{');
	json_out_int(out, "seconds", now.tv_sec);
	json_out_int(out, "microseconds", now.tv_nsec / 1000);
	json_out_close(out, '}');
	json_out_string(out, "event", events[event->type].name);
	if (events[event->type].add_data) {
		json_out_open(out, "data", '{');
		events[event->type].add_data(out, event);
		json_out_close(out, '}');
	}
	json_out_close(out, '}');
	json_out_end_line(out);
}
