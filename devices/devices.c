/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/devices.h"
#include "devices/platform/platform.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void device_free(struct device *dev)
{
	bus_del_all(&dev->vm->bus, &dev->lock);
	pthread_mutex_destroy(&dev->lock);
	free(dev);
}

static int device_attach(const struct device_ops *ops, uint32_t instance, struct vm *vm,
			 struct error *err)
{
	struct device *dev;
	int ret;

	if (vm->ndevices == DEVICES_MAX)
		return error_set(err, -ENOSPC, "%s: a machine takes at most %d devices", ops->type,
				 DEVICES_MAX);
	dev = calloc(1, ops->bytes);
	if (!dev)
		return error_set(err, -ENOMEM, "%s: out of memory", ops->type);
	*dev = (struct device){.ops = ops, .instance = instance, .vm = vm};
	pthread_mutex_init(&dev->lock, NULL);
	snprintf(dev->name, sizeof(dev->name), "%s%u", ops->name ? ops->name : ops->type, instance);
	ret = ops->attach(dev, vm, err);
	if (ret) {
		device_free(dev);
		return ret;
	}
	ops->reset(dev);
	vm->device[vm->ndevices++] = dev;
	return 0;
}

static uint32_t asked_for(const struct device_ops *ops, const struct options *opt)
{
	return ops->count ? ops->count(opt) : 1;
}

static uint32_t count_of(const struct device_ops *ops, const struct options *opt)
{
	uint32_t count = asked_for(ops, opt);

	for (uint32_t i = 0; !count && i < device_table_rows; i++)
		count = device_table[i]->needs == ops && asked_for(device_table[i], opt);
	return count;
}

int devices_attach(struct vm *vm, struct error *err)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		const struct device_ops *ops = device_table[i];
		uint32_t count = count_of(ops, vm->opt);

		for (uint32_t instance = 0; instance < count; instance++) {
			int ret = device_attach(ops, instance, vm, err);

			if (ret)
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

static int named(const struct device *dev, int ret, struct error *err)
{
	if (ret)
		error_prefix(err, "%s", dev->name);
	return ret;
}

static int may_save(struct device *dev, enum ram_survives needs, struct error *err)
{
	const struct device_ops *ops = dev->ops;
	int ret;

	if (!ops->state)
		return error_set(err, -EOPNOTSUPP, "device %s cannot be saved: %s", dev->name,
				 ops->unsaved ? ops->unsaved : "it has no state table");
	pthread_mutex_lock(&dev->lock);
	ret = ops->check_survives ? ops->check_survives(dev, needs, err) : 0;
	if (!ret && ops->may_save)
		ret = ops->may_save(dev, err);
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

int devices_may_save(struct vm *vm, enum ram_survives needs, struct error *err)
{
	struct error why;
	int ret = 0;

	/* After one that says -EAGAIN another one may refuse for good. */
	for (uint32_t i = 0; (!ret || ret == -EAGAIN) && i < vm->ndevices; i++) {
		int bad = may_save(vm->device[i], needs, &why);

		if (bad && (!ret || bad != -EAGAIN))
			ret = error_set(err, bad, "%s", why.msg);
	}
	return ret;
}

/* Without dev->lock, as identify: a vCPU that accesses the device need not wait for the disk. */
int devices_flush(struct vm *vm, uint64_t deadline_ns, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		if (dev->ops->flush)
			ret = named(dev, dev->ops->flush(dev, deadline_ns, err), err);
	}
	return ret;
}

int devices_identify(struct vm *vm, uint64_t deadline_ns, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		if (dev->ops->identify)
			ret = named(dev, dev->ops->identify(dev, deadline_ns, err), err);
	}
	return ret;
}

static void resume_first(struct vm *vm, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct device *dev = vm->device[i];

		if (!dev->ops->resume)
			continue;
		pthread_mutex_lock(&dev->lock);
		dev->ops->resume(dev);
		pthread_mutex_unlock(&dev->lock);
	}
}

static int pause_one(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	int ret;

	if (!dev->ops->pause)
		return 0;
	pthread_mutex_lock(&dev->lock);
	ret = dev->ops->pause(dev, deadline_ns, err);
	pthread_mutex_unlock(&dev->lock);
	return named(dev, ret, err);
}

int devices_pause(struct vm *vm, uint64_t deadline_ns, struct error *err)
{
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		int ret = pause_one(vm->device[i], deadline_ns, err);

		if (!ret)
			continue;
		resume_first(vm, i);
		return ret;
	}
	/* An alarm that went off is part of the state to be saved. */
	if (atomic_fetch_and(&vm->requests, ~(unsigned int)VM_REQUEST_ALARM) & VM_REQUEST_ALARM)
		pm_notify(vm, PM_ALARM);
	return 0;
}

void devices_resume(struct vm *vm)
{
	resume_first(vm, vm->ndevices);
}

static bool is_accepted(const char *const *accept, const struct device *dev)
{
	for (const char *const *name = accept; name && *name; name++)
		if (!strcmp(*name, dev->name))
			return true;
	return false;
}

static int compare_one(struct device *dev, const void *saved, bool slept, bool accepted,
		       struct error *err)
{
	struct error why = {""}, who = {""};
	int ret;

	pthread_mutex_lock(&dev->lock);
	ret = state_compare(dev->ops->state, saved, device_state(dev), &why);
	if (dev->ops->compare && dev->ops->compare(dev, saved, &why))
		ret = -EINVAL;
	if (ret)
		ret = error_join(err, -EINVAL, "%s: %s", dev->name, why.msg);
	else if (dev->ops->may_save && !slept)
		ret = error_join(err, -EINVAL,
				 "%s: this device is saved only while the guest sleeps, but the "
				 "checkpoint says awake",
				 dev->name);
	/* A device that does not fit cannot be accepted either. */
	if (!ret && dev->ops->recognize && dev->ops->recognize(dev, saved, &who)) {
		if (accepted)
			log_warn("%s is accepted: %s", dev->name, who.msg);
		else
			ret = error_join(
				err, -ESTALE,
				"%s is not as it was saved: %s: give it the disk that it "
				"had, or take this one by cprload accept-disks:='[\"%s\"]'",
				dev->name, who.msg, dev->name);
	}
	pthread_mutex_unlock(&dev->lock);
	return ret;
}

int devices_compare(struct vm *vm, const void *const *saved, bool slept, const char *const *accept,
		    struct error *err)
{
	int ret = 0, bad;

	for (uint32_t i = 0; i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		if (!saved[i])
			continue;
		bad = compare_one(dev, saved[i], slept, is_accepted(accept, dev), err);
		ret = bad ? bad : ret;
	}
	return ret;
}

void devices_commit(struct vm *vm, const void *const *saved)
{
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		if (!saved[i])
			continue;
		pthread_mutex_lock(&dev->lock);
		memcpy(device_state(dev), saved[i], dev->ops->state->size);
		pthread_mutex_unlock(&dev->lock);
	}
}

int devices_post_load(struct vm *vm, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];

		if (!dev->ops->post_load)
			continue;
		pthread_mutex_lock(&dev->lock);
		ret = dev->ops->post_load(dev, err);
		pthread_mutex_unlock(&dev->lock);
		ret = named(dev, ret, err);
	}
	return ret;
}
