/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/cpr.h"
#include "qmp/qmp.h"
#include <errno.h>
#include <time.h>

/* The longest error with every byte escaped, and an id of common size. */
#define REPLY_BYTES (6 * ERROR_MAX + 1024)

void dispatch_error(struct json_out *out, const char *class, const char *desc)
{
	json_out_add(out, "{'error':{'class':'%s','desc':'%s'}}\r\n", class, desc);
}

static int check_shape(const struct json_node *request, struct error *err)
{
	if (request->kind != JSON_OBJECT)
		return error_set(err, -EINVAL, "QMP input must be a JSON object");
	for (const struct json_node *node = request->first; node; node = node->next) {
		if (json_text_is(node->name, node->name_len, "execute")) {
			if (node->kind != JSON_STRING)
				return error_set(err, -EINVAL,
						 "QMP input member 'execute' must be a string");
		} else if (json_text_is(node->name, node->name_len, "arguments")) {
			if (node->kind != JSON_OBJECT)
				return error_set(err, -EINVAL,
						 "QMP input member 'arguments' must be an object");
		} else if (!json_text_is(node->name, node->name_len, "id")) {
			return error_set(err, -EINVAL, "QMP input member '%s' is unexpected",
					 node->name);
		}
	}
	if (!json_member(request, "execute"))
		return error_set(err, -EINVAL, "QMP input lacks member 'execute'");
	return 0;
}

static const struct qmp_command *find(const struct json_node *name)
{
	for (uint32_t i = 0; i < qmp_ncommands; i++)
		if (json_text_is(name->text, name->text_len, qmp_commands[i].name))
			return &qmp_commands[i];
	return NULL;
}

/* Finds the command. */
static int choose(struct qmp_call *call, const struct json_node *request, struct error *err)
{
	const bool negotiated = call->session->negotiated;
	const struct json_node *name;
	struct cpr_status status;

	if (check_shape(request, err))
		return -EINVAL;
	call->error_class = COMMAND_NOT_FOUND;
	name = json_member(request, "execute");
	call->command = find(name);
	if (!negotiated && !(call->command && call->command->negotiates))
		return error_set(err, -EPERM,
				 "Expecting capabilities negotiation with 'qmp_capabilities'");
	if (!call->command)
		return error_set(err, -ENOENT, "The command %s has not been found", name->text);
	if (negotiated && call->command->negotiates)
		return error_set(err, -EALREADY,
				 "Capabilities negotiation is already complete, command ignored");
	call->error_class = GENERIC_ERROR;
	call->args = json_member(request, "arguments");
	if (!call->command->meanwhile && cpr_query(call->session->vm, &status))
		return error_set(err, -EBUSY,
				 "a %s is under way (query-cpr): wait for its end or end it by "
				 "cpr-cancel",
				 status.operation);
	return commands_check_args(call, err);
}

static int execute(struct qmp_call *call, struct error *err)
{
	struct vm *vm = call->session->vm;

	if (call->command->run)
		return call->command->run(call, err);
	if (call->command->of_vm)
		return call->command->of_vm(vm, err);
	json_out_add(call->out, "'return':");
	call->command->answer(vm, call->out);
	return 0;
}

void dispatch_request(struct qmp_session *session, const struct json_node *request,
		      struct json_out *out)
{
	struct qmp_call call = {.session = session, .out = out, .error_class = GENERIC_ERROR};
	const struct json_node *id = json_member(request, "id");
	struct error err = {""};
	size_t begun;

	/* A command whose reply has no memory is not run. */
	if (json_out_reserve(out, REPLY_BYTES))
		return;
	json_out_add(out, "{");
	begun = out->len;
	if (choose(&call, request, &err) || execute(&call, &err)) {
		json_out_rewind(out, begun);
		json_out_add(out, "'error':{'class':'%s','desc':'%s'}", call.error_class, err.msg);
	} else if (out->len == begun) {
		json_out_add(out, "'return':{}");
	}
	/* null is a valid id. */
	if (id) {
		json_out_add(out, "'id':");
		json_out_node(out, id);
	}
	json_out_add(out, "}\r\n");
}

/* --- events */

static const char *const event_name[] = {
	[VM_EVENT_STOP] = "STOP",
	[VM_EVENT_RESUME] = "RESUME",
	[VM_EVENT_SHUTDOWN] = "SHUTDOWN",
	[VM_EVENT_RESET] = "RESET",
	[VM_EVENT_POWERDOWN] = "POWERDOWN",
	[VM_EVENT_SUSPEND] = "SUSPEND",
	[VM_EVENT_WAKEUP] = "WAKEUP",
	[VM_EVENT_BLOCK_IO_ERROR] = "BLOCK_IO_ERROR",
	[VM_EVENT_GUEST_PANICKED] = "GUEST_PANICKED",
	[VM_EVENT_GUEST_CRASHLOADED] = "GUEST_CRASHLOADED",
	[VM_EVENT_VSERPORT_CHANGE] = "VSERPORT_CHANGE",
	[VM_EVENT_VFIO_DEVICE_ERROR] = "VFIO_DEVICE_ERROR",
};

/* The members are QEMU's. */
static void add_event_data(struct json_out *out, const struct vm_event *event)
{
	switch (event->type) {
	case VM_EVENT_SHUTDOWN:
	case VM_EVENT_RESET:
		json_out_add(out, "'data':{'guest':%i,'reason':'%s'}", event->guest, event->reason);
		break;
	case VM_EVENT_BLOCK_IO_ERROR:
		json_out_add(out,
			     "'data':{'device':'%s','qom-path':'" QMP_DISK_PATH
			     "','node-name':'%s','operation':'%s','action':'report',"
			     "'nospace':%i,'reason':'%s'}",
			     event->id, event->id, event->id, event->operation, event->on,
			     event->reason);
		break;
	case VM_EVENT_GUEST_PANICKED:
	case VM_EVENT_GUEST_CRASHLOADED:
		json_out_add(out, "'data':{'action':'%s'}", event->reason);
		break;
	case VM_EVENT_VSERPORT_CHANGE:
		json_out_add(out, "'data':{'id':'%s','open':%i}", event->id, event->on);
		break;
	case VM_EVENT_VFIO_DEVICE_ERROR:
		json_out_add(out, "'data':{'id':'%s','reason':'%s'}", event->id, event->reason);
		break;
	default:
		break;
	}
}

void dispatch_event(struct json_out *out, const struct vm_event *event)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	json_out_add(out, "{'timestamp':{'seconds':%ld,'microseconds':%ld},'event':'%s'",
		     now.tv_sec, now.tv_nsec / 1000, event_name[event->type]);
	add_event_data(out, event);
	json_out_add(out, "}\r\n");
}
