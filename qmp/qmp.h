/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/qmp.h - the QMP server: one UNIX socket, QEMU's wire protocol (docs/interop/qmp-spec), up to 8 clients.
 * A client connects, gets the greeting, negotiates by qmp_capabilities, then sends requests and gets replies
 * and events. A client's mistakes are answered; a client for which memory fails, or that does not read its
 * events, is disconnected. Neither stops the VM.
 * Owns: the listening socket (removed at close), the connections and their buffers.
 * Threads: main only.
 * Errors: 0 or -errno with one message. */
#ifndef QMP_QMP_H
#define QMP_QMP_H
#include "vmm/base/error.h"

struct vm;
struct qmp;

/* Listens on opt->qmp_path and subscribes to the VM's events. */
int qmp_open(struct qmp **qmp, struct vm *vm, struct error *err) must_check;
/* Sends what is queued (bounded time), then closes. */
void qmp_close(struct qmp *qmp);
#endif
