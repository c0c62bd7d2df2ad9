/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: virtio 1.2, 5.2 "Block Device". Its requests are virtio_blk_request.c's. */
#include "devices/virtio/virtio_blk.h"
#include "vmm/base/clock.h"
#include "vmm/vm.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* In flight at a time, whatever the queues could hold. */
#define MAX_REQUESTS 1000

#define VIRTIO_BLK_STATE(F, A, V, T)  \
	VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, capacity)                \
	F(T, block_bytes)             \
	F(T, seg_max)                 \
	F(T, opt_io_blocks)           \
	F(T, max_discard_sectors)     \
	F(T, discard_align_sectors)   \
	F(T, max_zero_sectors)        \
	F(T, min_io_blocks)           \
	F(T, queue_size)              \
	F(T, physical_block_exp)      \
	F(T, alignment_offset)        \
	F(T, readonly)                \
	F(T, writeback)               \
	F(T, serial)                  \
	A(T, size_max, 0)             \
	DISK_IDENTITY_ROWS(A, T, identity)

static bool is_power_of_two(uint32_t value)
{
	return value && !(value & (value - 1));
}

static const char *check_geometry(const struct virtio_blk_state *s)
{
	uint32_t block_sectors = s->block_bytes / DISK_SECTOR_BYTES;

	if (!is_power_of_two(s->block_bytes) || !block_sectors ||
	    s->block_bytes > DISK_MAX_BLOCK_BYTES || s->physical_block_exp > 7)
		return "a block size that no disk has";
	if (!s->capacity || s->capacity > INT64_MAX / DISK_SECTOR_BYTES ||
	    s->capacity % block_sectors)
		return "a capacity that no disk has";
	if (!s->max_discard_sectors || !s->max_zero_sectors || !s->discard_align_sectors ||
	    s->max_discard_sectors > MAX_DISCARD_SECTORS || s->max_zero_sectors > MAX_ZERO_SECTORS)
		return "limits of discard or write zeroes that nobody offered";
	return NULL;
}

static const char *virtio_blk_check(const void *state)
{
	const struct virtio_blk_state *s = state;
	const char *why = virtio_check(&s->virtio);

	if (!why)
		why = check_geometry(s);
	if (why)
		return why;
	if (s->virtio.nqueues < 1 || s->virtio.nqueues > OPTIONS_MAX_QUEUES)
		return "a number of queues that no disk has";
	if (!is_power_of_two(s->queue_size) || s->queue_size > VIRTQ_MAX_SIZE || !s->seg_max ||
	    s->seg_max > s->queue_size)
		return "a queue size that no disk has";
	if (s->size_max > MAX_TRANSFER_BYTES / s->seg_max ||
	    (s->size_max != 0) != (s->virtio.offered >> VIRTIO_BLK_F_SIZE_MAX & 1))
		return "transfers larger than any that were offered";
	for (uint32_t i = 0; i < s->virtio.nqueues; i++)
		if (s->virtio.queue_size[i] > s->queue_size)
			return "a queue that is longer than was offered";
	if (s->readonly > 1 || s->writeback > 1 ||
	    s->readonly != (s->virtio.offered >> VIRTIO_BLK_F_RO & 1))
		return "readonly and writeback are 0 or 1, and the features say so too";
	if (!memchr(s->serial, 0, VIRTIO_BLK_ID_BYTES + 1))
		return "a serial number of more than 20 bytes";
	return disk_identity_check(&s->identity);
}
STATE_DEFINE(virtio_blk_state, VIRTIO_BLK_STATE, "virtio-blk", virtio_blk_check);

/* What was written is durable when it is completed: the driver cannot flush, or does not want to. */
static bool writes_through(const struct device *dev)
{
	const struct virtio_blk_state *s = dev->state;

	return !virtio_has(dev, VIRTIO_BLK_F_FLUSH) || !s->writeback;
}

