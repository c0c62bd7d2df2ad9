/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/vfio/vfio_iommu.h"
#include "devices/vfio/vfio_backend.h"
#include "devices/vfio/vfio_sysfs.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

static const struct {
	unsigned long request; /* 0: open(2) */
	int code;
	const char *hint;
} hints[] = {
	{0, ENOENT, "the module is not loaded: modprobe vfio-pci"},
	{0, ENODEV, "the module is not loaded: modprobe vfio-pci"},
	{0, EACCES, "give this user access to it: chown or an ACL"},
	{0, EPERM, "give this user access to it: chown or an ACL"},
	{0, EBUSY, "another process or VM has it: fuser -v shows which"},
	{VFIO_GROUP_SET_CONTAINER, EPERM,
	 "either the host cannot keep its interrupts within a guest (to accept that: modprobe "
	 "vfio_iommu_type1 allow_unsafe_interrupts=1), or its group is used otherwise"},
	{VFIO_GROUP_SET_CONTAINER, EBUSY, "another process, VM or driver has it or its group"},
	{VFIO_GROUP_SET_CONTAINER, EINVAL,
	 "its IOMMU and that of the VM's other functions cannot have one address space: give them "
	 "to different VMs"},
	{VFIO_SET_IOMMU, EPERM,
	 "the host cannot keep its interrupts within a guest (no interrupt remapping): to accept "
	 "that, set vfio_iommu_type1.allow_unsafe_interrupts=1"},
	{VFIO_SET_IOMMU, EBUSY, "another process, VM or driver has it or its group"},
	{VFIO_GROUP_GET_DEVICE_FD, EBUSY, "another process or VM has it"},
	{VFIO_GROUP_GET_DEVICE_FD, EPERM, "another device of its group belongs to the host"},
	{VFIO_DEVICE_BIND_IOMMUFD, EINVAL, "another process or VM has it"},
	{VFIO_DEVICE_BIND_IOMMUFD, EBUSY, "another process or VM has it or its group"},
	{VFIO_DEVICE_BIND_IOMMUFD, EPERM,
	 "either the host cannot keep its interrupts within a guest (to accept that, set "
	 "iommufd.allow_unsafe_interrupts=1), or its group is used otherwise"},
	{VFIO_DEVICE_ATTACH_IOMMUFD_PT, EINVAL,
	 "its IOMMU and that of the VM's other functions cannot have one address space: give them "
	 "to different VMs"},
	{VFIO_DEVICE_ATTACH_IOMMUFD_PT, EADDRINUSE,
	 "guest RAM lies where its IOMMU reserves addresses: give the function to another VM"},
};

int vfio_failed(unsigned long request, const char *what, struct error *err)
{
	int code = errno;

	for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
		if (hints[i].request == request && hints[i].code == code)
			return error_set(err, -code, "%s: %s: %s", what, strerror(code),
					 hints[i].hint);
	return error_set(err, -code, "%s: %s", what, strerror(code));
}

static int set_kvm(struct vfio_iommu *iommu, uint64_t attr, int32_t fd)
{
	struct kvm_device_attr set = {
		.group = KVM_DEV_VFIO_FILE, .attr = attr, .addr = (uintptr_t)&fd};

	return ioctl(iommu->kvm_fd, KVM_SET_DEVICE_ATTR, &set);
}

int vfio_tell_kvm(struct vfio_iommu *iommu, int fd, struct error *err)
{
	return set_kvm(iommu, KVM_DEV_VFIO_FILE_ADD, fd)
		       ? vfio_failed(KVM_SET_DEVICE_ATTR, "KVM_DEV_VFIO_FILE_ADD", err)
		       : 0;
}

void vfio_untell_kvm(struct vfio_iommu *iommu, int fd)
{
	(void)set_kvm(iommu, KVM_DEV_VFIO_FILE_DEL, fd);
}

/* The newer way whose nodes this user can open; if there is none, one that says what is missing. */
static const struct vfio_backend *choose(const struct vfio_function *function)
{
	static const struct vfio_backend *const table[] = {&vfio_cdev, &vfio_group};
	static const int modes[] = {R_OK | W_OK, F_OK};

	for (size_t m = 0; m < sizeof(modes) / sizeof(modes[0]); m++)
		for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
			if (table[i]->present(function, modes[m]))
				return table[i];
	return &vfio_group;
}

