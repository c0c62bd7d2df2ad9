/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio-blk: virtio 1.2, 5.2 "Block Device". A kick wakes the disk's thread (devices/host/disk.h), which
 * calls serve(): take() checks a request and submits it, done() completes it. */
#include "devices/virtio/virtio_blk.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_ids.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A pause waits for requests in flight, so each is bounded: holes are made at once, but zeroes may have
 * to be written. */
#define MAX_TRANSFER_BYTES  (64u << 20)
#define MAX_DISCARD_SECTORS ((1u << 30) / DISK_SECTOR_BYTES)
#define MAX_ZERO_SECTORS    ((64u << 20) / DISK_SECTOR_BYTES)
/* Elements of one request: more than a driver needs that honours seg_max. */
#define MAX_IOV	   (VIRTQ_MAX_SIZE + 2 * RAM_MAX_REGIONS)
#define INLINE_IOV 4
/* In flight at a time, whatever the queues could hold. */
#define MAX_REQUESTS 1000

struct blk_request {
	struct disk_op op;
	struct blk_request *next; /* free ones */
	uint8_t *status;	  /* in guest RAM */
	uint64_t since_ns;
	uint32_t used_bytes; /* written to guest RAM if the request succeeds */
	uint16_t head;
	uint8_t queue, kind;	/* enum blk_kind */
	struct iovec *long_iov; /* allocated if inline_iov is too short */
	struct iovec inline_iov[INLINE_IOV];
};

struct blk {
	struct virtio virtio;
	struct virtio_blk_state s;
	struct disk disk;
	struct disk_uring io;
	struct virtio_blk_config config; /* as the driver reads it */
	/* From here on guarded by io.lock. */
	uint64_t capacity; /* of the state */
	bool writes_through;
	uint32_t used;	/* one bit per queue: pushed, not signalled yet */
	uint32_t quiet; /* one bit per queue: kicks may be off, so look there without a kick */
	uint32_t turn;	/* the queue that is served first */
	struct blk_request *request, *free;
	uint32_t nrequests, ntouched; /* touched ones are in flight or free */
	struct blk_counter counter[BLK_KINDS];
	uint64_t written_end;
	struct iovec iov[MAX_IOV]; /* of the chain that take() looks at */
};

#define VIRTIO_BLK_STATE(F, A, V, T)            \
	VIRTIO_STATE_ROWS(F, A, V, T)           \
	F(T, capacity)                          \
	F(T, block_bytes)                       \
	F(T, seg_max)                           \
	F(T, opt_io_blocks)                     \
	F(T, max_discard_sectors)               \
	F(T, discard_align_sectors)             \
	F(T, max_zero_sectors)                  \
	F(T, min_io_blocks)                     \
	F(T, queue_size, ST_CONSTANT)           \
	F(T, physical_block_exp)                \
	F(T, alignment_offset)                  \
	F(T, readonly, (ST_BOOL | ST_CONSTANT)) \
	F(T, writeback, ST_BOOL)                \
	F(T, serial, ST_CONSTANT)               \
	A(T, size_max, 0)                       \
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
		return "limits of discard or write zeroes that were not offered";
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
	if (s->readonly != (s->virtio.offered >> VIRTIO_BLK_F_RO & 1))
		return "readonly contradicts the offered features";
	if (!memchr(s->serial, 0, VIRTIO_BLK_ID_BYTES + 1))
		return "a serial number of more than 20 bytes";
	return disk_identity_check(&s->identity);
}
STATE_DEFINE(virtio_blk_state, VIRTIO_BLK_STATE, "virtio-blk", virtio_blk_check);

/* Must a write be durable when it completes? The driver cannot flush, or does not want to. */
static bool writes_through(const struct blk *blk)
{
	return !virtio_has(&blk->virtio, VIRTIO_BLK_F_FLUSH) || !blk->s.writeback;
}

static void set_config(struct blk *blk)
{
	const struct virtio_blk_state *s = &blk->s;

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
	blk->writes_through = writes_through(blk);
	pthread_mutex_unlock(&blk->io.lock);
}

/* --- requests: virtio 1.2, 5.2.6 "Device Operation"; in the disk's thread, with io.lock held */

static bool can_take(const struct blk *blk)
{
	return (blk->free || blk->ntouched < blk->nrequests) && !disk_uring_is_full(&blk->io);
}

static struct blk_request *get_request(struct blk *blk)
{
	struct blk_request *req = blk->free;

	if (!can_take(blk))
		return NULL;
	if (req)
		blk->free = req->next;
	else
		req = &blk->request[blk->ntouched++];
	return req;
}

