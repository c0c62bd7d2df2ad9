/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include <time.h>

/* data: guest and reason, as QEMU has them. */
static const struct {
	const char *name;
	bool has_data;
} events[] = {
	[VM_EVENT_STOP] = {"STOP", false},	     [VM_EVENT_RESUME] = {"RESUME", false},
	[VM_EVENT_SHUTDOWN] = {"SHUTDOWN", true},    [VM_EVENT_RESET] = {"RESET", true},
	[VM_EVENT_POWERDOWN] = {"POWERDOWN", false},
};

struct json_object *events_json(const struct vm_event *event)
{
	struct json_object *object = json_object_new_object();
	struct json_object *data = NULL, *timestamp = json_object_new_object();
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_object_object_add(timestamp, "seconds", json_object_new_int64(now.tv_sec));
	json_object_object_add(timestamp, "microseconds",
			       json_object_new_int64(now.tv_nsec / 1000));
	json_object_object_add(object, "timestamp", timestamp);
	json_object_object_add(object, "event", json_object_new_string(events[event->type].name));
	if (events[event->type].has_data) {
		data = json_object_new_object();
		json_object_object_add(data, "guest", json_object_new_boolean(event->guest));
		json_object_object_add(data, "reason", json_object_new_string(event->reason));
		json_object_object_add(object, "data", data);
	}
	return object;
}
