/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/add.h - members of a JSON object that is being made.
 * Owns: nothing; the object owns what is added.
 * Threads: main only.
 * Units: none.
 * Errors: none. */
#ifndef QMP_ADD_H
#define QMP_ADD_H
#include "vmm/options.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

static inline void add_string(struct json_object *object, const char *name, const char *value)
{
	json_object_object_add(object, name, json_object_new_string(value));
}

static inline void add_int(struct json_object *object, const char *name, int64_t value)
{
	json_object_object_add(object, name, json_object_new_int64(value));
}

static inline void add_uint(struct json_object *object, const char *name, uint64_t value)
{
	json_object_object_add(object, name, json_object_new_uint64(value));
}

static inline void add_bool(struct json_object *object, const char *name, bool value)
{
	json_object_object_add(object, name, json_object_new_boolean(value));
}

/* An empty one, to be filled. */
static inline struct json_object *add_object(struct json_object *object, const char *name)
{
	struct json_object *value = json_object_new_object();

	json_object_object_add(object, name, value);
	return value;
}

static inline struct json_object *add_array(struct json_object *object, const char *name)
{
	struct json_object *value = json_object_new_array();

	json_object_object_add(object, name, value);
	return value;
}

/* QEMU's clients want a path to a disk; it leads nowhere here. */
static inline void add_disk_path(struct json_object *object, const char *name, const char *id)
{
	char path[OPTIONS_ID_BYTES + 48];

	snprintf(path, sizeof(path), "/machine/peripheral/%s/virtio-backend", id);
	add_string(object, name, path);
}

/* At the end of an array. */
static inline struct json_object *add_row(struct json_object *array)
{
	struct json_object *row = json_object_new_object();

	json_object_array_add(array, row);
	return row;
}
#endif
