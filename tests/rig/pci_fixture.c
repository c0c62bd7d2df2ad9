/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/pci_fixture.h"
#include <linux/pci_regs.h>
#include <stdio.h>
#include <string.h>

struct pci_fake pci_fake[PCI_SLOTS];

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_fake *f = opaque;

	return (f->written + offset) & (size == 8 ? UINT64_MAX : (1ull << (8 * size)) - 1);
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_fake *f = opaque;

	f->written = value;
	f->last_offset = offset;
}
static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

static void bar_changed(struct device *dev, uint32_t bar)
{
	struct pci_fake *f = container_of(dev, struct pci_fake, dev);

	ck_assert_uint_lt(bar, PCI_BARS);
	ck_assert_uint_gt(f->func.bar[bar].size_bytes, 0);
	f->bar_changes++;
}

static void vectors_changed(struct device *dev)
{
	struct pci_fake *f = container_of(dev, struct pci_fake, dev);

	f->vector_changes++;
}

static void config_read(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct pci_fake *f = container_of(dev, struct pci_fake, dev);

	ck_assert_uint_le(offset + bytes, PCI_CONFIG_BYTES);
	f->config_reads++;
}

static void config_written(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct pci_fake *f = container_of(dev, struct pci_fake, dev);

	ck_assert_uint_le(offset + bytes, PCI_CONFIG_BYTES);
	f->config_writes++;
}

static void init(uint32_t i)
{
	struct pci_fake *f = &pci_fake[i];

	memset(f, 0, sizeof(*f));
	pthread_mutex_init(&f->dev.lock, NULL);
	snprintf(f->dev.name, sizeof(f->dev.name), "fake%u", i);
	f->dev.vm = &rig.vm;
	f->func = (struct pci_func){
		.dev = &f->dev,
		.state = &f->state,
		.vendor = 0x1af4,
		.device = 0x1041,
		.subsystem_vendor = 0x5678,
		.subsystem = 0x9abc,
		.class_code = 0x020000,
		.revision = 1,
		.bar_changed = bar_changed,
		.vectors_changed = vectors_changed,
		.config_read = config_read,
		.config_written = config_written,
	};
}

int pci_fixture_add(uint32_t i, struct error *err)
{
	static const struct pci_reg regs[] = {
		{.offset = 2, .bytes = 2, .value = 0x1234},
		{.offset = 4, .bytes = 4, .writable = 0x0000ff00},
		{.offset = 8, .bytes = 1, .value = 0x33},
	};
	struct pci_fake *f = &pci_fake[i];
	struct pci_func *func = &f->func;

	init(i);
	func->bar[FAKE_WIDE] = (struct pci_bar){
		.size_bytes = FAKE_WIDE_BYTES, .is_64bit = true, .ops = &bar_ops, .opaque = f};
	func->bar[FAKE_NARROW] =
		(struct pci_bar){.size_bytes = FAKE_NARROW_BYTES, .ops = &bar_ops, .opaque = f};
	func->nvectors = FAKE_VECTORS;
	func->msix_bar = FAKE_MSIX;
	ck_assert_uint_eq(pci_add_cap(func, PCI_CAP_ID_VNDR, 9, regs, 3), FAKE_CAP);
	return pci_add(func, &rig.vm, err);
}

static bool msix_pending(struct device *dev, uint32_t vector)
{
	struct pci_fake *f = container_of(dev, struct pci_fake, dev);
	struct irq_msi msi;

	ck_assert_uint_lt(vector, FOREIGN_VECTORS);
	return f->pending[vector] && !pci_msix_message(&f->func, vector, &msi);
}

static uint64_t foreign_read(void *opaque, uint64_t offset, uint32_t size)
{
	struct pci_fake *f = opaque;

	if (offset >= FOREIGN_PBA)
		return pci_msix_pba_read(&f->func, offset - FOREIGN_PBA, size);
	if (offset >= FOREIGN_TABLE)
		return pci_msix_read(&f->func, offset - FOREIGN_TABLE, size);
	return bar_read(opaque, offset, size);
}

static void foreign_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_fake *f = opaque;

	if (offset < FOREIGN_TABLE)
		bar_write(opaque, offset, size, value);
	else if (offset < FOREIGN_PBA)
		pci_msix_write(&f->func, offset - FOREIGN_TABLE, size, value);
}
static const struct bus_ops foreign_ops = {.read = foreign_read, .write = foreign_write};

int pci_fixture_add_foreign(uint32_t i, struct error *err)
{
	static const struct pci_reg regs[] = {
		{.offset = 2, .bytes = 2, .value = 0x1234, .writable = 0x00f0},
	};
	static const struct pci_reg msix[] = {
		{.offset = PCI_MSIX_FLAGS,
		 .bytes = 2,
		 .value = FOREIGN_VECTORS - 1,
		 .writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL},
		{.offset = PCI_MSIX_TABLE, .bytes = 4, .value = FOREIGN_TABLE | FOREIGN_WIDE},
		{.offset = PCI_MSIX_PBA, .bytes = 4, .value = FOREIGN_PBA | FOREIGN_WIDE},
	};
	struct pci_fake *f = &pci_fake[i];
	struct pci_func *func = &f->func;

	init(i);
	func->bar[FOREIGN_PORTS] =
		(struct pci_bar){.size_bytes = 32, .is_io = true, .ops = &bar_ops, .opaque = f};
	func->bar[FOREIGN_SMALL] = (struct pci_bar){
		.size_bytes = 16, .is_prefetchable = true, .ops = &bar_ops, .opaque = f};
	func->bar[FOREIGN_WIDE] = (struct pci_bar){.size_bytes = 0x4000,
						   .is_64bit = true,
						   .is_prefetchable = true,
						   .ops = &foreign_ops,
						   .opaque = f};
	func->bar[FOREIGN_MEDIUM] =
		(struct pci_bar){.size_bytes = 256, .ops = &bar_ops, .opaque = f};
	func->bar[FOREIGN_FEW_PORTS] =
		(struct pci_bar){.size_bytes = 4, .is_io = true, .ops = &bar_ops, .opaque = f};
	func->nvectors = FOREIGN_VECTORS;
	func->msix_entry = f->entry;
	func->msix_pending = msix_pending;
	pci_put_cap(func, FOREIGN_MSIX, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, msix, 3);
	pci_put_cap(func, FOREIGN_CAP, PCI_CAP_ID_VNDR, 6, regs, 1);
	return pci_add(func, &rig.vm, err);
}

void pci_fixture_refused(const struct pci_state *saved, const char *why)
{
	struct error err = {""};

	ck_assert_int_ne(pci_compare(&pci_fake[1].func, saved, &err), 0);
	ck_assert_msg(strstr(err.msg, why), "'%s' does not say '%s'", err.msg, why);
}

void pci_fixture_refused_byte(uint32_t offset, uint8_t value, const char *why)
{
	struct pci_state saved = pci_fake[1].state;

	saved.config[offset] = value;
	pci_fixture_refused(&saved, why);
}
