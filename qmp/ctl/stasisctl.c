/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stasisctl - a QMP client for people and scripts: one command, one answer. See stasisctl(1). */
#include "ram/ram.h"
#include "vmm/base/log.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <json-c/json.h>
#include <limits.h>
#include <math.h>
#include <poll.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { EXIT_OK, EXIT_FAILED, EXIT_TIMEOUT };

#define BUSY_HINT_MS  2000
#define OUT_OF_MEMORY "out of memory"

/* The guest decides what an agent sends. */
#define AGENT_ANSWER_BYTES (1 << 20)
#define AGENT_DESC_BYTES   256

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

struct limit {
	double s;	   /* 0: none */
	double deadline_s; /* CLOCK_MONOTONIC */
};

struct client {
	int fd;
	const char *socket;
	bool is_agent;
	struct limit total, connect;
	const char *awaited; /* event's name or NULL */
	struct json_object *event;
	struct json_tokener *tokener;
	char buf[4096];
	size_t pos, len;
};

__attribute__((format(printf, 2, 3), noreturn)) static void die(int status, const char *fmt, ...)
{
	va_list ap;

	fputs("stasisctl: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(status);
}

/* json-c returns NULL if memory fails. */
static struct json_object *made(struct json_object *object)
{
	if (!object)
		die(EXIT_FAILED, OUT_OF_MEMORY);
	return object;
}

static void add(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		die(EXIT_FAILED, OUT_OF_MEMORY);
}

static double now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool is_sooner(const struct limit *limit, const struct limit *than)
{
	return limit->s > 0 && (than->s <= 0 || limit->deadline_s < than->deadline_s);
}

/* Of the limits that count now the one that ends first. */
static const struct limit *nearest_limit(const struct client *client)
{
	return is_sooner(&client->connect, &client->total) ? &client->connect : &client->total;
}

static void die_timeout(const struct client *client)
{
	const struct limit *limit = nearest_limit(client);

	if (limit == &client->connect)
		die(EXIT_TIMEOUT, "%s: not served within %g s, nothing was sent: %s",
		    client->socket, limit->s,
		    client->is_agent ? "does the guest's agent run?"
				     : "is the VM in the midst of something long?");
	die(EXIT_TIMEOUT, "%s: timed out after %g s", client->socket, limit->s);
}

/* Returns at once if there is input; may return early. */
static bool wait_input(const struct client *client, int most_ms)
{
	struct pollfd pfd = {.fd = client->fd, .events = POLLIN};
	const struct limit *limit = nearest_limit(client);
	double left_ms = (limit->deadline_s - now_s()) * 1000;
	int ms = most_ms;

	if (limit->s > 0) {
		if (left_ms <= 0)
			die_timeout(client);
		if (most_ms < 0 || left_ms < most_ms)
			ms = left_ms < 1e9 ? (int)left_ms + 1 : -1;
	}
	return poll(&pfd, 1, ms) > 0;
}

static void fill(struct client *client)
{
	ssize_t n;

	do {
		while (!wait_input(client, -1))
			;
		n = read(client->fd, client->buf, sizeof(client->buf));
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		die(EXIT_FAILED, "%s: the VM closed the connection", client->socket);
	client->pos = 0;
	client->len = (size_t)n;
}

/* Takes the object: an awaited event is kept for the end. */
static void keep_event(struct client *client, struct json_object *object, struct json_object *name)
{
	if (client->awaited && !client->event && name &&
	    !strcmp(json_object_get_string(name), client->awaited))
		client->event = object;
	else
		json_object_put(object);
}

static struct json_object *receive_object(struct client *client)
{
	struct json_object *object = NULL;
	enum json_tokener_error error = json_tokener_continue;
	size_t bytes = 0;

	while (error == json_tokener_continue) {
		if (client->is_agent && bytes > AGENT_ANSWER_BYTES)
			die(EXIT_FAILED, "%s: answer too long: more than %d bytes", client->socket,
			    AGENT_ANSWER_BYTES);
		if (client->pos == client->len)
			fill(client);
		object = json_tokener_parse_ex(client->tokener, client->buf + client->pos,
					       (int)(client->len - client->pos));
		error = json_tokener_get_error(client->tokener);
		bytes += json_tokener_get_parse_end(client->tokener);
		client->pos += json_tokener_get_parse_end(client->tokener);
	}
	if (!json_object_is_type(object, json_type_object))
		die(EXIT_FAILED, "%s: does not speak QMP", client->socket);
	return object;
}

/* The next greeting or reply. Events may precede it; the awaited one is kept. */
static struct json_object *receive_reply(struct client *client)
{
	struct json_object *object, *name;

	for (;;) {
		object = receive_object(client);
		if (!json_object_object_get_ex(object, "event", &name))
			return object;
		keep_event(client, object, name);
	}
}

static void receive_event(struct client *client)
{
	struct json_object *object, *name;

	while (!client->event) {
		object = receive_object(client);
		name = json_object_object_get(object, "event");
		keep_event(client, object, name);
	}
}

static void send_bytes(struct client *client, const char *text, size_t len)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(client->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			die_timeout(client);
		else if (n < 0 && errno != EINTR)
			die(EXIT_FAILED, "%s: %s", client->socket, strerror(errno));
	}
}

/* Takes the arguments. */
static void send_command(struct client *client, const char *command, struct json_object *arguments)
{
	struct json_object *request = made(json_object_new_object());
	const char *text;
	size_t len;

	add(request, "execute", made(json_object_new_string(command)));
	if (arguments)
		add(request, "arguments", arguments);
	text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &len);
	if (!text)
		die(EXIT_FAILED, OUT_OF_MEMORY);
	send_bytes(client, text, len);
	json_object_put(request);
}

