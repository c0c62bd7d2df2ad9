/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/vfio_fixture.h - a function in a made-up host, passed through to a guest in the rig. Wherever
 * its config space is not for the guest to see it has ones.
 * Owns: the made-up host and the guest, from vfio_fixture_open() to vfio_fixture_close().
 * Threads: one.
 * Units: bytes of config space, of a BAR.
 * Errors: a failed step fails the test. */
#ifndef TESTS_RIG_VFIO_FIXTURE_H
#define TESTS_RIG_VFIO_FIXTURE_H
#include "devices/vfio/vfio.h"
#include "tests/fakes/vfio_stand_in.h"
#include "tests/rig/device_rig.h"
#include <linux/pci_regs.h>

/* BARs 0 (and 1), 2, 3, 4: a 64-bit one with the MSI-X table in its midst and the pending bits behind it,
 * a small one, ports, and one of which only pieces can be mapped. */
enum { FUNCTION_WIDE = 0, FUNCTION_SMALL = 2, FUNCTION_PORTS = 3, FUNCTION_SPARSE = 4 };
#define FUNCTION_WIDE_BYTES   0x8000u
#define FUNCTION_SMALL_BYTES  0x80u
#define FUNCTION_PORTS_BYTES  0x20u
#define FUNCTION_SPARSE_BYTES 0x10000u
#define FUNCTION_TABLE	      0x3000u
#define FUNCTION_PBA	      0x5800u
#define FUNCTION_VECTORS      33u
#define FUNCTION_MSIS	      8u

/* Capabilities in the order of the list, whose end points at its beginning. */
enum {
	FUNCTION_PM = 0x40,
	FUNCTION_VPD = 0x48,
	FUNCTION_MSI = 0x50,
	FUNCTION_MSIX = 0x6c,
	FUNCTION_EXP = 0x80,
	FUNCTION_VENDOR = 0xc0,
	FUNCTION_AF = 0xe0,
};

extern struct vfio_stand_in_function *function;

/* The host, with the function in it as it is above. */
void vfio_fixture_open(void);
void vfio_fixture_close(void);
/* The guest; what a test changes in the function comes before. */
void vfio_fixture_boot(void);
void vfio_fixture_shutdown(void);
/* The way through suspend, save, a new process and load; awake again. */
void vfio_fixture_reload(void);
void vfio_fixture_reset(void);
/* Instead of the boot: the function is refused, and nothing is left of it. */
int vfio_fixture_refused(struct error *err);

struct device *vfio_fixture_device(void);
struct vfio_host *vfio_fixture_host(void);
/* The guest's config space, as far as PCI lets it. */
uint32_t vfio_get(uint32_t offset, uint32_t bytes);
void vfio_put(uint32_t offset, uint32_t bytes, uint32_t value);
/* The function's own. */
uint32_t function_get(uint32_t offset, uint32_t bytes);
void function_put(uint32_t offset, uint32_t bytes, uint32_t value);
/* Of the guest; 0: not mapped. */
uint64_t vfio_bar_gpa(uint32_t bar);
/* A memslot that has this GPA; NULL: an access there exits. */
void *vfio_slot_hva(uint64_t gpa);
/* Four bytes of a region of the function, by its descriptor. */
uint32_t function_read(uint32_t region, uint64_t offset);
#endif
