/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include <errno.h>
#include <string.h>

static const char *type_name(enum json_type type)
{
	switch (type) {
	case json_type_int:
		return "integer";
	default:
		return json_type_to_name(type);
	}
}

static const struct qmp_arg *find(const struct qmp_command *command, const char *name)
{
	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++)
		if (!strcmp(command->arg[i].name, name))
			return &command->arg[i];
	return NULL;
}

/* arg->nvalues: it is none of them. */
static uint32_t value_index(const struct qmp_arg *arg, const char *value)
{
	uint32_t i = 0;

	while (i < arg->nvalues && strcmp(arg->values[i], value) != 0)
		i++;
	return i;
}

static int check_range(const struct qmp_arg *arg, struct json_object *value, struct error *err)
{
	const int64_t number = json_object_get_int64(value);

	if ((!arg->min && !arg->max) || (number >= arg->min && number <= arg->max))
		return 0;
	return error_set(err, -EINVAL, "Parameter '%s' expects %lld to %lld", arg->name,
			 (long long)arg->min, (long long)arg->max);
}

static int check_value(const struct qmp_arg *arg, struct json_object *value, struct error *err)
{
	const char *text;

	if (json_object_get_type(value) != arg->type)
		return error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: %s",
				 arg->name, type_name(arg->type));
	if (arg->type == json_type_int)
		return check_range(arg, value, err);
	if (arg->type != json_type_string)
		return 0;
	text = json_object_get_string(value);
	if (strlen(text) != (size_t)json_object_get_string_len(value))
		return error_set(err, -EINVAL, "Parameter '%s' contains a NUL character",
				 arg->name);
	if (arg->nvalues && value_index(arg, text) == arg->nvalues)
		return error_set(err, -EINVAL, "Parameter '%s' does not accept value '%s'",
				 arg->name, text);
	return 0;
}

int args_check(const struct qmp_call *call, struct error *err)
{
	const struct qmp_command *command = call->command;
	struct json_object *value;
	int ret;

	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++) {
		const struct qmp_arg *arg = &command->arg[i];

		if (!json_object_object_get_ex(call->args, arg->name, &value)) {
			if (arg->optional)
				continue;
			return error_set(err, -EINVAL, "Parameter '%s' is missing", arg->name);
		}
		ret = check_value(arg, value, err);
		if (ret)
			return ret;
	}
	if (!call->args)
		return 0;
	json_object_object_foreach (call->args, name, unused) {
		(void)unused;
		if (!find(command, name))
			return error_set(err, -EINVAL, "Parameter '%s' is unexpected", name);
	}
	return 0;
}

const char *args_string(const struct qmp_call *call, const char *name)
{
	return json_object_get_string(json_object_object_get(call->args, name));
}

int64_t args_int(const struct qmp_call *call, const char *name, int64_t dflt)
{
	struct json_object *value;

	return json_object_object_get_ex(call->args, name, &value) ? json_object_get_int64(value)
								   : dflt;
}

bool args_bool(const struct qmp_call *call, const char *name, bool dflt)
{
	struct json_object *value;

	return json_object_object_get_ex(call->args, name, &value) ? json_object_get_boolean(value)
								   : dflt;
}

uint32_t args_enum(const struct qmp_call *call, const char *name, uint32_t dflt)
{
	const char *value = args_string(call, name);

	return value ? value_index(find(call->command, name), value) : dflt;
}

struct json_object *args_describe(const struct qmp_command *command)
{
	struct json_object *list = json_object_new_array();

	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++) {
		const struct qmp_arg *arg = &command->arg[i];
		struct json_object *row = json_object_new_object();
		struct json_object *values = json_object_new_array();

		json_object_object_add(row, "name", json_object_new_string(arg->name));
		json_object_object_add(row, "type", json_object_new_string(type_name(arg->type)));
		json_object_object_add(row, "optional", json_object_new_boolean(arg->optional));
		for (uint32_t v = 0; v < arg->nvalues; v++)
			json_object_array_add(values, json_object_new_string(arg->values[v]));
		if (arg->nvalues)
			json_object_object_add(row, "values", values);
		else
			json_object_put(values);
		if (arg->min || arg->max) {
			json_object_object_add(row, "min", json_object_new_int64(arg->min));
			json_object_object_add(row, "max", json_object_new_int64(arg->max));
		}
		json_object_array_add(list, row);
	}
	return list;
}
