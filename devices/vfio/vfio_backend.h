/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio_backend.h - what the files of the host's side of pass-through share: vfio_iommu.c,
 *	vfio_sysfs.c and the two ways to the kernel, vfio_cdev.c and vfio_group.c.
 * Owns: struct vfio_iommu is vm->vfio.
 * Threads: main only.
 * Units: GPAs, bytes.
 * Errors: 0 or -errno with one message, which vfio_open() puts the function's address before. */
#ifndef DEVICES_VFIO_VFIO_BACKEND_H
#define DEVICES_VFIO_VFIO_BACKEND_H
#include "devices/vfio/vfio_iommu.h"
#include "devices/vfio/vfio_uapi.h"
#include "vmm/vm.h"

struct vfio_function {
	char address[VFIO_ADDRESS_BYTES];
	uint32_t group; /* IOMMU group */
	int cdev;	/* N of /dev/vfio/devices/vfioN; -1: there is none */
	int fd;		/* its VFIO device; -1: none yet */
	int group_fd;	/* vfio_group.c's, one for all functions of the group; -1: none yet */
};

struct vfio_iommu {
	struct vm *vm;
	const struct vfio_backend *backend;
	int fd;		     /* container or iommufd */
	int kvm_fd;	     /* KVM's VFIO device */
	uint32_t ioas_id;    /* vfio_cdev.c's */
	uint32_t nmapped;    /* regions of RAM, the first ones */
	uint32_t nfunctions; /* that are open */
	struct vfio_function function[OPTIONS_MAX_VFIOS];
};

struct vfio_range {
	uint64_t start, last; /* both included */
};
#define VFIO_RANGES_MAX 64

/* One row a way to the kernel. What undoes takes whatever part of it was done, and cannot fail. */
struct vfio_backend {
	const char *name;
	/* Are its nodes there for this function, accessible as access(2) has it? */
	bool (*present)(const struct vfio_function *function, int mode);
	int (*open)(struct vfio_iommu *iommu, struct error *err); /* the address space */
	/* Puts the function into the address space, and its VFIO device into function->fd. */
	int (*open_function)(struct vfio_iommu *iommu, struct vfio_function *function,
			     struct error *err);
	void (*close_function)(struct vfio_iommu *iommu, struct vfio_function *function);
	/* The function, closed and no longer in the table, leaves the address space. */
	void (*leave)(struct vfio_iommu *iommu, struct vfio_function *function);
	/* What the address space can map, as far as the kernel says: how many, or 0. */
	uint32_t (*ranges)(struct vfio_iommu *iommu, struct vfio_range range[VFIO_RANGES_MAX]);
	int (*map)(struct vfio_iommu *iommu, const struct ram_region *region); /* -errno alone */
	int (*unmap)(struct vfio_iommu *iommu, const struct ram_region *region);
};

extern const struct vfio_backend vfio_cdev, vfio_group;

/* "what: strerror: the way out" of errno, after an open (request 0) or an ioctl. */
int vfio_failed(unsigned long request, const char *what, struct error *err);
#define VFIO_FAILED(request, err) vfio_failed(request, #request, err)
/* KVM learns which files of VFIO are this VM's, before their devices are opened. */
int vfio_tell_kvm(struct vfio_iommu *iommu, int fd, struct error *err) must_check;
void vfio_untell_kvm(struct vfio_iommu *iommu, int fd);
#endif
