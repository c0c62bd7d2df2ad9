/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

bool file_is_named(int dir_fd, const char *path, const struct stat *st)
{
	struct stat named;

	return !fstatat(dir_fd, path, &named, AT_SYMLINK_NOFOLLOW) && named.st_dev == st->st_dev &&
	       named.st_ino == st->st_ino;
}

void file_unlink_named(int dir_fd, const char *path, const struct stat *st)
{
	if (file_is_named(dir_fd, path, st))
		unlinkat(dir_fd, path, 0);
}

int file_lock(int fd, short type, uint64_t first, uint64_t bytes, bool only_look)
{
	struct flock lock = file_range(type, first, bytes);

	if (fcntl(fd, only_look ? F_OFD_GETLK : F_OFD_SETLK, &lock))
		return errno == EACCES ? -EAGAIN : -errno;
	return only_look && lock.l_type != F_UNLCK ? -EAGAIN : 0;
}
