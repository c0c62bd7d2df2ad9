/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/disk_identity.h - which disk it is that a guest was saved with, so that no other one is
 * taken for it.
 * Owns: nothing.
 * Threads: main only.
 * Units: bytes, ns since the epoch.
 * Errors: 0 or -errno; differences are joined by error_join().
 *
 * What must say the same after a boot of the host in another kernel is chosen with care: device
 * numbers and names (sda, loop0) change, and so does the file system's st_dev. A file is told by its
 * file system's id, its inode and the time of its last change; a block device by what sysfs calls it
 * (dm or md uuid, WWID, serial number) and where a partition begins; a loop device by its file. A file
 * on network storage (NFS, CIFS, FUSE, 9p) has only its content: numbers and times are the server's.
 *
 * The content is judged by a hash of its first and last 64 KiB and 14 blocks of 4 KiB in between. A
 * file that is changed within the tick of the clock (some ms) in which the guest last wrote, and in none
 * of these, goes unseen. */
#ifndef DEVICES_HOST_DISK_IDENTITY_H
#define DEVICES_HOST_DISK_IDENTITY_H
#include "devices/host/disk_uring.h"

struct disk_identity {
	uint64_t file_system;  /* f_fsid; 0: does not tell */
	uint64_t inode;	       /* 0: no file, or one whose inode does not tell */
	uint64_t mtime_ns;     /* 0: as above */
	uint64_t offset_bytes; /* where the disk begins in the file or device that is told here */
	uint8_t device[160]; /* printable text: "WWID naa.5000c500a1b2c3d4"; empty: does not tell */
	uint8_t hash[16];    /* XXH3-128 in canonical byte order; zero: could not be read */
};

/* All of it is an added state: a checkpoint without has a disk that says nothing of itself. */
#define DISK_IDENTITY_ROWS(A, T, m) \
	A(T, m.file_system, 0)      \
	A(T, m.inode, 0)            \
	A(T, m.mtime_ns, 0)         \
	A(T, m.offset_bytes, 0)     \
	A(T, m.device, 0)           \
	A(T, m.hash, 0)

/* NULL or why this cannot be one. */
const char *disk_identity_check(const struct disk_identity *id);
/* Of the disk as it is now, of which the guest has size_bytes. Fails only at the deadline; what cannot
 * be read has no hash. */
int disk_identity_read(struct disk_identity *id, struct disk_uring *u, uint64_t size_bytes,
		       uint64_t deadline_ns, struct error *err) must_check;
/* Refuses what differs; warns of what the saved one does not tell. path: for messages. */
int disk_identity_compare(const struct disk_identity *saved, const struct disk_identity *now,
			  const char *path, struct error *err) must_check;
#endif
