/* SPDX-License-Identifier: GPL-2.0-or-later */
/* From kernel file to guest RAM: boot_check() makes a plan from the headers, boot_place() makes it again and carries
 * it out. Each kernel format has a row: bzImage (Linux Documentation/arch/x86/boot.rst, 64-bit protocol, and
 * zero-page.rst) and ELF with PVH (Xen docs/misc/pvh.pandoc, include/public/arch-x86/hvm/start_info.h).
 * Headers are hostile: every offset and length is checked before it is used, sums in a way that cannot wrap. */
#include "vmm/x86/x86.h"
#include "vmm/base/bytes.h"
#include "vmm/vm.h"
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES	 4096UL
#define LARGE_PAGE_BYTES (2UL << 20)
#define MIB		 (1UL << 20)

#define BOOT_HEAD_BYTES	  4096 /* of the kernel file, read once: enough for every header */
#define BOOT_MAX_SEGMENTS 32
#define BOOT_MAX_MEMMAP	  8

/* A piece of the kernel file; the rest of mem_bytes is zeroed. */
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
	uint64_t kernel_end_gpa;    /* the initrd is above this ... */
	uint64_t initrd_max_gpa;    /* ... and its last byte not above this */
	uint64_t cmdline_max_bytes; /* without the final zero */
	struct setup_header setup;  /* bzImage */
	/* From boot.c: */
	uint64_t initrd_gpa;
	struct boot_memmap memmap[BOOT_MAX_MEMMAP];
	uint32_t nmemmap;
};

struct boot_loader {
	bool (*claims)(const uint8_t *head); /* BOOT_HEAD_BYTES; zeroes follow a shorter file */
	int (*parse)(struct boot_plan *plan, const uint8_t *head, struct error *err);
	/* Writes the structures that tell the kernel of initrd, command line and memory. */
	int (*hand_over)(const struct boot_plan *plan, const struct ram *ram,
			 struct boot_entry *entry, struct error *err);
};

/* [offset, offset + size) is within [0, end); does not wrap. */
static bool boot_fits(uint64_t offset, uint64_t size_bytes, uint64_t end)
{
	return offset <= end && size_bytes <= end - offset;
}
/* The advice for [gpa, gpa + size), which is not in RAM and cannot be above limit_gpa. */
static const char *boot_way_out(uint64_t gpa, uint64_t size_bytes, uint64_t limit_gpa)
{
	return boot_fits(gpa, size_bytes, limit_gpa)
		       ? "give it more with --memory size="
		       : "it cannot lie higher, whatever --memory size= is: take a smaller one";
}

static int boot_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t size_bytes,
		     struct error *err)
{
	uint8_t *at = to;

	while (size_bytes) {
		ssize_t n = pread(file->fd, at, size_bytes, (off_t)offset);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return error_set(err, -errno, "cannot read %s: %s", file->path,
					 strerror(errno));
		if (!n)
			return error_set(err, -EINVAL,
					 "%s ends at byte %llu, before what its headers promise: "
					 "truncated, or changed while it was read",
					 file->path, (unsigned long long)offset);
		at += n;
		offset += (uint64_t)n;
		size_bytes -= (uint64_t)n;
	}
	return 0;
}

static int boot_write(const struct ram *ram, uint64_t gpa, const void *from, uint64_t size_bytes,
		      struct error *err)
{
	int ret = ram_write(ram, gpa, from, size_bytes);

	return ret ? error_set(err, ret, "no RAM at GPA 0x%llx for the boot tables",
			       (unsigned long long)gpa)
		   : 0;
}

static int refuse(const struct boot_plan *plan, struct error *err, const char *what)
{
	return error_set(err, -EINVAL, "--kernel %s: %s", plan->kernel.path, what);
}

/* bzImage */

#define SETUP_OFFSET	    0x1f1
#define SETUP_END_OFFSET    0x202      /* the byte before it says how much of the header follows */
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

