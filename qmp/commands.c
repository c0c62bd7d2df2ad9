/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The commands and, at the end, their table. What a run state forbids, vm.c and cpr/ refuse by name. Answers have
 * QEMU's members. */
#include "cpr/cpr.h"
#include "devices/pci/pci.h"
#include "devices/platform/platform.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_net.h"
#include "qmp/qmp.h"
#include "vmm/base/bytes.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <unistd.h>

/* --- arguments */

#define VALUES_BYTES 128

static const char *const type_name[] = {
	[QMP_STRING] = "string",
	[QMP_INTEGER] = "integer",
	[QMP_BOOLEAN] = "boolean",
	[QMP_ARRAY] = "array",
};

static const enum json_kind kind_of[] = {
	[QMP_STRING] = JSON_STRING,
	[QMP_INTEGER] = JSON_NUMBER,
	[QMP_BOOLEAN] = JSON_BOOLEAN,
	[QMP_ARRAY] = JSON_ARRAY,
};

static bool is_known(const struct qmp_command *command, const struct json_node *node)
{
	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++)
		if (json_text_is(node->name, node->name_len, command->arg[i].name))
			return true;
	return false;
}

/* The index, or arg->nvalues if text is none of the values. */
static uint32_t value_index(const struct qmp_arg *arg, const char *value)
{
	uint32_t i = 0;

	while (i < arg->nvalues && strcmp(arg->values[i], value) != 0)
		i++;
	return i;
}

/* ": give reboot or restart"; empty where all values are accepted. Returns text. */
static const char *one_of(const struct qmp_arg *arg, char text[VALUES_BYTES])
{
	size_t used = 0;

	*text = '\0';
	for (uint32_t i = 0; i < arg->nvalues && used < VALUES_BYTES; i++)
		used += (size_t)snprintf(text + used, VALUES_BYTES - used, "%s%s",
					 !i			? ": give "
					 : i + 1 < arg->nvalues ? ", "
								: " or ",
					 arg->values[i]);
	return text;
}

/* A program sees that it did not send an array; a person may want to know how to type one. */
static int refuse_type(const struct qmp_arg *arg, const struct json_node *value, struct error *err)
{
	if (arg->type == QMP_ARRAY && value->kind == JSON_STRING)
		return error_set(err, -EINVAL,
				 "Invalid parameter type for '%s', expected: array (stasisctl: "
				 "%s:='[\"%s\"]')",
				 arg->name, arg->name, value->text);
	return error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: %s", arg->name,
			 type_name[arg->type]);
}

static int check_integer(const struct qmp_arg *arg, const struct json_node *value,
			 struct error *err)
{
	int64_t number;

	if (!json_int64(value, &number))
		return error_set(err, -EINVAL, "Invalid parameter type for '%s', expected: integer",
				 arg->name);
	if ((!arg->min && !arg->max) || (number >= arg->min && number <= arg->max))
		return 0;
	return error_set(err, -EINVAL, "Parameter '%s' expects %lld to %lld", arg->name,
			 (long long)arg->min, (long long)arg->max);
}

static int check_value(const struct qmp_arg *arg, const struct json_node *value, struct error *err)
{
	char text[VALUES_BYTES];

	if (value->kind != kind_of[arg->type])
		return refuse_type(arg, value, err);
	if (arg->type == QMP_INTEGER)
		return check_integer(arg, value, err);
	if (arg->type != QMP_STRING)
		return 0;
	if (strlen(value->text) != value->text_len)
		return error_set(err, -EINVAL, "Parameter '%s' contains a NUL character",
				 arg->name);
	if (arg->nvalues && value_index(arg, value->text) == arg->nvalues)
		return error_set(err, -EINVAL, "Parameter '%s' does not accept value '%s'%s",
				 arg->name, value->text, one_of(arg, text));
	return 0;
}

int commands_check_args(const struct qmp_call *call, struct error *err)
{
	const struct qmp_command *command = call->command;
	char text[VALUES_BYTES];
	int ret;

	for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++) {
		const struct qmp_arg *arg = &command->arg[i];
		const struct json_node *value = json_member(call->args, arg->name);

		if (!value && !arg->optional)
			return error_set(err, -EINVAL, "Parameter '%s' is missing%s", arg->name,
					 one_of(arg, text));
		ret = value ? check_value(arg, value, err) : 0;
		if (ret)
			return ret;
	}
	if (!call->args)
		return 0;
	for (const struct json_node *node = call->args->first; node; node = node->next)
		if (!is_known(command, node))
			return error_set(err, -EINVAL, "Parameter '%s' is unexpected", node->name);
	return 0;
}

