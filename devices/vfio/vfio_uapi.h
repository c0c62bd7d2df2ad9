/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio_uapi.h - definitions that the kernel headers of older distributions lack: iommufd (Linux
 * 6.2) and VFIO device cdevs (6.6). Documentation/userspace-api/iommufd.rst, driver-api/vfio.rst. */
#ifndef DEVICES_VFIO_VFIO_UAPI_H
#define DEVICES_VFIO_VFIO_UAPI_H
#include <linux/kvm.h>
#include <linux/types.h>
#include <linux/vfio.h>

#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else
#define IOMMU_IOAS_ALLOC       _IO(';', 0x81)
#define IOMMU_IOAS_IOVA_RANGES _IO(';', 0x84)
#define IOMMU_IOAS_MAP	       _IO(';', 0x85)
#define IOMMU_IOAS_UNMAP       _IO(';', 0x86)

enum {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1,
	IOMMU_IOAS_MAP_WRITEABLE = 2,
	IOMMU_IOAS_MAP_READABLE = 4,
};

/* size: of the structure, in each of them */
struct iommu_ioas_alloc {
	__u32 size, flags, out_ioas_id;
};
struct iommu_iova_range {
	__aligned_u64 start, last;
};
struct iommu_ioas_iova_ranges {
	__u32 size, ioas_id, num_iovas, __reserved;
	__aligned_u64 allowed_iovas, out_iova_alignment;
};
struct iommu_ioas_map {
	__u32 size, flags, ioas_id, __reserved;
	__aligned_u64 user_va, length, iova;
};
struct iommu_ioas_unmap {
	__u32 size, ioas_id;
	__aligned_u64 iova, length;
};
#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD      _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct vfio_device_bind_iommufd {
	__u32 argsz, flags;
	__s32 iommufd;
	__u32 out_devid;
};
struct vfio_device_attach_iommufd_pt {
	__u32 argsz, flags, pt_id;
};
#endif

#ifndef KVM_DEV_VFIO_FILE
/* The newer name of KVM_DEV_VFIO_GROUP; takes device files as well. */
#define KVM_DEV_VFIO_FILE     KVM_DEV_VFIO_GROUP
#define KVM_DEV_VFIO_FILE_ADD KVM_DEV_VFIO_GROUP_ADD
#define KVM_DEV_VFIO_FILE_DEL KVM_DEV_VFIO_GROUP_DEL
#endif
#endif