/* The kernel's preferred address, or if it is relocatable the lowest one that fits. */
static int bzimage_choose_address(const struct boot_plan *plan, uint64_t size_bytes, uint64_t *gpa,
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

static int bzimage_check_header(const struct boot_plan *plan, struct error *err)
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
	ret = bzimage_check_header(plan, err);
	if (ret)
		return ret;

	/* A signature may follow syssize; it is not part of the kernel. */
	offset = ((setup->setup_sects ? setup->setup_sects : DEFAULT_SETUP_SECTS) + 1UL) *
		 SECTOR_BYTES;
	bytes = setup->syssize * 16UL;
	if (bytes <= ENTRY_64_OFFSET || setup->payload_offset > bytes ||
	    setup->payload_length > bytes - setup->payload_offset)
		return refuse(plan, err, "its boot header contradicts itself");
	if (!boot_fits(offset, bytes, plan->kernel.size_bytes))
		return error_set(err, -EINVAL,
				 "--kernel %s: truncated: %llu bytes, its header promises %llu",
				 plan->kernel.path, (unsigned long long)plan->kernel.size_bytes,
				 (unsigned long long)(offset + bytes));
	memory = bytes > setup->init_size ? bytes : setup->init_size;
	ret = bzimage_choose_address(plan, memory, &plan->segment[0].gpa, err);
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

static const struct boot_loader boot_bzimage = {bzimage_claims, bzimage_parse, bzimage_hand_over};

/* ELF */

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX_BYTES		 16384
#define PHDRS_MAX		 64
/* Linux' COMMAND_LINE_SIZE; PVH has no field for it, and a longer one would be cut silently. */
#define PVH_CMDLINE_MAX_BYTES 2047
#define START_INFO_MAGIC      0x336ec578
#define START_INFO_VERSION    1

struct pvh_start_info {
	uint32_t magic, version, flags, nmodules;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t memmap_gpa; /* from version 1 on */
	uint32_t nmemmap, reserved;
};
struct pvh_start_module {
	uint64_t gpa, size_bytes, cmdline_gpa, reserved;
};
struct pvh_start_memmap {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

/* What is written at LAYOUT_START_INFO_GPA in one piece. */
struct pvh_hand_over {
	struct pvh_start_info info;
	struct pvh_start_module initrd;
	struct pvh_start_memmap memmap[BOOT_MAX_MEMMAP];
};
_Static_assert(sizeof(struct pvh_start_info) == 56, "PVH ABI");
_Static_assert(LAYOUT_START_INFO_GPA + sizeof(struct pvh_hand_over) <= LAYOUT_BOOT_PARAMS_GPA,
	       "room");

static bool elf_claims(const uint8_t *head)
{
	return !memcmp(head, ELFMAG, SELFMAG);
}

static int elf_check_header(const struct boot_plan *plan, const Elf64_Ehdr *ehdr, struct error *err)
{
	if (ehdr->e_ident[EI_CLASS] == ELFCLASS32)
		return refuse(plan, err, "a 32-bit ELF file: take a 64-bit kernel");
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64)
		return refuse(plan, err, "an ELF file, but not for x86_64");
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return refuse(plan, err, "an ELF file, but no executable: take vmlinux");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || !ehdr->e_phnum || ehdr->e_phnum > PHDRS_MAX)
		return refuse(plan, err, "its ELF program headers have no valid size or number");
	if (!boot_fits(ehdr->e_phoff, ehdr->e_phnum * sizeof(Elf64_Phdr), plan->kernel.size_bytes))
		return refuse(plan, err, "truncated: its ELF program headers are not in the file");
	return 0;
}

static bool elf_overlaps(const struct boot_segment *a, const struct boot_segment *b)
{
	return a->gpa < b->gpa + b->mem_bytes && b->gpa < a->gpa + a->mem_bytes;
}

