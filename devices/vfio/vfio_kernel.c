/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The kernel's side of pass-through: what sysfs says of a PCI device, the IOMMU address space, and the
 * two interfaces to it: device cdevs with iommufd, and IOMMU groups in a container of type1v2. */
#include "devices/vfio/vfio.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <unistd.h>

#define RANGES_MAX 64
#define NODE_BYTES 40

/* A PCI function of the host, as VFIO's device. */
struct vfio_device {
	char address[VFIO_ADDRESS_BYTES];
	uint32_t group; /* IOMMU group */
	int cdev;	/* N of /dev/vfio/devices/vfioN; -1: there is none */
	int fd;		/* -1: not open */
	int group_fd;	/* by groups: shared by all devices of the group; -1: not open */
};

struct vfio_iommu {
	struct vm *vm;
	const struct backend *backend;
	int fd;		  /* container or iommufd */
	int kvm_fd;	  /* KVM's VFIO device */
	uint32_t ioas_id; /* of iommufd */
	uint32_t nmapped; /* the first regions of RAM are mapped */
	uint32_t ndevices;
	struct vfio_device device[OPTIONS_MAX_VFIOS]; /* those that are open */
};

struct range {
	uint64_t start, last; /* both included */
};

/* One for each interface. The functions that undo something also undo a part of it, and cannot fail. */
struct backend {
	const char *name;
	/* access(2) of the nodes that this device needs */
	bool (*present)(const struct vfio_device *device, int mode);
	int (*open)(struct vfio_iommu *iommu, struct error *err); /* the address space */
	/* Puts the device into the address space and opens device->fd. */
	int (*open_device)(struct vfio_iommu *iommu, struct vfio_device *device, struct error *err);
	void (*close_device)(struct vfio_iommu *iommu, struct vfio_device *device);
	/* May be NULL. The device leaves the address space: it is closed and no longer in the table. */
	void (*leave)(struct vfio_iommu *iommu, struct vfio_device *device);
	/* Which addresses the IOMMU can map: the number of ranges; 0: unknown. */
	uint32_t (*ranges)(struct vfio_iommu *iommu, struct range range[RANGES_MAX]);
	int (*map)(struct vfio_iommu *iommu, const struct ram_region *region); /* 0 or -errno */
	int (*unmap)(struct vfio_iommu *iommu, const struct ram_region *region);
};

/* --- sysfs */

#define NAME_BYTES 256
#define PCI_TO_PCI 0x0604 /* upper part of a class: a bridge */
#define DEVICES	   "/sys/bus/pci/devices"

const char *vfio_kernel_sysfs_root = "/sys";

/* The last part of a link's target; false: there is no such link. */
static bool link_name(int dir, const char *link, char name[NAME_BYTES])
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, link, target, sizeof(target) - 1);
	const char *slash;

	if (n < 0)
		return false;
	target[n] = 0;
	slash = strrchr(target, '/');
	snprintf(name, NAME_BYTES, "%.255s", slash ? slash + 1 : target);
	return true;
}

/* The first line of a file; "": there is none. */
static const char *line_of(int dir, const char *file, char line[NAME_BYTES])
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, NAME_BYTES - 1);

	line[n < 0 ? 0 : n] = 0;
	line[strcspn(line, "\n")] = 0;
	if (fd >= 0)
		close(fd);
	return line;
}

/* N of vfioN, under which its driver serves VFIO (from Linux 6.1 on); -1: none */
static int vfio_number(int dir)
{
	struct dirent **entry;
	int number = -1;
	int n = scandirat(dir, "vfio-dev", &entry, NULL, alphasort);

	for (int i = 0; i < n; free(entry[i++]))
		if (!strncmp(entry[i]->d_name, "vfio", 4))
			number = (int)strtol(entry[i]->d_name + 4, NULL, 10);
	if (n >= 0)
		free(entry);
	return number;
}

static int check_group(struct vfio_device *device, int dir, struct error *err)
{
	char name[NAME_BYTES], kind[NAME_BYTES];

	if (!link_name(dir, "iommu_group", name) ||
	    !strcmp(line_of(dir, "iommu_group/name", kind), "vfio-noiommu"))
		return error_set(err, -ENODEV,
				 "no IOMMU keeps its DMA within a guest: enable VT-d or AMD-Vi in "
				 "the host's firmware, and boot the host with intel_iommu=on or "
				 "without amd_iommu=off");
	device->group = (uint32_t)strtoul(name, NULL, 10);
	return 0;
}

