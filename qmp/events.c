/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/add.h"
#include "qmp/command.h"
#include <time.h>

/* SHUTDOWN, RESET */
static void add_cause(struct json_object *data, const struct vm_event *event)
{
	add_bool(data, "guest", event->guest);
	add_string(data, "reason", event->reason);
}

static void add_block_io_error(struct json_object *data, const struct vm_event *event)
{
	add_string(data, "device", event->id);
	add_disk_path(data, "qom-path", event->id);
	add_string(data, "node-name", event->id);
	add_string(data, "operation", event->operation);
	add_string(data, "action", "report");
	add_bool(data, "nospace", event->on);
	add_string(data, "reason", event->reason);
}

static void add_panic(struct json_object *data, const struct vm_event *event)
{
	add_string(data, "action", event->reason);
}

static void add_port(struct json_object *data, const struct vm_event *event)
{
	add_string(data, "id", event->id);
	add_bool(data, "open", event->on);
}

static void add_vfio_error(struct json_object *data, const struct vm_event *event)
{
	add_string(data, "id", event->id);
	add_string(data, "reason", event->reason);
}

/* add_data: the members of "data", as QEMU has them; NULL: there is no data. */
static const struct {
	const char *name;
	void (*add_data)(struct json_object *data, const struct vm_event *event);
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

struct json_object *events_json(const struct vm_event *event)
{
	struct json_object *object = json_object_new_object();
	struct json_object *timestamp = add_object(object, "timestamp");
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	add_int(timestamp, "seconds", now.tv_sec);
	add_int(timestamp, "microseconds", now.tv_nsec / 1000);
	add_string(object, "event", events[event->type].name);
	if (events[event->type].add_data)
		events[event->type].add_data(add_object(object, "data"), event);
	return object;
}
