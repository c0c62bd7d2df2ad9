/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fakes/fake_vfio.h"
#include "devices/vfio/vfio.h"
#include "vmm/base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <linux/kvm.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define REGION_SHIFT 40
#define FDS	     1024
#define IOAS_ID	     7
#define CAPS_BYTES   512u

enum kind { NOTHING, CONTAINER, GROUP, IOMMUFD, DEVICE, KVM_DEVICE };
/* What each descriptor is. */
static struct ours {
	enum kind kind;
	uint32_t group;
	bool typed;			     /* container */
	int container;			     /* group; 0: none */
	struct fake_vfio_function *function; /* device */
} ours[FDS];
static int kvm_fds[FAKE_VFIO_FUNCTIONS * 2]; /* added to KVM's VFIO device */
static char folder[64];

struct fake_vfio fake_vfio;

/* The linker's --wrap sends all calls of these here. */
int __wrap_open(const char *path, int flags, mode_t mode); /* as variadic calls pass it */
int __real_open(const char *path, int flags, mode_t mode);
int __wrap_access(const char *path, int mode);
int __real_access(const char *path, int mode);
int __wrap_close(int fd);
int __real_close(int fd);
int __wrap_ioctl(int fd, unsigned long request, ...);
int __real_ioctl(int fd, unsigned long request, ...);
int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
int __real_getrlimit(__rlimit_resource_t resource, struct rlimit *limit);
ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at);
ssize_t __real_pwrite(int fd, const void *data, size_t bytes, off_t at);

static void must(bool condition)
{
	if (!condition)
		abort();
}

static int fail(int code)
{
	errno = code;
	return -1;
}

static void note(const char *what, const char *of)
{
	size_t used = strlen(fake_vfio.log);

	snprintf(fake_vfio.log + used, sizeof(fake_vfio.log) - used, "%s%s\n", what, of);
}

/* Is this the call that shall fail? */
static bool fails(bool is_it)
{
	if (!is_it || (fake_vfio.nth > 1 && fake_vfio.nth--))
		return false;
	return true;
}

static int new_fd(enum kind kind)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	must(fd > 0 && fd < FDS);
	ours[fd] = (struct ours){.kind = kind};
	return fd;
}

static uint32_t group_fds(uint32_t group)
{
	uint32_t n = 0;

	for (int fd = 0; fd < FDS; fd++)
		n += ours[fd].kind == GROUP && ours[fd].group == group;
	return n;
}

static int open_device(struct fake_vfio_function *function)
{
	int fd = fcntl(function->memory_fd, F_DUPFD_CLOEXEC, 0);

	must(fd > 0 && fd < FDS);
	ours[fd] = (struct ours){.kind = DEVICE, .function = function};
	function->open++;
	return fd;
}

/* What a path of VFIO is. 0, an errno, or -1: not VFIO's. */
static int find(const char *path, struct ours *of)
{
	struct fake_vfio_function *function = fake_vfio.function;

	if (!strcmp(path, "/dev/iommu")) {
		*of = (struct ours){.kind = IOMMUFD};
		return fake_vfio.no_cdev ? ENOENT : 0;
	}
	if (!strcmp(path, "/dev/vfio/vfio")) {
		*of = (struct ours){.kind = CONTAINER};
		return fake_vfio.no_groups ? ENOENT : 0;
	}
	if (!strncmp(path, "/dev/vfio/devices/vfio", 22)) {
		*of = (struct ours){.kind = DEVICE,
				    .function = function + strtoul(path + 22, NULL, 10)};
		must(of->function < function + fake_vfio.nfunctions);
		return fake_vfio.no_cdev ? ENOENT : 0;
	}
	if (strncmp(path, "/dev/vfio/", 10))
		return -1;
	*of = (struct ours){.kind = GROUP, .group = (uint32_t)strtoul(path + 10, NULL, 10)};
	for (uint32_t i = 0; i < fake_vfio.nfunctions; i++)
		if (function[i].group == of->group)
			return fake_vfio.no_groups ? ENOENT : 0;
	return ENOENT;
}

int __wrap_access(const char *path, int mode)
{
	struct ours of;
	int code = find(path, &of);

	if (code < 0)
		return __real_access(path, mode);
	if (!code && mode != F_OK && fake_vfio.denied && strstr(path, fake_vfio.denied))
		code = EACCES;
	return code ? fail(code) : 0;
}

