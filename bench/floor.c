// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The floor of bench: the least a KVM VMM has to do to start a PVH guest, to save it and to load it again.
 * One vCPU, one thread, an output-only serial port, guest RAM in a file; no QMP, no checks worth the name and
 * a raw state file. It exists to be compared with, never to be used.
 *
 *	floor [--pit] [--fsync] [--load STATE] --save STATE RAM BYTES KERNEL [COMMAND-LINE]
 *
 * SIGUSR1 saves into STATE and ends the process.
 */
#include <elf.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define HOLE_GPA       (3ull << 30)
#define HIGH_GPA       (4ull << 30)
#define START_INFO_GPA 0x6000ul
#define MAX_MSRS       128
#define MAX_CPUID      128
#define PVH_NOTE       18

/* The state file. Variable KVM structures have their array behind them. */
struct state {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_debugregs debugregs;
	struct kvm_vcpu_events events;
	struct kvm_mp_state mp_state;
	struct kvm_xcrs xcrs;
	struct kvm_lapic_state lapic;
	struct kvm_xsave xsave;
	struct kvm_irqchip irqchip[3];
	struct kvm_pit_state2 pit;
	struct kvm_clock_data clock;
	struct kvm_msrs msrs;
	struct kvm_msr_entry msr[MAX_MSRS];
	struct kvm_cpuid2 cpuid;
	struct kvm_cpuid_entry2 cpuid_entry[MAX_CPUID];
};

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa, memmap_gpa;
	uint32_t memmap_entries, reserved;
};

struct memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

struct floor {
	int kvm, vm, vcpu;
	struct kvm_run *run;
	uint8_t *ram;
	uint64_t ram_bytes;
	int pit, fsync;
	const char *save, *load;
};

static struct kvm_run *kick_run; /* for the signal handler */
static struct state state;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

static void on_kick(int signal)
{
	(void)signal;
	kick_run->immediate_exit = 1;
}

