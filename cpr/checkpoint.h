/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/checkpoint.h - the container: a flattened device tree and 64 bytes that seal it.
 * Owns: struct checkpoint owns its buffer until checkpoint_free().
 * Threads: main only.
 * Units: bytes.
 * Errors: 0 or -errno with one message. What is read is hostile until checkpoint_verify() and
 *	checkpoint_load() have passed. docs/checkpoint-format.md; Devicetree Specification 0.4. */
#ifndef CPR_CHECKPOINT_H
#define CPR_CHECKPOINT_H
#include "cpr/state.h"
#include "vmm/base/error.h"
#include <sys/stat.h>

#define CHECKPOINT_FORMAT	 2 /* 1: before the first release, 1.0.0 */
#define CHECKPOINT_COMPATIBLE	 "stasis,checkpoint"
#define CHECKPOINT_TRAILER_BYTES 64
#define CHECKPOINT_MAX_BYTES	 (64u << 20) /* 64 vCPUs take some 2 MiB */

struct checkpoint {
	uint8_t *data;	     /* the tree, then the trailer: a file's content */
	size_t size_bytes;   /* of both */
	size_t buffer_bytes; /* of what data points to */
};

/* A buffer that these sections surely fit in, its pages already there: for the time before the
 * guest is stopped. */
int checkpoint_reserve(struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		       struct error *err) must_check;
/* Writes the tree and seals it. The first section is the root's. */
int checkpoint_build(struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		     struct error *err) must_check;
void checkpoint_free(struct checkpoint *ckpt);

/* Reads a file and verifies it. path is relative to dir_fd. Follows no symbolic link, and takes only
 * what root or the user of this process owns. */
int checkpoint_read(struct checkpoint *ckpt, int dir_fd, const char *path,
		    struct error *err) must_check;
/* Whoever owns it: to be looked at, never to be acted on. */
int checkpoint_read_to_inspect(struct checkpoint *ckpt, const char *path,
			       struct error *err) must_check;
/* -EPERM: neither root nor the user of this process owns the file. */
int checkpoint_check_owner(const struct stat *st, struct error *err) must_check;
/* Trailer, hash and the tree's structure. */
int checkpoint_verify(const struct checkpoint *ckpt, struct error *err) must_check;
/* Fills the sections from the nodes of their names; every one must be there. `all`: and there must
 * be no other. */
int checkpoint_load(const struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		    bool all, struct error *err) must_check;
#endif
