/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Opening guest RAM on real file systems: which backend, what it survives, what is refused. */
#include "tests/rig/loop_fixture.h"
#include "ram/backend.h"
#include "tests/rig/sysfs_fixture.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/wait.h>

static struct ram ram;

static struct ram_config config_of(const char *path, uint64_t size_bytes)
{
	return (struct ram_config){.path = path, .size_bytes = size_bytes};
}

static struct ram_config config_at(const char *path, uint64_t offset_bytes, uint64_t size_bytes)
{
	return (struct ram_config){.path = path,
				   .size_bytes = size_bytes,
				   .offset_bytes = offset_bytes,
				   .has_offset = true};
}

static int try_open(struct ram_config config)
{
	int ret = ram_open(&ram, &config, &fixture_err);

	if (!ret)
		ram_close(&ram);
	return ret;
}

/* Opens a new file there, checks the row, uses RAM, and finds the content again. */
static void check_backend(const char *path, const char *name, enum ram_survives survives,
			  uint64_t align_bytes)
{
	struct ram_config config = config_of(path, 4 * MIB);

	assert_ok(ram_open(&ram, &config, &fixture_err));
	ck_assert_str_eq(ram.backend->name, name);
	ck_assert_int_eq(ram.backend->survives, survives);
	ck_assert_uint_eq(ram.align_bytes, align_bytes);
	ck_assert(ram.created);
	ck_assert_uint_eq((uintptr_t)ram.hva % RAM_GRAIN_BYTES, 0);
	ck_assert_ptr_eq(ram.label_hva, ram.hva + 4 * MIB);
	memset(ram.hva, 0x5a, 4 * MIB);
	assert_ok(ram_sync(&ram, NULL, &fixture_err));
	ram_close(&ram);
	if (!path)
		return;
	ck_assert_uint_eq(fixture_size(path), 4 * MIB + (align_bytes > 8192 ? align_bytes : 8192));
	assert_ok(ram_open(&ram, &config, &fixture_err));
	ck_assert(!ram.created);
	ck_assert_int_eq(ram.hva[4 * MIB - 1], 0x5a);
	ram_close(&ram);
}

static void check_refuses_kexec(const char *path, const char *name)
{
	struct ram_config config = config_of(path, 4 * MIB);

	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_ok(ram_check_survives(&ram, RAM_SURVIVES_PROCESS, &fixture_err));
	assert_refused(ram_check_survives(&ram, RAM_SURVIVES_KEXEC, &fixture_err), -EOPNOTSUPP,
		       WORDS(name, path, "kexec", "mode=restart"));
	ram_close(&ram);
}

TEST(memfd)
{
	struct ram_config config = config_of(NULL, 4 * MIB);

	check_backend(NULL, "memfd", RAM_SURVIVES_NOTHING, 4096);
	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_refused(ram_check_survives(&ram, RAM_SURVIVES_PROCESS, &fixture_err), -EOPNOTSUPP,
		       WORDS("memfd", "process", "--memory", "path="));
	assert_refused(ram_check_survives(&ram, RAM_SURVIVES_KEXEC, &fixture_err), -EOPNOTSUPP,
		       WORDS("memfd", "kexec"));
	ram_close(&ram);
}

TEST(disk_file)
{
	const char *path = fixture_path("ram");
	struct ram_config config = config_of(path, 4 * MIB);
	struct stat st;

	assert_ok(ram_open(&ram, &config, &fixture_err));
	ck_assert_msg(!strcmp(ram.backend->name, "file"),
		      "%s is not on a disk: set STASIS_TEST_DISK to a folder that is", path);
	ck_assert_int_eq(fstat(ram.fd, &st), 0);
	ck_assert_msg((uint64_t)st.st_blocks * 512 >= 4 * MIB, "space is not allocated");
	ck_assert_int_eq(st.st_mode & 0777, 0600);
	assert_ok(ram_check_survives(&ram, RAM_SURVIVES_KEXEC, &fixture_err));
	ram_close(&ram);
	unlink(path);
	check_backend(path, "file", RAM_SURVIVES_KEXEC, 4096);
}

