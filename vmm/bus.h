/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/bus.h - routes a guest's access to a port or to MMIO to its device, or to memory without an exit.
 * Owns: the sorted tables of regions.
 * Threads: any; BARs come and go while the guest runs. The region's lock is held around its callbacks (devices
 * never lock), the table's lock is not: an access that found its region just before bus_del() still reaches
 * it.
 * Units: ports or GPAs; sizes in bytes (1, 2, 4, 8).
 * Errors: an access to no region reads all ones and writes nothing, as on a PC. */
#ifndef VMM_BUS_H
#define VMM_BUS_H
#include "vmm/base/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#define BUS_MAX_REGIONS 256

enum bus_space { BUS_PIO, BUS_MMIO, BUS_SPACES };

/* offset is relative to the region's base; an access never crosses the region's end. */
struct bus_ops {
	/* 0: any. Else the region is one register of this width at a base of 1 byte; the bytes after it belong
	 * to others (0xcf8 is 4 bytes wide, 0xcf9 is another register). */
	uint32_t width;
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
	pthread_rwlock_t lock; /* guards the tables; leaf */
	struct bus_region region[BUS_SPACES][BUS_MAX_REGIONS];
	uint32_t nregions[BUS_SPACES];
};

void bus_init(struct bus *bus);
void bus_close(struct bus *bus);
/* Refuses an overlap and names both regions. */
int bus_add(struct bus *bus, enum bus_space space, const struct bus_region *region,
	    struct error *err) must_check;
/* Removes the region that begins at base. */
void bus_del(struct bus *bus, enum bus_space space, uint64_t base);
/* Removes all regions with this lock: those of one device. */
void bus_del_all(struct bus *bus, const pthread_mutex_t *lock);
/* data: `size` bytes, little endian, as KVM has them in struct kvm_run. */
void bus_access(struct bus *bus, enum bus_space space, uint64_t addr, void *data, uint32_t size,
		bool is_write);

/* memslot.c: KVM's memslots: RAM, and BARs that a device maps into the guest's physical address space. The memory is
 * the caller's, and outlives its slot. Any thread; GPAs and bytes are multiples of the page size. Errors: 0 or -errno
 * with one message. Documentation/virt/kvm/api.rst, 4.35 KVM_SET_USER_MEMORY_REGION. */

#define MEMSLOTS_MAX 256

struct memslots {
	int vm_fd;
	pthread_mutex_t lock; /* leaf; guards slot[] */
	struct memslot {
		uint64_t gpa, bytes; /* bytes 0: free */
	} slot[MEMSLOTS_MAX];
};

void memslots_init(struct memslots *slots, int vm_fd);
void memslots_close(struct memslots *slots);
/* KVM refuses a slot that overlaps another one. */
int memslot_add(struct memslots *slots, uint64_t gpa, uint64_t bytes, void *hva, uint32_t *slot,
		struct error *err) must_check;
/* -errno: the guest still reaches the memory, which must stay mapped. */
int memslot_del(struct memslots *slots, uint32_t slot) must_check;
#endif