static void set_config(struct device *dev)
{
	const struct virtio_blk_state *s = dev->state;
	struct blk *blk = dev->host;

	pthread_mutex_lock(&blk->io.lock);
	blk->config = (struct virtio_blk_config){
		.capacity = s->capacity,
		.size_max = (uint32_t)s->size_max,
		.seg_max = s->seg_max,
		.blk_size = s->block_bytes,
		.physical_block_exp = s->physical_block_exp,
		.alignment_offset = s->alignment_offset,
		.min_io_size = s->min_io_blocks,
		.opt_io_size = s->opt_io_blocks,
		.wce = s->writeback,
		.num_queues = s->virtio.nqueues,
		.max_discard_sectors = s->max_discard_sectors,
		.max_discard_seg = 1,
		.discard_sector_alignment = s->discard_align_sectors,
		.max_write_zeroes_sectors = s->max_zero_sectors,
		.max_write_zeroes_seg = 1,
		.write_zeroes_may_unmap = 1,
	};
	blk->capacity = s->capacity;
	blk->writes_through = writes_through(dev);
	pthread_mutex_unlock(&blk->io.lock);
}

static void start(struct device *dev)
{
	struct blk *blk = dev->host;

	set_config(dev);
	/* A pause, here or in the process that saved, may have come while kicks were off. */
	pthread_mutex_lock(&blk->io.lock);
	blk->quiet = UINT32_MAX;
	pthread_mutex_unlock(&blk->io.lock);
	disk_uring_serve(&blk->io);
}

static int stop(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct blk *blk = dev->host;

	return disk_uring_drain(&blk->io, deadline_ns, err);
}

static void reset(struct device *dev)
{
	struct virtio_blk_state *s = dev->state;

	s->writeback = 1;
	set_config(dev);
}

static void config_write(struct device *dev, uint32_t offset, uint32_t bytes, uint32_t value)
{
	struct virtio_blk_state *s = dev->state;

	if (offset != offsetof(struct virtio_blk_config, wce) || bytes != 1 || value > 1 ||
	    !virtio_has(dev, VIRTIO_BLK_F_CONFIG_WCE))
		return;
	s->writeback = (uint8_t)value;
	set_config(dev);
}

static const struct virtio_ops ops = {
	.id = VIRTIO_ID_BLOCK,
	.class_code = 0x010000, /* SCSI storage, as everybody calls it */
	.start = start,
	.stop = stop,
	.reset = reset,
	.config_write = config_write,
};

/* A field of config that is too narrow for what the host says has no hint for the guest. */
static uint32_t hint(uint32_t bytes, uint32_t block_bytes, uint32_t max)
{
	return bytes % block_bytes || bytes / block_bytes > max ? 0 : bytes / block_bytes;
}

static void set_state(struct virtio_blk_state *s, const struct disk *disk)
{
	const struct disk_config *config = disk->config;
	uint32_t block = disk->block_bytes;

	*s = (struct virtio_blk_state){.virtio = s->virtio};
	s->capacity = disk->size_bytes / DISK_SECTOR_BYTES;
	s->block_bytes = block;
	s->physical_block_exp = (uint8_t)__builtin_ctz(disk->physical_bytes / block);
	s->alignment_offset = (uint8_t)hint(disk->first_bytes, block, UINT8_MAX);
	s->min_io_blocks = (uint16_t)hint(disk->min_io_bytes, block, UINT16_MAX);
	s->opt_io_blocks = hint(disk->opt_io_bytes, block, UINT32_MAX);
	s->queue_size = (uint16_t)config->queue_size;
	s->seg_max = config->queue_size - 2; /* header and status take an entry each */
	s->size_max = (MAX_TRANSFER_BYTES / s->seg_max) & ~(uint64_t)(DISK_MAX_BLOCK_BYTES - 1);
	s->max_discard_sectors = MAX_DISCARD_SECTORS;
	s->discard_align_sectors = disk->physical_bytes / DISK_SECTOR_BYTES;
	s->max_zero_sectors = MAX_ZERO_SECTORS;
	s->readonly = config->readonly;
	memcpy(s->serial, config->serial, sizeof(config->serial));
}

static void set_virtio(struct virtio *virtio, const struct disk_config *config)
{
	virtio->ops = &ops;
	virtio->features = 1u << VIRTIO_BLK_F_SIZE_MAX | 1u << VIRTIO_BLK_F_SEG_MAX |
			   1u << VIRTIO_BLK_F_BLK_SIZE | 1u << VIRTIO_BLK_F_TOPOLOGY |
			   1u << VIRTIO_BLK_F_FLUSH | 1u << VIRTIO_BLK_F_CONFIG_WCE;
	if (config->queues > 1)
		virtio->features |= 1u << VIRTIO_BLK_F_MQ;
	virtio->features |= config->readonly
				    ? 1u << VIRTIO_BLK_F_RO
				    : 1u << VIRTIO_BLK_F_DISCARD | 1u << VIRTIO_BLK_F_WRITE_ZEROES;
	virtio->nqueues = config->queues;
	for (uint32_t i = 0; i < config->queues; i++)
		virtio->queue[i].max_size = (uint16_t)config->queue_size;
}

