/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config space, BARs, MSI-X and INTx of fake functions, as a guest sees them. */
#include "tests/rig/device_rig.h"
#include "tests/rig/pci_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

static void add(uint32_t i)
{
	struct error err = {""};

	ck_assert_msg(!pci_fixture_add(i, &err), "%s", err.msg);
}

static void start(void)
{
	rig.vm.ram.region[0] = (struct ram_region){.gpa = 0, .size_bytes = 0x8000000};
	rig.vm.ram.nregions = 1;
	rig_attach(&pci_host_ops);
	add(1);
	add(2);
}

static uint32_t find_cap(uint32_t slot, uint8_t id)
{
	uint32_t at = get(slot, PCI_CAPABILITY_LIST, 1);

	while (at && get(slot, at, 1) != id)
		at = get(slot, at + 1, 1);
	ck_assert_uint_ne(at, 0);
	return at;
}

TEST(identity)
{
	start();
	ck_assert_uint_eq(get(0, 0, 4), 0x00081b36);
	ck_assert_uint_eq(get(0, PCI_CLASS_REVISION, 4) >> 8, 0x060000);
	ck_assert_uint_eq(get(0, PCI_INTERRUPT_PIN, 1), 0);
	ck_assert_uint_eq(get(1, 0, 4), 0x10411af4);
	ck_assert_uint_eq(get(1, PCI_CLASS_REVISION, 4), 0x02000001);
	ck_assert_uint_eq(get(1, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x9abc5678);
	ck_assert_uint_eq(get(1, PCI_HEADER_TYPE, 1), 0);
	ck_assert_uint_eq(get(1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	ck_assert_uint_eq(get(1, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(get(1, PCI_ROM_ADDRESS, 4), 0);
	ck_assert_uint_eq(get(3, 0, 4), 0xffffffff);
	ck_assert_uint_eq(get(1, 0x1000, 4), 0xffffffff); /* function 1 */
	ck_assert_uint_eq(get(1, 0x100, 4), 0);		  /* no extended capabilities */
	ck_assert_uint_eq(get(1, 0xffc, 4), 0);
	ck_assert_uint_eq(rig_mmio_read(pci_fixture_ecam(1, 0), 8), UINT64_MAX);
	ck_assert_uint_eq(get(1, 1, 2), 0xffff);
	ck_assert_ptr_eq(pci_at(&rig.vm, 2), &pci_fake[2].func);
	ck_assert_ptr_null(pci_at(&rig.vm, 3));
}

TEST(mechanism_1)
{
	start();
	rig_out(0xcf8, 4, 0xff00083f); /* reserved bits read as zero */
	ck_assert_uint_eq(rig_in(0xcf8, 4), 0x8000083c);
	ck_assert_uint_eq(rig_in(0xcfd, 1), 1);
	rig_out(0xcfc, 1, 0x55);
	ck_assert_uint_eq(get(1, PCI_INTERRUPT_LINE, 1), 0x55);
	rig_out(0xcf8, 2, 0); /* only 32 bits latch */
	outb(0xcf8, 0);
	ck_assert_uint_eq(rig_in(0xcf8, 4), 0x8000083c);
	ck_assert_uint_eq(rig_in(0xcf8, 2), 0xffff);
	rig_reload();
	ck_assert_uint_eq(rig_in(0xcf8, 4), 0x8000083c);
	rig_out(0xcf8, 4, 0x80000000);
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0x00081b36);
	ck_assert_uint_eq(rig_in(0xcfe, 2), 0x0008);
	rig_out(0xcf8, 4, 0x80010000); /* bus 1 */
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0xffffffff);
	rig_out(0xcf8, 4, 0); /* not enabled */
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0xffffffff);
}

TEST(masks)
{
	static const struct {
		uint16_t offset, bytes;
		uint32_t written, read;
	} row[] = {
		{PCI_VENDOR_ID, 4, 0xffffffff, 0x10411af4},
		{PCI_COMMAND, 4, 0xffffffff, 0x00100406},
		{PCI_CLASS_REVISION, 4, 0xffffffff, 0x02000001},
		{PCI_CACHE_LINE_SIZE, 4, 0xffffffff, 0x000000ff},
		{PCI_CARDBUS_CIS, 4, 0xffffffff, 0},
		{PCI_ROM_ADDRESS, 4, 0xffffffff, 0},
		{PCI_CAPABILITY_LIST, 4, 0xffffffff, 0x40},
		{PCI_INTERRUPT_LINE, 4, 0xffffffff, 0x1ff},
		{0x42, 2, 0xffff, 0x1234},
		{0x44, 4, 0xffffffff, 0x0000ff00},
		{0x45, 1, 0x12, 0x12},
		{0x48, 1, 0xff, 0x33},
	};

	start();
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		put(1, row[i].offset, row[i].bytes, row[i].written);
		ck_assert_msg(get(1, row[i].offset, row[i].bytes) == row[i].read,
			      "row %zu reads %#x", i, get(1, row[i].offset, row[i].bytes));
	}
	ck_assert_uint_eq(pci_fake[1].config_writes, ARRAY_SIZE(row));
	ck_assert_uint_gt(pci_fake[1].config_reads, 0);
	ck_assert_uint_eq(pci_fake[2].config_writes, 0);
}

TEST(bars)
{
	uint64_t wide, narrow, msix;

	start();
	wide = get(1, 0x10, 4) & ~0xfu;
	wide |= (uint64_t)get(1, 0x14, 4) << 32;
	narrow = get(1, 0x18, 4);
	msix = get(1, 0x20, 4);
	ck_assert_uint_eq(get(1, 0x10, 4) & 0xf, 4);
	ck_assert_uint_eq(wide, RIG_MMIO64);
	ck_assert_uint_eq(narrow, RIG_MMIO32);
	ck_assert_uint_eq(msix, RIG_MMIO32 + FAKE_NARROW_BYTES);
	ck_assert_uint_eq(get(2, 0x10, 4) & ~0xfu, (uint32_t)(RIG_MMIO64 + FAKE_WIDE_BYTES));
	ck_assert_uint_eq(get(2, 0x18, 4), RIG_MMIO32 + 2 * FAKE_NARROW_BYTES);
	rig_mmio_write(narrow, 4, 7); /* decoding is off */
	ck_assert_uint_eq(pci_fake[1].written, 0);
	command(1, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(pci_fake[1].bar_changes, 3);
	rig_mmio_write(narrow + 8, 4, 7);
	ck_assert_uint_eq(pci_fake[1].written, 7);
	ck_assert_uint_eq(pci_fake[1].last_offset, 8);
	rig_mmio_write(wide + FAKE_WIDE_BYTES - 8, 8, 9);
	ck_assert_uint_eq(pci_fake[1].last_offset, FAKE_WIDE_BYTES - 8);

	for (uint32_t bar = 0; bar < 6; bar++) /* sizes */
		put(1, 0x10 + 4 * bar, 4, 0xffffffff);
	ck_assert_uint_eq(get(1, 0x10, 4), ~(FAKE_WIDE_BYTES - 1) | 4);
	ck_assert_uint_eq(get(1, 0x14, 4), 0xffffffff);
	ck_assert_uint_eq(get(1, 0x18, 4), ~(FAKE_NARROW_BYTES - 1));
	ck_assert_uint_eq(get(1, 0x1c, 4), 0);
	ck_assert_uint_eq(get(1, 0x20, 4), ~0xfffu);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 1); /* ECAM */

	put(1, 0x18, 4, 0xa0001234); /* the low bits are read-only */
	ck_assert_uint_eq(get(1, 0x18, 4), 0xa0000000);
	rig_mmio_write(0xa0000000, 4, 11);
	ck_assert_uint_eq(pci_fake[1].written, 11);
	put(1, 0x14, 4, 0x12345678);
	put(1, 0x10, 4, 0xabcd4567);
	rig_mmio_write(0x12345678abcd4000, 4, 12);
	ck_assert_uint_eq(pci_fake[1].written, 12);
	ck_assert(pci_fake[1].func.bar[FAKE_WIDE].mapped);
	ck_assert_uint_eq(pci_fake[1].func.bar[FAKE_WIDE].gpa, 0x12345678abcd4000);
	put(1, 0x14, 1, 0x79); /* a byte moves it too */
	rig_mmio_write(0x12345679abcd4000, 4, 13);
	ck_assert_uint_eq(pci_fake[1].written, 13);
	command(1, 0);
	ck_assert(!pci_fake[1].func.bar[FAKE_WIDE].mapped);
	rig_mmio_write(0xa0000000, 4, 14);
	ck_assert_uint_eq(pci_fake[1].written, 13);
}

/* A BAR that does not move is not unmapped even for a moment: other vCPUs may use it. */
TEST(bars_stay)
{
	start();
	command(1, PCI_COMMAND_MEMORY);
	command(2, PCI_COMMAND_MEMORY);
	pci_fake[1].bar_changes = pci_fake[2].bar_changes = 0;
	put(1, 0x18, 4, 0xa0000000);
	ck_assert_uint_eq(pci_fake[1].bar_changes, 2);
	put(1, 0x18, 4, 0xa0000000);
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ck_assert_uint_eq(pci_fake[1].bar_changes, 2);
	ck_assert_uint_eq(pci_fake[2].bar_changes, 0);
}

static bool narrow_at(uint32_t i, uint64_t gpa)
{
	pci_fake[i].written = 0;
	rig_mmio_write(gpa, 4, 1);
	return pci_fake[i].written;
}

TEST(bars_in_the_way)
{
	start();
	command(1, PCI_COMMAND_MEMORY);
	command(2, PCI_COMMAND_MEMORY);
	put(1, 0x18, 4, 0x1000000); /* RAM */
	ck_assert(!narrow_at(1, 0x1000000));
	put(1, 0x18, 4, 0x8000000); /* after its end */
	ck_assert(narrow_at(1, 0x8000000));
	put(1, 0x18, 4, RIG_IRQCHIP); /* KVM's */
	ck_assert(!narrow_at(1, RIG_IRQCHIP));
	put(1, 0x18, 4, RIG_ECAM);
	ck_assert(!narrow_at(1, RIG_ECAM));
	ck_assert_uint_eq(get(1, 0, 4), 0x10411af4);
	put(1, 0x18, 4, 0xa0000000);
	put(2, 0x18, 4, 0xa0000000);
	ck_assert(narrow_at(1, 0xa0000000));
	ck_assert(!pci_fake[2].func.bar[FAKE_NARROW].mapped);
	put(1, 0x18, 4, 0xb0000000); /* moves away */
	ck_assert(narrow_at(2, 0xa0000000));
	put(1, 0x18, 4, 0xa0000000); /* the lower slot wins, whoever was first */
	ck_assert(narrow_at(1, 0xa0000000));
	ck_assert(!pci_fake[2].func.bar[FAKE_NARROW].mapped);
	put(1, 0x10, 4, 0xa0000000); /* in one slot the lower BAR wins */
	put(1, 0x14, 4, 0);
	ck_assert(!pci_fake[1].func.bar[FAKE_NARROW].mapped);
	put(1, 0x14, 4, 0xffffffff); /* beyond the last address */
	put(1, 0x10, 4, 0xffffffff);
	ck_assert(pci_fake[1].func.bar[FAKE_NARROW].mapped);
}

/* --- MSI-X */

static uint64_t table(uint32_t vector, uint32_t word)
{
	return pci_fake[1].func.bar[FAKE_MSIX].gpa + vector * 16ul + word * 4ul;
}

static void msix_start(void)
{
	start();
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (uint32_t v = 0; v < FAKE_VECTORS; v++) {
		rig_mmio_write(table(v, 0), 4, 0xfee00000 + v * 0x1000);
		rig_mmio_write(table(v, 1), 4, v);
		rig_mmio_write(table(v, 2), 4, 0x40 + v);
		rig_mmio_write(table(v, 3), 4, 0);
	}
}

static void control(uint16_t value)
{
	put(1, find_cap(1, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, value);
}

static uint64_t pending(void)
{
	return rig_mmio_read(pci_fake[1].func.bar[FAKE_MSIX].gpa + 2048, 8);
}

static bool last_msi(uint32_t nmsis, uint32_t vector)
{
	const struct irq_msi *msi = &rig.msi[rig.nmsis - 1];

	return rig.nmsis == nmsis && msi->data == 0x40 + vector &&
	       msi->address == (((uint64_t)vector << 32) | (0xfee00000 + vector * 0x1000));
}

TEST(msix)
{
	struct pci_func *func = &pci_fake[1].func;
	struct irq_msi msi;
	uint32_t cap;

	msix_start();
	cap = find_cap(1, PCI_CAP_ID_MSIX);
	ck_assert_uint_eq(get(1, cap + PCI_MSIX_FLAGS, 2), FAKE_VECTORS - 1);
	ck_assert_uint_eq(get(1, cap + PCI_MSIX_TABLE, 4), FAKE_MSIX);
	ck_assert_uint_eq(get(1, cap + PCI_MSIX_PBA, 4), 2048 + FAKE_MSIX);
	pci_msix_signal(func, 0); /* off: not pending either */
	ck_assert(!pci_msix_enabled(func));
	pci_fake[1].vector_changes = 0;
	control(0xffff);
	ck_assert_uint_eq(get(1, cap + PCI_MSIX_FLAGS, 2), 0xc000 | (FAKE_VECTORS - 1));
	ck_assert(pci_msix_enabled(func));
	ck_assert_uint_eq(pci_fake[1].vector_changes, 0); /* all are masked: nothing changes */
	ck_assert_uint_eq(pending(), 0);
	pci_msix_signal(func, 2);
	pci_msix_signal(func, FAKE_VECTORS); /* no such vector */
	pci_msix_signal(func, PCI_NO_VECTOR);
	ck_assert_uint_eq(pending(), 4);
	ck_assert(!pci_msix_message(func, 2, &msi));
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert(last_msi(1, 2));
	ck_assert_uint_eq(pci_fake[1].vector_changes, 1);
	ck_assert_uint_eq(pending(), 0);
	ck_assert(pci_msix_message(func, 2, &msi));
	ck_assert_uint_eq(msi.data, 0x42);
	ck_assert(!pci_msix_message(func, FAKE_VECTORS, &msi));
	ck_assert(!pci_msix_message(func, PCI_NO_VECTOR, &msi));
	pci_msix_signal(func, 1);
	ck_assert(last_msi(2, 1));
	rig_mmio_write(table(1, 3), 4, 0xffffffff);
	ck_assert_uint_eq(rig_mmio_read(table(1, 3), 4), 1);
	pci_msix_signal(func, 1);
	pci_msix_signal(func, 1);
	ck_assert_uint_eq(pending(), 2);
	rig_mmio_write(table(1, 2), 8, 0x41);
	ck_assert(last_msi(3, 1));
	ck_assert_uint_eq(pci_fake[1].vector_changes, 3);
	command(1, PCI_COMMAND_MEMORY); /* without bus mastering it cannot send */
	ck_assert_uint_eq(pci_fake[1].vector_changes, 4);
	pci_msix_signal(func, 0);
	ck_assert_uint_eq(rig.nmsis, 3);
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ck_assert(last_msi(4, 0));
	rig_mmio_write(table(0, 3), 4, 1);
	pci_msix_signal(func, 0);
	control(0);
	control(PCI_MSIX_FLAGS_ENABLE);
	rig_mmio_write(table(0, 3), 4, 0);
	ck_assert_uint_eq(rig.nmsis, 4); /* disabling cleared the pending bits */
}

TEST(msix_widths)
{
	msix_start();
	rig_mmio_write(table(0, 0), 1, 0x12);
	rig_mmio_write(table(0, 0), 2, 0x1234);
	rig_mmio_write(table(0, 0) + 2, 4, 0x1234);
	rig_mmio_write(table(0, 1), 8, 0x1234);
	ck_assert_uint_eq(rig_mmio_read(table(0, 0), 8), 0xfee00000);
	rig_mmio_write(table(0, 0), 8, 0x1234567fee00007);
	ck_assert_uint_eq(rig_mmio_read(table(0, 0), 8), 0x1234567fee00004);
	rig_mmio_write(table(FAKE_VECTORS, 0), 4, 0x1234);
	ck_assert_uint_eq(rig_mmio_read(table(FAKE_VECTORS, 0), 4), 0);
	rig_mmio_write(table(128, 0), 8, ~0ull); /* pending bits are read-only */
	ck_assert_uint_eq(pending(), 0);
	ck_assert_uint_eq(rig_mmio_read(table(255, 2), 8), 0);
}

/* --- INTx */

TEST(intx)
{
	static const uint32_t gsi = 16 + 1;
	struct error err = {""};

	start();
	for (uint32_t i = 3; i <= 9; i++)
		add(i);
	ck_assert_uint_eq(pci_intx_gsi(&pci_fake[1].func), gsi);
	ck_assert_uint_eq(pci_intx_gsi(&pci_fake[9].func), gsi);
	ck_assert_uint_eq(pci_intx_gsi(&pci_fake[2].func), gsi + 1);
	pci_intx_set(&pci_fake[1].func, true);
	ck_assert(rig.line[gsi]);
	ck_assert_uint_eq(get(1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST | PCI_STATUS_INTERRUPT);
	ck_assert_uint_eq(get(1, PCI_COMMAND, 4), 0x00180000);
	pci_intx_set(&pci_fake[9].func, true); /* shares the line */
	pci_intx_set(&pci_fake[1].func, false);
	ck_assert(rig.line[gsi]);
	ck_assert_uint_eq(get(1, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
	command(9, PCI_COMMAND_INTX_DISABLE);
	ck_assert(!rig.line[gsi]);
	ck_assert_uint_eq(get(9, PCI_STATUS, 1), 0x18);
	command(9, 0);
	ck_assert(rig.line[gsi]);
	put(9, find_cap(9, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert(!rig.line[gsi]);
	put(9, find_cap(9, PCI_CAP_ID_MSIX) + PCI_MSIX_FLAGS, 2, 0);
	ck_assert_uint_eq(rig.rises[gsi], 3);
	rig.line[gsi] = false; /* a loaded irqchip has lost the level */
	pci_resume(&pci_fake[1].func);
	ck_assert(rig.line[gsi]);
	pci_reset(&pci_fake[9].func);
	ck_assert(!rig.line[gsi]);
	rig.line[gsi] = true; /* or has an old one */
	pci_resume(&pci_fake[9].func);
	ck_assert(!rig.line[gsi]);
	pci_intx_set(&pci_fake[9].func, true);
	pci_remove(&pci_fake[9].func);
	ck_assert(!rig.line[gsi]);
	for (uint32_t i = 9; i < PCI_SLOTS; i++)
		add(i);
	pci_remove(&pci_fake[5].func);
	add(5); /* the free slot */
	ck_assert_uint_eq(pci_fake[5].state.slot, 5);
	ck_assert_int_eq(pci_fixture_add(0, &err), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err.msg, "at most 31"));
}

/* --- reset and checkpoints */

TEST(reset)
{
	struct pci_state fresh;

	rig.no_mmio64 = true;
	start();
	fresh = pci_fake[1].state;
	ck_assert_uint_eq(get(1, 0x10, 4), RIG_MMIO32 + 4); /* no room above 4 GiB */
	ck_assert_uint_eq(get(1, 0x14, 4), 0);
	ck_assert_uint_eq(get(1, 0x18, 4), RIG_MMIO32 + FAKE_WIDE_BYTES);
	ck_assert_ptr_null(pci_check(&fresh));
	command(1, 0xffff);
	put(1, 0x18, 4, 0xa0000000);
	put(1, 0x45, 1, 0xff);
	pci_intx_set(&pci_fake[1].func, true);
	pci_reset(&pci_fake[1].func);
	ck_assert_mem_eq(&fresh, &pci_fake[1].state, sizeof(fresh));
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 1);
	pci_fake[1].func.bar[FAKE_NARROW].size_bytes = 0x20000000; /* larger than the window */
	pci_reset(&pci_fake[1].func);
	pci_reset(&pci_fake[2].func);
	ck_assert_uint_eq(get(1, 0x18, 4), 0);
	ck_assert_uint_eq(get(1, 0x20, 4), RIG_MMIO32 + FAKE_WIDE_BYTES);
	ck_assert_uint_eq(get(2, 0x10, 4), RIG_MMIO32 + 2 * FAKE_WIDE_BYTES + 4);
}

static void load(uint32_t i, const struct pci_state *saved)
{
	struct error err = {""};

	ck_assert_msg(!pci_compare(&pci_fake[i].func, saved, &err), "%s", err.msg);
	ck_assert_ptr_null(pci_check(saved));
	pci_fake[i].state = *saved;
}

/* Slots, BARs, masks and levels are the guest's, not the defaults of this process. */
TEST(round_trip)
{
	struct pci_state one, two;
	struct error err = {""};

	msix_start();
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_msix_signal(&pci_fake[1].func, 2);
	put(1, 0x18, 4, 0xa0000000);
	command(2, PCI_COMMAND_MEMORY);
	put(2, 0x18, 4, 0xa0000000); /* not mapped while the other BAR is there */
	pci_intx_set(&pci_fake[2].func, true);
	one = pci_fake[1].state;
	two = pci_fake[2].state;
	pci_remove(&pci_fake[1].func);
	pci_remove(&pci_fake[2].func);
	add(2);
	add(1);
	ck_assert_uint_eq(pci_fake[1].state.slot, 2);
	memset(rig.line, 0, sizeof(rig.line));
	rig.nmsis = 0;
	load(2, &two);
	load(1, &one);
	ck_assert_int_eq(pci_post_load(&pci_fake[2].func, &err), 0);
	ck_assert_int_eq(pci_post_load(&pci_fake[1].func, &err), 0);
	ck_assert(narrow_at(1, 0xa0000000));
	ck_assert(!pci_fake[2].func.bar[FAKE_NARROW].mapped);
	ck_assert_uint_eq(rig.nmsis, 0);
	pci_resume(&pci_fake[2].func);
	pci_resume(&pci_fake[1].func);
	ck_assert(rig.line[18] && !rig.line[17]);
	ck_assert_ptr_eq(pci_at(&rig.vm, 1), &pci_fake[1].func);
	ck_assert_uint_eq(pending(), 4);
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert(last_msi(1, 2));
	pci_reset(&pci_fake[1].func); /* a later step of the load fails */
	pci_reset(&pci_fake[2].func);
	ck_assert_uint_eq(pci_fake[1].state.slot, 2);
	ck_assert_uint_eq(pci_fake[2].state.slot, 1);
	ck_assert(!rig.line[18] && !rig.line[17]);
	/* A load that succeeds, and a guest reset. */
	load(2, &two);
	load(1, &one);
	ck_assert_int_eq(pci_post_load(&pci_fake[2].func, &err), 0);
	ck_assert_int_eq(pci_post_load(&pci_fake[1].func, &err), 0);
	rig.vm.has_run = true;
	pci_reset(&pci_fake[1].func);
	pci_reset(&pci_fake[2].func);
	ck_assert_uint_eq(pci_fake[1].state.slot, 1);
	ck_assert_uint_eq(pci_fake[2].state.slot, 2);
	pci_intx_set(&pci_fake[2].func, true);
	ck_assert(rig.line[18] && !rig.line[17]);
}

TEST(pending_at_load)
{
	struct pci_state saved;
	struct error err = {""};

	msix_start();
	control(PCI_MSIX_FLAGS_ENABLE);
	saved = pci_fake[1].state;
	saved.msix_pending = 2; /* though nothing is masked */
	pci_reset(&pci_fake[1].func);
	load(1, &saved);
	ck_assert_int_eq(pci_post_load(&pci_fake[1].func, &err), 0);
	ck_assert_uint_eq(rig.nmsis, 0);
	pci_resume(&pci_fake[1].func);
	ck_assert(last_msi(1, 1));
}

TEST(compare)
{
	struct pci_state s;
	struct error err = {""};
	uint32_t msix_cap;

	start();
	msix_cap = find_cap(1, PCI_CAP_ID_MSIX);
	s = pci_fake[1].state;
	s.config[PCI_COMMAND] = 6; /* as saved */
	ck_assert_int_eq(pci_compare(&pci_fake[1].func, &s, &err), 0);
	s.config[PCI_DEVICE_ID] = 0x42;
	s.config[PCI_CLASS_DEVICE] = 0x80;
	s.config[PCI_REVISION_ID] = 9;
	pci_fixture_refused(&s, "device ID: saved with 0x1042, here it is 0x1041");
	pci_fixture_refused(&s, "PCI revision: saved with 0x9, here it is 0x1");
	pci_fixture_refused(&s, "class code");
	s = pci_fake[1].state;
	s.bar_bits[FAKE_NARROW] = 20;
	s.bar_bits[5] = 1;
	pci_fixture_refused(&s, "BAR 2: saved with 2^20 bytes, here it has 2^13");
	pci_fixture_refused(&s, "BAR 5");
	pci_fixture_refused_byte(PCI_BASE_ADDRESS_0, 0, "PCI config space at 0x10"); /* 32-bit */
	pci_fixture_refused_byte(PCI_HEADER_TYPE, 0x80, "PCI config space at 0xe");
	pci_fixture_refused_byte(msix_cap + 2, 6, "saved with 7 MSI-X vectors, here are 3");
	pci_fixture_refused_byte(FAKE_CAP + 2, 0, "PCI config space at 0x42");
	/* A capability that this build does not have. */
	pci_fixture_refused_byte(msix_cap + 1, 0x80, "PCI config space at");
	s = pci_fake[1].state;
	s.slot = 32;
	ck_assert_ptr_nonnull(pci_check(&s));
	s = pci_fake[1].state;
	s.msix[3] = 2;
	ck_assert_ptr_nonnull(pci_check(&s));
	s = pci_fake[1].state;
	s.msix_pending = 1u << PCI_MSIX_MAX;
	ck_assert_ptr_nonnull(pci_check(&s));
	s = pci_fake[1].state;
	s.slot = 2;
	load(1, &s);
	ck_assert_int_ne(pci_post_load(&pci_fake[1].func, &err), 0);
	ck_assert_str_eq(err.msg, "saved in PCI slot 2, and so is fake2");
}

/* A capability that a later build appended reads as zero for an older guest, and ignores writes. */
TEST(older_guest)
{
	struct pci_state s;
	struct error err = {""};
	uint32_t msix_cap;

	start();
	msix_cap = find_cap(1, PCI_CAP_ID_MSIX);
	s = pci_fake[1].state;
	s.config[FAKE_CAP + 1] = 0;
	memset(s.config + msix_cap, 0, 12);
	load(1, &s);
	ck_assert_int_eq(pci_post_load(&pci_fake[1].func, &err), 0);
	put(1, msix_cap + 2, 2, 0xc000);
	ck_assert_uint_eq(get(1, msix_cap + 2, 2), 0);
	ck_assert(!pci_msix_enabled(&pci_fake[1].func));
	put(1, FAKE_CAP + 4, 4, 0xffffffff);
	ck_assert_uint_eq(get(1, FAKE_CAP + 4, 4), 0xff00);
}

/* Every width at every offset, by both mechanisms. */
TEST(pokes)
{
	start();
	for (uint32_t slot = 0; slot < 4; slot++)
		for (uint32_t offset = 0; offset < 0x110; offset++)
			for (uint32_t size = 1; size <= 8; size *= 2)
				for (uint32_t i = 0; i < 3; i++) {
					rig_mmio_write(pci_fixture_ecam(slot, offset), size,
						       i == 2 ? 0 : 0 - (uint64_t)i);
					rig_mmio_read(pci_fixture_ecam(slot, offset), size);
					rig_out(0xcf8, 4, 0x80000000 | slot << 11 | offset);
					rig_out((uint16_t)(0xcfc + offset % 4), size & 7, i);
					rig_in((uint16_t)(0xcfc + offset % 4), size & 7);
				}
	for (uint32_t i = 1; i < 3; i++) {
		ck_assert_ptr_null(pci_check(&pci_fake[i].state));
		ck_assert_uint_eq(get(i, 0, 4), 0x10411af4);
		pci_reset(&pci_fake[i].func);
	}
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 1);
}

TEST(attach_fails)
{
	static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
	static const struct bus_ops none;
	const struct bus_region other = {0xcfc, 4, &none, NULL, &lock, "other"};
	struct device *dev = calloc(1, pci_host_ops.bytes);
	struct error err;

	ck_assert_ptr_nonnull(dev);
	*dev = (struct device){.ops = &pci_host_ops, .name = "pci0", .vm = &rig.vm};
	ck_assert_int_eq(bus_add(&rig.vm.bus, BUS_PIO, &other, &err), 0);
	ck_assert_int_eq(pci_host_ops.attach(dev, &rig.vm, &err), -EBUSY);
	free(dev);
	ck_assert_ptr_null(rig.vm.pci);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 0);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_PIO], 1);
	bus_del(&rig.vm.bus, BUS_PIO, 0xcfc);
	start();
}

UNIT_MAIN(rig_open, rig_close)
