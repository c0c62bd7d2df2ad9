/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config space of a function that is passed through. What is not in a table here the guest does not see;
 * addresses and interrupts are its own, not the host's. PCI Local Bus 3.0, chapter 6; PCI Express Base
 * 3.0, 7.8; PCI Power Management 1.2, 3.2. */
#include "devices/vfio/vfio.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

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
	uint32_t shown;	   /* as the function has it */
	uint32_t passed;   /* the function's own, for reads and writes */
	uint32_t writable; /* emulated */
	uint32_t fixed;	   /* ones */
};
#define COUNT(array) ((uint32_t)(sizeof(array) / sizeof((array)[0])))

/* Beyond what pci.c has; that there are capabilities is its bit. */
static const struct field header[] = {
	{PCI_STATUS, 2, .passed = 0xffff & ~PCI_STATUS_CAP_LIST},
};

/* No PME: nobody would take the message. */
static const struct field pm[] = {
	{PCI_PM_PMC, 2, .shown = 0xffff & ~PCI_PM_CAP_PME_MASK},
	{PCI_PM_CTRL, 2, .passed = PM_PASSED},
	{PCI_PM_DATA_REGISTER, 1, .passed = 0xff},
};

/* On the root bus there is no link, so it is an endpoint of the root complex. */
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

static uint32_t get(const uint8_t *config, uint32_t offset, uint32_t bytes)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < bytes; i++)
		value |= (uint32_t)config[offset + i] << (8 * i);
	return value;
}

uint32_t vfio_config_seen(const struct device *dev, uint32_t offset, uint32_t bytes)
{
	const struct vfio_state *s = dev->state;

	return get(s->pci.config, offset, bytes);
}

int vfio_config_get(const struct vfio_host *host, uint32_t offset, void *data, uint32_t bytes,
		    struct error *err)
{
	if (vfio_region_pread(host, host->config_offset + offset, data, bytes))
		return 0;
	return error_set(err, -EIO, "its config space cannot be read at %#x", offset);
}

/* --- what there is */

/* While its capabilities are looked at. */
struct found {
	struct vfio_host *host;
	const uint8_t *config; /* the function's */
	uint8_t at;
	uint32_t room; /* up to the next capability or the end */
	struct pci_reg reg[PCI_CONFIG_BYTES];
	uint32_t nregs;
};

static void add_fields(struct found *cap, const struct field *field, uint32_t nfields)
{
	for (const struct field *f = field; f < field + nfields; f++) {
		uint32_t value = get(cap->config, cap->at + f->offset, f->bytes);

		cap->reg[cap->nregs++] = (struct pci_reg){
			.offset = f->offset,
			.bytes = f->bytes,
			.value = (value & (f->shown | f->passed)) | f->fixed,
			.writable = f->writable | f->passed,
		};
		for (uint32_t i = 0; i < f->bytes; i++)
			cap->host->passed[cap->at + f->offset + i] =
				(uint8_t)(f->passed >> (8 * i));
	}
}

static int add_pm(struct found *cap, struct error *err)
{
	(void)err;
	cap->host->pm_cap = cap->at;
	add_fields(cap, pm, COUNT(pm));
	return PCI_PM_SIZEOF;
}

static int add_exp(struct found *cap, struct error *err)
{
	uint32_t version = cap->config[cap->at + PCI_EXP_FLAGS] & PCI_EXP_FLAGS_VERS;

	(void)err;
	cap->host->exp_cap = cap->at;
	add_fields(cap, exp_v1, COUNT(exp_v1));
	if (version < EXP_VERSION_2 || cap->room < EXP_V2_BYTES)
		return EXP_V1_BYTES;
	add_fields(cap, exp_v2, COUNT(exp_v2));
	return EXP_V2_BYTES;
}

/* What is in it only the function's own driver knows; to read there may do something, as the window
 * into a virtio device's BARs does. */
static int add_vendor(struct found *cap, struct error *err)
{
	static const struct field length = {PCI_CAP_FLAGS, 1, .shown = 0xff};
	uint32_t bytes = cap->config[cap->at + PCI_CAP_FLAGS];

	(void)err;
	if (bytes > cap->room)
		bytes = cap->room;
	add_fields(cap, &length, 1);
	for (uint32_t i = PCI_CAP_FLAGS + 1; i < bytes; i++) {
		const struct field own = {(uint8_t)i, 1, .passed = 0xff};

		add_fields(cap, &own, 1);
		cap->host->acts[(cap->at + i) / 4] = true;
	}
	return (int)(bytes > PCI_CAP_FLAGS ? bytes : PCI_CAP_FLAGS + 1);
}

