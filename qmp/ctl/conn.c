/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/conn.h"
#include "qmp/ctl/ctl.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BUSY_HINT_MS 2000

/* The guest decides what an agent sends. */
#define AGENT_ANSWER_BYTES (1 << 20)
#define AGENT_DESC_BYTES   256

static bool is_sooner(const struct conn_limit *limit, const struct conn_limit *than)
{
	return limit->s > 0 && (than->s <= 0 || limit->deadline_s < than->deadline_s);
}

/* Of the limits that count now the one that ends first. */
static const struct conn_limit *nearest_limit(const struct conn *conn)
{
	return is_sooner(&conn->connect, &conn->total) ? &conn->connect : &conn->total;
}

static int timed_out(const struct conn *conn, struct error *err)
{
	const struct conn_limit *limit = nearest_limit(conn);

	if (limit == &conn->connect)
		return error_set(err, -ETIMEDOUT,
				 "%s: not served within %g s, nothing was sent: %s", conn->socket,
				 limit->s,
				 conn->is_agent ? "does the guest's agent run?"
						: "is the VM in the midst of something long?");
	return error_set(err, -ETIMEDOUT, "%s: timed out after %g s", conn->socket, limit->s);
}

/* Waits at most so long, -1: as long as the limits allow. Returns 1 if there is input, 0 if not yet, which may be
 * early, -errno if a limit has passed. */
static int wait_input(const struct conn *conn, int most_ms, struct error *err)
{
	struct pollfd pfd = {.fd = conn->fd, .events = POLLIN};
	const struct conn_limit *limit = nearest_limit(conn);
	double left_ms = (limit->deadline_s - ctl_now_s()) * 1000;
	int ms = most_ms;

	if (limit->s > 0) {
		if (left_ms <= 0)
			return timed_out(conn, err);
		if (most_ms < 0 || left_ms < most_ms)
			ms = left_ms < 1e9 ? (int)left_ms + 1 : -1;
	}
	return poll(&pfd, 1, ms) > 0;
}

static int fill(struct conn *conn, struct error *err)
{
	ssize_t n;
	int ret;

	do {
		while (!(ret = wait_input(conn, -1, err)))
			;
		if (ret < 0)
			return ret;
		n = read(conn->fd, conn->buf, sizeof(conn->buf));
	} while (n < 0 && errno == EINTR);
	if (n <= 0)
		return error_set(err, -ECONNRESET, "%s: the VM closed the connection",
				 conn->socket);
	conn->pos = 0;
	conn->len = (size_t)n;
	return 0;
}

/* Takes the object: an awaited event is kept for the end. */
static void keep_event(struct conn *conn, struct json_object *object, struct json_object *name)
{
	if (conn->awaited && !conn->event && name &&
	    !strcmp(json_object_get_string(name), conn->awaited))
		conn->event = object;
	else
		json_object_put(object);
}

static int receive_object(struct conn *conn, struct json_object **object, struct error *err)
{
	enum json_tokener_error error = json_tokener_continue;
	size_t bytes = 0;
	int ret = 0;

	*object = NULL;
	while (error == json_tokener_continue) {
		if (conn->is_agent && bytes > AGENT_ANSWER_BYTES)
			return error_set(err, -EMSGSIZE, "%s: answer too long: more than %d bytes",
					 conn->socket, AGENT_ANSWER_BYTES);
		if (conn->pos == conn->len)
			ret = fill(conn, err);
		if (ret)
			return ret;
		*object = json_tokener_parse_ex(conn->tokener, conn->buf + conn->pos,
						(int)(conn->len - conn->pos));
		error = json_tokener_get_error(conn->tokener);
		bytes += json_tokener_get_parse_end(conn->tokener);
		conn->pos += json_tokener_get_parse_end(conn->tokener);
	}
	if (json_object_is_type(*object, json_type_object))
		return 0;
	json_object_put(*object);
	return error_set(err, -EPROTO, "%s: does not speak QMP", conn->socket);
}

/* The next greeting or reply. Events may precede it; the awaited one is kept. */
static int receive_reply(struct conn *conn, struct json_object **reply, struct error *err)
{
	struct json_object *name;

	for (;;) {
		int ret = receive_object(conn, reply, err);

		if (ret || !json_object_object_get_ex(*reply, "event", &name))
			return ret;
		keep_event(conn, *reply, name);
	}
}