static void put_request(struct blk *blk, struct blk_request *req)
{
	free(req->long_iov);
	req->long_iov = NULL;
	req->next = blk->free;
	blk->free = req;
}

static void complete(struct blk *blk, struct blk_request *req, uint8_t status)
{
	*req->status = status;
	virtq_push(&blk->virtio.queue[req->queue].q, req->head,
		   status == VIRTIO_BLK_S_OK ? req->used_bytes : 1);
	blk->used |= 1u << req->queue;
	put_request(blk, req);
}

static void report_error(const struct blk *blk, const struct blk_request *req)
{
	const char *operation = req->kind == BLK_READ ? "read" : "write";
	const char *reason = strerrordesc_np(-req->op.result);
	struct vm_event event = {
		.type = VM_EVENT_BLOCK_IO_ERROR,
		.on = req->op.result == -ENOSPC,
		.reason = reason ? reason : "unknown error",
		.operation = operation,
	};
	const struct disk_config *config = blk->disk.config;

	memcpy(event.id, config->id, sizeof(event.id));
	log_guest("%s: %s of %" PRIu64 " bytes at %" PRIu64 " of %s: %s", config->id, operation,
		  req->op.bytes, req->op.offset, config->path, event.reason);
	vm_post_event(blk->virtio.dev.vm, &event);
}

/* The kernel could not reach the request's buffer: the disk is not at fault. */
static bool ram_broke(const struct blk *blk, const struct disk_op *op)
{
	return op->result == -EFAULT && (op->kind == DISK_READ || op->kind == DISK_WRITE) &&
	       vm_ram_broke(blk->virtio.dev.vm, op->iov->iov_base);
}

