/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/qmp.h - the QMP server: one unix socket, QEMU's wire protocol.
 * Owns: the listening socket (removed at close), the connections of up to 8 clients and their buffers.
 * Threads: main only.
 * Units: none.
 * Errors: 0 or -errno with one message. A client's faults are answered, never fatal; memory that fails costs
 *	that client its connection.
 *	QEMU docs/interop/qmp-spec. */
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
