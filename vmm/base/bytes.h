/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/bytes.h - numbers in byte arrays, and the length of arrays. */
#ifndef VMM_BASE_BYTES_H
#define VMM_BASE_BYTES_H
#include <stdint.h>

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
#endif