static void destroy(struct vfio_iommu *iommu)
{
	if (iommu->fd >= 0)
		close(iommu->fd);
	if (iommu->kvm_fd >= 0)
		close(iommu->kvm_fd);
	iommu->vm->vfio = NULL;
	free(iommu);
}

static int create(struct vm *vm, const struct vfio_function *function, struct error *err)
{
	/* Linux before 6.2 keeps it until the VM ends: it can be made once. */
	struct kvm_create_device device = {.type = KVM_DEV_TYPE_VFIO};
	struct vfio_iommu *iommu = calloc(1, sizeof(*iommu));
	int ret;

	if (!iommu)
		return error_set(err, -ENOMEM, "out of memory");
	*iommu = (struct vfio_iommu){.vm = vm, .backend = choose(function), .fd = -1, .kvm_fd = -1};
	vm->vfio = iommu;
	ret = iommu->backend->open(iommu, err);
	if (ret)
		goto destroy_iommu;
	if (ioctl(vm->vm_fd, KVM_CREATE_DEVICE, &device)) {
		ret = vfio_failed(KVM_CREATE_DEVICE, "KVM's VFIO device", err);
		goto destroy_iommu;
	}
	iommu->kvm_fd = (int)device.fd;
	return 0;

destroy_iommu:
	destroy(iommu);
	return ret;
}

/* Pages of a file on a disk stay the file system's, which may write them out and share them anew. */
static int check_ram(const struct ram *ram, struct error *err)
{
	if (strcmp(ram->backend->name, "file"))
		return 0;
	return error_set(
		err, -EOPNOTSUPP,
		"RAM in a file on a disk (%s) cannot be given to a function: Linux from 6.5 on "
		"refuses it: take a DAX device, or a file on hugetlbfs or tmpfs; without path= "
		"it works too, but such a guest cannot be saved",
		ram->config.path);
}

static int check_function(const struct vfio_function *function, struct error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (ioctl(function->fd, VFIO_DEVICE_GET_INFO, &info))
		return VFIO_FAILED(VFIO_DEVICE_GET_INFO, err);
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return error_set(err, -EINVAL, "its VFIO device is not that of a PCI function");
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return error_set(
			err, -EOPNOTSUPP,
			"cannot be reset by itself: a guest would find what another left in "
			"it ("
			"/sys/bus/pci/devices/%s/reset_method is empty or not there)",
			function->address);
	return 0;
}

/* The first byte of the region that no range has; false: they have all. */
static bool outside(const struct ram_region *region, const struct vfio_range *range, uint32_t n,
		    uint64_t *gpa)
{
	const uint64_t last = region->gpa + region->size_bytes - 1;
	uint32_t i = 0;

	*gpa = region->gpa;
	while (i < n) {
		if (*gpa < range[i].start || *gpa > range[i].last) {
			i++;
			continue;
		}
		if (last <= range[i].last)
			return false;
		*gpa = range[i].last + 1;
		i = 0;
	}
	return true;
}

static int check_ranges(struct vfio_iommu *iommu, struct error *err)
{
	const struct ram *ram = &iommu->vm->ram;
	struct vfio_range range[VFIO_RANGES_MAX];
	uint32_t n = iommu->backend->ranges(iommu, range);
	uint64_t gpa;

	for (uint32_t i = 0; n && i < ram->nregions; i++)
		if (outside(&ram->region[i], range, n, &gpa))
			return error_set(
				err, -ERANGE,
				"the host's IOMMU cannot map GPA 0x%" PRIx64
				" of guest RAM: it is reserved on this host, or beyond the "
				"IOMMU's width: give the guest less --memory",
				gpa);
	return 0;
}

static int map_failed(const struct vfio_iommu *iommu, const struct ram_region *region, int code,
		      struct error *err)
{
	const struct ram *ram = &iommu->vm->ram;
	struct rlimit limit = {RLIM_INFINITY, RLIM_INFINITY};

