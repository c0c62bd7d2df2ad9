/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest sees of a VFIO device: its BARs and its config space.
 *
 * What can be mapped of a BAR becomes memslots; other accesses go through the descriptor. Of config space
 * there is only what is in the tables here; BAR addresses and interrupts are emulated. PCI Local Bus 3.0,
 * chapter 6; PCI Express Base 3.0, 7.8; PCI Power Management 1.2, 3.2. */
#include "devices/vfio/vfio.h"
#include "vmm/base/bytes.h"
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

static bool read_at(const struct vfio *vfio, uint64_t at, void *data, uint32_t bytes)
{
	return pread(vfio->fd, data, bytes, (off_t)at) == (ssize_t)bytes;
}

static bool write_at(const struct vfio *vfio, uint64_t at, const void *data, uint32_t bytes)
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
	if (!read_at(vfio, bar->fd_offset + offset, &value, size))
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
	} else if (!is_pba(bar, offset) && !write_at(vfio, bar->fd_offset + offset, &value, size)) {
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

static void bar_changed(struct device *dev, uint32_t bar)
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

/* False: a BAR is still mapped that should not be. */
static bool set_power(struct vfio *vfio, bool on)
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
	if (!read_at(vfio, vfio->config_offset + PCI_BASE_ADDRESS_0 + 4ull * bar, &reg,
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

static int open_bars(struct vfio *vfio, struct error *err)
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

void vfio_config_close(struct vfio *vfio)
{
	for (struct vfio_bar *b = vfio->bar; b < vfio->bar + PCI_BARS; b++)
		while (b->nareas) {
			struct vfio_area *area = &b->area[--b->nareas];

			/* If a memslot remains, the guest must not reach what is mapped here next. */
			if (!area->mapped)
				munmap(area->hva, area->bytes);
		}
}

/* --- config space */

#define CAPS_MAX	((PCI_CONFIG_BYTES - PCI_STD_HEADER_SIZEOF) / 4)
#define EXP_VERSION_2	2
#define EXP_V1_BYTES	PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V1
#define EXP_V2_BYTES	PCI_CAP_EXP_RC_ENDPOINT_SIZEOF_V2
#define PM_PASSED	(0xffff & ~(PCI_PM_CTRL_PME_ENABLE | PCI_PM_CTRL_PME_STATUS))
#define MSI_VECTORS_MAX 32
#define MSI_SHOWN	(PCI_MSI_FLAGS_QMASK | PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT)

/* One register. A bit that is in none of the masks reads as zero. */
struct field {
	uint8_t offset, bytes;
	uint32_t shown;	   /* read once from the function */
	uint32_t passed;   /* each access goes to the function */
	uint32_t writable; /* emulated */
	uint32_t fixed;	   /* ones */
};

/* In addition to the header in pci.c, which has the capability list bit. */
static const struct field header[] = {
	{PCI_STATUS, 2, .passed = 0xffff & ~PCI_STATUS_CAP_LIST},
};

/* No PME: its messages would reach no one. */
static const struct field pm[] = {
	{PCI_PM_PMC, 2, .shown = 0xffff & ~PCI_PM_CAP_PME_MASK},
	{PCI_PM_CTRL, 2, .passed = PM_PASSED},
	{PCI_PM_DATA_REGISTER, 1, .passed = 0xff},
};

/* The guest sees it on the root bus, without a link: as a root complex integrated endpoint. */
static const struct field exp_v1[] = {
	{PCI_EXP_FLAGS, 2, .shown = PCI_EXP_FLAGS_VERS | PCI_EXP_FLAGS_IRQ,
	 .fixed = PCI_EXP_TYPE_RC_END << 4},
	{PCI_EXP_DEVCAP, 4, .shown = ~0u},
	{PCI_EXP_DEVCTL, 2, .passed = 0xffff},
	{PCI_EXP_DEVSTA, 2, .passed = 0xffff},
};
static const struct field exp_v2[] = {
	{PCI_EXP_DEVCAP2, 4, .shown = ~0u},
	{PCI_EXP_DEVCTL2, 2, .passed = 0xffff},
	{PCI_EXP_DEVSTA2, 2, .passed = 0xffff},
};

static const struct field msix[] = {
	{PCI_MSIX_FLAGS, 2, .shown = PCI_MSIX_FLAGS_QSIZE,
	 .writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL},
	{PCI_MSIX_TABLE, 4, .shown = ~0u},
	{PCI_MSIX_PBA, 4, .shown = ~0u},
};

static const struct field msi_32[] = {
	{PCI_MSI_FLAGS, 2, .shown = MSI_SHOWN,
	 .writable = PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE},
	{PCI_MSI_ADDRESS_LO, 4, .writable = ~3u},
	{PCI_MSI_DATA_32, 2, .writable = 0xffff},
};
static const struct field msi_64[] = {
	{PCI_MSI_FLAGS, 2, .shown = MSI_SHOWN,
	 .writable = PCI_MSI_FLAGS_ENABLE | PCI_MSI_FLAGS_QSIZE},
	{PCI_MSI_ADDRESS_LO, 4, .writable = ~3u},
	{PCI_MSI_ADDRESS_HI, 4, .writable = ~0u},
	{PCI_MSI_DATA_64, 2, .writable = 0xffff},
};

/* Reads config space of the function. */
static int read_own(const struct vfio *vfio, uint32_t offset, void *data, uint32_t bytes,
		    struct error *err)
{
	if (read_at(vfio, vfio->config_offset + offset, data, bytes))
		return 0;
	return error_set(err, -EIO, "its config space cannot be read at %#x", offset);
}

/* --- capabilities */

/* One capability while it is added. */
struct found {
	struct vfio *vfio;
	const uint8_t *config; /* of the function */
	uint8_t at;
	uint32_t room; /* up to the next capability or the end */
	struct pci_reg reg[PCI_CONFIG_BYTES];
	uint32_t nregs;
	struct error *err;
};

static void add_fields(struct found *cap, const struct field *field, uint32_t nfields)
{
	for (const struct field *f = field; f < field + nfields; f++) {
		uint32_t value = get_le(cap->config + cap->at + f->offset, f->bytes);

		cap->reg[cap->nregs++] = (struct pci_reg){
			.offset = f->offset,
			.bytes = f->bytes,
			.value = (value & (f->shown | f->passed)) | f->fixed,
			.writable = f->writable | f->passed,
		};
		put_le(cap->vfio->passed + cap->at + f->offset, f->bytes, f->passed);
	}
}

static int add_pm(struct found *cap)
{
	cap->vfio->pm_cap = cap->at;
	add_fields(cap, pm, ARRAY_SIZE(pm));
	return PCI_PM_SIZEOF;
}

static int add_exp(struct found *cap)
{
	uint32_t version = cap->config[cap->at + PCI_EXP_FLAGS] & PCI_EXP_FLAGS_VERS;

	cap->vfio->exp_cap = cap->at;
	add_fields(cap, exp_v1, ARRAY_SIZE(exp_v1));
	if (version < EXP_VERSION_2 || cap->room < EXP_V2_BYTES)
		return EXP_V1_BYTES;
	add_fields(cap, exp_v2, ARRAY_SIZE(exp_v2));
	return EXP_V2_BYTES;
}

/* Only the driver knows its contents. A read may have a side effect, as in the virtio capability that gives
 * access to BARs. */
static int add_vendor(struct found *cap)
{
	static const struct field length = {PCI_CAP_FLAGS, 1, .shown = 0xff};
	uint32_t bytes = cap->config[cap->at + PCI_CAP_FLAGS];

	if (bytes > cap->room)
		bytes = cap->room;
	add_fields(cap, &length, 1);
	for (uint32_t i = PCI_CAP_FLAGS + 1; i < bytes; i++) {
		const struct field own = {(uint8_t)i, 1, .passed = 0xff};

		add_fields(cap, &own, 1);
		cap->vfio->has_effect[(cap->at + i) / 4] = true;
	}
	return (int)(bytes > PCI_CAP_FLAGS ? bytes : PCI_CAP_FLAGS + 1);
}

static int add_msi(struct found *cap)
{
	struct vfio *vfio = cap->vfio;
	uint32_t flags = get_le(cap->config + cap->at + PCI_MSI_FLAGS, 2);
	uint32_t bits = (flags & PCI_MSI_FLAGS_QMASK) >> 1;
	bool is_64bit = flags & PCI_MSI_FLAGS_64BIT;
	uint8_t mask_at = is_64bit ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
	uint32_t bytes = mask_at + (flags & PCI_MSI_FLAGS_MASKBIT ? 8u : 0u);

	/* 0: the guest does not see it. */
	if (bytes > cap->room || 1u << bits > MSI_VECTORS_MAX ||
	    vfio_irq_count(vfio, VFIO_PCI_MSI_IRQ_INDEX) < 1u << bits)
		return 0;
	vfio->msi_cap = cap->at;
	vfio->nmsis = 1u << bits;
	if (is_64bit)
		add_fields(cap, msi_64, ARRAY_SIZE(msi_64));
	else
		add_fields(cap, msi_32, ARRAY_SIZE(msi_32));
	if (flags & PCI_MSI_FLAGS_MASKBIT) {
		const struct field mask = {mask_at, 4,
					   .writable = UINT32_MAX >> (32 - vfio->nmsis)};

		/* Writable, because each read refreshes it anyway. */
		const struct field pending = {(uint8_t)(mask_at + 4), 4, .writable = ~0u};

		add_fields(cap, &mask, 1);
		add_fields(cap, &pending, 1);
	}
	return (int)bytes;
}

/* At the same place the guest has our table and pending bits. */
static int add_msix(struct found *cap)
{
	struct vfio *vfio = cap->vfio;
	uint32_t n = (get_le(cap->config + cap->at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
	uint32_t table = get_le(cap->config + cap->at + PCI_MSIX_TABLE, 4);
	uint32_t pba = get_le(cap->config + cap->at + PCI_MSIX_PBA, 4);
	uint64_t table_end = (table & PCI_MSIX_TABLE_OFFSET) + (uint64_t)n * PCI_MSIX_ENTRY_SIZE;
	uint64_t pba_end = (pba & PCI_MSIX_PBA_OFFSET) + (n + 63ull) / 64 * 8;

	vfio->msix_bar = table & PCI_MSIX_TABLE_BIR;
	vfio->msix_offset = table & PCI_MSIX_TABLE_OFFSET;
	vfio->pba_bar = pba & PCI_MSIX_PBA_BIR;
	vfio->pba_offset = pba & PCI_MSIX_PBA_OFFSET;
	if (vfio->msix_bar >= PCI_BARS || vfio->pba_bar >= PCI_BARS ||
	    table_end > vfio->bar[vfio->msix_bar].bytes || pba_end > vfio->bar[vfio->pba_bar].bytes)
		return error_set(cap->err, -EINVAL,
				 "its MSI-X table (%#x) or pending bits (%#x) are outside its BARs",
				 table, pba);
	if (vfio_irq_count(vfio, VFIO_PCI_MSIX_IRQ_INDEX) < n)
		return error_set(cap->err, -EINVAL, "it has %u MSI-X vectors, and VFIO knows of %u",
				 n, vfio_irq_count(vfio, VFIO_PCI_MSIX_IRQ_INDEX));
	vfio->msix_cap = cap->at;
	vfio->pci.nvectors = n;
	vfio->pci.msix_entry = vfio->s.vector;
	add_fields(cap, msix, ARRAY_SIZE(msix));
	return PCI_CAP_MSIX_SIZEOF;
}

static const struct known {
	uint8_t id, bytes; /* minimum */
	/* Returns its size for the guest, 0: hidden; or -errno. */
	int (*add)(struct found *cap);
} known[] = {
	{PCI_CAP_ID_PM, PCI_PM_SIZEOF, add_pm},
	{PCI_CAP_ID_MSI, PCI_MSI_MASK_32, add_msi},
	{PCI_CAP_ID_VNDR, PCI_CAP_FLAGS + 1, add_vendor},
	{PCI_CAP_ID_EXP, EXP_V1_BYTES, add_exp},
	{PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, add_msix},
};

/* Each kind once, except vendor-specific ones. */
static const struct known *find_known(uint8_t id, uint64_t *had)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].id == id) {
			bool again = *had >> i & 1 && id != PCI_CAP_ID_VNDR;

			*had |= 1ull << i;
			return again ? NULL : &known[i];
		}
	return NULL;
}

/* Offsets in list order. Stops also where the capability list loops or leaves config space. */
static uint32_t list_caps(const uint8_t *config, uint8_t *at)
{
	uint8_t next = config[PCI_CAPABILITY_LIST] & 0xfc;
	uint64_t seen = 0;
	uint32_t n = 0;

	if (!(config[PCI_STATUS] & PCI_STATUS_CAP_LIST))
		return 0;
	while (next >= PCI_STD_HEADER_SIZEOF && !(seen >> next / 4 & 1)) {
		seen |= 1ull << next / 4;
		at[n++] = next;
		next = config[next + PCI_CAP_LIST_NEXT] & 0xfc;
	}
	return n;
}

static uint32_t room_at(uint8_t at, const uint8_t *other, uint32_t nothers)
{
	uint32_t end = PCI_CONFIG_BYTES;

	for (uint32_t i = 0; i < nothers; i++)
		if (other[i] > at && other[i] < end)
			end = other[i];
	return end - at;
}

static int add_caps(struct vfio *vfio, const uint8_t *config, struct error *err)
{
	uint8_t at[CAPS_MAX];
	uint32_t n = list_caps(config, at);
	uint64_t had = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct known *k = find_known(config[at[i]], &had);
		struct found cap = {.vfio = vfio, .config = config, .at = at[i], .err = err};
		int bytes;

		cap.room = room_at(at[i], at, n);
		if (!k || cap.room < k->bytes)
			continue;
		bytes = k->add(&cap);
		if (bytes < 0)
			return bytes;
		if (bytes)
			pci_put_cap(&vfio->pci, at[i], k->id, (uint8_t)bytes, cap.reg, cap.nregs);
	}
	return 0;
}

static void add_header(struct vfio *vfio, const uint8_t *config)
{
	struct found all = {.vfio = vfio, .config = config};
	struct pci_func *func = &vfio->pci;

	func->vendor = (uint16_t)get_le(config + PCI_VENDOR_ID, 2);
	func->device = (uint16_t)get_le(config + PCI_DEVICE_ID, 2);
	func->subsystem_vendor = (uint16_t)get_le(config + PCI_SUBSYSTEM_VENDOR_ID, 2);
	func->subsystem = (uint16_t)get_le(config + PCI_SUBSYSTEM_ID, 2);
	func->class_code = get_le(config + PCI_CLASS_PROG, 3);
	func->revision = config[PCI_REVISION_ID];
	func->no_intx =
		!config[PCI_INTERRUPT_PIN] || !vfio_irq_count(vfio, VFIO_PCI_INTX_IRQ_INDEX);
	add_fields(&all, header, ARRAY_SIZE(header));
	pci_put_regs(func, all.reg, all.nregs);
}

/* --- accesses */

/* The number of bytes from offset on that are all passed to the function, or all not. */
static uint32_t same_kind(const struct vfio *vfio, uint32_t offset, uint32_t end)
{
	uint32_t at = offset;

	while (at < end && !vfio->passed[at] == !vfio->passed[offset])
		at++;
	return at - offset;
}

static void put_passed(struct vfio *vfio, uint32_t offset, uint32_t bytes, const uint8_t *data)
{
	for (uint32_t i = 0; i < bytes; i++) {
		uint8_t mask = vfio->passed[offset + i], *config = &vfio->s.pci.config[offset + i];

		*config = (uint8_t)((*config & ~mask) | (data[i] & mask));
	}
}

/* The pending bits of MSI. */
static void show_pending(struct vfio *vfio)
{
	uint8_t *cap = vfio->s.pci.config + vfio->msi_cap;
	uint32_t flags = get_le(cap + PCI_MSI_FLAGS, 2), bits = 0;

	if (!vfio->msi_cap || !(flags & PCI_MSI_FLAGS_MASKBIT))
		return;
	for (uint32_t i = 0; vfio->irq_mode == VFIO_IRQ_MSI && i < vfio->nmsis; i++)
		bits |= (uint32_t)irq_vector_pending(&vfio->vector[i]) << i;
	cap += flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32;
	put_le(cap, sizeof(bits), bits);
}

static void refresh(struct vfio *vfio, uint32_t offset, uint32_t bytes)
{
	uint8_t data[PCI_CONFIG_BYTES];

	for (uint32_t at = offset, n; at < offset + bytes; at += n) {
		n = same_kind(vfio, at, offset + bytes);
		if (!vfio->passed[at])
			continue;
		if (read_own(vfio, at, data, n, NULL))
			memset(data, 0xff, n);
		put_passed(vfio, at, n, data);
	}
	show_pending(vfio);
}

static void config_read(struct device *dev, uint32_t offset, uint32_t bytes)
{
	refresh(container_of(dev, struct vfio, dev), offset, bytes);
}

/* Bits of these bytes that are not passed are reserved in the function: written as 0. */
static void forward(const struct vfio *vfio, uint32_t offset, uint32_t bytes)
{
	uint8_t data[PCI_CONFIG_BYTES];

	for (uint32_t at = offset, n; at < offset + bytes; at += n) {
		n = same_kind(vfio, at, offset + bytes);
		if (!vfio->passed[at])
			continue;
		for (uint32_t i = 0; i < n; i++)
			data[i] = vfio->s.pci.config[at + i] & vfio->passed[at + i];
		if (!write_at(vfio, vfio->config_offset + at, data, n))
			log_guest("%s: a write to its config space at %#x fails: %s", vfio->name,
				  at, strerror(errno));
	}
}

static int put_command(struct vfio *vfio, bool may_master, struct error *err)
{
	uint16_t guest = (uint16_t)get_le(vfio->s.pci.config + PCI_COMMAND, 2), own;
	uint32_t pass = PCI_COMMAND_INTX_DISABLE | (may_master ? PCI_COMMAND_MASTER : 0);

	if (read_own(vfio, PCI_COMMAND, &own, sizeof(own), err))
		return -EIO;
	own &= (uint16_t) ~(PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MASTER);
	/* The BARs stay enabled at their host addresses: a vCPU that reaches a disabled one through a
	 * memslot would hang. */
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		if (vfio->pci.bar[bar].size_bytes)
			own |= vfio->pci.bar[bar].is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	own |= (uint16_t)(guest & pass);
	if (!write_at(vfio, vfio->config_offset + PCI_COMMAND, &own, sizeof(own)))
		return error_set(err, -EIO, "its command register cannot be written: %s",
				 strerror(errno));
	return 0;
}

void vfio_config_command(struct vfio *vfio)
{
	struct error err;

	if (put_command(vfio, !vfio->must_reset, &err))
		log_guest("%s: %s", vfio->name, err.msg);
}

int vfio_config_isolate(struct vfio *vfio, struct error *err)
{
	int ret = put_command(vfio, false, err);
	uint16_t own;

	ret = ret ? ret : read_own(vfio, PCI_COMMAND, &own, sizeof(own), err);
	if (!ret && own & PCI_COMMAND_MASTER)
		ret = error_set(err, -EIO, "its command register keeps the bit that was cleared");
	if (ret)
		error_prefix(
			err,
			"%s: it cannot be stopped from being a bus master, which "
			"reaches guest RAM: if it is broken, as the host's kernel log may tell, "
			"shut the guest down",
			vfio->name);
	return ret;
}

void vfio_config_power(struct vfio *vfio)
{
	uint16_t control;

	if (vfio->pm_cap)
		(void)set_power(vfio, !read_own(vfio, vfio->pm_cap + PCI_PM_CTRL, &control,
						sizeof(control), NULL) &&
					      !(control & PCI_PM_CTRL_STATE_MASK));
}

static bool overlaps(uint32_t offset, uint32_t bytes, uint32_t at, uint32_t at_bytes)
{
	return offset < at + at_bytes && at < offset + bytes;
}

static void config_written(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct vfio *vfio = container_of(dev, struct vfio, dev);
	bool is_pm = vfio->pm_cap && overlaps(offset, bytes, vfio->pm_cap + PCI_PM_CTRL, 2);
	/* A function level reset also ends D3. */
	bool is_reset = vfio->exp_cap && overlaps(offset, bytes, vfio->exp_cap + PCI_EXP_DEVCTL, 2);
	bool is_command = overlaps(offset, bytes, PCI_COMMAND, 2);
	/* With the mask bits of MSI. */
	bool is_irq =
		(vfio->msi_cap && overlaps(offset, bytes, vfio->msi_cap, PCI_MSI_PENDING_64)) ||
		(vfio->msix_cap && overlaps(offset, bytes, vfio->msix_cap, PCI_MSIX_TABLE));

	/* While power changes, no BAR may be mapped; one that stays mapped must keep its power. */
	if (!is_pm || set_power(vfio, false))
		forward(vfio, offset, bytes);
	if (is_pm || is_reset)
		vfio_config_power(vfio);
	/* After a change to D0 and after a reset the host's kernel restores what it saved before. */
	if (is_pm || is_reset || is_command)
		vfio_config_command(vfio);
	/* Nothing else can change interrupts, and to look at all vectors takes time. */
	if (is_pm || is_reset || is_command || is_irq)
		vfio_irq_sync(vfio, is_irq);
}

void vfio_config_refresh(struct vfio *vfio)
{
	for (uint32_t at = 0; at < PCI_CONFIG_BYTES; at += 4)
		if (!vfio->has_effect[at / 4])
			refresh(vfio, at, 4);
}

/* --- open */

static bool msix_pending(struct device *dev, uint32_t vector)
{
	const struct vfio *vfio = container_of(dev, struct vfio, dev);

	return vfio->irq_mode == VFIO_IRQ_MSIX && irq_vector_pending(&vfio->vector[vector]);
}

static int find_config(struct vfio *vfio, struct error *err)
{
	struct vfio_region_info config = {.argsz = sizeof(config),
					  .index = VFIO_PCI_CONFIG_REGION_INDEX};

	if (ioctl(vfio->fd, VFIO_DEVICE_GET_REGION_INFO, &config))
		return error_set(err, -errno, "VFIO_DEVICE_GET_REGION_INFO of config space: %s",
				 strerror(errno));
	vfio->config_offset = config.offset;
	return 0;
}

int vfio_config_open(struct vfio *vfio, struct error *err)
{
	uint8_t config[PCI_CONFIG_BYTES];
	int ret = find_config(vfio, err);

	vfio->pci = (struct pci_func){
		.dev = &vfio->dev,
		.state = &vfio->s.pci,
		.msix_pending = msix_pending,
		.bar_changed = bar_changed,
		.config_read = config_read,
		.config_written = config_written,
	};
	ret = ret ? ret : open_bars(vfio, err);
	ret = ret ? ret : read_own(vfio, 0, config, sizeof(config), err);
	if (ret)
		return ret;
	if ((config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL)
		return error_set(err, -EINVAL, "it is a bridge: pass through a device behind it");
	add_header(vfio, config);
	ret = add_caps(vfio, config, err);
	/* Now it is known which pages have the MSI-X table and pending bits. */
	for (uint32_t bar = 0; !ret && bar < PCI_BARS; bar++)
		map_bar(vfio, bar);
	return ret;
}