TEST(tmpfs_file)
{
	const char *path = fixture_path("fs/ram");
	struct stat st;

	fixture_mount("tmpfs", "size=64m");
	check_backend(path, "tmpfs", RAM_SURVIVES_PROCESS, 4096);
	check_refuses_kexec(path, "tmpfs");
	unlink(path);
	assert_ok(try_open(config_of(path, 4 * MIB)));
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_msg(st.st_blocks == 0, "opening has allocated %ld blocks", (long)st.st_blocks);
}

/* Huge pages for the guest, but not one for a label of 256 bytes. */
TEST(tmpfs_huge)
{
	struct ram_config config = config_of(fixture_path("fs/ram"), 4 * MIB);
	struct stat st;

	fixture_mount("tmpfs", "size=64m,huge=always");
	assert_ok(ram_open(&ram, &config, &fixture_err));
	memset(ram.label_hva, 1, 1);
	ck_assert_int_eq(fstat(ram.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks * 512, 4096);
	ram.hva[0] = 1;
	ck_assert_int_eq(fstat(ram.fd, &st), 0);
	ck_assert_int_eq(st.st_blocks * 512, 4096 + 2 * (long)MIB);
	ram_close(&ram);
}

TEST(ramfs_file)
{
	fixture_mount("ramfs", "");
	check_backend(fixture_path("fs/ram"), "tmpfs", RAM_SURVIVES_PROCESS, 4096);
	check_refuses_kexec(fixture_path("fs/ram"), "tmpfs");
}

static void mount_overlay(const char *upper)
{
	char options[2048];

	fixture_mkdir("lower");
	fixture_mkdir("overlay");
	snprintf(options, sizeof(options), "lowerdir=%s/lower,upperdir=%s/up per,workdir=%s/work",
		 fixture_folder, upper, upper);
	ck_assert_msg(!mount("none", fixture_path("overlay"), "overlay", 0, options),
		      "mount -t overlay -o %s: %s", options, strerror(errno));
}

TEST(overlay_on_disk)
{
	fixture_mkdir("up per");
	fixture_mkdir("work");
	mount_overlay(fixture_folder);
	check_backend(fixture_path("overlay/ram"), "file", RAM_SURVIVES_KEXEC, 4096);
}

TEST(overlay_on_tmpfs)
{
	fixture_mount("tmpfs", "size=64m");
	fixture_mkdir("fs/up per");
	fixture_mkdir("fs/work");
	mount_overlay(fixture_path("fs"));
	check_backend(fixture_path("overlay/ram"), "tmpfs", RAM_SURVIVES_PROCESS, 4096);
	check_refuses_kexec(fixture_path("overlay/ram"), "tmpfs");
	/* What cannot be seen is not promised. */
	ck_assert_int_eq(umount2(fixture_path("fs"), MNT_DETACH), 0);
	check_refuses_kexec(fixture_path("overlay/ram"), "tmpfs");
}

/* ext4 in a file, mounted over a loop device. */
static void mount_ext4(const char *image, const char *on)
{
	char command[1200];

	fixture_make_file(image, 32 * MIB);
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F '%s'",
		 image);
	ck_assert_msg(!system(command), "%s: install e2fsprogs",
		      command); /* NOLINT(cert-env33-c) */
	ck_assert_msg(!mount(loop_attach(image, 512), fixture_mkdir(on), "ext4", 0, ""),
		      "mount: %s", strerror(errno));
}

TEST(ext4_in_a_file_on_disk)
{
	mount_ext4(fixture_path("image"), "under");
	check_backend(fixture_path("under/ram"), "file", RAM_SURVIVES_KEXEC, 4096);
	loop_detach();
}