enum text_kind { TEXT_LINE, TEXT_JSON };

/* At most so many bytes. A VM passes on text of files, guests and other clients; an agent is the guest: only
 * ASCII of it is printed. Line feeds are either json-c's or replaced. */
static void put_text(const struct client *client, FILE *out, enum text_kind kind, const char *text,
		     size_t most)
{
	size_t len = strnlen(text, most);

	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = client->is_agent && (text[i] & 0x80) ? 0 : text_safe_bytes(text + i, len - i);
		if (n)
			fwrite(text + i, 1, n, out);
		else
			putc(kind == TEXT_JSON && text[i] == '\n' ? '\n' : '?', out);
	}
	putc('\n', out);
}

__attribute__((noreturn)) static void die_refused(const struct client *client, const char *command,
						  struct json_object *error)
{
	const char *desc = json_object_get_string(json_object_object_get(error, "desc"));

	fprintf(stderr, "stasisctl: %s: ", command);
	put_text(client, stderr, TEXT_LINE,
		 desc ? desc : "the command failed without an error message",
		 client->is_agent ? AGENT_DESC_BYTES : SIZE_MAX);
	exit(EXIT_FAILED);
}

/* Sends the command and returns its return value; ends the program if it fails. */
static struct json_object *execute(struct client *client, const char *command,
				   struct json_object *arguments)
{
	struct json_object *reply, *value;

	send_command(client, command, arguments);
	reply = receive_reply(client);
	if (json_object_object_get_ex(reply, "error", &value))
		die_refused(client, command, value);
	value = json_object_get(json_object_object_get(reply, "return"));
	json_object_put(reply);
	return value;
}

static void print(const struct client *client, struct json_object *value)
{
	const int style =
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

	/* json-c would print an empty object on two lines. */
	if (json_object_is_type(value, json_type_object) && !json_object_object_length(value))
		puts("{}");
	else
		put_text(client, stdout, TEXT_JSON, json_object_to_json_string_ext(value, style),
			 SIZE_MAX);
}

static void print_part(const struct client *client, struct json_object *value, const char *pointer)
{
	struct json_object *part;

	if (json_pointer_get(value, pointer, &part))
		die(EXIT_FAILED, "--get %s: the return value has no such part", pointer);
	if (json_object_is_type(part, json_type_string))
		put_text(client, stdout, TEXT_LINE, json_object_get_string(part), SIZE_MAX);
	else
		print(client, part);
}

