/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Uncompressed ELF kernels by PVH: Xen's x86/HVM direct boot ABI (docs/misc/pvh.pandoc,
 * include/public/arch-x86/hvm/start_info.h). */
#include "vmm/x86/boot_loader.h"
#include "vmm/x86/layout.h"
#include <elf.h>
#include <errno.h>
#include <string.h>

#define XEN_ELFNOTE_PHYS32_ENTRY 18
#define NOTES_MAX_BYTES		 16384
#define PHDRS_MAX		 64
/* Linux' COMMAND_LINE_SIZE; PVH has no field for it, and a longer one would be cut silently. */
#define CMDLINE_MAX_BYTES  2047
#define START_INFO_MAGIC   0x336ec578
#define START_INFO_VERSION 1

struct start_info {
	uint32_t magic, version, flags, nmodules;
	uint64_t modules_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t memmap_gpa; /* from version 1 on */
	uint32_t nmemmap, reserved;
};
struct start_module {
	uint64_t gpa, size_bytes, cmdline_gpa, reserved;
};
struct start_memmap {
	uint64_t gpa, size_bytes;
	uint32_t type, reserved;
};

/* What is written at LAYOUT_START_INFO_GPA in one piece. */
struct hand_over {
	struct start_info info;
	struct start_module initrd;
	struct start_memmap memmap[BOOT_MAX_MEMMAP];
};
_Static_assert(sizeof(struct start_info) == 56, "PVH ABI");
_Static_assert(LAYOUT_START_INFO_GPA + sizeof(struct hand_over) <= LAYOUT_BOOT_PARAMS_GPA, "room");

static bool elf_claims(const uint8_t *head)
{
	return !memcmp(head, ELFMAG, SELFMAG);
}

static int bad(const struct boot_plan *plan, struct error *err, const char *what)
{
	return error_set(err, -EINVAL, "--kernel %s: %s", plan->kernel.path, what);
}

static int check_header(const struct boot_plan *plan, const Elf64_Ehdr *ehdr, struct error *err)
{
	if (ehdr->e_ident[EI_CLASS] == ELFCLASS32)
		return bad(plan, err, "a 32-bit ELF file: take a 64-bit kernel");
	if (ehdr->e_ident[EI_CLASS] != ELFCLASS64 || ehdr->e_ident[EI_DATA] != ELFDATA2LSB ||
	    ehdr->e_machine != EM_X86_64)
		return bad(plan, err, "an ELF file, but not for x86_64");
	if (ehdr->e_type != ET_EXEC && ehdr->e_type != ET_DYN)
		return bad(plan, err, "an ELF file, but no executable: take vmlinux");
	if (ehdr->e_phentsize != sizeof(Elf64_Phdr) || !ehdr->e_phnum || ehdr->e_phnum > PHDRS_MAX)
		return bad(plan, err, "its ELF program headers have no valid size or number");
	if (!boot_fits(ehdr->e_phoff, ehdr->e_phnum * sizeof(Elf64_Phdr), plan->kernel.size_bytes))
		return bad(plan, err, "truncated: its ELF program headers are not in the file");
	return 0;
}

static bool overlaps(const struct boot_segment *a, const struct boot_segment *b)
{
	return a->gpa < b->gpa + b->mem_bytes && b->gpa < a->gpa + a->mem_bytes;
}