static int start_thread(struct device *dev, struct error *err)
{
	struct blk *blk = dev->host;
	uint32_t n = blk->virtio.nqueues;
	int fd[OPTIONS_MAX_QUEUES];

	for (uint32_t i = 0; i < n; i++)
		fd[i] = blk->virtio.queue[i].kick_fd;
	blk->nrequests = n * blk->disk.config->queue_size;
	if (blk->nrequests > MAX_REQUESTS)
		blk->nrequests = MAX_REQUESTS;
	/* Large enough for pages of its own, which cost nothing before they are touched. */
	blk->request = calloc(MAX_REQUESTS, sizeof(*blk->request));
	if (!blk->request)
		return error_set(err, -ENOMEM, "%s: out of memory", blk->disk.config->id);
	return disk_uring_start(&blk->io, &blk->disk, blk->nrequests, fd, n, dev->name,
				&virtio_blk_client, blk, err);
}

static int attach(struct device *dev, struct vm *vm, struct error *err)
{
	const struct disk_config *config = &vm->opt->disk[dev->instance];
	struct blk *blk = dev->host;
	int ret;

	/* A guest must not be able to keep itself from being loaded. */
	ret = disk_open(&blk->disk, config, vm->awaits_guest, err);
	if (ret)
		return ret;
	set_virtio(&blk->virtio, config);
	blk->virtio.config = &blk->config;
	blk->virtio.config_bytes = offsetof(struct virtio_blk_config, max_secure_erase_sectors);
	ret = virtio_attach(dev, vm, err);
	if (ret)
		goto close_disk;
	ret = start_thread(dev, err);
	if (ret)
		goto detach_virtio;
	return 0;

detach_virtio:
	free(blk->request);
	virtio_detach(dev);
close_disk:
	disk_close(&blk->disk);
	return ret;
}

static void detach(struct device *dev)
{
	struct blk *blk = dev->host;

	/* What hangs keeps its memory: the kernel may still write there. */
	if (disk_uring_stop(&blk->io))
		free(blk->request);
	virtio_detach(dev);
	disk_close(&blk->disk);
}

/* Power-on. */
static void power_on(struct device *dev)
{
	const struct blk *blk = dev->host;

	set_state(dev->state, &blk->disk);
	virtio_reset(dev);
}

/* What nobody writes to can be put there again. */
static int check_survives(struct device *dev, enum ram_survives want, struct error *err)
{
	const struct disk *disk = &((struct blk *)dev->host)->disk;

	if (disk->config->readonly || ram_fd_survives(disk->lock_fd) >= want)
		return 0;
	return error_set(
		err, -EOPNOTSUPP,
		"%s: disk %s lies in the host's RAM (tmpfs, or a device on it), which does "
		"not outlive a kexec: save with mode=restart, or move it to a disk",
		dev->name, disk->config->path);
}

static int flush(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct blk *blk = dev->host;

	return disk_uring_flush(&blk->io, deadline_ns, err);
}

/* The driver sees nothing of it, so it may run. */
static int identify(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct virtio_blk_state *s = dev->state;
	struct blk *blk = dev->host;

	return disk_identity_read(&s->identity, &blk->io, s->capacity * DISK_SECTOR_BYTES,
				  deadline_ns, err);
}

static int recognize(struct device *dev, const void *saved, struct error *err)
{
	const struct virtio_blk_state *was = saved;
	struct blk *blk = dev->host;
	struct disk_identity now;
	int ret = disk_identity_read(&now, &blk->io, was->capacity * DISK_SECTOR_BYTES,
				     clock_now_ns() + VM_PAUSE_NS, err);

	return ret ? ret : disk_identity_compare(&was->identity, &now, blk->disk.config->path, err);
}