/* False unless the whole text is one JSON value. */
static bool parse_json(const char *text, struct json_object **value)
{
	struct json_tokener *tokener = json_tokener_new();
	bool ok;

	if (!tokener)
		die(EXIT_FAILED, OUT_OF_MEMORY);
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
	return made(json_object_new_string(text));
}

static struct json_object *parse_arguments(char **arg)
{
	struct json_object *arguments = made(json_object_new_object()), *value;

	for (; *arg; arg++) {
		char *equals = strchr(*arg, '=');
		bool is_json = equals && equals > *arg && equals[-1] == ':';

		if (!equals || equals - is_json == *arg)
			die(EXIT_FAILED, "%s: must be KEY=VALUE or KEY:=JSON", *arg);
		if (!is_json)
			value = guess_value(equals + 1);
		else if (!parse_json(equals + 1, &value))
			die(EXIT_FAILED, "%s: what follows := must be JSON", *arg);
		equals[-is_json] = '\0';
		add(arguments, *arg, value);
	}
	return arguments;
}

/* Limits how long connect() and send() may block; without a limit for ever. */
static void limit_blocking(const struct client *client)
{
	const double s = nearest_limit(client)->s;
	struct timeval timeout = {.tv_sec = (time_t)s};

	timeout.tv_usec = (suseconds_t)((s - (double)timeout.tv_sec) * 1e6);
	setsockopt(client->fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* Each cause has its own message and way out. */
static void die_unconnected(const struct client *client, int code)
{
	struct stat st;

	if (code == EAGAIN)
		die_timeout(client);
	if (code == ENOENT)
		die(EXIT_FAILED,
		    "%s: no such file: no VM runs with this socket, or it is in another folder",
		    client->socket);
	if (code == ECONNREFUSED && !stat(client->socket, &st) && !S_ISSOCK(st.st_mode))
		die(EXIT_FAILED, "%s: not a socket", client->socket);
	if (code == ECONNREFUSED)
		die(EXIT_FAILED,
		    "%s: left over by a VM that ended: nobody listens there; a VM that starts "
		    "with this socket replaces it",
		    client->socket);
	die(EXIT_FAILED, "%s: %s", client->socket, strerror(code));
}

/* A word that is no path names a VM. */
static const char *socket_path(const struct client *client, const char *word)
{
	static char path[PATH_MAX];

	if (!strncmp(word, "unix:", 5))
		return word + 5;
	if (strchr(word, '/') || !access(word, F_OK))
		return word;
	snprintf(path, sizeof(path), "/run/stasis/%s/%s", word, client->is_agent ? "agent" : "qmp");
	return path;
}

static void connect_to(struct client *client, const char *word)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const char *path = socket_path(client, word);

	client->socket = path;
	if (strlen(path) >= sizeof(addr.sun_path))
		die(EXIT_FAILED, "%s: longer than %zu bytes", path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (client->fd < 0)
		die(EXIT_FAILED, "socket: %s", strerror(errno));
	client->total.deadline_s = now_s() + client->total.s;
	client->connect.deadline_s = now_s() + client->connect.s;
	limit_blocking(client);
	if (connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)))
		die_unconnected(client, errno);
}

/* The main thread serves all clients, but none while it waits for a device or clears RAM. */
static void wait_turn(struct client *client)
{
	if (!wait_input(client, BUSY_HINT_MS) && !wait_input(client, 0))
		fprintf(stderr, "stasisctl: %s: no answer yet: the VM is busy\n", client->socket);
}

static void negotiate(struct client *client)
{
	struct json_object *greeting, *error;

	wait_turn(client);
	greeting = receive_reply(client);
	if (json_object_object_get_ex(greeting, "error", &error))
		die_refused(client, client->socket, error); /* too many clients */
	if (!json_object_object_get_ex(greeting, "QMP", NULL))
		die(EXIT_FAILED, "%s: does not speak QMP", client->socket);
	json_object_put(greeting);
	json_object_put(execute(client, "qmp_capabilities", NULL));
}

static void skip_to(struct client *client, char delimiter)
{
	do {
		if (client->pos == client->len)
			fill(client);
	} while (client->buf[client->pos++] != delimiter);
}