static int check_driver(struct vfio_device *device, int dir, struct error *err)
{
	const char *address = device->address;
	char driver[NAME_BYTES], unbind[128] = "";
	bool bound = link_name(dir, "driver", driver);

	device->cdev = vfio_number(dir);
	/* Some vendors have a variant of vfio-pci. */
	if (bound && (!strcmp(driver, "vfio-pci") || device->cdev >= 0))
		return 0;
	if (bound)
		snprintf(unbind, sizeof(unbind), "echo %s > " DEVICES "/%s/driver/unbind; ",
			 address, address);
	return error_set(
		err, -EBUSY,
		"is bound to %s, not to vfio-pci: modprobe vfio-pci; echo vfio-pci > " DEVICES
		"/%s/driver_override; %secho %s > /sys/bus/pci/drivers_probe",
		bound ? driver : "no driver", address, unbind, address);
}

/* Is it driven by the host? Then the guest's device could reach it by DMA. */
static bool is_hosts(int dir, char driver[NAME_BYTES])
{
	static const char *const harmless[] = {"vfio-pci", "pci-stub", "pcieport"};
	char class[NAME_BYTES];

	if (!link_name(dir, "driver", driver))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(harmless); i++)
		if (!strcmp(driver, harmless[i]))
			return false;
	return vfio_number(dir) < 0 &&
	       strtoul(line_of(dir, "class", class), NULL, 16) >> 8 != PCI_TO_PCI;
}

/* Devices of one group can reach each other: the IOMMU only separates groups. */
static int check_neighbours(const struct vfio_device *device, int group_dir, struct error *err)
{
	char driver[NAME_BYTES], hosts[512] = "";
	struct dirent **entry;
	size_t used = 0;
	int n = scandirat(group_dir, ".", &entry, NULL, alphasort);

	if (n < 0)
		return error_set(err, -errno, "IOMMU group %u: %s", device->group, strerror(errno));
	for (int i = 0; i < n; free(entry[i++])) {
		const char *name = entry[i]->d_name;
		int neighbour = name[0] == '.' || !strcmp(name, device->address)
					? -1
					: openat(group_dir, name, O_PATH | O_CLOEXEC);

		if (neighbour >= 0 && is_hosts(neighbour, driver) && used < sizeof(hosts))
			used += (size_t)snprintf(hosts + used, sizeof(hosts) - used, "%s%s (%s)",
						 used ? ", " : "", name, driver);
		if (neighbour >= 0)
			close(neighbour);
	}
	free(entry);
	if (!used)
		return 0;
	if (used >= sizeof(hosts))
		strcpy(hosts + sizeof(hosts) - 4, "...");
	return error_set(
		err, -EBUSY,
		"shares IOMMU group %u with what belongs to the host: %s: a group is passed "
		"through as a whole: bind these to vfio-pci as well, or unbind them",
		device->group, hosts);
}

