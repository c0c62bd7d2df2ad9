/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Disk images on real file systems and loop devices: what is opened, measured, locked, refused. */
#include "devices/host/disk.h"
#include "tests/rig/loop_fixture.h"
#include "tests/rig/ram_fixture.h"
#include "vmm/base/bytes.h"
#include <linux/fs.h>
#include <sys/ioctl.h>

static struct disk disk, other;

/* disk and other keep pointing to a config. */
static struct disk_config configs[4];
static int open_disk(struct disk *d, const char *path, bool readonly, enum disk_cache cache)
{
	static unsigned int next;
	struct disk_config *config = &configs[next++ % 4];

	*config = (struct disk_config){.id = "disk0", .readonly = readonly, .cache = cache};
	snprintf(config->path, sizeof(config->path), "%s", path);
	return disk_open(d, config, false, &fixture_err);
}

static void write_at(const char *path, off_t offset, const void *bytes, size_t n)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	ck_assert_int_eq(pwrite(fd, bytes, n, offset), (ssize_t)n);
	close(fd);
}

TEST(regular_file)
{
	const char *path = fixture_path("disk.img");

	fixture_make_file(path, 4 * MIB);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_NONE));
	ck_assert(!disk.is_block);
	ck_assert_uint_eq(disk.size_bytes, 4 * MIB);
	ck_assert_uint_ge(disk.block_bytes, DISK_SECTOR_BYTES);
	ck_assert_uint_eq(disk.physical_bytes, 4096);
	ck_assert_uint_ge(disk.memory_align, 1);
	ck_assert_int_ne(fcntl(disk.fd, F_GETFL) & O_DIRECT, 0);
	disk_close(&disk);
	disk_close(&disk);
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_WRITEBACK));
	ck_assert_int_eq(fcntl(disk.fd, F_GETFL) & (O_DIRECT | O_ACCMODE), O_RDONLY);
	ck_assert_uint_eq(disk.block_bytes, DISK_SECTOR_BYTES);
	ck_assert_uint_eq(disk.memory_align, 1);
	disk_close(&disk);
}

/* What direct I/O is said to need is what it needs. */
TEST(alignment_is_true)
{
	const char *path = fixture_path("disk.img");
	uint8_t *buffer = aligned_alloc(65536, 131072);

	fixture_make_file(path, 4 * MIB);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_NONE));
	ck_assert_int_eq(
		pread(disk.fd, buffer + disk.memory_align, disk.block_bytes, disk.block_bytes),
		disk.block_bytes);
	ck_assert_int_eq(
		pwrite(disk.fd, buffer + disk.memory_align, disk.block_bytes, disk.block_bytes),
		disk.block_bytes);
	disk_close(&disk);
	free(buffer);
}

TEST(loop_device)
{
	const char *path = fixture_path("disk.img"), *device;

	fixture_make_file(path, 4 * MIB);
	device = loop_attach(path, 4096);
	assert_ok(open_disk(&disk, device, false, DISK_CACHE_NONE));
	ck_assert(disk.is_block);
	ck_assert_uint_eq(disk.size_bytes, 4 * MIB);
	ck_assert_uint_eq(disk.block_bytes, 4096);
	ck_assert_uint_eq(disk.physical_bytes, 4096);
	disk_close(&disk);
	loop_detach();
}

/* What the host itself uses is not for guests to write to. */
TEST(device_in_use)
{
	const char *path = fixture_path("disk.img"), *device;
	int holder;

	fixture_make_file(path, 4 * MIB);
	device = loop_attach(path, 512);
	holder = open(device, O_RDONLY | O_EXCL | O_CLOEXEC); /* as a mount does */
	ck_assert_int_ge(holder, 0);
	assert_refused(open_disk(&disk, device, false, DISK_CACHE_NONE), -EBUSY,
		       WORDS(device, "the host uses it", "readonly=on"));
	assert_ok(open_disk(&disk, device, true, DISK_CACHE_NONE));
	disk_close(&disk);
	close(holder);
	assert_ok(open_disk(&disk, device, false, DISK_CACHE_NONE));
	assert_refused(open_disk(&other, device, false, DISK_CACHE_NONE), -EBUSY, WORDS(device));
	assert_refused(open_disk(&other, device, true, DISK_CACHE_NONE), -EAGAIN,
		       WORDS(device, "in use"));
	disk_close(&disk);
	loop_detach();
}

