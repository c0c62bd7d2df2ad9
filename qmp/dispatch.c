/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include "vmm/version.h"
#include <errno.h>
#include <string.h>

struct json_object *dispatch_version(void)
{
	struct json_object *version = json_object_new_object();
	struct json_object *triple = json_object_new_object();

	json_object_object_add(triple, "major", json_object_new_int(STASIS_MAJOR));
	json_object_object_add(triple, "minor", json_object_new_int(STASIS_MINOR));
	json_object_object_add(triple, "micro", json_object_new_int(STASIS_MICRO));
	json_object_object_add(version, "qemu", triple);
	json_object_object_add(version, "package",
			       json_object_new_string("stasis " STASIS_VERSION));
	return version;
}

struct json_object *dispatch_greeting(void)
{
	struct json_object *greeting = json_object_new_object();
	struct json_object *qmp = json_object_new_object();

	json_object_object_add(qmp, "version", dispatch_version());
	json_object_object_add(qmp, "capabilities", json_object_new_array());
	json_object_object_add(greeting, "QMP", qmp);
	return greeting;
}

struct json_object *dispatch_error(const char *class, const char *desc)
{
	struct json_object *reply = json_object_new_object();
	struct json_object *error = json_object_new_object();

	json_object_object_add(error, "class", json_object_new_string(class));
	json_object_object_add(error, "desc", json_object_new_string(desc));
	json_object_object_add(reply, "error", error);
	return reply;
}

static int check_shape(struct json_object *request, struct error *err)
{
	if (!json_object_is_type(request, json_type_object))
		return error_set(err, -EINVAL, "QMP input must be a JSON object");
	json_object_object_foreach (request, name, value) {
		if (!strcmp(name, "execute")) {
			if (!json_object_is_type(value, json_type_string))
				return error_set(err, -EINVAL,
						 "QMP input member 'execute' must be a string");
		} else if (!strcmp(name, "arguments")) {
			if (!json_object_is_type(value, json_type_object))
				return error_set(err, -EINVAL,
						 "QMP input member 'arguments' must be an object");
		} else if (strcmp(name, "id") != 0) {
			return error_set(err, -EINVAL, "QMP input member '%s' is unexpected", name);
		}
	}
	if (!json_object_object_get_ex(request, "execute", NULL))
		return error_set(err, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct qmp_command *find(struct json_object *name)
{
	for (uint32_t i = 0; i < qmp_ncommands; i++)
		if (strlen(qmp_commands[i].name) == (size_t)json_object_get_string_len(name) &&
		    !strcmp(qmp_commands[i].name, json_object_get_string(name)))
			return &qmp_commands[i];
	return NULL;
}

/* *class is the error's, if it is one. */
static int execute(struct qmp_call *call, struct json_object *request, const char **class,
		   struct error *err)
{
	const bool negotiated = call->session->negotiated;
	struct json_object *name;
	int ret;

	*class = GENERIC_ERROR;
	ret = check_shape(request, err);
	if (ret)
		return ret;
	*class = COMMAND_NOT_FOUND;
	name = json_object_object_get(request, "execute");
	call->command = find(name);
	if (!negotiated && !(call->command && call->command->negotiates))
		return error_set(err, -EPERM,
				 "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!call->command)
		return error_set(err, -ENOENT, "The command %s has not been found",
				 json_object_get_string(name));
	if (negotiated && call->command->negotiates)
		return error_set(err, -EALREADY,
				 "Capabilities negotiation is already complete, command ignored");
	*class = GENERIC_ERROR;
	call->args = json_object_object_get(request, "arguments");
	ret = args_check(call, err);
	if (ret)
		return ret;
	ret = call->command->run(call, err);
	if (call->error_class)
		*class = call->error_class;
	return ret;
}

struct json_object *dispatch_request(struct qmp_session *session, struct json_object *request)
{
	struct qmp_call call = {.session = session};
	struct json_object *reply, *id;
	struct error err = {""};
	const char *class;

	if (execute(&call, request, &class, &err)) {
		json_object_put(call.ret);
		reply = dispatch_error(class, err.msg);
	} else {
		reply = json_object_new_object();
		json_object_object_add(reply, "return",
				       call.ret ? call.ret : json_object_new_object());
	}
	/* null is an id too. */
	if (json_object_is_type(request, json_type_object) &&
	    json_object_object_get_ex(request, "id", &id))
		json_object_object_add(reply, "id", json_object_get(id));
	return reply;
}
