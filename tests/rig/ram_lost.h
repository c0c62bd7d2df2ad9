/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/ram_lost.h - guest RAM of the rig that is not there, as on a full tmpfs.
 * Owns: nothing.
 * Threads: one, beside the devices'.
 * Units: GPAs.
 * Errors: a failed step fails the test. */
#ifndef TESTS_RIG_RAM_LOST_H
#define TESTS_RIG_RAM_LOST_H
#include "tests/rig/device_rig.h"
#include <errno.h>
#include <sys/mman.h>

static inline void ram_lost_protect(uint64_t gpa, int protection)
{
	ck_assert_int_eq(mprotect(ram_ptr(&rig.vm.ram, gpa & ~4095ull, 4096), 4096, protection), 0);
}

/* System calls cannot reach the page at gpa. */
static inline void ram_lost_begin(uint64_t gpa)
{
	ck_assert_uint_eq(rig.requests, 0);
	ram_lost_protect(gpa, PROT_NONE);
}

/* One has met that: the VM is asked to stop and cannot be saved. The page is there again. */
static inline void ram_lost_end(uint64_t gpa)
{
	struct error err;

	RIG_WAIT_FOR(rig.requests == VM_REQUEST_BROKEN_RAM);
	ck_assert_uint_eq(atomic_load(&rig.vm.broken_gpa), gpa);
	ck_assert_int_eq(ram_check_survives(&rig.vm.ram, RAM_SURVIVES_NOTHING, &err), -EIO);
	ram_lost_protect(gpa, PROT_READ | PROT_WRITE);
	rig.requests = 0;
}
#endif
