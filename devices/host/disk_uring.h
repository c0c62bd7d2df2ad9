/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/disk_uring.h - a disk's thread: takes requests from its client and does them by io_uring.
 * Owns: the ring and the thread, from disk_uring_start() to disk_uring_stop(). A disk_op is the
 *	thread's from disk_uring_submit() until the client's done().
 * Threads: start, stop, drain, serve: one at a time, any but the disk's own; flush, read: one at a time,
 *	between start and stop, be it during a drain. Callbacks and
 *	disk_uring_submit(): the disk's thread, with u->lock held: it holds that lock whenever it does
 *	not wait or submit, so that others may look at what it uses under the lock.
 * Units: bytes; deadlines are clock_now_ns().
 * Errors: 0 or -errno with one message; what I/O ends with is in op->result. io_uring(7). */
#ifndef DEVICES_HOST_DISK_URING_H
#define DEVICES_HOST_DISK_URING_H
#include "devices/host/disk.h"
#include <liburing.h>
#include <pthread.h>
#include <sys/uio.h>

#define DISK_URING_MAX_FDS   8
#define DISK_URING_MAX_READS 16 /* of disk_uring_read() at a time */
/* A pause waits for what is in flight, so that is no more than any storage does in seconds. */
#define DISK_URING_BUSY_BYTES (256u << 20)

enum disk_op_kind {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD,	 /* its content does not matter any more */
	DISK_ZERO,	 /* reads as zeroes from now on, and keeps its space */
	DISK_ZERO_UNMAP, /* the same, and may lose its space */
	DISK_OP_KINDS
};

struct disk_op {
	/* The client's. iov is used up on the way. */
	enum disk_op_kind kind;
	bool is_durable; /* any kind of write: on the disk when done, as if flushed */
	uint32_t niov;
	struct iovec *iov;
	uint64_t offset, bytes;
	int result; /* 0 or -errno, for done() */

	/* disk_uring.c's */
	bool is_bounced;
	bool is_syncing; /* done but for the flush that makes it durable */
	bool is_ours;	 /* not the client's: of disk_uring_read() or disk_uring_flush() */
	uint8_t way;
	uint64_t done_bytes;
	uint64_t covers; /* flush: the writes that it makes durable */
	struct disk_op *next;
};

struct disk_uring_client {
	/* After each batch of done(): interrupts what was completed and, if may_take, submits what has
	 * come in. */
	void (*serve)(void *opaque, bool may_take);
	void (*done)(void *opaque, struct disk_op *op);
};

struct disk_uring {
	const struct disk *disk;
	const struct disk_uring_client *client;
	void *opaque;
	struct io_uring ring;
	pthread_t thread;
	bool started, is_direct;
	int fd[DISK_URING_MAX_FDS + 1]; /* what wakes the thread: the client's, then its own */
	uint32_t nfds;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;  /* an operation has ended that somebody waits for */
	bool serving, ending;
	uint32_t in_flight;
	uint64_t busy_bytes;	   /* what those in flight cost */
	uint64_t written, flushed; /* writes that have ended, and those that a flush has covered */
	uint64_t stamped;	   /* those of which the file's time of change is durable, too */
	/* The page cache has lost writes: no flush can succeed any more, as long as this process
	 * lives, whether the guest resets or not. */
	int flush_error;
	uint8_t way[DISK_OP_KINDS]; /* the first one that this disk does not refuse */
	struct disk_op flush;
	bool flush_due, flush_busy;
	struct disk_op *const *read_due; /* for disk_uring_read(); NULL: none, or in flight */
	uint32_t nread_due, nreads;	 /* nreads of them have not ended yet */
	/* Unaligned requests of direct I/O take turns at one buffer. */
	uint8_t *bounce;
	struct disk_op *bounced, **bounced_end;
};

/* An event on one of the nfds fds lets the thread serve. max_ops: the most that the client submits
 * at a time. name: the thread's, at most 15 characters. */
int disk_uring_start(struct disk_uring *u, const struct disk *disk, uint32_t max_ops, const int *fd,
		     uint32_t nfds, const char *name, const struct disk_uring_client *client,
		     void *opaque, struct error *err) must_check;
/* Idempotent. Waits for what is in flight, though not for ever: false if something still is, and
 * then the ops' memory must stay. */
bool disk_uring_stop(struct disk_uring *u);
/* serve() may take requests from now on. */
void disk_uring_serve(struct disk_uring *u);
/* serve() takes none, and on return nothing is in flight. At the deadline -ETIMEDOUT, and it may
 * again if it might before; but not if the deadline was 0: that is a reset's, and its driver gives
 * nothing more. */
int disk_uring_drain(struct disk_uring *u, uint64_t deadline_ns, struct error *err) must_check;
/* Reads them in the disk's thread, each with a result of its own, even during a drain. The ops, what
 * they point to and the array stay the caller's, but at -ETIMEDOUT those of the ops must stay. */
int disk_uring_read(struct disk_uring *u, struct disk_op *const *op, uint32_t n,
		    uint64_t deadline_ns, struct error *err) must_check;
/* All writes that have ended before are durable, and so is the file's time of change. */
int disk_uring_flush(struct disk_uring *u, uint64_t deadline_ns, struct error *err) must_check;
/* serve() is called soon. */
void disk_uring_wake(struct disk_uring *u);
void disk_uring_submit(struct disk_uring *u, struct disk_op *op);
/* Enough is in flight; once some of it has ended, serve() is called again. */
static inline bool disk_uring_is_full(const struct disk_uring *u)
{
	return u->busy_bytes >= DISK_URING_BUSY_BYTES;
}
#endif