TEST(ext4_in_a_file_on_tmpfs)
{
	int fd;

	fixture_mount("tmpfs", "size=64m");
	mount_ext4(fixture_path("fs/image"), "under");
	check_backend(fixture_path("under/ram"), "tmpfs", RAM_SURVIVES_PROCESS, 4096);
	check_refuses_kexec(fixture_path("under/ram"), "tmpfs");
	fd = open(fixture_path("under"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	ck_assert_int_eq(ram_fd_survives(fd), RAM_SURVIVES_PROCESS);
	close(fd);
	/* The device itself, and once its file has no name any more. */
	ck_assert_int_eq(ram_fd_survives(loop_fd), RAM_SURVIVES_PROCESS);
	ck_assert_int_eq(unlink(fixture_path("fs/image")), 0);
	ck_assert_int_eq(ram_fd_survives(loop_fd), RAM_SURVIVES_PROCESS);
	loop_detach();
}

/* --- hosts with volumes */
static enum ram_survives disk_survives(void)
{
	int fd = open(fixture_folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	enum ram_survives survives = ram_fd_survives(fd);

	close(fd);
	return survives;
}

/* The file system of the tests' folder on a volume of two partitions. */
static void make_volume(void)
{
	char number[32];
	struct stat st;

	ck_assert_int_eq(stat(fixture_folder, &st), 0);
	ck_assert_msg(major(st.st_dev),
		      "%s: no file system with a device of its own: set "
		      "STASIS_TEST_DISK",
		      fixture_folder);
	snprintf(number, sizeof(number), "%u:%u", major(st.st_dev), minor(st.st_dev));
	sys_begin();
	sys_device("dm-0", number);
	sys_device("sda", "8:0");
	sys_device("sda/sda1", "8:1");
	sys_file("block/sda/sda1/partition", "1");
	sys_device("md0", "9:0");
	sys_file("block/dm-0/slaves/sda1/dev", "8:1");
	sys_file("block/dm-0/slaves/md0/dev", "9:0");
}

TEST(volume)
{
	fixture_mount("tmpfs", "size=64m");
	fixture_make_file(fixture_path("fs/image"), MIB);
	make_volume();
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_KEXEC);
	/* Its second half is an array with a member in RAM. */
	sys_device("loop7", "7:7");
	sys_file("block/md0/slaves/loop7/dev", "7:7");
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_KEXEC);
	sys_file("block/loop7/loop/backing_file", fixture_path("fs/image"));
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_PROCESS);
	sys_file("block/loop7/loop/backing_file", fixture_path("fs/image (deleted)"));
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_PROCESS);
	sys_file("block/loop7/loop/backing_file", "/proc/version");
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_KEXEC);
}

TEST(volume_in_ram)
{
	make_volume();
	sys_device("zram0", "253:99");
	sys_file("block/md0/slaves/zram0/dev", "253:99");
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_KEXEC);
	sys_file("block/zram0/mm_stat", "0 0 0 0 0 0 0 0 0");
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_PROCESS);
	sys_file("block/md0/slaves/zram0/dev", "1:3"); /* /dev/ram3 */
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_PROCESS);
	/* A circle is none that a kernel makes. */
	sys_file("block/md0/slaves/zram0/dev", "9:0");
	ck_assert_int_eq(disk_survives(), RAM_SURVIVES_PROCESS);
}

#define NR_HUGEPAGES "/sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages"

static long set_hugepages(long more)
{
	FILE *f = fopen(NR_HUGEPAGES, "r+");
	char text[32];
	long before;

	ck_assert_msg(f && fgets(text, sizeof(text), f), NR_HUGEPAGES ": %s", strerror(errno));
	before = strtol(text, NULL, 10);
	rewind(f);
	ck_assert_int_gt(fprintf(f, "%ld", before + more), 0);
	ck_assert_int_eq(fclose(f), 0);
	return before + more;
}

TEST(hugetlbfs_file)
{
	const char *path = fixture_path("fs/ram");
	struct ram_config config = config_of(path, 4 * MIB);

	fixture_mount("hugetlbfs", "pagesize=2M,size=8M");
	set_hugepages(3);
	check_backend(path, "hugetlbfs", RAM_SURVIVES_PROCESS, 2 * MIB);
	check_refuses_kexec(path, "hugetlbfs");
	/* Three pages are there and used: a VM of three and its label is one too many. */
	config = config_of(fixture_path("fs/more"), 6 * MIB);
	assert_refused(ram_open(&ram, &config, &fixture_err), -ENOMEM,
		       WORDS("fs/more", "huge pages", "nr_hugepages"));
	ck_assert_msg(access(config.path, F_OK), "half-created file stays");
	unlink(path);
	set_hugepages(-3);
}