static int add_msi(struct found *cap, struct error *err)
{
	struct vfio_host *host = cap->host;
	uint32_t flags = get(cap->config, cap->at + PCI_MSI_FLAGS, 2);
	uint32_t bits = (flags & PCI_MSI_FLAGS_QMASK) >> 1;
	bool is_64bit = flags & PCI_MSI_FLAGS_64BIT;
	uint8_t mask_at = is_64bit ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;
	uint32_t bytes = mask_at + (flags & PCI_MSI_FLAGS_MASKBIT ? 8u : 0u);

	(void)err;
	/* 0: it is left out. */
	if (bytes > cap->room || 1u << bits > MSI_VECTORS_MAX ||
	    vfio_irq_count(host, VFIO_PCI_MSI_IRQ_INDEX) < 1u << bits)
		return 0;
	host->msi_cap = cap->at;
	host->nmsis = 1u << bits;
	if (is_64bit)
		add_fields(cap, msi_64, COUNT(msi_64));
	else
		add_fields(cap, msi_32, COUNT(msi_32));
	if (flags & PCI_MSI_FLAGS_MASKBIT) {
		const struct field mask = {mask_at, 4,
					   .writable = UINT32_MAX >> (32 - host->nmsis)};

		/* Refreshed by each read, so what is written there does not matter. */
		const struct field pending = {(uint8_t)(mask_at + 4), 4, .writable = ~0u};

		add_fields(cap, &mask, 1);
		add_fields(cap, &pending, 1);
	}
	return (int)bytes;
}

