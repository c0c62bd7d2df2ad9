/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/devices.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* stasis-grown has rows of a release to come here. */
#ifndef DEVICE_TABLE_GROWN
#define DEVICE_TABLE_GROWN(ROW)
#endif

/* One row a device. The order is that of attaching, and so of the PCI slots and BARs which a guest gets
 * that boots in a new process. A loaded guest keeps the slots that it has, over its resets too. */
/* clang-format off */
#define DEVICE_TABLE(ROW) \
	ROW(serial_ops) \
	ROW(rtc_ops) \
	ROW(i8042_ops) \
	ROW(pm_ops) \
	ROW(pvpanic_ops) \
	ROW(pci_host_ops) \
	DEVICE_TABLE_GROWN(ROW) \
	ROW(console_ops) \
	ROW(rng_ops) \
	ROW(virtio_blk_ops) \
	ROW(virtio_net_ops) \
	ROW(virtio_vsock_ops) \
	ROW(vfio_pci_ops)
/* clang-format on */

#define ROW_EXTERN(ops)	 extern const struct device_ops ops;
#define ROW_ADDRESS(ops) &ops,
DEVICE_TABLE(ROW_EXTERN)

const struct device_ops *const device_table[] = {DEVICE_TABLE(ROW_ADDRESS)};
const uint32_t device_table_rows = sizeof(device_table) / sizeof(device_table[0]);

static void device_free(struct device *dev)
{
	bus_del_all(&dev->vm->bus, &dev->lock);
	pthread_mutex_destroy(&dev->lock);
	free(dev->host);
	free(dev->state);
	free(dev);
}

static struct device *device_new(const struct device_ops *ops, uint32_t instance, struct vm *vm)
{
	struct device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->vm = vm;
	dev->instance = instance;
	snprintf(dev->name, sizeof(dev->name), "%s%u", ops->name ? ops->name : ops->type, instance);
	dev->state = calloc(1, ops->state ? ops->state->size : 1);
	dev->host = calloc(1, ops->host_size ? ops->host_size : 1);
	if (dev->state && dev->host)
		return dev;
	device_free(dev);
	return NULL;
}

static int device_attach(const struct device_ops *ops, uint32_t instance, struct vm *vm,
			 struct error *err)
{
	struct device *dev;
	int ret;

	if (vm->ndevices == DEVICES_MAX)
		return error_set(err, -ENOSPC, "%s: a machine takes at most %d devices", ops->type,
				 DEVICES_MAX);
	dev = device_new(ops, instance, vm);
	if (!dev)
		return error_set(err, -ENOMEM, "%s: out of memory", ops->type);
	ret = ops->attach(dev, vm, err);
	if (ret) {
		device_free(dev);
		return ret;
	}
	ops->reset(dev);
	vm->device[vm->ndevices++] = dev;
	return 0;
}

static bool is_attached(const struct vm *vm, const struct device_ops *ops, uint32_t instance)
{
	for (uint32_t i = 0; i < vm->ndevices; i++)
		if (vm->device[i]->ops == ops && vm->device[i]->instance == instance)
			return true;
	return false;
}

int devices_attach(struct vm *vm, struct error *err)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		const struct device_ops *ops = device_table[i];
		uint32_t count = ops->count ? ops->count(vm->opt) : 1;

		for (uint32_t instance = 0; instance < count; instance++) {
			int ret;

			if (is_attached(vm, ops, instance))
				continue;
			ret = device_attach(ops, instance, vm, err);
			if (ret)
				return ret;
		}
	}
	return 0;
}

void devices_remove(struct vm *vm, struct device *dev)
{
	uint32_t i = 0;

	while (vm->device[i] != dev)
		i++;
	for (vm->ndevices--; i < vm->ndevices; i++)
		vm->device[i] = vm->device[i + 1];
	if (dev->ops->detach)
		dev->ops->detach(dev);
	device_free(dev);
}

void devices_detach(struct vm *vm)
{
	while (vm->ndevices)
		devices_remove(vm, vm->device[vm->ndevices - 1]);
}

struct device *devices_find(struct vm *vm, const char *name)
{
	for (uint32_t i = 0; i < vm->ndevices; i++)
		if (!strcmp(vm->device[i]->name, name))
			return vm->device[i];
	return NULL;
}

void devices_reset(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		pthread_mutex_lock(&dev->lock);
		dev->ops->reset(dev);
		pthread_mutex_unlock(&dev->lock);
	}
}