TEST(sizes_refused)
{
	const char *path = fixture_path("ram");
	const uint64_t wrong[] = {0, 1, 4096, MIB, 3 * MIB, 2 * MIB + 4096, UINT64_MAX, 1ull << 63};

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_refused(try_open(config_of(path, wrong[i])), -EINVAL,
			       WORDS("size=", "multiple of 2M"));
	assert_refused(try_open(config_at(path, UINT64_MAX - 4095, 2 * MIB)), -EINVAL,
		       WORDS("offset=", "too large"));
	assert_refused(try_open(config_at(NULL, 2 * MIB, 2 * MIB)), -EINVAL,
		       WORDS("offset=", "path="));
	ck_assert_msg(access(path, F_OK), "a refused size has created the file");
}

TEST(other_size_refused)
{
	const char *path = fixture_path("ram");

	fixture_make_file(path, 4 * MIB);
	assert_refused(try_open(config_of(path, 4 * MIB)), -EINVAL,
		       WORDS(path, "4194304", "4202496", "label"));
	fixture_make_file(path, 6 * MIB + 8192);
	assert_refused(try_open(config_of(path, 4 * MIB)), -EINVAL,
		       WORDS(path, "6299648", "4202496", "offset=0"));
	ck_assert_uint_eq(fixture_size(path), 6 * MIB + 8192);
	assert_ok(try_open(config_of(path, 6 * MIB)));
	/* As versions before 1.0.0 made them: a guest saved there is not to be removed unseen. */
	ck_assert_int_eq(truncate(path, 6 * MIB + 4096), 0);
	assert_refused(try_open(config_of(path, 6 * MIB)), -EINVAL,
		       WORDS(path, "before 1.0.0", "saved"));
}

TEST(things_refused)
{
	char path[600];

	assert_refused(try_open(config_of(fixture_folder, 2 * MIB)), -EISDIR,
		       WORDS(fixture_folder, "directory"));
	assert_refused(try_open(config_of(fixture_path("no/ram"), 2 * MIB)), -ENOENT,
		       WORDS("no/ram", "folder"));
	ck_assert_int_eq(mkfifo(fixture_path("fifo"), 0600), 0);
	assert_refused(try_open(config_of(fixture_path("fifo"), 2 * MIB)), -EINVAL,
		       WORDS("fifo", "DAX device or a regular file"));
	snprintf(path, sizeof(path), "%s", fixture_path("read-only"));
	fixture_mkdir("fs");
	ck_assert_int_eq(mount("none", fixture_path("fs"), "tmpfs", MS_RDONLY, ""), 0);
	assert_refused(try_open(config_of(fixture_path("fs/ram"), 2 * MIB)), -EROFS,
		       WORDS("fs/ram", "Read-only"));
	assert_refused(try_open(config_of("/dev/dax9.9", 2 * MIB)), -ENOENT,
		       WORDS("/dev/dax9.9", "no such DAX device", "daxctl list"));
	ck_assert_msg(access("/dev/dax9.9", F_OK), "a plain file in /dev");
	/* A saved guest cannot be in memory that is made for it. */
	assert_refused(try_open((struct ram_config){.path = fixture_path("saved"),
						    .size_bytes = 2 * MIB,
						    .must_exist = true}),
		       -ENOENT, WORDS("saved", "not there"));
	ck_assert_msg(access(fixture_path("saved"), F_OK), "memory was made for a saved guest");
}

