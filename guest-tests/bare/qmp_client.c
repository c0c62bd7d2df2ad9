/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp_client.h"
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

/* The next line, into client->line. */
static bool next_line(struct qmp_client *client)
{
	struct pollfd pfd = {.fd = client->fd, .events = POLLIN};
	char *end;
	ssize_t n;

	client->len -= client->line_bytes;
	memmove(client->line, client->line + client->line_bytes, client->len);
	client->line_bytes = 0;
	while (!(end = memchr(client->line, '\n', client->len))) {
		if (client->len == sizeof(client->line) ||
		    poll(&pfd, 1, QMP_CLIENT_STALL_S * 1000) != 1)
			return false;
		n = recv(client->fd, client->line + client->len, sizeof(client->line) - client->len,
			 0);
		if (n <= 0)
			return false;
		client->len += (size_t)n;
	}
	*end = '\0';
	client->line_bytes = (size_t)(end - client->line) + 1;
	return true;
}

bool qmp_client_open(struct qmp_client *client, const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	*client = (struct qmp_client){.fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (client->fd >= 0 && !connect(client->fd, (struct sockaddr *)&addr, sizeof(addr)) &&
	    next_line(client) &&
	    qmp_client_execute(client, "{\"execute\": \"qmp_capabilities\"}") == QMP_RETURN)
		return true;
	qmp_client_close(client);
	return false;
}

void qmp_client_close(struct qmp_client *client)
{
	int error = errno;

	if (client->fd >= 0)
		close(client->fd);
	client->fd = -1;
	errno = error;
}

/* The answer is one line; events that come before it are others. */
enum qmp_answer qmp_client_execute(struct qmp_client *client, const char *command)
{
	size_t bytes = strlen(command);

	if (send(client->fd, command, bytes, MSG_NOSIGNAL) != (ssize_t)bytes)
		return QMP_NONE;
	while (next_line(client)) {
		if (!strncmp(client->line, "{\"return\"", 9))
			return QMP_RETURN;
		if (!strncmp(client->line, "{\"error\"", 8))
			return QMP_ERROR;
	}
	return QMP_NONE;
}

bool qmp_client_is_gone(const struct qmp_client *client)
{
	char byte;

	return !recv(client->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
}
