/* SPDX-License-Identifier: GPL-2.0-or-later */
/* By IOMMU groups in a container of type1v2: every kernel that has VFIO. */
#include "devices/vfio/vfio_backend.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define CONTAINER  "/dev/vfio/vfio"
#define NODE_BYTES 32
#define INFO_BYTES 4096u

static const char *group_node(char node[NODE_BYTES], uint32_t group)
{
	snprintf(node, NODE_BYTES, "/dev/vfio/%u", group);
	return node;
}

static bool group_present(const struct vfio_function *function, int mode)
{
	char node[NODE_BYTES];

	return !access(group_node(node, function->group), mode) && !access(CONTAINER, mode);
}

static int group_open(struct vfio_iommu *iommu, struct error *err)
{
	int version;

	iommu->fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (iommu->fd < 0)
		return vfio_failed(0, CONTAINER, err);
	version = ioctl(iommu->fd, VFIO_GET_API_VERSION);
	if (version != VFIO_API_VERSION)
		return error_set(err, -EOPNOTSUPP, CONTAINER ": version %d of VFIO is not known",
				 version);
	if (ioctl(iommu->fd, VFIO_CHECK_EXTENSION, VFIO_TYPE1v2_IOMMU) != 1)
		return error_set(err, -EOPNOTSUPP,
				 CONTAINER
				 ": the kernel has no type1v2: modprobe vfio_iommu_type1");
	return 0;
}

/* The kernel opens a group once: the descriptor is that of another function that is in it. */
static int shared_fd(const struct vfio_iommu *iommu, uint32_t group)
{
	for (uint32_t i = 0; i < iommu->nfunctions; i++)
		if (iommu->function[i].group == group)
			return iommu->function[i].group_fd;
	return -1;
}

static int join(struct vfio_iommu *iommu, struct vfio_function *function, struct error *err)
{
	struct vfio_group_status status = {.argsz = sizeof(status)};
	char node[NODE_BYTES];

	function->group_fd = shared_fd(iommu, function->group);
	if (function->group_fd >= 0)
		return 0;
	function->group_fd = open(group_node(node, function->group), O_RDWR | O_CLOEXEC);
	if (function->group_fd < 0)
		return vfio_failed(0, node, err);
	if (ioctl(function->group_fd, VFIO_GROUP_GET_STATUS, &status))
		return VFIO_FAILED(VFIO_GROUP_GET_STATUS, err);
	if (!(status.flags & VFIO_GROUP_FLAGS_VIABLE))
		return error_set(err, -EPERM,
				 "%s is not viable: something in the group belongs to the host: ls "
				 "-l /sys/kernel/iommu_groups/%u/devices/*/driver",
				 node, function->group);
	if (ioctl(function->group_fd, VFIO_GROUP_SET_CONTAINER, &iommu->fd))
		return VFIO_FAILED(VFIO_GROUP_SET_CONTAINER, err);
	/* Which IOMMU it is the kernel knows with the first group. */
	if (!iommu->nfunctions && ioctl(iommu->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return VFIO_FAILED(VFIO_SET_IOMMU, err);
	return vfio_tell_kvm(iommu, function->group_fd, err);
}

static int group_open_function(struct vfio_iommu *iommu, struct vfio_function *function,
			       struct error *err)
{
	int ret = join(iommu, function, err);

	if (ret)
		return ret;
	function->fd = ioctl(function->group_fd, VFIO_GROUP_GET_DEVICE_FD, function->address);
	return function->fd < 0 ? VFIO_FAILED(VFIO_GROUP_GET_DEVICE_FD, err) : 0;
}

static void group_close_function(struct vfio_iommu *iommu, struct vfio_function *function)
{
	(void)iommu;
	if (function->fd >= 0)
		close(function->fd);
}

static void group_leave(struct vfio_iommu *iommu, struct vfio_function *function)
{
	if (function->group_fd < 0 || shared_fd(iommu, function->group) >= 0)
		return;
	vfio_untell_kvm(iommu, function->group_fd);
	(void)ioctl(function->group_fd, VFIO_GROUP_UNSET_CONTAINER);
	close(function->group_fd);
}

/* The list among the capabilities of the container, whose offsets are the kernel's. */
static uint32_t group_ranges(struct vfio_iommu *iommu, struct vfio_range range[VFIO_RANGES_MAX])
{
	union {
		struct vfio_iommu_type1_info info;
		uint8_t byte[INFO_BYTES];
	} is = {.info.argsz = sizeof(is)};
	struct vfio_iommu_type1_info_cap_iova_range *cap;

	if (ioctl(iommu->fd, VFIO_IOMMU_GET_INFO, &is) || !(is.info.flags & VFIO_IOMMU_INFO_CAPS))
		return 0;
	for (uint32_t at = is.info.cap_offset; at && at < INFO_BYTES - sizeof(*cap);
	     at = cap->header.next) {
		cap = (void *)(is.byte + at);
		if (cap->header.id != VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE)
			continue;
		if (cap->nr_iovas > VFIO_RANGES_MAX)
			return 0;
		for (uint32_t i = 0; i < cap->nr_iovas; i++)
			range[i] = (struct vfio_range){cap->iova_ranges[i].start,
						       cap->iova_ranges[i].end};
		return cap->nr_iovas;
	}
	return 0;
}

static int group_map(struct vfio_iommu *iommu, const struct ram_region *region)
{
	struct vfio_iommu_type1_dma_map map = {
		.argsz = sizeof(map),
		.flags = VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE,
		.vaddr = (uintptr_t)region->hva,
		.iova = region->gpa,
		.size = region->size_bytes,
	};

	return ioctl(iommu->fd, VFIO_IOMMU_MAP_DMA, &map) ? -errno : 0;
}

static int group_unmap(struct vfio_iommu *iommu, const struct ram_region *region)
{
	struct vfio_iommu_type1_dma_unmap unmap = {
		.argsz = sizeof(unmap), .iova = region->gpa, .size = region->size_bytes};

	return ioctl(iommu->fd, VFIO_IOMMU_UNMAP_DMA, &unmap) ? -errno : 0;
}

const struct vfio_backend vfio_group = {
	.name = "type1v2",
	.present = group_present,
	.open = group_open,
	.open_function = group_open_function,
	.close_function = group_close_function,
	.leave = group_leave,
	.ranges = group_ranges,
	.map = group_map,
	.unmap = group_unmap,
};
