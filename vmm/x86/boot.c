/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/x86/boot.h"
#include "vmm/vm.h"
#include "vmm/x86/acpi.h"
#include "vmm/x86/boot_loader.h"
#include "vmm/x86/layout.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define PAGE_BYTES	 4096UL
#define LARGE_PAGE_BYTES (2UL << 20)
#define MIB		 (1UL << 20)

static const struct boot_loader *const loader_table[] = {&boot_bzimage, &boot_elf};

/* Selectors and descriptors the 64-bit boot protocol asks for; PVH leaves the selectors open. */
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

int boot_read(const struct boot_file *file, uint64_t offset, void *to, uint64_t size_bytes,
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

int boot_write(const struct ram *ram, uint64_t gpa, const void *from, uint64_t size_bytes,
	       struct error *err)
{
	int ret = ram_write(ram, gpa, from, size_bytes);

	return ret ? error_set(err, ret, "no RAM at GPA 0x%llx for the boot tables",
			       (unsigned long long)gpa)
		   : 0;
}

static int file_open(struct boot_file *file, const char *option, const char *path,
		     struct error *err)
{
	struct stat st;

	file->path = path;
	/* Without O_NONBLOCK a FIFO would hold us here for ever. */
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
	for (size_t i = 0; i < sizeof(loader_table) / sizeof(loader_table[0]); i++) {
		if (loader_table[i]->claims(head)) {
			plan->loader = loader_table[i];
			return plan->loader->parse(plan, head, err);
		}
	}
	return error_set(err, -EINVAL,
			 "--kernel %s: neither a Linux bzImage nor an uncompressed ELF kernel",
			 plan->kernel.path);
}

/* The protocol wants it as high as possible: early allocations of the kernel come from below. */
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

/* Files that were opened here are closed again on failure: the next try takes what the paths are then. */
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

/* The kernel writes straight into guest RAM: no copy of ours in between. */
static int place_segment(const struct ram *ram, const struct boot_file *file,
			 const struct boot_segment *seg, struct error *err)
{
	uint8_t *hva = ram_ptr(ram, seg->gpa, seg->mem_bytes);
	int ret;

	if (!hva)
		return error_set(err, -EFAULT, "%s: no RAM at GPA 0x%llx, %llu bytes", file->path,
				 (unsigned long long)seg->gpa, (unsigned long long)seg->mem_bytes);
	ret = boot_read(file, seg->offset, hva, seg->file_bytes, err);
	/* That is guest RAM, and the file is as it should be. */
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

/* Flat segments; code is 64-bit or 32-bit as the entry wants it. */
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

/* 4 GiB mapped one to one: boot.rst asks for kernel, boot_params and command line at least. */
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

int boot_place(struct vm *vm, struct boot_files *files, struct boot_entry *entry, struct error *err)
{
	const struct ram *ram = &vm->ram;
	struct arch_pci_layout pci;
	struct boot_plan plan;
	int ret = plan_make(&plan, files, vm->opt, ram->config.size_bytes, err);

	if (ret)
		return ret;
	memset(entry, 0, sizeof(*entry));
	entry->rsp = LAYOUT_BOOT_STACK_GPA;
	arch_pci_layout(vm, &pci);
	ret = place_files(&plan, ram, err);
	if (!ret)
		ret = plan.loader->hand_over(&plan, ram, entry, err);
	if (!ret)
		ret = acpi_write(ram, vm->opt->cpus, vm->pci ? &pci : NULL, vm->opt->s3, err);
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
