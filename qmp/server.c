/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/command.h"
#include "qmp/json_in.h"
#include "qmp/json_out.h"
#include "qmp/qmp.h"
#include "vmm/base/clock.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
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

/* A client that has so much yet to read is not read from: its answers wait, and so does it. Its events cannot
 * wait; behind the second limit it is cut off. */
#define PILED_UP_BYTES 262144
#define CUT_OFF_BYTES  1048576

struct client {
	struct qmp *qmp;
	int fd;
	bool busy;    /* its command is being carried out: nothing more is read from it */
	bool ended;   /* it has nothing more to say; closed once it has all its answers */
	bool dropped; /* to be closed as soon as the loop comes to it */
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

static void client_free(struct client *client)
{
	close(client->fd);
	json_out_free(&client->out);
	free(client);
}

static void client_close(struct client *client)
{
	struct qmp *qmp = client->qmp;

	for (uint32_t i = 0; i < CLIENTS; i++)
		if (qmp->client[i] == client)
			qmp->client[i] = NULL;
	loop_del(&qmp->vm->loop, client->fd);
	client_free(client);
}

/* Closed when its hang-up arrives at the loop: who drops may be working for this very client. */
static void client_drop(struct client *client)
{
	client->dropped = true;
	shutdown(client->fd, SHUT_RDWR);
}

/* What of the client matters now: EPOLLIN and EPOLLOUT, which are poll's POLLIN and POLLOUT. */
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

/* Adds lines to what it is to be sent. */
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

/* One request, or an error in its place. Its answer comes behind the events that it brings about. */
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
	/* The checkpoint is durable: the reply says so, and then this VMM is done. */
	if (client->session.saved)
		vm_quit(client->qmp->vm, false, "host-qmp-quit", client->qmp->vm->exit_status);
}

/* What was read from it, as far as its answers have room. */
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
	client_run(client); /* what had no room before */
	/* A hang-up of one that is not read from shows as it is sent to. */
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

/* Whatever can be done without waiting, but for clients whose command is being carried out. */
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

/* One that is not served hears why. */
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
	/* Not all of it: most of its memory is for messages longer than any that come. */
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

	(void)events;
	if (fd < 0)
		return;
	if (!place) { /* unless one has hung up just now */
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

/* A long step of a save or load lets others ask how far it is, and end it. */
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

	events_line(&line, event);
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

/* Waits for the client to take the rest, but not for ever. */
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
	/* Those first that can take it at once. */
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
