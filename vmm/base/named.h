/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/named.h - does a path still name the file that we have open?
 * A path is relative to dir_fd, which may be AT_FDCWD. Symbolic links are not followed. */
#ifndef VMM_BASE_NAMED_H
#define VMM_BASE_NAMED_H
#include <stdbool.h>
#include <sys/stat.h>

/* False if the file was removed or replaced. */
bool named_is(int dir_fd, const char *path, const struct stat *st);
/* Removes the file, but not one that took its place. */
void named_unlink(int dir_fd, const char *path, const struct stat *st);
#endif