#define DO(fd, request, argument)                     \
	do {                                          \
		if (ioctl(fd, request, argument) < 0) \
			err(1, "floor: " #request);   \
	} while (0)

static void map_ram(struct floor *f, const char *path)
{
	uint64_t low = f->ram_bytes < HOLE_GPA ? f->ram_bytes : HOLE_GPA;
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	if (fd < 0 || ftruncate(fd, (off_t)f->ram_bytes))
		err(1, "floor: %s", path);
	f->ram = mmap(NULL, f->ram_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (f->ram == MAP_FAILED)
		err(1, "floor: mmap of %s", path);
	close(fd);
	struct kvm_userspace_memory_region slot = {.memory_size = low,
						   .userspace_addr = (uintptr_t)f->ram};
	DO(f->vm, KVM_SET_USER_MEMORY_REGION, &slot);
	if (low == f->ram_bytes)
		return;
	slot.slot = 1;
	slot.guest_phys_addr = HIGH_GPA;
	slot.memory_size = f->ram_bytes - low;
	slot.userspace_addr += low;
	DO(f->vm, KVM_SET_USER_MEMORY_REGION, &slot);
}

/* RAM before the interrupt controllers and the vCPU: the other way round costs milliseconds. */
static void make_vm(struct floor *f, const char *ram_path)
{
	struct kvm_pit_config pit = {0};
	long run_bytes;

	f->kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (f->kvm < 0)
		err(1, "floor: /dev/kvm");
	f->vm = ioctl(f->kvm, KVM_CREATE_VM, 0);
	if (f->vm < 0)
		err(1, "floor: KVM_CREATE_VM");
	map_ram(f, ram_path);
	DO(f->vm, KVM_CREATE_IRQCHIP, 0);
	if (f->pit)
		DO(f->vm, KVM_CREATE_PIT2, &pit);
	f->vcpu = ioctl(f->vm, KVM_CREATE_VCPU, 0);
	run_bytes = ioctl(f->kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (f->vcpu < 0 || run_bytes < 0)
		err(1, "floor: KVM_CREATE_VCPU");
	f->run = mmap(NULL, (size_t)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, f->vcpu, 0);
	if (f->run == MAP_FAILED)
		err(1, "floor: mmap of kvm_run");
	kick_run = f->run;
	signal(SIGUSR1, on_kick);
}

/* Copies the kernel's segments to their GPAs; returns its PVH entry. */
static uint32_t load_elf(struct floor *f, const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	uint32_t entry = 0;

	if (fd < 0 || fstat(fd, &st))
		err(1, "floor: %s", path);
	const uint8_t *file = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, fd, 0);
	if (file == MAP_FAILED)
		err(1, "floor: mmap of %s", path);
	close(fd);
	const Elf64_Ehdr *ehdr = (const void *)file;
	const Elf64_Phdr *phdr = (const void *)(file + ehdr->e_phoff);
	for (int i = 0; i < ehdr->e_phnum; i++) {
		const Elf64_Nhdr *note = (const void *)(file + phdr[i].p_offset);

		if (phdr[i].p_type == PT_NOTE && note->n_type == PVH_NOTE)
			memcpy(&entry, (const char *)(note + 1) + ((note->n_namesz + 3) & ~3u), 4);
		if (phdr[i].p_type != PT_LOAD)
			continue;
		memcpy(f->ram + phdr[i].p_paddr, file + phdr[i].p_offset, phdr[i].p_filesz);
		memset(f->ram + phdr[i].p_paddr + phdr[i].p_filesz, 0,
		       phdr[i].p_memsz - phdr[i].p_filesz);
	}
	if (!entry)
		errx(1, "floor: %s has no PVH entry", path);
	munmap((void *)file, (size_t)st.st_size);
	return entry;
}

static void set_start_info(struct floor *f, const char *cmdline)
{
	struct {
		struct hvm_start_info info;
		struct memmap_entry map[3];
		char cmdline[256];
	} *page = (void *)(f->ram + START_INFO_GPA);
	uint64_t low = f->ram_bytes < HOLE_GPA ? f->ram_bytes : HOLE_GPA;

	memset(page, 0, sizeof(*page));
	page->map[0] = (struct memmap_entry){0, 0xa0000, 1, 0};
	page->map[1] = (struct memmap_entry){0x100000, low - 0x100000, 1, 0};
	page->map[2] = (struct memmap_entry){HIGH_GPA, f->ram_bytes - low, 1, 0};
	snprintf(page->cmdline, sizeof(page->cmdline), "%s", cmdline);
	page->info = (struct hvm_start_info){
		.magic = 0x336ec578,
		.version = 1,
		.cmdline_gpa = START_INFO_GPA + offsetof(__typeof__(*page), cmdline),
		.memmap_gpa = START_INFO_GPA + offsetof(__typeof__(*page), map),
		.memmap_entries = f->ram_bytes > low ? 3 : 2,
	};
}

static void boot(struct floor *f, const char *kernel, const char *cmdline)
{
	const struct kvm_segment flat = {.limit = 0xffffffff,
					 .selector = 0x10,
					 .type = 3,
					 .present = 1,
					 .db = 1,
					 .s = 1,
					 .g = 1};
	struct kvm_sregs sregs;
	struct kvm_regs regs = {.rflags = 2, .rbx = START_INFO_GPA};

	state.cpuid.nent = MAX_CPUID;
	DO(f->kvm, KVM_GET_SUPPORTED_CPUID, &state.cpuid);
	DO(f->vcpu, KVM_SET_CPUID2, &state.cpuid);
	regs.rip = load_elf(f, kernel);
	set_start_info(f, cmdline);
	DO(f->vcpu, KVM_GET_SREGS, &sregs);
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.cs = flat;
	sregs.cs.selector = 8;
	sregs.cs.type = 11;
	sregs.cr0 = 0x11;
	DO(f->vcpu, KVM_SET_SREGS, &sregs);
	DO(f->vcpu, KVM_SET_REGS, &regs);
}

static void get_msrs(struct floor *f)
{
	struct {
		struct kvm_msr_list list;
		uint32_t index[MAX_MSRS];
	} msrs = {.list.nmsrs = MAX_MSRS};

	DO(f->kvm, KVM_GET_MSR_INDEX_LIST, &msrs.list);
	for (uint32_t i = 0; i < msrs.list.nmsrs; i++)
		state.msr[i].index = msrs.index[i];
	state.msrs.nmsrs = msrs.list.nmsrs;
	DO(f->vcpu, KVM_GET_MSRS, &state.msrs);
}

static void save(struct floor *f)
{
	uint64_t start = now_ns(), written;
	int fd;

	DO(f->vcpu, KVM_GET_MP_STATE, &state.mp_state);
	DO(f->vcpu, KVM_GET_REGS, &state.regs);
	DO(f->vcpu, KVM_GET_SREGS, &state.sregs);
	DO(f->vcpu, KVM_GET_DEBUGREGS, &state.debugregs);
	DO(f->vcpu, KVM_GET_XSAVE, &state.xsave);
	DO(f->vcpu, KVM_GET_XCRS, &state.xcrs);
	DO(f->vcpu, KVM_GET_LAPIC, &state.lapic);
	get_msrs(f);
	state.cpuid.nent = MAX_CPUID;
	DO(f->vcpu, KVM_GET_CPUID2, &state.cpuid);
	DO(f->vcpu, KVM_GET_VCPU_EVENTS, &state.events);
	for (uint32_t i = 0; i < 3; i++) {
		state.irqchip[i].chip_id = i;
		DO(f->vm, KVM_GET_IRQCHIP, &state.irqchip[i]);
	}
	if (f->pit)
		DO(f->vm, KVM_GET_PIT2, &state.pit);
	DO(f->vm, KVM_GET_CLOCK, &state.clock);
	fd = open(f->save, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0 || write(fd, &state, sizeof(state)) != sizeof(state))
		err(1, "floor: %s", f->save);
	written = now_ns();
	if (f->fsync && fsync(fd))
		err(1, "floor: fsync of %s", f->save);
	fprintf(stderr, "floor: save %ju us, fsync %ju us\n", (uintmax_t)(written - start) / 1000,
		(uintmax_t)(now_ns() - written) / 1000);
}

static void load(struct floor *f)
{
	int fd = open(f->load, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || read(fd, &state, sizeof(state)) != sizeof(state))
		err(1, "floor: %s", f->load);
	close(fd);
	DO(f->vcpu, KVM_SET_CPUID2, &state.cpuid);
	state.clock.flags = 0;
	DO(f->vm, KVM_SET_CLOCK, &state.clock);
	DO(f->vcpu, KVM_SET_SREGS, &state.sregs);
	DO(f->vcpu, KVM_SET_XCRS, &state.xcrs);
	DO(f->vcpu, KVM_SET_XSAVE, &state.xsave);
	DO(f->vcpu, KVM_SET_MSRS, &state.msrs);
	DO(f->vcpu, KVM_SET_LAPIC, &state.lapic);
	for (uint32_t i = 0; i < 3; i++)
		DO(f->vm, KVM_SET_IRQCHIP, &state.irqchip[i]);
	if (f->pit)
		DO(f->vm, KVM_SET_PIT2, &state.pit);
	DO(f->vcpu, KVM_SET_REGS, &state.regs);
	DO(f->vcpu, KVM_SET_DEBUGREGS, &state.debugregs);
	DO(f->vcpu, KVM_SET_VCPU_EVENTS, &state.events);
	DO(f->vcpu, KVM_SET_MP_STATE, &state.mp_state);
}

static void port_io(const struct kvm_run *run)
{
	uint8_t *data = (uint8_t *)run + run->io.data_offset;
	size_t bytes = (size_t)run->io.size * run->io.count;

	if (run->io.direction == KVM_EXIT_IO_IN)
		memset(data, run->io.port == 0x3fd ? 0x60 : 0xff, bytes);
	else if (run->io.port == 0x3f8 && write(STDOUT_FILENO, data, bytes) < 0)
		err(1, "floor: output");
}

/* Until the kick. The exit it comes in on is served first: KVM_RUN then completes it and returns EINTR. */
static void run(struct floor *f)
{
	for (;;) {
		if (ioctl(f->vcpu, KVM_RUN, 0) < 0) {
			if (errno != EINTR)
				err(1, "floor: KVM_RUN");
			if (f->run->immediate_exit)
				return;
			continue;
		}
		switch (f->run->exit_reason) {
		case KVM_EXIT_IO:
			port_io(f->run);
			break;
		case KVM_EXIT_MMIO:
			if (!f->run->mmio.is_write)
				memset(f->run->mmio.data, 0xff, f->run->mmio.len);
			break;
		default:
			errx(1, "floor: exit reason %u", f->run->exit_reason);
		}
	}
}

int main(int argc, char **argv)
{
	static struct floor f;
	const struct option options[] = {
		{"pit", no_argument, &f.pit, 1},
		{"fsync", no_argument, &f.fsync, 1},
		{"load", required_argument, NULL, 'l'},
		{"save", required_argument, NULL, 's'},
		{0},
	};

	for (int c; (c = getopt_long(argc, argv, "", options, NULL)) != -1;) {
		if (c == 'l')
			f.load = optarg;
		else if (c == 's')
			f.save = optarg;
		else if (c != 0)
			return 2;
	}
	argv += optind;
	if (argc - optind < 3 || !f.save)
		errx(2, "use: floor [--pit] [--fsync] [--load STATE] --save STATE RAM BYTES KERNEL "
			"[COMMAND-LINE]");
	f.ram_bytes = strtoull(argv[1], NULL, 0);
	make_vm(&f, argv[0]);
	if (f.load)
		load(&f);
	else
		boot(&f, argv[2], argv[3] ? argv[3] : "");
	run(&f);
	save(&f);
	return 0;
}
