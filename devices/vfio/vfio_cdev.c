/* SPDX-License-Identifier: GPL-2.0-or-later */
/* By the function's character device in an address space of iommufd: Linux from 6.6 on. */
#include "devices/vfio/vfio_backend.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define IOMMUFD	   "/dev/iommu"
#define NODE_BYTES 40

static const char *cdev_node(char node[NODE_BYTES], const struct vfio_function *function)
{
	snprintf(node, NODE_BYTES, "/dev/vfio/devices/vfio%d", function->cdev);
	return node;
}

static bool cdev_present(const struct vfio_function *function, int mode)
{
	char node[NODE_BYTES];

	return function->cdev >= 0 && !access(cdev_node(node, function), mode) &&
	       !access(IOMMUFD, mode);
}

static int cdev_open(struct vfio_iommu *iommu, struct error *err)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

	iommu->fd = open(IOMMUFD, O_RDWR | O_CLOEXEC);
	if (iommu->fd < 0)
		return vfio_failed(0, IOMMUFD, err);
	if (ioctl(iommu->fd, IOMMU_IOAS_ALLOC, &alloc))
		return VFIO_FAILED(IOMMU_IOAS_ALLOC, err);
	iommu->ioas_id = alloc.out_ioas_id;
	return 0;
}

static int cdev_open_function(struct vfio_iommu *iommu, struct vfio_function *function,
			      struct error *err)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommu->fd};
	struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach),
						       .pt_id = iommu->ioas_id};
	char node[NODE_BYTES];
	int ret;

	function->fd = open(cdev_node(node, function), O_RDWR | O_CLOEXEC);
	if (function->fd < 0)
		return vfio_failed(0, node, err);
	ret = vfio_tell_kvm(iommu, function->fd, err);
	if (ret)
		return ret;
	if (ioctl(function->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return VFIO_FAILED(VFIO_DEVICE_BIND_IOMMUFD, err);
	if (ioctl(function->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return VFIO_FAILED(VFIO_DEVICE_ATTACH_IOMMUFD_PT, err);
	return 0;
}

/* The kernel takes it out of the address space with its last descriptor, and KVM has one. */
static void cdev_close_function(struct vfio_iommu *iommu, struct vfio_function *function)
{
	if (function->fd < 0)
		return;
	vfio_untell_kvm(iommu, function->fd);
	close(function->fd);
}

static void cdev_leave(struct vfio_iommu *iommu, struct vfio_function *function)
{
	(void)iommu;
	(void)function;
}

static uint32_t cdev_ranges(struct vfio_iommu *iommu, struct vfio_range range[VFIO_RANGES_MAX])
{
	struct iommu_iova_range is[VFIO_RANGES_MAX];
	struct iommu_ioas_iova_ranges ask = {
		.size = sizeof(ask),
		.ioas_id = iommu->ioas_id,
		.num_iovas = VFIO_RANGES_MAX,
		.allowed_iovas = (uintptr_t)is,
	};

	if (ioctl(iommu->fd, IOMMU_IOAS_IOVA_RANGES, &ask) || ask.num_iovas > VFIO_RANGES_MAX)
		return 0;
	for (uint32_t i = 0; i < ask.num_iovas; i++)
		range[i] = (struct vfio_range){is[i].start, is[i].last};
	return ask.num_iovas;
}

static int cdev_map(struct vfio_iommu *iommu, const struct ram_region *region)
{
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = IOMMU_IOAS_MAP_FIXED_IOVA | IOMMU_IOAS_MAP_WRITEABLE |
			 IOMMU_IOAS_MAP_READABLE,
		.ioas_id = iommu->ioas_id,
		.user_va = (uintptr_t)region->hva,
		.length = region->size_bytes,
		.iova = region->gpa,
	};

	return ioctl(iommu->fd, IOMMU_IOAS_MAP, &map) ? -errno : 0;
}

static int cdev_unmap(struct vfio_iommu *iommu, const struct ram_region *region)
{
	struct iommu_ioas_unmap unmap = {
		.size = sizeof(unmap),
		.ioas_id = iommu->ioas_id,
		.iova = region->gpa,
		.length = region->size_bytes,
	};

	return ioctl(iommu->fd, IOMMU_IOAS_UNMAP, &unmap) ? -errno : 0;
}

const struct vfio_backend vfio_cdev = {
	.name = "iommufd",
	.present = cdev_present,
	.open = cdev_open,
	.open_function = cdev_open_function,
	.close_function = cdev_close_function,
	.leave = cdev_leave,
	.ranges = cdev_ranges,
	.map = cdev_map,
	.unmap = cdev_unmap,
};
