/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/named.h"
#include <fcntl.h>
#include <unistd.h>

bool named_is(int dir_fd, const char *path, const struct stat *st)
{
	struct stat named;

	return !fstatat(dir_fd, path, &named, AT_SYMLINK_NOFOLLOW) && named.st_dev == st->st_dev &&
	       named.st_ino == st->st_ino;
}

void named_unlink(int dir_fd, const char *path, const struct stat *st)
{
	if (named_is(dir_fd, path, st))
		unlinkat(dir_fd, path, 0);
}
