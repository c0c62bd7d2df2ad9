/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/cpr.h"
#include "qmp/command.h"
#include <errno.h>

/* The longest error with every byte escaped, and an id of common size. */
#define REPLY_BYTES (6 * ERROR_MAX + 1024)

static void add_error(struct json_out *out, const char *class, const char *desc)
{
	json_out_open(out, "error", '{');
	json_out_string(out, "class", class);
	json_out_string(out, "desc", desc);
	json_out_close(out, '}');
}

void dispatch_error(struct json_out *out, const char *class, const char *desc)
{
	json_out_open(out, NULL, '{');
	add_error(out, class, desc);
	json_out_close(out, '}');
	json_out_end_line(out);
}

static int check_shape(const struct json_node *request, struct error *err)
{
	if (request->kind != JSON_OBJECT)
		return error_set(err, -EINVAL, "QMP input must be a JSON object");
	for (const struct json_node *node = request->first; node; node = node->next) {
		if (json_text_is(node->name, node->name_len, "execute")) {
			if (node->kind != JSON_STRING)
				return error_set(err, -EINVAL,
						 "QMP input member 'execute' must be a string");
		} else if (json_text_is(node->name, node->name_len, "arguments")) {
			if (node->kind != JSON_OBJECT)
				return error_set(err, -EINVAL,
						 "QMP input member 'arguments' must be an object");
		} else if (!json_text_is(node->name, node->name_len, "id")) {
			return error_set(err, -EINVAL, "QMP input member '%s' is unexpected",
					 node->name);
		}
	}
	if (!json_member(request, "execute"))
		return error_set(err, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct qmp_command *find(const struct json_node *name)
{
	for (uint32_t i = 0; i < qmp_ncommands; i++)
		if (json_text_is(name->text, name->text_len, qmp_commands[i].name))
			return &qmp_commands[i];
	return NULL;
}

/* Finds the command. On failure *class is the error's class. */
static int choose(struct qmp_call *call, const struct json_node *request, const char **class,
		  struct error *err)
{
	const bool negotiated = call->session->negotiated;
	const struct json_node *name;
	struct cpr_status status;

	*class = GENERIC_ERROR;
	if (check_shape(request, err))
		return -EINVAL;
	*class = COMMAND_NOT_FOUND;
	name = json_member(request, "execute");
	call->command = find(name);
	if (!negotiated && !(call->command && call->command->negotiates))
		return error_set(err, -EPERM,
				 "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!call->command)
		return error_set(err, -ENOENT, "The command %s has not been found", name->text);
	if (negotiated && call->command->negotiates)
		return error_set(err, -EALREADY,
				 "Capabilities negotiation is already complete, command ignored");
	*class = GENERIC_ERROR;
	call->args = json_member(request, "arguments");
	if (!call->command->meanwhile && cpr_query(call->session->vm, &status))
		return error_set(err, -EBUSY,
				 "a %s is under way (query-cpr): wait for its end or end it by "
				 "cpr-cancel",
				 status.operation);
	return args_check(call, err);
}

static int execute(struct qmp_call *call, const struct json_node *request, const char **class,
		   struct error *err)
{
	int ret = choose(call, request, class, err);

	if (ret)
		return ret;
	ret = call->command->run(call, err);
	if (call->error_class)
		*class = call->error_class;
	return ret;
}

void dispatch_request(struct qmp_session *session, const struct json_node *request,
		      struct json_out *out)
{
	struct qmp_call call = {.session = session, .out = out};
	const struct json_node *id = json_member(request, "id");
	struct error err = {""};
	const char *class;
	size_t begun;

	/* A command whose reply has no memory is not run. */
	if (json_out_reserve(out, REPLY_BYTES))
		return;
	json_out_open(out, NULL, '{');
	begun = out->len;
	if (execute(&call, request, &class, &err)) {
		json_out_rewind(out, begun);
		add_error(out, class, err.msg);
	} else if (out->len == begun) {
		json_out_open(out, RETURN, '{');
		json_out_close(out, '}');
	}
	/* null is a valid id. */
	if (id)
		json_out_node(out, "id", id);
	json_out_close(out, '}');
	json_out_end_line(out);
}
