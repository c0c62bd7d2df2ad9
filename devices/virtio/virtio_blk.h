/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_blk.h - virtio disk: its state, and what QMP asks of it.
 * Owns: strings of struct blk_info stay the options'.
 * Threads: main, with the device's lock held; the guest may run. */
#ifndef DEVICES_VIRTIO_VIRTIO_BLK_H
#define DEVICES_VIRTIO_VIRTIO_BLK_H
#include "devices/host/disk.h"
#include "devices/virtio/virtio.h"
#include "vmm/options.h"

struct virtio_blk_state {
	struct virtio_state virtio;
	uint64_t capacity; /* sectors */
	uint32_t block_bytes, seg_max, opt_io_blocks;
	uint32_t max_discard_sectors, discard_align_sectors, max_zero_sectors;
	uint16_t min_io_blocks, queue_size;
	uint8_t physical_block_exp, alignment_offset;
	uint8_t readonly, writeback;
	char serial[24];
	uint64_t size_max;	       /* bytes, 64 bits wide to leave no padding; 0: not offered */
	struct disk_identity identity; /* of the host's disk, at the last save or load */
};

enum blk_kind { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_UNMAP, BLK_KINDS };

/* Since this process began. Zeroing counts as writing, as in QEMU. */
struct blk_counter {
	uint64_t operations, bytes; /* completed without an error */
	uint64_t failed;	    /* the host's fault */
	uint64_t invalid;	    /* the guest's */
	uint64_t total_ns;	    /* sum of the completed ones' durations */
};

struct blk_info {
	const struct disk_config *config; /* id, path, serial, readonly, cache */
	uint64_t size_bytes;
	uint32_t block_bytes; /* the guest's logical block */
	bool writeback;	      /* writes may stay in a cache until the guest flushes */
	uint64_t written_end; /* the highest offset that was written, QEMU's wr_highest_offset */
	struct blk_counter counter[BLK_KINDS];
};

extern const struct device_ops virtio_blk_ops; /* dev->ops of every disk */

void blk_query(const struct device *dev, struct blk_info *info);
/* Files grow and shrink to this size; a block device has been resized already, and must have it. The
 * guest is told. Never waits: shrinking is refused while requests are in flight. */
int blk_resize(struct device *dev, uint64_t size_bytes, struct error *err) must_check;
#endif
