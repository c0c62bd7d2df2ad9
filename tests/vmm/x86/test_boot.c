/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Kernel headers, whole and hostile, and what boot_place() leaves in RAM and registers. */
#include "tests/rig/unit.h"
#include "vmm/vm.h"
#include "vmm/x86/x86.h"
#include <asm/bootparam.h>
#include <elf.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define MIB	    (1UL << 20)
#define GIB	    (1UL << 30)
#define BZ_SETUP    1024 /* setup_sects = 1 */
#define BZ_KERNEL   2048
#define BZ_BYTES    (BZ_SETUP + BZ_KERNEL)
#define ELF_BYTES   4096
#define ELF_NOTES   512
#define ELF_DATA    1024
#define ELF_ENTRY   0x200010
#define INITRD_SIZE 5000

static struct vm vm;
static struct options opt;
static struct error err;
static struct boot_files files = BOOT_FILES_NONE;
static uint8_t image[8192];
static int kernel_fd, initrd_fd;
static char kernel_path[32], initrd_path[32];

/* Files without a folder: /proc/self/fd/N opens a memfd as the regular file it is. */
static int new_file(const char *name, char *path, size_t size)
{
	int fd = memfd_create(name, 0);

	ck_assert_int_ge(fd, 0);
	snprintf(path, size, "/proc/self/fd/%d", fd);
	return fd;
}

static void fill_file(int fd, const void *bytes, size_t size)
{
	ck_assert_int_eq(ftruncate(fd, 0), 0);
	ck_assert_int_eq(pwrite(fd, bytes, size, 0), (int)size);
}

/* RAM by hand: sparse, so that 5 GiB cost nothing. */
static void set_ram(uint64_t size)
{
	uint64_t low = size < LAYOUT_LOW_RAM_END_GPA ? size : LAYOUT_LOW_RAM_END_GPA;
	uint8_t *hva = mmap(NULL, size, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(hva, MAP_FAILED);
	if (vm.ram.hva)
		munmap(vm.ram.hva, vm.ram.config.size_bytes);
	memset(&vm, 0, sizeof(vm));
	vm.opt = &opt;
	vm.ram.hva = hva;
	vm.ram.config.size_bytes = size;
	vm.ram.region[0] = (struct ram_region){0, low, hva};
	vm.ram.region[1] = (struct ram_region){LAYOUT_HIGH_RAM_GPA, size - low, hva + low};
	vm.ram.nregions = size > low ? 2 : 1;
}

static void setup(void)
{
	kernel_fd = new_file("kernel", kernel_path, sizeof(kernel_path));
	initrd_fd = new_file("initrd", initrd_path, sizeof(initrd_path));
	opt = (struct options){.kernel = kernel_path, .append = "console=ttyS0", .cpus = 2};
	set_ram(256 * MIB);
}

static void teardown(void)
{
	close(kernel_fd);
	close(initrd_fd);
}

static void make_bzimage(void)
{
	struct setup_header setup = {.setup_sects = 1,
				     .syssize = BZ_KERNEL / 16,
				     .boot_flag = 0xaa55,
				     .jump = 0x6aeb, /* header up to 0x202 + 0x6a */
				     .header = 0x53726448,
				     .version = 0x20f,
				     .loadflags = LOADED_HIGH,
				     .initrd_addr_max = 0x7fffffff,
				     .kernel_alignment = 2 * MIB,
				     .relocatable_kernel = 1,
				     .xloadflags = XLF_KERNEL_64,
				     .cmdline_size = 2047,
				     .payload_offset = 16,
				     .payload_length = 32,
				     .setup_data =
					     0x1234567890, /* ours to set: must not get through */
				     .pref_address = 16 * MIB,
				     .init_size = 3 * MIB};

	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 7 + i / 256);
	memset(image, 0xff, BZ_SETUP);
	memcpy(image + 0x1f1, &setup, sizeof(setup));
	fill_file(kernel_fd, image, BZ_BYTES);
}

static void put_note(uint8_t *at, uint32_t type, uint64_t value)
{
	Elf64_Nhdr note = {4, 8, type};

	memcpy(at, &note, sizeof(note));
	memcpy(at + 12, "Xen", 4);
	memcpy(at + 16, &value, 8);
}

