/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP commands about disks, network interfaces, character devices and the PCI bus, with QEMU's members. */
#include "devices/pci/pci.h"
#include "devices/platform/platform.h"
#include "devices/virtio/virtio_blk.h"
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/virtio_net.h"
#include "qmp/command.h"
#include "vmm/base/bytes.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

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

void commands_disk_path(struct json_out *out, const char *name, const char *id)
{
	char path[OPTIONS_ID_BYTES + 48];

	snprintf(path, sizeof(path), "/machine/peripheral/%s/virtio-backend", id);
	json_out_string(out, name, path);
}

/* Opens the object of the next disk from *index on, with the members that every answer has; false: no more. */
static bool next_disk(const struct qmp_call *call, uint32_t *index, struct blk_info *info)
{
	struct device *dev = next(call->session->vm, blk_is, index);

	if (!dev)
		return false;
	query_disk(dev, info);
	json_out_open(call->out, NULL, '{');
	json_out_string(call->out, "device", info->config->id);
	commands_disk_path(call->out, "qdev", info->config->id);
	return true;
}

static void add_inserted(struct json_out *out, const struct blk_info *info)
{
	/* QEMU's members for a disk without throttling. */
	static const char *const no_limit[] = {"bps",  "bps_rd",  "bps_wr",
					       "iops", "iops_rd", "iops_wr"};

	json_out_open(out, "inserted", '{');
	json_out_string(out, "file", info->config->path);
	json_out_string(out, "node-name", info->config->id);
	json_out_bool(out, "ro", info->config->readonly);
	json_out_string(out, "drv", "raw");
	json_out_int(out, "backing_file_depth", 0);
	json_out_bool(out, "active", true);
	json_out_bool(out, "encrypted", false);
	json_out_string(out, "detect_zeroes", "off");
	for (uint32_t i = 0; i < ARRAY_SIZE(no_limit); i++)
		json_out_int(out, no_limit[i], 0);
	json_out_int(out, "write_threshold", 0);
	json_out_open(out, "image", '{');
	json_out_string(out, "filename", info->config->path);
	json_out_string(out, "format", "raw");
	json_out_uint(out, "virtual-size", info->size_bytes);
	json_out_bool(out, "dirty-flag", false);
	json_out_close(out, '}');
	json_out_open(out, "cache", '{');
	json_out_bool(out, "writeback", info->writeback);
	json_out_bool(out, "direct", info->config->cache == DISK_CACHE_NONE);
	json_out_bool(out, "no-flush", false);
	json_out_close(out, '}');
	json_out_close(out, '}');
}