static int elf_add_segment(struct boot_plan *plan, const Elf64_Phdr *phdr, struct error *err)
{
	struct boot_segment *seg = &plan->segment[plan->nsegments];

	if (!phdr->p_memsz)
		return 0;
	if (plan->nsegments == BOOT_MAX_SEGMENTS)
		return refuse(plan, err, "more segments than any kernel has");
	if (phdr->p_filesz > phdr->p_memsz)
		return refuse(plan, err, "a segment is larger in the file than in memory");
	if (!boot_fits(phdr->p_offset, phdr->p_filesz, plan->kernel.size_bytes))
		return refuse(plan, err, "truncated: a segment is not in the file");
	if (phdr->p_paddr < LAYOUT_KERNEL_MIN_GPA)
		return refuse(plan, err,
			      "a segment wants to be below 1 MiB, where the boot tables are");
	if (!boot_fits(phdr->p_paddr, phdr->p_memsz, plan->low_ram_end_gpa))
		return error_set(
			err, -ENOSPC,
			"--kernel %s: a segment of 0x%llx bytes at GPA 0x%llx is outside "
			"of RAM: %s",
			plan->kernel.path, (unsigned long long)phdr->p_memsz,
			(unsigned long long)phdr->p_paddr,
			boot_way_out(phdr->p_paddr, phdr->p_memsz, LAYOUT_LOW_RAM_END_GPA));
	*seg = (struct boot_segment){phdr->p_paddr, phdr->p_offset, phdr->p_filesz, phdr->p_memsz};
	for (uint32_t i = 0; i < plan->nsegments; i++)
		if (elf_overlaps(&plan->segment[i], seg))
			return refuse(plan, err, "two segments overlap in memory");
	if (seg->gpa + seg->mem_bytes > plan->kernel_end_gpa)
		plan->kernel_end_gpa = seg->gpa + seg->mem_bytes;
	plan->nsegments++;
	return 0;
}

static uint64_t align_up(uint64_t value, uint64_t align)
{
	return (value + align - 1) & ~(align - 1);
}

/* One PT_NOTE; sets plan->entry_gpa if the note is there. */
static int elf_find_entry(struct boot_plan *plan, const Elf64_Phdr *phdr, struct error *err)
{
	uint8_t notes[NOTES_MAX_BYTES];
	uint64_t align = phdr->p_align == 8 ? 8 : 4, at = 0;
	int ret;

	if (!boot_fits(phdr->p_offset, phdr->p_filesz, plan->kernel.size_bytes))
		return refuse(plan, err, "truncated: its ELF notes are not in the file");
	if (phdr->p_filesz > sizeof(notes))
		return refuse(plan, err, "its ELF notes are larger than any kernel's");
	ret = boot_read(&plan->kernel, phdr->p_offset, notes, phdr->p_filesz, err);
	if (ret)
		return ret;
	while (boot_fits(at, sizeof(Elf64_Nhdr), phdr->p_filesz)) {
		Elf64_Nhdr note;
		uint64_t name = at + sizeof(note), desc;

		memcpy(&note, notes + at, sizeof(note));
		desc = align_up(name + note.n_namesz, align); /* 32-bit sizes: cannot wrap */
		if (!boot_fits(desc, note.n_descsz, phdr->p_filesz))
			return refuse(plan, err, "an ELF note is longer than its segment");
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4)) {
			if (note.n_descsz != 4 && note.n_descsz != 8)
				return refuse(plan, err, "its PVH note has neither 4 nor 8 bytes");
			memcpy(&plan->entry_gpa, notes + desc, note.n_descsz);
		}
		at = align_up(desc + note.n_descsz, align);
	}
	return 0;
}

static bool elf_entry_loaded(const struct boot_plan *plan)
{
	for (uint32_t i = 0; i < plan->nsegments; i++)
		if (plan->entry_gpa - plan->segment[i].gpa < plan->segment[i].mem_bytes)
			return true;
	return false;
}

