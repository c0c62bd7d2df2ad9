/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Config space and BARs of a VFIO device: what the guest reads, and which of its writes reach the function. */
#include "tests/rig/unit.h"
#include "tests/rig/vfio_fixture.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#define ALL 0xffffffffu

/* What the guest reads at boot and after writing all ones, and what the function has then. All other bits
 * read as zero and do not change in the function. */
static const struct {
	uint32_t offset, bytes, boot, written, passed;
} regs[] = {
	{PCI_VENDOR_ID, 4, 0xa808144d, 0xa808144d, 0},
	{PCI_COMMAND, 2, 0,
	 PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE, 0},
	{PCI_STATUS, 2, 0x90, 0xffff, 0xffef},
	{PCI_CLASS_REVISION, 4, 0x01080203, 0x01080203, 0},
	{PCI_CACHE_LINE_SIZE, 1, 0, 0xff, 0},
	{PCI_BASE_ADDRESS_0, 4, RIG_MMIO64 &ALL, ~(FUNCTION_WIDE_BYTES - 1), 0},
	{PCI_BASE_ADDRESS_1, 4, RIG_MMIO64 >> 32, ALL, 0},
	{PCI_BASE_ADDRESS_2, 4, 0, ~(FUNCTION_SMALL_BYTES - 1), 0},
	{PCI_BASE_ADDRESS_3, 4, 0, ~(FUNCTION_PORTS_BYTES - 1), 0},
	{PCI_BASE_ADDRESS_4, 4, 0, ~(FUNCTION_SPARSE_BYTES - 1), 0},
	{PCI_SUBSYSTEM_VENDOR_ID, 4, 0xa801144d, 0xa801144d, 0},
	{PCI_CAPABILITY_LIST, 1, FUNCTION_PM, FUNCTION_PM, 0},
	{PCI_INTERRUPT_LINE, 1, 0, 0xff, 0},
	{PCI_INTERRUPT_PIN, 1, 1, 1, 0},
	{FUNCTION_PM, 4, 0x07ff5001, 0x07ff5001, 0},
	{FUNCTION_PM + PCI_PM_CTRL, 2, PCI_PM_CTRL_NO_SOFT_RESET, 0x7eff, 0x7eff},
	{FUNCTION_PM + PCI_PM_DATA_REGISTER, 1, 0xff, 0xff, 0xff},
	{FUNCTION_MSI, 2, 0x6c05, 0x6c05, 0},
	{FUNCTION_MSI + PCI_MSI_FLAGS, 2, 0x186, 0x1f7, 0},
	{FUNCTION_MSI + PCI_MSI_ADDRESS_LO, 4, 0, 0xfffffffc, 0},
	{FUNCTION_MSI + PCI_MSI_ADDRESS_HI, 4, 0, ALL, 0},
	{FUNCTION_MSI + PCI_MSI_DATA_64, 2, 0, 0xffff, 0},
	{FUNCTION_MSI + PCI_MSI_MASK_64, 4, 0, 0xff, 0},
	{FUNCTION_MSIX, 4, 0x00208011, 0xc0208011, 0},
	{FUNCTION_MSIX + PCI_MSIX_TABLE, 4, FUNCTION_TABLE, FUNCTION_TABLE, 0},
	{FUNCTION_MSIX + PCI_MSIX_PBA, 4, FUNCTION_PBA, FUNCTION_PBA, 0},
	{FUNCTION_EXP, 4, 0x0092c010, 0x0092c010, 0},
	{FUNCTION_EXP + PCI_EXP_DEVCAP, 4, 0x10008fc1, 0x10008fc1, 0},
	{FUNCTION_EXP + PCI_EXP_DEVCTL, 2, 0x2810, 0xffff, 0xffff},
	{FUNCTION_EXP + PCI_EXP_DEVSTA, 2, 0xffff, 0xffff, 0xffff},
	{FUNCTION_EXP + PCI_EXP_DEVCAP2, 4, ALL, ALL, 0},
	{FUNCTION_EXP + PCI_EXP_DEVCTL2, 2, 0xffff, 0xffff, 0xffff},
	{FUNCTION_EXP + PCI_EXP_DEVSTA2, 2, 0xffff, 0xffff, 0xffff},
	{FUNCTION_VENDOR, 2, 0x0009, 0x0009, 0},
	{FUNCTION_VENDOR + 2, 2, 0xff10, 0xff10, 0xff00},
	{FUNCTION_VENDOR + 4, 4, ALL, ALL, ALL},
	{FUNCTION_VENDOR + 8, 4, ALL, ALL, ALL},
	{FUNCTION_VENDOR + 12, 4, ALL, ALL, ALL},
};
#define NREGS ARRAY_SIZE(regs)

