/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What QMP asks of disks, network cards, character devices and the PCI bus, with QEMU's members. */
#include "devices/blk.h"
#include "devices/console.h"
#include "devices/net.h"
#include "devices/pci.h"
#include "qmp/add.h"
#include "qmp/command.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* The next device from *index on that is one of these; NULL: no more. */
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

/* The next disk from *index on, and what every answer about one begins with; NULL: no more. */
static struct json_object *next_disk(const struct qmp_call *call, uint32_t *index,
				     struct blk_info *info)
{
	struct device *dev = next(call->session->vm, blk_is, index);
	struct json_object *row;

	if (!dev)
		return NULL;
	query_disk(dev, info);
	row = add_row(call->ret);
	add_string(row, "device", info->config->id);
	add_disk_path(row, "qdev", info->config->id);
	return row;
}

static void add_inserted(struct json_object *row, const struct blk_info *info)
{
	/* What QEMU says of a disk that is not throttled. */
	static const char *const no_limit[] = {"bps",  "bps_rd",  "bps_wr",
					       "iops", "iops_rd", "iops_wr"};
	struct json_object *inserted = add_object(row, "inserted"), *image, *cache;

	add_string(inserted, "file", info->config->path);
	add_string(inserted, "node-name", info->config->id);
	add_bool(inserted, "ro", info->config->readonly);
	add_string(inserted, "drv", "raw");
	add_int(inserted, "backing_file_depth", 0);
	add_bool(inserted, "active", true);
	add_bool(inserted, "encrypted", false);
	add_string(inserted, "detect_zeroes", "off");
	for (uint32_t i = 0; i < sizeof(no_limit) / sizeof(no_limit[0]); i++)
		add_int(inserted, no_limit[i], 0);
	add_int(inserted, "write_threshold", 0);
	image = add_object(inserted, "image");
	add_string(image, "filename", info->config->path);
	add_string(image, "format", "raw");
	add_uint(image, "virtual-size", info->size_bytes);
	add_bool(image, "dirty-flag", false);
	cache = add_object(inserted, "cache");
	add_bool(cache, "writeback", info->writeback);
	add_bool(cache, "direct", info->config->cache == DISK_CACHE_NONE);
	add_bool(cache, "no-flush", false);
}

QMP_HANDLER(commands_query_block)
{
	struct json_object *row;
	struct blk_info info;
	uint32_t index = 0;

	call->ret = json_object_new_array();
	while ((row = next_disk(call, &index, &info))) {
		add_string(row, "type", "unknown");
		add_bool(row, "removable", false);
		add_bool(row, "locked", false);
		add_inserted(row, &info);
	}
	return 0;
}

/* QEMU's names, and what they count here; BLK_KINDS: nothing, for no disk has it. */
static const struct {
	const char *name;
	enum blk_kind kind;
	bool moves_data; /* has bytes and may be merged */
} counters[] = {
	{"rd", BLK_READ, true},	    {"wr", BLK_WRITE, true},	      {"flush", BLK_FLUSH, false},
	{"unmap", BLK_UNMAP, true}, {"zone_append", BLK_KINDS, true},
};

static void add_stat(struct json_object *stats, const char *before, const char *name,
		     const char *behind, uint64_t value)
{
	char text[48];

	snprintf(text, sizeof(text), "%s%s%s", before, name, behind);
	add_uint(stats, text, value);
}

static void add_stats(struct json_object *stats, const struct blk_info *info)
{
	static const struct blk_counter none;

	for (uint32_t i = 0; i < sizeof(counters) / sizeof(counters[0]); i++) {
		const char *name = counters[i].name;
		const struct blk_counter *counter =
			counters[i].kind == BLK_KINDS ? &none : &info->counter[counters[i].kind];

		add_stat(stats, "", name, "_operations", counter->operations);
		add_stat(stats, "failed_", name, "_operations", counter->failed);
		add_stat(stats, "invalid_", name, "_operations", counter->invalid);
		add_stat(stats, "", name, "_total_time_ns", counter->total_ns);
		if (!counters[i].moves_data)
			continue;
		add_stat(stats, "", name, "_bytes", counter->bytes);
		add_stat(stats, "", name, "_merged", 0);
	}
	add_uint(stats, "wr_highest_offset", info->written_end);
	/* Failed and invalid requests are counted. */
	add_bool(stats, "account_failed", true);
	add_bool(stats, "account_invalid", true);
	add_array(stats, "timed_stats");
}