static int check_function(struct vfio_device *device, int dir, struct error *err)
{
	/* First: without an IOMMU, binding to vfio-pci fails. */
	int ret = check_group(device, dir, err);
	int group_dir;

	if (!ret)
		ret = check_driver(device, dir, err);
	if (ret)
		return ret;
	group_dir = openat(dir, "iommu_group/devices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (group_dir < 0)
		return error_set(err, -errno, "IOMMU group %u: %s", device->group, strerror(errno));
	ret = check_neighbours(device, group_dir, err);
	close(group_dir);
	return ret;
}

/* Can this function be passed through? Fills in the device, which is not open yet. */
static int sysfs_probe(struct vfio_device *device, const char *address, struct error *err)
{
	char path[PATH_MAX];
	int dir, ret;

	*device = (struct vfio_device){.cdev = -1, .fd = -1, .group_fd = -1};
	snprintf(device->address, sizeof(device->address), "%s", address);
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", vfio_kernel_sysfs_root, address);
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return error_set(err, -ENODEV,
				 "the host has no such PCI function: lspci -D shows those it has");
	ret = check_function(device, dir, err);
	close(dir);
	return ret;
}

/* --- errors, and KVM */

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
	{VFIO_GROUP_GET_DEVICE_FD, EINVAL, "another device of its group belongs to the host"},
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

/* "what: strerror: the way out" of errno, after an open (request 0) or an ioctl. */
static int failed(unsigned long request, const char *what, struct error *err)
{
	int code = errno;

	for (size_t i = 0; i < ARRAY_SIZE(hints); i++)
		if (hints[i].request == request && hints[i].code == code)
			return error_set(err, -code, "%s: %s: %s", what, strerror(code),
					 hints[i].hint);
	return error_set(err, -code, "%s: %s", what, strerror(code));
}

#define FAILED(request, err) failed(request, #request, err)

static int set_kvm(struct vfio_iommu *iommu, uint64_t attr, int32_t fd)
{
	struct kvm_device_attr set = {
		.group = KVM_DEV_VFIO_FILE, .attr = attr, .addr = (uintptr_t)&fd};

	return ioctl(iommu->kvm_fd, KVM_SET_DEVICE_ATTR, &set);
}

/* KVM must know the VFIO files of this VM before their devices are opened. */
static int kvm_attach(struct vfio_iommu *iommu, int fd, struct error *err)
{
	return set_kvm(iommu, KVM_DEV_VFIO_FILE_ADD, fd)
		       ? failed(KVM_SET_DEVICE_ATTR, "KVM_DEV_VFIO_FILE_ADD", err)
		       : 0;
}

static void kvm_detach(struct vfio_iommu *iommu, int fd)
{
	(void)set_kvm(iommu, KVM_DEV_VFIO_FILE_DEL, fd);
}

/* --- cdevs and iommufd: Linux from 6.6 on */

#define IOMMUFD "/dev/iommu"

static const char *cdev_node(char node[NODE_BYTES], const struct vfio_device *device)
{
	snprintf(node, NODE_BYTES, "/dev/vfio/devices/vfio%d", device->cdev);
	return node;
}

static bool cdev_present(const struct vfio_device *device, int mode)
{
	char node[NODE_BYTES];

	return device->cdev >= 0 && !access(cdev_node(node, device), mode) &&
	       !access(IOMMUFD, mode);
}

static int cdev_open(struct vfio_iommu *iommu, struct error *err)
{
	struct iommu_ioas_alloc alloc = {.size = sizeof(alloc)};

	iommu->fd = open(IOMMUFD, O_RDWR | O_CLOEXEC);
	if (iommu->fd < 0)
		return failed(0, IOMMUFD, err);
	if (ioctl(iommu->fd, IOMMU_IOAS_ALLOC, &alloc))
		return FAILED(IOMMU_IOAS_ALLOC, err);
	iommu->ioas_id = alloc.out_ioas_id;
	return 0;
}

static int cdev_open_device(struct vfio_iommu *iommu, struct vfio_device *device, struct error *err)
{
	struct vfio_device_bind_iommufd bind = {.argsz = sizeof(bind), .iommufd = iommu->fd};
	struct vfio_device_attach_iommufd_pt attach = {.argsz = sizeof(attach),
						       .pt_id = iommu->ioas_id};
	char node[NODE_BYTES];
	int ret;

	device->fd = open(cdev_node(node, device), O_RDWR | O_CLOEXEC);
	if (device->fd < 0)
		return failed(0, node, err);
	ret = kvm_attach(iommu, device->fd, err);
	if (ret)
		return ret;
	if (ioctl(device->fd, VFIO_DEVICE_BIND_IOMMUFD, &bind))
		return FAILED(VFIO_DEVICE_BIND_IOMMUFD, err);
	if (ioctl(device->fd, VFIO_DEVICE_ATTACH_IOMMUFD_PT, &attach))
		return FAILED(VFIO_DEVICE_ATTACH_IOMMUFD_PT, err);
	return 0;
}

/* With the last descriptor, of which KVM has one, the kernel takes it out of the address space. */
static void cdev_close_device(struct vfio_iommu *iommu, struct vfio_device *device)
{
	if (device->fd < 0)
		return;
	kvm_detach(iommu, device->fd);
	close(device->fd);
}

static uint32_t cdev_ranges(struct vfio_iommu *iommu, struct range range[RANGES_MAX])
{
	struct iommu_iova_range is[RANGES_MAX];
	struct iommu_ioas_iova_ranges ask = {
		.size = sizeof(ask),
		.ioas_id = iommu->ioas_id,
		.num_iovas = RANGES_MAX,
		.allowed_iovas = (uintptr_t)is,
	};

	if (ioctl(iommu->fd, IOMMU_IOAS_IOVA_RANGES, &ask) || ask.num_iovas > RANGES_MAX)
		return 0;
	for (uint32_t i = 0; i < ask.num_iovas; i++)
		range[i] = (struct range){is[i].start, is[i].last};
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

static const struct backend cdev = {
	.name = "iommufd",
	.present = cdev_present,
	.open = cdev_open,
	.open_device = cdev_open_device,
	.close_device = cdev_close_device,
	.ranges = cdev_ranges,
	.map = cdev_map,
	.unmap = cdev_unmap,
};

/* --- groups and containers: every kernel that has VFIO */

#define CONTAINER  "/dev/vfio/vfio"
#define INFO_BYTES 4096u

static const char *group_node(char node[NODE_BYTES], uint32_t group)
{
	snprintf(node, NODE_BYTES, "/dev/vfio/%u", group);
	return node;
}

static bool group_present(const struct vfio_device *device, int mode)
{
	char node[NODE_BYTES];

	return !access(group_node(node, device->group), mode) && !access(CONTAINER, mode);
}

static int group_open(struct vfio_iommu *iommu, struct error *err)
{
	int version;

	iommu->fd = open(CONTAINER, O_RDWR | O_CLOEXEC);
	if (iommu->fd < 0)
		return failed(0, CONTAINER, err);
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

/* A group can be opened once: all its devices share the descriptor. */
static int shared_fd(const struct vfio_iommu *iommu, uint32_t group)
{
	for (uint32_t i = 0; i < iommu->ndevices; i++)
		if (iommu->device[i].group == group)
			return iommu->device[i].group_fd;
	return -1;
}

static int join(struct vfio_iommu *iommu, struct vfio_device *device, struct error *err)
{
	char node[NODE_BYTES];

	device->group_fd = shared_fd(iommu, device->group);
	if (device->group_fd >= 0)
		return 0;
	device->group_fd = open(group_node(node, device->group), O_RDWR | O_CLOEXEC);
	if (device->group_fd < 0)
		return failed(0, node, err);
	if (ioctl(device->group_fd, VFIO_GROUP_SET_CONTAINER, &iommu->fd))
		return FAILED(VFIO_GROUP_SET_CONTAINER, err);
	/* Only with a group in the container can the kernel choose the IOMMU driver. */
	if (!iommu->ndevices && ioctl(iommu->fd, VFIO_SET_IOMMU, VFIO_TYPE1v2_IOMMU))
		return FAILED(VFIO_SET_IOMMU, err);
	return kvm_attach(iommu, device->group_fd, err);
}

static int group_open_device(struct vfio_iommu *iommu, struct vfio_device *device,
			     struct error *err)
{
	int ret = join(iommu, device, err);

	if (ret)
		return ret;
	device->fd = ioctl(device->group_fd, VFIO_GROUP_GET_DEVICE_FD, device->address);
	return device->fd < 0 ? FAILED(VFIO_GROUP_GET_DEVICE_FD, err) : 0;
}

static void group_close_device(struct vfio_iommu *iommu, struct vfio_device *device)
{
	if (device->fd >= 0)
		close(device->fd);
}

static void group_leave(struct vfio_iommu *iommu, struct vfio_device *device)
{
	if (device->group_fd < 0 || shared_fd(iommu, device->group) >= 0)
		return;
	kvm_detach(iommu, device->group_fd);
	(void)ioctl(device->group_fd, VFIO_GROUP_UNSET_CONTAINER);
	close(device->group_fd);
}

/* From the container's capability list. */
static uint32_t group_ranges(struct vfio_iommu *iommu, struct range range[RANGES_MAX])
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
		if (cap->nr_iovas > RANGES_MAX)
			return 0;
		for (uint32_t i = 0; i < cap->nr_iovas; i++)
			range[i] =
				(struct range){cap->iova_ranges[i].start, cap->iova_ranges[i].end};
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

static const struct backend group = {
	.name = "type1v2",
	.present = group_present,
	.open = group_open,
	.open_device = group_open_device,
	.close_device = group_close_device,
	.leave = group_leave,
	.ranges = group_ranges,
	.map = group_map,
	.unmap = group_unmap,
};

/* --- the address space */

/* The newer interface that this user can open; else one whose open will say what is missing. */
static const struct backend *choose(const struct vfio_device *device)
{
	static const struct backend *const table[] = {&cdev, &group};
	static const int modes[] = {R_OK | W_OK, F_OK};

	for (size_t m = 0; m < ARRAY_SIZE(modes); m++)
		for (size_t i = 0; i < ARRAY_SIZE(table); i++)
			if (table[i]->present(device, modes[m]))
				return table[i];
	return &group;
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

static int create(struct vm *vm, const struct vfio_device *device, struct error *err)
{
	/* Linux before 6.2 keeps it until the VM ends, and allows one. */
	struct kvm_create_device kvm = {.type = KVM_DEV_TYPE_VFIO};
	struct vfio_iommu *iommu = calloc(1, sizeof(*iommu));
	int ret;

	if (!iommu)
		return error_set(err, -ENOMEM, "out of memory");
	*iommu = (struct vfio_iommu){.vm = vm, .backend = choose(device), .fd = -1, .kvm_fd = -1};
	vm->vfio = iommu;
	ret = iommu->backend->open(iommu, err);
	if (ret)
		goto destroy_iommu;
	if (ioctl(vm->vm_fd, KVM_CREATE_DEVICE, &kvm)) {
		ret = failed(KVM_CREATE_DEVICE, "KVM's VFIO device", err);
		goto destroy_iommu;
	}
	iommu->kvm_fd = (int)kvm.fd;
	return 0;

destroy_iommu:
	destroy(iommu);
	return ret;
}

/* DMA to pages that a file system writes back is not safe, so Linux refuses it. */
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

static int check_device(const struct vfio_device *device, struct error *err)
{
	struct vfio_device_info info = {.argsz = sizeof(info)};

	if (ioctl(device->fd, VFIO_DEVICE_GET_INFO, &info))
		return FAILED(VFIO_DEVICE_GET_INFO, err);
	if (!(info.flags & VFIO_DEVICE_FLAGS_PCI))
		return error_set(err, -EINVAL, "its VFIO device is not that of a PCI function");
	if (!(info.flags & VFIO_DEVICE_FLAGS_RESET))
		return error_set(
			err, -EOPNOTSUPP,
			"cannot be reset by itself: a guest would find what another left in "
			"it ("
			"/sys/bus/pci/devices/%s/reset_method is empty or not there)",
			device->address);
	return 0;
}

/* gpa: the first byte of the region that is in no range. False: the ranges cover the region. */
static bool outside(const struct ram_region *region, const struct range *range, uint32_t n,
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
	struct range range[RANGES_MAX];
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

/* A device that is not, or no longer, in the table. The last one also unmaps RAM, after the device is
 * closed and can no longer reach it, and closes the address space. */
static void close_device(struct vfio_iommu *iommu, struct vfio_device *device)
{
	iommu->backend->close_device(iommu, device);
	if (!iommu->ndevices)
		unmap_ram(iommu);
	if (iommu->backend->leave)
		iommu->backend->leave(iommu, device);
	if (!iommu->ndevices)
		destroy(iommu);
}

static int open_device(struct vm *vm, struct vfio_device *device, struct error *err)
{
	int ret = vm->vfio ? 0 : create(vm, device, err);
	struct vfio_iommu *iommu = vm->vfio;

	if (ret)
		return ret;
	ret = iommu->backend->open_device(iommu, device, err);
	if (!ret)
		ret = check_device(device, err);
	if (!ret)
		ret = map_ram(iommu, err);
	if (ret)
		close_device(iommu, device);
	else
		iommu->device[iommu->ndevices++] = *device;
	return ret;
}

int vfio_kernel_open(struct vm *vm, const char *address, int *fd, struct error *err)
{
	struct vfio_device device;
	int ret = sysfs_probe(&device, address, err);

	*fd = -1;
	if (!ret)
		ret = check_ram(&vm->ram, err);
	if (!ret)
		ret = open_device(vm, &device, err);
	if (ret)
		error_prefix(err, "%s", address);
	else
		*fd = device.fd;
	return ret;
}

void vfio_kernel_close(struct vm *vm, const char *address, int fd)
{
	struct vfio_iommu *iommu = vm->vfio;

	for (uint32_t i = 0; fd >= 0 && iommu && i < iommu->ndevices; i++) {
		struct vfio_device device = iommu->device[i];

		if (device.fd != fd || strcmp(device.address, address))
			continue;
		iommu->device[i] = iommu->device[--iommu->ndevices];
		close_device(iommu, &device);
		return;
	}
}