int __wrap_open(const char *path, int flags, mode_t mode)
{
	struct ours of;
	int code = find(path, &of), fd;

	if (code < 0)
		return __real_open(path, flags, mode);
	must(flags == (O_RDWR | O_CLOEXEC));
	if (fails(fake_vfio.open_fails && !strcmp(fake_vfio.open_fails, path)))
		code = fake_vfio.fails_errno;
	if (!code && of.kind == GROUP && group_fds(of.group))
		code = EBUSY;
	if (code)
		return fail(code);
	note("open ", path);
	if (of.kind == DEVICE)
		return open_device(of.function);
	fd = new_fd(of.kind);
	ours[fd].group = of.group;
	fake_vfio.groups += of.kind == GROUP;
	fake_vfio.containers += of.kind != GROUP;
	return fd;
}

/* Without groups a container has no mappings and no IOMMU type. */
static void empty_container(int container)
{
	for (int fd = 0; fd < FDS; fd++)
		if (ours[fd].kind == GROUP && ours[fd].container == container)
			return;
	ours[container].typed = false;
	fake_vfio.nmaps = 0;
}

static void close_device(struct fake_vfio_function *function)
{
	note("close ", function->address);
	must(function->open);
	if (--function->open)
		return;
	function->bound = function->attached = false;
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		function->irq[i].enabled = 0;
		function->irq[i].unmask_fd = -1;
		memset(function->irq[i].fd, -1, sizeof(function->irq[i].fd));
	}
}

int __wrap_close(int fd)
{
	struct ours was;

	if (fd < 0 || fd >= FDS)
		return __real_close(fd);
	was = ours[fd];
	ours[fd] = (struct ours){.kind = NOTHING};
	switch (was.kind) {
	case CONTAINER:
	case IOMMUFD:
		note("close ", was.kind == IOMMUFD ? "iommufd" : "container");
		for (int i = 0; i < FDS; i++)
			must(ours[i].kind != GROUP || ours[i].container != fd);
		fake_vfio.nmaps = 0;
		fake_vfio.containers--;
		break;
	case GROUP:
		note("close ", "group");
		/* A device that is still open would keep group and container alive. */
		for (uint32_t i = 0; i < fake_vfio.nfunctions; i++)
			must(fake_vfio.function[i].group != was.group ||
			     !fake_vfio.function[i].open);
		fake_vfio.groups--;
		if (was.container)
			empty_container(was.container);
		break;
	case DEVICE:
		close_device(was.function);
		break;
	case KVM_DEVICE:
		note("close ", "kvm");
		fake_vfio.kvm_devices--;
		break;
	case NOTHING:
		break;
	}
	/* KVM would still hold the file. */
	for (size_t i = 0; i < ARRAY_SIZE(kvm_fds); i++)
		must(was.kind == NOTHING || kvm_fds[i] != fd);
	return __real_close(fd);
}

static int map(uint64_t iova, uint64_t bytes, uint64_t hva)
{
	uint32_t n = fake_vfio.nmaps;
	bool fits = !fake_vfio.nranges;

	must(n < FAKE_VFIO_MAPS && bytes && !((iova | bytes | hva) & 4095));
	for (uint32_t i = 0; i < fake_vfio.nranges; i++)
		fits |= iova >= fake_vfio.range[i].start &&
			iova + bytes - 1 <= fake_vfio.range[i].last;
	for (uint32_t i = 0; i < n; i++)
		if (iova < fake_vfio.map[i].iova + fake_vfio.map[i].bytes &&
		    fake_vfio.map[i].iova < iova + bytes)
			return fail(EEXIST);
	if (!fits)
		return fail(EINVAL);
	fake_vfio.map[n].iova = iova;
	fake_vfio.map[n].bytes = bytes;
	fake_vfio.map[n].hva = (void *)(uintptr_t)hva;
	fake_vfio.nmaps++;
	return 0;
}

static int unmap(uint64_t iova, uint64_t bytes)
{
	for (uint32_t i = 0; i < fake_vfio.nmaps; i++) {
		if (fake_vfio.map[i].iova != iova)
			continue;
		must(fake_vfio.map[i].bytes == bytes);
		fake_vfio.map[i] = fake_vfio.map[--fake_vfio.nmaps];
		return 0;
	}
	return fail(ENOENT);
}