QMP_HANDLER(commands_query_blockstats)
{
	struct json_object *row;
	struct blk_info info;
	uint32_t index = 0;

	call->ret = json_object_new_array();
	while ((row = next_disk(call, &index, &info))) {
		add_string(row, "node-name", info.config->id);
		add_stats(add_object(row, "stats"), &info);
	}
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

/* Large: the table of VLANs. NULL: out of memory. */
static struct net_info *query_net(struct device *dev)
{
	struct net_info *info = calloc(1, sizeof(*info));

	if (!info)
		return NULL;
	pthread_mutex_lock(&dev->lock);
	net_query(dev, info);
	pthread_mutex_unlock(&dev->lock);
	return info;
}

static struct json_object *mac_string(const uint8_t mac[NET_MAC_BYTES])
{
	char text[3 * NET_MAC_BYTES];

	for (uint32_t i = 0; i < NET_MAC_BYTES; i++)
		snprintf(text + (size_t)3 * i, 4, i < NET_MAC_BYTES - 1 ? "%02x:" : "%02x", mac[i]);
	return json_object_new_string(text);
}

static void add_macs(struct json_object *row, const char *name,
		     const uint8_t table[][NET_MAC_BYTES], uint32_t n)
{
	struct json_object *macs = add_array(row, name);

	for (uint32_t i = 0; i < n; i++)
		json_object_array_add(macs, mac_string(table[i]));
}

static void add_rx_filter(struct json_object *row, const struct net_info *info)
{
	static const char *const rx_state[] = {
		[NET_RX_NORMAL] = "normal", [NET_RX_NONE] = "none", [NET_RX_ALL] = "all"};
	struct json_object *vlans;

	add_string(row, "name", info->id);
	add_bool(row, "promiscuous", info->promiscuous);
	add_string(row, "multicast", rx_state[info->multicast]);
	add_string(row, "unicast", rx_state[info->unicast]);
	add_string(row, "vlan", rx_state[info->vlan]);
	add_bool(row, "broadcast-allowed", info->broadcast_allowed);
	add_bool(row, "multicast-overflow", info->multicast_overflow);
	add_bool(row, "unicast-overflow", info->unicast_overflow);
	json_object_object_add(row, "main-mac", mac_string(info->mac));
	vlans = add_array(row, "vlan-table");
	for (int i = 0; info->vlan == NET_RX_NORMAL && i < NET_VLANS; i++)
		if (info->vlan_table[i / 8] >> i % 8 & 1)
			json_object_array_add(vlans, json_object_new_int(i));
	add_macs(row, "unicast-table", info->unicast_table, info->nunicast);
	add_macs(row, "multicast-table", info->multicast_table, info->nmulticast);
}

QMP_HANDLER(commands_query_rx_filter)
{
	const char *name = args_string(call, "name");
	struct device *dev;
	uint32_t index = 0;

	call->ret = json_object_new_array();
	while ((dev = next(call->session->vm, net_is, &index))) {
		struct net_info *info = query_net(dev);

		if (!info)
			return error_set(err, -ENOMEM, "out of memory");
		if (!name || !strcmp(name, info->id))
			add_rx_filter(add_row(call->ret), info);
		free(info);
	}
	if (name && !json_object_array_length(call->ret))
		return error_set(err, -ENODEV, "invalid net client name: %s", name);
	return 0;
}

static struct device *find_net(const struct vm *vm, const char *id)
{
	struct device *dev;
	uint32_t index = 0;

	while ((dev = next(vm, net_is, &index))) {
		struct net_info *info = query_net(dev);
		bool found = info && !strcmp(info->id, id);

		free(info);
		if (found)
			return dev;
	}
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

/* All cards, or those of `interfaces`; as from QEMU, a name that is none is no error. */
QMP_HANDLER(commands_announce_self)
{
	struct json_object *names = json_object_object_get(call->args, "interfaces");
	const struct vm *vm = call->session->vm;
	struct device *dev;
	uint32_t index = 0;

	for (size_t i = 0; names && i < json_object_array_length(names); i++) {
		const char *name = json_object_get_string(json_object_array_get_idx(names, i));

		dev = name ? find_net(vm, name) : NULL;
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

static void add_class(struct json_object *row, uint32_t class)
{
	static const struct {
		uint32_t class;
		const char *desc;
	} known[] = {{0x0100, "SCSI controller"},
		     {0x0200, "Ethernet controller"},
		     {0x0600, "Host bridge"},
		     {0x0601, "ISA bridge"}};
	struct json_object *info = add_object(row, "class_info");

	add_uint(info, "class", class);
	for (uint32_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].class == class)
			add_string(info, "desc", known[i].desc);
}

static void add_regions(struct json_object *row, const struct pci_func *func)
{
	struct json_object *regions = add_array(row, "regions");

	for (uint32_t i = 0; i < PCI_BARS; i++) {
		const struct pci_bar *bar = &func->bar[i];
		struct json_object *region;

		if (!bar->size_bytes)
			continue;
		region = add_row(regions);
		add_uint(region, "bar", i);
		add_string(region, "type", bar->is_io ? "io" : "memory");
		add_int(region, "address", bar->mapped ? (int64_t)bar->gpa : -1);
		add_uint(region, "size", bar->size_bytes);
		if (bar->is_io)
			continue;
		add_bool(region, "prefetch",
			 func->state->config[PCI_BASE_ADDRESS_0 + 4 * i] &
				 PCI_BASE_ADDRESS_MEM_PREFETCH);
		add_bool(region, "mem_type_64", bar->is_64bit);
	}
}

static void add_function(struct json_object *row, const struct pci_func *func, uint32_t slot)
{
	const uint32_t pin = func->state->config[PCI_INTERRUPT_PIN];
	struct json_object *id;

	add_uint(row, "bus", 0);
	add_uint(row, "slot", slot);
	add_uint(row, "function", 0);
	add_class(row, config_word(func, PCI_CLASS_DEVICE));
	id = add_object(row, "id");
	add_uint(id, "vendor", config_word(func, PCI_VENDOR_ID));
	add_uint(id, "device", config_word(func, PCI_DEVICE_ID));
	add_uint(id, "subsystem-vendor", config_word(func, PCI_SUBSYSTEM_VENDOR_ID));
	add_uint(id, "subsystem", config_word(func, PCI_SUBSYSTEM_ID));
	add_uint(row, "irq_pin", pin);
	if (pin)
		add_uint(row, "irq", func->state->config[PCI_INTERRUPT_LINE]);
	add_string(row, "qdev_id", func->dev->name);
	add_regions(row, func);
}

QMP_HANDLER(commands_query_pci)
{
	struct vm *vm = call->session->vm;
	struct json_object *devices, *bus;

	call->ret = json_object_new_array();
	if (!vm->pci)
		return 0;
	bus = add_row(call->ret);
	add_uint(bus, "bus", 0);
	devices = add_array(bus, "devices");
	for (uint32_t slot = 0; slot < PCI_SLOTS; slot++) {
		struct pci_func *func = pci_at(vm, slot);

		if (!func)
			continue;
		pthread_mutex_lock(&func->dev->lock);
		add_function(add_row(devices), func, slot);
		pthread_mutex_unlock(&func->dev->lock);
	}
	return 0;
}

/* --- character devices */

static const struct {
	const char *type; /* of the device */
	bool (*query)(const struct device *dev, uint32_t i, struct chardev_info *info);
} chardev_owners[] = {{"serial", serial_query}, {"virtio-console", console_query}};

static void add_chardev(struct json_object *list, const struct chardev_info *info)
{
	struct json_object *row = add_row(list);

	add_string(row, "label", info->label);
	add_string(row, "filename", info->filename);
	add_bool(row, "frontend-open", info->frontend_open);
}

static void add_chardevs_of(struct json_object *list, struct device *dev)
{
	struct chardev_info info;

	for (size_t i = 0; i < sizeof(chardev_owners) / sizeof(chardev_owners[0]); i++) {
		if (strcmp(chardev_owners[i].type, dev->ops->type) != 0)
			continue;
		pthread_mutex_lock(&dev->lock);
		for (uint32_t port = 0; chardev_owners[i].query(dev, port, &info); port++)
			add_chardev(list, &info);
		pthread_mutex_unlock(&dev->lock);
	}
}

/* The last one is the socket that this request has come by. */
QMP_HANDLER(commands_query_chardev)
{
	const struct vm *vm = call->session->vm;
	struct chardev_info qmp = {.label = "qmp", .frontend_open = true};

	call->ret = json_object_new_array();
	for (uint32_t i = 0; i < vm->ndevices; i++)
		add_chardevs_of(call->ret, vm->device[i]);
	snprintf(qmp.filename, sizeof(qmp.filename), "unix:%s,server=on", vm->opt->qmp_path);
	add_chardev(call->ret, &qmp);
	return 0;
}
