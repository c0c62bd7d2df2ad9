/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/memslot.h - KVM's memslots: RAM, and BARs that a device maps into the guest's physical address space.
 * Owns: the slot numbers. The memory is the caller's, and outlives its slot.
 * Threads: any; a slot may come and go while the guest runs.
 * Units: GPAs and bytes, multiples of the page size.
 * Errors: 0 or -errno with one message. Documentation/virt/kvm/api.rst, 4.35 KVM_SET_USER_MEMORY_REGION. */
#ifndef VMM_MEMSLOT_H
#define VMM_MEMSLOT_H
#include "vmm/base/error.h"
#include <pthread.h>
#include <stdint.h>

#define MEMSLOTS_MAX 256

struct memslots {
	int vm_fd;
	pthread_mutex_t lock; /* leaf; guards used */
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