static int elf_parse(struct boot_plan *plan, const uint8_t *head, struct error *err)
{
	Elf64_Phdr phdr[PHDRS_MAX];
	Elf64_Ehdr ehdr;
	int ret;

	memcpy(&ehdr, head, sizeof(ehdr));
	ret = elf_check_header(plan, &ehdr, err);
	if (!ret)
		ret = boot_read(&plan->kernel, ehdr.e_phoff, phdr, ehdr.e_phnum * sizeof(*phdr),
				err);
	for (uint32_t i = 0; !ret && i < ehdr.e_phnum; i++) {
		if (phdr[i].p_type == PT_LOAD)
			ret = elf_add_segment(plan, &phdr[i], err);
		else if (phdr[i].p_type == PT_NOTE)
			ret = elf_find_entry(plan, &phdr[i], err);
	}
	if (ret)
		return ret;
	if (!plan->entry_gpa)
		return refuse(plan, err,
			      "an ELF file without a PVH entry (CONFIG_PVH): take its bzImage");
	if (!elf_entry_loaded(plan))
		return refuse(plan, err, "its PVH entry is in none of its segments");
	plan->initrd_max_gpa = LAYOUT_LOW_RAM_END_GPA - 1;
	plan->cmdline_max_bytes = PVH_CMDLINE_MAX_BYTES;
	return 0;
}

static int elf_hand_over(const struct boot_plan *plan, const struct ram *ram,
			 struct boot_entry *entry, struct error *err)
{
	const uint64_t at = LAYOUT_START_INFO_GPA;
	struct pvh_hand_over out = {
		.info = {.magic = START_INFO_MAGIC,
			 .version = START_INFO_VERSION,
			 .cmdline_gpa = LAYOUT_CMDLINE_GPA,
			 .rsdp_gpa = LAYOUT_ACPI_GPA,
			 .memmap_gpa = at + offsetof(struct pvh_hand_over, memmap),
			 .nmemmap = plan->nmemmap},
	};

	if (plan->initrd.fd >= 0) {
		out.info.nmodules = 1;
		out.info.modules_gpa = at + offsetof(struct pvh_hand_over, initrd);
		out.initrd.gpa = plan->initrd_gpa;
		out.initrd.size_bytes = plan->initrd.size_bytes;
	}
	for (uint32_t i = 0; i < plan->nmemmap; i++)
		out.memmap[i] = (struct pvh_start_memmap){
			plan->memmap[i].gpa, plan->memmap[i].size_bytes, plan->memmap[i].type, 0};
	entry->rip = plan->entry_gpa;
	entry->rbx = at;
	return boot_write(ram, at, &out, sizeof(out), err);
}

static const struct boot_loader boot_elf = {elf_claims, elf_parse, elf_hand_over};

/* All formats */

static const struct boot_loader *const loader_table[] = {&boot_bzimage, &boot_elf};

static int file_open(struct boot_file *file, const char *option, const char *path,
		     struct error *err)
{
	struct stat st;

	file->path = path;
	/* Without O_NONBLOCK a FIFO would block for ever. */
	if (file->fd < 0)
		file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (file->fd < 0 || fstat(file->fd, &st))
		return error_set(err, -errno, "%s %s: %s", option, path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "%s %s: not a regular file", option, path);
	if (!st.st_size)
		return error_set(err, -EINVAL, "%s %s: the file is empty", option, path);
	file->size_bytes = (uint64_t)st.st_size;
	return 0;
}

static void file_close(struct boot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	file->fd = -1;
}

void boot_files_close(struct boot_files *files)
{
	file_close(&files->kernel);
	file_close(&files->initrd);
}

static int plan_parse_kernel(struct boot_plan *plan, struct error *err)
{
	uint8_t head[BOOT_HEAD_BYTES] = {0};
	uint64_t n = plan->kernel.size_bytes;
	int ret = boot_read(&plan->kernel, 0, head, n < sizeof(head) ? n : sizeof(head), err);

	if (ret)
		return ret;
	for (size_t i = 0; i < ARRAY_SIZE(loader_table); i++) {
		if (loader_table[i]->claims(head)) {
			plan->loader = loader_table[i];
			return plan->loader->parse(plan, head, err);
		}
	}
	return refuse(plan, err, "neither a Linux bzImage nor an uncompressed ELF kernel");
}

