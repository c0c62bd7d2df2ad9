/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/add.h - members of a JSON object that is being made.
 * Owns: nothing; the object owns what is added.
 * Threads: main only.
 * Units: none.
 * Errors: none. */
#ifndef QMP_ADD_H
#define QMP_ADD_H
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

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

/* At the end of an array. */
static inline struct json_object *add_row(struct json_object *array)
{
	struct json_object *row = json_object_new_object();

	json_object_array_add(array, row);
	return row;
}
#endif
