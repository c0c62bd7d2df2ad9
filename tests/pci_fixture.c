/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/pci_fixture.h"
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

struct pci_fake pci_fake[PCI_SLOTS];

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_fake *f = ((struct device *)opaque)->host;

	return (f->written + offset) & (size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1);
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_fake *f = ((struct device *)opaque)->host;

	(void)size;
	f->written = value;
	f->last_offset = offset;
}
static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

static void bar_changed(struct device *dev, uint32_t bar)
{
	struct pci_fake *f = dev->host;

	ck_assert(bar == FAKE_WIDE || bar == FAKE_NARROW || bar == FAKE_MSIX);
	f->bar_changes++;
}

static void vectors_changed(struct device *dev)
{
	struct pci_fake *f = dev->host;

	f->vector_changes++;
}

static void config_read(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct pci_fake *f = dev->host;

	ck_assert_uint_le(offset + bytes, PCI_CONFIG_BYTES);
	f->config_reads++;
}

static void config_written(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct pci_fake *f = dev->host;

	ck_assert_uint_le(offset + bytes, PCI_CONFIG_BYTES);
	f->config_writes++;
}

int pci_fixture_add(uint32_t i, struct error *err)
{
	static const struct pci_reg regs[] = {
		{.offset = 2, .bytes = 2, .value = 0x1234},
		{.offset = 4, .bytes = 4, .writable = 0x0000ff00},
		{.offset = 8, .bytes = 1, .value = 0x33},
	};
	struct pci_fake *f = &pci_fake[i];

	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->dev.lock, NULL);
	snprintf(f->dev.name, sizeof(f->dev.name), "fake%u", i);
	f->dev.vm = &rig.vm;
	f->dev.host = f;
	f->func = (struct pci_func){
		.dev = &f->dev,
		.state = &f->state,
		.vendor = 0x1af4,
		.device = 0x1041,
		.subsystem_vendor = 0x5678,
		.subsystem = 0x9abc,
		.class_code = 0x020000,
		.revision = 1,
		.bar[FAKE_WIDE] = {.size_bytes = FAKE_WIDE_BYTES,
				   .is_64bit = true,
				   .ops = &bar_ops},
		.bar[FAKE_NARROW] = {.size_bytes = FAKE_NARROW_BYTES, .ops = &bar_ops},
		.nvectors = FAKE_VECTORS,
		.msix_bar = FAKE_MSIX,
		.bar_changed = bar_changed,
		.vectors_changed = vectors_changed,
		.config_read = config_read,
		.config_written = config_written,
	};
	ck_assert_uint_eq(pci_add_cap(&f->func, PCI_CAP_ID_VNDR, 9, regs, 3), FAKE_CAP);
	return pci_add(&f->func, &rig.vm, err);
}
