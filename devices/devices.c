/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/devices.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* One row a device. The order is that of attaching; no guest can see it. */
#define DEVICE_TABLE(ROW) \
	ROW(serial_ops)   \
	ROW(rtc_ops)      \
	ROW(i8042_ops)    \
	ROW(pm_ops)

#define ROW_EXTERN(ops)	 extern const struct device_ops ops;
#define ROW_ADDRESS(ops) &ops,
DEVICE_TABLE(ROW_EXTERN)

const struct device_ops *const device_table[] = {DEVICE_TABLE(ROW_ADDRESS)};
const uint32_t device_table_rows = sizeof(device_table) / sizeof(device_table[0]);

static void device_free(struct device *dev)
{
	pthread_mutex_destroy(&dev->lock);
	free(dev->host);
	free(dev->state);
	free(dev);
}

static struct device *device_new(const struct device_ops *ops, struct vm *vm)
{
	struct device *dev = calloc(1, sizeof(*dev));

	if (!dev)
		return NULL;
	pthread_mutex_init(&dev->lock, NULL);
	dev->ops = ops;
	dev->vm = vm;
	snprintf(dev->name, sizeof(dev->name), "%s%u", ops->type, dev->instance);
	dev->state = calloc(1, ops->state ? ops->state->size : 1);
	dev->host = calloc(1, ops->host_size ? ops->host_size : 1);
	if (dev->state && dev->host)
		return dev;
	device_free(dev);
	return NULL;
}

static int device_attach(const struct device_ops *ops, struct vm *vm, struct error *err)
{
	struct device *dev;
	int ret;

	if (vm->ndevices == DEVICES_MAX)
		return error_set(err, -ENOSPC, "%s: a machine takes at most %d devices", ops->type,
				 DEVICES_MAX);
	dev = device_new(ops, vm);
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

int devices_attach(struct vm *vm, struct error *err)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		int ret = device_attach(device_table[i], vm, err);

		if (ret) {
			devices_detach(vm);
			return ret;
		}
	}
	return 0;
}

void devices_detach(struct vm *vm)
{
	while (vm->ndevices) {
		struct device *dev = vm->device[--vm->ndevices];

		if (dev->ops->detach)
			dev->ops->detach(dev);
		device_free(dev);
	}
}

void devices_reset(struct vm *vm)
{
	for (uint32_t i = 0; i < vm->ndevices; i++)
		vm->device[i]->ops->reset(vm->device[i]);
}
