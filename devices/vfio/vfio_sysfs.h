/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio_sysfs.h - what sysfs says of a function: whether it can be passed through, and how it
 *	is reached.
 * Owns: nothing.
 * Threads: main only.
 * Units: none.
 * Errors: 0 or -errno with one message that names what stands in the way and the command that mends
 *	it. Documentation/ABI/testing/sysfs-bus-pci, sysfs-kernel-iommu_groups. */
#ifndef DEVICES_VFIO_VFIO_SYSFS_H
#define DEVICES_VFIO_VFIO_SYSFS_H
#include "devices/vfio/vfio_backend.h"

extern const char *vfio_sysfs_root; /* "/sys" */

/* Fills in the function, of which nothing is open. address: in its long form. */
int vfio_sysfs_look(struct vfio_function *function, const char *address,
		    struct error *err) must_check;
#endif
