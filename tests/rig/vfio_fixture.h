/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/vfio_fixture.h - a PCI function of the fake host, passed through to a guest in the rig. Parts of its
 * config space that the guest must not see are all ones.
 * Owns: fake host and guest, from vfio_fixture_open() to vfio_fixture_close().
 * Errors: a failed step fails the test. */
#ifndef TESTS_RIG_VFIO_FIXTURE_H
#define TESTS_RIG_VFIO_FIXTURE_H
#include "devices/vfio/vfio.h"
#include "tests/fakes/fake_vfio.h"
#include "tests/rig/device_rig.h"
#include <linux/pci_regs.h>

/* BARs 0 (and 1), 2, 3, 4: a 64-bit one with the MSI-X table and the pending bits, a small one, ports, and one
 * of which only parts can be mapped. */
enum { FUNCTION_WIDE = 0, FUNCTION_SMALL = 2, FUNCTION_PORTS = 3, FUNCTION_SPARSE = 4 };
#define FUNCTION_WIDE_BYTES   0x8000u
#define FUNCTION_SMALL_BYTES  0x80u
#define FUNCTION_PORTS_BYTES  0x20u
#define FUNCTION_SPARSE_BYTES 0x10000u
#define FUNCTION_TABLE	      0x3000u
#define FUNCTION_PBA	      0x5800u
#define FUNCTION_VECTORS      33u
#define FUNCTION_MSIS	      8u

/* Capabilities in list order; the list loops. */
enum {
	FUNCTION_PM = 0x40,
	FUNCTION_VPD = 0x48,
	FUNCTION_MSI = 0x50,
	FUNCTION_MSIX = 0x6c,
	FUNCTION_EXP = 0x80,
	FUNCTION_VENDOR = 0xc0,
	FUNCTION_AF = 0xe0,
};

extern struct fake_vfio_function *function;

/* The host, with this function. */
void vfio_fixture_open(void);
void vfio_fixture_close(void);
/* The guest. A test changes the function before. */
void vfio_fixture_boot(void);
void vfio_fixture_shutdown(void);
/* Suspend, save, load in a new process, wake. */
void vfio_fixture_reload(void);
void vfio_fixture_reset(void);
/* Instead of the boot: the function must be refused, with nothing left open. */
int vfio_fixture_refused(struct error *err);

struct device *vfio_fixture_device(void);
struct vfio *vfio_fixture_vfio(void);
/* The guest accesses config space. */
uint32_t vfio_get(uint32_t offset, uint32_t bytes);
void vfio_put(uint32_t offset, uint32_t bytes, uint32_t value);
/* Config space of the function itself. */
uint32_t function_get(uint32_t offset, uint32_t bytes);
void function_put(uint32_t offset, uint32_t bytes, uint32_t value);
/* Where the guest has the BAR; 0: not mapped. */
uint64_t vfio_bar_gpa(uint32_t bar);
/* The memslot's memory at this GPA; NULL: an access exits. */
void *vfio_slot_hva(uint64_t gpa);
/* Four bytes of a region of the function. */
uint32_t function_read(uint32_t region, uint64_t offset);
#endif