TEST(formats)
{
	static const struct {
		const char *name;
		off_t offset;
		const void *magic;
		size_t n;
	} format[] = {
		{"qcow", 0, "QFI\xfb\0\0\0\1", 8},
		{"qcow2", 0, "QFI\xfb\0\0\0\2", 8},
		{"qcow2", 0, "QFI\xfb\0\0\0\3", 8},
		{"qed", 0, "QED", 4},
		{"vmdk", 0, "KDMV", 4},
		{"vmdk", 0, "COWD", 4},
		{"vmdk", 0, "# Disk DescriptorFile\n", 22},
		{"vhdx", 0, "vhdxfile", 8},
		{"vpc", 0, "conectix", 8},
		{"vpc", MIB - 512, "conectix", 8},
		{"vdi", 0,
		 "<<< QEMU VM Virtual Disk Image >>>\n\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
		 "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\x7f\x10\xda\xbe",
		 68},
		{"parallels", 0, "WithoutFreeSpace", 16},
		{"parallels", 0, "WithouFreSpacExt", 16},
		{"dmg", MIB - 512, "koly", 4},
	};

	for (size_t i = 0; i < ARRAY_SIZE(format); i++) {
		const char *path = fixture_path("disk.img");
		char option[64];

		unlink(path);
		fixture_make_file(path, MIB);
		write_at(path, format[i].offset, format[i].magic, format[i].n);
		snprintf(option, sizeof(option), "-f %s ", format[i].name);
		assert_refused(open_disk(&disk, path, i % 2, DISK_CACHE_NONE), -EINVAL,
			       WORDS(path, option, "qemu-img convert", "-O raw",
				     "qemu-nbd --connect", "format=raw"));
	}
}

TEST(raw_that_looks_odd)
{
	static const char *const head[] = {"LUKS\xba\xbe", "\x7f\x45LF", "QFI", "\xeb\x3c\x90"};

	for (size_t i = 0; i < ARRAY_SIZE(head); i++) {
		const char *path = fixture_path("disk.img");

		unlink(path);
		fixture_make_file(path, MIB);
		write_at(path, 0, head[i], strlen(head[i]));
		assert_ok(open_disk(&disk, path, false, DISK_CACHE_NONE));
		disk_close(&disk);
	}
}

TEST(sizes)
{
	const char *path = fixture_path("disk.img");

	fixture_make_file(path, 0);
	assert_refused(open_disk(&disk, path, false, DISK_CACHE_NONE), -EINVAL,
		       WORDS(path, "empty", "truncate -s 10G /"));
	ck_assert_int_eq(truncate(path, 1000), 0);
	assert_refused(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK), -EINVAL,
		       WORDS(path, "1000 bytes", "truncate -s 1024 /"));
	ck_assert_int_eq(truncate(path, 512), 0);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK));
	ck_assert_uint_eq(disk.size_bytes, 512);
	disk_close(&disk);
}

TEST(refused_places)
{
	const char *path = fixture_path("none.img"), *fifo = fixture_path("fifo");

	assert_refused(open_disk(&disk, path, false, DISK_CACHE_NONE), -ENOENT,
		       WORDS(path, "truncate"));
	assert_refused(open_disk(&disk, fixture_folder, true, DISK_CACHE_NONE), -EINVAL,
		       WORDS(fixture_folder, "neither"));
	assert_refused(open_disk(&disk, "/dev/null", false, DISK_CACHE_NONE), -EINVAL,
		       WORDS("/dev/null", "neither"));
	ck_assert_int_eq(mkfifo(fifo, 0600), 0);
	assert_refused(open_disk(&disk, fifo, true, DISK_CACHE_NONE), -EINVAL, WORDS(fifo));
}

TEST(readonly_file_system)
{
	const char *path = fixture_path("fs/disk.img");

	fixture_mount("tmpfs", "size=8m");
	fixture_make_file(path, MIB);
	ck_assert_int_eq(mount("none", fixture_path("fs"), NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
	assert_refused(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK), -EROFS,
		       WORDS(path, "readonly=on"));
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_WRITEBACK));
	disk_close(&disk);
}

/* ramfs has no direct I/O in any kernel. */
TEST(no_direct_io)
{
	const char *path = fixture_path("fs/disk.img");

	fixture_mount("ramfs", NULL);
	fixture_make_file(path, MIB);
	assert_refused(open_disk(&disk, path, false, DISK_CACHE_NONE), -EINVAL,
		       WORDS(path, "direct I/O", "cache=writeback"));
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK));
	disk_close(&disk);
}

TEST(locks)
{
	const char *path = fixture_path("disk.img"), *link_path = fixture_path("link.img");

	fixture_make_file(path, MIB);
	ck_assert_int_eq(link(path, link_path), 0);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_NONE));
	assert_refused(open_disk(&other, link_path, false, DISK_CACHE_NONE), -EAGAIN,
		       WORDS(link_path, "in use", "readonly=on"));
	assert_refused(open_disk(&other, path, true, DISK_CACHE_NONE), -EAGAIN,
		       WORDS(path, "in use", "writes"));
	disk_close(&disk);
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_NONE));
	assert_ok(open_disk(&other, path, true, DISK_CACHE_WRITEBACK));
	disk_close(&other);
	assert_refused(open_disk(&other, path, false, DISK_CACHE_NONE), -EAGAIN, WORDS(path));
	disk_close(&disk);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_NONE));
	disk_close(&disk);
}

