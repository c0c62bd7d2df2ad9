/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fakes/vhost_stand_in.h - in place of open(2) and ioctl(2) in devices that use vhost: a kernel that
 * has it, remembers what it is told, and moves chains when a test says so.
 * Owns: one record for each descriptor that was opened.
 * Threads: one.
 * Units: bytes.
 * Errors: what no driver of the real thing may do aborts. include/uapi/linux/vhost.h. */
#ifndef TESTS_FAKES_VHOST_STAND_IN_H
#define TESTS_FAKES_VHOST_STAND_IN_H
#include <linux/vhost.h>
#include <stdbool.h>
#include <stdint.h>

#define STAND_INS 8

struct stand_in {
	int fd; /* 0: free */
	bool is_vsock, has_owner, runs;
	uint64_t features, cid;
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region[8];
	} memory;
	struct stand_in_ring {
		uint32_t size, base;
		struct vhost_vring_addr addr;
		int kick, call, error, backend; /* -1: none */
	} ring[2];
};

extern struct stand_in stand_in[STAND_INS];
/* This request fails with this errno unless it takes something away; 0: none does. */
extern unsigned long stand_in_fails;
extern int stand_in_errno;
/* The node is not there. */
extern bool stand_in_absent;

/* Gives the next n chains of a ring back, each with so many bytes. Returns how many there were. */
uint32_t stand_in_serve(struct stand_in *in, uint32_t ring, uint32_t n, uint32_t bytes);
#endif