static void done(void *opaque, struct disk_op *op)
{
	struct blk_request *req = container_of(op, struct blk_request, op);
	struct blk *blk = opaque;
	struct blk_counter *counter = &blk->counter[req->kind];
	uint64_t end = op->offset + op->bytes;

	if (op->result == -EOPNOTSUPP && req->kind == BLK_UNMAP) {
		complete(blk, req, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (ram_broke(blk, op)) {
		put_request(blk, req); /* the VM has stopped: no completion */
		return;
	}
	if (op->result) {
		counter->failed++;
		report_error(blk, req);
		complete(blk, req, VIRTIO_BLK_S_IOERR);
		return;
	}
	counter->operations++;
	counter->bytes += op->bytes;
	counter->total_ns += clock_now_ns() - req->since_ns;
	if (req->kind == BLK_WRITE && blk->written_end < end)
		blk->written_end = end;
	complete(blk, req, VIRTIO_BLK_S_OK);
}

/* Is [sector, sector + bytes) on the disk, in whole blocks? */
static bool is_on_disk(const struct blk *blk, uint64_t sector, uint64_t bytes)
{
	uint64_t sectors = bytes / DISK_SECTOR_BYTES;

	return !(bytes % blk->config.blk_size) &&
	       !(sector % (blk->config.blk_size / DISK_SECTOR_BYTES)) && sector <= blk->capacity &&
	       sectors <= blk->capacity - sector;
}

/* Bytes [skip, skip + bytes) of the n elements become the operation's buffer. */
static bool set_iov(struct blk_request *req, const struct iovec *iov, uint32_t n, uint64_t skip,
		    uint64_t bytes)
{
	req->op.iov = req->inline_iov;
	req->op.bytes = bytes;
	if (n > INLINE_IOV) {
		req->long_iov = malloc(n * sizeof(*iov));
		if (!req->long_iov)
			return false;
		req->op.iov = req->long_iov;
	}
	req->op.niov = iov_slice(iov, n, skip, bytes, req->op.iov);
	return true;
}

/* The functions below return a status, or submit the request and return PENDING. */
#define PENDING 0xff

static uint8_t submit(struct blk *blk, struct blk_request *req, enum disk_op_kind kind)
{
	req->op.kind = kind;
	req->op.is_durable = blk->writes_through;
	req->since_ns = clock_now_ns();
	disk_uring_submit(&blk->io, &req->op);
	return PENDING;
}

static uint8_t transfer(struct blk *blk, struct blk_request *req,
			const struct virtio_blk_outhdr *hdr, const struct virtq_chain *chain)
{
	bool is_read = hdr->type == VIRTIO_BLK_T_IN;
	uint64_t skip = is_read ? 0 : sizeof(*hdr);
	uint64_t bytes = is_read ? chain->write_bytes - 1 : chain->read_bytes - skip;
	const struct iovec *iov = is_read ? chain->iov + chain->nread : chain->iov;

	req->kind = is_read ? BLK_READ : BLK_WRITE;
	if (!is_on_disk(blk, hdr->sector, bytes) || bytes > MAX_TRANSFER_BYTES ||
	    (!is_read && blk->disk.config->readonly)) {
		blk->counter[req->kind].invalid++;
		return VIRTIO_BLK_S_IOERR;
	}
	if (!bytes)
		return VIRTIO_BLK_S_OK;
	req->op.offset = hdr->sector * DISK_SECTOR_BYTES;
	req->used_bytes = is_read ? (uint32_t)bytes + 1 : 1;
	if (!set_iov(req, iov, is_read ? chain->nwrite : chain->nread, skip, bytes))
		return VIRTIO_BLK_S_IOERR;
	return submit(blk, req, is_read ? DISK_READ : DISK_WRITE);
}

/* DISCARD and WRITE_ZEROES. One range per request, as config says: so one operation does it. */
static uint8_t unmap(struct blk *blk, struct blk_request *req, const struct virtio_blk_outhdr *hdr,
		     const struct virtq_chain *chain)
{
	bool is_discard = hdr->type == VIRTIO_BLK_T_DISCARD;
	uint32_t feature = is_discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
	uint32_t max =
		is_discard ? blk->config.max_discard_sectors : blk->config.max_write_zeroes_sectors;
	struct virtio_blk_discard_write_zeroes range;

	req->kind = is_discard ? BLK_UNMAP : BLK_WRITE;
	if (!virtio_has(&blk->virtio, feature))
		return VIRTIO_BLK_S_UNSUPP;
	if (chain->read_bytes - sizeof(*hdr) != sizeof(range))
		goto refuse;
	virtq_read(chain, sizeof(*hdr), &range, sizeof(range));
	if (range.flags & ~(is_discard ? 0u : VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP))
		return VIRTIO_BLK_S_UNSUPP;
	req->op.offset = range.sector * DISK_SECTOR_BYTES;
	req->op.bytes = (uint64_t)range.num_sectors * DISK_SECTOR_BYTES;
	if (range.num_sectors > max || !is_on_disk(blk, range.sector, req->op.bytes) ||
	    blk->disk.config->readonly)
		goto refuse;
	if (!range.num_sectors)
		return VIRTIO_BLK_S_OK;
	return submit(blk, req,
		      is_discard    ? DISK_DISCARD
		      : range.flags ? DISK_ZERO_UNMAP
				    : DISK_ZERO);

refuse:
	blk->counter[req->kind].invalid++;
	return VIRTIO_BLK_S_IOERR;
}

static uint8_t get_id(struct blk *blk, struct blk_request *req, const struct virtq_chain *chain)
{
	uint64_t bytes = chain->write_bytes - 1;

	if (bytes > VIRTIO_BLK_ID_BYTES)
		bytes = VIRTIO_BLK_ID_BYTES;
	virtq_write(chain, 0, blk->s.serial, bytes);
	req->used_bytes = (uint32_t)bytes + 1;
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin(struct blk *blk, struct blk_request *req, const struct virtq_chain *chain)
{
	struct virtio_blk_outhdr hdr;

	virtq_read(chain, 0, &hdr, sizeof(hdr));
	req->used_bytes = 1;
	req->op.bytes = 0;
	req->op.niov = 0; /* the last request of this struct may have failed in the middle */
	switch (hdr.type) {
	case VIRTIO_BLK_T_IN:
	case VIRTIO_BLK_T_OUT:
		return transfer(blk, req, &hdr, chain);
	case VIRTIO_BLK_T_DISCARD:
	case VIRTIO_BLK_T_WRITE_ZEROES:
		return unmap(blk, req, &hdr, chain);
	case VIRTIO_BLK_T_FLUSH:
		req->kind = BLK_FLUSH;
		req->op.offset = 0;
		return submit(blk, req, DISK_FLUSH);
	case VIRTIO_BLK_T_GET_ID:
		return get_id(blk, req, chain);
	}
	return VIRTIO_BLK_S_UNSUPP;
}

/* Takes one request; false if there is none or not now. */
static bool take(struct blk *blk, uint32_t queue)
{
	struct virtq *q = &blk->virtio.queue[queue].q;
	struct virtq_chain chain = {.iov = blk->iov};
	struct blk_request *req = get_request(blk);
	struct error err;
	uint8_t status;
	int ret;

	if (!req)
		return false;
	ret = virtq_pop(q, &chain, MAX_IOV, &err);
	if (ret > 0 && (chain.read_bytes < sizeof(struct virtio_blk_outhdr) || !chain.nwrite))
		ret = error_set(&err, -EINVAL, "a request without a header or room for its status");
	if (ret <= 0) {
		put_request(blk, req);
		if (ret)
			virtio_broken(&blk->virtio, queue, err.msg);
		return false;
	}
	req->queue = (uint8_t)queue;
	req->head = chain.head;
	req->status = (uint8_t *)chain.iov[chain.nread + chain.nwrite - 1].iov_base +
		      chain.iov[chain.nread + chain.nwrite - 1].iov_len - 1;
	status = begin(blk, req, &chain);
	if (status != PENDING)
		complete(blk, req, status);
	return true;
}

/* Takes at most as many requests as the queue holds: a driver that adds failing ones without end must
 * not keep the thread from the other queues. */
static void take_all(struct blk *blk, uint32_t queue)
{
	struct virtq *q = &blk->virtio.queue[queue].q;
	uint32_t left = q->size, bit = 1u << queue;

	if (!blk->virtio.queue[queue].running || (!virtq_waiting(q) && !(blk->quiet & bit)))
		return;
	blk->quiet |= bit;
	do {
		virtq_no_kicks(q);
		while (left && take(blk, queue))
			left--;
		if (!left)
			disk_uring_wake(&blk->io);
		/* With no room left, the next completion calls serve() again. */
		if (!left || !can_take(blk) || atomic_load(&blk->virtio.broken))
			return;
	} while (virtq_want_kicks(q));
	blk->quiet &= ~bit;
}

static void signal_used(struct blk *blk)
{
	for (; blk->used; blk->used &= blk->used - 1)
		virtio_used(&blk->virtio, (uint32_t)__builtin_ctz(blk->used));
}

static void serve(void *opaque, bool may_take)
{
	struct blk *blk = opaque;
	uint32_t n = blk->virtio.nqueues;

	signal_used(blk);
	if (!may_take)
		return;
	blk->turn++;
	for (uint32_t i = 0; i < n && !atomic_load(&blk->virtio.broken); i++)
		take_all(blk, (blk->turn + i) % n);
	signal_used(blk);
}

static const struct disk_uring_client client = {.serve = serve, .done = done};

/* --- the driver */

static void start(struct virtio *v)
{
	struct blk *blk = container_of(v, struct blk, virtio);

	set_config(blk);
	/* The last pause may have come while kicks were off. */
	pthread_mutex_lock(&blk->io.lock);
	blk->quiet = UINT32_MAX;
	pthread_mutex_unlock(&blk->io.lock);
	disk_uring_serve(&blk->io);
}

static int stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	struct blk *blk = container_of(v, struct blk, virtio);

	return disk_uring_drain(&blk->io, deadline_ns, err);
}

static void reset(struct virtio *v)
{
	struct blk *blk = container_of(v, struct blk, virtio);

	blk->s.writeback = 1;
	set_config(blk);
}

static void config_write(struct virtio *v, uint32_t offset, uint32_t bytes, uint32_t value)
{
	struct blk *blk = container_of(v, struct blk, virtio);

	if (offset != offsetof(struct virtio_blk_config, wce) || bytes != 1 || value > 1 ||
	    !virtio_has(v, VIRTIO_BLK_F_CONFIG_WCE))
		return;
	blk->s.writeback = (uint8_t)value;
	set_config(blk);
}

static const struct virtio_ops ops = {
	.id = VIRTIO_ID_BLOCK,
	.class_code = 0x010000, /* SCSI storage, as in other VMMs */
	.start = start,
	.stop = stop,
	.reset = reset,
	.config_write = config_write,
};

/* In blocks; 0, no hint, if the field of config is too narrow for it. */
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

static int start_thread(struct blk *blk, struct error *err)
{
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
	return disk_uring_start(&blk->io, &blk->disk, blk->nrequests, fd, n, blk->virtio.dev.name,
				&client, blk, err);
}

/* --- the device */

static int attach(struct device *dev, struct vm *vm, struct error *err)
{
	const struct disk_config *config = &vm->opt->disk[dev->instance];
	struct blk *blk = container_of(dev, struct blk, virtio.dev);
	int ret;

	/* What a saved guest wrote to its disk must not make disk_open() refuse it. */
	ret = disk_open(&blk->disk, config, vm->awaits_guest, err);
	if (ret)
		return ret;
	set_virtio(&blk->virtio, config);
	blk->virtio.config = &blk->config;
	blk->virtio.config_bytes = offsetof(struct virtio_blk_config, max_secure_erase_sectors);
	ret = virtio_attach(&blk->virtio, vm, err);
	if (ret)
		goto close_disk;
	ret = start_thread(blk, err);
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
	struct blk *blk = container_of(dev, struct blk, virtio.dev);

	/* Requests that hang keep their memory: the kernel may still write there. */
	if (disk_uring_stop(&blk->io))
		free(blk->request);
	virtio_detach(dev);
	disk_close(&blk->disk);
}

/* Power-on. */
static void power_on(struct device *dev)
{
	struct blk *blk = container_of(dev, struct blk, virtio.dev);

	set_state(&blk->s, &blk->disk);
	virtio_reset(dev);
}

/* A readonly disk can be restored from the same image. */
static int check_survives(struct device *dev, enum ram_survives want, struct error *err)
{
	const struct disk *disk = &container_of(dev, struct blk, virtio.dev)->disk;

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
	struct blk *blk = container_of(dev, struct blk, virtio.dev);

	return disk_uring_flush(&blk->io, deadline_ns, err);
}

/* The driver sees nothing of it, so it may run. */
static int identify(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct blk *blk = container_of(dev, struct blk, virtio.dev);

	return disk_identity_read(&blk->s.identity, &blk->io, blk->s.capacity * DISK_SECTOR_BYTES,
				  deadline_ns, err);
}

static int recognize(struct device *dev, const void *saved, struct error *err)
{
	const struct virtio_blk_state *was = saved;
	struct blk *blk = container_of(dev, struct blk, virtio.dev);
	struct disk_identity now;
	int ret = disk_identity_read(&now, &blk->io, was->capacity * DISK_SECTOR_BYTES,
				     clock_now_ns() + VM_PAUSE_NS, err);

	return ret ? ret : disk_identity_compare(&was->identity, &now, blk->disk.config->path, err);
}

static int compare(struct device *dev, const void *saved, struct error *err)
{
	const struct blk *blk = container_of(dev, struct blk, virtio.dev);
	const struct virtio_blk_state *was = saved, *is = &blk->s;
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
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int post_load(struct device *dev, struct error *err)
{
	int ret = virtio_post_load(dev, err);

	if (!ret)
		set_config(container_of(dev, struct blk, virtio.dev));
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
	.needs = &pci_host_ops,
	.state = &virtio_blk_state_desc,
	.check_survives = check_survives,
	DEVICE_STRUCT(struct blk),
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

/* --- for QMP */

void blk_query(const struct device *dev, struct blk_info *info)
{
	struct blk *blk = container_of(dev, struct blk, virtio.dev);

	*info = (struct blk_info){
		.config = blk->disk.config,
		.size_bytes = blk->s.capacity * DISK_SECTOR_BYTES,
		.block_bytes = blk->s.block_bytes,
		.writeback = blk->s.writeback,
	};
	pthread_mutex_lock(&blk->io.lock);
	info->written_end = blk->written_end;
	memcpy(info->counter, blk->counter, sizeof(info->counter));
	pthread_mutex_unlock(&blk->io.lock);
}

int blk_resize(struct device *dev, uint64_t size_bytes, struct error *err)
{
	uint64_t capacity = size_bytes / DISK_SECTOR_BYTES;
	struct blk *blk = container_of(dev, struct blk, virtio.dev);
	bool shrinks = capacity < blk->s.capacity;
	uint32_t in_flight;
	int ret;

	if (dev->vm->runstate == RUNSTATE_INMIGRATE || dev->vm->runstate == RUNSTATE_POSTMIGRATE)
		return error_set(err, -EBUSY,
				 "%s: the saved guest is loaded only with the size that it has: "
				 "resize when it runs again",
				 blk->disk.config->id);
	ret = disk_can_resize(&blk->disk, size_bytes, blk->s.block_bytes, err);
	if (ret)
		return ret;
	/* A write in flight would make the file longer again, and a read may keep it locked. Storage
	 * that hangs must not hold up the main loop: no waiting. */
	in_flight = shrinks ? disk_uring_hold(&blk->io) : 0;
	if (in_flight)
		ret = error_set(err, -EBUSY,
				"%s: %u request%s in flight: try again, or shrink it while the "
				"guest is stopped",
				blk->disk.config->id, in_flight, in_flight == 1 ? "" : "s");
	if (!ret)
		ret = disk_resize(&blk->disk, size_bytes, err);
	if (!ret) {
		blk->s.capacity = capacity;
		set_config(blk);
		virtio_config_changed(&blk->virtio);
	}
	if (shrinks && blk->virtio.started && !blk->virtio.resetting)
		disk_uring_serve(&blk->io);
	return ret;
}
