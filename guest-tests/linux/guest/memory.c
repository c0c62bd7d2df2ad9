/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A block of memory in chunks, each filled with a pattern made of place and generation. Each tick
 * checks one chunk, then writes its next generation; after a jump of the clock all are checked.
 * The generations and the sum over all chunks lie elsewhere than the block. */
#include "guest.h"
#include <stdlib.h>
#include <sys/mman.h>

#define CHUNK_BYTES ((size_t)256 * 1024)
#define CHUNK_WORDS (CHUNK_BYTES / sizeof(uint64_t))

static uint64_t *block;
static uint64_t *generation;
static uint64_t *sum; /* of each chunk, as written */
static size_t chunks;

static uint64_t pattern(size_t word, uint64_t gen)
{
	uint64_t x = word + (gen << 40);

	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15u;
	return x ^ x >> 29;
}

static void chunk_write(size_t chunk)
{
	uint64_t *word = block + chunk * CHUNK_WORDS;

	sum[chunk] = 0;
	for (size_t i = 0; i < CHUNK_WORDS; i++) {
		word[i] = pattern(chunk * CHUNK_WORDS + i, generation[chunk]);
		sum[chunk] += word[i];
	}
}

static bool chunk_check(size_t chunk)
{
	const uint64_t *word = block + chunk * CHUNK_WORDS;
	uint64_t total = 0;
	size_t wrong = 0;

	for (size_t i = 0; i < CHUNK_WORDS; i++) {
		wrong += word[i] != pattern(chunk * CHUNK_WORDS + i, generation[chunk]);
		total += word[i];
	}
	if (wrong)
		bad("memory: %zu words wrong in chunk %zu, generation %llu", wrong, chunk,
		    (unsigned long long)generation[chunk]);
	if (total != sum[chunk])
		bad("memory: sum of chunk %zu is %#llx, was %#llx", chunk,
		    (unsigned long long)total, (unsigned long long)sum[chunk]);
	return !wrong && total == sum[chunk];
}

void memory_start(long mib)
{
	chunks = (size_t)mib * 1024 * 1024 / CHUNK_BYTES;
	block = mmap(NULL, chunks * CHUNK_BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	generation = calloc(chunks, sizeof(*generation));
	sum = calloc(chunks, sizeof(*sum));
	if (block == MAP_FAILED || !generation || !sum) {
		bad("memory: no %ld MiB", mib);
		chunks = 0;
	}
	for (size_t i = 0; i < chunks; i++)
		chunk_write(i);
}

bool memory_poll(unsigned long tick, bool all)
{
	bool good = chunks > 0;

	for (size_t i = 0; i < chunks; i++) {
		if (i != tick % chunks && !all)
			continue;
		good &= chunk_check(i);
		if (i == tick % chunks) {
			generation[i] = tick;
			chunk_write(i);
		}
	}
	return good;
}