/* The protocol asks for the highest place: the kernel's early allocations come from below. */
static int plan_place_initrd(struct boot_plan *plan, struct error *err)
{
	uint64_t size = plan->initrd.size_bytes, limit = LAYOUT_LOW_RAM_END_GPA;
	uint64_t end = plan->low_ram_end_gpa;

	if (plan->initrd.fd < 0)
		return 0;
	if (limit - 1 > plan->initrd_max_gpa)
		limit = plan->initrd_max_gpa + 1;
	if (end > limit)
		end = limit;
	if (end >= size)
		plan->initrd_gpa = (end - size) & ~(PAGE_BYTES - 1);
	if (end < size || plan->initrd_gpa < plan->kernel_end_gpa)
		return error_set(err, -ENOSPC,
				 "--initrd %s: %llu MiB do not fit between the kernel's end at "
				 "%llu MiB and %llu MiB: %s",
				 plan->initrd.path, (unsigned long long)(size / MIB + 1),
				 (unsigned long long)(plan->kernel_end_gpa / MIB + 1),
				 (unsigned long long)(end / MIB),
				 boot_way_out(plan->kernel_end_gpa, size + PAGE_BYTES - 1, limit));
	return 0;
}

static void memmap_add(struct boot_plan *plan, uint64_t gpa, uint64_t end_gpa,
		       enum boot_memtype type)
{
	if (end_gpa > gpa)
		plan->memmap[plan->nmemmap++] = (struct boot_memmap){gpa, end_gpa - gpa, type};
}

static void plan_memmap(struct boot_plan *plan, uint64_t ram_size_bytes)
{
	uint64_t low_end = plan->low_ram_end_gpa;

	memmap_add(plan, 0, LAYOUT_EBDA_GPA, BOOT_MEM_RAM);
	memmap_add(plan, LAYOUT_EBDA_GPA, LAYOUT_VGA_GPA, BOOT_MEM_RESERVED);
	memmap_add(plan, LAYOUT_BIOS_GPA, MIB, BOOT_MEM_RESERVED);
	memmap_add(plan, MIB, low_end, BOOT_MEM_RAM);
	memmap_add(plan, LAYOUT_IDENTITY_MAP_GPA, LAYOUT_KVM_END_GPA, BOOT_MEM_RESERVED);
	memmap_add(plan, LAYOUT_HIGH_RAM_GPA, LAYOUT_HIGH_RAM_GPA + ram_size_bytes - low_end,
		   BOOT_MEM_RAM);
}

/* On failure files that were opened here are closed again: the next try opens the paths anew. */
static int plan_make(struct boot_plan *plan, struct boot_files *files, const struct options *opt,
		     uint64_t ram_size_bytes, struct error *err)
{
	int ret;

	memset(plan, 0, sizeof(*plan));
	plan->kernel = files->kernel;
	plan->initrd = files->initrd;
	plan->cmdline = opt->append ? opt->append : "";
	plan->low_ram_end_gpa =
		ram_size_bytes < LAYOUT_LOW_RAM_END_GPA ? ram_size_bytes : LAYOUT_LOW_RAM_END_GPA;
	if (!opt->kernel)
		return error_set(err, -EINVAL,
				 "--kernel is missing: the guest needs a bzImage or an ELF kernel");
	if (ram_size_bytes < 2 * MIB)
		return error_set(err, -EINVAL, "--memory size=: a guest needs at least 2 MiB");
	ret = file_open(&plan->kernel, "--kernel", opt->kernel, err);
	if (!ret && opt->initrd)
		ret = file_open(&plan->initrd, "--initrd", opt->initrd, err);
	if (!ret)
		ret = plan_parse_kernel(plan, err);
	if (!ret && strlen(plan->cmdline) > plan->cmdline_max_bytes)
		ret = error_set(err, -E2BIG, "--append: %zu bytes, but %s takes at most %llu",
				strlen(plan->cmdline), plan->kernel.path,
				(unsigned long long)plan->cmdline_max_bytes);
	if (!ret)
		ret = plan_place_initrd(plan, err);
	plan_memmap(plan, ram_size_bytes);
	if (!ret) {
		*files = (struct boot_files){plan->kernel, plan->initrd};
		return 0;
	}
	if (files->kernel.fd < 0)
		file_close(&plan->kernel);
	if (files->initrd.fd < 0)
		file_close(&plan->initrd);
	return ret;
}

