/* SPDX-License-Identifier: GPL-2.0-or-later */
/* BARs of a VFIO device: which accesses exit, and where all of them arrive. */
#include "tests/rig/unit.h"
#include "tests/rig/vfio_fixture.h"
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static void start(void)
{
	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

static void write_32(void *hva, uint32_t value)
{
	memcpy(hva, &value, sizeof(value));
}

/* Page by page: m is mapped and leads to the same offset of the function's region, . exits. */
static void expect_pages(uint32_t bar, const char *pages)
{
	uint64_t gpa = vfio_bar_gpa(bar);

	for (uint32_t page = 0; pages[page]; page++) {
		uint8_t *hva = vfio_slot_hva(gpa + page * 0x1000ull);

		ck_assert_msg(!hva == (pages[page] == '.'), "BAR %u, page %u", bar, page);
		if (!hva)
			continue;
		write_32(hva + 0xffc, 0x1000 * bar + page);
		ck_assert_uint_eq(function_read(bar, page * 0x1000ull + 0xffc),
				  0x1000 * bar + page);
	}
}

/* The pages of the MSI-X table and of the pending bits are not mapped. */
TEST(around_msix)
{
	start();
	expect_pages(FUNCTION_WIDE, "mmm.m.mm");
}

TEST(pending_bits_first)
{
	function_put(FUNCTION_MSIX + PCI_MSIX_PBA, 4, 0x1000);
	start();
	expect_pages(FUNCTION_WIDE, "m.m.mmmm");
}

TEST(one_page_of_msix)
{
	function_put(FUNCTION_MSIX + PCI_MSIX_PBA, 4, FUNCTION_TABLE + 0x800);
	start();
	expect_pages(FUNCTION_WIDE, "mmm.mmmm");
}

/* A table in three pages that does not begin at a page. */
TEST(large_table)
{
	function_put(FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, 0x1ff);
	function->irq[VFIO_PCI_MSIX_IRQ_INDEX].count = 0x200;
	function_put(FUNCTION_MSIX + PCI_MSIX_TABLE, 4, 0xff8);
	start();
	expect_pages(FUNCTION_WIDE, "...mm.mm");
	rig_mmio_write(vfio_bar_gpa(FUNCTION_WIDE) + 0xff8 + 0x1ff0, 4, 0xfee01000);
	ck_assert_uint_eq(rig_mmio_read(vfio_bar_gpa(FUNCTION_WIDE) + 0xff8 + 0x1ff0, 4),
			  0xfee01000);
}

TEST(sparse)
{
	start();
	expect_pages(FUNCTION_SPARSE, ".mm..m..........");
}

/* BARs smaller than a page, ports, and what the kernel does not allow to be mapped. */
TEST(not_mapped)
{
	function->region[FUNCTION_WIDE].flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_MMAP;
	function->region[FUNCTION_SPARSE].flags &= ~(uint32_t)VFIO_REGION_INFO_FLAG_WRITE;
	start();
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		ck_assert_uint_eq(rig.slot[i].bytes, 0);
}

TEST(widths)
{
	uint64_t wide, small;

	start();
	wide = vfio_bar_gpa(FUNCTION_WIDE);
	small = vfio_bar_gpa(FUNCTION_SMALL);
	rig_mmio_write(small + 8, 8, 0x8877665544332211);
	ck_assert_uint_eq(function_read(FUNCTION_SMALL, 8), 0x44332211);
	ck_assert_uint_eq(function_read(FUNCTION_SMALL, 12), 0x88776655);
	rig_mmio_write(small + 13, 1, 0xaa);
	ck_assert_uint_eq(function_read(FUNCTION_SMALL, 12), 0x8877aa55);
	ck_assert_uint_eq(rig_mmio_read(small + 12, 2), 0xaa55);
	ck_assert_uint_eq(rig_mmio_read(small + 8, 8), 0x8877aa5544332211);
	/* After the table, in its page. */
	rig_mmio_write(wide + FUNCTION_TABLE + FUNCTION_VECTORS * 16ull, 4, 0x1234);
	ck_assert_uint_eq(function_read(0, FUNCTION_TABLE + FUNCTION_VECTORS * 16ull), 0x1234);
	rig_out((uint16_t)vfio_bar_gpa(FUNCTION_PORTS) + 4, 2, 0x4321);
	ck_assert_uint_eq(function_read(FUNCTION_PORTS, 4), 0x4321);
	ck_assert_uint_eq(rig_in((uint16_t)vfio_bar_gpa(FUNCTION_PORTS) + 5, 1), 0x43);
}

/* Writes to the table do not reach the function. */
TEST(table)
{
	uint64_t gpa;

	start();
	gpa = vfio_bar_gpa(FUNCTION_WIDE) + FUNCTION_TABLE;
	for (uint32_t i = 0; i < FUNCTION_VECTORS; i++) {
		ck_assert_uint_eq(rig_mmio_read(gpa + i * 16ull, 8), 0);
		ck_assert_uint_eq(rig_mmio_read(gpa + i * 16ull + 12, 4), 1);
		rig_mmio_write(gpa + i * 16ull, 4, 0xfee00000 + (i << 12));
		rig_mmio_write(gpa + i * 16ull + 8, 8, i);
	}
	for (uint32_t i = 0; i < FUNCTION_VECTORS; i++) {
		ck_assert_uint_eq(rig_mmio_read(gpa + i * 16ull, 4), 0xfee00000 + (i << 12));
		ck_assert_uint_eq(rig_mmio_read(gpa + i * 16ull + 8, 8), i);
		ck_assert_uint_eq(function_read(0, FUNCTION_TABLE + i * 16ull), 0);
	}
	gpa = vfio_bar_gpa(FUNCTION_WIDE) + FUNCTION_PBA;
	rig_mmio_write(gpa, 8, UINT64_MAX);
	ck_assert_uint_eq(rig_mmio_read(gpa, 8), 0);
	ck_assert_uint_eq(function_read(0, FUNCTION_PBA), 0);
}

TEST(moves)
{
	static const uint64_t to = RIG_MMIO64 + 0x100000000;
	uint64_t from;

	start();
	from = vfio_bar_gpa(FUNCTION_WIDE);
	vfio_put(PCI_BASE_ADDRESS_1, 4, to >> 32);
	ck_assert_uint_eq(vfio_bar_gpa(FUNCTION_WIDE), to | (from & UINT32_MAX));
	ck_assert_ptr_null(vfio_slot_hva(from));
	expect_pages(FUNCTION_WIDE, "mmm.m.mm");
	expect_pages(FUNCTION_SPARSE, ".mm..m..........");
	vfio_put(PCI_COMMAND, 2, 0);
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		ck_assert_uint_eq(rig.slot[i].bytes, 0);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	expect_pages(FUNCTION_WIDE, "mmm.m.mm");
	/* A BAR cannot replace RAM. */
	vfio_put(PCI_BASE_ADDRESS_4, 4, 0x100000);
	ck_assert_uint_eq(vfio_bar_gpa(FUNCTION_SPARSE), 0);
	ck_assert_ptr_null(vfio_slot_hva(0x101000));
}

/* After the function was removed reads give ones and writes do nothing. */
TEST(gone)
{
	int none = open("/dev/null", O_RDWR | O_CLOEXEC);

	start();
	ck_assert_int_ge(dup3(none, vfio_fixture_vfio()->fd, O_CLOEXEC), 0);
	rig_mmio_write(vfio_bar_gpa(FUNCTION_SMALL), 4, 1);
	ck_assert_uint_eq(rig_mmio_read(vfio_bar_gpa(FUNCTION_SMALL), 4), UINT32_MAX);
	ck_assert_uint_eq(vfio_get(PCI_STATUS, 2), 0xffff);
	ck_assert_uint_eq(vfio_get(PCI_VENDOR_ID, 4), 0xa808144d);
	close(none);
}

UNIT_MAIN(vfio_fixture_open, vfio_fixture_close)