/* A checked argument; NULL or dflt if it is absent. */
static const char *arg_string(const struct qmp_call *call, const char *name)
{
	const struct json_node *value = json_member(call->args, name);

	return value ? value->text : NULL;
}

static int64_t arg_int(const struct qmp_call *call, const char *name, int64_t dflt)
{
	const struct json_node *value = json_member(call->args, name);
	int64_t number;

	return value && json_int64(value, &number) ? number : dflt;
}

static bool arg_bool(const struct qmp_call *call, const char *name, bool dflt)
{
	const struct json_node *value = json_member(call->args, name);

	return value ? value->boolean : dflt;
}

/* Index of its value. */
static uint32_t arg_enum(const struct qmp_call *call, const char *name, uint32_t dflt)
{
	const char *value = arg_string(call, name);
	const struct qmp_arg *arg = call->command->arg;

	while (value && strcmp(arg->name, name) != 0)
		arg++;
	return value ? value_index(arg, value) : dflt;
}

/* --- the VM */

/* Defines the handler of a command, or of one that only returns information. */
#define HANDLER(name)                                                  \
	static int name(struct qmp_call *call __attribute__((unused)), \
			struct error *err __attribute__((unused)))
#define ANSWER(name) static void name(struct vm *vm __attribute__((unused)), struct json_out *out)

/* QEMU's clients know the member by that name. */
#define VERSION                                                                              \
	"{'qemu':{'major':%d,'minor':%d,'micro':%d},'package':'stasis " STASIS_VERSION "'}", \
		STASIS_MAJOR, STASIS_MINOR, STASIS_MICRO

void commands_greeting(struct json_out *out)
{
	json_out_add(out, "{'QMP':{'version':");
	json_out_add(out, VERSION);
	json_out_add(out, "'capabilities':[]}}\r\n");
}

HANDLER(qmp_capabilities)
{
	const struct json_node *enable = json_member(call->args, "enable");

	if (enable && enable->first)
		return error_set(err, -EINVAL, "Capability %s not available",
				 enable->first->text ? enable->first->text : "of another type");
	call->session->negotiated = true;
	return 0;
}

ANSWER(query_version)
{
	json_out_add(out, VERSION);
}

ANSWER(query_status)
{
	const enum runstate state = vm->runstate;

	json_out_add(out, "{'status':'%s','running':%i}", runstate_name[state],
		     state == RUNSTATE_RUNNING);
}

ANSWER(query_current_machine)
{
	json_out_add(out, "{'wakeup-suspend-support':%i}", vm->opt->s3);
}

ANSWER(query_name)
{
	json_out_add(out, vm->opt->name ? "{'name':'%s'}" : "{}", vm->opt->name);
}

ANSWER(query_uuid)
{
	char text[UUID_TEXT];

	json_out_add(out, "{'UUID':'%s'}", uuid_format(vm->opt->uuid, text));
}

ANSWER(query_kvm)
{
	json_out_add(out, "{'enabled':true,'present':true}");
}

ANSWER(query_cpus_fast)
{
	json_out_add(out, "[");
	/* QEMU's clients expect a path; here it leads nowhere. */
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		json_out_add(out,
			     "{'cpu-index':%u,'qom-path':'/machine/cpu[%u]','thread-id':%d,"
			     "'target':'%s',"
			     "'props':{'socket-id':0,'core-id':%u,'thread-id':0}}",
			     i, i, vm->vcpu[i].tid, arch_name, i);
	json_out_add(out, "]");
}

ANSWER(query_memory_size_summary)
{
	json_out_add(out, "{'base-memory':%" PRIu64 ",'plugged-memory':0}",
		     vm->ram.config.size_bytes);
}

