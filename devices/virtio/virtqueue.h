/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtqueue.h - split virtqueues: what the driver offers is copied once, then validated.
 * Threads: one at a time for each queue; the device decides which.
 * Units: ring indices are free-running 16 bits; lengths are bytes.
 * Errors: virtq_pop() returns -EINVAL and one message if the ring is broken; the device then calls
 *	virtio_broken(). Nothing a driver writes makes these functions loop without
 *	end or touch anything but guest RAM. virtio 1.2, 2.7 "Split Virtqueues". */
#ifndef DEVICES_VIRTIO_VIRTQUEUE_H
#define DEVICES_VIRTIO_VIRTQUEUE_H
#include "ram/ram.h"
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#define VIRTQ_MAX_SIZE 1024

struct virtq {
	const struct ram *ram;
	uint16_t size; /* a power of two */
	bool event_idx, indirect;
	/* In guest RAM, as virtq_start() has checked. */
	uint8_t *desc, *avail, *used;
	uint16_t last_avail; /* next entry of avail to take */
	uint16_t next_used;  /* next entry of used to fill */
	uint16_t signalled;  /* next_used when the driver was last interrupted */
	bool signalled_valid;
};

/* A chain in host memory: first the buffers to read, then those to write. An element never crosses a
 * boundary of RAM regions. */
struct virtq_chain {
	uint16_t head;
	uint32_t nread, nwrite; /* iov[0..nread), iov[nread..nread + nwrite) */
	uint64_t read_bytes, write_bytes;
	struct iovec *iov; /* the caller's */
};

/* Rings at these GPAs; refuses what is not aligned or not in RAM. The caller has set last_avail and
 * next_used; the first push is signalled. */
int virtq_start(struct virtq *q, const struct ram *ram, uint64_t desc_gpa, uint64_t avail_gpa,
		uint64_t used_gpa, struct error *err) must_check;
/* 1: a chain, 0: there is none, -EINVAL: the ring is broken. chain->iov has room for max_iov. */
int virtq_pop(struct virtq *q, struct virtq_chain *chain, uint32_t max_iov,
	      struct error *err) must_check;
/* Puts back the chain that was popped last. */
void virtq_unpop(struct virtq *q);
/* bytes: what the device wrote into the chain. */
void virtq_push(struct virtq *q, uint16_t head, uint32_t bytes);
/* Several chains become visible at once (mergeable receive buffers): fill n entries, then publish. */
void virtq_fill(struct virtq *q, uint32_t index, uint16_t head, uint32_t bytes);
void virtq_publish(struct virtq *q, uint32_t n);
/* Does the driver want an interrupt for the chains pushed since the last call? */
bool virtq_should_signal(struct virtq *q);
/* Switch the driver's kicks on and off. virtq_want_kicks() returns true if a chain has arrived before
 * they were on: then pop again instead of waiting. */
bool virtq_want_kicks(struct virtq *q);
void virtq_no_kicks(struct virtq *q);
/* Chains that wait to be popped. */
uint16_t virtq_waiting(const struct virtq *q);

/* Copies between a chain's part and a buffer, from byte offset on; returns how many were copied. */
uint64_t virtq_read(const struct virtq_chain *chain, uint64_t offset, void *to, uint64_t bytes);
uint64_t virtq_write(const struct virtq_chain *chain, uint64_t offset, const void *from,
		     uint64_t bytes);
#endif