	(void)getrlimit(RLIMIT_MEMLOCK, &limit);
	if (code == -ENOMEM && limit.rlim_cur != RLIM_INFINITY)
		return error_set(
			err, code,
			"guest RAM is locked for DMA, %" PRIu64 " KiB, and the limit is %" PRIu64
			" KiB: raise it by ulimit -l (LimitMEMLOCK= of a systemd unit), or give "
			"CAP_IPC_LOCK",
			ram->config.size_bytes >> 10, (uint64_t)limit.rlim_cur >> 10);
	if (code == -EFAULT || code == -EINVAL || code == -EOPNOTSUPP)
		return error_set(err, code,
				 "the host cannot lock RAM of kind %s%s%s for DMA: %s: take a DAX "
				 "device, or a file on hugetlbfs or tmpfs",
				 ram->backend->name, ram->config.path ? " at " : "",
				 ram->config.path ? ram->config.path : "", strerror(-code));
	return error_set(err, code, "mapping guest RAM at GPA 0x%" PRIx64 " for DMA by %s: %s",
			 region->gpa, iommu->backend->name, strerror(-code));
}

static int map_ram(struct vfio_iommu *iommu, struct error *err)
{
	struct ram *ram = &iommu->vm->ram;
	int ret = check_ranges(iommu, err);

	if (!ret)
		ram->pinned = true;
	while (!ret && iommu->nmapped < ram->nregions) {
		const struct ram_region *region = &ram->region[iommu->nmapped];

		ret = iommu->backend->map(iommu, region);
		if (ret)
			return map_failed(iommu, region, ret, err);
		iommu->nmapped++;
	}
	return ret;
}

static void unmap_ram(struct vfio_iommu *iommu)
{
	while (iommu->nmapped) {
		const struct ram_region *region = &iommu->vm->ram.region[--iommu->nmapped];
		int ret = iommu->backend->unmap(iommu, region);

		if (ret)
			log_error("unmapping guest RAM at GPA 0x%" PRIx64 " from DMA by %s: %s",
				  region->gpa, iommu->backend->name, strerror(-ret));
	}
	iommu->vm->ram.pinned = false;
}

/* A function that is not, or no longer, in the table. With the last one all is undone; RAM after
 * the function is closed, when nobody reaches for it any more. */
static void shut(struct vfio_iommu *iommu, struct vfio_function *function)
{
	iommu->backend->close_function(iommu, function);
	if (!iommu->nfunctions)
		unmap_ram(iommu);
	iommu->backend->leave(iommu, function);
	if (!iommu->nfunctions)
		destroy(iommu);
}

static int open_function(struct vm *vm, struct vfio_function *function, struct error *err)
{
	int ret = vm->vfio ? 0 : create(vm, function, err);
	struct vfio_iommu *iommu = vm->vfio;

	if (ret)
		return ret;
	ret = iommu->backend->open_function(iommu, function, err);
	if (!ret)
		ret = check_function(function, err);
	if (!ret)
		ret = map_ram(iommu, err);
	if (ret)
		shut(iommu, function);
	else
		iommu->function[iommu->nfunctions++] = *function;
	return ret;
}

int vfio_open(struct vm *vm, const char *address, int *fd, struct error *err)
{
	struct vfio_function function;
	int ret = vfio_sysfs_look(&function, address, err);

	*fd = -1;
	if (!ret)
		ret = check_ram(&vm->ram, err);
	if (!ret)
		ret = open_function(vm, &function, err);
	if (ret)
		error_prefix(err, "%s", address);
	else
		*fd = function.fd;
	return ret;
}

void vfio_close(struct vm *vm, const char *address, int fd)
{
	struct vfio_iommu *iommu = vm->vfio;

	for (uint32_t i = 0; fd >= 0 && iommu && i < iommu->nfunctions; i++) {
		struct vfio_function function = iommu->function[i];

		if (function.fd != fd || strcmp(function.address, address))
			continue;
		iommu->function[i] = iommu->function[--iommu->nfunctions];
		shut(iommu, &function);
		return;
	}
}
