/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/output.h - writing to inherited descriptors, for log and consoles, without ever blocking.
 * Errors: -1 and errno of dup(2) or write(2). SIGPIPE must be ignored. */
#ifndef VMM_BASE_OUTPUT_H
#define VMM_BASE_OUTPUT_H
#include <stddef.h>
#include <sys/types.h>

/* Opens /dev/null for standard descriptors that are closed. Call it first in main(), or else the next file
 * that is opened becomes the standard output. */
void output_open_missing(void);
/* A new descriptor for what fd is open on, with O_RDONLY or O_WRONLY; the caller closes it. Pipes and
 * terminals are reopened non-blocking, which does not affect the shell that shares the inherited description. */
int output_reopen(int fd, int flags);
/* write(2) of up to `bytes`. -1 and EAGAIN where it would block, also if others share fd. */
ssize_t output_write(int fd, const void *data, size_t bytes);
#endif
