/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/bus.h - guest accesses to ports and MMIO find their device here.
 * Owns: the sorted table of regions, filled by devices when they attach.
 * Threads: bus_add() main only, before the guest runs; bus_access() any vCPU thread. The
 *	region's lock is held around its callbacks: devices never lock.
 * Units: addresses are ports or GPAs; sizes in bytes (1, 2, 4, 8).
 * Errors: an access that no region answers reads all ones and writes nothing, as on a PC. */
#ifndef VMM_BUS_H
#define VMM_BUS_H
#include "vmm/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_MAX_REGIONS 64

enum bus_space { BUS_PIO, BUS_MMIO, BUS_SPACES };

/* offset is relative to the region's base; an access never crosses its end. */
struct bus_ops {
	uint64_t (*read)(void *opaque, uint64_t offset, uint32_t size);
	void (*write)(void *opaque, uint64_t offset, uint32_t size, uint64_t value);
};

struct bus_region {
	uint64_t base, size;
	const struct bus_ops *ops;
	void *opaque;
	pthread_mutex_t *lock;
	const char *name;
};

struct bus {
	struct bus_region region[BUS_SPACES][BUS_MAX_REGIONS];
	uint32_t nregions[BUS_SPACES];
};

/* Refuses an overlap and names both regions. */
int bus_add(struct bus *bus, enum bus_space space, const struct bus_region *region,
	    struct error *err) must_check;
/* data: `size` bytes, little endian, as KVM has them in struct kvm_run. */
void bus_access(const struct bus *bus, enum bus_space space, uint64_t addr, void *data,
		uint32_t size, bool is_write);
#endif