/* The agent may still answer an earlier client, and half a command of that client may precede ours: a byte
 * that JSON never has drops that, and is echoed before the answer. (QEMU Guest Agent Protocol Reference) */
static void synchronize(struct client *client)
{
	static const char delimiter = '\xff';
	struct json_object *arguments = made(json_object_new_object()), *reply;
	const int64_t id = (int64_t)(now_s() * 1e6);
	bool is_ours = false;

	add(arguments, "id", made(json_object_new_int64(id)));
	send_bytes(client, &delimiter, 1);
	send_command(client, "guest-sync-delimited", arguments);
	wait_turn(client);
	while (!is_ours) {
		skip_to(client, delimiter);
		reply = receive_object(client);
		is_ours = json_object_get_int64(json_object_object_get(reply, "return")) == id;
		json_object_put(reply);
	}
}

static double parse_seconds(const char *option, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > 1e9)
		die(EXIT_FAILED, "--%s %s: must be a number of seconds above 0", option, text);
	return seconds;
}

/* If the path does not exist, the nearest folder that does. */
static bool outlives_kexec(const char *path)
{
	char place[PATH_MAX], *slash;
	int fd;

	if (snprintf(place, sizeof(place), "%s", path) >= (int)sizeof(place))
		die(EXIT_FAILED, "--outlives-kexec %s: the path is too long", path);
	while ((fd = open(place, O_PATH | O_CLOEXEC)) < 0 && errno == ENOENT &&
	       strcmp(place, ".") != 0) {
		slash = strrchr(place, '/');
		if (slash)
			slash[slash == place] = '\0';
		else
			strcpy(place, ".");
	}
	if (fd < 0)
		die(EXIT_FAILED, "--outlives-kexec %s: %s", path, strerror(errno));
	return ram_fd_survives(fd) >= RAM_SURVIVES_KEXEC;
}

static void parse_options(struct client *client, const char **pointer, int argc, char **argv)
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
			client->is_agent = true;
			break;
		case 'c':
			client->connect.s = parse_seconds("connect-timeout", optarg);
			break;
		case 'g':
			*pointer = optarg;
			break;
		case 'h':
			fputs(help, stdout);
			exit(EXIT_OK);
		case 'o':
			exit(outlives_kexec(optarg) ? EXIT_OK : EXIT_FAILED);
		case 't':
			client->total.s = parse_seconds("timeout", optarg);
			break;
		case 'V':
			puts("stasisctl " STASIS_VERSION);
			exit(EXIT_OK);
		case 'w':
			client->awaited = optarg;
			break;
		default:
			exit(EXIT_FAILED); /* getopt has printed it */
		}
	}
	if (optind == argc)
		die(EXIT_FAILED, "which SOCKET? See stasisctl --help");
	if (optind + 1 == argc && !client->awaited)
		die(EXIT_FAILED, "which COMMAND? See stasisctl --help");
	if (client->is_agent && client->awaited)
		die(EXIT_FAILED, "--wait-event: an agent sends no events");
}

int main(int argc, char **argv)
{
	struct client client = {.fd = -1};
	const char *pointer = NULL, *command;
	struct json_object *arguments = NULL, *value;

	output_open_missing();
	parse_options(&client, &pointer, argc, argv);
	command = argv[optind + 1];
	if (command)
		arguments = parse_arguments(argv + optind + 2);
	client.tokener = json_tokener_new();
	if (!client.tokener)
		die(EXIT_FAILED, OUT_OF_MEMORY);
	connect_to(&client, argv[optind]);
	if (client.is_agent)
		synchronize(&client);
	else
		negotiate(&client);
	client.connect.s = 0; /* from here on only the other limit counts */
	limit_blocking(&client);
	if (command) {
		value = execute(&client, command, arguments);
		if (pointer)
			print_part(&client, value, pointer);
		else
			print(&client, value);
		json_object_put(value);
	}
	if (client.awaited) {
		receive_event(&client);
		print(&client, client.event);
		json_object_put(client.event);
	}
	json_tokener_free(client.tokener);
	close(client.fd);
	if (fflush(stdout) || ferror(stdout))
		die(EXIT_FAILED, "standard output: %s", strerror(errno));
	return EXIT_OK;
}