static void add_argument(struct json_out *out, const struct qmp_arg *arg)
{
	json_out_add(out, "{'name':'%s','type':'%s','optional':%i", arg->name, type_name[arg->type],
		     arg->optional);
	if (arg->nvalues) {
		json_out_add(out, "'values':[");
		for (uint32_t i = 0; i < arg->nvalues; i++)
			json_out_add(out, "'%s'", arg->values[i]);
		json_out_add(out, "]");
	}
	if (arg->min || arg->max)
		json_out_add(out, "'min':%" PRId64 ",'max':%" PRId64, arg->min, arg->max);
	json_out_add(out, "}");
}

ANSWER(query_commands)
{
	json_out_add(out, "[");
	for (const struct qmp_command *command = qmp_commands;
	     command < qmp_commands + qmp_ncommands; command++) {
		json_out_add(out, "{'name':'%s','arguments':[", command->name);
		for (uint32_t i = 0; i < QMP_MAX_ARGS && command->arg[i].name; i++)
			add_argument(out, &command->arg[i]);
		json_out_add(out, "]}");
	}
	json_out_add(out, "]");
}

/* The SHUTDOWN event comes before the reply, as in QEMU. */
HANDLER(quit)
{
	vm_quit(call->session->vm, false, "host-qmp-quit", 0);
	return 0;
}

HANDLER(system_reset)
{
	return vm_reset(call->session->vm, false, "host-qmp-system-reset", err);
}

/* The path of the argument, or of --cpr-file. */
static int cpr_file(const struct qmp_call *call, const char **file, struct error *err)
{
	*file = arg_string(call, "file");
	if (!*file)
		*file = call->session->vm->opt->cpr_file;
	if (!*file)
		return error_set(err, -EINVAL,
				 "Parameter 'file' is missing, and no --cpr-file says which");
	if (!**file)
		return error_set(err, -EINVAL,
				 "Parameter 'file' is empty: give the path of a checkpoint");
	return 0;
}

enum ram_check { RAM_CHECK_NONE, RAM_CHECK_FULL, RAM_CHECKS };
static const char *const ram_check_name[RAM_CHECKS] = {"none", "full"};

HANDLER(cprsave)
{
	struct cpr_save_args save = {
		.mode = (enum cpr_mode)arg_enum(call, "mode", CPR_REBOOT),
		.ram_check = arg_enum(call, "ram-check", RAM_CHECK_NONE) == RAM_CHECK_FULL,
		.timeout_ns =
			(uint64_t)arg_int(call, "timeout-ms", VM_PAUSE_NS / 1000000) * 1000000,
	};
	int ret = cpr_file(call, &save.file, err);

	if (!ret)
		ret = cpr_save(call->session->vm, &save, err);
	call->session->saved = !ret;
	return ret;
}

HANDLER(cprload)
{
	const struct json_node *list = json_member(call->args, "accept-disks");
	const char *accept[OPTIONS_MAX_DISKS + 1] = {NULL}, *file;
	uint32_t n = 0;
	int ret = cpr_file(call, &file, err);

	for (const struct json_node *name = list ? list->first : NULL; name; name = name->next) {
		if (name->kind != JSON_STRING || strlen(name->text) != name->text_len)
			return error_set(
				err, -EINVAL,
				"Invalid parameter type for 'accept-disks', expected: array "
				"of strings");
		if (n == OPTIONS_MAX_DISKS)
			return error_set(err, -EINVAL,
					 "Parameter 'accept-disks' has more than %d names",
					 OPTIONS_MAX_DISKS);
		accept[n++] = name->text;
	}
	return ret ? ret : cpr_load(call->session->vm, file, accept, err);
}

static const char *const chardev_name[] = {
	[CHARDEV_NONE] = "none",
	[CHARDEV_STDIO] = "stdio",
	[CHARDEV_UNIX] = "unix",
	[CHARDEV_FILE] = "file",
};

static void add_modes(struct json_out *out, struct vm *vm)
{
	struct error reason[CPR_MODES];
	int ret[CPR_MODES];

	json_out_add(out, "'modes':[");
	for (uint32_t mode = 0; mode < CPR_MODES; mode++) {
		ret[mode] = cpr_possible(vm, (enum cpr_mode)mode, &reason[mode]);
		if (!ret[mode])
			json_out_add(out, "'%s'", cpr_mode_name[mode]);
	}
	json_out_add(out, "],'refused':[");
	for (uint32_t mode = 0; mode < CPR_MODES; mode++)
		if (ret[mode])
			json_out_add(out,
				     ret[mode] == -EAGAIN
					     ? "{'mode':'%s','reason':'%s','needs-suspend':true}"
					     : "{'mode':'%s','reason':'%s'}",
				     cpr_mode_name[mode], reason[mode].msg);
	json_out_add(out, "]");
}

