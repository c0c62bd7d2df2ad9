/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fuzz/fuzz.h - what fuzz targets share: the input as a stream of small numbers, and loops that
 * run when the target says so.
 * Owns: nothing; the bytes are libFuzzer's.
 * Threads: one.
 * Units: bytes.
 * Errors: behind the end of the input all reads give zeroes. LLVM's documentation, "libFuzzer". */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H
#include "vmm/base/loop.h"
#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct fuzz {
	const uint8_t *data;
	size_t left;
};

/* A little-endian number of up to 8 bytes. */
static inline uint64_t fuzz_take(struct fuzz *fuzz, size_t bytes)
{
	uint64_t value = 0;
	size_t n = bytes < fuzz->left ? bytes : fuzz->left;

	memcpy(&value, fuzz->data, n);
	fuzz->data += n;
	fuzz->left -= n;
	return value;
}

/* What is ready now, and what that makes ready; no waiting. */
void fuzz_serve(struct loop *loop);

/* Each file defines it; always returns 0. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
#endif