/* The IOVA ranges are the second capability; the first is another one. */
static int container_info(struct vfio_iommu_type1_info *info)
{
	struct vfio_iommu_type1_info_cap_iova_range *cap;
	struct vfio_info_cap_header *other = (void *)(info + 1);
	uint32_t n = fake_vfio.nranges;
	const uint32_t bytes = (uint32_t)(sizeof(*info) + sizeof(*other) + sizeof(*cap) +
					  n * sizeof(cap->iova_ranges[0]));

	must(info->argsz >= 16);
	info->flags = VFIO_IOMMU_INFO_PGSIZES;
	info->iova_pgsizes = 4096;
	if (!n)
		return 0;
	info->flags |= VFIO_IOMMU_INFO_CAPS;
	info->cap_offset = 0;
	if (info->argsz >= bytes) {
		info->cap_offset = sizeof(*info);
		*other = (struct vfio_info_cap_header){.id = VFIO_IOMMU_TYPE1_INFO_DMA_AVAIL,
						       .version = 1,
						       .next = sizeof(*info) + sizeof(*other)};
		cap = (void *)(other + 1);
		cap->header = (struct vfio_info_cap_header){
			.id = VFIO_IOMMU_TYPE1_INFO_CAP_IOVA_RANGE, .version = 1};
		cap->nr_iovas = n;
		for (uint32_t i = 0; i < n; i++)
			cap->iova_ranges[i] = (struct vfio_iova_range){fake_vfio.range[i].start,
								       fake_vfio.range[i].last};
	}
	info->argsz = bytes;
	return 0;
}

static int of_container(struct ours *container, unsigned long request, void *arg)
{
	struct vfio_iommu_type1_dma_map *dma = arg;
	struct vfio_iommu_type1_dma_unmap *undo = arg;
	bool joined = false;

	for (int fd = 0; fd < FDS; fd++)
		joined |= ours[fd].kind == GROUP && ours[fd].container == container - ours;
	switch (request) {
	case VFIO_GET_API_VERSION:
		return VFIO_API_VERSION;
	case VFIO_CHECK_EXTENSION:
		return (uintptr_t)arg == VFIO_TYPE1v2_IOMMU;
	case VFIO_SET_IOMMU:
		must((uintptr_t)arg == VFIO_TYPE1v2_IOMMU);
		if (!joined || container->typed)
			return fail(EINVAL);
		note("SET_IOMMU", "");
		container->typed = true;
		return 0;
	case VFIO_IOMMU_GET_INFO:
		must(container->typed);
		return container_info(arg);
	case VFIO_IOMMU_MAP_DMA:
		must(container->typed && dma->argsz == sizeof(*dma) &&
		     dma->flags == (VFIO_DMA_MAP_FLAG_READ | VFIO_DMA_MAP_FLAG_WRITE));
		note("MAP", "");
		return map(dma->iova, dma->size, dma->vaddr);
	case VFIO_IOMMU_UNMAP_DMA:
		must(container->typed && undo->argsz == sizeof(*undo) && !undo->flags);
		note("UNMAP", "");
		return unmap(undo->iova, undo->size);
	default:
		abort();
	}
}

static int of_group(struct ours *group, unsigned long request, void *arg)
{
	int left;

	switch (request) {
	case VFIO_GROUP_SET_CONTAINER:
		must(!group->container && ours[*(int *)arg].kind == CONTAINER);
		note("SET_CONTAINER", "");
		group->container = *(int *)arg;
		return 0;
	case VFIO_GROUP_UNSET_CONTAINER:
		if (!group->container)
			return fail(EINVAL);
		for (uint32_t i = 0; i < fake_vfio.nfunctions; i++)
			if (fake_vfio.function[i].group == group->group &&
			    fake_vfio.function[i].open)
				return fail(EBUSY);
		note("UNSET_CONTAINER", "");
		left = group->container;
		group->container = 0;
		empty_container(left);
		return 0;
	case VFIO_GROUP_GET_DEVICE_FD:
		must(group->container && ours[group->container].typed);
		for (uint32_t i = 0; i < fake_vfio.nfunctions; i++) {
			struct fake_vfio_function *function = &fake_vfio.function[i];

			if (function->group != group->group || strcmp(function->address, arg))
				continue;
			note("GET_DEVICE_FD ", arg);
			return open_device(function);
		}
		return fail(ENODEV);
	default:
		abort();
	}
}