/* BAR addresses come from pci.c, their kinds from the function. */
static void expect_kinds(void)
{
	ck_assert_uint_eq(vfio_get(PCI_BASE_ADDRESS_0, 4) & 0xf, 0xc);
	ck_assert_uint_eq(vfio_get(PCI_BASE_ADDRESS_2, 4) & 0xf, 0);
	ck_assert_uint_eq(vfio_get(PCI_BASE_ADDRESS_3, 4) & 0x3, 1);
	ck_assert_uint_eq(vfio_get(PCI_BASE_ADDRESS_4, 4) & 0xf, 0);
}

static bool is_bar(uint32_t offset)
{
	return offset >= PCI_BASE_ADDRESS_0 && offset <= PCI_BASE_ADDRESS_5;
}

static void expect(uint8_t *image, bool written)
{
	memset(image, 0, PCI_CONFIG_BYTES);
	for (size_t i = 0; i < NREGS; i++)
		memcpy(image + regs[i].offset, written ? &regs[i].written : &regs[i].boot,
		       regs[i].bytes);
}

static void compare(const uint8_t *image, bool written)
{
	for (uint32_t bytes = 1; bytes <= 4; bytes *= 2)
		for (uint32_t at = 0; at < PCI_CONFIG_BYTES; at += bytes) {
			uint32_t want = 0, got = vfio_get(at, bytes);

			memcpy(&want, image + at, bytes);
			if (is_bar(at) && (!written || at % 4 == 0))
				continue;
			ck_assert_msg(got == want, "%u bytes at %#x are %#x, not %#x", bytes, at,
				      got, want);
		}
	expect_kinds();
}

static const uint32_t widths[] = {1, 2, 4};

TEST_EACH(masks, widths)
{
	uint32_t bytes = widths[_i];
	uint8_t image[PCI_CONFIG_BYTES], before[PCI_CONFIG_BYTES], own[PCI_CONFIG_BYTES];

	vfio_fixture_boot();
	expect(image, false);
	compare(image, false);
	memcpy(before, function->config, sizeof(before));
	for (uint32_t at = 0; at < PCI_CONFIG_BYTES; at += bytes)
		vfio_put(at, bytes, ALL);
	memcpy(own, before, sizeof(own));
	for (size_t i = 0; i < NREGS; i++)
		for (uint32_t b = 0; b < regs[i].bytes; b++)
			if ((uint8_t)(regs[i].passed >> (8 * b)))
				own[regs[i].offset + b] = (uint8_t)(regs[i].passed >> (8 * b));
	for (uint32_t at = 0; at < PCI_CONFIG_BYTES; at++)
		if (at != PCI_COMMAND && at != PCI_COMMAND + 1)
			ck_assert_msg(function->config[at] == own[at],
				      "the function has %#x at %#x, not %#x", function->config[at],
				      at, own[at]);
	expect(image, true);
	compare(image, true);
	for (uint32_t at = PCI_CONFIG_BYTES; at < 4096; at += 4) {
		vfio_put(at, 4, ALL);
		ck_assert_uint_eq(vfio_get(at, 4), 0);
	}
	ck_assert_uint_eq(function_get(PCI_CONFIG_BYTES, 4), 0);
}