/* The table and the pending bits stay where they are, but ours are in their place. */
static int add_msix(struct found *cap, struct error *err)
{
	struct vfio_host *host = cap->host;
	uint32_t n = (get(cap->config, cap->at + PCI_MSIX_FLAGS, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;
	uint32_t table = get(cap->config, cap->at + PCI_MSIX_TABLE, 4);
	uint32_t pba = get(cap->config, cap->at + PCI_MSIX_PBA, 4);
	uint64_t table_end = (table & PCI_MSIX_TABLE_OFFSET) + (uint64_t)n * PCI_MSIX_ENTRY_SIZE;
	uint64_t pba_end = (pba & PCI_MSIX_PBA_OFFSET) + (n + 63ull) / 64 * 8;

	host->msix_bar = table & PCI_MSIX_TABLE_BIR;
	host->msix_offset = table & PCI_MSIX_TABLE_OFFSET;
	host->pba_bar = pba & PCI_MSIX_PBA_BIR;
	host->pba_offset = pba & PCI_MSIX_PBA_OFFSET;
	if (host->msix_bar >= PCI_BARS || host->pba_bar >= PCI_BARS ||
	    table_end > host->bar[host->msix_bar].bytes || pba_end > host->bar[host->pba_bar].bytes)
		return error_set(err, -EINVAL,
				 "its MSI-X table (%#x) or pending bits (%#x) are in no BAR of it",
				 table, pba);
	if (vfio_irq_count(host, VFIO_PCI_MSIX_IRQ_INDEX) < n)
		return error_set(err, -EINVAL, "it has %u MSI-X vectors, and VFIO knows of %u", n,
				 vfio_irq_count(host, VFIO_PCI_MSIX_IRQ_INDEX));
	host->msix_cap = cap->at;
	host->pci.nvectors = n;
	host->pci.msix_entry = ((struct vfio_state *)host->pci.dev->state)->vector;
	add_fields(cap, msix, COUNT(msix));
	return PCI_CAP_MSIX_SIZEOF;
}

static const struct known {
	uint8_t id, bytes; /* at least */
	/* How many bytes it has for the guest, 0: none; or -errno. */
	int (*add)(struct found *cap, struct error *err);
} known[] = {
	{PCI_CAP_ID_PM, PCI_PM_SIZEOF, add_pm},
	{PCI_CAP_ID_MSI, PCI_MSI_MASK_32, add_msi},
	{PCI_CAP_ID_VNDR, PCI_CAP_FLAGS + 1, add_vendor},
	{PCI_CAP_ID_EXP, EXP_V1_BYTES, add_exp},
	{PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, add_msix},
};

/* Each kind once, but for the vendor's. */
static const struct known *find_known(uint8_t id, uint64_t *had)
{
	for (uint32_t i = 0; i < COUNT(known); i++)
		if (known[i].id == id) {
			bool again = *had >> i & 1 && id != PCI_CAP_ID_VNDR;

			*had |= 1ull << i;
			return again ? NULL : &known[i];
		}
	return NULL;
}

/* Offsets in the order of the list, up to where it ends, or bites its tail, or leaves config space. */
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

static int add_caps(struct vfio_host *host, const uint8_t *config, struct error *err)
{
	uint8_t at[CAPS_MAX];
	uint32_t n = list_caps(config, at);
	uint64_t had = 0;

	for (uint32_t i = 0; i < n; i++) {
		const struct known *k = find_known(config[at[i]], &had);
		struct found cap = {.host = host, .config = config, .at = at[i]};
		int bytes;

		cap.room = room_at(at[i], at, n);
		if (!k || cap.room < k->bytes)
			continue;
		bytes = k->add(&cap, err);
		if (bytes < 0)
			return bytes;
		if (bytes)
			pci_put_cap(&host->pci, at[i], k->id, (uint8_t)bytes, cap.reg, cap.nregs);
	}
	return 0;
}

static void add_header(struct vfio_host *host, const uint8_t *config)
{
	struct found all = {.host = host, .config = config};
	struct pci_func *func = &host->pci;

	func->vendor = (uint16_t)get(config, PCI_VENDOR_ID, 2);
	func->device = (uint16_t)get(config, PCI_DEVICE_ID, 2);
	func->subsystem_vendor = (uint16_t)get(config, PCI_SUBSYSTEM_VENDOR_ID, 2);
	func->subsystem = (uint16_t)get(config, PCI_SUBSYSTEM_ID, 2);
	func->class_code = get(config, PCI_CLASS_PROG, 3);
	func->revision = config[PCI_REVISION_ID];
	func->no_intx =
		!config[PCI_INTERRUPT_PIN] || !vfio_irq_count(host, VFIO_PCI_INTX_IRQ_INDEX);
	add_fields(&all, header, COUNT(header));
	pci_put_regs(func, all.reg, all.nregs);
}

int vfio_config_open(struct device *dev, struct error *err)
{
	struct vfio_host *host = dev->host;
	uint8_t config[PCI_CONFIG_BYTES];
	int ret = vfio_config_get(host, 0, config, sizeof(config), err);

	if (ret)
		return ret;
	if ((config[PCI_HEADER_TYPE] & PCI_HEADER_TYPE_MASK) != PCI_HEADER_TYPE_NORMAL)
		return error_set(err, -EINVAL, "it is a bridge: pass through what lies behind it");
	add_header(host, config);
	return add_caps(host, config, err);
}

/* --- accesses */

/* Bytes from offset on that are the function's own, or are not, up to end. */
static uint32_t run(const struct vfio_host *host, uint32_t offset, uint32_t end)
{
	uint32_t at = offset;

	while (at < end && !host->passed[at] == !host->passed[offset])
		at++;
	return at - offset;
}

static void put_passed(struct device *dev, uint32_t offset, uint32_t bytes, const uint8_t *data)
{
	struct vfio_state *s = dev->state;
	const struct vfio_host *host = dev->host;

	for (uint32_t i = 0; i < bytes; i++) {
		uint8_t mask = host->passed[offset + i], *config = &s->pci.config[offset + i];

		*config = (uint8_t)((*config & ~mask) | (data[i] & mask));
	}
}

/* Of MSI: which vectors have been raised while they were masked. */
static void show_pending(struct device *dev)
{
	struct vfio_state *s = dev->state;
	const struct vfio_host *host = dev->host;
	uint8_t *cap = s->pci.config + host->msi_cap;
	uint32_t flags = get(cap, PCI_MSI_FLAGS, 2), bits = 0;

	if (!host->msi_cap || !(flags & PCI_MSI_FLAGS_MASKBIT))
		return;
	for (uint32_t i = 0; host->irq_mode == VFIO_IRQ_MSI && i < host->nmsis; i++)
		bits |= (uint32_t)vfio_irq_pending(dev, i) << i;
	cap += flags & PCI_MSI_FLAGS_64BIT ? PCI_MSI_PENDING_64 : PCI_MSI_PENDING_32;
	for (uint32_t i = 0; i < sizeof(bits); i++)
		cap[i] = (uint8_t)(bits >> (8 * i));
}

void vfio_config_read(struct device *dev, uint32_t offset, uint32_t bytes)
{
	const struct vfio_host *host = dev->host;
	uint8_t data[PCI_CONFIG_BYTES];

	for (uint32_t at = offset, n; at < offset + bytes; at += n) {
		n = run(host, at, offset + bytes);
		if (!host->passed[at])
			continue;
		if (vfio_config_get(host, at, data, n, NULL))
			memset(data, 0xff, n);
		put_passed(dev, at, n, data);
	}
	show_pending(dev);
}

/* Bits of these bytes that are not the function's own are such as nobody can set there. */
static void forward(const struct device *dev, uint32_t offset, uint32_t bytes)
{
	const struct vfio_state *s = dev->state;
	const struct vfio_host *host = dev->host;
	uint8_t data[PCI_CONFIG_BYTES];

	for (uint32_t at = offset, n; at < offset + bytes; at += n) {
		n = run(host, at, offset + bytes);
		if (!host->passed[at])
			continue;
		for (uint32_t i = 0; i < n; i++)
			data[i] = s->pci.config[at + i] & host->passed[at + i];
		if (!vfio_region_pwrite(host, host->config_offset + at, data, n))
			log_guest("%s (%s): a write to its config space at %#x fails: %s",
				  host->config->id, host->config->host, at, strerror(errno));
	}
}

static int put_command(struct device *dev, bool may_master, struct error *err)
{
	const struct vfio_state *s = dev->state;
	const struct vfio_host *host = dev->host;
	uint16_t guest = (uint16_t)get(s->pci.config, PCI_COMMAND, 2), own;
	uint32_t pass = PCI_COMMAND_INTX_DISABLE | (may_master ? PCI_COMMAND_MASTER : 0);

	if (vfio_config_get(host, PCI_COMMAND, &own, sizeof(own), err))
		return -EIO;
	own &= (uint16_t) ~(PCI_COMMAND_INTX_DISABLE | PCI_COMMAND_MASTER);
	/* Its BARs lie where the host has put them and may always answer there: were they switched
	 * off, a vCPU that reaches one meanwhile could not go on. */
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		if (host->pci.bar[bar].size_bytes)
			own |= host->pci.bar[bar].is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;
	own |= (uint16_t)(guest & pass);
	if (!vfio_region_pwrite(host, host->config_offset + PCI_COMMAND, &own, sizeof(own)))
		return error_set(err, -EIO, "its command register cannot be written: %s",
				 strerror(errno));
	return 0;
}

void vfio_config_command(struct device *dev)
{
	const struct vfio_host *host = dev->host;
	struct error err;

	if (put_command(dev, !host->must_reset, &err))
		log_guest("%s (%s): %s", host->config->id, host->config->host, err.msg);
}

int vfio_config_isolate(struct device *dev, struct error *err)
{
	const struct vfio_host *host = dev->host;
	int ret = put_command(dev, false, err);
	uint16_t own;

	ret = ret ? ret : vfio_config_get(host, PCI_COMMAND, &own, sizeof(own), err);
	if (!ret && own & PCI_COMMAND_MASTER)
		ret = error_set(err, -EIO, "its command register keeps the bit that was cleared");
	if (ret)
		error_prefix(
			err,
			"%s (%s): it cannot be stopped from being a bus master, which "
			"reaches guest RAM: if it is broken, as the host's kernel log may tell, "
			"shut the guest down",
			host->config->id, host->config->host);
	return ret;
}

void vfio_config_power(struct device *dev)
{
	const struct vfio_host *host = dev->host;
	uint16_t control;

	if (host->pm_cap)
		(void)vfio_region_power(dev, !vfio_config_get(host, host->pm_cap + PCI_PM_CTRL,
							      &control, sizeof(control), NULL) &&
						     !(control & PCI_PM_CTRL_STATE_MASK));
}

static bool overlaps(uint32_t offset, uint32_t bytes, uint32_t at, uint32_t at_bytes)
{
	return offset < at + at_bytes && at < offset + bytes;
}

void vfio_config_written(struct device *dev, uint32_t offset, uint32_t bytes)
{
	const struct vfio_host *host = dev->host;
	bool is_pm = host->pm_cap && overlaps(offset, bytes, host->pm_cap + PCI_PM_CTRL, 2);
	/* A function level reset ends D3, too. */
	bool is_reset = host->exp_cap && overlaps(offset, bytes, host->exp_cap + PCI_EXP_DEVCTL, 2);

	/* Whatever it is that the guest has written: accesses find the BARs again afterwards. One that
	 * stays mapped must answer. */
	if (!is_pm || vfio_region_power(dev, false))
		forward(dev, offset, bytes);
	if (is_pm || is_reset)
		vfio_config_power(dev);
	/* On the way to D0 and behind a reset the host's kernel puts back what it has saved before. */
	if (is_pm || is_reset || overlaps(offset, bytes, PCI_COMMAND, 2))
		vfio_config_command(dev);
	/* With the capabilities come masks. */
	vfio_irq_sync(dev, (host->msi_cap &&
			    overlaps(offset, bytes, host->msi_cap, PCI_MSI_PENDING_64)) ||
				   (host->msix_cap && overlaps(offset, bytes, host->msix_cap, 4)));
}

void vfio_config_refresh(struct device *dev)
{
	const struct vfio_host *host = dev->host;

	for (uint32_t at = 0; at < PCI_CONFIG_BYTES; at += 4)
		if (!host->acts[at / 4])
			vfio_config_read(dev, at, 4);
}
