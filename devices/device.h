/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/device.h - the contract between a device and the rest of the VMM.
 * Owns: devices.c allocates each device, see DEVICE_STRUCT().
 * Threads: all of device_ops: main only. vCPUs are out of KVM_RUN, except that they may run during
 *	flush, identify, may_save and check_survives. Bus and loop callbacks: any thread. Callers
 *	(bus.c, loop.c, devices.c) hold dev->lock around all of them except attach, the reset right
 *	after it, detach, flush and identify, so that devices never lock. flush and identify may take
 *	as long as a disk does, and use a lock of the device's own.
 * Units: deadlines are clock_now_ns(); for others see each device.
 * Errors: 0 or -errno with one message. A guest's fault never ends the VMM. */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H
#include "cpr/state.h"
#include "ram/ram.h"
#include "vmm/base/error.h"
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define DEVICES_MAX 64

struct vm;
struct options;
struct device;

struct device_ops {
	const char *type; /* "virtio-blk": what the checkpoint calls it */
	const char *name; /* "disk": its instances are disk0, disk1 ...; NULL: the type */
	/* How many the command line asks for. NULL: one, always there: only for devices of the first
	 * release, as older checkpoints do not load into a machine with one more device. */
	uint32_t (*count)(const struct options *opt);
	/* NULL, or the device it depends on, such as the PCI bus; that one is added if any device
	 * needs it. */
	const struct device_ops *needs;
	const struct state_desc *state; /* what cprsave saves; NULL: see unsaved */
	const char *unsaved; /* why a device without state cannot be saved; cprsave says it */
	/* May be NULL. Can it be saved as things are now? The guest may run; nothing changes.
	 * -EAGAIN: not now, but when the guest sleeps (run state suspended). */
	int (*may_save)(struct device *dev, struct error *err);
	/* May be NULL. Refuses if what the host keeps for it does not survive `want`. The guest may
	 * run; nothing changes. */
	int (*check_survives)(struct device *dev, enum ram_survives want, struct error *err);
	size_t bytes, state_offset; /* DEVICE_STRUCT() */
	uint32_t guest_gsi;	    /* 0: none. Guest-visible: saved and compared at load */
	int (*attach)(struct device *dev, struct vm *vm,
		      struct error *err); /* at start and before a load alike */
	void (*detach)(struct device *dev);
	void (*reset)(struct device *dev); /* power-on state; also right after attach */
	/* On return no I/O is in flight; idempotent. At the deadline it fails, and the device goes on
	 * as if it had not been asked. */
	int (*pause)(struct device *dev, uint64_t deadline_ns, struct error *err);
	/* On return everything that the guest was told is written is durable. The device may run. */
	int (*flush)(struct device *dev, uint64_t deadline_ns, struct error *err);
	/* For a save: puts what the host keeps for it into the state, so that a load can recognize it.
	 * Before that the guest may run. */
	int (*identify)(struct device *dev, uint64_t deadline_ns, struct error *err);
	/* Before a load commits anything: does the saved state fit what command line and host give
	 * (sizes, MACs, queues, features)? Joins each difference by error_join(). The rows that are
	 * ST_CONSTANT have been compared already. */
	int (*compare)(struct device *dev, const void *saved, struct error *err);
	/* Compares what identify() saved with this host. The operator may accept what differs. */
	int (*recognize)(struct device *dev, const void *saved, struct error *err);
	int (*post_load)(struct device *dev,
			 struct error *err); /* host side from state; no guest RAM, no host I/O */
	void (*resume)(struct device *dev); /* timers, kicks, interrupt levels again; cannot fail */
};

struct device {
	const struct device_ops *ops;
	char name[16];	   /* "serial0" */
	uint32_t instance; /* index among those of its ops: that of its options too */
	pthread_mutex_t lock;
	struct vm *vm;
};

/* Of struct device_ops: a device is one struct, zeroed before attach, whose first member is struct device.
 * Its member s is the struct that ops->state describes: what the guest can see, and what is saved. The
 * rest, descriptors and timers, never is. */
#define DEVICE_STRUCT(type) .bytes = sizeof(type), .state_offset = offsetof(type, s)

/* The struct whose member ptr points to. */
#define container_of(ptr, type, member)                                                  \
	({                                                                               \
		char *member_ = (char *)(ptr);                                           \
		type *whole_ = (type *)(member_ - offsetof(type, member));               \
		_Static_assert(__builtin_types_compatible_p(__typeof__(*(ptr)),          \
							    __typeof__(whole_->member)), \
			       "ptr is of another type than the member");                \
		whole_;                                                                  \
	})

static inline void *device_state(const struct device *dev)
{
	return (char *)dev + dev->ops->state_offset;
}

#endif
