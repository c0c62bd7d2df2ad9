/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/blk.h - what others may ask of a virtio-blk disk.
 * Owns: nothing; strings stay the options'.
 * Threads: main, with the device's lock held; the guest may run.
 * Units: bytes, ns.
 * Errors: 0 or -errno with one message. */
#ifndef DEVICES_VIRTIO_BLK_H
#define DEVICES_VIRTIO_BLK_H
#include "devices/device.h"
#include "vmm/options.h"

enum blk_kind { BLK_READ, BLK_WRITE, BLK_FLUSH, BLK_UNMAP, BLK_KINDS };

/* Since this process began. Zeroing counts as writing, as it does in QEMU. */
struct blk_counter {
	uint64_t operations, bytes; /* completed without an error */
	uint64_t failed;	    /* the host's fault */
	uint64_t invalid;	    /* the guest's */
	uint64_t total_ns;	    /* what the completed ones took, summed */
};

struct blk_info {
	const struct disk_config *config; /* id, path, serial, readonly, cache */
	uint64_t size_bytes;
	uint32_t block_bytes; /* what the guest takes for a block */
	bool writeback;	      /* the guest may leave writes in a cache until it flushes */
	uint64_t written_end; /* the highest offset that was written, QEMU's wr_highest_offset */
	struct blk_counter counter[BLK_KINDS];
};

extern const struct device_ops virtio_blk_ops; /* dev->ops of every disk */

void blk_query(const struct device *dev, struct blk_info *info);
/* Files grow and shrink to this size; a block device has been resized already, and must have it. The
 * guest is told. Waits for requests in flight when shrinking. */
int blk_resize(struct device *dev, uint64_t size_bytes, struct error *err) must_check;
#endif