/* The function gets each access with the same width, and no other byte is accessed. */
TEST(passed)
{
	uint8_t before[PCI_CONFIG_BYTES];

	vfio_fixture_boot();
	function_put(PCI_STATUS, 2, PCI_STATUS_REC_MASTER_ABORT);
	ck_assert_uint_eq(vfio_get(PCI_STATUS, 2),
			  PCI_STATUS_REC_MASTER_ABORT | PCI_STATUS_CAP_LIST);
	function_put(FUNCTION_EXP + PCI_EXP_DEVSTA, 2, 0x21);
	ck_assert_uint_eq(vfio_get(FUNCTION_EXP + PCI_EXP_DEVCTL, 4), 0x00212810);
	memcpy(before, function->config, sizeof(before));
	before[FUNCTION_VENDOR + 5] = 0x5a;
	vfio_put(FUNCTION_VENDOR + 5, 1, 0x5a);
	ck_assert_mem_eq(function->config, before, sizeof(before));
	vfio_put(FUNCTION_EXP + PCI_EXP_DEVCTL, 2, 0x2010);
	ck_assert_uint_eq(function_get(FUNCTION_EXP + PCI_EXP_DEVCTL, 4), 0x00212010);
	vfio_put(FUNCTION_MSI + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
	ck_assert_uint_eq(function_get(FUNCTION_MSI + PCI_MSI_ADDRESS_LO, 4), ALL);
}

/* Bus mastering is passed on; decoding of the BARs at their host addresses always stays on. */
TEST(command)
{
	const uint16_t always = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_SERR;

	vfio_fixture_boot();
	ck_assert_uint_eq(function_get(PCI_COMMAND, 2), always);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	ck_assert_uint_eq(function_get(PCI_COMMAND, 2), always | PCI_COMMAND_MASTER);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(function_get(PCI_COMMAND, 2), always | PCI_COMMAND_INTX_DISABLE);
	vfio_put(PCI_COMMAND + 1, 1, 0);
	ck_assert_uint_eq(function_get(PCI_COMMAND, 2), always);
	ck_assert_uint_eq(vfio_get(PCI_COMMAND, 2), 0);
}

/* In D3 accesses to BARs exit and read ones: a vCPU that reaches a mapped one would hang. */
TEST(power)
{
	uint64_t gpa;

	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	gpa = vfio_bar_gpa(FUNCTION_WIDE);
	ck_assert_ptr_nonnull(vfio_slot_hva(gpa));
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	ck_assert_uint_eq(function_get(FUNCTION_PM + PCI_PM_CTRL, 2), 3);
	ck_assert_ptr_null(vfio_slot_hva(gpa));
	ck_assert_uint_eq(vfio_bar_gpa(FUNCTION_WIDE), gpa);
	vfio_put(PCI_COMMAND, 2, 0);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ck_assert_ptr_null(vfio_slot_hva(gpa));
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 1, 0);
	ck_assert_ptr_nonnull(vfio_slot_hva(gpa));
}

