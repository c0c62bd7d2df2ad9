/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * qmp_client.h - a QMP client for tests that are one process: a stasisctl for each command takes a hundred times as long.
 * Owns: the connection. Threads: the caller's.
 * Errors: each function says; an answer that does not come within QMP_CLIENT_STALL_S is none.
 */
#ifndef BARE_QMP_CLIENT_H
#define BARE_QMP_CLIENT_H
#include <stdbool.h>
#include <stddef.h>

#define QMP_CLIENT_STALL_S 300 /* as in progress.sh */

enum qmp_answer { QMP_RETURN, QMP_ERROR, QMP_NONE };

struct qmp_client {
	int fd; /* -1: not connected */
	size_t len;
	char line[65536]; /* the last one read, without its end; behind it what came since */
	size_t line_bytes;
};

/* Connects and negotiates. False: errno says why. */
bool qmp_client_open(struct qmp_client *client, const char *path);
void qmp_client_close(struct qmp_client *client);
/* Sends a command as it is written here and reads up to its answer, which is in `line`. */
enum qmp_answer qmp_client_execute(struct qmp_client *client, const char *command);
/* True: the other end has closed the connection. */
bool qmp_client_is_gone(const struct qmp_client *client);
#endif