static int add_segment(struct boot_plan *plan, const Elf64_Phdr *phdr, struct error *err)
{
	struct boot_segment *seg = &plan->segment[plan->nsegments];

	if (!phdr->p_memsz)
		return 0;
	if (plan->nsegments == BOOT_MAX_SEGMENTS)
		return bad(plan, err, "more segments than any kernel has");
	if (phdr->p_filesz > phdr->p_memsz)
		return bad(plan, err, "a segment is larger in the file than in memory");
	if (!boot_fits(phdr->p_offset, phdr->p_filesz, plan->kernel.size_bytes))
		return bad(plan, err, "truncated: a segment is not in the file");
	if (phdr->p_paddr < LAYOUT_KERNEL_MIN_GPA)
		return bad(plan, err,
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
		if (overlaps(&plan->segment[i], seg))
			return bad(plan, err, "two segments overlap in memory");
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
static int find_entry(struct boot_plan *plan, const Elf64_Phdr *phdr, struct error *err)
{
	uint8_t notes[NOTES_MAX_BYTES];
	uint64_t align = phdr->p_align == 8 ? 8 : 4, at = 0;
	int ret;

	if (!boot_fits(phdr->p_offset, phdr->p_filesz, plan->kernel.size_bytes))
		return bad(plan, err, "truncated: its ELF notes are not in the file");
	if (phdr->p_filesz > sizeof(notes))
		return bad(plan, err, "its ELF notes are larger than any kernel's");
	ret = boot_read(&plan->kernel, phdr->p_offset, notes, phdr->p_filesz, err);
	if (ret)
		return ret;
	while (boot_fits(at, sizeof(Elf64_Nhdr), phdr->p_filesz)) {
		Elf64_Nhdr note;
		uint64_t name = at + sizeof(note), desc;

		memcpy(&note, notes + at, sizeof(note));
		desc = align_up(name + note.n_namesz, align); /* 32-bit sizes: cannot wrap */
		if (!boot_fits(desc, note.n_descsz, phdr->p_filesz))
			return bad(plan, err, "an ELF note is longer than its segment");
		if (note.n_type == XEN_ELFNOTE_PHYS32_ENTRY && note.n_namesz == 4 &&
		    !memcmp(notes + name, "Xen", 4)) {
			if (note.n_descsz != 4 && note.n_descsz != 8)
				return bad(plan, err, "its PVH note has neither 4 nor 8 bytes");
			memcpy(&plan->entry_gpa, notes + desc, note.n_descsz);
		}
		at = align_up(desc + note.n_descsz, align);
	}
	return 0;
}

static bool entry_loaded(const struct boot_plan *plan)
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
	ret = check_header(plan, &ehdr, err);
	if (!ret)
		ret = boot_read(&plan->kernel, ehdr.e_phoff, phdr, ehdr.e_phnum * sizeof(*phdr),
				err);
	for (uint32_t i = 0; !ret && i < ehdr.e_phnum; i++) {
		if (phdr[i].p_type == PT_LOAD)
			ret = add_segment(plan, &phdr[i], err);
		else if (phdr[i].p_type == PT_NOTE)
			ret = find_entry(plan, &phdr[i], err);
	}
	if (ret)
		return ret;
	if (!plan->entry_gpa)
		return bad(plan, err,
			   "an ELF file without a PVH entry (CONFIG_PVH): take its bzImage");
	if (!entry_loaded(plan))
		return bad(plan, err, "its PVH entry is in none of its segments");
	plan->initrd_max_gpa = LAYOUT_LOW_RAM_END_GPA - 1;
	plan->cmdline_max_bytes = CMDLINE_MAX_BYTES;
	return 0;
}

static int elf_hand_over(const struct boot_plan *plan, const struct ram *ram,
			 struct boot_entry *entry, struct error *err)
{
	const uint64_t at = LAYOUT_START_INFO_GPA;
	struct hand_over out = {
		.info = {.magic = START_INFO_MAGIC,
			 .version = START_INFO_VERSION,
			 .cmdline_gpa = LAYOUT_CMDLINE_GPA,
			 .rsdp_gpa = LAYOUT_ACPI_GPA,
			 .memmap_gpa = at + offsetof(struct hand_over, memmap),
			 .nmemmap = plan->nmemmap},
	};

	if (plan->initrd.fd >= 0) {
		out.info.nmodules = 1;
		out.info.modules_gpa = at + offsetof(struct hand_over, initrd);
		out.initrd.gpa = plan->initrd_gpa;
		out.initrd.size_bytes = plan->initrd.size_bytes;
	}
	for (uint32_t i = 0; i < plan->nmemmap; i++)
		out.memmap[i] = (struct start_memmap){
			plan->memmap[i].gpa, plan->memmap[i].size_bytes, plan->memmap[i].type, 0};
	entry->rip = plan->entry_gpa;
	entry->rbx = at;
	return boot_write(ram, at, &out, sizeof(out), err);
}

const struct boot_loader boot_elf = {elf_claims, elf_parse, elf_hand_over};