/* If a memslot cannot be removed, the function stays in D0. */
TEST(stays_in_d0)
{
	uint64_t gpa;

	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	gpa = vfio_bar_gpa(FUNCTION_WIDE);
	rig.slots_stay = true;
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	ck_assert_uint_eq(vfio_get(FUNCTION_PM + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
	ck_assert_ptr_nonnull(vfio_slot_hva(gpa));
	rig.slots_stay = false;
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	ck_assert_uint_eq(function_get(FUNCTION_PM + PCI_PM_CTRL, 2), 3);
	ck_assert_ptr_null(vfio_slot_hva(gpa));
}

/* When the function leaves D3, by power state or by reset, the host's kernel restores an older command register
 * than the guest's. */
static const struct {
	uint32_t offset, value;
} ways_to_d0[] = {
	{FUNCTION_PM + PCI_PM_CTRL, 0},
	{FUNCTION_EXP + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR},
};

TEST_EACH(leaves_d3, ways_to_d0)
{
	const uint16_t former = PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER;
	uint64_t gpa;

	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	gpa = vfio_bar_gpa(FUNCTION_WIDE);
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY);
	ck_assert_ptr_null(vfio_slot_hva(gpa));
	function_put(PCI_COMMAND, 2, former);
	function_put(FUNCTION_PM + PCI_PM_CTRL, 2, 0);
	vfio_put(ways_to_d0[_i].offset, 2, ways_to_d0[_i].value);
	ck_assert_ptr_nonnull(vfio_slot_hva(gpa));
	ck_assert_uint_eq(function_get(PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
}

static void expect_caps(const char *what, const uint8_t *ids, size_t n)
{
	uint32_t at = vfio_get(PCI_CAPABILITY_LIST, 1);

	for (size_t i = 0; i < n; i++, at = vfio_get(at + 1, 1)) {
		ck_assert_msg(at != 0, "%s: it ends before capability %zu", what, i);
		ck_assert_uint_eq(vfio_get(at, 1), ids[i]);
	}
	ck_assert_msg(!at, "%s: there is more at %#x", what, at);
}
#define EXPECT_CAPS(what, ...) \
	expect_caps(what, (uint8_t[]){__VA_ARGS__}, sizeof((uint8_t[]){__VA_ARGS__}))

TEST(hidden)
{
	vfio_fixture_boot();
	EXPECT_CAPS("all", PCI_CAP_ID_PM, PCI_CAP_ID_MSI, PCI_CAP_ID_MSIX, PCI_CAP_ID_EXP,
		    PCI_CAP_ID_VNDR);
}

/* Capability lists that loop or leave config space. */
static const struct {
	uint32_t offset, bytes, value;
} lists[] = {
	{PCI_STATUS, 1, 0},			   /* no list at all */
	{PCI_CAPABILITY_LIST, 1, 0x10},		   /* into the header */
	{FUNCTION_PM, 2, FUNCTION_PM << 8 | 0xf0}, /* a loop of one that is hidden */
};

TEST_EACH(broken_lists, lists)
{
	function_put(lists[_i].offset, lists[_i].bytes, lists[_i].value);
	vfio_fixture_boot();
	ck_assert_uint_eq(vfio_get(PCI_CAPABILITY_LIST, 1), 0);
	ck_assert_uint_eq(vfio_get(PCI_STATUS, 2) & PCI_STATUS_CAP_LIST, 0);
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	ck_assert_uint_eq(function_get(FUNCTION_PM + PCI_PM_CTRL, 2), PCI_PM_CTRL_NO_SOFT_RESET);
}

/* A capability that overlaps the next one, or the end, is truncated or hidden. */
TEST(crowded)
{
	function_put(FUNCTION_PM + 1, 1, FUNCTION_PM + 4); /* leaves 4 bytes for PM */
	function_put(FUNCTION_PM + 4, 2, FUNCTION_VENDOR << 8 | PCI_CAP_ID_VPD);
	function_put(FUNCTION_VENDOR + 1, 2, 0xff00 | 0xf4); /* longer than its room */
	function_put(0xf4, 2, 0xfc00 | PCI_CAP_ID_MSI);
	function_put(0xf6, 2, PCI_MSI_FLAGS_64BIT); /* 14 bytes, room for 8 */
	function_put(0xfc, 2, PCI_CAP_ID_VNDR);
	function_put(0xfe, 1, 0xff);
	vfio_fixture_boot();
	EXPECT_CAPS("crowded", PCI_CAP_ID_VNDR, PCI_CAP_ID_VNDR);
	vfio_put(0xfc, 4, 0);
	ck_assert_uint_eq(function_get(0xfc, 4), 0x00ff0009);
}

/* The function has no pin, or the host no line for it. */
static const struct {
	uint32_t pin, lines;
} no_pins[] = {{0, 1}, {2, 0}};

TEST_EACH(no_pin, no_pins)
{
	function_put(PCI_INTERRUPT_PIN, 1, no_pins[_i].pin);
	function->irq[VFIO_PCI_INTX_IRQ_INDEX].count = no_pins[_i].lines;
	vfio_fixture_boot();
	ck_assert_uint_eq(vfio_get(PCI_INTERRUPT_PIN, 1), 0);
}

/* A refusal has a message and leaves nothing open. */
static const struct {
	uint32_t offset, bytes, value;
	const char *why;
} refusals[] = {
	{PCI_HEADER_TYPE, 1, 1, "it is a bridge"},
	{FUNCTION_MSIX + PCI_MSIX_TABLE, 4, 0x7ff0, "outside its BARs"},
	{FUNCTION_MSIX + PCI_MSIX_TABLE, 4, 0x3006, "outside its BARs"},
	{FUNCTION_MSIX + PCI_MSIX_PBA, 4, 0x8000, "outside its BARs"},
	{FUNCTION_MSIX + PCI_MSIX_PBA, 4, 5, "outside its BARs"},
	{FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, FUNCTION_VECTORS, "VFIO knows of 33"},
	{PCI_BASE_ADDRESS_4, 4, 1, "which no I/O BAR can have"},
	{PCI_BASE_ADDRESS_2, 4, 4, "BAR 3 lies in the upper half of BAR 2"},
};

TEST_EACH(refused, refusals)
{
	struct error err = {""};

	function_put(refusals[_i].offset, refusals[_i].bytes, refusals[_i].value);
	if (refusals[_i].offset == PCI_BASE_ADDRESS_4)
		function->region[4].bytes = 0x20000;
	ck_assert_int_eq(vfio_fixture_refused(&err), -EINVAL);
	ck_assert_msg(strstr(err.msg, refusals[_i].why) && strstr(err.msg, "nvme (0000:01:00.0): "),
		      "%s", err.msg);
}

/* --- BARs: which accesses exit, and where all of them arrive */

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

/* The pages of the MSI-X table and of the pending bits are not mapped, wherever they are. */
static const struct {
	uint32_t pba;
	const char *pages;
} msix_pages[] = {
	{FUNCTION_PBA, "mmm.m.mm"},
	{0x1000, "m.m.mmmm"},
	{FUNCTION_TABLE + 0x800, "mmm.mmmm"},
};

TEST_EACH(around_msix, msix_pages)
{
	function_put(FUNCTION_MSIX + PCI_MSIX_PBA, 4, msix_pages[_i].pba);
	start();
	expect_pages(FUNCTION_WIDE, msix_pages[_i].pages);
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

TEST(bar_widths)
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
