/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/command.h - the command table and what runs a request through it.
 * Owns: nothing; tables are const.
 * Threads: main only.
 * Units: none.
 * Errors: every fault of a request becomes a reply in QEMU's words and with QEMU's error class. */
#ifndef QMP_COMMAND_H
#define QMP_COMMAND_H
#include "vmm/error.h"
#include "vmm/vm.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define QMP_MAX_ARGS 6

/* QEMU's error classes that are left. */
#define GENERIC_ERROR	  "GenericError"
#define COMMAND_NOT_FOUND "CommandNotFound"
#define DEVICE_NOT_FOUND  "DeviceNotFound"

/* One client, from greeting to hang-up. */
struct qmp_session {
	struct vm *vm;
	bool negotiated; /* qmp_capabilities is done: commands run, events are sent */
	bool saved;	 /* cprsave is done: vm_quit() as soon as its reply is queued */
};

struct qmp_arg {
	const char *name; /* NULL ends the list */
	enum json_type type;
	bool optional;
	const char *const *values; /* enum: what a string may be; NULL: anything */
	uint32_t nvalues;
	int64_t min, max; /* of an integer; both 0: any */
};

struct qmp_command;
struct qmp_call {
	struct qmp_session *session;
	const struct qmp_command *command;
	struct json_object *args; /* checked against the table; NULL: none */
	struct json_object *ret;  /* what the handler answers; NULL stands for {} */
	const char *error_class;  /* of the handler's error: GENERIC_ERROR unless it says another */
};

struct qmp_command {
	const char *name;
	int (*run)(struct qmp_call *call, struct error *err);
	struct qmp_arg arg[QMP_MAX_ARGS];
	bool negotiates; /* allowed before negotiation, and only then */
};

/* Defines the handler of a command. */
#define QMP_HANDLER(name)                                       \
	int name(struct qmp_call *call __attribute__((unused)), \
		 struct error *err __attribute__((unused)))

extern const struct qmp_command qmp_commands[];
extern const uint32_t qmp_ncommands;

/* Are these the arguments that the table wants? */
int args_check(const struct qmp_call *call, struct error *err) must_check;
/* A checked argument; NULL if it is absent. */
const char *args_string(const struct qmp_call *call, const char *name);
int64_t args_int(const struct qmp_call *call, const char *name, int64_t dflt);
bool args_bool(const struct qmp_call *call, const char *name, bool dflt);
/* Index of a checked enum argument's value; dflt if it is absent. */
uint32_t args_enum(const struct qmp_call *call, const char *name, uint32_t dflt);
/* The table's rows as query-commands shows them. */
struct json_object *args_describe(const struct qmp_command *command);

struct json_object *dispatch_greeting(void);
/* {"qemu": {...}, "package": ...}: QEMU's clients know the member by that name. */
struct json_object *dispatch_version(void);
struct json_object *dispatch_request(struct qmp_session *session, struct json_object *request);
struct json_object *dispatch_error(const char *class, const char *desc);

/* commands_devices.c: what the rows of the table in commands.c call. */
QMP_HANDLER(commands_query_block);
QMP_HANDLER(commands_query_blockstats);
QMP_HANDLER(commands_query_chardev);
QMP_HANDLER(commands_query_pci);
QMP_HANDLER(commands_query_rx_filter);
QMP_HANDLER(commands_set_link);
QMP_HANDLER(commands_announce_self);
QMP_HANDLER(commands_block_resize);

struct json_object *events_json(const struct vm_event *event);
#endif