static int of_iommufd(unsigned long request, void *arg)
{
	struct iommu_ioas_alloc *alloc = arg;
	struct iommu_ioas_iova_ranges *ranges = arg;
	struct iommu_ioas_map *dma = arg;
	struct iommu_ioas_unmap *undo = arg;
	struct iommu_iova_range *to;

	switch (request) {
	case IOMMU_IOAS_ALLOC:
		must(alloc->size == sizeof(*alloc) && !alloc->flags);
		note("IOAS_ALLOC", "");
		alloc->out_ioas_id = IOAS_ID;
		return 0;
	case IOMMU_IOAS_IOVA_RANGES:
		must(ranges->size == sizeof(*ranges) && ranges->ioas_id == IOAS_ID);
		if (!fake_vfio.nranges)
			return fail(ENOTTY);
		must(ranges->num_iovas >= fake_vfio.nranges);
		to = (void *)(uintptr_t)ranges->allowed_iovas;
		ranges->num_iovas = fake_vfio.nranges;
		for (uint32_t i = 0; i < fake_vfio.nranges; i++)
			to[i] = (struct iommu_iova_range){fake_vfio.range[i].start,
							  fake_vfio.range[i].last};
		return 0;
	case IOMMU_IOAS_MAP:
		must(dma->size == sizeof(*dma) && dma->ioas_id == IOAS_ID && dma->flags == 7);
		note("MAP", "");
		return map(dma->iova, dma->length, dma->user_va);
	case IOMMU_IOAS_UNMAP:
		must(undo->size == sizeof(*undo) && undo->ioas_id == IOAS_ID);
		note("UNMAP", "");
		return unmap(undo->iova, undo->length);
	default:
		abort();
	}
}

static int region_info(struct fake_vfio_function *function, struct vfio_region_info *info)
{
	struct vfio_region_info_cap_sparse_mmap *sparse;
	const struct fake_vfio_region *region = &function->region[info->index];
	uint8_t caps[CAPS_BYTES] = {0};
	uint32_t bytes = sizeof(*info), room = info->argsz, *next = &info->cap_offset;

	if (info->index >= VFIO_PCI_NUM_REGIONS)
		return fail(EINVAL);
	must(room >= sizeof(*info));
	info->flags = region->flags;
	info->size = region->bytes;
	info->offset = fake_vfio_offset(info->index);
	info->cap_offset = 0;
	if (region->msix_mappable) {
		struct vfio_info_cap_header *header = (void *)(caps + bytes);

		header->id = VFIO_REGION_INFO_CAP_MSIX_MAPPABLE;
		header->version = 1;
		*next = bytes;
		next = &header->next;
		bytes += (uint32_t)sizeof(*header);
	}
	if (region->nareas) {
		sparse = (void *)(caps + bytes);
		sparse->header.id = VFIO_REGION_INFO_CAP_SPARSE_MMAP;
		sparse->header.version = 1;
		sparse->nr_areas = region->nareas;
		memcpy(sparse->areas, region->area, region->nareas * sizeof(region->area[0]));
		*next = bytes;
		bytes += (uint32_t)(sizeof(*sparse) + region->nareas * sizeof(region->area[0]));
	}
	must(bytes <= sizeof(caps));
	info->argsz = bytes;
	if (bytes == sizeof(*info))
		return 0;
	info->flags |= VFIO_REGION_INFO_FLAG_CAPS;
	if (room < bytes)
		info->cap_offset = 0;
	else
		memcpy(info + 1, caps + sizeof(*info), bytes - sizeof(*info));
	return 0;
}

static int irq_info(const struct fake_vfio_function *function, struct vfio_irq_info *info)
{
	if (info->index >= VFIO_PCI_NUM_IRQS)
		return fail(EINVAL);
	must(info->argsz >= sizeof(*info));
	info->flags = function->irq[info->index].flags;
	info->count = function->irq[info->index].count;
	return 0;
}

/* One of INTx, MSI and MSI-X at a time. */
static bool other_is_on(const struct fake_vfio_function *function, uint32_t index)
{
	for (uint32_t i = VFIO_PCI_INTX_IRQ_INDEX; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++)
		if (i != index && function->irq[i].enabled)
			return true;
	return false;
}

