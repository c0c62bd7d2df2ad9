/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/conn.h - a connection to the QMP socket of a VM, or to the agent of its guest: one command, one answer.
 * conn_open() connects and greets; conn_execute() sends a command and waits for its answer, conn_await() for an
 * event; conn_close() ends it, also after a failure.
 * Threads: a client belongs to one thread.
 * Units: seconds.
 * Errors: 0 or -errno with one message that names the socket or the command. -ETIMEDOUT: a limit has passed;
 *	-EBUSY: the VM serves others; -ENOENT and -ECONNREFUSED: nobody listens; -EREMOTEIO: the VM has refused the command. */
#ifndef QMP_CTL_CONN_H
#define QMP_CTL_CONN_H
#include "vmm/base/error.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

struct conn_limit {
	double s;	   /* 0: none */
	double deadline_s; /* CLOCK_MONOTONIC */
};

struct conn {
	/* For conn_open() */
	bool is_agent;
	bool tells; /* standard error says if the VM lets it wait */
	struct conn_limit total, connect;
	const char *awaited; /* event's name or NULL */
	/* Its own */
	int fd;
	const char *socket;
	struct json_object *event; /* the awaited one, once it has come */
	struct json_tokener *tokener;
	char buf[4096];
	size_t pos, len;
};

/* socket: a path that outlives the conn. From its return on only the total limit counts. */
int conn_open(struct conn *conn, const char *socket, struct error *err) must_check;
/* Takes the arguments, which may be NULL; *value is the caller's to put. value NULL: nobody wants it. */
int conn_execute(struct conn *conn, const char *command, struct json_object *arguments,
		 struct json_object **value, struct error *err) must_check;
/* Waits until conn->event is there. */
int conn_await(struct conn *conn, struct error *err) must_check;
void conn_close(struct conn *conn);

/* Opens a stream socket and connects it: -errno with its own message for each cause. */
int conn_connect(const char *path, const struct conn_limit *limit, int *fd,
		 struct error *err) must_check;
/* One command on a connection of its own. */
int conn_ask(const char *socket, double limit_s, const char *command, struct json_object *arguments,
	     struct json_object **value, struct error *err) must_check;
#endif
