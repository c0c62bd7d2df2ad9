/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/bytes.h"
#include <string.h>

/* The part of an element from *offset on, which shrinks by what was skipped; at most `left` bytes. */
static struct iovec part(const struct iovec *element, uint64_t *offset, uint64_t left)
{
	uint64_t skip = *offset < element->iov_len ? *offset : element->iov_len;
	uint64_t bytes = element->iov_len - skip;

	*offset -= skip;
	return (struct iovec){(uint8_t *)element->iov_base + skip, bytes < left ? bytes : left};
}

/* Keeps the compiler from reading guest memory again where the copy is used. */
static void copied(void)
{
	__asm__ volatile("" : : : "memory");
}

uint64_t iov_read(const struct iovec *iov, uint32_t n, uint64_t offset, void *to, uint64_t bytes)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < n && done < bytes; i++) {
		const struct iovec from = part(&iov[i], &offset, bytes - done);

		memcpy((uint8_t *)to + done, from.iov_base, from.iov_len);
		done += from.iov_len;
	}
	copied();
	return done;
}

uint64_t iov_write(const struct iovec *iov, uint32_t n, uint64_t offset, const void *from,
		   uint64_t bytes)
{
	uint64_t done = 0;

	for (uint32_t i = 0; i < n && done < bytes; i++) {
		const struct iovec to = part(&iov[i], &offset, bytes - done);

		memcpy(to.iov_base, (const uint8_t *)from + done, to.iov_len);
		done += to.iov_len;
	}
	return done;
}

uint32_t iov_slice(const struct iovec *iov, uint32_t n, uint64_t offset, uint64_t bytes,
		   struct iovec *to)
{
	uint32_t count = 0;

	for (uint32_t i = 0; i < n && bytes; i++) {
		const struct iovec piece = part(&iov[i], &offset, bytes);

		bytes -= piece.iov_len;
		if (piece.iov_len)
			to[count++] = piece;
	}
	return count;
}
