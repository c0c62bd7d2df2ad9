/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/bytes.h - numbers in byte arrays, the length of arrays, and parts of scattered buffers. */
#ifndef VMM_BASE_BYTES_H
#define VMM_BASE_BYTES_H
#include <stdint.h>
#include <sys/uio.h>

#define ARRAY_SIZE(array) (sizeof(array) / sizeof((array)[0]))

/* Little endian, at most 4 bytes. */
static inline uint32_t get_le(const uint8_t *from, uint32_t bytes)
{
	uint32_t value = 0;

	for (uint32_t i = 0; i < bytes; i++)
		value |= (uint32_t)from[i] << (8 * i);
	return value;
}

static inline void put_le(uint8_t *to, uint32_t bytes, uint32_t value)
{
	for (uint32_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)(value >> (8 * i));
}

/* Copy [offset, offset + bytes) of the n elements; return how many bytes were copied: what lies past the last
 * element is cut off. Elements may be guest memory, which its vCPUs change meanwhile: each byte is read once. */
uint64_t iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *to, uint64_t bytes);
uint64_t iov_write(const struct iovec *iov, uint32_t n, uint64_t offset, const void *from,
		   uint64_t bytes);
/* The elements of [offset, offset + bytes); returns how many. `to` has room for n, and may be iov. */
uint32_t iov_slice(const struct iovec *iov, uint32_t n, uint64_t offset, uint64_t bytes,
		   struct iovec *to);
#endif