/* Two PT_LOADs (the second with bss) and a PT_NOTE whose second note is the entry. */
static void make_elf(void)
{
	Elf64_Ehdr ehdr = {.e_ident = ELFMAG,
			   .e_type = ET_EXEC,
			   .e_machine = EM_X86_64,
			   .e_phoff = sizeof(ehdr),
			   .e_phentsize = sizeof(Elf64_Phdr),
			   .e_phnum = 3};
	Elf64_Phdr phdr[3] = {
		{.p_type = PT_LOAD,
		 .p_offset = ELF_DATA,
		 .p_paddr = 0x200000,
		 .p_filesz = 1024,
		 .p_memsz = 1024},
		{.p_type = PT_LOAD,
		 .p_offset = ELF_DATA + 1024,
		 .p_paddr = 0x400000,
		 .p_filesz = ELF_BYTES - ELF_DATA - 1024,
		 .p_memsz = 0x10000},
		{.p_type = PT_NOTE, .p_offset = ELF_NOTES, .p_filesz = 48, .p_align = 4},
	};

	for (size_t i = 0; i < sizeof(image); i++)
		image[i] = (uint8_t)(i * 5 + i / 256);
	ehdr.e_ident[EI_CLASS] = ELFCLASS64;
	ehdr.e_ident[EI_DATA] = ELFDATA2LSB;
	memcpy(image, &ehdr, sizeof(ehdr));
	memcpy(image + sizeof(ehdr), phdr, sizeof(phdr));
	put_note(image + ELF_NOTES, 6, 0);
	put_note(image + ELF_NOTES + 24, 18, ELF_ENTRY);
	fill_file(kernel_fd, image, ELF_BYTES);
}

static void *gpa(uint64_t at, uint64_t size)
{
	void *p = ram_ptr(&vm.ram, at, size);

	ck_assert_ptr_nonnull(p);
	return p;
}

static int check(void)
{
	err.msg[0] = 0;
	boot_files_close(&files);
	return boot_check(&files, &opt, vm.ram.config.size_bytes, &err);
}

static void check_refused(const char *what)
{
	ck_assert_int_lt(check(), 0);
	ck_assert_msg(strstr(err.msg, what), "'%s' is not in: %s", what, err.msg);
}

static void place(struct boot_entry *entry)
{
	err.msg[0] = 0;
	boot_files_close(&files);
	ck_assert_msg(!boot_place(&vm, &files, NULL, entry, &err), "%s", err.msg);
}

/* What an MMU would make of it. */
static uint64_t translate(uint64_t cr3, uint64_t va)
{
	uint64_t *table = gpa(cr3, 4096), pte;

	for (int shift = 39; shift >= 21; shift -= 9) {
		pte = table[va >> shift & 511];
		ck_assert_uint_eq(pte & 3, 3);
		if (shift == 21) {
			ck_assert_uint_ne(pte & 0x80, 0);
			return (pte & ~0x1fffffUL) | (va & 0x1fffff);
		}
		table = gpa(pte & ~0xfffUL, 4096);
	}
	return 0;
}

static void check_flat(const struct kvm_segment *seg, uint16_t selector, bool code, bool l)
{
	uint64_t descriptor;

	ck_assert_uint_eq(seg->selector, selector);
	ck_assert_uint_eq(seg->base, 0);
	ck_assert_uint_eq(seg->limit, 0xffffffff);
	ck_assert_uint_eq(seg->type, code ? 11 : 3);
	ck_assert_uint_eq(seg->s && seg->present && seg->g, 1);
	ck_assert_uint_eq(seg->l, code && l);
	/* Reloading the selector from the GDT must give the same. */
	memcpy(&descriptor, gpa(LAYOUT_GDT_GPA + selector, 8), 8);
	ck_assert_uint_eq(descriptor >> 40 & 0xf, seg->type);
	ck_assert_uint_eq(descriptor >> 53 & 1, seg->l);
	ck_assert_uint_eq(descriptor >> 54 & 1, seg->db);
	ck_assert_uint_eq(descriptor & 0xffff, 0xffff);
	ck_assert_uint_eq(descriptor >> 48 & 0xf, 0xf);
}

