/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"
#include "qmp/command.h"
#include "qmp/json_stream.h"
#include "qmp/out.h"
#include "vmm/clock.h"
#include "vmm/listen.h"
#include "vmm/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLOSE_TIMEOUT_NS CLOCK_NS_PER_S /* for a last reply to a client that reads slowly */

struct qmp {
	struct vm *vm;
	struct listen listen;
	int client_fd; /* -1: none */
	bool dropped;  /* the client is to be closed as soon as the loop comes to it */
	struct qmp_session session;
	struct json_stream in;
	struct out out;
};

/* The client: at most one; the others wait in the listening socket's backlog. */

static void client_close(struct qmp *qmp)
{
	loop_del(&qmp->vm->loop, qmp->client_fd);
	close(qmp->client_fd);
	qmp->client_fd = -1;
	qmp->dropped = false;
	qmp->session.negotiated = false;
	json_stream_reset(&qmp->in);
	out_free(&qmp->out);
	loop_mod(&qmp->vm->loop, qmp->listen.fd, EPOLLIN);
}

/* Closed when its hang-up arrives at the loop: who drops may be working for this very client. */
static void client_drop(struct qmp *qmp)
{
	qmp->dropped = true;
	shutdown(qmp->client_fd, SHUT_RDWR);
}

static void client_send(struct qmp *qmp)
{
	if (!qmp->dropped && out_send(&qmp->out, qmp->client_fd))
		client_drop(qmp);
	loop_mod(&qmp->vm->loop, qmp->client_fd, qmp->out.len ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

/* Queues a line, which it puts. A client that does not read is dropped, never waited for. */
static void client_put(struct qmp *qmp, struct json_object *line)
{
	int ret = 0;

	if (qmp->client_fd >= 0 && !qmp->dropped)
		ret = out_json(&qmp->out, line);
	json_object_put(line);
	if (!ret)
		return;
	log_warn("QMP: client disconnected: %s",
		 ret == -ENOBUFS ? "it does not read its answers and events" : strerror(-ret));
	client_drop(qmp);
}

static void client_run(struct qmp *qmp)
{
	struct json_object *request;
	struct error err;

	while (!qmp->dropped && !qmp->vm->loop.stop) {
		switch (json_stream_next(&qmp->in, &request, &err)) {
		case JSON_STREAM_MORE:
			return;
		case JSON_STREAM_ERROR:
			client_put(qmp, dispatch_error(GENERIC_ERROR, err.msg));
			continue;
		case JSON_STREAM_VALUE:
			client_put(qmp, dispatch_request(&qmp->session, request));
			json_object_put(request);
		}
		/* The checkpoint is durable: the reply says so, and then this VMM is done. */
		if (qmp->session.saved)
			vm_quit(qmp->vm, false, "host-qmp-quit", qmp->vm->exit_status);
	}
}

static void client_ready(void *opaque, uint32_t events)
{
	struct qmp *qmp = opaque;
	ssize_t n = -EAGAIN;

	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR))
		n = json_stream_read(&qmp->in, qmp->client_fd);
	if (n > 0)
		client_run(qmp);
	else if (n != -EAGAIN && n != -EINTR)
		qmp->dropped = true;
	client_send(qmp);
	if (qmp->dropped)
		client_close(qmp);
}

static void listen_ready(void *opaque, uint32_t events)
{
	struct qmp *qmp = opaque;

	(void)events;
	qmp->client_fd = listen_accept(&qmp->listen);
	if (qmp->client_fd < 0)
		return;
	if (loop_add(&qmp->vm->loop, qmp->client_fd, EPOLLIN, client_ready, qmp, NULL)) {
		log_warn("QMP: client refused: too many descriptors are watched");
		close(qmp->client_fd);
		qmp->client_fd = -1;
		return;
	}
	loop_mod(&qmp->vm->loop, qmp->listen.fd, 0);
	client_put(qmp, dispatch_greeting());
	client_send(qmp);
}

static void send_event(void *opaque, const struct vm_event *event)
{
	struct qmp *qmp = opaque;

	if (qmp->client_fd < 0 || !qmp->session.negotiated)
		return;
	client_put(qmp, events_json(event));
	client_send(qmp);
}

int qmp_open(struct qmp **qmp, struct vm *vm, struct error *err)
{
	struct qmp *new = calloc(1, sizeof(*new));
	int ret;

	if (!new)
		return error_set(err, -ENOMEM, "QMP: out of memory");
	new->vm = new->session.vm = vm;
	new->client_fd = -1;
	new->listen = LISTEN_CLOSED;
	ret = json_stream_open(&new->in, err);
	if (!ret)
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
	vm->event_opaque = new;
	*qmp = new;
	return 0;
}

/* Waits for the client to take the rest, but not for ever. */
static void flush(struct qmp *qmp)
{
	const uint64_t deadline_ns = clock_now_ns() + CLOSE_TIMEOUT_NS;
	struct pollfd pfd = {.fd = qmp->client_fd, .events = POLLOUT};
	uint64_t now_ns = clock_now_ns();

	while (now_ns < deadline_ns && !out_send(&qmp->out, qmp->client_fd) && qmp->out.len) {
		poll(&pfd, 1, (int)((deadline_ns - now_ns) / 1000000) + 1);
		now_ns = clock_now_ns();
	}
}

void qmp_close(struct qmp *qmp)
{
	if (qmp->vm->event_opaque == qmp)
		qmp->vm->on_event = NULL;
	if (qmp->client_fd >= 0) {
		flush(qmp);
		client_close(qmp);
	}
	loop_del(&qmp->vm->loop, qmp->listen.fd);
	listen_close(&qmp->listen);
	json_stream_close(&qmp->in);
	free(qmp);
}
