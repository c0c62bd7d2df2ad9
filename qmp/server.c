/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS		 8
#define CLOSE_TIMEOUT_NS CLOCK_NS_PER_S /* for last replies to clients that read slowly */

/* A client that has this much to read gets no more requests served until it reads. Events cannot wait: beyond
 * the second limit it is disconnected. */
#define PILED_UP_BYTES 262144
#define CUT_OFF_BYTES  1048576

struct client {
	struct qmp *qmp;
	int fd;
	bool busy;    /* its command is being run: no more requests are read */
	bool ended;   /* it has hung up; closed as soon as it has all replies */
	bool dropped; /* to be closed as soon as the loop gets there */
	struct qmp_session session;
	struct json_in in;
	struct json_out out;
};

struct qmp {
	struct vm *vm;
	struct listen listen;
	struct client *client[CLIENTS]; /* NULL: free */
};

static bool is_piled_up(const struct client *client)
{
	return client->out.len >= PILED_UP_BYTES;
}

static void client_close(struct client *client)
{
	struct qmp *qmp = client->qmp;

	for (uint32_t i = 0; i < CLIENTS; i++)
		if (qmp->client[i] == client)
			qmp->client[i] = NULL;
	loop_del(&qmp->vm->loop, client->fd);
	close(client->fd);
	json_out_free(&client->out);
	free(client);
}

/* Closed when the hang-up reaches the loop: the caller may be working for this very client. */
static void client_drop(struct client *client)
{
	client->dropped = true;
	shutdown(client->fd, SHUT_RDWR);
}

/* The events to wait for; EPOLLIN and EPOLLOUT are poll's POLLIN and POLLOUT. */
static uint32_t client_awaits(const struct client *client)
{
	return (is_piled_up(client) || client->ended ? 0 : EPOLLIN) |
	       (client->out.len ? EPOLLOUT : 0);
}

static void client_send(struct client *client)
{
	if (!client->dropped && json_out_send(&client->out, client->fd))
		client_drop(client);
	loop_mod(&client->qmp->vm->loop, client->fd, client_awaits(client));
}

/* Queues lines for the client. */
static void client_put(struct client *client, const struct json_out *lines)
{
	if (client->dropped)
		return;
	json_out_append(&client->out, lines);
	if (!client->out.failed && client->out.len <= CUT_OFF_BYTES)
		return;
	log_warn("QMP: client disconnected: %s",
		 client->out.failed ? "out of memory" : "it does not read its events");
	client_drop(client);
}

/* One request, or an error in its place. The reply comes after the events that the request causes. */
static void client_answer(struct client *client, const struct json_node *request,
			  const struct error *err)
{
	struct json_out reply = {0};

	client->busy = true;
	if (request)
		dispatch_request(&client->session, request, &reply);
	else
		dispatch_error(&reply, GENERIC_ERROR, err->msg);
	client->busy = false;
	client_put(client, &reply);
	json_out_free(&reply);
	client_send(client);
	/* The checkpoint is durable: after this reply the VMM ends. */
	if (client->session.saved)
		vm_quit(client->qmp->vm, false, "host-qmp-quit", client->qmp->vm->exit_status);
}

/* Serves what was read, as far as there is room for replies. */
static void client_run(struct client *client)
{
	const struct json_node *request;
	enum json_in_result result;
	struct error err;

	while (!client->dropped && !is_piled_up(client) && !client->qmp->vm->loop.stop) {
		result = json_in_next(&client->in, &request, &err);
		if (result == JSON_IN_MORE)
			return;
		client_answer(client, result == JSON_IN_VALUE ? request : NULL, &err);
	}
}

static void client_ready(void *opaque, uint32_t events)
{
	struct client *client = opaque;
	ssize_t n = -EAGAIN;

	if (client->busy)
		return;
	client_send(client);
	client_run(client); /* bytes that had no room before */
	/* A hang-up of a client that is not read from is seen when sending. */
	if (!client->dropped && events & ~(uint32_t)EPOLLOUT && client_awaits(client) & EPOLLIN)
		n = json_in_read(&client->in, client->fd);
	if (n > 0)
		client_run(client);
	else if (n != -EAGAIN && n != -EINTR)
		client->ended = true;
	client_send(client);
	if (client->dropped || (client->ended && !client->out.len))
		client_close(client);
}

/* Everything that needs no waiting, except for clients whose command is being run. */
static void serve_clients(struct qmp *qmp)
{
	/* One by one: each may take long, and others may come and go meanwhile. */
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct client *client = qmp->client[i];
		struct pollfd pfd = {.fd = -1};

		if (!client || client->busy)
			continue;
		pfd.fd = client->fd;
		pfd.events = (short)client_awaits(client);
		if (poll(&pfd, 1, 0) > 0)
			client_ready(client, (uint32_t)pfd.revents);
	}
}

