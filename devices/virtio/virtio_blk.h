/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_blk.h - what the device (virtio_blk.c) and its requests (virtio_blk_request.c) share.
 * Owns: nothing.
 * Threads: guarded by io.lock from there on that struct blk says; all else with the device's lock held.
 * Units: sectors of 512 bytes, bytes.
 * Errors: none. virtio 1.2, 5.2 "Block Device". */
#ifndef DEVICES_VIRTIO_VIRTIO_BLK_H
#define DEVICES_VIRTIO_VIRTIO_BLK_H
#include "devices/host/disk_identity.h"
#include "devices/host/disk_uring.h"
#include "devices/virtio/blk.h"
#include "devices/virtio/virtio.h"
#include <linux/virtio_blk.h>

/* A request is bounded, for a pause waits for it: holes are made at once, but zeroes may have to be
 * written. */
#define MAX_TRANSFER_BYTES  (64u << 20)
#define MAX_DISCARD_SECTORS ((1u << 30) / DISK_SECTOR_BYTES)
#define MAX_ZERO_SECTORS    ((64u << 20) / DISK_SECTOR_BYTES)
/* Of the buffers of one request: more than any driver needs who minds seg_max. */
#define MAX_IOV	   (VIRTQ_MAX_SIZE + 2 * RAM_MAX_REGIONS)
#define INLINE_IOV 4

struct virtio_blk_state {
	struct virtio_state virtio;
	uint64_t capacity; /* sectors */
	uint32_t block_bytes, seg_max, opt_io_blocks;
	uint32_t max_discard_sectors, discard_align_sectors, max_zero_sectors;
	uint16_t min_io_blocks, queue_size;
	uint8_t physical_block_exp, alignment_offset;
	uint8_t readonly, writeback;
	char serial[24];
	uint64_t size_max; /* bytes; as wide as this leaves no padding. 0: not offered */
	struct disk_identity identity; /* the host's disk; of the last save or load */
};

struct blk_request {
	struct disk_op op;
	struct blk_request *next; /* free ones */
	uint8_t *status;	  /* in guest RAM */
	uint64_t since_ns;
	uint32_t used_bytes; /* what the guest is told was written to its RAM if all goes well */
	uint16_t head;
	uint8_t queue, kind;	/* enum blk_kind */
	struct iovec *long_iov; /* allocated if inline_iov is too short */
	struct iovec inline_iov[INLINE_IOV];
};

struct blk {
	struct virtio virtio;
	struct disk disk;
	struct disk_uring io;
	struct virtio_blk_config config; /* as the driver reads it */
	/* From here on guarded by io.lock. */
	uint64_t capacity; /* of the state */
	bool writes_through;
	uint32_t used;	/* a bit a queue: something was pushed, the driver does not know yet */
	uint32_t quiet; /* a bit a queue: kicks may be off, so look there without one */
	uint32_t turn;	/* which queue comes first */
	struct blk_request *request, *free;
	uint32_t nrequests, ntouched; /* touched ones are in flight or free */
	struct blk_counter counter[BLK_KINDS];
	uint64_t written_end;
	struct iovec iov[MAX_IOV]; /* of the chain that is being looked at */
};

/* Requests are taken, checked and completed by the disk's thread. */
extern const struct disk_uring_client virtio_blk_client;
#endif
