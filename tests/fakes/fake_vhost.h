/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fakes/fake_vhost.h - in place of open(2) and ioctl(2) in devices that use vhost: a fake
 * kernel with vhost, which records its ioctls and moves chains when a test asks for it.
 * Owns: one record for each open descriptor.
 * Errors: a use that the real vhost forbids aborts. include/uapi/linux/vhost.h. */
#ifndef TESTS_FAKES_FAKE_VHOST_H
#define TESTS_FAKES_FAKE_VHOST_H
#include <linux/vhost.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_VHOSTS 8

struct fake_vhost {
	int fd; /* 0: free */
	bool is_vsock, has_owner, runs;
	uint64_t features, cid;
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region[8];
	} memory;
	struct fake_vhost_ring {
		uint32_t size, base;
		struct vhost_vring_addr addr;
		int kick, call, error, backend; /* -1: none */
	} ring[2];
};

extern struct fake_vhost fake_vhost[FAKE_VHOSTS];
/* This request fails with this errno, unless it undoes an earlier one; 0: none fails. */
extern unsigned long fake_vhost_fails;
extern int fake_vhost_errno;
/* There is no device node. */
extern bool fake_vhost_absent;

/* Returns the next n chains of a ring to the driver, each with so many bytes; returns how many there were. */
uint32_t fake_vhost_serve(struct fake_vhost *in, uint32_t ring, uint32_t n, uint32_t bytes);
#endif
