/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/output.h - writing to descriptors that were inherited, for log and consoles, without ever blocking.
 * Owns: nothing; a reopened descriptor is the caller's.
 * Threads: any.
 * Units: bytes.
 * Errors: -1 and errno, as those of dup(2) and write(2). SIGPIPE is expected to be ignored. */
#ifndef VMM_BASE_OUTPUT_H
#define VMM_BASE_OUTPUT_H
#include <stddef.h>
#include <sys/types.h>

/* /dev/null takes the place of standard descriptors that are closed: first thing in main(), or else the next
 * file that is opened becomes the standard output. */
void output_open_missing(void);
/* A descriptor for what fd is open on, by O_RDONLY or O_WRONLY. Pipes and terminals are opened anew:
 * that description is non-blocking, and the shell, which shares the inherited one, is not affected. */
int output_reopen(int fd, int flags);
/* write(2) of up to `bytes`. -1 and EAGAIN where it would block, whoever shares fd. */
ssize_t output_write(int fd, const void *data, size_t bytes);
#endif
