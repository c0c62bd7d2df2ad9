/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/disk.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define BOUNCE_BYTES   (1u << 20)
#define DISCARD_COST   256	  /* a discard costs as much as a transfer of 1/256 of its bytes */
#define MAX_ONCE_BYTES (1u << 30) /* a length is 32 bits wide, and a result has a sign */
#define STOP_NS	       (10 * CLOCK_NS_PER_S)

#define DISK_FILE 0 /* index in io_uring_register_files(): the disk */

/* How a hole is made, best way first. Linux before 6.12 discards for NO_HIDE_STALE, later ones
 * refuse it. Not all file systems can zero in place, but a hole reads as zeroes, too. */
#define WAYS  3 /* the last is 0: write zeroes */
#define PUNCH (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE)
static const int way_table[DISK_OP_KINDS][2][WAYS] = {
	[DISK_DISCARD] = {{PUNCH}, {PUNCH | FALLOC_FL_NO_HIDE_STALE, PUNCH}},
	[DISK_ZERO] = {{FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, PUNCH},
		       {FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}},
	[DISK_ZERO_UNMAP] = {{PUNCH, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE},
			     {PUNCH, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE}},
};

/* Costs no memory: only read, so all of it is the kernel's zero page. */
#define ZERO_BYTES (1u << 20)
static _Alignas(DISK_MAX_BLOCK_BYTES) uint8_t zeroes[ZERO_BYTES];

static int way(const struct disk_uring *u, const struct disk_op *op)
{
	return way_table[op->kind][u->disk->is_block][op->way];
}

static bool is_zeroing(const struct disk_op *op)
{
	return op->kind == DISK_ZERO || op->kind == DISK_ZERO_UNMAP;
}

/* Do its bytes go through memory? */
static bool is_transfer(const struct disk_uring *u, const struct disk_op *op)
{
	return op->kind == DISK_READ || op->kind == DISK_WRITE || (is_zeroing(op) && !way(u, op));
}

static bool next_way(struct disk_uring *u, struct disk_op *op)
{
	if (is_transfer(u, op) || op->kind == DISK_FLUSH)
		return false;
	op->way++;
	if (!way(u, op) && !is_zeroing(op))
		return false;
	u->way[op->kind] = op->way;
	return true;
}

/* The ring has an entry for each op and each descriptor, so this does not wait. */
static struct io_uring_sqe *get_sqe(struct disk_uring *u)
{
	struct io_uring_sqe *sqe;

	while (!(sqe = io_uring_get_sqe(&u->ring)))
		(void)io_uring_submit(&u->ring);
	return sqe;
}

/* user_data is odd for a descriptor, an op's address otherwise. The eventfds are never read: a multishot
 * poll reports each write. */
static void watch(struct disk_uring *u, uint32_t i)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	io_uring_prep_poll_multishot(sqe, u->fd[i], POLLIN);
	io_uring_sqe_set_data64(sqe, 2 * i + 1);
}

/* Bytes of the next piece that goes through the bounce buffer. */
static uint32_t bounce_bytes(const struct disk_op *op)
{
	uint64_t left = op->bytes - op->done_bytes;

	return left < BOUNCE_BYTES ? (uint32_t)left : BOUNCE_BYTES;
}

static void bounce_copy(struct disk_uring *u, const struct disk_op *op, uint64_t bytes)
{
	if (op->kind == DISK_READ)
		iov_write(op->iov, op->niov, 0, u->bounce, bytes);
	else
		iov_read(op->iov, op->niov, 0, u->bounce, bytes);
}

static struct iovec first_piece(const struct disk_uring *u, const struct disk_op *op)
{
	uint64_t left = op->bytes - op->done_bytes;

	if (is_zeroing(op))
		return (struct iovec){zeroes, left < ZERO_BYTES ? left : ZERO_BYTES};
	return op->is_bounced ? (struct iovec){u->bounce, bounce_bytes(op)} : op->iov[0];
}

