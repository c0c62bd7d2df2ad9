/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The requests of a virtio disk: virtio 1.2, 5.2.6 "Device Operation". All of it runs in the disk's
 * thread with its lock held. */
#include "devices/virtio/virtio_blk.h"
#include "vmm/base/clock.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

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
	vm_post_event(blk->virtio.dev->vm, &event);
}

/* The kernel could not reach the request's buffer: that is no fault of the disk's. */
static bool ram_broke(const struct blk *blk, const struct disk_op *op)
{
	return op->result == -EFAULT && (op->kind == DISK_READ || op->kind == DISK_WRITE) &&
	       vm_ram_broke(blk->virtio.dev->vm, op->iov->iov_base);
}

static void done(void *opaque, struct disk_op *op)
{
	struct blk_request *req = (struct blk_request *)op;
	struct blk *blk = opaque;
	struct blk_counter *counter = &blk->counter[req->kind];
	uint64_t end = op->offset + op->bytes;

	if (op->result == -EOPNOTSUPP && req->kind == BLK_UNMAP) {
		complete(blk, req, VIRTIO_BLK_S_UNSUPP);
		return;
	}
	if (ram_broke(blk, op)) {
		put_request(blk, req); /* the guest does not go on: it is told nothing */
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

/* What follows here answers with a status, or hands the request over and answers PENDING. */
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

/* DISCARD and WRITE_ZEROES. One range a request, as config says: so one operation does it. */
static uint8_t unmap(struct blk *blk, struct blk_request *req, const struct virtio_blk_outhdr *hdr,
		     const struct virtq_chain *chain)
{
	bool is_discard = hdr->type == VIRTIO_BLK_T_DISCARD;
	uint32_t feature = is_discard ? VIRTIO_BLK_F_DISCARD : VIRTIO_BLK_F_WRITE_ZEROES;
	uint32_t max =
		is_discard ? blk->config.max_discard_sectors : blk->config.max_write_zeroes_sectors;
	struct virtio_blk_discard_write_zeroes range;

	req->kind = is_discard ? BLK_UNMAP : BLK_WRITE;
	if (!virtio_has(blk->virtio.dev, feature))
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
	const struct virtio_blk_state *s = blk->virtio.dev->state;
	uint64_t bytes = chain->write_bytes - 1;

	if (bytes > VIRTIO_BLK_ID_BYTES)
		bytes = VIRTIO_BLK_ID_BYTES;
	virtq_write(chain, 0, s->serial, bytes);
	req->used_bytes = (uint32_t)bytes + 1;
	return VIRTIO_BLK_S_OK;
}

static uint8_t begin(struct blk *blk, struct blk_request *req, const struct virtq_chain *chain)
{
	struct virtio_blk_outhdr hdr;

	virtq_read(chain, 0, &hdr, sizeof(hdr));
	req->used_bytes = 1;
	req->op.bytes = 0;
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
			virtio_broken(blk->virtio.dev, queue, err.msg);
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

/* Takes what is there, yet no more than the queue holds: a driver that adds without end what fails at
 * once must not keep the thread from the rest. */
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
		/* With no room left, a completion leads here again. */
		if (!left || !can_take(blk) || atomic_load(&blk->virtio.broken))
			return;
	} while (virtq_want_kicks(q));
	blk->quiet &= ~bit;
}

static void signal_used(struct blk *blk)
{
	for (; blk->used; blk->used &= blk->used - 1)
		virtio_used(blk->virtio.dev, (uint32_t)__builtin_ctz(blk->used));
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

const struct disk_uring_client virtio_blk_client = {.serve = serve, .done = done};
