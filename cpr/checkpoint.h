/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/checkpoint.h - a checkpoint: what is in it (snapshot.c), and its container, a flattened device tree and 64
 * bytes that seal it (checkpoint.c).
 * Owns: struct checkpoint owns its buffer until checkpoint_free(), struct snapshot the head's structs, the
 *	arch's state and, for a load, scratch copies of the devices'. A save reads the devices' own state.
 * Threads: main only.
 * Units: bytes, ns since the epoch.
 * Errors: 0 or -errno with one message. What is read is hostile until checkpoint_verify() and
 *	checkpoint_load() have passed. stasis-checkpoint(5); Devicetree Specification 0.4. */
#ifndef CPR_CHECKPOINT_H
#define CPR_CHECKPOINT_H
#include "cpr/cpr.h"
#include "cpr/state.h"
#include "vmm/base/error.h"
#include "vmm/vm.h"
#include <limits.h>
#include <sys/stat.h>

/* --- the content, as the list of sections that save and load walk */

#define SNAPSHOT_MAX_SECTIONS (4 + OPTIONS_MAX_CPUS + 16 + DEVICES_MAX)

/* The root node's properties. */
struct root_state {
	uint8_t id[16]; /* random: the label names it while this checkpoint may be loaded */
	char compatible[24];
	char mode[16];	    /* cpr_mode_name[] */
	char run_state[16]; /* "running", "paused" or "suspended" */
	uint32_t format;
	uint32_t suspended; /* paused while it slept: it stays asleep when it is resumed */
};

/* Who wrote it, and during which boot of the host. */
struct vmm_state {
	uint64_t saved_at_ns;
	char version[32];
	char host_kernel[72];
	char host_boot_id[40]; /* mode=restart promises nothing beyond it */
};

/* The machine as the guest sees it. */
struct machine_state {
	uint64_t ram_size_bytes;
	uint64_t s3;				  /* 0 or 1 */
	uint64_t ram_region[2 * RAM_MAX_REGIONS]; /* GPA and size of each */
	uint8_t uuid[16];
	uint32_t nram_region;
	uint32_t cpus;
	uint32_t pit;
	uint32_t device_gsi[DEVICES_MAX]; /* one for each name in devices; 0: has none */
	uint32_t ndevice_gsi;
	char arch[16];
	char vm_name[256];  /* not "name": a device tree reserves that property */
	char devices[1024]; /* "serial0 rtc0 pm0" */
};

#define MEMORY_NAME_BYTES 64

/* Where RAM was. It may have moved since: the label decides. Names of RAM that is no path:
 * reserved for later releases; this one writes none and loads none. */
struct memory_state {
	uint64_t offset_bytes;
	uint64_t token;			    /* with session */
	uint8_t kept_fd[MEMORY_NAME_BYTES]; /* name of a descriptor that another process holds */
	uint8_t session[MEMORY_NAME_BYTES]; /* of the kernel's Live Update */
	uint8_t hash[16];		    /* XXH3-128 of all of it */
	uint32_t nhash;			    /* 16, or 0: not hashed */
	char backend[20];
	char path[PATH_MAX]; /* absolute; empty: none */
};

struct snapshot {
	struct root_state root;
	struct vmm_state vmm;
	struct machine_state machine;
	struct memory_state memory;
	struct arch_state *arch;
	uint8_t *device_scratch; /* NULL: sections point to the devices' own state */
	struct state_section section[SNAPSHOT_MAX_SECTIONS];
	uint32_t nsections;
	uint32_t first_device;		/* index of section[] */
	const void *saved[DEVICES_MAX]; /* the state of each device of the VM; NULL: it has none */
};

#define SNAPSHOT_HEAD_SECTIONS 4 /* root, vmm, machine, memory: fit for any checkpoint */

/* scratch: for a load, which must not touch the devices before all is checked. */
int snapshot_new(struct snapshot **out, struct vm *vm, bool scratch, struct error *err) must_check;
void snapshot_free(struct snapshot *snap);
/* Fills the head, a fresh id with it. */
int snapshot_describe(struct snapshot *snap, struct vm *vm, enum cpr_mode mode,
		      struct error *err) must_check;

void machine_describe(struct machine_state *machine, const struct vm *vm);
/* vm: the machine of the command line. The name is not compared, the uuid is. sleeps: its guest, when it
 * was saved. */
int machine_compare(const struct machine_state *saved, bool sleeps, const struct vm *vm,
		    struct error *err) must_check;

/* random(4), /proc/sys/kernel/random/boot_id. */
int snapshot_boot_id(char id[40], struct error *err) must_check;
/* For messages. */
static inline const char *snapshot_ram_path(const struct vm *vm)
{
	return vm->ram.config.path ? vm->ram.config.path : "memfd";
}

/* Absolute, so that it is found from any working directory; empty: a
 * memfd. */
void snapshot_real_ram_path(const struct ram *ram, char path[PATH_MAX]);

/* The head alone, for looking at a checkpoint without a VM: SNAPSHOT_HEAD_SECTIONS sections. */
void snapshot_head_sections(struct snapshot *snap);
/* Calls fn for the table of every kind of node a checkpoint may have. */
int snapshot_tables(void (*fn)(void *ctx, const struct state_desc *desc), void *ctx,
		    struct error *err) must_check;

/* --- the container */

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

/* Reads a file and verifies it. path is relative to dir_fd. Follows no symbolic link, and takes only what root or the
 * user of this process owns. any_owner: only to be shown. */
int checkpoint_read(struct checkpoint *ckpt, int dir_fd, const char *path, bool any_owner,
		    struct error *err) must_check;
/* -EPERM: neither root nor the user of this process owns the file. */
int checkpoint_check_owner(const struct stat *st, struct error *err) must_check;
/* Trailer, hash and the tree's structure. */
int checkpoint_verify(const struct checkpoint *ckpt, struct error *err) must_check;
/* Fills the sections from the nodes of their names; every one must be there. `all`: and there must
 * be no other. */
int checkpoint_load(const struct checkpoint *ckpt, const struct state_section *section, uint32_t n,
		    bool all, struct error *err) must_check;
/* The head alone of a file that may be loaded. snapshot_free() it. */
int checkpoint_read_head(struct snapshot **out, int dir_fd, const char *path,
			 struct error *err) must_check;

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

/* Names that end as those of the files beside FILE are refused: what they hold could not be told
 * apart from Stasis's own. */
int checkpoint_file_check_name(const char *path, struct error *err) must_check;
/* For a start: could a save write to this path? Its folder is there and writable. vm: and what is there may be
 * replaced by this VM. */
int checkpoint_file_check(const char *path, const struct vm *vm, struct error *err) must_check;

enum checkpoint_found {
	CHECKPOINT_NONE,   /* neither, or a FILE without content */
	CHECKPOINT_WAITS,  /* FILE */
	CHECKPOINT_LOADED, /* FILE.loaded alone */
};
enum checkpoint_found checkpoint_file_find(const char *path);
/* FILE was loaded and becomes FILE.loaded, in place of an earlier one of this VM. If that cannot be,
 * the log says why: the label says that FILE is spent. */
void checkpoint_file_retire(const char *path, const struct vm *vm);
/* A boot has given up the guest that FILE may hold. FILE becomes FILE.loaded if it is a checkpoint of
 * this VM in this RAM, so that no later start waits for it. */
void checkpoint_file_give_up(const char *path, const struct vm *vm);
#endif