TEST(bzimage_place)
{
	struct kvm_sregs2 sregs = {.apic_base = 0xfee00900, .cr0 = 0x60000010};
	struct kvm_regs regs;
	struct boot_entry entry;
	struct boot_params *params = gpa(LAYOUT_BOOT_PARAMS_GPA, sizeof(*params));
	uint8_t initrd[INITRD_SIZE];
	uint64_t at;

	make_bzimage();
	memset(initrd, 0x42, sizeof(initrd));
	fill_file(initrd_fd, initrd, sizeof(initrd));
	opt.initrd = initrd_path;
	memset(params, 0xee, sizeof(*params)); /* left from before a reset */
	place(&entry);
	ck_assert(entry.long_mode);
	ck_assert_uint_eq(entry.rip, 16 * MIB + 0x200);
	ck_assert_uint_eq(entry.rsi, LAYOUT_BOOT_PARAMS_GPA);
	ck_assert_mem_eq(gpa(16 * MIB, BZ_KERNEL), image + BZ_SETUP, BZ_KERNEL);

	ck_assert_uint_eq(params->hdr.header, 0x53726448);
	ck_assert_uint_eq(params->hdr.type_of_loader, 0xff);
	ck_assert_uint_eq(params->hdr.setup_data, 0);
	ck_assert_uint_eq(params->hdr.init_size, 3 * MIB);
	ck_assert_uint_eq(params->hdr.kernel_info_offset, 0);
	ck_assert_uint_eq(params->sentinel, 0);
	ck_assert_uint_eq(params->ext_ramdisk_image, 0);
	ck_assert_uint_eq(params->acpi_rsdp_addr, LAYOUT_ACPI_GPA);
	ck_assert_str_eq(gpa(params->hdr.cmd_line_ptr, 64), "console=ttyS0");
	at = params->hdr.ramdisk_image;
	ck_assert_uint_eq(at % 4096, 0);
	ck_assert_uint_eq(at, 256 * MIB - 8192); /* as high as there is RAM */
	ck_assert_uint_eq(params->hdr.ramdisk_size, sizeof(initrd));
	ck_assert_mem_eq(gpa(at, sizeof(initrd)), initrd, sizeof(initrd));

	boot_set_registers(&entry, &sregs, &regs);
	ck_assert_uint_eq(sregs.apic_base, 0xfee00900);
	ck_assert_uint_eq(sregs.cr0, 0x80000011);
	ck_assert_uint_eq(sregs.cr4, 0x20);
	ck_assert_uint_eq(sregs.efer, 0x500);
	ck_assert_uint_eq(regs.rip, entry.rip);
	ck_assert_uint_eq(regs.rsi, entry.rsi);
	ck_assert_uint_eq(regs.rflags, 2);
	check_flat(&sregs.cs, 0x10, true, true);
	check_flat(&sregs.ds, 0x18, false, true);
	check_flat(&sregs.es, 0x18, false, true);
	check_flat(&sregs.ss, 0x18, false, true);
	for (at = 0; at < 4 * GIB; at += 2 * MIB)
		ck_assert_uint_eq(translate(sregs.cr3, at + 0x123), at + 0x123);
}

TEST(bzimage_truncated)
{
	make_bzimage();
	ck_assert_int_eq(check(), 0);
	for (int size = BZ_BYTES - 1; size >= 0; size--) {
		ck_assert_int_eq(ftruncate(kernel_fd, size), 0);
		check_refused(kernel_path);
	}
	fill_file(kernel_fd, image, BZ_BYTES + 100); /* a signature behind it is fine */
	ck_assert_int_eq(check(), 0);
}