/* Besides the modes: what a script must know to start this process again after a kexec. */
ANSWER(cprinfo)
{
	const struct ram *ram = &vm->ram;
	struct options_line line;
	char id[UUID_TEXT];
	uint32_t at = 0;

	json_out_add(out, "{");
	add_modes(out, vm);
	json_out_add(out, "'ram':{'backend':'%s'", ram->backend->name);
	if (ram->config.path)
		json_out_add(out, "'path':'%s'", ram->config.path);
	json_out_add(out, "'offset':%" PRIu64 ",'size':%" PRIu64 "},'devices':[",
		     ram->config.offset_bytes, ram->config.size_bytes);
	for (uint32_t i = 0; i < vm->ndevices; i++)
		json_out_add(out, "{'name':'%s','type':'%s'}", vm->device[i]->name,
			     vm->device[i]->ops->type);
	json_out_add(out, "],'pid':%d,'serial':'%s'", getpid(), chardev_name[vm->opt->serial.kind]);
	json_out_add(out, "'version':'" STASIS_VERSION "','options':[");
	while (options_line(vm->opt, &at, &line))
		json_out_add(out, "'%s%s%s'", line.name, line.separator, line.value);
	json_out_add(out, "]");
	if (vm->opt->cpr_file)
		json_out_add(out, "'cpr-file':'%s'", vm->opt->cpr_file);
	if (memcmp(vm->loaded_id, (uint8_t[sizeof(vm->loaded_id)]){0}, sizeof(vm->loaded_id)))
		json_out_add(out, "'loaded':'%s','downtime-ms':%" PRIu64,
			     uuid_format(vm->loaded_id, id), vm->downtime_ns / 1000000);
	json_out_add(out, "}");
}

ANSWER(query_cpr)
{
	struct cpr_status status;

	if (cpr_query(vm, &status))
		json_out_add(out,
			     "{'operation':'%s','step':'%s','done':%" PRIu64 ",'total':%" PRIu64
			     "}",
			     status.operation, status.step, status.done_bytes, status.total_bytes);
	else
		json_out_add(out, "{'operation':'none'}");
}

/* The next device of this type from *index on; NULL: no more. */
static struct device *next(const struct vm *vm, bool (*is)(const struct device *), uint32_t *index)
{
	while (*index < vm->ndevices) {
		struct device *dev = vm->device[(*index)++];

		if (is(dev))
			return dev;
	}
	return NULL;
}

/* --- disks */

static bool blk_is(const struct device *dev)
{
	return dev->ops == &virtio_blk_ops;
}

static void query_disk(struct device *dev, struct blk_info *info)
{
	pthread_mutex_lock(&dev->lock);
	blk_query(dev, info);
	pthread_mutex_unlock(&dev->lock);
}

/* Opens the object of the next disk from *index on, with the members that every answer has; false: no more. */
static bool next_disk(const struct vm *vm, struct json_out *out, uint32_t *index,
		      struct blk_info *info)
{
	struct device *dev = next(vm, blk_is, index);

	if (!dev)
		return false;
	query_disk(dev, info);
	json_out_add(out, "{'device':'%s','qdev':'" QMP_DISK_PATH "'", info->config->id,
		     info->config->id);
	return true;
}

ANSWER(query_block)
{
	struct blk_info info;
	uint32_t index = 0;

	json_out_add(out, "[");
	while (next_disk(vm, out, &index, &info)) {
		const struct disk_config *config = info.config;

		json_out_add(out,
			     "'type':'unknown','removable':false,'locked':false,"
			     "'inserted':{'file':'%s','node-name':'%s','ro':%i,'drv':'raw',"
			     "'backing_file_depth':0,'active':true,'encrypted':false,"
			     "'detect_zeroes':'off','bps':0,'bps_rd':0,'bps_wr':0,'iops':0,"
			     "'iops_rd':0,'iops_wr':0,'write_threshold':0,"
			     "'image':{'filename':'%s','format':'raw','virtual-size':%" PRIu64
			     ",'dirty-flag':false},"
			     "'cache':{'writeback':%i,'direct':%i,'no-flush':false}}}",
			     config->path, config->id, config->readonly, config->path,
			     info.size_bytes, info.writeback, config->cache == DISK_CACHE_NONE);
	}
	json_out_add(out, "]");
}