int conn_await(struct conn *conn, struct error *err)
{
	struct json_object *object;
	int ret = 0;

	while (!ret && !conn->event) {
		ret = receive_object(conn, &object, err);
		if (!ret)
			keep_event(conn, object, json_object_object_get(object, "event"));
	}
	return ret;
}

static int send_bytes(struct conn *conn, const char *text, size_t len, struct error *err)
{
	size_t done = 0;

	while (done < len) {
		ssize_t n = send(conn->fd, text + done, len - done, MSG_NOSIGNAL);

		if (n > 0)
			done += (size_t)n;
		else if (n < 0 && errno == EAGAIN)
			return timed_out(conn, err);
		else if (n < 0 && errno != EINTR)
			return error_set(err, -errno, "%s: %s", conn->socket, strerror(errno));
	}
	return 0;
}

/* Takes the arguments. */
static int send_command(struct conn *conn, const char *command, struct json_object *arguments,
			struct error *err)
{
	struct json_object *request = ctl_made(json_object_new_object());
	const char *text;
	size_t len;
	int ret;

	ctl_add_text(request, "execute", command);
	if (arguments)
		ctl_add(request, "arguments", arguments);
	text = json_object_to_json_string_length(request, JSON_C_TO_STRING_PLAIN, &len);
	ret = text ? send_bytes(conn, text, len, err) : error_set(err, -ENOMEM, "out of memory");
	json_object_put(request);
	return ret;
}

static int refused(const struct conn *conn, const char *what, struct json_object *error,
		   struct error *err)
{
	const char *desc = ctl_string(error, "/desc");
	const size_t most = conn->is_agent ? AGENT_DESC_BYTES : sizeof(err->msg);

	if (!*desc)
		desc = "the command failed without an error message";
	(void)error_set(err, 0, "%.*s", (int)strnlen(desc, most), desc);
	text_clean(err->msg, strlen(err->msg));
	for (char *c = err->msg; conn->is_agent && *c; c++)
		*c = text_ascii(*c);
	error_prefix(err, "%s", what);
	return -EREMOTEIO;
}

int conn_execute(struct conn *conn, const char *command, struct json_object *arguments,
		 struct json_object **value, struct error *err)
{
	struct json_object *reply, *error;
	int ret = send_command(conn, command, arguments, err);

	if (!ret)
		ret = receive_reply(conn, &reply, err);
	if (ret)
		return ret;
	if (json_object_object_get_ex(reply, "error", &error))
		ret = refused(conn, command, error, err);
	else if (value)
		*value = json_object_get(json_object_object_get(reply, "return"));
	json_object_put(reply);
	return ret;
}

/* Limits how long connect() and send() may block; without a limit for ever. */
static void limit_blocking(int fd, double s)
{
	struct timeval timeout = {.tv_sec = (time_t)s};

	timeout.tv_usec = (suseconds_t)((s - (double)timeout.tv_sec) * 1e6);
	setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout));
}

/* Each cause has its own message and way out. */
static int unconnected(const char *path, int code, struct error *err)
{
	struct stat st;

	if (code == ENOENT)
		return error_set(
			err, -ENOENT,
			"%s: no such file: no VM runs with this socket, or it is in another folder",
			path);
	if (code == ECONNREFUSED && !stat(path, &st) && !S_ISSOCK(st.st_mode))
		return error_set(err, -ENOTSOCK, "%s: not a socket", path);
	if (code == ECONNREFUSED)
		return error_set(
			err, -ECONNREFUSED,
			"%s: left over by a VM that ended: nobody listens there; a VM that starts "
			"with this socket replaces it",
			path);
	return error_set(err, -code, "%s: %s", path, strerror(code));
}

int conn_connect(const char *path, const struct conn_limit *limit, int *fd, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int code;

	*fd = -1;
	if (strlen(path) >= sizeof(addr.sun_path))
		return error_set(err, -ENAMETOOLONG, "%s: longer than %zu bytes", path,
				 sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, path, strlen(path));
	*fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (*fd < 0)
		return error_set(err, -errno, "socket: %s", strerror(errno));
	limit_blocking(*fd, limit->s);
	if (!connect(*fd, (struct sockaddr *)&addr, sizeof(addr)))
		return 0;
	code = errno;
	close(*fd);
	*fd = -1;
	return unconnected(path, code, err);
}