static void prepare_transfer(struct disk_uring *u, struct disk_op *op, struct io_uring_sqe *sqe)
{
	uint64_t offset = op->offset + op->done_bytes;
	const struct iovec one = first_piece(u, op);
	uint32_t bytes = one.iov_len < MAX_ONCE_BYTES ? (uint32_t)one.iov_len : MAX_ONCE_BYTES;

	if (op->is_bounced && op->kind == DISK_WRITE)
		bounce_copy(u, op, bytes);
	if (op->niov <= 1 || op->is_bounced) {
		if (op->kind == DISK_READ)
			io_uring_prep_read(sqe, DISK_FILE, one.iov_base, bytes, offset);
		else
			io_uring_prep_write(sqe, DISK_FILE, one.iov_base, bytes, offset);
	} else if (op->kind == DISK_READ) {
		io_uring_prep_readv(sqe, DISK_FILE, op->iov, op->niov, offset);
	} else {
		io_uring_prep_writev(sqe, DISK_FILE, op->iov, op->niov, offset);
	}
	if (op->is_durable)
		sqe->rw_flags = RWF_DSYNC;
}

static void prepare(struct disk_uring *u, struct disk_op *op)
{
	struct io_uring_sqe *sqe = get_sqe(u);

	if (op->kind == DISK_FLUSH || op->is_syncing) {
		op->covers = u->written;
		io_uring_prep_fsync(sqe, DISK_FILE, op == &u->flush ? 0 : IORING_FSYNC_DATASYNC);
	} else if (is_transfer(u, op)) {
		prepare_transfer(u, op, sqe);
	} else {
		io_uring_prep_fallocate(sqe, DISK_FILE, way(u, op), (off_t)op->offset,
					(off_t)op->bytes);
	}
	io_uring_sqe_set_flags(sqe, IOSQE_FIXED_FILE);
	io_uring_sqe_set_data(sqe, op);
}

static bool is_aligned(const struct disk_uring *u, const struct disk_op *op)
{
	uintptr_t mixed = 0;

	if (!u->is_direct || (op->kind != DISK_READ && op->kind != DISK_WRITE))
		return true;
	for (uint32_t i = 0; i < op->niov; i++)
		mixed |= ((uintptr_t)op->iov[i].iov_base & (u->disk->memory_align - 1)) |
			 (op->iov[i].iov_len & (u->disk->block_bytes - 1));
	return !mixed;
}

static uint64_t cost_bytes(const struct disk_op *op)
{
	if (op->kind == DISK_DISCARD)
		return op->bytes / DISCARD_COST;
	/* Bounced ones wait for each other, however small they are. */
	return op->is_bounced && op->bytes < BOUNCE_BYTES ? BOUNCE_BYTES : op->bytes;
}

static void next_bounced(struct disk_uring *u)
{
	u->bounced = u->bounced->next;
	if (u->bounced)
		prepare(u, u->bounced);
	else
		u->bounced_end = &u->bounced;
}

static void finish(struct disk_uring *u, struct disk_op *op, int result)
{
	op->result = result;
	u->in_flight--;
	u->busy_bytes -= cost_bytes(op);
	if (op->is_bounced)
		next_bounced(u);
	if (op->kind == DISK_FLUSH || op->is_syncing) {
		/* Without O_DIRECT a failed flush may have dropped dirty pages, and the next one would
		 * succeed. */
		if (result && !u->is_direct)
			u->flush_error = result;
		if (!result && u->flush_error)
			op->result = u->flush_error;
		if (!op->result && u->flushed < op->covers)
			u->flushed = op->covers;
		if (!op->result && op == &u->flush)
			u->stamped = op->covers;
	}
	if (op->kind != DISK_READ && op->kind != DISK_FLUSH)
		u->written++;
	if (op == &u->flush)
		u->flush_busy = false;
	else if (op->is_ours)
		u->nreads--;
	else
		u->client->done(u->opaque, op);
}

static bool needs_flush(const struct disk_uring *u, const struct disk_op *op)
{
	return u->written != (op == &u->flush ? u->stamped : u->flushed) || u->flush_error;
}