static int compare(struct device *dev, const void *saved, struct error *err)
{
	const struct virtio_blk_state *was = saved, *is = dev->state;
	const struct blk *blk = dev->host;
	const char *path = blk->disk.config->path;
	int ret = 0;

	if (was->capacity != is->capacity) {
		char command[sizeof(blk->disk.config->path) + 48];

		snprintf(command, sizeof(command), "(truncate -s %" PRIu64 " %s)",
			 was->capacity * DISK_SECTOR_BYTES, path);
		ret = error_join(err, -EINVAL,
				 "checkpoint has %" PRIu64 " sectors of %d bytes, %s has %" PRIu64
				 ": give it its size again %s, and use block_resize when the guest "
				 "runs",
				 was->capacity, DISK_SECTOR_BYTES, path, is->capacity,
				 blk->disk.is_block ? "on the host" : command);
	}
	/* Blocks of the guest are whole blocks of the disk. */
	if (was->block_bytes % is->block_bytes)
		ret = error_join(err, -EINVAL,
				 "checkpoint has blocks of %u bytes, %s has blocks of %u: "
				 "cache=writeback takes small ones of any file",
				 was->block_bytes, path, is->block_bytes);
	if (was->readonly != is->readonly)
		ret = error_join(err, -EINVAL,
				 "checkpoint has readonly=%s, the command line gives %s",
				 was->readonly ? "on" : "off", is->readonly ? "on" : "off");
	if (was->queue_size != is->queue_size)
		ret = error_join(err, -EINVAL,
				 "checkpoint has queue-size=%u, the command line gives %u",
				 was->queue_size, is->queue_size);
	if (strcmp(was->serial, is->serial))
		ret = error_join(err, -EINVAL,
				 "checkpoint has serial=%s, the command line gives %s", was->serial,
				 is->serial);
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int post_load(struct device *dev, struct error *err)
{
	int ret = virtio_post_load(dev, err);

	if (!ret)
		set_config(dev);
	return ret;
}

static uint32_t count(const struct options *opt)
{
	return opt->ndisks;
}

const struct device_ops virtio_blk_ops = {
	.type = "virtio-blk",
	.name = "disk",
	.count = count,
	.state = &virtio_blk_state_desc,
	.check_survives = check_survives,
	.host_size = sizeof(struct blk),
	.attach = attach,
	.detach = detach,
	.reset = power_on,
	.pause = virtio_pause,
	.flush = flush,
	.identify = identify,
	.compare = compare,
	.recognize = recognize,
	.post_load = post_load,
	.resume = virtio_resume,
};

void blk_query(const struct device *dev, struct blk_info *info)
{
	const struct virtio_blk_state *s = dev->state;
	struct blk *blk = dev->host;

	*info = (struct blk_info){
		.config = blk->disk.config,
		.size_bytes = s->capacity * DISK_SECTOR_BYTES,
		.block_bytes = s->block_bytes,
		.writeback = s->writeback,
	};
	pthread_mutex_lock(&blk->io.lock);
	info->written_end = blk->written_end;
	memcpy(info->counter, blk->counter, sizeof(info->counter));
	pthread_mutex_unlock(&blk->io.lock);
}

int blk_resize(struct device *dev, uint64_t size_bytes, struct error *err)
{
	uint64_t capacity = size_bytes / DISK_SECTOR_BYTES;
	struct virtio_blk_state *s = dev->state;
	struct blk *blk = dev->host;
	bool shrinks = capacity < s->capacity;
	int ret;

	if (dev->vm->runstate == RUNSTATE_INMIGRATE || dev->vm->runstate == RUNSTATE_POSTMIGRATE)
		return error_set(err, -EBUSY,
				 "%s: the saved guest is loaded only with the size that it has: "
				 "resize when it runs again",
				 blk->disk.config->id);
	ret = disk_can_resize(&blk->disk, size_bytes, s->block_bytes, err);
	/* A write that is on its way would make the file longer again. */
	if (!ret && shrinks)
		ret = disk_uring_drain(&blk->io, clock_now_ns() + VM_PAUSE_NS, err);
	if (ret)
		return ret;
	ret = disk_resize(&blk->disk, size_bytes, err);
	if (!ret) {
		s->capacity = capacity;
		set_config(dev);
		virtio_config_changed(dev);
	}
	if (shrinks && blk->virtio.started && !blk->virtio.resetting)
		disk_uring_serve(&blk->io);
	return ret;
}
