/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/iov.h - parts of scattered buffers: copy to and from them, or cut a part out.
 * Units: bytes. What lies past the last element is cut off: the result says how much there was. */
#ifndef VMM_BASE_IOV_H
#define VMM_BASE_IOV_H
#include <stdint.h>
#include <sys/uio.h>

/* Copy [offset, offset + bytes) of the n elements; return how many bytes were copied. Elements may be
 * guest memory, which its vCPUs change meanwhile: each byte is read once. */
uint64_t iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *to, uint64_t bytes);
uint64_t iov_write(const struct iovec *iov, uint32_t n, uint64_t offset, const void *from,
		   uint64_t bytes);
/* The elements of [offset, offset + bytes); returns how many. `to` has room for n, and may be iov. */
uint32_t iov_slice(const struct iovec *iov, uint32_t n, uint64_t offset, uint64_t bytes,
		   struct iovec *to);
#endif
