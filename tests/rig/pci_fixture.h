/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/pci_fixture.h - PCI devices that only count accesses, on the rig's bus.
 * Owns: the devices, from pci_fixture_add() to pci_remove() or the end of the process.
 * Errors: an unexpected callback fails the test. */
#ifndef TESTS_RIG_PCI_FIXTURE_H
#define TESTS_RIG_PCI_FIXTURE_H
#include "devices/pci/pci.h"
#include "tests/rig/device_rig.h"
#include <linux/pci_regs.h>

/* BARs: a 64-bit one, a 32-bit one, and that of MSI-X. FAKE_CAP: the device's capability. */
enum { FAKE_WIDE = 0, FAKE_NARROW = 2, FAKE_MSIX = 4, FAKE_VECTORS = 3, FAKE_CAP = 0x40 };
/* Of a function whose layout somebody else has chosen: ports, two BARs of less than a page, ports that no
 * register is smaller than, and a BAR that has an MSI-X table within. FOREIGN_CAP: one with bits for the
 * guest; the list goes FOREIGN_MSIX, FOREIGN_CAP. */
enum {
	FOREIGN_PORTS = 0,
	FOREIGN_SMALL = 1,
	FOREIGN_WIDE = 2,
	FOREIGN_MEDIUM = 4,
	FOREIGN_FEW_PORTS = 5,
	FOREIGN_VECTORS = 300,
	FOREIGN_MSIX = 0x80,
	FOREIGN_CAP = 0x48,
	FOREIGN_TABLE = 0x1000,
	FOREIGN_PBA = 0x3000,
};
#define FAKE_WIDE_BYTES	  0x4000u
#define FAKE_NARROW_BYTES 0x2000u

struct pci_fake {
	struct device dev;
	struct pci_state state;
	struct pci_func func;
	uint64_t written, last_offset; /* of the last write to one of its own BARs */
	uint32_t entry[4 * FOREIGN_VECTORS];
	bool pending[FOREIGN_VECTORS];
	uint32_t bar_changes, vector_changes, config_reads, config_writes;
};
extern struct pci_fake pci_fake[PCI_SLOTS];

/* fake[i] takes the next free slot. */
int pci_fixture_add(uint32_t i, struct error *err) must_check;
int pci_fixture_add_foreign(uint32_t i, struct error *err) must_check;
/* pci_compare() refuses fake[1]: for this state, or for its own with one byte of config space changed. */
void pci_fixture_refused(const struct pci_state *saved, const char *why);
void pci_fixture_refused_byte(uint32_t offset, uint8_t value, const char *why);

static inline uint64_t pci_fixture_ecam(uint32_t slot, uint32_t offset)
{
	return RIG_ECAM + (slot << 15) + offset;
}

/* The guest's accesses to config space. */
static inline uint32_t get(uint32_t slot, uint32_t offset, uint32_t bytes)
{
	return (uint32_t)rig_mmio_read(pci_fixture_ecam(slot, offset), bytes);
}

static inline void put(uint32_t slot, uint32_t offset, uint32_t bytes, uint32_t value)
{
	rig_mmio_write(pci_fixture_ecam(slot, offset), bytes, value);
}

static inline void command(uint32_t slot, uint16_t value)
{
	put(slot, PCI_COMMAND, 2, value);
}
#endif
