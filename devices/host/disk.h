/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/disk.h - a disk image: the file or block device and how a load knows it again (disk.c), and
 * the thread that does its I/O (disk_uring.c).
 * Units: bytes; deadlines are clock_now_ns().
 * Errors: 0 or -errno with one message that names the path and the way out. */
#ifndef DEVICES_HOST_DISK_H
#define DEVICES_HOST_DISK_H
#include "vmm/options.h"
#include <liburing.h>
#include <pthread.h>
#include <sys/uio.h>

#define DISK_SECTOR_BYTES    512
#define DISK_MAX_BLOCK_BYTES 65536

/* --- disk.c: a regular file or block device with raw content. Main thread only. */

/* Owns two descriptors, from disk_open() to disk_close(). The lock has one of its own: a ring that had
 * the other one releases it only some time after its process has ended. */
struct disk {
	const struct disk_config *config;
	int fd, lock_fd;
	bool is_block; /* a block device */
	uint64_t size_bytes;
	uint32_t block_bytes;	 /* logical block: offsets and lengths are multiples of it */
	uint32_t physical_bytes; /* physical block: written at once */
	uint32_t first_bytes;	 /* where the first physical block begins */
	uint32_t min_io_bytes;	 /* below it I/O is slow; 0: unknown */
	uint32_t opt_io_bytes;	 /* larger I/O gains nothing; 0: unknown */
	uint32_t memory_align;	 /* of buffers of direct I/O; 1: no requirement */
};

/* Opens, refuses what is not raw, locks and measures; writes nothing. saved: a saved guest has this
 * disk. Then content that looks like an image format is the guest's own, and a missing disk is to be
 * waited for, not created. */
int disk_open(struct disk *disk, const struct disk_config *config, bool saved,
	      struct error *err) must_check;
/* Idempotent after disk_open(). */
void disk_close(struct disk *disk);
/* Refuses what disk_resize() will not do: size_bytes must be a multiple of the guest's block_bytes, and a
 * block device must have that size already. */
int disk_can_resize(const struct disk *disk, uint64_t size_bytes, uint32_t block_bytes,
		    struct error *err) must_check;
/* A file gets this size. Sets size_bytes. */
int disk_resize(struct disk *disk, uint64_t size_bytes, struct error *err) must_check;

/* --- disk_uring.c: a disk's thread takes requests from its client and does them by io_uring(7).
 * Owns: the ring and the thread, from disk_uring_start() to disk_uring_stop(). A disk_op is the
 *	thread's from disk_uring_submit() until the client's done().
 * Threads: start, stop, drain, serve: one at a time, any but the disk's own; flush, read: one at a time,
 *	between start and stop, even during a drain. Callbacks and disk_uring_submit(): the disk's
 *	thread, with u->lock held; it holds that lock whenever it does not wait or submit.
 * Errors: what I/O ends with is in op->result. */

#define DISK_URING_MAX_FDS   8
#define DISK_URING_MAX_READS 16 /* of disk_uring_read() at a time */
/* A pause waits for requests in flight, so no more than any storage completes in seconds. */
#define DISK_URING_BUSY_BYTES (256u << 20)

enum disk_op_kind {
	DISK_READ,
	DISK_WRITE,
	DISK_FLUSH,
	DISK_DISCARD,	 /* its content no longer matters */
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
	int fd[DISK_URING_MAX_FDS + 1]; /* wake the thread: the client's, then its own */
	uint32_t nfds;

	pthread_mutex_t lock; /* guards what follows */
	pthread_cond_t idle;  /* broadcast after each batch of completions */
	bool serving, ending;
	uint32_t in_flight;
	uint64_t busy_bytes;	   /* sum of the costs of those in flight */
	uint64_t written, flushed; /* writes that have ended, and those that a flush has covered */
	uint64_t stamped;	   /* of those, writes whose mtime is durable too */
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

/* An event on one of the nfds fds makes the thread call serve(). max_ops: the most that the client has
 * in flight. name: the thread's, at most 15 characters. */
int disk_uring_start(struct disk_uring *u, const struct disk *disk, uint32_t max_ops, const int *fd,
		     uint32_t nfds, const char *name, const struct disk_uring_client *client,
		     void *opaque, struct error *err) must_check;
/* Idempotent. Waits for requests in flight, up to a limit: false if some still are, and then the ops'
 * memory must stay. */
bool disk_uring_stop(struct disk_uring *u);
/* serve() may take requests from now on. */
void disk_uring_serve(struct disk_uring *u);
/* serve() takes none until then; returns how many are in flight. */
uint32_t disk_uring_hold(struct disk_uring *u);
/* serve() takes none, and on return nothing is in flight. At the deadline -ETIMEDOUT, and serve()
 * may take requests again if it could before; but not if the deadline was 0: that is a reset's,
 * and its driver gives nothing more. */
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

/* --- disk.c: which disk a guest was saved with, so that a load does not take another one for it.
 * Main thread only; differences are joined by error_join().
 *
 * What is compared must be stable over a boot of the host into another kernel: device numbers and names
 * (sda, loop0) change, and so does the file system's st_dev. A file is identified by its file system's
 * id, its inode and its mtime; a block device by what sysfs calls it (dm or md uuid, WWID, serial
 * number) and where a partition begins; a loop device by its file. A file on network storage (NFS, CIFS,
 * FUSE, 9p) has only its content: numbers and times are the server's.
 *
 * The content is judged by a hash of its first and last 64 KiB and 14 blocks of 4 KiB in between. A
 * change goes unseen if it happens within the clock tick (some ms) of the guest's last write and
 * touches none of these. */

struct disk_identity {
	uint64_t file_system;  /* f_fsid; 0: unknown */
	uint64_t inode;	       /* 0: no file, or its inode is not stable */
	uint64_t mtime_ns;     /* 0: the same */
	uint64_t offset_bytes; /* where the disk begins in that file or device */
	uint8_t device[160];   /* printable text: "WWID naa.5000c500a1b2c3d4"; empty: unknown */
	uint8_t hash[16];      /* XXH3-128 in canonical byte order; zero: could not be read */
};

/* All rows are added ones: in a checkpoint without them the identity is unknown. */
#define DISK_IDENTITY_ROWS(A, T, m) \
	A(T, m.file_system, 0)      \
	A(T, m.inode, 0)            \
	A(T, m.mtime_ns, 0)         \
	A(T, m.offset_bytes, 0)     \
	A(T, m.device, 0)           \
	A(T, m.hash, 0)

/* NULL, or why this cannot be an identity. */
const char *disk_identity_check(const struct disk_identity *id);
/* Of the disk as it is now; the guest sees size_bytes of it. Fails only at the deadline; a disk that
 * cannot be read has no hash. */
int disk_identity_read(struct disk_identity *id, struct disk_uring *u, uint64_t size_bytes,
		       uint64_t deadline_ns, struct error *err) must_check;
/* Refuses what differs; warns if the saved identity is unknown. path: for messages. */
int disk_identity_compare(const struct disk_identity *saved, const struct disk_identity *now,
			  const char *path, struct error *err) must_check;
#endif
