/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/snapshot.h - all of a checkpoint in memory, as the list of sections that save and load walk.
 * Owns: the head's structs, the arch's state and, for a load, scratch copies of the devices'.
 *	A save reads the devices' own state.
 * Threads: main only.
 * Units: ns since the epoch, bytes.
 * Errors: 0 or -errno with one message. */
#ifndef CPR_SNAPSHOT_H
#define CPR_SNAPSHOT_H
#include "cpr/cpr.h"
#include "cpr/state.h"
#include "vmm/vm.h"
#include <limits.h>

#define SNAPSHOT_MAX_SECTIONS (4 + OPTIONS_MAX_CPUS + 16 + DEVICES_MAX)

/* The root node's properties. */
struct root_state {
	uint8_t id[16]; /* random: the label names it while this checkpoint may be loaded */
	char compatible[24];
	char mode[16];	    /* cpr_mode_name[] */
	char run_state[16]; /* "running", "paused" or "suspended" */
	uint32_t format;
	uint32_t suspended; /* paused while it slept: it sleeps on when it is resumed */
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

/* Where RAM was. It may have moved since: the label decides. Names of RAM that is no path: for
 * releases to come, this one writes none and loads none. */
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
/* That of a file, as checkpoint_read() takes it. snapshot_free() it. */
int snapshot_read_head(struct snapshot **out, int dir_fd, const char *path,
		       struct error *err) must_check;
/* Calls fn for the table of every kind of node a checkpoint may have. */
int snapshot_tables(void (*fn)(void *ctx, const struct state_desc *desc), void *ctx,
		    struct error *err) must_check;
#endif
