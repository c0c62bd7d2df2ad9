/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A PCI function as hardware has it: ports, BARs smaller than a page, capabilities at given offsets, and an
 * MSI-X table that is too big for struct pci_state. */
#include "tests/rig/device_rig.h"
#include "tests/rig/pci_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <string.h>

#define ME (&pci_fake[1])

static void start(void)
{
	struct error err = {""};

	/* A memory address that is no port: ports and memory are separate spaces. */
	rig.vm.ram.region[0] = (struct ram_region){.gpa = 0x100000, .size_bytes = 0x8000000};
	rig.vm.ram.nregions = 1;
	rig_attach(&pci_host_ops);
	ck_assert_msg(!pci_fixture_add_foreign(1, &err), "%s", err.msg);
	ck_assert_msg(!pci_fixture_add(2, &err), "%s", err.msg);
}

static uint32_t get_bar(uint32_t bar)
{
	return get(1, PCI_BASE_ADDRESS_0 + 4 * bar, 4);
}

static void put_bar(uint32_t bar, uint32_t value)
{
	put(1, PCI_BASE_ADDRESS_0 + 4 * bar, 4, value);
}

static bool mapped(uint32_t bar)
{
	return ME->func.bar[bar].mapped;
}

TEST(layout)
{
	start();
	ck_assert_uint_eq(get_bar(FOREIGN_PORTS), RIG_PIO | 1);
	ck_assert_uint_eq(get_bar(FOREIGN_SMALL), RIG_MMIO32 | 8);
	ck_assert_uint_eq(get_bar(FOREIGN_WIDE), (uint32_t)RIG_MMIO64 | 0xc);
	ck_assert_uint_eq(get_bar(FOREIGN_WIDE + 1), RIG_MMIO64 >> 32);
	ck_assert_uint_eq(get_bar(FOREIGN_MEDIUM), RIG_MMIO32 + 0x1000); /* the next page */
	ck_assert_uint_eq(get_bar(FOREIGN_FEW_PORTS), (RIG_PIO + 32) | 1);
	ck_assert_uint_eq(get(2, 0x18, 4), RIG_MMIO32 + FAKE_NARROW_BYTES);
	ck_assert_uint_eq(get(1, PCI_CAPABILITY_LIST, 1), FOREIGN_MSIX);
	ck_assert_uint_eq(get(1, FOREIGN_MSIX, 4),
			  PCI_CAP_ID_MSIX | FOREIGN_CAP << 8 | (FOREIGN_VECTORS - 1) << 16);
	ck_assert_uint_eq(get(1, FOREIGN_CAP, 4), PCI_CAP_ID_VNDR | 0x12340000);
	command(1, 0xffff);
	ck_assert_uint_eq(get(1, PCI_COMMAND, 2), PCI_COMMAND_IO | PCI_COMMAND_MEMORY |
							  PCI_COMMAND_MASTER |
							  PCI_COMMAND_INTX_DISABLE);
	command(2, 0xffff);
	ck_assert_uint_eq(get(2, PCI_COMMAND, 2) & PCI_COMMAND_IO, 0); /* it has no ports */
	ME->func.bar[FOREIGN_PORTS].size_bytes = 0x2000;	       /* larger than the window */
	pci_reset(&ME->func);
	ck_assert_uint_eq(get_bar(FOREIGN_PORTS), 1);
	ck_assert_uint_eq(get_bar(FOREIGN_FEW_PORTS), RIG_PIO | 1);
}

TEST(sizes)
{
	static const struct {
		uint32_t bar, reads;
	} row[] = {{FOREIGN_PORTS, 0xffffffe1},	 {FOREIGN_SMALL, 0xfffffff8},
		   {FOREIGN_WIDE, 0xffffc00c},	 {FOREIGN_WIDE + 1, 0xffffffff},
		   {FOREIGN_MEDIUM, 0xffffff00}, {FOREIGN_FEW_PORTS, 0xfffffffd}};
	uint32_t npio;

	start();
	npio = rig.vm.bus.nregions[BUS_PIO];
	command(1, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_PIO], npio + 2);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 4); /* with ECAM */
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		put_bar(row[i].bar, 0xffffffff);
		ck_assert_uint_eq(get_bar(row[i].bar), row[i].reads);
	}
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_PIO], npio);
	ck_assert_uint_eq(rig.vm.bus.nregions[BUS_MMIO], 1);
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		put_bar(bar, 0);
	ck_assert_uint_eq(get_bar(FOREIGN_PORTS), 1);
	ck_assert_uint_eq(get_bar(FOREIGN_SMALL), 8);
	ck_assert_uint_eq(get_bar(FOREIGN_WIDE), 0xc);
	ck_assert_uint_eq(get_bar(FOREIGN_FEW_PORTS), 1);
}