/* QEMU's names and their counters; BLK_KINDS: always 0. */
static const struct {
	const char *name;
	enum blk_kind kind;
	bool moves_data; /* has bytes and may be merged */
} counters[] = {
	{"rd", BLK_READ, true},	    {"wr", BLK_WRITE, true},	      {"flush", BLK_FLUSH, false},
	{"unmap", BLK_UNMAP, true}, {"zone_append", BLK_KINDS, true},
};

static void add_stats(struct json_out *out, const struct blk_info *info)
{
	static const struct blk_counter none;

	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++) {
		const char *name = counters[i].name;
		const struct blk_counter *counter =
			counters[i].kind == BLK_KINDS ? &none : &info->counter[counters[i].kind];

		json_out_add(out,
			     "'%s_operations':%" PRIu64 ",'failed_%s_operations':%" PRIu64
			     ",'invalid_%s_operations':%" PRIu64 ",'%s_total_time_ns':%" PRIu64,
			     name, counter->operations, name, counter->failed, name,
			     counter->invalid, name, counter->total_ns);
		if (counters[i].moves_data)
			json_out_add(out, "'%s_bytes':%" PRIu64 ",'%s_merged':0", name,
				     counter->bytes, name);
	}
	/* Failed and invalid requests are counted. */
	json_out_add(out,
		     "'wr_highest_offset':%" PRIu64 ",'account_failed':true,"
		     "'account_invalid':true,'timed_stats':[]",
		     info->written_end);
}

ANSWER(query_blockstats)
{
	struct blk_info info;
	uint32_t index = 0;

	json_out_add(out, "[");
	while (next_disk(vm, out, &index, &info)) {
		json_out_add(out, "'node-name':'%s','stats':{", info.config->id);
		add_stats(out, &info);
		json_out_add(out, "}}");
	}
	json_out_add(out, "]");
}

static struct device *find_disk(const struct vm *vm, const char *id)
{
	struct blk_info info;
	struct device *dev;
	uint32_t index = 0;

	while ((dev = next(vm, blk_is, &index))) {
		query_disk(dev, &info);
		if (!strcmp(info.config->id, id))
			return dev;
	}
	return NULL;
}