static int set_triggers(struct fake_vfio_function *function, const struct vfio_irq_set *set)
{
	struct fake_vfio_irq *irq = &function->irq[set->index];
	const int32_t *fd = (const void *)set->data;
	const uint32_t end = set->start + set->count;

	if (set->flags & VFIO_IRQ_SET_DATA_NONE && !set->count) {
		irq->enabled = 0;
		irq->masked = false;
		irq->unmask_fd = -1;
		memset(irq->fd, -1, sizeof(irq->fd));
		return 0;
	}
	must(set->flags & VFIO_IRQ_SET_DATA_EVENTFD && end <= FAKE_VFIO_VECTORS);
	must(set->argsz == sizeof(*set) + set->count * sizeof(*fd));
	if (set->index <= VFIO_PCI_MSIX_IRQ_INDEX && other_is_on(function, set->index))
		return fail(EINVAL);
	/* NORESIZE: no more vectors than when they were enabled. */
	if (irq->enabled && end > irq->enabled && irq->flags & VFIO_IRQ_INFO_NORESIZE)
		return fail(EINVAL);
	if (irq->available && end > irq->available)
		return (int)irq->available;
	for (uint32_t i = 0; i < set->count; i++)
		irq->fd[set->start + i] = fd[i];
	irq->enabled = end > irq->enabled ? end : irq->enabled;
	return 0;
}

static int set_irqs(struct fake_vfio_function *function, const struct vfio_irq_set *set)
{
	const uint32_t data = set->flags & VFIO_IRQ_SET_DATA_TYPE_MASK;
	const uint32_t action = set->flags & VFIO_IRQ_SET_ACTION_TYPE_MASK;
	struct fake_vfio_irq *irq = &function->irq[set->index];

	if (set->index >= VFIO_PCI_NUM_IRQS || __builtin_popcount(data) != 1 ||
	    __builtin_popcount(action) != 1 || set->start + set->count > irq->count)
		return fail(EINVAL);
	if (action == VFIO_IRQ_SET_ACTION_TRIGGER)
		return set_triggers(function, set);
	if (set->index != VFIO_PCI_INTX_IRQ_INDEX || !irq->enabled || set->count != 1)
		return fail(EINVAL);
	if (action == VFIO_IRQ_SET_ACTION_UNMASK && data == VFIO_IRQ_SET_DATA_EVENTFD) {
		memcpy(&irq->unmask_fd, set->data, sizeof(irq->unmask_fd));
		return 0;
	}
	must(data == VFIO_IRQ_SET_DATA_NONE);
	irq->masked = action == VFIO_IRQ_SET_ACTION_MASK;
	return 0;
}

