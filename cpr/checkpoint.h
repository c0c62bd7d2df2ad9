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
#include <limits.h>
#include <sys/stat.h>

struct vm;

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
/* The same of any owner: only to be shown. */
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

/* --- its way to the disk: FILE.new beside FILE, renamed when it is whole; and FILE.loaded, which FILE
 * becomes once it was loaded. FILE.new is locked (flock) from its creation on: of several VMs that save
 * to one FILE, one at a time does. Nothing that may still be needed is overwritten: not the checkpoint
 * of another VM, not one that can still be loaded, not a file of another kind. */

#define CHECKPOINT_TEMP_SUFFIX	 ".new"
#define CHECKPOINT_LOADED_SUFFIX ".loaded"

struct checkpoint_file {
	const char *path;
	int dir_fd, fd; /* the folder; FILE.new, which is FILE once published */
	char name[NAME_MAX + 1], temp[NAME_MAX + 1], loaded[NAME_MAX + 1];
};

/* Opens the folder; nothing else happens before checkpoint_file_create(). */
int checkpoint_file_open(struct checkpoint_file *file, const char *path,
			 struct error *err) must_check;
void checkpoint_file_close(struct checkpoint_file *file);
/* FILE.new with room for room_bytes, and the certainty that FILE may be replaced. */
int checkpoint_file_create(struct checkpoint_file *file, const struct vm *vm, size_t room_bytes,
			   struct error *err) must_check;
int checkpoint_file_write(struct checkpoint_file *file, const void *data, size_t size_bytes,
			  struct error *err) must_check;
int checkpoint_file_sync(struct checkpoint_file *file, struct error *err) must_check;
/* FILE.new becomes FILE. */
int checkpoint_file_publish(struct checkpoint_file *file, struct error *err) must_check;
int checkpoint_file_sync_folder(struct checkpoint_file *file, struct error *err) must_check;

/* For undoing. Makes what was written unloadable, durably. */
void checkpoint_file_void(struct checkpoint_file *file);
/* And it is gone, by whichever name: a rename that reports an error may have worked. */
void checkpoint_file_remove(struct checkpoint_file *file);

/* Names that end as those of the files beside FILE are refused: what they hold could not be told. */
int checkpoint_file_check_name(const char *path, struct error *err) must_check;
/* For a start: could a save write to this path? Its folder is there and writable. */
int checkpoint_file_check_folder(const char *path, struct error *err) must_check;
/* And may what is there be replaced? */
int checkpoint_file_check(const char *path, const struct vm *vm, struct error *err) must_check;

enum checkpoint_found {
	CHECKPOINT_NONE,   /* neither, or a FILE without content */
	CHECKPOINT_WAITS,  /* FILE */
	CHECKPOINT_LOADED, /* FILE.loaded alone */
};
enum checkpoint_found checkpoint_file_find(const char *path);
/* FILE was loaded and becomes FILE.loaded, in place of an earlier one of this VM. If that cannot be,
 * the log says why: the label has it that FILE is spent. */
void checkpoint_file_retire(const char *path, const struct vm *vm);
/* A boot has given up the guest that FILE may hold. FILE becomes FILE.loaded if it is a checkpoint of
 * this VM in this RAM, so that no later start waits for it. */
void checkpoint_file_give_up(const char *path, const struct vm *vm);
#endif
