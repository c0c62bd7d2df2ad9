/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Parts of scattered buffers, against the same bytes in one piece. */
#include "tests/rig/unit.h"
#include "vmm/base/bytes.h"
#include <string.h>

#define BYTES 9

/* 0..8 in elements of 3, 0, 1, 5 bytes. */
static uint8_t memory[3 + 1 + 5];
static const struct iovec iov[] = {{memory, 3}, {memory, 0}, {memory + 3, 1}, {memory + 4, 5}};
#define N 4

static void set_up(void)
{
	for (uint8_t i = 0; i < BYTES; i++)
		memory[i] = i;
}

static uint64_t in_range(uint64_t offset, uint64_t bytes)
{
	uint64_t left = offset < BYTES ? BYTES - offset : 0;

	return bytes < left ? bytes : left;
}

TEST(reads_any_part)
{
	for (uint64_t offset = 0; offset < 12; offset++)
		for (uint64_t bytes = 0; bytes < 12; bytes++) {
			uint8_t to[12] = {0};
			uint64_t n = iov_read(iov, N, offset, to, bytes);

			ck_assert_uint_eq(n, in_range(offset, bytes));
			ck_assert(!n || !memcmp(to, memory + offset, n));
			ck_assert_uint_eq(to[n], 0);
		}
}

TEST(writes_any_part)
{
	static const uint8_t from[12] = {90, 91, 92, 93, 94, 95, 96, 97, 98, 99, 100, 101};

	for (uint64_t offset = 0; offset < 12; offset++)
		for (uint64_t bytes = 0; bytes < 12; bytes++) {
			uint64_t n;

			set_up();
			n = iov_write(iov, N, offset, from, bytes);
			ck_assert_uint_eq(n, in_range(offset, bytes));
			for (uint64_t i = 0; i < BYTES; i++)
				ck_assert_uint_eq(memory[i], i >= offset && i < offset + n
								     ? from[i - offset]
								     : i);
		}
}

TEST(slices_any_part)
{
	for (uint64_t offset = 0; offset < 12; offset++)
		for (uint64_t bytes = 0; bytes < 12; bytes++) {
			uint64_t at = offset;
			struct iovec to[N];
			uint32_t n = iov_slice(iov, N, offset, bytes, to);

			for (uint32_t i = 0; i < n; i++) {
				ck_assert_ptr_eq(to[i].iov_base, memory + at);
				ck_assert_uint_gt(to[i].iov_len, 0);
				at += to[i].iov_len;
			}
			ck_assert_uint_eq(at - offset, in_range(offset, bytes));
		}
}

TEST(slices_in_place)
{
	struct iovec own[N];

	memcpy(own, iov, sizeof(own));
	ck_assert_uint_eq(iov_slice(own, N, 2, UINT64_MAX, own), 3);
	ck_assert_ptr_eq(own[0].iov_base, memory + 2);
	ck_assert_uint_eq(own[0].iov_len, 1);
	ck_assert_ptr_eq(own[2].iov_base, memory + 4);
	ck_assert_uint_eq(iov_slice(own, 3, 7, UINT64_MAX, own), 0);
}

UNIT_MAIN(set_up, NULL)
