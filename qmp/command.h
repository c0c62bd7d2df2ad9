/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/command.h - the command table, and how a request runs through it: server.c reads a request, dispatch.c
 * finds its row, args.c checks the arguments, a handler in commands.c or commands_devices.c runs and adds its
 * answer, dispatch.c ends the reply.
 * Threads: main only.
 * Errors: every error of a request becomes a reply in QEMU's words with QEMU's error class. If memory fails,
 * the reply's json_out says so and the client is disconnected; memory for a command's reply is reserved before
 * the command runs. */
#ifndef QMP_COMMAND_H
#define QMP_COMMAND_H
#include "qmp/json_out.h"
#include "vmm/base/error.h"
#include "vmm/vm.h"
#include <stdbool.h>
#include <stdint.h>

#define QMP_MAX_ARGS 6

/* QEMU's error classes that are still in use. */
#define GENERIC_ERROR	  "GenericError"
#define COMMAND_NOT_FOUND "CommandNotFound"
#define DEVICE_NOT_FOUND  "DeviceNotFound"

#define RETURN "return"

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
	/* The handler adds its answer with the name RETURN; none means {}. */
	struct json_out *out;
	const char *error_class; /* of the handler's error; NULL: GENERIC_ERROR */
};

struct qmp_command {
	const char *name;
	int (*run)(struct qmp_call *call, struct error *err);
	struct qmp_arg arg[QMP_MAX_ARGS];
	bool negotiates; /* allowed before negotiation, and only then */
	bool meanwhile;	 /* allowed during another client's cprsave or cprload */
};

/* Defines the handler of a command. */
#define QMP_HANDLER(name)                                       \
	int name(struct qmp_call *call __attribute__((unused)), \
		 struct error *err __attribute__((unused)))

/* commands.c */
void commands_greeting(struct json_out *out);
extern const struct qmp_command qmp_commands[];
extern const uint32_t qmp_ncommands;

/* Refuses arguments that do not match the command's table. */
int args_check(const struct qmp_call *call, struct error *err) must_check;
/* A checked argument; NULL if it is absent. */
const char *args_string(const struct qmp_call *call, const char *name);
int64_t args_int(const struct qmp_call *call, const char *name, int64_t dflt);
bool args_bool(const struct qmp_call *call, const char *name, bool dflt);
/* Index of a checked enum argument's value; dflt if it is absent. */
uint32_t args_enum(const struct qmp_call *call, const char *name, uint32_t dflt);
/* The table's row as query-commands shows it. */
void args_describe(struct json_out *out, const struct qmp_command *command);

/* Each adds one line. */
void dispatch_request(struct qmp_session *session, const struct json_node *request,
		      struct json_out *out);
void dispatch_error(struct json_out *out, const char *class, const char *desc);
void events_line(struct json_out *out, const struct vm_event *event);

/* commands_devices.c: what the rows of the table in commands.c call. */
QMP_HANDLER(commands_query_block);
QMP_HANDLER(commands_query_blockstats);
QMP_HANDLER(commands_query_chardev);
QMP_HANDLER(commands_query_pci);
QMP_HANDLER(commands_set_link);
QMP_HANDLER(commands_announce_self);
QMP_HANDLER(commands_block_resize);
/* QEMU's clients expect a path to a disk; here it leads nowhere. */
void commands_disk_path(struct json_out *out, const char *name, const char *id);
#endif