int boot_check(struct boot_files *files, const struct options *opt, uint64_t ram_size_bytes,
	       struct error *err)
{
	struct boot_plan plan;

	return plan_make(&plan, files, opt, ram_size_bytes, err);
}

/* pread(2) writes straight into guest RAM, without a copy. */
static int place_segment(const struct ram *ram, const struct boot_file *file,
			 const struct boot_segment *seg, struct error *err)
{
	uint8_t *hva = ram_ptr(ram, seg->gpa, seg->mem_bytes);
	int ret;

	if (!hva)
		return error_set(err, -EFAULT, "%s: no RAM at GPA 0x%llx, %llu bytes", file->path,
				 (unsigned long long)seg->gpa, (unsigned long long)seg->mem_bytes);
	ret = boot_read(file, seg->offset, hva, seg->file_bytes, err);
	/* It is guest RAM that fails, not the file. */
	if (ret == -EFAULT && !ram_fault_reason(ram, err))
		error_set(err, ret, "guest RAM at GPA 0x%llx or behind cannot be reached",
			  (unsigned long long)seg->gpa);
	if (!ret)
		memset(hva + seg->file_bytes, 0, seg->mem_bytes - seg->file_bytes);
	return ret;
}

static int place_files(const struct boot_plan *plan, const struct ram *ram, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; i < plan->nsegments && !ret; i++)
		ret = place_segment(ram, &plan->kernel, &plan->segment[i], err);
	if (!ret && plan->initrd.fd >= 0) {
		struct boot_segment seg = {.gpa = plan->initrd_gpa,
					   .file_bytes = plan->initrd.size_bytes,
					   .mem_bytes = plan->initrd.size_bytes};

		ret = place_segment(ram, &plan->initrd, &seg, err);
	}
	if (!ret)
		ret = boot_write(ram, LAYOUT_CMDLINE_GPA, plan->cmdline, strlen(plan->cmdline) + 1,
				 err);
	return ret;
}

/* Selectors and descriptors that the 64-bit boot protocol requires; PVH leaves the selectors open. */
#define SEL_CODE 0x10
#define SEL_DATA 0x18
#define SEL_TSS	 0x20
#define CR0_PE	 (1UL << 0)
#define CR0_ET	 (1UL << 4) /* reads as one on every CPU since the 486 */
#define CR0_PG	 (1UL << 31)
#define CR4_PAE	 (1UL << 5)
#define EFER_LME (1UL << 8)
#define EFER_LMA (1UL << 10)
#define PTE_P	 (1UL << 0)
#define PTE_W	 (1UL << 1)
#define PTE_PS	 (1UL << 7)

/* Flat segments; code is 64-bit or 32-bit, as the entry needs it. */
static int place_gdt(const struct ram *ram, bool long_mode, struct error *err)
{
	const uint64_t gdt[] = {
		0,
		0,
		long_mode ? 0x00af9b000000ffff : 0x00cf9b000000ffff,
		0x00cf93000000ffff,
		0x00008b0000000067, /* a busy 32-bit TSS of 104 bytes at 0, which no one uses */
	};

	return boot_write(ram, LAYOUT_GDT_GPA, gdt, sizeof(gdt), err);
}

