/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/boot_loader.h - between boot.c and the kernel formats: one row a format.
 * Owns: nothing; struct boot_plan's files are boot.c's.
 * Threads: main only.
 * Units: GPAs and bytes; offsets are file offsets.
 * Errors: 0 or -errno with one message that names the file. Headers are hostile: every offset
 *	and length is checked before it is used, sums in a way that cannot wrap. */
#ifndef VMM_X86_BOOT_LOADER_H
#define VMM_X86_BOOT_LOADER_H
#include "ram/ram.h"
#include "vmm/x86/boot.h"
#include <asm/bootparam.h>

#define BOOT_HEAD_BYTES	  4096 /* of the kernel file, read once: enough for every header */
#define BOOT_MAX_SEGMENTS 32
#define BOOT_MAX_MEMMAP	  8

/* A piece of the kernel file on its way to RAM; what it has more in memory is zeroed. */
struct boot_segment {
	uint64_t gpa, offset, file_bytes, mem_bytes;
};

enum boot_memtype { BOOT_MEM_RAM = 1, BOOT_MEM_RESERVED = 2 }; /* as in e820 and PVH */
struct boot_memmap {
	uint64_t gpa, size_bytes;
	enum boot_memtype type;
};

struct boot_loader;
struct boot_plan {
	const struct boot_loader *loader;
	struct boot_file kernel, initrd;
	const char *cmdline;
	uint64_t low_ram_end_gpa;
	/* From the format's parse(): */
	struct boot_segment segment[BOOT_MAX_SEGMENTS];
	uint32_t nsegments;
	uint64_t entry_gpa;
	uint64_t kernel_end_gpa;    /* the initrd lies behind it ... */
	uint64_t initrd_max_gpa;    /* ... and its last byte not above this */
	uint64_t cmdline_max_bytes; /* without the final zero */
	struct setup_header setup;  /* bzImage */
	/* From boot.c: */
	uint64_t initrd_gpa;
	struct boot_memmap memmap[BOOT_MAX_MEMMAP];
	uint32_t nmemmap;
};

struct boot_loader {
	bool (*claims)(const uint8_t *head); /* BOOT_HEAD_BYTES, zeroes behind a short file */
	int (*parse)(struct boot_plan *plan, const uint8_t *head, struct error *err);
	/* Writes what tells the kernel of initrd, command line and memory. */
	int (*hand_over)(const struct boot_plan *plan, const struct ram *ram,
			 struct boot_entry *entry, struct error *err);
};
extern const struct boot_loader boot_bzimage, boot_elf;

/* Exactly this piece of the file; -EINVAL "FILE is truncated" if it is not there. */
int boot_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t size_bytes,
	      struct error *err) must_check;
/* [offset, offset + size) lies in [0, end); does not wrap. */
static inline bool boot_fits(uint64_t offset, uint64_t size_bytes, uint64_t end)
{
	return offset <= end && size_bytes <= end - offset;
}
/* What to do about [gpa, gpa + size), which is not in RAM and cannot lie above limit_gpa. */
static inline const char *boot_way_out(uint64_t gpa, uint64_t size_bytes, uint64_t limit_gpa)
{
	return boot_fits(gpa, size_bytes, limit_gpa)
		       ? "give it more with --memory size="
		       : "it cannot lie higher, whatever --memory size= is: take a smaller one";
}
/* The gate for small structures; the message names what. */
int boot_write(const struct ram *ram, uint64_t gpa, const void *from, uint64_t size_bytes,
	       struct error *err) must_check;
#endif