QMP_HANDLER(commands_query_block)
{
	struct blk_info info;
	uint32_t index = 0;

	json_out_open(call->out, RETURN, '[');
	while (next_disk(call, &index, &info)) {
		json_out_string(call->out, "type", "unknown");
		json_out_bool(call->out, "removable", false);
		json_out_bool(call->out, "locked", false);
		add_inserted(call->out, &info);
		json_out_close(call->out, '}');
	}
	json_out_close(call->out, ']');
	return 0;
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

static void add_stat(struct json_out *out, const char *before, const char *name, const char *behind,
		     uint64_t value)
{
	char text[48];

	snprintf(text, sizeof(text), "%s%s%s", before, name, behind);
	json_out_uint(out, text, value);
}

static void add_stats(struct json_out *out, const struct blk_info *info)
{
	static const struct blk_counter none;

	for (uint32_t i = 0; i < ARRAY_SIZE(counters); i++) {
		const char *name = counters[i].name;
		const struct blk_counter *counter =
			counters[i].kind == BLK_KINDS ? &none : &info->counter[counters[i].kind];

		add_stat(out, "", name, "_operations", counter->operations);
		add_stat(out, "failed_", name, "_operations", counter->failed);
		add_stat(out, "invalid_", name, "_operations", counter->invalid);
		add_stat(out, "", name, "_total_time_ns", counter->total_ns);
		if (!counters[i].moves_data)
			continue;
		add_stat(out, "", name, "_bytes", counter->bytes);
		add_stat(out, "", name, "_merged", 0);
	}
	json_out_uint(out, "wr_highest_offset", info->written_end);
	/* Failed and invalid requests are counted. */
	json_out_bool(out, "account_failed", true);
	json_out_bool(out, "account_invalid", true);
	json_out_open(out, "timed_stats", '[');
	json_out_close(out, ']');
}

QMP_HANDLER(commands_query_blockstats)
{
	struct blk_info info;
	uint32_t index = 0;

	json_out_open(call->out, RETURN, '[');
	while (next_disk(call, &index, &info)) {
		json_out_string(call->out, "node-name", info.config->id);
		json_out_open(call->out, "stats", '{');
		add_stats(call->out, &info);
		json_out_close(call->out, '}');
		json_out_close(call->out, '}');
	}
	json_out_close(call->out, ']');
	return 0;
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

QMP_HANDLER(commands_block_resize)
{
	const char *device = args_string(call, "device"), *node = args_string(call, "node-name");
	const int64_t size_bytes = args_int(call, "size", 0);
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

QMP_HANDLER(commands_set_link)
{
	const char *name = args_string(call, "name");
	struct device *dev = find_net(call->session->vm, name);

	if (!dev) {
		call->error_class = DEVICE_NOT_FOUND;
		return error_set(err, -ENODEV, "Device '%s' not found", name);
	}
	pthread_mutex_lock(&dev->lock);
	net_set_link(dev, args_bool(call, "up", true));
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
QMP_HANDLER(commands_announce_self)
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

static void add_class(struct json_out *out, uint32_t class)
{
	static const struct {
		uint32_t class;
		const char *desc;
	} known[] = {{0x0100, "SCSI controller"},
		     {0x0200, "Ethernet controller"},
		     {0x0600, "Host bridge"},
		     {0x0601, "ISA bridge"}};

	json_out_open(out, "class_info", '{');
	json_out_uint(out, "class", class);
	for (uint32_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].class == class)
			json_out_string(out, "desc", known[i].desc);
	json_out_close(out, '}');
}

static void add_region(struct json_out *out, const struct pci_func *func, uint32_t i)
{
	const struct pci_bar *bar = &func->bar[i];

	json_out_open(out, NULL, '{');
	json_out_uint(out, "bar", i);
	json_out_string(out, "type", bar->is_io ? "io" : "memory");
	json_out_int(out, "address", bar->mapped ? (int64_t)bar->gpa : -1);
	json_out_uint(out, "size", bar->size_bytes);
	if (!bar->is_io) {
		json_out_bool(out, "prefetch",
			      func->state->config[PCI_BASE_ADDRESS_0 + 4 * i] &
				      PCI_BASE_ADDRESS_MEM_PREFETCH);
		json_out_bool(out, "mem_type_64", bar->is_64bit);
	}
	json_out_close(out, '}');
}

static void add_function(struct json_out *out, const struct pci_func *func, uint32_t slot)
{
	const uint32_t pin = func->state->config[PCI_INTERRUPT_PIN];

	json_out_open(out, NULL, '{');
	json_out_uint(out, "bus", 0);
	json_out_uint(out, "slot", slot);
	json_out_uint(out, "function", 0);
	add_class(out, config_word(func, PCI_CLASS_DEVICE));
	json_out_open(out, "id", '{');
	json_out_uint(out, "vendor", config_word(func, PCI_VENDOR_ID));
	json_out_uint(out, "device", config_word(func, PCI_DEVICE_ID));
	json_out_uint(out, "subsystem-vendor", config_word(func, PCI_SUBSYSTEM_VENDOR_ID));
	json_out_uint(out, "subsystem", config_word(func, PCI_SUBSYSTEM_ID));
	json_out_close(out, '}');
	json_out_uint(out, "irq_pin", pin);
	if (pin)
		json_out_uint(out, "irq", func->state->config[PCI_INTERRUPT_LINE]);
	json_out_string(out, "qdev_id", func->dev->name);
	json_out_open(out, "regions", '[');
	for (uint32_t i = 0; i < PCI_BARS; i++)
		if (func->bar[i].size_bytes)
			add_region(out, func, i);
	json_out_close(out, ']');
	json_out_close(out, '}');
}

static void add_bus(struct json_out *out, struct vm *vm)
{
	json_out_open(out, NULL, '{');
	json_out_uint(out, "bus", 0);
	json_out_open(out, "devices", '[');
	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_func *func = pci_at(vm, slot);

		if (!func)
			continue;
		pthread_mutex_lock(&func->dev->lock);
		add_function(out, func, slot);
		pthread_mutex_unlock(&func->dev->lock);
	}
	json_out_close(out, ']');
	json_out_close(out, '}');
}

QMP_HANDLER(commands_query_pci)
{
	struct vm *vm = call->session->vm;

	json_out_open(call->out, RETURN, '[');
	if (vm->pci)
		add_bus(call->out, vm);
	json_out_close(call->out, ']');
	return 0;
}

/* --- character devices */

static const struct {
	const char *type; /* of the device */
	bool (*query)(const struct device *dev, uint32_t i, struct chardev_info *info);
} chardev_owners[] = {{"serial", serial_query}, {"virtio-console", console_query}};

static void add_chardev(struct json_out *out, const struct chardev_info *info)
{
	json_out_open(out, NULL, '{');
	json_out_string(out, "label", info->label);
	json_out_string(out, "filename", info->filename);
	json_out_bool(out, "frontend-open", info->frontend_open);
	json_out_close(out, '}');
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
QMP_HANDLER(commands_query_chardev)
{
	const struct vm *vm = call->session->vm;
	struct chardev_info qmp = {.label = "qmp", .frontend_open = true};

	json_out_open(call->out, RETURN, '[');
	for (uint32_t i = 0; i < vm->ndevices; i++)
		add_chardevs_of(call->out, vm->device[i]);
	snprintf(qmp.filename, sizeof(qmp.filename), "unix:%s,server=on", vm->opt->qmp_path);
	add_chardev(call->out, &qmp);
	json_out_close(call->out, ']');
	return 0;
}
