/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/blockdev.h - what sysfs says of a block device and of those that it stands on.
 * What sysfs does not say is not there. Linux Documentation/ABI/stable/sysfs-block. */
#ifndef RAM_BLOCKDEV_H
#define RAM_BLOCKDEV_H
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

extern const char *blockdev_sysfs; /* "/sys" */

/* The content of a file in the device's folder ("size", "dm/uuid"), without white space around it;
 * false if there is none or nothing in it. */
bool blockdev_read(dev_t dev, const char *name, char *text, size_t size);
/* A partition's disk; any other device is its own. */
dev_t blockdev_disk(dev_t dev);
#endif
