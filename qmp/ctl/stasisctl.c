/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stasisctl - a QMP client for people and scripts: one command, one answer. See stasisctl(1). */
#include "qmp/ctl/conn.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/vms.h"
#include "ram/ram.h"
#include "vmm/base/log.h"
#include "vmm/config.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char help[] =
	"Usage: stasisctl [OPTION...] SOCKET|NAME [COMMAND [KEY=VALUE...]]\n"
	"       stasisctl --outlives-kexec PATH\n"
	"Sends one command to the VM whose QMP socket is SOCKET (PATH or unix:PATH) and prints "
	"what\n"
	"it returns as JSON. `stasisctl SOCKET query-commands' lists the commands.\n"
	"NAME is that of a VM with a configuration file, whose socket is /run/stasis/NAME/qmp.\n"
	"\n"
	"  KEY=VALUE          an argument; true, false and numbers are typed, all else is a "
	"string\n"
	"  KEY:=JSON          an argument in JSON\n"
	"      --get POINTER  print only this part of the return value, such as /ram/path;\n"
	"                     strings without quotes\n"
	"      --wait-event NAME\n"
	"                     after the command, if any, wait for this event and print it\n"
	"      --timeout S    give up after S seconds (default: never)\n"
	"      --connect-timeout S\n"
	"                     give up if the VM does not take the connection within S seconds;\n"
	"                     the command has not been sent then\n"
	"      --agent        SOCKET is that of stasis --agent, COMMAND one of the guest's agent\n"
	"      --outlives-kexec PATH\n"
	"                     sends nothing: exit status 0 if what lies at PATH, or is made "
	"there,\n"
	"                     outlives a kexec of the host, 1 if not\n"
	"  -h, --help\n"
	"  -V, --version\n"
	"\n"
	"Exit status: 0 done, 1 the command was refused or the connection failed, 2 timed out.\n";

static void print_part(struct json_object *value, const char *pointer, bool ascii)
{
	struct json_object *part;

	if (json_pointer_get(value, pointer, &part))
		ctl_die(CTL_FAILED, "--get %s: the return value has no such part", pointer);
	if (json_object_is_type(part, json_type_string))
		ctl_put_text(stdout, CTL_LINE, json_object_get_string(part), SIZE_MAX, ascii);
	else
		ctl_print(part, ascii);
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

static struct json_object *parse_arguments(char **arg)
{
	struct json_object *arguments = ctl_made(json_object_new_object()), *value;

	for (; *arg; arg++) {
		char *equals = strchr(*arg, '=');
		bool is_json = equals && equals > *arg && equals[-1] == ':';

		if (!equals || equals - is_json == *arg)
			ctl_die(CTL_FAILED, "%s: must be KEY=VALUE or KEY:=JSON", *arg);
		if (!is_json)
			value = guess_value(equals + 1);
		else if (!parse_json(equals + 1, &value))
			ctl_die(CTL_FAILED, "%s: what follows := must be JSON", *arg);
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

static double parse_seconds(const char *option, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > 1e9)
		ctl_die(CTL_FAILED, "--%s %s: must be a number of seconds above 0", option, text);
	return seconds;
}

/* If the path does not exist, the nearest folder that does. */
static bool outlives_kexec(const char *path)
{
	char place[PATH_MAX], *slash;
	int fd;

	if (snprintf(place, sizeof(place), "%s", path) >= (int)sizeof(place))
		ctl_die(CTL_FAILED, "--outlives-kexec %s: the path is too long", path);
	while ((fd = open(place, O_PATH | O_CLOEXEC)) < 0 && errno == ENOENT &&
	       strcmp(place, ".") != 0) {
		slash = strrchr(place, '/');
		if (slash)
			slash[slash == place] = '\0';
		else
			strcpy(place, ".");
	}
	if (fd < 0)
		ctl_die(CTL_FAILED, "--outlives-kexec %s: %s", path, strerror(errno));
	return ram_fd_survives(fd) >= RAM_SURVIVES_KEXEC;
}

static void parse_options(struct conn *conn, const char **pointer, int argc, char **argv)
{
	static const struct option options[] = {
		{"agent", no_argument, NULL, 'a'},
		{"connect-timeout", required_argument, NULL, 'c'},
		{"get", required_argument, NULL, 'g'},
		{"help", no_argument, NULL, 'h'},
		{"outlives-kexec", required_argument, NULL, 'o'},
		{"timeout", required_argument, NULL, 't'},
		{"version", no_argument, NULL, 'V'},
		{"wait-event", required_argument, NULL, 'w'},
		{0},
	};
	int option;

	while ((option = getopt_long(argc, argv, "hV", options, NULL)) != -1) {
		switch (option) {
		case 'a':
			conn->is_agent = true;
			break;
		case 'c':
			conn->connect.s = parse_seconds("connect-timeout", optarg);
			break;
		case 'g':
			*pointer = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			exit(CTL_OK);
		case 'o':
			exit(outlives_kexec(optarg) ? CTL_OK : CTL_FAILED);
		case 't':
			conn->total.s = parse_seconds("timeout", optarg);
			break;
		case 'V':
			puts("stasisctl " STASIS_VERSION);
			exit(CTL_OK);
		case 'w':
			conn->awaited = optarg;
			break;
		default:
			exit(CTL_FAILED); /* getopt has printed it */
		}
	}
	if (optind == argc)
		ctl_die(CTL_FAILED, "which SOCKET? See stasisctl --help");
	if (optind + 1 == argc && !conn->awaited)
		ctl_die(CTL_FAILED, "which COMMAND? See stasisctl --help");
	if (conn->is_agent && conn->awaited)
		ctl_die(CTL_FAILED, "--wait-event: an agent sends no events");
}

/* With a client that is open. */
static int command_and_event(struct conn *conn, char **words, const char *pointer,
			     struct json_object *arguments, struct error *err)
{
	struct json_object *value;
	int ret = 0;

	if (*words) {
		ret = conn_execute(conn, *words, arguments, &value, err);
		if (ret)
			return ret;
		if (pointer)
			print_part(value, pointer, conn->is_agent);
		else
			ctl_print(value, conn->is_agent);
		json_object_put(value);
	}
	if (conn->awaited)
		ret = conn_await(conn, err);
	if (!ret && conn->awaited)
		ctl_print(conn->event, false);
	return ret;
}

/* words: SOCKET [COMMAND [ARGUMENT...]] */
static int send_one(struct conn *conn, char **words, const char *pointer)
{
	struct json_object *arguments = words[1] ? parse_arguments(words + 2) : NULL;
	char *socket = socket_path(words[0], conn->is_agent);
	struct error err;
	int ret = conn_open(conn, socket, &err);

	if (ret)
		json_object_put(arguments);
	else
		ret = command_and_event(conn, words + 1, pointer, arguments, &err);
	if (ret)
		ctl_complain("%s", err.msg);
	conn_close(conn);
	free(socket);
	return ctl_status(ret);
}

int main(int argc, char **argv)
{
	struct conn conn = {.tells = true};
	const char *pointer = NULL;
	int status;

	output_open_missing();
	parse_options(&conn, &pointer, argc, argv);
	status = send_one(&conn, argv + optind, pointer);
	if (fflush(stdout) || ferror(stdout))
		ctl_die(CTL_FAILED, "standard output: %s", strerror(errno));
	return status;
}