TEST(ports)
{
	start();
	command(1, PCI_COMMAND_MEMORY);
	rig_out(RIG_PIO + 4, 4, 0x12345678);
	ck_assert_uint_eq(ME->written, 0);
	command(1, PCI_COMMAND_IO);
	ck_assert(mapped(FOREIGN_PORTS) && !mapped(FOREIGN_SMALL));
	rig_out(RIG_PIO + 4, 4, 0x12345678);
	ck_assert_uint_eq(ME->written, 0x12345678);
	ck_assert_uint_eq(ME->last_offset, 4);
	ck_assert_uint_eq(rig_in(RIG_PIO + 1, 1), 0x79);
	ck_assert_uint_eq(rig_in(RIG_PIO + 30, 4), 0xffffffff); /* across the end of the BAR */
	outb(RIG_PIO + 32 + 3, 9);
	ck_assert_uint_eq(ME->last_offset, 3); /* of the other BAR */
	put_bar(FOREIGN_PORTS, 0xb47f);
	ck_assert_uint_eq(get_bar(FOREIGN_PORTS), 0xb461);
	outb(0xb462, 10);
	ck_assert_uint_eq(ME->written, 10);
	ck_assert_uint_eq(inb(RIG_PIO), 0xff);
	put_bar(FOREIGN_PORTS, 0x1b460); /* no such port */
	ck_assert_uint_eq(get_bar(FOREIGN_PORTS), 0x1b461);
	ck_assert(!mapped(FOREIGN_PORTS));
	ck_assert_uint_eq(inb(0xb462), 0xff);
	put_bar(FOREIGN_PORTS, 0xffe0); /* the last ones */
	outb(0xffff, 11);
	ck_assert_uint_eq(ME->written, 11);
	command(1, 0);
	outb(0xffff, 12);
	ck_assert_uint_eq(ME->written, 11);
}

TEST(in_the_way)
{
	start();
	command(1, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	for (uint32_t port = 0xcf8; port <= 0xcfc; port += 4) {
		put_bar(FOREIGN_FEW_PORTS, port);
		ck_assert(!mapped(FOREIGN_FEW_PORTS));
	}
	put_bar(FOREIGN_PORTS, 0xce0);
	ck_assert(!mapped(FOREIGN_PORTS));
	rig_out(0xcf8, 4, 0x80000800);
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0x10411af4);
	rig_out(0xcf8, 4, 0x80000824); /* out of its own way */
	rig_out(0xcfc, 4, 0xd00);
	ck_assert(mapped(FOREIGN_FEW_PORTS));
	put_bar(FOREIGN_PORTS, 0xd00); /* in one slot the lower BAR wins */
	ck_assert(mapped(FOREIGN_PORTS) && !mapped(FOREIGN_FEW_PORTS));
	put_bar(FOREIGN_SMALL, 0xd00); /* memory, not ports */
	ck_assert(mapped(FOREIGN_PORTS) && mapped(FOREIGN_SMALL));
	put_bar(FOREIGN_SMALL, RIG_IRQCHIP + 0xfff0);
	ck_assert(!mapped(FOREIGN_SMALL));
	put_bar(FOREIGN_SMALL, RIG_IRQCHIP - 16);
	ck_assert(mapped(FOREIGN_SMALL));
	put_bar(FOREIGN_SMALL, RIG_ECAM + 0x7ff0);
	ck_assert(!mapped(FOREIGN_SMALL));
	put_bar(FOREIGN_SMALL, 0x80ffff0); /* RAM's end */
	ck_assert(!mapped(FOREIGN_SMALL));
}

TEST(small)
{
	start();
	command(1, PCI_COMMAND_MEMORY);
	rig_mmio_write(RIG_MMIO32 + 8, 8, 0x1234);
	ck_assert_uint_eq(ME->last_offset, 8);
	rig_mmio_write(RIG_MMIO32 + 16, 4, 0x5678);
	ck_assert_uint_eq(ME->written, 0x1234);
	put_bar(FOREIGN_SMALL, 0xa0000037);
	ck_assert_uint_eq(get_bar(FOREIGN_SMALL), 0xa0000038);
	rig_mmio_write(0xa000003c, 4, 0x5678);
	ck_assert_uint_eq(ME->last_offset, 12);
	ck_assert_uint_eq(ME->written, 0x5678);
}

/* --- MSI-X */

static uint64_t table(uint32_t vector, uint32_t word)
{
	return ME->func.bar[FOREIGN_WIDE].gpa + FOREIGN_TABLE + vector * 16ul + word * 4ul;
}