/* What cannot fit is refused before the file system is filled, and nothing stays behind. */
TEST(no_space)
{
	const char *path = fixture_path("fs/ram");
	struct error reason = {""};
	struct statfs fs;

	fixture_mount("tmpfs", "size=8m");
	assert_refused(try_open(config_of(path, 8 * MIB)), -ENOSPC,
		       WORDS(path, "size=8388608", "8 MiB left", "smaller", "remount"));
	ck_assert_msg(access(path, F_OK), "%s stays", path);
	assert_ok(try_open(config_of(path, 6 * MIB)));
	/* Where a guest may be saved it is only said. */
	ck_assert_int_eq(mount("none", fixture_path("fs"), NULL, MS_REMOUNT, "size=4m"), 0);
	assert_ok(ram_open(&ram, &(struct ram_config){.path = path, .size_bytes = 6 * MIB},
			   &fixture_err));
	assert_ok(ram_add_region(&ram, 0, 6 * MIB, &fixture_err));
	ck_assert(!ram_fault_reason(&ram, &reason));
	memset(ram.hva, 1, 3 * MIB);
	ck_assert(ram_fault_reason(&ram, &reason));
	ck_assert_msg(strstr(reason.msg, path) && strstr(reason.msg, "is full"), "%s", reason.msg);
	ck_assert_int_eq(truncate(path, 2 * MIB), 0);
	ck_assert(ram_fault_reason(&ram, &reason));
	ck_assert_msg(strstr(reason.msg, "GPA 0x200000 on is gone"), "%s", reason.msg);
	ram_close(&ram);
	/* On a disk, too, where allocating would have filled it. */
	path = fixture_path("ram");
	ck_assert_int_eq(statfs(fixture_folder, &fs), 0);
	assert_refused(
		try_open(config_of(path, ((uint64_t)fs.f_bfree * (uint64_t)fs.f_frsize + 64 * MIB) &
						 ~(RAM_GRAIN_BYTES - 1ull))),
		-ENOSPC, WORDS(path, "MiB left"));
	ck_assert_msg(access(path, F_OK), "%s stays", path);
}

/* No space is no half a file. */
TEST(failed_creation_leaves_nothing)
{
	const char *path = fixture_path("ram");
	struct rlimit limit = {.rlim_cur = 2 * MIB, .rlim_max = 2 * MIB};

	signal(SIGXFSZ, SIG_IGN);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	assert_refused(try_open(config_of(path, 4 * MIB)), -EFBIG, WORDS(path, "4202496"));
	ck_assert_msg(access(path, F_OK), "%s stays", path);
}

TEST(two_ranges_in_one_file)
{
	const char *path = fixture_path("ram");
	const uint64_t second = 6 * MIB;
	struct ram_config a = config_at(path, 0, 4 * MIB), b = config_at(path, second, 2 * MIB);
	struct ram other;

	assert_refused(try_open(a), -ENOENT, WORDS(path, "must exist", "fallocate"));
	assert_refused(try_open(b), -ENOENT, WORDS(path, "must exist", "fallocate"));
	fixture_make_file(path, second + 2 * MIB);
	assert_refused(try_open(b), -EINVAL, WORDS(path, "8388608", "8396800", "enlarge"));
	fixture_make_file(path, second + 2 * MIB + 8192);
	/* Labels lie after RAM, so they too are where they are looked for. */
	assert_refused(try_open(config_at(path, 4 * MIB + 4096, 2 * MIB)), -EINVAL,
		       WORDS("offset=4198400", "multiple of 2M"));
	assert_ok(ram_open(&ram, &a, &fixture_err));
	assert_ok(ram_open(&other, &b, &fixture_err));
	memset(ram.hva, 1, 4 * MIB);
	memset(ram.label_hva, 2, 8192);
	memset(other.hva, 3, 2 * MIB);
	ck_assert_int_eq(ram.hva[4 * MIB - 1], 1);
	ck_assert_int_eq(((uint8_t *)ram.label_hva)[8191], 2);
	ck_assert_int_eq(((uint8_t *)other.label_hva)[0], 0);
	ram_close(&ram);
	ram_close(&other);
	/* An offset other than 0 speaks for itself. */
	b.has_offset = false;
	assert_ok(try_open(b));
}