HANDLER(block_resize)
{
	const char *device = arg_string(call, "device"), *node = arg_string(call, "node-name");
	const int64_t size_bytes = arg_int(call, "size", 0);
	struct device *dev = NULL;
	int ret;

	if (device && node)
		return error_set(err, -EINVAL, "Either 'device' or 'node-name', not both");
	if (device || node)
		dev = find_disk(call->session->vm, device ? device : node);
	if (!dev)
		return error_set(err, -ENODEV, "Cannot find device='%s' nor node-name='%s'",
				 device ? device : "", node ? node : "");
	if (size_bytes <= 0)
		return error_set(err, -EINVAL, "Parameter 'size' expects a >0 size");
	pthread_mutex_lock(&dev->lock);
	ret = blk_resize(dev, (uint64_t)size_bytes, err);
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

/* --- network cards */

static struct device *find_net(const struct vm *vm, const char *id)
{
	struct device *dev;
	uint32_t index = 0;

	while ((dev = next(vm, net_is, &index)))
		if (!strcmp(net_id(dev), id))
			return dev;
	return NULL;
}

HANDLER(set_link)
{
	const char *name = arg_string(call, "name");
	struct device *dev = find_net(call->session->vm, name);

	if (!dev) {
		call->error_class = DEVICE_NOT_FOUND;
		return error_set(err, -ENODEV, "Device '%s' not found", name);
	}
	pthread_mutex_lock(&dev->lock);
	net_set_link(dev, arg_bool(call, "up", true));
	pthread_mutex_unlock(&dev->lock);
	return 0;
}

static void announce(struct device *dev)
{
	pthread_mutex_lock(&dev->lock);
	net_announce(dev);
	pthread_mutex_unlock(&dev->lock);
}

/* All network interfaces, or the named ones; as in QEMU, an unknown name is no error. */
HANDLER(announce_self)
{
	const struct json_node *names = json_member(call->args, "interfaces");
	const struct vm *vm = call->session->vm;
	struct device *dev;
	uint32_t index = 0;

	for (const struct json_node *name = names ? names->first : NULL; name; name = name->next) {
		dev = name->kind == JSON_STRING ? find_net(vm, name->text) : NULL;
		if (dev)
			announce(dev);
	}
	while (!names && (dev = next(vm, net_is, &index)))
		announce(dev);
	return 0;
}

/* --- the PCI bus */

static uint32_t config_word(const struct pci_func *func, uint32_t offset)
{
	return func->state->config[offset] | (uint32_t)func->state->config[offset + 1] << 8;
}

static const char *class_desc(uint32_t class)
{
	switch (class) {
	case 0x0100:
		return "SCSI controller";
	case 0x0200:
		return "Ethernet controller";
	case 0x0600:
		return "Host bridge";
	case 0x0601:
		return "ISA bridge";
	default:
		return NULL;
	}
}

static void add_region(struct json_out *out, const struct pci_func *func, uint32_t i)
{
	const struct pci_bar *bar = &func->bar[i];
	const uint8_t low = func->state->config[PCI_BASE_ADDRESS_0 + 4 * i];

	json_out_add(out, "{'bar':%u,'type':'%s','address':%" PRId64 ",'size':%" PRIu64, i,
		     bar->is_io ? "io" : "memory", bar->mapped ? (int64_t)bar->gpa : -1,
		     bar->size_bytes);
	if (!bar->is_io)
		json_out_add(out, "'prefetch':%i,'mem_type_64':%i",
			     !!(low & PCI_BASE_ADDRESS_MEM_PREFETCH), bar->is_64bit);
	json_out_add(out, "}");
}

static void add_function(struct json_out *out, const struct pci_func *func, uint32_t slot)
{
	const uint32_t pin = func->state->config[PCI_INTERRUPT_PIN];
	const uint32_t class = config_word(func, PCI_CLASS_DEVICE);

	json_out_add(out, "{'bus':0,'slot':%u,'function':0,'class_info':{'class':%u", slot, class);
	if (class_desc(class))
		json_out_add(out, "'desc':'%s'", class_desc(class));
	json_out_add(out,
		     "},'id':{'vendor':%u,'device':%u,'subsystem-vendor':%u,'subsystem':%u},"
		     "'irq_pin':%u",
		     config_word(func, PCI_VENDOR_ID), config_word(func, PCI_DEVICE_ID),
		     config_word(func, PCI_SUBSYSTEM_VENDOR_ID),
		     config_word(func, PCI_SUBSYSTEM_ID), pin);
	if (pin)
		json_out_add(out, "'irq':%u", func->state->config[PCI_INTERRUPT_LINE]);
	json_out_add(out, "'qdev_id':'%s','regions':[", func->dev->name);
	for (uint32_t i = 0; i < PCI_BARS; i++)
		if (func->bar[i].size_bytes)
			add_region(out, func, i);
	json_out_add(out, "]}");
}

ANSWER(query_pci)
{
	if (!vm->pci) {
		json_out_add(out, "[]");
		return;
	}
	json_out_add(out, "[{'bus':0,'devices':[");
	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_func *func = pci_at(vm, slot);

		if (!func)
			continue;
		pthread_mutex_lock(&func->dev->lock);
		add_function(out, func, slot);
		pthread_mutex_unlock(&func->dev->lock);
	}
	json_out_add(out, "]}]");
}

/* --- character devices */

static const struct {
	const char *type; /* of the device */
	bool (*query)(const struct device *dev, uint32_t i, struct chardev_info *info);
} chardev_owners[] = {{"serial", serial_query}, {"virtio-console", console_query}};

static void add_chardev(struct json_out *out, const struct chardev_info *info)
{
	json_out_add(out, "{'label':'%s','filename':'%s','frontend-open':%i}", info->label,
		     info->filename, info->frontend_open);
}

