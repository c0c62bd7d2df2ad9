/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define VALUES_BYTES 128

static const struct {
	const char *name;
	enum json_kind kind;
} types[] = {
	[QMP_STRING] = {"string", JSON_STRING},
	[QMP_INTEGER] = {"integer", JSON_NUMBER},
	[QMP_BOOLEAN] = {"boolean", JSON_BOOLEAN},
	[QMP_ARRAY] = {"array", JSON_ARRAY},
};

static bool is_known(const struct qmp_command *command, const struct json_node *node)
{
	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++)
		if (json_text_is(node->name, node->name_len, command->arg[i].name))
			return true;
	return false;
}

/* The index, or arg->nvalues if text is none of the values. */
static uint32_t value_index(const struct qmp_arg *arg, const char *value)
{
	uint32_t i = 0;

	while (i < arg->nvalues && strcmp(arg->values[i], value) != 0)
		i++;
	return i;
}

/* ": give reboot or restart"; empty where all values are accepted. Returns text. */
static const char *one_of(const struct qmp_arg *arg, char text[VALUES_BYTES])
{
	size_t used = 0;

	*text = '\0';
	for (uint32_t i = 0; i < arg->nvalues && used < VALUES_BYTES; i++)
		used += (size_t)snprintf(text + used, VALUES_BYTES - used, "%s%s",
					 !i			? ": give "
					 : i + 1 < arg->nvalues ? ", "
								: " or ",
					 arg->values[i]);
	return text;
}

/* A program sees that it did not send an array; a person may want to know how to type one. */
static int refuse_type(const struct qmp_arg *arg, const struct json_node *value, struct error *err)
{
	if (arg->type == QMP_ARRAY && value->kind == JSON_STRING)
		return error_set(err, -EINVAL,
				 "Invalid parameter type for '%s', expected: array (stasisctl: "
				 "%s:='[\"%s\"]')",
				 arg->name, arg->name, value->text);
	return error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: %s", arg->name,
			 types[arg->type].name);
}

static int check_integer(const struct qmp_arg *arg, const struct json_node *value,
			 struct error *err)
{
	int64_t number;

	if (!json_int64(value, &number))
		return error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: integer",
				 arg->name);
	if ((!arg->min && !arg->max) || (number >= arg->min && number <= arg->max))
		return 0;
	return error_set(err, -EINVAL, "Parameter '%s' expects %lld to %lld", arg->name,
			 (long long)arg->min, (long long)arg->max);
}

static int check_value(const struct qmp_arg *arg, const struct json_node *value, struct error *err)
{
	char text[VALUES_BYTES];

	if (value->kind != types[arg->type].kind)
		return refuse_type(arg, value, err);
	if (arg->type == QMP_INTEGER)
		return check_integer(arg, value, err);
	if (arg->type != QMP_STRING)
		return 0;
	if (strlen(value->text) != value->text_len)
		return error_set(err, -EINVAL, "Parameter '%s' contains a NUL character",
				 arg->name);
	if (arg->nvalues && value_index(arg, value->text) == arg->nvalues)
		return error_set(err, -EINVAL, "Parameter '%s' does not accept value '%s'%s",
				 arg->name, value->text, one_of(arg, text));
	return 0;
}

int args_check(const struct qmp_call *call, struct error *err)
{
	const struct qmp_command *command = call->command;
	char text[VALUES_BYTES];
	int ret;

	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++) {
		const struct qmp_arg *arg = &command->arg[i];
		const struct json_node *value = json_member(call->args, arg->name);

		if (!value && !arg->optional)
			return error_set(err, -EINVAL, "Parameter '%s' is missing%s", arg->name,
					 one_of(arg, text));
		ret = value ? check_value(arg, value, err) : 0;
		if (ret)
			return ret;
	}
	if (!call->args)
		return 0;
	for (const struct json_node *node = call->args->first; node; node = node->next)
		if (!is_known(command, node))
			return error_set(err, -EINVAL, "Parameter '%s' is unexpected", node->name);
	return 0;
}

const char *args_string(const struct qmp_call *call, const char *name)
{
	const struct json_node *value = json_member(call->args, name);

	return value ? value->text : NULL;
}

int64_t args_int(const struct qmp_call *call, const char *name, int64_t dflt)
{
	const struct json_node *value = json_member(call->args, name);
	int64_t number;

	return value && json_int64(value, &number) ? number : dflt;
}

bool args_bool(const struct qmp_call *call, const char *name, bool dflt)
{
	const struct json_node *value = json_member(call->args, name);

	return value ? value->boolean : dflt;
}

uint32_t args_enum(const struct qmp_call *call, const char *name, uint32_t dflt)
{
	const char *value = args_string(call, name);
	const struct qmp_arg *arg = call->command->arg;

	while (value && strcmp(arg->name, name) != 0)
		arg++;
	return value ? value_index(arg, value) : dflt;
}

void args_describe(struct json_out *out, const struct qmp_command *command)
{
	json_out_open(out, NULL, '{');
	json_out_string(out, "name", command->name);
	json_out_open(out, "arguments", '[');
	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++) {
		const struct qmp_arg *arg = &command->arg[i];

		json_out_open(out, NULL, '{');
		json_out_string(out, "name", arg->name);
		json_out_string(out, "type", types[arg->type].name);
		json_out_bool(out, "optional", arg->optional);
		if (arg->nvalues) {
			json_out_open(out, "values", '[');
			for (uint32_t v = 0; v < arg->nvalues; v++)
				json_out_string(out, NULL, arg->values[v]);
			json_out_close(out, ']');
		}
		if (arg->min || arg->max) {
			json_out_int(out, "min", arg->min);
			json_out_int(out, "max", arg->max);
		}
		json_out_close(out, '}');
	}
	json_out_close(out, ']');
	json_out_close(out, '}');
}
