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

bool vfio_region_pread(const struct vfio *vfio, uint64_t at, void *data, uint32_t bytes)
{
	return pread(vfio->fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

bool vfio_region_pwrite(const struct vfio *vfio, uint64_t at, const void *data, uint32_t bytes)
{
	return pwrite(vfio->fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

/* --- accesses that exit */

static bool within(uint64_t offset, uint64_t from, uint64_t bytes)
{
	return offset >= from && offset - from < bytes;
}

static bool is_table(const struct vfio_bar *bar, uint64_t offset)
{
	const struct vfio *vfio = bar->vfio;

	return vfio->msix_cap && bar->index == vfio->msix_bar &&
	       within(offset, vfio->msix_offset,
		      (uint64_t)vfio->pci.nvectors * PCI_MSIX_ENTRY_SIZE);
}

static uint64_t pba_bytes(const struct vfio *vfio)
{
	return (vfio->pci.nvectors + 63ull) / 64 * 8;
}

static bool is_pba(const struct vfio_bar *bar, uint64_t offset)
{
	const struct vfio *vfio = bar->vfio;

	return vfio->msix_cap && bar->index == vfio->pba_bar &&
	       within(offset, vfio->pba_offset, pba_bytes(vfio));
}

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct vfio_bar *bar = opaque;
	struct vfio *vfio = bar->vfio;
	uint64_t value = 0;

	if (is_table(bar, offset))
		return pci_msix_read(&vfio->pci, offset - vfio->msix_offset, size);
	if (is_pba(bar, offset))
		return pci_msix_pba_read(&vfio->pci, offset - vfio->pba_offset, size);
	if (!vfio_region_pread(vfio, bar->fd_offset + offset, &value, size))
		return UINT64_MAX;
	return value;
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct vfio_bar *bar = opaque;
	struct vfio *vfio = bar->vfio;

	if (is_table(bar, offset)) {
		offset -= vfio->msix_offset;
		pci_msix_write(&vfio->pci, offset, size, value);
		vfio_irq_sync_vector(vfio, (uint32_t)(offset / PCI_MSIX_ENTRY_SIZE));
	} else if (!is_pba(bar, offset) &&
		   !vfio_region_pwrite(vfio, bar->fd_offset + offset, &value, size)) {
		log_guest("%s: a write to BAR %u at %#llx fails: %s", vfio->name, bar->index,
			  (unsigned long long)offset, strerror(errno));
	}
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* --- memslots */

static void map_area(struct vfio *vfio, uint32_t bar, struct vfio_area *area)
{
	struct error err;

	if (memslot_add(&vfio->dev.vm->memslots, vfio->pci.bar[bar].gpa + area->offset, area->bytes,
			area->hva, &area->slot, &err))
		log_guest("%s: BAR %u: %s; its accesses exit to the VMM", vfio->name, bar, err.msg);
	else
		area->mapped = true;
}

static void sync_areas(struct vfio *vfio, uint32_t bar)
{
	struct vfio_bar *b = &vfio->bar[bar];
	bool map = vfio->pci.bar[bar].mapped && !vfio->powered_off;

	for (struct vfio_area *area = b->area; area < b->area + b->nareas; area++) {
		if (area->mapped && !map) {
			area->mapped = memslot_del(&vfio->dev.vm->memslots, area->slot);
		} else if (!area->mapped && map) {
			map_area(vfio, bar, area);
		}
	}
}

void vfio_region_bar_changed(struct device *dev, uint32_t bar)
{
	sync_areas(container_of(dev, struct vfio, dev), bar);
}

static bool any_mapped(const struct vfio *vfio)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		for (uint32_t i = 0; i < vfio->bar[bar].nareas; i++)
			if (vfio->bar[bar].area[i].mapped)
				return true;
	return false;
}

bool vfio_region_power(struct vfio *vfio, bool on)
{
	if (vfio->powered_off == on) {
		vfio->powered_off = !on;
		for (uint32_t bar = 0; bar < PCI_BARS; bar++)
			sync_areas(vfio, bar);
	}
	return on || !any_mapped(vfio);
}

/* --- sizes and kinds */

/* For one ioctl. A region whose capabilities need more room is not mapped. */
union region_info {
	struct vfio_region_info head;
	uint8_t bytes[INFO_BYTES];
};

static int region_info(const struct vfio *vfio, uint32_t index, union region_info *info,
		       struct error *err)
{
	*info = (union region_info){.head = {.argsz = sizeof(*info), .index = index}};
	if (ioctl(vfio->fd, VFIO_DEVICE_GET_REGION_INFO, info))
		return error_set(err, -errno, "VFIO_DEVICE_GET_REGION_INFO of region %u: %s", index,
				 strerror(errno));
	return 0;
}

/* The register of the BAR has its kind. */
static int open_bar(struct vfio *vfio, uint32_t bar, struct error *err)
{
	struct pci_bar *b = &vfio->pci.bar[bar];
	union region_info info;
	uint32_t reg;
	int ret = region_info(vfio, VFIO_PCI_BAR0_REGION_INDEX + bar, &info, err);

	if (ret || !info.head.size)
		return ret;
	if (!vfio_region_pread(vfio, vfio->config_offset + PCI_BASE_ADDRESS_0 + 4ull * bar, &reg,
			       sizeof(reg)))
		return error_set(err, -EIO, "the register of BAR %u cannot be read", bar);
	vfio->bar[bar] = (struct vfio_bar){.vfio = vfio,
					   .index = bar,
					   .fd_offset = info.head.offset,
					   .bytes = info.head.size,
					   .flags = info.head.flags};
	b->size_bytes = info.head.size;
	b->is_io = reg & PCI_BASE_ADDRESS_SPACE_IO;
	b->is_64bit = !b->is_io && reg & PCI_BASE_ADDRESS_MEM_TYPE_64;
	b->is_prefetchable = !b->is_io && reg & PCI_BASE_ADDRESS_MEM_PREFETCH;
	b->ops = &bar_ops;
	b->opaque = &vfio->bar[bar];
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

int vfio_region_open(struct vfio *vfio, struct error *err)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
		int ret = open_bar(vfio, bar, err);

		if (ret)
			return ret;
		if (bar && vfio->pci.bar[bar].size_bytes && vfio->pci.bar[bar - 1].is_64bit)
			return error_set(err, -EINVAL, "BAR %u lies in the upper half of BAR %u",
					 bar, bar - 1);
	}
	return 0;
}

/* --- areas */

struct hole {
	uint64_t start, end;
};

static void add_area(const struct vfio *vfio, struct vfio_bar *b, uint64_t start, uint64_t end)
{
	struct vfio_area *area = &b->area[b->nareas];

	start = (start + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1);
	end &= ~(PAGE_BYTES - 1);
	if (start >= end || b->nareas == VFIO_AREAS_MAX)
		return;
	*area = (struct vfio_area){.offset = start, .bytes = end - start};
	area->hva = mmap(NULL, area->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vfio->fd,
			 (off_t)(b->fd_offset + start));
	if (area->hva != MAP_FAILED)
		b->nareas++;
	else
		log_warn("%s: a BAR cannot be mapped (%s): its accesses exit to the VMM",
			 vfio->name, strerror(errno));
}

/* holes: sorted */
static void add_areas(const struct vfio *vfio, struct vfio_bar *b, uint64_t start, uint64_t end,
		      const struct hole *hole, uint32_t nholes)
{
	for (; nholes; hole++, nholes--) {
		add_area(vfio, b, start, end < hole->start ? end : hole->start);
		if (start < hole->end)
			start = hole->end;
	}
	add_area(vfio, b, start, end);
}

/* Whole pages are excluded: what shares them with the table is accessed by exits. */
static uint32_t find_holes(const struct vfio *vfio, uint32_t bar, struct hole *hole)
{
	uint64_t table_end = vfio->msix_offset + (uint64_t)vfio->pci.nvectors * PCI_MSIX_ENTRY_SIZE;
	uint64_t pba_end = vfio->pba_offset + pba_bytes(vfio);
	struct hole first;
	uint32_t n = 0;

	if (vfio->msix_cap && bar == vfio->msix_bar)
		hole[n++] = (struct hole){vfio->msix_offset & ~(PAGE_BYTES - 1),
					  (table_end + PAGE_BYTES - 1) & ~(PAGE_BYTES - 1)};
	if (vfio->msix_cap && bar == vfio->pba_bar)
		hole[n++] = (struct hole){vfio->pba_offset & ~(PAGE_BYTES - 1),
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

static void map_bar(struct vfio *vfio, uint32_t bar)
{
	const struct vfio_region_info_cap_sparse_mmap *sparse;
	struct vfio_bar *b = &vfio->bar[bar];
	struct hole hole[2];
	uint32_t nholes = find_holes(vfio, bar, hole);
	union region_info info;
	bool is_bad;

	if (vfio->pci.bar[bar].is_io || (b->flags & MAPPABLE) != MAPPABLE ||
	    region_info(vfio, VFIO_PCI_BAR0_REGION_INDEX + bar, &info, NULL) ||
	    info.head.argsz > sizeof(info))
		return;
	sparse = find_sparse(&info, &is_bad);
	if (is_bad)
		return;
	if (!sparse)
		add_areas(vfio, b, 0, b->bytes, hole, nholes);
	for (uint32_t i = 0; sparse && i < sparse->nr_areas; i++) {
		uint64_t start = sparse->areas[i].offset, bytes = sparse->areas[i].size;

		if (start <= b->bytes && bytes <= b->bytes - start)
			add_areas(vfio, b, start, start + bytes, hole, nholes);
	}
}

void vfio_region_map(struct vfio *vfio)
{
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		map_bar(vfio, bar);
}

void vfio_region_close(struct vfio *vfio)
{
	for (struct vfio_bar *b = vfio->bar; b < vfio->bar + PCI_BARS; b++)
		while (b->nareas) {
			struct vfio_area *area = &b->area[--b->nareas];

			/* If a memslot remains, the guest must not reach what is mapped here next. */
			if (!area->mapped)
				munmap(area->hva, area->bytes);
		}
}