static const struct {
	size_t offset;
	uint64_t value;
	size_t size;
	const char *says;
} bzimage_hostile[] = {
#define FIELD(m, v, says)                                                                        \
	{                                                                                        \
		offsetof(struct setup_header, m), v, sizeof(((struct setup_header *)0)->m), says \
	}
	FIELD(header, 0, "neither"),
	FIELD(boot_flag, 0, "neither"),
	FIELD(version, 0x20b, "boot protocol 2.11"),
	FIELD(xloadflags, 0, "32-bit"),
	FIELD(loadflags, 0, "zImage"),
	FIELD(setup_sects, 255, "truncated"),
	FIELD(setup_sects, 0, "truncated"), /* means 4 */
	FIELD(syssize, 0xffffffff, "truncated"),
	FIELD(syssize, 0, "contradicts"),
	FIELD(payload_offset, 0xffffffff, "contradicts"),
	FIELD(payload_length, 0xffffffff, "contradicts"),
	FIELD(init_size, 0xffffffff, "--memory"),
	FIELD(pref_address, 0xfffffffffffff000, NULL), /* relocated */
	FIELD(pref_address, 0, NULL),
	FIELD(cmdline_size, 5, "--append"),
	FIELD(cmdline_size, 0xffffffff, NULL),
#undef FIELD
};

TEST_EACH(bzimage_hostile, bzimage_hostile)
{
	make_bzimage();
	memcpy(image + 0x1f1 + bzimage_hostile[_i].offset, &bzimage_hostile[_i].value,
	       bzimage_hostile[_i].size);
	fill_file(kernel_fd, image, BZ_BYTES);
	if (bzimage_hostile[_i].says)
		check_refused(bzimage_hostile[_i].says);
	else
		ck_assert_msg(!check(), "%s", err.msg);
}

TEST(bzimage_relocation)
{
	struct setup_header *setup = (void *)(image + 0x1f1);
	struct boot_entry entry;

	make_bzimage();
	set_ram(8 * MIB); /* less than where it prefers to be */
	place(&entry);
	ck_assert_uint_eq(entry.rip, 2 * MIB + 0x200);
	setup->kernel_alignment = 3 * MIB;
	fill_file(kernel_fd, image, BZ_BYTES);
	check_refused("power of two");
	setup->kernel_alignment = 0;
	fill_file(kernel_fd, image, BZ_BYTES);
	check_refused("power of two");
	setup->relocatable_kernel = 0;
	fill_file(kernel_fd, image, BZ_BYTES);
	check_refused("--memory");
}

/* Usable and reserved ranges, sorted, without overlap; RAM above 4 GiB behind the hole. */
TEST_RANGE(e820, 0, 5)
{
	static const uint64_t sizes[] = {2 * MIB, 256 * MIB, 3 * GIB, 3 * GIB + 2 * MIB, 5 * GIB};
	struct boot_params *params;
	struct boot_entry entry;
	uint64_t usable = 0, end = 0;

	make_bzimage();
	((struct setup_header *)(image + 0x1f1))->init_size = 4096;
	((struct setup_header *)(image + 0x1f1))->kernel_alignment = 4096;
	fill_file(kernel_fd, image, BZ_BYTES);
	set_ram(sizes[_i]);
	place(&entry);
	params = gpa(LAYOUT_BOOT_PARAMS_GPA, sizeof(*params));
	for (uint32_t i = 0; i < params->e820_entries; i++) {
		struct boot_e820_entry e = params->e820_table[i];

		ck_assert_uint_ge(e.addr, end);
		ck_assert_uint_gt(e.size, 0);
		end = e.addr + e.size;
		if (e.type == 1) {
			ck_assert_ptr_nonnull(ram_ptr(&vm.ram, e.addr, e.size));
			usable += e.size;
		}
	}
	ck_assert_uint_eq(params->e820_table[0].size, 0x9fc00);
	ck_assert_uint_eq(usable, sizes[_i] - (MIB - 0x9fc00));
	ck_assert_uint_eq(end, sizes[_i] > 3 * GIB ? sizes[_i] + GIB : LAYOUT_KVM_END_GPA);
}