static void add_chardevs_of(struct json_out *out, struct device *dev)
{
	struct chardev_info info;

	for (size_t i = 0; i < ARRAY_SIZE(chardev_owners); i++) {
		if (strcmp(chardev_owners[i].type, dev->ops->type) != 0)
			continue;
		pthread_mutex_lock(&dev->lock);
		for (uint32_t port = 0; chardev_owners[i].query(dev, port, &info); port++)
			add_chardev(out, &info);
		pthread_mutex_unlock(&dev->lock);
	}
}

/* The last one is the socket of this request. */
ANSWER(query_chardev)
{
	json_out_add(out, "[");
	for (uint32_t i = 0; i < vm->ndevices; i++)
		add_chardevs_of(out, vm->device[i]);
	json_out_add(out, "{'label':'qmp','filename':'unix:%s,server=on','frontend-open':true}]",
		     vm->opt->qmp_path);
}

/* --- the table */

#define DAY_MS		  (24ll * 3600 * 1000)
#define ANY_STRING	  .type = QMP_STRING
#define ANY_INTEGER	  .type = QMP_INTEGER
#define BOOLEAN		  .type = QMP_BOOLEAN
#define INTEGER(from, to) .type = QMP_INTEGER, .min = (from), .max = (to)
#define ONE_OF(list)	  .type = QMP_STRING, .values = (list), .nvalues = ARRAY_SIZE(list)
/* clang-format off */
#define QUERY(command, fn)	  {.name = (command), .answer = (fn), .meanwhile = true}
#define OF_VM(command, fn)	  {.name = (command), .of_vm = (fn)}
#define COMMAND(command, fn, ...) {.name = (command), .run = (fn), .arg = {__VA_ARGS__}}

const struct qmp_command qmp_commands[] = {
	{.name = "qmp_capabilities", .run = qmp_capabilities, .negotiates = true, .meanwhile = true,
	 .arg = {{"enable", .type = QMP_ARRAY, .optional = true}}},
	QUERY("query-version", query_version),
	QUERY("query-status", query_status),
	QUERY("query-current-machine", query_current_machine),
	QUERY("query-name", query_name),
	QUERY("query-uuid", query_uuid),
	QUERY("query-kvm", query_kvm),
	QUERY("query-cpus-fast", query_cpus_fast),
	QUERY("query-memory-size-summary", query_memory_size_summary),
	QUERY("query-commands", query_commands),
	QUERY("query-block", query_block),
	QUERY("query-blockstats", query_blockstats),
	QUERY("query-chardev", query_chardev),
	QUERY("query-pci", query_pci),
	OF_VM("stop", vm_stop),
	OF_VM("cont", vm_cont),
	COMMAND("quit", quit),
	OF_VM("system_powerdown", vm_powerdown),
	OF_VM("system_wakeup", vm_wakeup),
	COMMAND("system_reset", system_reset),
	COMMAND("set_link", set_link,
		{"name", ANY_STRING},
		{"up", BOOLEAN}),
	/* QEMU's clients give a schedule; here each interface has its own. */
	COMMAND("announce-self", announce_self,
		{"initial", ANY_INTEGER, .optional = true},
		{"max", ANY_INTEGER, .optional = true},
		{"rounds", ANY_INTEGER, .optional = true},
		{"step", ANY_INTEGER, .optional = true},
		{"interfaces", .type = QMP_ARRAY, .optional = true},
		{"id", ANY_STRING, .optional = true}),
	COMMAND("block_resize", block_resize,
		{"device", ANY_STRING, .optional = true},
		{"node-name", ANY_STRING, .optional = true},
		{"size", ANY_INTEGER}),
	COMMAND("cprsave", cprsave,
		{"file", ANY_STRING, .optional = true},
		{"mode", ONE_OF(cpr_mode_name)},
		{"ram-check", ONE_OF(ram_check_name), .optional = true},
		{"timeout-ms", INTEGER(1, DAY_MS), .optional = true}),
	COMMAND("cprload", cprload,
		{"file", ANY_STRING, .optional = true},
		{"accept-disks", .type = QMP_ARRAY, .optional = true}),
	QUERY("cprinfo", cprinfo),
	QUERY("query-cpr", query_cpr),
	{.name = "cpr-cancel", .of_vm = cpr_cancel, .meanwhile = true},
};
/* clang-format on */
const uint32_t qmp_ncommands = ARRAY_SIZE(qmp_commands);