void disk_uring_submit(struct disk_uring *u, struct disk_op *op)
{
	bool is_first = !u->bounced;

	u->in_flight++;
	op->done_bytes = 0;
	op->is_syncing = false;
	op->way = u->way[op->kind];
	op->is_bounced = !is_aligned(u, op);
	u->busy_bytes += cost_bytes(op);
	if (op->kind == DISK_FLUSH && !needs_flush(u, op)) {
		finish(u, op, 0);
		return;
	}
	if (op->is_bounced) {
		op->next = NULL;
		*u->bounced_end = op;
		u->bounced_end = &op->next;
		if (!is_first)
			return;
	}
	prepare(u, op);
}

/* A part of it was read or written, perhaps all. */
static void transferred(struct disk_uring *u, struct disk_op *op, uint32_t bytes)
{
	if (op->is_bounced && op->kind == DISK_READ)
		bounce_copy(u, op, bytes);
	op->done_bytes += bytes;
	op->niov = iov_slice(op->iov, op->niov, bytes, UINT64_MAX, op->iov);
	if (op->done_bytes == op->bytes)
		finish(u, op, 0);
	else if (!bytes) /* the file or device has become shorter */
		finish(u, op, -EIO);
	else
		prepare(u, op);
}

static void completed(struct disk_uring *u, struct disk_op *op, int res)
{
	if (res == -EINTR || res == -EAGAIN ||
	    (res == -EOPNOTSUPP && !op->is_syncing && next_way(u, op))) {
		prepare(u, op);
	} else if (res < 0 || op->kind == DISK_FLUSH || op->is_syncing) {
		finish(u, op, res);
	} else if (is_transfer(u, op)) {
		transferred(u, op, (uint32_t)res);
	} else if (op->is_durable) {
		op->is_syncing = true;
		prepare(u, op);
	} else {
		finish(u, op, 0);
	}
}

static void reap(struct disk_uring *u)
{
	struct io_uring_cqe *cqe;
	uint32_t head, n = 0;

	io_uring_for_each_cqe(&u->ring, head, cqe)
	{
		uint64_t data = io_uring_cqe_get_data64(cqe);

		n++;
		if (!(data & 1))
			completed(u, io_uring_cqe_get_data(cqe), cqe->res);
		else if (!(cqe->flags & IORING_CQE_F_MORE))
			watch(u, (uint32_t)(data / 2));
	}
	io_uring_cq_advance(&u->ring, n);
}

static void *run(void *opaque)
{
	struct disk_uring *u = opaque;

	/* SINGLE_ISSUER: the thread that enables the ring owns it. Fails only if it is enabled. */
	(void)io_uring_enable_rings(&u->ring);
	(void)io_uring_register_ring_fd(&u->ring);
	pthread_mutex_lock(&u->lock);
	for (uint32_t i = 0; i < u->nfds; i++)
		watch(u, i);
	while (!u->ending) {
		pthread_mutex_unlock(&u->lock);
		(void)io_uring_submit_and_wait(&u->ring, 1);
		pthread_mutex_lock(&u->lock);
		reap(u);
		if (u->flush_due && !u->flush_busy) {
			u->flush_due = false;
			u->flush_busy = true;
			disk_uring_submit(u, &u->flush);
		}
		for (; u->nread_due; u->nread_due--, u->read_due++)
			disk_uring_submit(u, *u->read_due);
		u->client->serve(u->opaque, u->serving);
		pthread_cond_broadcast(&u->idle);
	}
	pthread_mutex_unlock(&u->lock);
	io_uring_queue_exit(&u->ring);
	return NULL;
}

void disk_uring_wake(struct disk_uring *u)
{
	(void)eventfd_write(u->fd[u->nfds - 1], 1);
}

static bool is_idle(const struct disk_uring *u)
{
	return !u->in_flight;
}

static bool is_read(const struct disk_uring *u)
{
	return !u->nreads;
}

static bool is_flushed(const struct disk_uring *u)
{
	return !u->flush_due && !u->flush_busy;
}