static uint64_t pba(uint32_t offset, uint32_t size)
{
	return rig_mmio_read(ME->func.bar[FOREIGN_WIDE].gpa + FOREIGN_PBA + offset, size);
}

TEST(msix)
{
	static const struct pci_state none;
	const uint32_t last = FOREIGN_VECTORS - 1;
	struct irq_msi msi;

	start();
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (uint32_t v = 0; v < FOREIGN_VECTORS; v++)
		ck_assert_uint_eq(rig_mmio_read(table(v, 2), 8), 1ull << 32);
	rig_mmio_write(table(last, 0), 8, 0x12345678fee00fff);
	rig_mmio_write(table(last, 2), 4, 0x4abc);
	rig_mmio_write(table(last, 3), 4, 0xfffffffe);
	ck_assert_uint_eq(rig_mmio_read(table(last, 0), 8), 0x12345678fee00ffc);
	ck_assert_uint_eq(rig_mmio_read(table(last, 2), 8), 0x4abc);
	ck_assert_uint_eq(ME->vector_changes, 3);
	memset(ME->pending, true, sizeof(ME->pending)); /* also beyond the last vector */
	rig_mmio_write(table(FOREIGN_VECTORS, 0), 8, ~0ull);
	rig_mmio_write(table(0, 0), 2, 0x1234);
	ck_assert_uint_eq(rig_mmio_read(table(FOREIGN_VECTORS, 0), 8), 0);
	ck_assert_uint_eq(rig_mmio_read(table(0, 0), 4), 0);
	ck_assert_uint_eq(rig_mmio_read(table(0, 0), 2), 0xffff);
	ck_assert_uint_eq(ME->vector_changes, 3);

	ck_assert(!pci_msix_message(&ME->func, last, &msi));
	put(1, FOREIGN_MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(ME->vector_changes, 4);
	ck_assert(pci_msix_enabled(&ME->func));
	ck_assert(pci_msix_message(&ME->func, last, &msi));
	ck_assert_uint_eq(msi.address, 0x12345678fee00ffc);
	ck_assert_uint_eq(msi.data, 0x4abc);
	ck_assert(!pci_msix_message(&ME->func, 0, &msi));
	ck_assert(!pci_msix_message(&ME->func, FOREIGN_VECTORS, &msi));
	ck_assert_mem_eq(ME->state.msix, none.msix, sizeof(none.msix));
	ck_assert_ptr_null(pci_msix_check(ME->entry, 4 * FOREIGN_VECTORS));
	ME->entry[4 * last + 3] = 2;
	ck_assert_ptr_nonnull(pci_msix_check(ME->entry, 4 * FOREIGN_VECTORS));
	ck_assert_ptr_null(pci_msix_check(ME->entry, 4 * last));
	pci_reset(&ME->func);
	for (uint32_t i = 0; i < 4 * FOREIGN_VECTORS; i++)
		ck_assert_uint_eq(ME->entry[i], i % 4 == 3);
}

TEST(pending)
{
	static const uint32_t raised[] = {0, 31, 32, 63, 64, 255, 299};

	start();
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	for (size_t i = 0; i < ARRAY_SIZE(raised); i++)
		ME->pending[raised[i]] = true;
	ck_assert_uint_eq(pba(0, 4), 0x80000001);
	ck_assert_uint_eq(pba(4, 4), 0x80000001);
	ck_assert_uint_eq(pba(0, 8), 0x8000000180000001);
	ck_assert_uint_eq(pba(8, 8), 1);
	ck_assert_uint_eq(pba(28, 4), 0x80000000);
	ck_assert_uint_eq(pba(32, 8), 1ull << (299 - 256));
	ck_assert_uint_eq(pba(40, 8), 0); /* no such vectors */
	ck_assert_uint_eq(pba(0, 1), 0xff);
	rig_mmio_write(ME->func.bar[FOREIGN_WIDE].gpa + FOREIGN_PBA, 8, 0);
	ck_assert_uint_eq(pba(0, 4), 0x80000001);
	rig_mmio_write(table(31, 3), 4, 0);
	put(1, FOREIGN_MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(pba(0, 4), 1); /* pending, though unmasked */
	ck_assert_uint_eq(rig.nmsis, 0); /* only the device may send it */
	pci_resume(&ME->func);
	ck_assert_uint_eq(rig.nmsis, 0);
}

/* Neither MSI-X nor a pin, and a register that the device added to the header. */
TEST(without_interrupts)
{
	static const struct pci_reg status = {
		.offset = PCI_STATUS, .bytes = 2, .value = 0x0200, .writable = 0xf900};
	struct error err = {""};

	start();
	pci_remove(&ME->func);
	memset(ME->func.initial, 0, sizeof(ME->func.initial));
	memset(ME->func.writable, 0, sizeof(ME->func.writable));
	ME->func.nvectors = ME->func.msix_cap = ME->func.last_cap = 0;
	ME->func.no_intx = true;
	pci_put_regs(&ME->func, &status, 1);
	ck_assert_msg(!pci_add(&ME->func, &rig.vm, &err), "%s", err.msg);
	ck_assert_uint_eq(get(1, PCI_INTERRUPT_LINE, 4), 0);
	ck_assert_uint_eq(get(1, PCI_CAPABILITY_LIST, 4), 0);
	command(1, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
	put(1, PCI_STATUS, 2, 0xffff);
	ck_assert_uint_eq(get(1, PCI_COMMAND, 4), 0xfb000006);
	ck_assert(!pci_msix_enabled(&ME->func));
	ck_assert_uint_eq(pba(0, 8), 0);
	rig_mmio_write(table(0, 3), 4, 0);
	ck_assert_uint_eq(ME->vector_changes, 0);
	ck_assert_int_eq(pci_compare(&ME->func, &ME->state, &err), 0);
}

/* --- checkpoints */

TEST(compare)
{
	struct error err = {""};
	struct pci_state s;

	start();
	s = ME->state;
	s.config[FOREIGN_CAP + 2] = 0xa4; /* bits that this build does not have */
	ck_assert_msg(!pci_compare(&ME->func, &s, &err), "%s", err.msg);
	s.config[FOREIGN_CAP + 2] = 0xa5;
	pci_fixture_refused(&s, "PCI config space at 0x4a");
	pci_fixture_refused_byte(PCI_REVISION_ID, 2,
				 "PCI revision: saved with 0x2, here it is 0x1");
	/* The list ends earlier. */
	pci_fixture_refused_byte(FOREIGN_MSIX + 1, 0, "PCI config space at 0x81");
	pci_fixture_refused_byte(PCI_CAPABILITY_LIST, FOREIGN_CAP, "PCI config space at 0x34");
	pci_fixture_refused_byte(PCI_CAPABILITY_LIST, 0, "PCI config space at 0x34");
	pci_fixture_refused_byte(FOREIGN_MSIX + PCI_MSIX_FLAGS, (FOREIGN_VECTORS - 2) & 0xff,
				 "saved with 299 MSI-X vectors, here are 300");
	/* BARs for memory, and not prefetchable. */
	pci_fixture_refused_byte(PCI_BASE_ADDRESS_0, 0, "PCI config space at 0x10");
	pci_fixture_refused_byte(PCI_BASE_ADDRESS_1, 0, "PCI config space at 0x14");
	s = ME->state;
	s.bar_bits[FOREIGN_FEW_PORTS] = 3;
	pci_fixture_refused(&s, "BAR 5: saved with 2^3 bytes, here it has 2^2");
}

TEST(round_trip)
{
	static uint32_t entry[4 * FOREIGN_VECTORS];
	struct error err = {""};
	struct pci_state s;

	start();
	command(1, PCI_COMMAND_MEMORY);
	rig_mmio_write(table(0, 3), 4, 0);
	put(1, FOREIGN_MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	command(1, PCI_COMMAND_IO | PCI_COMMAND_MASTER);
	put_bar(FOREIGN_PORTS, 0x8000);
	put_bar(FOREIGN_FEW_PORTS, 0xcf8);
	s = ME->state;
	memcpy(entry, ME->entry, sizeof(entry));
	s.msix_pending = 1; /* not used by this device: ignored */
	ck_assert_ptr_null(pci_check(&s));
	pci_reset(&ME->func);
	ck_assert(!mapped(FOREIGN_PORTS));
	ck_assert_int_eq(pci_compare(&ME->func, &s, &err), 0);
	ME->state = s;
	memcpy(ME->entry, entry, sizeof(entry));
	ck_assert_int_eq(pci_post_load(&ME->func, &err), 0);
	pci_resume(&ME->func);
	ck_assert_uint_eq(rig.nmsis, 0);
	outb(0x8001, 5);
	ck_assert_uint_eq(ME->written, 5);
	ck_assert(!mapped(FOREIGN_FEW_PORTS));
	rig_out(0xcf8, 4, 0x80000800);
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0x10411af4);
	/* The guest has both capabilities, in either order of their offsets. */
	put(1, FOREIGN_CAP + 2, 2, 0xffff);
	ck_assert_uint_eq(get(1, FOREIGN_CAP + 2, 2), 0x12f4);
	ck_assert(pci_msix_enabled(&ME->func));
	put(1, FOREIGN_MSIX + PCI_MSIX_FLAGS, 2, 0);
	ck_assert(!pci_msix_enabled(&ME->func));
}

UNIT_MAIN(rig_open, rig_close)
