/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The BARs of a VFIO device: what can be mapped becomes memslots; other accesses go through the
 * descriptor. */
#include "devices/vfio/vfio.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096ull
#define INFO_BYTES 4096
#define MAPPABLE \
	(VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE | VFIO_REGION_INFO_FLAG_MMAP)
#define PORTS_MAX 0x10000ull
#define BAR32_MAX (1ull << 31)
#define BAR64_MAX (1ull << 46) /* larger than a guest's address space */

bool vfio_region_pread(const struct vfio_host *host, uint64_t at, void *data, uint32_t bytes)
{
	return pread(host->fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

bool vfio_region_pwrite(const struct vfio_host *host, uint64_t at, const void *data, uint32_t bytes)
{
	return pwrite(host->fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

/* --- accesses that exit */

static bool within(uint64_t offset, uint64_t from, uint64_t bytes)
{
	return offset >= from && offset - from < bytes;
}

static bool is_table(const struct vfio_bar *bar, uint64_t offset)
{
	const struct vfio_host *host = bar->host;

	return host->msix_cap && bar->index == host->msix_bar &&
	       within(offset, host->msix_offset,
		      (uint64_t)host->pci.nvectors * PCI_MSIX_ENTRY_SIZE);
}

static uint64_t pba_bytes(const struct vfio_host *host)
{
	return (host->pci.nvectors + 63ull) / 64 * 8;
}

static bool is_pba(const struct vfio_bar *bar, uint64_t offset)
{
	const struct vfio_host *host = bar->host;

	return host->msix_cap && bar->index == host->pba_bar &&
	       within(offset, host->pba_offset, pba_bytes(host));
}

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct vfio_bar *bar = opaque;
	struct vfio_host *host = bar->host;
	uint64_t value = 0;

	if (is_table(bar, offset))
		return pci_msix_read(&host->pci, offset - host->msix_offset, size);
	if (is_pba(bar, offset))
		return pci_msix_pba_read(&host->pci, offset - host->pba_offset, size);
	if (!vfio_region_pread(host, bar->fd_offset + offset, &value, size))
		return UINT64_MAX;
	return value;
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct vfio_bar *bar = opaque;
	struct vfio_host *host = bar->host;

	if (is_table(bar, offset)) {
		offset -= host->msix_offset;
		pci_msix_write(&host->pci, offset, size, value);
		vfio_irq_sync_vector(host, (uint32_t)(offset / PCI_MSIX_ENTRY_SIZE));
	} else if (!is_pba(bar, offset) &&
		   !vfio_region_pwrite(host, bar->fd_offset + offset, &value, size)) {
		log_guest("%s: a write to BAR %u at %#llx fails: %s", host->name, bar->index,
			  (unsigned long long)offset, strerror(errno));
	}
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* --- memslots */

static void map_area(struct vfio_host *host, uint32_t bar, struct vfio_area *area)
{
	struct error err;

	if (memslot_add(&host->vm->memslots, host->pci.bar[bar].gpa + area->offset, area->bytes,
			area->hva, &area->slot, &err))
		log_guest("%s: BAR %u: %s; its accesses exit to the VMM", host->name, bar, err.msg);
	else
		area->mapped = true;
}

static void sync_areas(struct vfio_host *host, uint32_t bar)
{
	struct vfio_bar *b = &host->bar[bar];
	bool map = host->pci.bar[bar].mapped && !host->powered_off;

	for (struct vfio_area *area = b->area; area < b->area + b->nareas; area++) {
		if (area->mapped && !map) {
			area->mapped = memslot_del(&host->vm->memslots, area->slot);
		} else if (!area->mapped && map) {
			map_area(host, bar, area);
		}
	}
}

void vfio_region_bar_changed(struct device *dev, uint32_t bar)
{
	sync_areas(dev->host, bar);
}

static bool any_mapped(const struct vfio_host *host)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		for (uint32_t i = 0; i < host->bar[bar].nareas; i++)
			if (host->bar[bar].area[i].mapped)
				return true;
	return false;
}

bool vfio_region_power(struct vfio_host *host, bool on)
{
	if (host->powered_off == on) {
		host->powered_off = !on;
		for (uint32_t bar = 0; bar < PCI_BARS; bar++)
			sync_areas(host, bar);
	}
	return on || !any_mapped(host);
}

/* --- sizes and kinds */

/* For one ioctl. A region whose capabilities need more room is not mapped. */
union region_info {
	struct vfio_region_info head;
	uint8_t bytes[INFO_BYTES];
};

static int region_info(const struct vfio_host *host, uint32_t index, union region_info *info,
		       struct error *err)
{
	*info = (union region_info){.head = {.argsz = sizeof(*info), .index = index}};
	if (ioctl(host->fd, VFIO_DEVICE_GET_REGION_INFO, info))
		return error_set(err, -errno, "VFIO_DEVICE_GET_REGION_INFO of region %u: %s", index,
				 strerror(errno));
	return 0;
}

/* The register of the BAR has its kind. */
static int open_bar(struct vfio_host *host, uint32_t bar, struct error *err)
{
	struct pci_bar *b = &host->pci.bar[bar];
	union region_info info;
	uint32_t reg;
	int ret = region_info(host, VFIO_PCI_BAR0_REGION_INDEX + bar, &info, err);

	if (ret || !info.head.size)
		return ret;
	if (!vfio_region_pread(host, host->config_offset + PCI_BASE_ADDRESS_0 + 4ull * bar, &reg,
			       sizeof(reg)))
		return error_set(err, -EIO, "the register of BAR %u cannot be read", bar);
	host->bar[bar] = (struct vfio_bar){.host = host,
					   .index = bar,
					   .fd_offset = info.head.offset,
					   .bytes = info.head.size,
					   .flags = info.head.flags};
	b->size_bytes = info.head.size;
	b->is_io = reg & PCI_BASE_ADDRESS_SPACE_IO;
	b->is_64bit = !b->is_io && reg & PCI_BASE_ADDRESS_MEM_TYPE_64;
	b->is_prefetchable = !b->is_io && reg & PCI_BASE_ADDRESS_MEM_PREFETCH;
	b->ops = &bar_ops;
	b->opaque = &host->bar[bar];
	if (b->size_bytes & (b->size_bytes - 1) || b->size_bytes < (b->is_io ? 4 : 16) ||
	    b->size_bytes > (b->is_io	   ? PORTS_MAX
			     : b->is_64bit ? BAR64_MAX
					   : BAR32_MAX) ||
	    (b->is_64bit && bar == PCI_BARS - 1))
		return error_set(err, -EINVAL, "BAR %u has %#llx bytes, which no %s BAR can have",
				 bar, (unsigned long long)b->size_bytes,
				 b->is_io      ? "I/O"
				 : b->is_64bit ? "64-bit"
					       : "32-bit");
	return 0;
}

int vfio_region_open(struct vfio_host *host, struct error *err)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
		int ret = open_bar(host, bar, err);

		if (ret)
			return ret;
		if (bar && host->pci.bar[bar].size_bytes && host->pci.bar[bar - 1].is_64bit)
			return error_set(err, -EINVAL, "BAR %u lies in the upper half of BAR %u",
					 bar, bar - 1);
	}
	return 0;
}

/* --- areas */

struct hole {
	uint64_t start, end;
};

static void add_area(const struct vfio_host *host, struct vfio_bar *b, uint64_t start, uint64_t end)
{
	struct vfio_area *area = &b->area[b->nareas];

	start = (start + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	end &= ~(PAGE_BYTES - 1);
	if (start >= end || b->nareas == VFIO_AREAS_MAX)
		return;
	*area = (struct vfio_area){.offset = start, .bytes = end - start};
	area->hva = mmap(NULL, area->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, host->fd,
			 (off_t)(b->fd_offset + start));
	if (area->hva != MAP_FAILED)
		b->nareas++;
	else
		log_warn("%s: a BAR cannot be mapped (%s): its accesses exit to the VMM",
			 host->name, strerror(errno));
}

/* holes: sorted */
static void add_areas(const struct vfio_host *host, struct vfio_bar *b, uint64_t start,
		      uint64_t end, const struct hole *hole, uint32_t nholes)
{
	for (; nholes; hole++, nholes--) {
		add_area(host, b, start, end < hole->start ? end : hole->start);
		if (start < hole->end)
			start = hole->end;
	}
	add_area(host, b, start, end);
}

/* Whole pages are excluded: what shares them with the table is accessed by exits. */
static uint32_t find_holes(const struct vfio_host *host, uint32_t bar, struct hole *hole)
{
	uint64_t table_end = host->msix_offset + (uint64_t)host->pci.nvectors * PCI_MSIX_ENTRY_SIZE;
	uint64_t pba_end = host->pba_offset + pba_bytes(host);
	struct hole first;
	uint32_t n = 0;

	if (host->msix_cap && bar == host->msix_bar)
		hole[n++] = (struct hole){host->msix_offset & ~(PAGE_BYTES - 1),
					  (table_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)};
	if (host->msix_cap && bar == host->pba_bar)
		hole[n++] = (struct hole){host->pba_offset & ~(PAGE_BYTES - 1),
					  (pba_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)};
	if (n == 2 && hole[1].start < hole[0].start) {
		first = hole[1];
		hole[1] = hole[0];
		hole[0] = first;
	}
	return n;
}

/* NULL: there is none, or the capability list makes no sense (is_bad) and nothing is mapped. */
static const struct vfio_region_info_cap_sparse_mmap *find_sparse(const union region_info *info,
								  bool *is_bad)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	uint32_t at = info->head.cap_offset, last = 0;

	*is_bad = false;
	if (!(info->head.flags & VFIO_REGION_INFO_FLAG_CAPS))
		return NULL;
	for (; at; last = at, at = sparse->header.next) {
		*is_bad = at <= last || at % 8 || at < sizeof(info->head) ||
			  at > sizeof(*info) - sizeof(*sparse);
		if (*is_bad)
			return NULL;
		sparse = (const void *)(info->bytes + at);
		if (sparse->header.id != VFIO_REGION_INFO_CAP_SPARSE_MMAP)
			continue;
		*is_bad = sparse->nr_areas >
			  (sizeof(*info) - at - sizeof(*sparse)) / sizeof(sparse->areas[0]);
		return *is_bad ? NULL : sparse;
	}
	return NULL;
}

static void map_bar(struct vfio_host *host, uint32_t bar)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_bar *b = &host->bar[bar];
	struct hole hole[2];
	uint32_t nholes = find_holes(host, bar, hole);
	union region_info info;
	bool is_bad;

	if (host->pci.bar[bar].is_io || (b->flags & MAPPABLE) != MAPPABLE ||
	    region_info(host, VFIO_PCI_BAR0_REGION_INDEX + bar, &info, NULL) ||
	    info.head.argsz > sizeof(info))
		return;
	sparse = find_sparse(&info, &is_bad);
	if (is_bad)
		return;
	if (!sparse)
		add_areas(host, b, 0, b->bytes, hole, nholes);
	for (uint32_t i = 0; sparse && i < sparse->nr_areas; i++) {
		uint64_t start = sparse->areas[i].offset, bytes = sparse->areas[i].size;

		if (start <= b->bytes && bytes <= b->bytes - start)
			add_areas(host, b, start, start + bytes, hole, nholes);
	}
}

void vfio_region_map(struct vfio_host *host)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		map_bar(host, bar);
}

void vfio_region_close(struct vfio_host *host)
{
	for (struct vfio_bar *b = host->bar; b < host->bar + PCI_BARS; b++)
		while (b->nareas) {
			struct vfio_area *area = &b->area[--b->nareas];

			/* If a memslot remains, the guest must not reach what is mapped here next. */
			if (!area->mapped)
				munmap(area->hva, area->bytes);
		}
}