/* With the lock held. */
static bool wait_until(struct disk_uring *u, bool (*condition)(const struct disk_uring *u),
		       uint64_t deadline_ns)
{
	const struct timespec at = {.tv_sec = (time_t)(deadline_ns / CLOCK_NS_PER_S),
				    .tv_nsec = (long)(deadline_ns % CLOCK_NS_PER_S)};

	while (!condition(u))
		if (pthread_cond_clockwait(&u->idle, &u->lock, CLOCK_MONOTONIC, &at) == ETIMEDOUT)
			return condition(u);
	return true;
}

/* Newer kernels first: there the kernel completes requests while the thread waits, instead of
 * interrupting it. */
static int create_ring(struct disk_uring *u, uint32_t entries, struct error *err)
{
	static const uint32_t flags[] = {IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN,
					 IORING_SETUP_COOP_TASKRUN, 0};
	int ret = -EINVAL;

	for (size_t i = 0; ret == -EINVAL && i < ARRAY_SIZE(flags); i++) {
		struct io_uring_params params = {.flags = flags[i] | IORING_SETUP_R_DISABLED |
							  IORING_SETUP_CLAMP};

		ret = io_uring_queue_init_params(entries, &u->ring, &params);
	}
	if (ret)
		return error_set(err, ret, "disk %s: no io_uring: %s%s", u->disk->config->path,
				 strerror(-ret),
				 ret == -EPERM ? ": see sysctl kernel.io_uring_disabled" : "");
	ret = io_uring_register_files(&u->ring, &u->disk->fd, 1);
	if (!ret)
		return 0;
	io_uring_queue_exit(&u->ring);
	return error_set(err, ret, "disk %s: io_uring: %s", u->disk->config->path, strerror(-ret));
}

int disk_uring_start(struct disk_uring *u, const struct disk *disk, uint32_t max_ops, const int *fd,
		     uint32_t nfds, const char *name, const struct disk_uring_client *client,
		     void *opaque, struct error *err)
{
	int ret, wake_fd;

	*u = (struct disk_uring){
		.disk = disk, .client = client, .opaque = opaque, .nfds = nfds + 1};
	/* The first flush also covers what an earlier process left in caches. */
	u->written = !disk->config->readonly;
	u->is_direct = disk->config->cache == DISK_CACHE_NONE;
	u->bounced_end = &u->bounced;
	u->flush.kind = DISK_FLUSH;
	pthread_mutex_init(&u->lock, NULL);
	pthread_cond_init(&u->idle, NULL);
	memcpy(u->fd, fd, nfds * sizeof(*fd));
	wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	u->fd[nfds] = wake_fd;
	/* Takes no memory until the first request that needs it. */
	u->bounce = aligned_alloc(DISK_MAX_BLOCK_BYTES, BOUNCE_BYTES);
	if (wake_fd < 0 || !u->bounce) {
		ret = error_set(err, -errno, "disk %s: %s", disk->config->path, strerror(errno));
		goto free_bounce;
	}
	/* Entries also for the ops of disk_uring_flush() and disk_uring_read(). */
	ret = create_ring(u, max_ops + 1 + DISK_URING_MAX_READS + u->nfds, err);
	if (ret)
		goto free_bounce;
	ret = iothread_create(&u->thread, name, run, u, err);
	if (ret)
		goto exit_ring;
	u->started = true;
	return 0;

exit_ring:
	io_uring_queue_exit(&u->ring);
free_bounce:
	free(u->bounce);
	if (wake_fd >= 0)
		close(wake_fd);
	pthread_cond_destroy(&u->idle);
	pthread_mutex_destroy(&u->lock);
	return ret;
}