/* Identity map of 4 GiB: boot.rst requires kernel, boot_params and command line at least. */
static int place_page_tables(const struct ram *ram, struct error *err)
{
	enum { DIRECTORIES = 4, ENTRIES = 512 };
	uint64_t *table = ram_ptr(ram, LAYOUT_PAGE_TABLES_GPA, (2 + DIRECTORIES) * PAGE_BYTES);
	uint64_t *pml4 = table, *pdpt, *pd;

	if (!table)
		return error_set(err, -EFAULT, "no RAM at GPA 0x%lx for the page tables",
				 LAYOUT_PAGE_TABLES_GPA);
	pdpt = pml4 + ENTRIES;
	pd = pdpt + ENTRIES;
	memset(table, 0, 2 * PAGE_BYTES);
	pml4[0] = (LAYOUT_PAGE_TABLES_GPA + PAGE_BYTES) | PTE_P | PTE_W;
	for (uint64_t i = 0; i < DIRECTORIES; i++)
		pdpt[i] = (LAYOUT_PAGE_TABLES_GPA + (2 + i) * PAGE_BYTES) | PTE_P | PTE_W;
	for (uint64_t i = 0; i < (uint64_t)DIRECTORIES * ENTRIES; i++)
		pd[i] = i * LARGE_PAGE_BYTES | PTE_P | PTE_W | PTE_PS;
	return 0;
}

int boot_place(struct vm *vm, struct boot_files *files, const struct arch_pci_layout *pci,
	       struct boot_entry *entry, struct error *err)
{
	const struct ram *ram = &vm->ram;
	struct boot_plan plan;
	int ret = plan_make(&plan, files, vm->opt, ram->config.size_bytes, err);

	if (ret)
		return ret;
	memset(entry, 0, sizeof(*entry));
	entry->rsp = LAYOUT_BOOT_STACK_GPA;
	ret = place_files(&plan, ram, err);
	if (!ret)
		ret = plan.loader->hand_over(&plan, ram, entry, err);
	if (!ret)
		ret = acpi_write(ram, vm->opt->cpus, pci, vm->opt->s3, err);
	if (!ret)
		ret = place_gdt(ram, entry->long_mode, err);
	if (!ret && entry->long_mode)
		ret = place_page_tables(ram, err);
	return ret;
}

void boot_set_registers(const struct boot_entry *entry, struct kvm_sregs2 *sregs,
			struct kvm_regs *regs)
{
	const struct kvm_segment data = {.limit = UINT32_MAX,
					 .selector = SEL_DATA,
					 .type = 3, /* read, write, accessed */
					 .present = 1,
					 .db = 1,
					 .s = 1,
					 .g = 1};
	struct kvm_segment code = data;

	code.selector = SEL_CODE;
	code.type = 11; /* execute, read, accessed */
	code.db = !entry->long_mode;
	code.l = entry->long_mode;
	sregs->cs = code;
	sregs->ds = sregs->es = sregs->fs = sregs->gs = sregs->ss = data;
	sregs->tr = (struct kvm_segment){
		.limit = 0x67, .selector = SEL_TSS, .type = 11 /* busy 32-bit TSS */, .present = 1};
	sregs->ldt = (struct kvm_segment){.unusable = 1};
	sregs->gdt = (struct kvm_dtable){.base = LAYOUT_GDT_GPA, .limit = SEL_TSS + 7};
	sregs->idt = (struct kvm_dtable){0};
	sregs->cr0 = CR0_PE | CR0_ET | (entry->long_mode ? CR0_PG : 0);
	sregs->cr3 = entry->long_mode ? LAYOUT_PAGE_TABLES_GPA : 0;
	sregs->cr4 = entry->long_mode ? CR4_PAE : 0;
	sregs->efer = entry->long_mode ? EFER_LME | EFER_LMA : 0;
	sregs->flags = 0;

	memset(regs, 0, sizeof(*regs));
	regs->rip = entry->rip;
	regs->rsp = entry->rsp;
	regs->rsi = entry->rsi;
	regs->rbx = entry->rbx;
	regs->rflags = 2; /* interrupts off */
}
