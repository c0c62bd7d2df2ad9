/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/command.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/verbs.h"
#include "qmp/ctl/vms.h"
#include "vmm/config.h"
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command_options command_options = {.conn.tells = true};

static int print_part(struct json_object *value, const char *pointer, bool ascii, struct error *err)
{
	struct json_object *part;

	if (json_pointer_get(value, pointer, &part))
		return error_set(err, -ENOENT, "--get %s: the return value has no such part",
				 pointer);
	if (json_object_is_type(part, json_type_string))
		ctl_put_text(stdout, CTL_LINE, json_object_get_string(part), SIZE_MAX, ascii);
	else
		ctl_print(part, ascii);
	return 0;
}

/* False unless the whole text is one JSON value. */
static bool parse_json(const char *text, struct json_object **value)
{
	struct json_tokener *tokener = ctl_memory(json_tokener_new());
	bool ok;

	json_tokener_set_flags(tokener, JSON_TOKENER_STRICT);
	/* With the terminating zero, or else a number might not be complete. */
	*value = json_tokener_parse_ex(tokener, text, (int)strlen(text) + 1);
	ok = json_tokener_get_error(tokener) == json_tokener_success &&
	     json_tokener_get_parse_end(tokener) == strlen(text);
	json_tokener_free(tokener);
	return ok;
}

/* true, false and numbers keep their type, all else is a string: file=/tmp/x needs no quotes. */
static struct json_object *guess_value(const char *text)
{
	struct json_object *value;

	/* Neither NaN nor a number beyond 64 bits. */
	if (parse_json(text, &value) && (json_object_is_type(value, json_type_boolean) ||
					 (json_object_is_type(value, json_type_int) &&
					  !strcmp(json_object_get_string(value), text)) ||
					 (json_object_is_type(value, json_type_double) &&
					  isfinite(json_object_get_double(value)))))
		return value;
	json_object_put(value);
	return ctl_made(json_object_new_string(text));
}

/* NULL: one is not of that form. */
static struct json_object *parse_arguments(char **arg, struct error *err)
{
	struct json_object *arguments = ctl_made(json_object_new_object()), *value;

	for (; *arg; arg++) {
		char *equals = strchr(*arg, '=');
		bool is_json = equals && equals > *arg && equals[-1] == ':';
		int ret = 0;

		if (!equals || equals - is_json == *arg)
			ret = error_set(err, -EINVAL, "%s: must be KEY=VALUE or KEY:=JSON", *arg);
		else if (!is_json)
			value = guess_value(equals + 1);
		else if (!parse_json(equals + 1, &value))
			ret = error_set(err, -EINVAL, "%s: what follows := must be JSON", *arg);
		if (ret) {
			json_object_put(arguments);
			return NULL;
		}
		equals[-is_json] = '\0';
		ctl_add(arguments, *arg, value);
	}
	return arguments;
}

/* A word that is no path names a VM. */
static char *socket_path(const char *word, bool is_agent)
{
	if (!strncmp(word, "unix:", 5))
		return ctl_text("%s", word + 5);
	if (strchr(word, '/') || !access(word, F_OK))
		return ctl_text("%s", word);
	return vms_path(CONFIG_RUN_DIR "/%s/%s", word, is_agent ? "agent" : "qmp");
}

/* With a client that is open. */
static int command_and_event(struct conn *conn, char **words, struct json_object *arguments,
			     struct error *err)
{
	struct json_object *value;
	int ret = 0;

	if (*words) {
		ret = conn_execute(conn, *words, arguments, &value, err);
		if (ret)
			return ret;
		if (!command_options.pointer)
			ctl_print(value, conn->is_agent);
		else
			ret = print_part(value, command_options.pointer, conn->is_agent, err);
		json_object_put(value);
	}
	if (!ret && conn->awaited)
		ret = conn_await(conn, err);
	if (!ret && conn->awaited)
		ctl_print(conn->event, false);
	return ret;
}

/* words: [COMMAND [ARGUMENT...]] */
int command_send(const char *word, char **words)
{
	struct conn conn = command_options.conn;
	struct error err;
	struct json_object *arguments = *words ? parse_arguments(words + 1, &err) : NULL;
	char *socket = socket_path(word, conn.is_agent);
	int ret = *words && !arguments ? -EINVAL : 0;

	if (!ret) {
		ret = conn_open(&conn, socket, &err);
		if (ret)
			json_object_put(arguments);
		else
			ret = command_and_event(&conn, words, arguments, &err);
		conn_close(&conn);
	}
	if (ret)
		ctl_complain("%s", err.msg);
	free(socket);
	return ctl_status(ret);
}

int verb_agent_command(const struct verb_call *call)
{
	command_options.conn.is_agent = true;
	return command_send(call->name, call->words);
}
