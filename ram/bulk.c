/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What walks over all of RAM: hash and zero, and the progress of such walks. */
#define XXH_INLINE_ALL
#include "ram/backend.h"
#include "vmm/clock.h"
#include "vmm/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <string.h>
#include <unistd.h>
#include <xxhash.h>

#define ZERO_BYTES (64u << 20)

static const uint8_t zeroes[4096];

struct ram_progress progress_start(const char *what, const struct ram *ram)
{
	return (struct ram_progress){.what = what,
				     .path = ram->config.path ? ram->config.path : "memfd",
				     .total_bytes = ram->config.size_bytes,
				     .next_ns = clock_now_ns() + CLOCK_NS_PER_S};
}

void progress_report(struct ram_progress *progress, uint64_t done_bytes)
{
	uint64_t now = clock_now_ns();

	if (now < progress->next_ns)
		return;
	progress->next_ns = now + CLOCK_NS_PER_S;
	log_info("%s: %" PRIu64 " of %" PRIu64 " MiB %s", progress->path, done_bytes >> 20,
		 progress->total_bytes >> 20, progress->what);
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

/* Reading a hole through the mapping would fill a tmpfs with pages of zeroes. */
void ram_hash(const struct ram *ram, uint8_t hash[16])
{
	uint64_t at = 0, data = 0, hole, bytes, size_bytes = ram->config.size_bytes;
	bool holed = atomic_load(&ram->holed);
	XXH128_canonical_t canonical;
	XXH3_state_t state;

	XXH3_128bits_reset(&state);
	while (at < size_bytes) {
		data = holed ? at : seek(ram, at, SEEK_DATA);
		for (; at < data; at += bytes) {
			bytes = data - at < sizeof(zeroes) ? data - at : sizeof(zeroes);
			XXH3_128bits_update(&state, zeroes, bytes);
		}
		if (at == size_bytes)
			break;
		hole = holed ? size_bytes : seek(ram, at, SEEK_HOLE);
		if (hole == at)
			hole = size_bytes;
		XXH3_128bits_update(&state, ram->hva + at, hole - at);
		at = hole;
	}
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
	memcpy(hash, canonical.digest, sizeof(canonical.digest));
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
	struct ram_progress progress = progress_start("zeroed", ram);
	uint64_t size_bytes = ram->config.size_bytes, at, bytes;

	for (at = 0; at < size_bytes; at += bytes) {
		bytes = size_bytes - at < ZERO_BYTES ? size_bytes - at : ZERO_BYTES;
		if (!zero_in_file(ram, at, bytes))
			memset(ram->hva + at, 0, bytes);
		progress_report(&progress, at + bytes);
	}
}