/* Another process has [8 MiB, 12 MiB + label); says when it is there. */
static pid_t start_holder(const char *path)
{
	struct ram_config config = config_at(path, 8 * MIB, 4 * MIB);
	int ready[2];
	char byte;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	if (!pid) {
		if (ram_open(&ram, &config, NULL) || write(ready[1], "", 1) != 1)
			_exit(1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_msg(read(ready[0], &byte, 1) == 1, "the other process cannot open");
	close(ready[0]);
	return pid;
}

TEST(locks_between_processes)
{
	const char *path = fixture_path("ram");
	const uint64_t overlapping[][2] = {{8 * MIB, 4 * MIB},	{8 * MIB, 2 * MIB},
					   {10 * MIB, 2 * MIB}, {12 * MIB, 4 * MIB}, /* its label */
					   {6 * MIB, 2 * MIB},			     /* by ours */
					   {0, 32 * MIB}};
	pid_t pid;

	fixture_make_file(path, 64 * MIB);
	pid = start_holder(path);
	for (size_t i = 0; i < ARRAY_SIZE(overlapping); i++)
		assert_refused(try_open(config_at(path, overlapping[i][0], overlapping[i][1])),
			       -EAGAIN,
			       WORDS(path, "another process", "8388608", "12591104", "offset"));
	assert_ok(try_open(config_at(path, 14 * MIB, 4 * MIB)));
	assert_ok(try_open(config_at(path, 4 * MIB, 2 * MIB)));
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	assert_ok(try_open(config_at(path, 8 * MIB, 4 * MIB)));
}

/* A look takes nothing, and sees what is taken. */
TEST(lock_only_looked_for)
{
	const char *path = fixture_path("ram");
	struct ram_config config = config_at(path, 0, 2 * MIB);
	struct ram other;

	fixture_make_file(path, 2 * MIB + 8192);
	config.only_look = true;
	assert_ok(ram_open(&ram, &config, &fixture_err));
	config.only_look = false;
	assert_ok(ram_open(&other, &config, &fixture_err));
	ram_close(&ram);
	config.only_look = true;
	assert_refused(try_open(config), -EAGAIN, WORDS(path, "another process"));
	ram_close(&other);
	assert_ok(try_open(config));
}

/* A link to nothing is no place where a file can be made. */
TEST(dangling_link)
{
	const char *path = fixture_path("link");

	ck_assert_int_eq(symlink("none", path), 0);
	assert_refused(try_open(config_of(path, 2 * MIB)), -EEXIST,
		       WORDS(path, "symbolic link that leads nowhere", "remove it"));
	ck_assert_int_ne(access(path, F_OK), 0);
}

/* A classic lock has an owner that can be named. */
TEST(lock_of_another_program)
{
	const char *path = fixture_path("ram");
	struct flock lock = {.l_type = F_WRLCK, .l_start = 0, .l_len = 0};
	char who[32];
	int fd;

	fixture_make_file(path, 2 * MIB + 8192);
	fd = open(path, O_RDWR | O_CLOEXEC);
	ck_assert_int_eq(fcntl(fd, F_SETLK, &lock), 0);
	snprintf(who, sizeof(who), "process %d", (int)getpid());
	assert_refused(try_open(config_of(path, 2 * MIB)), -EAGAIN, WORDS(path, who));
	close(fd);
}

/* Half of it took two seconds, or more on a busy machine. */
TEST(progress_has_a_rate_and_the_time_left)
{
	struct ram_progress progress = {.what = "hashed",
					.path = "/dev/dax0.0",
					.total_bytes = 1024 * MIB,
					.begun_ns = clock_now_ns() - 2 * CLOCK_NS_PER_S};
	int fd[2], saved = dup(STDERR_FILENO);
	char text[256], *line, *end;
	long rate, left;
	ssize_t n;

	ck_assert_int_eq(pipe2(fd, O_NONBLOCK), 0);
	dup2(fd[1], STDERR_FILENO);
	log_init(LOG_INFO, NULL);
	ck_assert_int_eq(progress_report(&progress, 512 * MIB, &fixture_err), 0);
	ck_assert_int_eq(progress_report(&progress, 513 * MIB, &fixture_err), 0); /* too soon */
	dup2(saved, STDERR_FILENO);
	n = read(fd[0], text, sizeof(text) - 1);
	ck_assert_int_gt(n, 0);
	text[n] = '\0';
	line = strstr(text, "/dev/dax0.0: 512 of 1024 MiB hashed, ");
	ck_assert_ptr_nonnull(line);
	rate = strtol(line + 37, &end, 10);
	ck_assert_int_eq(strncmp(end, " MiB/s, ", 8), 0);
	left = strtol(end + 8, &end, 10);
	ck_assert_int_eq(strncmp(end, " s left\n", 8), 0);
	ck_assert_int_le(rate, 256);
	ck_assert_int_ge(left, 2);
	ck_assert_ptr_null(strstr(text, "513"));
	close(fd[0]);
	close(fd[1]);
	close(saved);
}

UNIT_MAIN(fixture_setup, fixture_teardown)
