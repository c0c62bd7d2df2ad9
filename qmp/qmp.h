/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/qmp.h - the QMP server: one UNIX socket, QEMU's wire protocol (docs/interop/qmp-spec), up to 8 clients.
 * A client connects, gets the greeting, negotiates by qmp_capabilities, then sends requests and gets replies
 * and events. A client's mistakes are answered; a client for which memory fails, or that does not read its
 * events, is disconnected. Neither stops the VM.
 * Owns: the listening socket (removed at close), the connections and their buffers.
 * Threads: main only.
 * Errors: 0 or -errno with one message. Every error of a request becomes a reply in QEMU's words with QEMU's
 * error class. If memory fails, the reply's json_out says so and the client is disconnected; memory for a
 * command's reply is reserved before the command runs.
 *
 * A request: server.c reads it, dispatch.c finds its row in the table of commands.c, which checks the
 * arguments; the row's handler runs and adds its answer, dispatch.c ends the reply. */
#ifndef QMP_QMP_H
#define QMP_QMP_H
#include "qmp/json.h"
#include "vmm/base/error.h"
#include "vmm/vm.h"
#include <stdbool.h>
#include <stdint.h>

struct qmp;

/* Listens on opt->qmp_path and subscribes to the VM's events. */
int qmp_open(struct qmp **qmp, struct vm *vm, struct error *err) must_check;
/* Sends what is queued (bounded time), then closes. */
void qmp_close(struct qmp *qmp);

/* --- within this folder */

#define QMP_MAX_ARGS 6

/* QEMU's error classes that are still in use. */
#define GENERIC_ERROR	  "GenericError"
#define COMMAND_NOT_FOUND "CommandNotFound"
#define DEVICE_NOT_FOUND  "DeviceNotFound"

/* One client, from greeting to disconnect. */
struct qmp_session {
	struct vm *vm;
	bool negotiated; /* qmp_capabilities is done: commands run, events are sent */
	bool saved;	 /* cprsave succeeded: vm_quit() as soon as the reply is queued */
};

enum qmp_type { QMP_STRING, QMP_INTEGER, QMP_BOOLEAN, QMP_ARRAY };

struct qmp_arg {
	const char *name; /* NULL ends the list */
	enum qmp_type type;
	bool optional;
	const char *const *values; /* enum: what a string may be; NULL: anything */
	uint32_t nvalues;
	int64_t min, max; /* of an integer; both 0: any */
};

struct qmp_command;
struct qmp_call {
	struct qmp_session *session;
	const struct qmp_command *command;
	const struct json_node *args; /* checked against the table; NULL: none */
	struct json_out *out; /* of the reply, whose "return" is {} unless the handler adds one */
	const char *error_class; /* of an error, unless the handler sets another */
};

struct qmp_command {
	const char *name;
	/* One of three: it only returns information, calls a function of vm.h or cpr.h, or is of
	 * another kind. */
	void (*answer)(struct vm *vm, struct json_out *out); /* adds the value of "return" */
	int (*of_vm)(struct vm *vm, struct error *err);
	int (*run)(struct qmp_call *call, struct error *err);
	struct qmp_arg arg[QMP_MAX_ARGS];
	bool negotiates; /* allowed before negotiation, and only then */
	bool meanwhile;	 /* allowed during another client's cprsave or cprload */
};

/* commands.c */
void commands_greeting(struct json_out *out);
extern const struct qmp_command qmp_commands[];
extern const uint32_t qmp_ncommands;

/* Refuses arguments that do not match the command's row. */
int commands_check_args(const struct qmp_call *call, struct error *err) must_check;
/* QEMU's clients expect a path to a disk; here it leads nowhere. For json_out_add(), with the disk's id. */
#define QMP_DISK_PATH "/machine/peripheral/%s/virtio-backend"

/* dispatch.c. Each adds one line. */
void dispatch_request(struct qmp_session *session, const struct json_node *request,
		      struct json_out *out);
void dispatch_error(struct json_out *out, const char *class, const char *desc);
void dispatch_event(struct json_out *out, const struct vm_event *event);
#endif
