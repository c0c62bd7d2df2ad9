/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/backend.h - what the files of ram/ share and nobody else sees.
 * Threads: main only.
 * Units: bytes.
 * Errors: 0 or -errno with one message that names the path and the way out. */
#ifndef RAM_BACKEND_H
#define RAM_BACKEND_H
#include "ram/ram.h"
#include <sys/stat.h>
#include <sys/vfs.h>

/* Where --memory points to: looked at once, judged by its kind. */
struct ram_place {
	const char *path; /* NULL: nowhere, a memfd */
	struct stat st;
	struct statfs fs;
	enum ram_survives survives; /* by its file system; means nothing for a device */
};

extern const struct ram_backend ram_devdax, ram_file, ram_tmpfs, ram_hugetlbfs, ram_memfd;

/* The row of this place; NULL: no RAM can lie there. */
const struct ram_backend *ram_backend_of(const struct ram_place *place, struct error *err);

/* Opens config's path for reading and writing, or creates it (*created) unless config says to make
 * nothing. Returns the fd. */
int place_open(struct ram_place *place, const struct ram_config *config, bool *created,
	       struct error *err) must_check;
/* Fills place from an open fd. */
int place_look(struct ram_place *place, int fd, const char *path, struct error *err) must_check;
/* What is left in it; UINT64_MAX if it does not say. */
uint64_t place_free_bytes(const struct statfs *fs);
/* Alignment of offset, mapping and label in a file of this place. */
uint64_t place_file_align(const struct ram_place *place);

/* Offset and size must be multiples of it. */
int place_check_align(const struct ram_config *config, uint64_t align_bytes,
		      struct error *err) must_check;

/* Size and alignment of a character device, if it is a DAX device that can be mapped. */
int devdax_query(const struct ram_place *place, uint64_t *size_bytes, uint64_t *align_bytes,
		 struct error *err) must_check;

/* "3072 of 16384 MiB hashed, 1024 MiB/s, 13 s left" in the log, at most once a second and not in the first one; and the
 * watch, if any, whose word it returns. */
struct ram_progress {
	const char *what, *path;
	const struct ram_watch *watch;
	uint64_t total_bytes, begun_ns, next_ns;
};
struct ram_progress progress_start(const char *what, const struct ram *ram,
				   const struct ram_watch *watch);
int progress_report(struct ram_progress *progress, uint64_t done_bytes, struct error *err);

/* What a label unit begins with on media: a page for each copy. */
#define LABEL_COPIES	   2
#define LABEL_PAGE_BYTES   4096ul
#define LABEL_MEDIA_BYTES  (LABEL_COPIES * LABEL_PAGE_BYTES)
#define LABEL_RECORD_BYTES 128 /* used of a page */
/* Size of a label unit where offsets, sizes and mappings are aligned so. */
static inline uint64_t label_unit_bytes(uint64_t align_bytes)
{
	return align_bytes > LABEL_MEDIA_BYTES ? align_bytes : LABEL_MEDIA_BYTES;
}
void label_decode(const void *media, struct label *label);
/* Writes the copy that does not count, so that the other one is valid until this one is. Returns
 * which. */
uint32_t label_encode(void *media, const struct label *label);

/* The same as ram_patch_hole() for what label.c has mapped. */
bool label_patch_hole(const void *hva);
#endif
