/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/disk.h - a disk image: a regular file or block device with raw content.
 * Owns: two descriptors, from disk_open() to disk_close(). The lock has one of its own, because a
 *	ring that had the other one lets go of it only some time after its process has ended.
 * Threads: main only.
 * Units: bytes.
 * Errors: 0 or -errno with one message that names the path and the way out. */
#ifndef DEVICES_HOST_DISK_H
#define DEVICES_HOST_DISK_H
#include "vmm/options.h"

#define DISK_SECTOR_BYTES    512
#define DISK_MAX_BLOCK_BYTES 65536

struct disk {
	const struct disk_config *config;
	int fd, lock_fd;
	bool is_block; /* a block device */
	uint64_t size_bytes;
	uint32_t block_bytes;	 /* logical block: what offsets and lengths are multiples of */
	uint32_t physical_bytes; /* what is written at once */
	uint32_t first_bytes;	 /* where the first physical block begins */
	uint32_t min_io_bytes;	 /* below it I/O is slow; 0: unknown */
	uint32_t opt_io_bytes;	 /* as large as is of use; 0: unknown */
	uint32_t memory_align;	 /* of buffers of direct I/O; 1: none is asked for */
};

/* Opens, refuses what is not raw, locks and measures; writes nothing. saved: a guest that is saved has
 * this disk. Then what it looks like is what that guest has written, and one that is missing is to
 * be waited for, not to be made. */
int disk_open(struct disk *disk, const struct disk_config *config, bool saved,
	      struct error *err) must_check;
/* Idempotent after disk_open(). */
void disk_close(struct disk *disk);
/* Refuses what disk_resize() will not do: block_bytes are what the guest takes for a block, and a block
 * device must have that size already. */
int disk_can_resize(const struct disk *disk, uint64_t size_bytes, uint32_t block_bytes,
		    struct error *err) must_check;
/* A file gets this size. Sets size_bytes. */
int disk_resize(struct disk *disk, uint64_t size_bytes, struct error *err) must_check;
#endif