TEST(initrd)
{
	struct boot_entry entry;
	struct boot_params *params;

	make_bzimage();
	opt.initrd = initrd_path;
	check_refused("empty");
	ck_assert_int_eq(ftruncate(initrd_fd, 400L << 20), 0);
	check_refused("give it more with --memory size=");
	/* What no RAM makes room for. */
	ck_assert_int_eq(ftruncate(initrd_fd, 3L << 30), 0);
	check_refused("take a smaller one");
	ck_assert_ptr_null(strstr(err.msg, "give it more"));
	/* 16 MiB + 3 MiB of kernel leave 237 MiB. */
	ck_assert_int_eq(ftruncate(initrd_fd, 237L << 20), 0);
	ck_assert_int_eq(check(), 0);
	ck_assert_int_eq(ftruncate(initrd_fd, (237L << 20) + 1), 0);
	check_refused("--memory");
	ck_assert_int_eq(ftruncate(initrd_fd, 4096), 0);
	set_ram(5 * GIB); /* initrd_addr_max counts, not RAM */
	place(&entry);
	params = gpa(LAYOUT_BOOT_PARAMS_GPA, sizeof(*params));
	ck_assert_uint_eq(params->hdr.ramdisk_image, 0x7ffff000);
	((struct setup_header *)(image + 0x1f1))->xloadflags |= XLF_CAN_BE_LOADED_ABOVE_4G;
	fill_file(kernel_fd, image, BZ_BYTES);
	place(&entry);
	ck_assert_uint_eq(params->hdr.ramdisk_image, 0xbffff000);
	opt.initrd = "/nonexistent/initrd";
	check_refused("/nonexistent/initrd");
	opt.initrd = "/proc";
	check_refused("regular");
}

TEST(kernel_file)
{
	opt.kernel = NULL;
	check_refused("--kernel is missing");
	opt.kernel = "/nonexistent/vmlinuz";
	check_refused("/nonexistent/vmlinuz: No such file");
	opt.kernel = "/dev/null";
	check_refused("regular");
	opt.kernel = kernel_path;
	check_refused("empty");
	memcpy(image, "\x1f\x8b garbage", 10);
	fill_file(kernel_fd, image, sizeof(image));
	check_refused("neither");
}

/* A file that shrinks between the check and the boot is told, not run. */
TEST(changed_file)
{
	struct boot_entry entry;

	make_elf();
	ck_assert_int_eq(check(), 0);
	ck_assert_int_eq(ftruncate(kernel_fd, 2000), 0);
	ck_assert_int_lt(boot_place(&vm, &files, NULL, &entry, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, kernel_path));
}

/* Where the kernel has no memory to go to, it is not the file that is to blame. */
TEST(ram_lost)
{
	struct boot_entry entry;

	make_elf();
	fill_file(kernel_fd, image, ELF_BYTES);
	ck_assert_int_eq(check(), 0);
	ck_assert_int_eq(mprotect(vm.ram.hva + 0x400000, 4096, PROT_NONE), 0);
	ck_assert_int_eq(boot_place(&vm, &files, NULL, &entry, &err), -EFAULT);
	ck_assert_msg(strstr(err.msg, "guest RAM at GPA 0x400000"), "%s", err.msg);
	boot_files_close(&files);
}

/* Hosts remove old kernels while guests run. */
TEST(removed_files)
{
	char kernel[] = "/tmp/stasis-test-XXXXXX", initrd[] = "/tmp/stasis-test-XXXXXX";
	struct boot_entry entry;

	make_elf();
	opt.kernel = kernel;
	opt.initrd = initrd;
	kernel_fd = mkstemp(kernel);
	fill_file(kernel_fd, image, ELF_BYTES);
	initrd_fd = mkstemp(initrd);
	fill_file(initrd_fd, image, 100);
	ck_assert_int_eq(check(), 0);
	unlink(kernel);
	unlink(initrd);
	ck_assert_msg(!boot_place(&vm, &files, NULL, &entry, &err), "%s", err.msg);
	ck_assert_msg(!boot_check(&files, &opt, vm.ram.config.size_bytes, &err), "%s", err.msg);
	boot_files_close(&files);
	ck_assert_int_lt(boot_place(&vm, &files, NULL, &entry, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, kernel));
	ck_assert_int_eq(files.kernel.fd, -1);
}

TEST(cmdline)
{
	static char text[4096];
	struct boot_entry entry;

	memset(text, 'x', 2047);
	opt.append = text;
	make_bzimage();
	place(&entry);
	ck_assert_str_eq(gpa(LAYOUT_CMDLINE_GPA, 4096), text);
	make_elf();
	ck_assert_int_eq(check(), 0);
	text[2047] = 'x';
	check_refused("--append: 2048 bytes");
	make_bzimage();
	check_refused("--append: 2048 bytes");
	opt.append = "";
	place(&entry);
	ck_assert_str_eq(gpa(LAYOUT_CMDLINE_GPA, 4096), "");
}

