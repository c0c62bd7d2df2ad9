/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/devices.h - the table of devices and small things that several of them share.
 * Owns: nothing; the table is const.
 * Threads: any.
 * Units: none.
 * Errors: none. */
#ifndef DEVICES_DEVICES_H
#define DEVICES_DEVICES_H
#include "devices/device.h"

extern const struct device_ops *const device_table[];
extern const uint32_t device_table_rows;

/* The ISA bus serves a wide access to an 8-bit device as one access a byte, lowest port first. */
static inline uint64_t device_read_bytes(uint8_t (*read)(struct device *dev, uint64_t offset),
					 struct device *dev, uint64_t offset, uint32_t size)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < size; i++)
		value |= (uint64_t)read(dev, offset + i) << (8 * i);
	return value;
}

static inline void
device_write_bytes(void (*write)(struct device *dev, uint64_t offset, uint8_t value),
		   struct device *dev, uint64_t offset, uint32_t size, uint64_t value)
{
	for (uint32_t i = 0; i < size; i++)
		write(dev, offset + i, (uint8_t)(value >> (8 * i)));
}
#endif
