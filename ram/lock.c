/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One user for each byte of RAM: open file description locks, which end with the process.
 * They belong to the inode: hard links and bind mounts share them, a second device node made by
 * mknod(1) does not. */
#include "ram/backend.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static int say_who(int fd, const char *path, struct flock lock, struct error *err)
{
	uint64_t first = (uint64_t)lock.l_start, end = first + (uint64_t)lock.l_len;
	uint64_t other, other_end;
	char who[32] = "another process";

	if (fcntl(fd, F_OFD_GETLK, &lock) || lock.l_type == F_UNLCK)
		return error_set(err, -EAGAIN,
				 "%s: bytes %" PRIu64 " to %" PRIu64
				 " were in use by another process just now: try again",
				 path, first, end);
	other = (uint64_t)lock.l_start;
	other_end = lock.l_len ? other + (uint64_t)lock.l_len : UINT64_MAX;
	/* Nobody can tell who holds an OFD lock: only for others is there a pid. */
	if (lock.l_pid > 0)
		snprintf(who, sizeof(who), "process %d", (int)lock.l_pid);
	return error_set(err, -EAGAIN,
			 "%s: bytes %" PRIu64 " to %" PRIu64 " are wanted, but %s uses %" PRIu64
			 " to %" PRIu64 ": stop that VM or choose another offset",
			 path, first, end, who, other, other_end);
}

int lock_range(int fd, const char *path, uint64_t offset_bytes, uint64_t size_bytes, bool only_look,
	       struct error *err)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset_bytes,
		.l_len = (off_t)size_bytes,
	};
	struct flock found = lock;
	bool failed = fcntl(fd, only_look ? F_OFD_GETLK : F_OFD_SETLK, &found);

	if (!failed && (!only_look || found.l_type == F_UNLCK))
		return 0;
	if (!failed || errno == EAGAIN || errno == EACCES)
		return say_who(fd, path, lock, err);
	return error_set(err, -errno,
			 "%s: its file system cannot lock (%s): two VMs might use the same RAM",
			 path, strerror(errno));
}

bool lock_is_taken(int fd, uint64_t offset_bytes, uint64_t size_bytes)
{
	struct flock lock = {
		.l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)offset_bytes,
		.l_len = (off_t)size_bytes,
	};

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}
