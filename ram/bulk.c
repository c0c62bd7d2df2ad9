/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What walks over all of RAM: hash and zero, and the progress of such walks. */
#define XXH_INLINE_ALL
#include "ram/backend.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define ZERO_BYTES (64u << 20)

static const uint8_t zeroes[4096];

struct ram_progress progress_start(const char *what, const struct ram *ram,
				   const struct ram_watch *watch)
{
	return (struct ram_progress){.what = what,
				     .path = ram->config.path ? ram->config.path : "memfd",
				     .watch = watch,
				     .total_bytes = ram->config.size_bytes,
				     .next_ns = clock_now_ns() + CLOCK_NS_PER_S};
}

int progress_report(struct ram_progress *progress, uint64_t done_bytes, struct error *err)
{
	uint64_t now = clock_now_ns();

	if (now >= progress->next_ns) {
		progress->next_ns = now + CLOCK_NS_PER_S;
		log_info("%s: %" PRIu64 " of %" PRIu64 " MiB %s", progress->path, done_bytes >> 20,
			 progress->total_bytes >> 20, progress->what);
	}
	return progress->watch ? progress->watch->fn(progress->watch->opaque, done_bytes, err) : 0;
}

/* Where data (SEEK_DATA) or a hole (SEEK_HOLE) next begins, as offset in RAM. Whatever cannot tell
 * is data to its end; devices answer with an offset that makes no sense. */
static uint64_t seek(const struct ram *ram, uint64_t at, int whence)
{
	const struct ram_config *config = &ram->config;
	off_t found = lseek(ram->fd, (off_t)(config->offset_bytes + at), whence);
	uint64_t found_at = (uint64_t)found - config->offset_bytes;

	if (found < 0 && whence == SEEK_DATA && errno == ENXIO)
		return config->size_bytes;
	if (found < 0 || (uint64_t)found < config->offset_bytes + at)
		return whence == SEEK_DATA ? at : config->size_bytes;
	return found_at < config->size_bytes ? found_at : config->size_bytes;
}

/* [data, hole): what of RAM has content and lies at or behind where the walk is. */
struct extent {
	uint64_t data, hole;
};

static void next_extent(const struct ram *ram, uint64_t at, struct extent *extent)
{
	const bool holed = atomic_load(&ram->holed);

	extent->data = holed ? at : seek(ram, at, SEEK_DATA);
	extent->hole = holed ? ram->config.size_bytes : seek(ram, extent->data, SEEK_HOLE);
	if (extent->hole == extent->data)
		extent->hole = ram->config.size_bytes;
}

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Reading a hole through the mapping would fill a tmpfs with pages of zeroes. */
static void hash_piece(const struct ram *ram, uint64_t at, struct extent *extent,
		       XXH128_canonical_t *hash)
{
	const uint64_t end = at + RAM_GRAIN_BYTES;
	XXH3_state_t state;
	uint64_t bytes;

	XXH3_128bits_reset(&state);
	for (; at < end; at += bytes) {
		if (at >= extent->hole)
			next_extent(ram, at, extent);
		if (at < extent->data) {
			bytes = least(least(extent->data, end) - at, sizeof(zeroes));
			XXH3_128bits_update(&state, zeroes, bytes);
		} else {
			bytes = least(extent->hole, end) - at;
			XXH3_128bits_update(&state, ram->hva + at, bytes);
		}
	}
	XXH128_canonicalFromHash(hash, XXH3_128bits_digest(&state));
}

int ram_hash(const struct ram *ram, const struct ram_watch *watch, uint8_t hash[16],
	     struct error *err)
{
	struct ram_progress progress = progress_start("hashed", ram, watch);
	struct extent extent = {0, 0};
	XXH128_canonical_t piece, root;
	XXH3_state_t state;
	int ret = 0;

	XXH3_128bits_reset(&state);
	for (uint64_t at = 0; !ret && at < ram->config.size_bytes; at += RAM_GRAIN_BYTES) {
		hash_piece(ram, at, &extent, &piece);
		XXH3_128bits_update(&state, &piece, sizeof(piece));
		ret = progress_report(&progress, at + RAM_GRAIN_BYTES, err);
	}
	XXH128_canonicalFromHash(&root, XXH3_128bits_digest(&state));
	memcpy(hash, root.digest, sizeof(root.digest));
	return ret;
}

/* Without a write, where the file system can and nobody needs these very pages; an allocated file stays
 * allocated if it may. */
static bool zero_in_file(const struct ram *ram, uint64_t at, uint64_t bytes)
{
	off_t offset = (off_t)(ram->config.offset_bytes + at);

	if (atomic_load(&ram->holed) || ram->pinned)
		return false;
	return !fallocate(ram->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset,
			  (off_t)bytes) ||
	       !fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			  (off_t)bytes);
}

void ram_zero(struct ram *ram)
{
	struct ram_progress progress = progress_start("zeroed", ram, NULL);
	uint64_t size_bytes = ram->config.size_bytes, at, bytes;

	for (at = 0; at < size_bytes; at += bytes) {
		bytes = size_bytes - at < ZERO_BYTES ? size_bytes - at : ZERO_BYTES;
		if (!zero_in_file(ram, at, bytes))
			memset(ram->hva + at, 0, bytes);
		(void)progress_report(&progress, at + bytes, NULL);
	}
}
