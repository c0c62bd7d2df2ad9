/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/file.h - names and locks of files.
 * A path is relative to dir_fd, which may be AT_FDCWD. Symbolic links are not followed. */
#ifndef VMM_BASE_FILE_H
#define VMM_BASE_FILE_H
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/stat.h>

/* Does the path still name the file that st describes? False if it was removed or replaced. */
bool file_is_named(int dir_fd, const char *path, const struct stat *st);
/* Removes the file that st describes, but not one that took its place. */
void file_unlink_named(int dir_fd, const char *path, const struct stat *st);

/* What fcntl(2) takes for [first, first + bytes); bytes 0: to the end. */
static inline struct flock file_range(short type, uint64_t first, uint64_t bytes)
{
	return (struct flock){.l_type = type, .l_start = (off_t)first, .l_len = (off_t)bytes};
}
/* Takes an open file description lock of type F_RDLCK or F_WRLCK on that range. It
 * ends with the last close of this open file, and belongs to the inode: hard links and bind mounts share it.
 * only_look: takes none, and says whether it could. -EAGAIN: another process, or another open of the file in this
 * one, has a lock in the way. */
int file_lock(int fd, short type, uint64_t first, uint64_t bytes, bool only_look);
#endif
