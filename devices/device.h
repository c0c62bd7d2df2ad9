/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/device.h - the contract between a device and the house.
 * Owns: struct device, its state and its host part are allocated by devices.c from the ops' sizes.
 * Threads: attach, detach, reset, pause, post_load, resume: main only, vCPUs out of KVM_RUN.
 *	Bus and loop callbacks: any thread, with dev->lock held by bus.c and loop.c, so that
 *	devices never lock.
 * Units: see each device.
 * Errors: 0 or -errno with one message. A guest's fault never ends the VMM. */
#ifndef DEVICES_DEVICE_H
#define DEVICES_DEVICE_H
#include "cpr/state.h"
#include "vmm/error.h"
#include <pthread.h>
#include <stdint.h>

#define DEVICES_MAX 64

struct vm;
struct device;

struct device_ops {
	const char *type;		/* "serial": name in checkpoint and messages */
	const struct state_desc *state; /* what cprsave saves; NULL: see unsaved */
	const char *unsaved; /* why a device without state cannot be saved; cprsave says it */
	uint32_t host_size;  /* bytes of the host part; zeroed before attach */
	uint32_t guest_gsi;  /* 0: none. Guest-visible: saved and compared at load */
	int (*attach)(struct device *dev, struct vm *vm,
		      struct error *err); /* at start and before a load alike */
	void (*detach)(struct device *dev);
	void (*reset)(struct device *dev); /* power-on state; also right after attach */
	int (*pause)(struct device *dev,
		     struct error *err); /* on return no I/O is in flight; idempotent; bounded */
	int (*post_load)(struct device *dev,
			 struct error *err); /* host side from state; no guest RAM, no host I/O */
	void (*resume)(struct device *dev); /* timers, kicks, interrupt levels again; cannot fail */
	void (*power_button)(struct device *dev);
};

struct device {
	const struct device_ops *ops;
	char name[16]; /* "serial0" */
	uint32_t instance;
	pthread_mutex_t lock;
	struct vm *vm;
	void *state; /* guest-visible, saved: the struct that ops->state describes */
	void *host;  /* descriptors, timers: never saved */
};

/* All rows of the device table, in order, for this VM's options. */
int devices_attach(struct vm *vm, struct error *err) must_check;
void devices_detach(struct vm *vm);
void devices_reset(struct vm *vm);
#endif
