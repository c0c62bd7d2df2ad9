/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/console.h - what QMP asks of consoles: query-chardev.
 * Owns: nothing.
 * Threads: main, with dev->lock held.
 * Units: none.
 * Errors: none. */
#ifndef DEVICES_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_CONSOLE_H
#include "devices/device.h"
#include "devices/host/chardev.h"

/* Fills info with the host end of the i'th port that there is, i from 0 on; false: no more.
 * dev: of type "serial" or "virtio-console". */
bool serial_query(const struct device *dev, uint32_t i, struct chardev_info *info);
bool console_query(const struct device *dev, uint32_t i, struct chardev_info *info);
#endif