static struct client **free_place(struct qmp *qmp)
{
	for (uint32_t i = 0; i < CLIENTS; i++)
		if (!qmp->client[i])
			return &qmp->client[i];
	return NULL;
}

/* Tells a client that is not served why. */
static void turn_away(int fd, const char *why)
{
	struct json_out out = {0};

	log_guest("QMP: client turned away: %s", why);
	dispatch_error(&out, GENERIC_ERROR, why);
	if (!out.failed)
		(void)!json_out_send(&out, fd);
	json_out_free(&out);
	close(fd);
}

static struct client *client_new(struct qmp *qmp, int fd)
{
	struct client *client = malloc(sizeof(*client));

	if (!client)
		return NULL;
	/* Does not clear the struct: most of it is buffers. */
	client->qmp = qmp;
	client->fd = fd;
	client->busy = client->ended = client->dropped = false;
	client->session = (struct qmp_session){.vm = qmp->vm};
	client->out = (struct json_out){0};
	json_in_reset(&client->in);
	commands_greeting(&client->out);
	if (client->out.failed ||
	    loop_add(&qmp->vm->loop, fd, EPOLLIN, client_ready, client, NULL)) {
		json_out_free(&client->out);
		free(client);
		return NULL;
	}
	return client;
}

static void listen_ready(void *opaque, uint32_t events)
{
	struct qmp *qmp = opaque;
	int fd = listen_accept(&qmp->listen);
	struct client **place = free_place(qmp);

	if (fd < 0)
		return;
	if (!place) { /* unless a client has hung up just now */
		serve_clients(qmp);
		place = free_place(qmp);
	}
	if (!place) {
		turn_away(fd, "busy: 8 clients are connected already, and no more are served at "
			      "once: close one of them");
		return;
	}
	*place = client_new(qmp, fd);
	if (*place)
		client_send(*place);
	else
		turn_away(fd, "out of memory");
}

/* During a long step of a save or load other clients can ask for its progress, or cancel it. */
static void serve(void *opaque)
{
	struct qmp *qmp = opaque;
	struct pollfd pfd = {.fd = qmp->listen.fd, .events = POLLIN};

	if (poll(&pfd, 1, 0) > 0)
		listen_ready(qmp, EPOLLIN);
	serve_clients(qmp);
}

static void send_event(void *opaque, const struct vm_event *event)
{
	struct qmp *qmp = opaque;
	struct json_out line = {0};

	dispatch_event(&line, event);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		struct client *client = qmp->client[i];

		if (!client || !client->session.negotiated)
			continue;
		client_put(client, &line);
		client_send(client);
	}
	json_out_free(&line);
}

int qmp_open(struct qmp **qmp, struct vm *vm, struct error *err)
{
	struct qmp *new = calloc(1, sizeof(*new));
	int ret;

	if (!new)
		return error_set(err, -ENOMEM, "QMP: out of memory");
	new->vm = vm;
	ret = listen_open(&new->listen, "--qmp", vm->opt->qmp_path, err);
	if (!ret) {
		ret = loop_add(&vm->loop, new->listen.fd, EPOLLIN, listen_ready, new, NULL);
		if (ret)
			error_set(err, ret, "--qmp: %s", strerror(-ret));
	}
	if (ret) {
		qmp_close(new);
		return ret;
	}
	vm->on_event = send_event;
	vm->serve = serve;
	vm->event_opaque = new;
	*qmp = new;
	return 0;
}

/* Waits a limited time for the client to read the rest. */
static void flush(struct client *client, uint64_t deadline_ns)
{
	struct pollfd pfd = {.fd = client->fd, .events = POLLOUT};
	uint64_t now_ns = clock_now_ns();

	while (now_ns < deadline_ns && !json_out_send(&client->out, client->fd) &&
	       client->out.len) {
		poll(&pfd, 1, (int)((deadline_ns - now_ns) / 1000000) + 1);
		now_ns = clock_now_ns();
	}
}

void qmp_close(struct qmp *qmp)
{
	const uint64_t deadline_ns = clock_now_ns() + CLOSE_TIMEOUT_NS;

	if (qmp->vm->event_opaque == qmp) {
		qmp->vm->on_event = NULL;
		qmp->vm->serve = NULL;
	}
	/* First the clients that can take it at once. */
	for (uint32_t i = 0; i < CLIENTS; i++)
		if (qmp->client[i])
			client_send(qmp->client[i]);
	for (uint32_t i = 0; i < CLIENTS; i++) {
		if (!qmp->client[i])
			continue;
		flush(qmp->client[i], deadline_ns);
		client_close(qmp->client[i]);
	}
	loop_del(&qmp->vm->loop, qmp->listen.fd);
	listen_close(&qmp->listen);
	free(qmp);
}
