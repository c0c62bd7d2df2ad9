/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/devices.h - the table of devices and every loop over the devices of a VM.
 *
 *	start		attach
 *	save		may_save, flush, identify, pause, flush, identify; then each state is written
 *	failed save	resume
 *	load		attach (at the start), compare, commit, post_load, resume
 *	failed load	reset
 *	end		detach
 *
 * Threads: main only.
 * Units: deadlines are clock_now_ns().
 * Errors: 0 or -errno with one message that begins with the device's name. */
#ifndef DEVICES_DEVICES_H
#define DEVICES_DEVICES_H
#include "devices/device.h"

extern const struct device_ops *const device_table[];
extern const uint32_t device_table_rows;

/* All rows of the device table, in order, as many of each as this VM's options ask for. On failure
 * some are attached: devices_detach() takes them off. */
int devices_attach(struct vm *vm, struct error *err) must_check;
void devices_detach(struct vm *vm);
/* NULL if there is none. */
struct device *devices_find(struct vm *vm, const char *name);
void devices_reset(struct vm *vm);

/* Can all be saved now, and does what the host keeps for them outlive `needs`? The guest may run.
 * -EAGAIN: not now, but when the guest sleeps. */
int devices_may_save(struct vm *vm, enum ram_survives needs, struct error *err) must_check;
/* What the guest was told is written is durable on return; the guest may run. */
int devices_flush(struct vm *vm, uint64_t deadline_ns, struct error *err) must_check;
/* What the host keeps for devices is in their states, for a load to recognize it; the guest may run. */
int devices_identify(struct vm *vm, uint64_t deadline_ns, struct error *err) must_check;
/* In table order; on failure those already paused are resumed again. */
int devices_pause(struct vm *vm, uint64_t deadline_ns, struct error *err) must_check;
void devices_resume(struct vm *vm);

/* For a load. saved[i] is a copy of the state of vm->device[i], NULL if that
 * has none.
 * Do the copies fit command line and host? Joins every difference to err, which must be initialized.
 * slept: the guest was asleep when it was saved. accept: NULL, or names, up to a NULL, of devices
 * that may differ from what identify() found. */
int devices_compare(struct vm *vm, const void *const *saved, bool slept, const char *const *accept,
		    struct error *err) must_check;
void devices_commit(struct vm *vm, const void *const *saved);
int devices_post_load(struct vm *vm, struct error *err) must_check;

/* The ISA bus serves a wide access to an 8-bit device as one access per byte, lowest port first. */
static inline uint64_t device_read_bytes(uint8_t (*read)(void *opaque, uint64_t offset),
					 void *opaque, uint64_t offset, uint32_t size)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value |= (uint64_t)read(opaque, offset + i) << (8 * i);
	return value;
}

static inline void device_write_bytes(void (*write)(void *opaque, uint64_t offset, uint8_t value),
				      void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	for (uint32_t i = 0; i < size; i++)
		write(opaque, offset + i, (uint8_t)(value >> (8 * i)));
}
#endif