/* PVH numbers by offset, as the ABI has them. */
static uint64_t le(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

TEST(elf_place)
{
	struct kvm_sregs2 sregs = {0};
	struct kvm_regs regs;
	struct boot_entry entry;
	uint8_t *info, *module, *bss = gpa(0x400000, 0x10000);
	size_t data = ELF_BYTES - ELF_DATA - 1024;

	make_elf();
	fill_file(initrd_fd, image, 100);
	opt.initrd = initrd_path;
	memset(bss, 0xcc, 0x10000); /* left from before a reset */
	place(&entry);
	ck_assert(!entry.long_mode);
	ck_assert_uint_eq(entry.rip, ELF_ENTRY);
	ck_assert_mem_eq(gpa(0x200000, 1024), image + ELF_DATA, 1024);
	ck_assert_mem_eq(bss, image + ELF_DATA + 1024, data);
	for (size_t i = data; i < 0x10000; i++)
		ck_assert_uint_eq(bss[i], 0);

	info = gpa(entry.rbx, 56);
	ck_assert_uint_eq(le(info, 4), 0x336ec578);
	ck_assert_uint_eq(le(info + 4, 4), 1);
	ck_assert_uint_eq(le(info + 12, 4), 1);
	ck_assert_str_eq(gpa(le(info + 24, 8), 64), "console=ttyS0");
	ck_assert_uint_eq(le(info + 32, 8), LAYOUT_ACPI_GPA);
	module = gpa(le(info + 16, 8), 32);
	ck_assert_uint_eq(le(module + 8, 8), 100);
	ck_assert_mem_eq(gpa(le(module, 8), 100), image, 100);
	ck_assert_uint_eq(le(gpa(le(info + 40, 8), 24), 8), 0); /* first range: from 0 */
	ck_assert_uint_eq(le(info + 48, 4), 5);

	boot_set_registers(&entry, &sregs, &regs);
	ck_assert_uint_eq(sregs.cr0, 0x11);
	ck_assert_uint_eq(sregs.cr4 | sregs.efer | sregs.cr3, 0);
	ck_assert_uint_eq(regs.rbx, entry.rbx);
	ck_assert_uint_eq(regs.rflags, 2);
	check_flat(&sregs.cs, 0x10, true, false);
	check_flat(&sregs.ds, 0x18, false, false);
	ck_assert_uint_eq(sregs.tr.limit, 0x67);
	ck_assert_uint_eq(sregs.tr.type, 11);

	opt.initrd = NULL;
	place(&entry);
	ck_assert_uint_eq(le(info + 12, 4) + le(info + 16, 8), 0);
}

TEST(elf_truncated)
{
	make_elf();
	ck_assert_msg(!check(), "%s", err.msg);
	for (int size = ELF_BYTES - 1; size >= 0; size--) {
		ck_assert_int_eq(ftruncate(kernel_fd, size), 0);
		check_refused(kernel_path);
	}
}

#define EHDR(m) offsetof(Elf64_Ehdr, m), sizeof(((Elf64_Ehdr *)0)->m)
#define PHDR(i, m)                                                               \
	sizeof(Elf64_Ehdr) + (i) * sizeof(Elf64_Phdr) + offsetof(Elf64_Phdr, m), \
		sizeof(((Elf64_Phdr *)0)->m)
static const struct {
	size_t offset, size;
	uint64_t value;
	const char *says;
} elf_hostile[] = {
	{EI_CLASS, 1, ELFCLASS32, "32-bit"},
	{EI_CLASS, 1, 9, "not for x86_64"},
	{EI_DATA, 1, ELFDATA2MSB, "not for x86_64"},
	{EHDR(e_machine), EM_AARCH64, "not for x86_64"},
	{EHDR(e_type), ET_REL, "vmlinux"},
	{EHDR(e_phentsize), 1, "program headers"},
	{EHDR(e_phnum), 0, "program headers"},
	{EHDR(e_phnum), 65535, "program headers"},
	{EHDR(e_phoff), UINT64_MAX, "truncated"},
	{EHDR(e_phoff), UINT64_MAX - 100, "truncated"},
	{EHDR(e_phoff), ELF_BYTES - 100, "truncated"},
	{PHDR(0, p_offset), UINT64_MAX, "truncated"},
	{PHDR(0, p_filesz), UINT64_MAX, "larger in the file"},
	{PHDR(0, p_memsz), UINT64_MAX, "outside of RAM"},
	{PHDR(0, p_memsz), 1023, "larger in the file"},
	{PHDR(0, p_paddr), 0x9000, "below 1 MiB"},
	{PHDR(0, p_paddr), UINT64_MAX, "outside of RAM"},
	{PHDR(0, p_paddr), UINT64_MAX - 1000, "outside of RAM"},
	{PHDR(0, p_paddr), 256 * MIB - 1023, "outside of RAM"},
	{PHDR(0, p_paddr), 4 * GIB, "outside of RAM"},
	{PHDR(0, p_paddr), 0x40ffff, "overlap"},
	{PHDR(1, p_paddr), 0x200000, "overlap"},
	{PHDR(1, p_memsz), 0x10000000, "outside of RAM"},
	{PHDR(2, p_offset), UINT64_MAX, "truncated"},
	{PHDR(2, p_filesz), UINT64_MAX, "truncated"},
	{PHDR(2, p_filesz), 24, "without a PVH entry"},
	{PHDR(2, p_type), PT_NULL, "without a PVH entry"},
	{ELF_NOTES, 4, 0xffffffff, "longer than its segment"},
	{ELF_NOTES + 4, 4, 0xffffffff, "longer than its segment"},
	{ELF_NOTES + 24 + 4, 4, 3, "neither 4 nor 8"},
	{ELF_NOTES + 24 + 8, 4, 17, "without a PVH entry"},
	{ELF_NOTES + 24 + 12, 1, 'Y', "without a PVH entry"},
	{ELF_NOTES + 24 + 16, 8, 0, "without a PVH entry"},
	{ELF_NOTES + 24 + 16, 8, 0x1000, "in none of its segments"},
	{ELF_NOTES + 24 + 16, 8, 0x200400, "in none of its segments"},
	{ELF_NOTES + 24 + 16, 8, UINT64_MAX, "in none of its segments"},
	{ELF_NOTES + 24 + 16, 8, 0x40ffff, NULL}, /* in bss: unwise, but the guest's affair */
};

TEST_EACH(elf_hostile, elf_hostile)
{
	make_elf();
	memcpy(image + elf_hostile[_i].offset, &elf_hostile[_i].value, elf_hostile[_i].size);
	fill_file(kernel_fd, image, ELF_BYTES);
	if (elf_hostile[_i].says)
		check_refused(elf_hostile[_i].says);
	else
		ck_assert_msg(!check(), "%s", err.msg);
}

/* Any bytes in the headers: refused with a message or placed inside RAM, never worse. */
TEST_RANGE(fuzz, 0, 4)
{
	uint8_t good[sizeof(image)];
	struct boot_entry entry;
	uint32_t seed = (uint32_t)_i + 1, placed = 0;

	if (_i % 2)
		make_elf();
	else
		make_bzimage();
	memcpy(good, image, sizeof(good));
	for (int round = 0; round < 4000; round++) {
		size_t headers = _i % 2 ? 560 : 0x270, from = _i % 2 ? 0 : 0x1f1;

		memcpy(image, good, sizeof(good));
		for (int n = 0; n < 1 + round % 3; n++) {
			seed = seed * 1664525 + 1013904223;
			image[from + (seed >> 8) % (headers - from)] = (uint8_t)(seed >> 24);
		}
		fill_file(kernel_fd, image, _i % 2 ? ELF_BYTES : BZ_BYTES);
		if (check()) {
			ck_assert_uint_gt(strlen(err.msg), 0);
			continue;
		}
		if (placed++ < 200)
			place(&entry);
	}
	ck_assert_uint_gt(placed, 0);
}

UNIT_MAIN(setup, teardown)
