/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio_iommu.h - opens PCI functions of the host for pass-through, and gives them guest RAM.
 * Owns: struct vfio_iommu (vm->vfio), from the first vfio_open() to the last vfio_close(): the
 *	address space in which all pass-through functions of this VM reach its RAM by GPA, and the
 *	VFIO device that tells KVM of them.
 * Threads: main only.
 * Units: GPAs, bytes. A host address is "0000:01:00.0": domain, bus, slot, function.
 * Errors: 0 or -errno with one message that names the function, what stands in its way and the
 *	command that mends it. Documentation/driver-api/vfio.rst, userspace-api/iommufd.rst. */
#ifndef DEVICES_VFIO_VFIO_IOMMU_H
#define DEVICES_VFIO_VFIO_IOMMU_H
#include "vmm/base/error.h"
#include <stdint.h>

struct vm;
struct vfio_iommu;

#define VFIO_ADDRESS_BYTES 16 /* "0000:01:00.0" */

/* Opens the function: it is bound to vfio-pci, nobody else uses it, and nothing else in its IOMMU group
 * belongs to the host. The first one maps all of guest RAM for DMA. fd: the VFIO device's, which
 * vfio_close() closes. */
int vfio_open(struct vm *vm, const char *address, int *fd, struct error *err) must_check;
/* The last one unmaps RAM. */
void vfio_close(struct vm *vm, const char *address, int fd);
#endif