/* The main thread serves all clients, but none while it waits for a device or clears RAM. */
static int wait_turn(struct conn *conn, struct error *err)
{
	int ret = wait_input(conn, BUSY_HINT_MS, err);

	if (!ret)
		ret = wait_input(conn, 0, err);
	if (!ret && conn->tells)
		ctl_complain("%s: no answer yet: the VM is busy", conn->socket);
	return ret < 0 ? ret : 0;
}

static int negotiate(struct conn *conn, struct error *err)
{
	struct json_object *greeting, *error;
	int ret = wait_turn(conn, err);

	if (!ret)
		ret = receive_reply(conn, &greeting, err);
	if (ret)
		return ret;
	if (json_object_object_get_ex(greeting, "error", &error)) {
		(void)refused(conn, conn->socket, error, err);
		ret = -EBUSY; /* too many clients */
	} else if (!json_object_object_get_ex(greeting, "QMP", NULL)) {
		ret = error_set(err, -EPROTO, "%s: does not speak QMP", conn->socket);
	}
	json_object_put(greeting);
	return ret ? ret : conn_execute(conn, "qmp_capabilities", NULL, NULL, err);
}

static int skip_to(struct conn *conn, char delimiter, struct error *err)
{
	int ret = 0;

	do {
		if (conn->pos == conn->len)
			ret = fill(conn, err);
	} while (!ret && conn->buf[conn->pos++] != delimiter);
	return ret;
}

/* The agent may still answer an earlier client, and half a command of that client may precede ours: a byte
 * that JSON never has drops that, and is echoed before the answer. (QEMU Guest Agent Protocol Reference) */
static int synchronize(struct conn *conn, struct error *err)
{
	static const char delimiter = '\xff';
	struct json_object *arguments = ctl_made(json_object_new_object()), *reply;
	const int64_t id = (int64_t)(ctl_now_s() * 1e6);
	bool is_ours = false;
	int ret;

	ctl_add(arguments, "id", ctl_made(json_object_new_int64(id)));
	ret = send_bytes(conn, &delimiter, 1, err);
	if (ret) {
		json_object_put(arguments);
		return ret;
	}
	ret = send_command(conn, "guest-sync-delimited", arguments, err);
	if (!ret)
		ret = wait_turn(conn, err);
	while (!ret && !is_ours) {
		ret = skip_to(conn, delimiter, err);
		if (!ret)
			ret = receive_object(conn, &reply, err);
		if (ret)
			break;
		is_ours = json_object_get_int64(json_object_object_get(reply, "return")) == id;
		json_object_put(reply);
	}
	return ret;
}

int conn_open(struct conn *conn, const char *socket, struct error *err)
{
	int ret;

	conn->fd = -1;
	conn->socket = socket;
	conn->event = NULL;
	conn->pos = conn->len = 0;
	conn->tokener = ctl_memory(json_tokener_new());
	conn->total.deadline_s = ctl_now_s() + conn->total.s;
	conn->connect.deadline_s = ctl_now_s() + conn->connect.s;
	ret = conn_connect(socket, nearest_limit(conn), &conn->fd, err);
	if (ret == -EAGAIN)
		ret = timed_out(conn, err);
	if (!ret)
		ret = conn->is_agent ? synchronize(conn, err) : negotiate(conn, err);
	if (ret)
		return ret;
	conn->connect.s = 0; /* from here on only the other limit counts */
	limit_blocking(conn->fd, conn->total.s);
	return 0;
}

void conn_close(struct conn *conn)
{
	json_object_put(conn->event);
	json_tokener_free(conn->tokener);
	if (conn->fd >= 0)
		close(conn->fd);
}

int conn_ask(const char *socket, double limit_s, const char *command, struct json_object *arguments,
	     struct json_object **value, struct error *err)
{
	struct conn conn = {.total.s = limit_s};
	int ret = conn_open(&conn, socket, err);

	if (!ret)
		ret = conn_execute(&conn, command, arguments, value, err);
	else
		json_object_put(arguments);
	conn_close(&conn);
	return ret;
}
