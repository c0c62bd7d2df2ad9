/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The 64-bit Linux boot protocol: Documentation/arch/x86/boot.rst and zero-page.rst. */
#include "vmm/x86/boot_loader.h"
#include "vmm/x86/layout.h"
#include <errno.h>
#include <stddef.h>
#include <string.h>

#define SETUP_OFFSET	    0x1f1
#define SETUP_END_OFFSET    0x202      /* the byte before it says how much header follows */
#define SETUP_MAGIC	    0x53726448 /* "HdrS" */
#define BOOT_FLAG	    0xaa55
#define VERSION_XLOADFLAGS  0x020c
#define LOADER_UNDEFINED    0xff
#define ENTRY_64_OFFSET	    0x200
#define SECTOR_BYTES	    512UL
#define DEFAULT_SETUP_SECTS 4 /* what 0 means */

static bool bzimage_claims(const uint8_t *head)
{
	const struct setup_header *setup = (const void *)(head + SETUP_OFFSET);

	return setup->boot_flag == BOOT_FLAG && setup->header == SETUP_MAGIC;
}

/* Where the kernel goes: where it prefers, else, if it can move, the lowest place that fits. */
static int choose_address(const struct boot_plan *plan, uint64_t size_bytes, uint64_t *gpa,
			  struct error *err)
{
	const struct setup_header *setup = &plan->setup;
	uint64_t align = setup->kernel_alignment, end = plan->low_ram_end_gpa;

	*gpa = setup->pref_address;
	if (*gpa >= LAYOUT_KERNEL_MIN_GPA && boot_fits(*gpa, size_bytes, end))
		return 0;
	if (setup->relocatable_kernel) {
		if (!align || align & (align - 1))
			return error_set(err, -EINVAL,
					 "--kernel %s: alignment 0x%llx in its header is no power "
					 "of two",
					 plan->kernel.path, (unsigned long long)align);
		*gpa = (LAYOUT_KERNEL_MIN_GPA + align - 1) & ~(align - 1);
		if (boot_fits(*gpa, size_bytes, end))
			return 0;
	}
	return error_set(err, -ENOSPC,
			 "--kernel %s: needs %llu MiB of RAM at %llu MiB, there is RAM up to %llu "
			 "MiB: %s",
			 plan->kernel.path, (unsigned long long)((size_bytes >> 20) + 1),
			 (unsigned long long)(*gpa >> 20), (unsigned long long)(end >> 20),
			 boot_way_out(*gpa, size_bytes, LAYOUT_LOW_RAM_END_GPA));
}

static int check_header(const struct boot_plan *plan, struct error *err)
{
	const struct setup_header *setup = &plan->setup;
	const char *path = plan->kernel.path;

	if (setup->version < VERSION_XLOADFLAGS)
		return error_set(err, -ENOTSUP,
				 "--kernel %s: boot protocol %u.%02u, at least 2.12 (Linux 3.8) is "
				 "needed",
				 path, setup->version >> 8, setup->version & 0xff);
	if (!(setup->xloadflags & XLF_KERNEL_64))
		return error_set(err, -ENOTSUP, "--kernel %s: a 32-bit kernel: take a 64-bit one",
				 path);
	if (!(setup->loadflags & LOADED_HIGH))
		return error_set(err, -ENOTSUP, "--kernel %s: a zImage: take a bzImage", path);
	return 0;
}

static int bzimage_parse(struct boot_plan *plan, const uint8_t *head, struct error *err)
{
	struct setup_header *setup = &plan->setup;
	uint64_t header_bytes, offset, bytes, memory;
	int ret;

	/* boot.rst: the header ends at 0x202 plus the byte at 0x201; later fields read as 0. */
	header_bytes = SETUP_END_OFFSET - SETUP_OFFSET + (uint64_t)head[SETUP_END_OFFSET - 1];
	if (header_bytes > sizeof(*setup))
		header_bytes = sizeof(*setup);
	memcpy(setup, head + SETUP_OFFSET, header_bytes);
	ret = check_header(plan, err);
	if (ret)
		return ret;

	/* Behind syssize there may be a signature; it is no part of the kernel. */
	offset = ((setup->setup_sects ? setup->setup_sects : DEFAULT_SETUP_SECTS) + 1UL) *
		 SECTOR_BYTES;
	bytes = setup->syssize * 16UL;
	if (bytes <= ENTRY_64_OFFSET || setup->payload_offset > bytes ||
	    setup->payload_length > bytes - setup->payload_offset)
		return error_set(err, -EINVAL, "--kernel %s: its boot header contradicts itself",
				 plan->kernel.path);
	if (!boot_fits(offset, bytes, plan->kernel.size_bytes))
		return error_set(err, -EINVAL,
				 "--kernel %s: truncated: %llu bytes, its header promises %llu",
				 plan->kernel.path, (unsigned long long)plan->kernel.size_bytes,
				 (unsigned long long)(offset + bytes));
	memory = bytes > setup->init_size ? bytes : setup->init_size;
	ret = choose_address(plan, memory, &plan->segment[0].gpa, err);
	if (ret)
		return ret;
	plan->segment[0].offset = offset;
	plan->segment[0].file_bytes = bytes;
	plan->segment[0].mem_bytes = bytes; /* the kernel clears the rest of init_size itself */
	plan->nsegments = 1;
	plan->entry_gpa = plan->segment[0].gpa + ENTRY_64_OFFSET;
	plan->kernel_end_gpa = plan->segment[0].gpa + memory;
	plan->initrd_max_gpa = setup->xloadflags & XLF_CAN_BE_LOADED_ABOVE_4G
				       ? LAYOUT_LOW_RAM_END_GPA - 1
				       : setup->initrd_addr_max;
	plan->cmdline_max_bytes = setup->cmdline_size < LAYOUT_CMDLINE_BYTES
					  ? setup->cmdline_size
					  : LAYOUT_CMDLINE_BYTES - 1;
	return 0;
}

static int bzimage_hand_over(const struct boot_plan *plan, const struct ram *ram,
			     struct boot_entry *entry, struct error *err)
{
	struct boot_params params = {0};

	params.hdr = plan->setup;
	params.hdr.type_of_loader = LOADER_UNDEFINED;
	params.hdr.code32_start = (uint32_t)plan->segment[0].gpa;
	params.hdr.cmd_line_ptr = LAYOUT_CMDLINE_GPA;
	params.hdr.setup_data = 0;
	params.hdr.ramdisk_image = (uint32_t)plan->initrd_gpa; /* below the PCI hole */
	params.hdr.ramdisk_size = (uint32_t)plan->initrd.size_bytes;
	params.acpi_rsdp_addr = LAYOUT_ACPI_GPA;
	for (uint32_t i = 0; i < plan->nmemmap; i++)
		params.e820_table[i] = (struct boot_e820_entry){
			plan->memmap[i].gpa, plan->memmap[i].size_bytes, plan->memmap[i].type};
	params.e820_entries = (uint8_t)plan->nmemmap;
	entry->long_mode = true;
	entry->rip = plan->entry_gpa;
	entry->rsi = LAYOUT_BOOT_PARAMS_GPA;
	return boot_write(ram, LAYOUT_BOOT_PARAMS_GPA, &params, sizeof(params), err);
}

const struct boot_loader boot_bzimage = {bzimage_claims, bzimage_parse, bzimage_hand_over};
