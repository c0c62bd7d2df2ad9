/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/named.h - is a path still the name of a file that we have?
 * Owns: nothing.
 * Threads: any.
 * Units: none.
 * Errors: none. A path is relative to dir_fd, which may be AT_FDCWD; a symbolic link is not followed. */
#ifndef VMM_BASE_NAMED_H
#define VMM_BASE_NAMED_H
#include <stdbool.h>
#include <sys/stat.h>

/* Others may have removed it, and put another one in its place. */
bool named_is(int dir_fd, const char *path, const struct stat *st);
/* Removes it, and no other one in its place. */
void named_unlink(int dir_fd, const char *path, const struct stat *st);
#endif