bool disk_uring_stop(struct disk_uring *u)
{
	bool ended;

	if (!u->started)
		return true;
	pthread_mutex_lock(&u->lock);
	u->serving = false;
	ended = wait_until(u, is_idle, clock_now_ns() + STOP_NS);
	u->ending = true;
	pthread_mutex_unlock(&u->lock);
	disk_uring_wake(u);
	pthread_join(u->thread, NULL);
	close(u->fd[u->nfds - 1]);
	if (ended)
		free(u->bounce);
	else
		log_warn("disk %s: %u requests have not ended", u->disk->config->path,
			 u->in_flight);
	pthread_cond_destroy(&u->idle);
	pthread_mutex_destroy(&u->lock);
	u->started = false;
	return ended;
}

void disk_uring_serve(struct disk_uring *u)
{
	pthread_mutex_lock(&u->lock);
	u->serving = true;
	pthread_mutex_unlock(&u->lock);
	disk_uring_wake(u);
}

uint32_t disk_uring_hold(struct disk_uring *u)
{
	uint32_t in_flight;

	pthread_mutex_lock(&u->lock);
	u->serving = false;
	in_flight = u->in_flight;
	pthread_mutex_unlock(&u->lock);
	return in_flight;
}

int disk_uring_drain(struct disk_uring *u, uint64_t deadline_ns, struct error *err)
{
	uint32_t left = 0, asked;
	bool served;

	if (!u->started)
		return 0;
	pthread_mutex_lock(&u->lock);
	asked = u->in_flight;
	served = u->serving;
	u->serving = false;
	if (!wait_until(u, is_idle, deadline_ns)) {
		left = u->in_flight;
		u->serving = served && deadline_ns;
	}
	pthread_mutex_unlock(&u->lock);
	/* Not logged for a reset: a guest may reset at any rate. */
	if (asked > left && deadline_ns)
		log_info("%s: drained %u requests", u->disk->config->id, asked - left);
	if (!left)
		return 0;
	/* Kicks may have been ignored meanwhile. */
	disk_uring_wake(u);
	return error_set(err, -ETIMEDOUT,
			 "%u request%s of %s (%s) ha%s not completed within the time limit", left,
			 left == 1 ? "" : "s", u->disk->config->id, u->disk->config->path,
			 left == 1 ? "s" : "ve");
}

int disk_uring_read(struct disk_uring *u, struct disk_op *const *op, uint32_t n,
		    uint64_t deadline_ns, struct error *err)
{
	bool ended;

	pthread_mutex_lock(&u->lock);
	ended = wait_until(u, is_read, deadline_ns); /* reads of an earlier call may hang */
	if (ended) {
		for (uint32_t i = 0; i < n; i++)
			op[i]->is_ours = true;
		u->read_due = op;
		u->nread_due = u->nreads = n;
		disk_uring_wake(u);
		ended = wait_until(u, is_read, deadline_ns);
		u->nreads -= u->nread_due; /* those that the thread has not begun */
		u->nread_due = 0;
	}
	pthread_mutex_unlock(&u->lock);
	return ended ? 0
		     : error_set(err, -ETIMEDOUT, "%s (%s) was not read within the time limit",
				 u->disk->config->id, u->disk->config->path);
}

int disk_uring_flush(struct disk_uring *u, uint64_t deadline_ns, struct error *err)
{
	int ret = 0;

	pthread_mutex_lock(&u->lock);
	if (needs_flush(u, &u->flush)) {
		/* A flush in flight may have begun too early. */
		u->flush_due = true;
		disk_uring_wake(u);
		ret = wait_until(u, is_flushed, deadline_ns) ? u->flush.result : -ETIMEDOUT;
		u->flush_due = false;
	}
	pthread_mutex_unlock(&u->lock);
	if (ret == -ETIMEDOUT)
		return error_set(err, ret, "%s (%s) was not flushed within the time limit",
				 u->disk->config->id, u->disk->config->path);
	if (ret)
		return error_set(err, ret, "%s (%s) cannot be flushed: %s%s", u->disk->config->id,
				 u->disk->config->path, strerror(-ret),
				 u->flush_error ? "; writes may be lost, and no reset of the guest "
						  "brings them back: shut it down, see to the "
						  "storage, check the image and boot anew"
						: ": see to the storage and try again");
	return 0;
}
