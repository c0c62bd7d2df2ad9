/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/qmp.h"
#include "qmp/command.h"
#include "qmp/json_stream.h"
#include "qmp/out.h"
#include "vmm/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define BACKLOG		 8
#define CLOSE_TIMEOUT_MS 1000 /* for a last reply to a client that reads slowly */

struct qmp {
	struct vm *vm;
	const char *path;
	struct stat inode; /* of the socket file that we made */
	int listen_fd;
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
	loop_mod(&qmp->vm->loop, qmp->listen_fd, EPOLLIN);
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
			vm_quit(qmp->vm, false, "host-qmp-quit", 0);
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
	qmp->client_fd = accept4(qmp->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	if (qmp->client_fd < 0)
		return;
	if (loop_add(&qmp->vm->loop, qmp->client_fd, EPOLLIN, client_ready, qmp, NULL)) {
		log_warn("QMP: client refused: too many descriptors are watched");
		close(qmp->client_fd);
		qmp->client_fd = -1;
		return;
	}
	loop_mod(&qmp->vm->loop, qmp->listen_fd, 0);
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

/* The listening socket. */

/* A socket file that nobody listens on any more is left over from a process that was killed. */
static int remove_stale(const struct sockaddr_un *addr, struct error *err)
{
	struct stat st;
	int fd, code;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST, "--qmp unix:%s: is there already and no socket",
				 addr->sun_path);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (fd < 0)
		return error_set(err, -errno, "socket: %s", strerror(errno));
	code = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	close(fd);
	if (code != ECONNREFUSED)
		return error_set(err, -EADDRINUSE,
				 "--qmp unix:%s: another process listens there already",
				 addr->sun_path);
	if (unlink(addr->sun_path) && errno != ENOENT)
		return error_set(err, -errno, "--qmp unix:%s: cannot replace the stale socket: %s",
				 addr->sun_path, strerror(errno));
	return 0;
}

static int listen_open(struct qmp *qmp, struct error *err)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const size_t len = strlen(qmp->path);
	int ret;

	if (len >= sizeof(addr.sun_path))
		return error_set(err, -ENAMETOOLONG, "--qmp unix:%s: longer than %zu bytes",
				 qmp->path, sizeof(addr.sun_path) - 1);
	memcpy(addr.sun_path, qmp->path, len);
	qmp->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (qmp->listen_fd < 0)
		return error_set(err, -errno, "socket: %s", strerror(errno));
	/* Before bind(2), so that the file is never open to others. */
	ret = fchmod(qmp->listen_fd, 0600);
	if (!ret)
		ret = bind(qmp->listen_fd, (struct sockaddr *)&addr, sizeof(addr));
	if (ret && errno == EADDRINUSE) {
		ret = remove_stale(&addr, err);
		if (ret)
			return ret;
		ret = bind(qmp->listen_fd, (struct sockaddr *)&addr, sizeof(addr));
	}
	if (ret || lstat(qmp->path, &qmp->inode) || listen(qmp->listen_fd, BACKLOG))
		return error_set(err, -errno, "--qmp unix:%s: %s", qmp->path, strerror(errno));
	ret = loop_add(&qmp->vm->loop, qmp->listen_fd, EPOLLIN, listen_ready, qmp, NULL);
	if (ret)
		return error_set(err, ret, "--qmp: %s", strerror(-ret));
	return 0;
}

static void listen_close(struct qmp *qmp)
{
	struct stat st;

	if (qmp->listen_fd < 0)
		return;
	loop_del(&qmp->vm->loop, qmp->listen_fd);
	/* Only what is ours: somebody may have put another file in its place. */
	if (qmp->inode.st_ino && !lstat(qmp->path, &st) && st.st_ino == qmp->inode.st_ino &&
	    st.st_dev == qmp->inode.st_dev)
		unlink(qmp->path);
	close(qmp->listen_fd);
}

int qmp_open(struct qmp **qmp, struct vm *vm, struct error *err)
{
	struct qmp *new = calloc(1, sizeof(*new));
	int ret;

	if (!new)
		return error_set(err, -ENOMEM, "QMP: out of memory");
	new->vm = new->session.vm = vm;
	new->path = vm->opt->qmp_path;
	new->listen_fd = new->client_fd = -1;
	ret = json_stream_open(&new->in, err);
	if (!ret)
		ret = listen_open(new, err);
	if (ret) {
		qmp_close(new);
		return ret;
	}
	vm->on_event = send_event;
	vm->event_opaque = new;
	*qmp = new;
	return 0;
}

static int64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Waits for the client to take the rest, but not for ever. */
static void flush(struct qmp *qmp)
{
	const int64_t deadline_ms = now_ms() + CLOSE_TIMEOUT_MS;
	struct pollfd pfd = {.fd = qmp->client_fd, .events = POLLOUT};
	int64_t left_ms = CLOSE_TIMEOUT_MS;

	while (left_ms > 0 && !out_send(&qmp->out, qmp->client_fd) && qmp->out.len) {
		poll(&pfd, 1, (int)left_ms);
		left_ms = deadline_ms - now_ms();
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
	listen_close(qmp);
	json_stream_close(&qmp->in);
	free(qmp);
}