static int look_at(const char *path, bool readonly)
{
	static struct disk_config config;

	config = (struct disk_config){.readonly = readonly, .only_look = true};
	snprintf(config.path, sizeof(config.path), "%s", path);
	return disk_open(&other, &config, false, &fixture_err);
}

/* A look takes nothing, and sees what is taken. */
TEST(locks_only_looked_for)
{
	const char *path = fixture_path("disk.img"), *device;

	fixture_make_file(path, MIB);
	for (int readonly = 0; readonly < 2; readonly++) {
		assert_ok(look_at(path, readonly));
		assert_ok(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK));
		disk_close(&other);
		assert_refused(look_at(path, readonly), -EAGAIN, WORDS(path, "in use"));
		disk_close(&disk);
	}
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_WRITEBACK));
	assert_ok(look_at(path, true));
	disk_close(&other);
	disk_close(&disk);
	device = loop_attach(path, 512);
	assert_ok(look_at(device, false));
	assert_ok(open_disk(&disk, device, false, DISK_CACHE_WRITEBACK));
	disk_close(&other);
	assert_refused(look_at(device, false), -EBUSY, WORDS(device, "the host uses it"));
	disk_close(&disk);
	loop_detach();
}

static void lock_byte(int fd, off_t byte)
{
	struct flock lock = {.l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1};

	ck_assert_int_eq(fcntl(fd, F_OFD_SETLK, &lock), 0);
}

/* QEMU locks a byte for each thing that it does (100 on) and that others may not do (200 on), all
 * of them shared: reading is 0, writing 1. */
TEST(locks_of_qemu)
{
	const char *path = fixture_path("disk.img");
	int qemu;

	fixture_make_file(path, MIB);
	qemu = open(path, O_RDWR | O_CLOEXEC);
	lock_byte(qemu, 100); /* a reader, who bears no writers */
	lock_byte(qemu, 201);
	assert_refused(open_disk(&disk, path, false, DISK_CACHE_NONE), -EAGAIN, WORDS(path));
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_NONE));
	disk_close(&disk);
	lock_byte(qemu, 101); /* writes */
	assert_refused(open_disk(&disk, path, true, DISK_CACHE_NONE), -EAGAIN, WORDS(path));
	close(qemu);
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_NONE));
	disk_close(&disk);
}

TEST(resize)
{
	const char *path = fixture_path("disk.img"), *device;

	fixture_make_file(path, MIB);
	assert_ok(open_disk(&disk, path, false, DISK_CACHE_WRITEBACK));
	assert_ok(disk_resize(&disk, 3 * MIB, &fixture_err));
	ck_assert_uint_eq(fixture_size(path), 3 * MIB);
	ck_assert_uint_eq(disk.size_bytes, 3 * MIB);
	assert_ok(disk_resize(&disk, 2 * MIB, &fixture_err));
	ck_assert_uint_eq(fixture_size(path), 2 * MIB);
	assert_ok(disk_can_resize(&disk, 3 * MIB, 4096, &fixture_err));
	assert_refused(disk_can_resize(&disk, 2 * MIB + 512, 4096, &fixture_err), -EINVAL,
		       WORDS(path, "4096", "2101248 would be"));
	ck_assert(!strstr(fixture_err.msg, "truncate"));
	assert_refused(disk_can_resize(&disk, 0, 512, &fixture_err), -EINVAL, WORDS(path));
	assert_refused(disk_can_resize(&disk, UINT64_MAX - 511, 512, &fixture_err), -EFBIG,
		       WORDS(path));
	assert_refused(disk_resize(&disk, INT64_MAX - 511, &fixture_err), -EFBIG, WORDS(path));
	ck_assert_uint_eq(disk.size_bytes, 2 * MIB);
	disk_close(&disk);
	assert_ok(open_disk(&disk, path, true, DISK_CACHE_WRITEBACK));
	assert_refused(disk_can_resize(&disk, MIB, 512, &fixture_err), -EACCES,
		       WORDS(path, "readonly"));
	disk_close(&disk);

	device = loop_attach(path, 512);
	assert_ok(open_disk(&disk, device, false, DISK_CACHE_NONE));
	assert_refused(disk_can_resize(&disk, 4 * MIB, 512, &fixture_err), -EINVAL,
		       WORDS(device, "2097152", "on the host first"));
	ck_assert_int_eq(truncate(path, 4 * MIB), 0);
	loop_update_size();
	assert_ok(disk_can_resize(&disk, 4 * MIB, 512, &fixture_err));
	assert_ok(disk_resize(&disk, 4 * MIB, &fixture_err));
	ck_assert_uint_eq(disk.size_bytes, 4 * MIB);
	disk_close(&disk);
	loop_detach();
}

UNIT_MAIN(fixture_setup, fixture_teardown)