static int of_device(struct fake_vfio_function *function, unsigned long request, void *arg)
{
	struct vfio_device_info *info = arg;
	struct vfio_device_bind_iommufd *bind = arg;
	struct vfio_device_attach_iommufd_pt *attach = arg;

	if (request == VFIO_DEVICE_BIND_IOMMUFD) {
		must(bind->argsz == sizeof(*bind) && !bind->flags);
		must(ours[bind->iommufd].kind == IOMMUFD && !function->bound);
		note("BIND ", function->address);
		function->bound = true;
		return 0;
	}
	must(fake_vfio.groups || function->bound);
	switch (request) {
	case VFIO_DEVICE_ATTACH_IOMMUFD_PT:
		must(attach->argsz >= 12 && !attach->flags && attach->pt_id == IOAS_ID);
		note("ATTACH ", function->address);
		function->attached = true;
		return 0;
	case VFIO_DEVICE_GET_INFO:
		must(info->argsz >= offsetof(struct vfio_device_info, cap_offset));
		info->flags = function->flags;
		info->num_regions = VFIO_PCI_NUM_REGIONS;
		info->num_irqs = VFIO_PCI_NUM_IRQS;
		return 0;
	case VFIO_DEVICE_GET_REGION_INFO:
		return region_info(function, arg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return irq_info(function, arg);
	case VFIO_DEVICE_SET_IRQS:
		return set_irqs(function, arg);
	case VFIO_DEVICE_RESET:
		if (!(function->flags & VFIO_DEVICE_FLAGS_RESET))
			return fail(EINVAL);
		function->resets++;
		return 0;
	default:
		abort();
	}
}

static int of_kvm(unsigned long request, const struct kvm_device_attr *attr)
{
	const int fd = *(const int32_t *)(uintptr_t)attr->addr;
	const bool adds = attr->attr == KVM_DEV_VFIO_FILE_ADD;
	size_t i = 0;

	must(request == KVM_SET_DEVICE_ATTR && attr->group == KVM_DEV_VFIO_FILE && fd > 0 &&
	     fd < FDS && (ours[fd].kind == GROUP || ours[fd].kind == DEVICE));
	while (i < ARRAY_SIZE(kvm_fds) && kvm_fds[i] != (adds ? 0 : fd))
		i++;
	if (i == ARRAY_SIZE(kvm_fds))
		return fail(ENOENT);
	note(adds ? "KVM_ADD" : "KVM_DEL", "");
	kvm_fds[i] = adds ? fd : 0;
	fake_vfio.kvm_files += adds ? 1 : -1u;
	return 0;
}

static int create_kvm_device(struct kvm_create_device *device)
{
	must(device->type == KVM_DEV_TYPE_VFIO && !device->flags);
	if (fake_vfio.kvm_devices)
		return fail(EBUSY);
	note("KVM_CREATE", "");
	device->fd = (uint32_t)new_fd(KVM_DEVICE);
	fake_vfio.kvm_devices++;
	return 0;
}

int __wrap_ioctl(int fd, unsigned long request, ...)
{
	struct ours *of;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	if (fails(fake_vfio.fails && request == fake_vfio.fails))
		return fail(fake_vfio.fails_errno);
	if (request == KVM_CREATE_DEVICE)
		return create_kvm_device(arg);
	if (fd < 0 || fd >= FDS)
		return __real_ioctl(fd, request, arg);
	of = &ours[fd];
	switch (of->kind) {
	case CONTAINER:
		return of_container(of, request, arg);
	case GROUP:
		return of_group(of, request, arg);
	case IOMMUFD:
		return of_iommufd(request, arg);
	case DEVICE:
		return of_device(of->function, request, arg);
	case KVM_DEVICE:
		return of_kvm(request, arg);
	case NOTHING:
		break;
	}
	return __real_ioctl(fd, request, arg);
}

int __wrap_getrlimit(__rlimit_resource_t resource, struct rlimit *limit)
{
	if (resource != RLIMIT_MEMLOCK)
		return __real_getrlimit(resource, limit);
	*limit = (struct rlimit){fake_vfio.memlock_bytes, fake_vfio.memlock_bytes};
	return 0;
}

ssize_t __wrap_pwrite(int fd, const void *data, size_t bytes, off_t at)
{
	if (fd >= 0 && fd < FDS && ours[fd].kind == DEVICE && ours[fd].function->deaf)
		return (ssize_t)bytes;
	return __real_pwrite(fd, data, bytes, at);
}

/* --- the tests' side */

uint64_t fake_vfio_offset(uint32_t region)
{
	return (uint64_t)region << REGION_SHIFT;
}

void fake_vfio_begin(void)
{
	fake_vfio = (struct fake_vfio){.no_cdev = true, .memlock_bytes = RLIM_INFINITY};
	memset(ours, 0, sizeof(ours));
	memset(kvm_fds, 0, sizeof(kvm_fds));
	strcpy(folder, "/tmp/stasis-vfio-XXXXXX");
	must(mkdtemp(folder) != NULL);
	vfio_kernel_sysfs_root = folder;
}

static int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

void fake_vfio_end(void)
{
	for (uint32_t i = 0; i < fake_vfio.nfunctions; i++) {
		munmap(fake_vfio.function[i].config, FAKE_VFIO_CONFIG);
		close(fake_vfio.function[i].memory_fd);
	}
	fake_vfio.nfunctions = 0;
	nftw(folder, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	vfio_kernel_sysfs_root = "/sys";
}

/* "FOLDER/...", after making its parent folders. The last four results stay valid. */
__attribute__((format(printf, 1, 2))) static char *tree(const char *format, ...)
{
	static char paths[4][512];
	static uint32_t next;
	char *path = paths[next++ % 4];
	size_t n = (size_t)snprintf(path, sizeof(paths[0]), "%s/", folder);
	va_list ap;

	va_start(ap, format);
	vsnprintf(path + n, sizeof(paths[0]) - n, format, ap);
	va_end(ap);
	for (char *slash = path + n; (slash = strchr(slash, '/')); *slash++ = '/') {
		*slash = 0;
		must(!mkdir(path, 0700) || errno == EEXIST);
	}
	return path;
}

static void put_link(const char *target, const char *path)
{
	unlink(path);
	must(!symlink(target, path));
}

static void put_text(const char *path, const char *text)
{
	FILE *f = fopen(path, "we");

	must(f && fputs(text, f) >= 0 && !fclose(f));
}

void fake_vfio_sysfs(const char *address, int group, const char *driver, uint32_t class)
{
	char text[32];

	snprintf(text, sizeof(text), "0x%06x\n", class);
	put_text(tree("bus/pci/devices/%s/class", address), text);
	unlink(tree("bus/pci/devices/%s/driver", address));
	if (driver)
		put_link(tree("bus/pci/drivers/%s", driver),
			 tree("bus/pci/devices/%s/driver", address));
	unlink(tree("bus/pci/devices/%s/iommu_group", address));
	if (group < 0)
		return;
	put_link(tree("bus/pci/devices/%s", address),
		 tree("kernel/iommu_groups/%d/devices/%s", group, address));
	put_link(tree("kernel/iommu_groups/%d", group),
		 tree("bus/pci/devices/%s/iommu_group", address));
}

struct fake_vfio_function *fake_vfio_add(const char *address, uint32_t group)
{
	struct fake_vfio_function *function;
	static const uint32_t always[] = {VFIO_PCI_INTX_IRQ_INDEX, VFIO_PCI_ERR_IRQ_INDEX,
					  VFIO_PCI_REQ_IRQ_INDEX};

	must(fake_vfio.nfunctions < FAKE_VFIO_FUNCTIONS);
	function = &fake_vfio.function[fake_vfio.nfunctions];
	*function = (struct fake_vfio_function){
		.group = group, .flags = VFIO_DEVICE_FLAGS_PCI | VFIO_DEVICE_FLAGS_RESET};
	snprintf(function->address, sizeof(function->address), "%s", address);
	function->region[VFIO_PCI_CONFIG_REGION_INDEX].bytes = FAKE_VFIO_CONFIG;
	function->region[VFIO_PCI_CONFIG_REGION_INDEX].flags =
		VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++) {
		function->irq[i].flags = VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_NORESIZE;
		function->irq[i].unmask_fd = -1;
		memset(function->irq[i].fd, -1, sizeof(function->irq[i].fd));
	}
	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		function->irq[always[i]].count = 1;
	function->irq[VFIO_PCI_INTX_IRQ_INDEX].flags =
		VFIO_IRQ_INFO_EVENTFD | VFIO_IRQ_INFO_MASKABLE | VFIO_IRQ_INFO_AUTOMASKED;
	function->memory_fd = memfd_create(address, MFD_CLOEXEC);
	must(function->memory_fd >= 0 &&
	     !ftruncate(function->memory_fd, (off_t)fake_vfio_offset(VFIO_PCI_NUM_REGIONS)));
	function->config =
		mmap(NULL, FAKE_VFIO_CONFIG, PROT_READ | PROT_WRITE, MAP_SHARED,
		     function->memory_fd, (off_t)fake_vfio_offset(VFIO_PCI_CONFIG_REGION_INDEX));
	must(function->config != MAP_FAILED);
	fake_vfio_sysfs(address, (int)group, "vfio-pci", 0x010802);
	tree("bus/pci/devices/%s/vfio-dev/vfio%u/", address, fake_vfio.nfunctions++);
	return function;
}

bool fake_vfio_fire(struct fake_vfio_function *function, uint32_t index, uint32_t vector)
{
	struct fake_vfio_irq *irq = &function->irq[index];

	if (vector >= irq->enabled || irq->fd[vector] < 0 || irq->masked)
		return false;
	irq->masked = index == VFIO_PCI_INTX_IRQ_INDEX;
	return !eventfd_write(irq->fd[vector], 1);
}

bool fake_vfio_resample(struct fake_vfio_function *function)
{
	struct fake_vfio_irq *irq = &function->irq[VFIO_PCI_INTX_IRQ_INDEX];
	struct pollfd ready = {.fd = irq->unmask_fd, .events = POLLIN};
	eventfd_t count;

	if (irq->unmask_fd >= 0 && poll(&ready, 1, 0) > 0 && !eventfd_read(irq->unmask_fd, &count))
		irq->masked = false;
	return !irq->masked;
}
