/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A disk is known again by a load, and no other one is taken for it. */
#include "devices/virtio/virtio_blk.h"
#include "tests/rig/blk_fixture.h"
#include "tests/rig/loop_fixture.h"
#include "tests/rig/sysfs_fixture.h"
#include "vmm/base/bytes.h"

static struct virtio_blk_state saved;

static void make_image(const char *path)
{
	uint8_t *content = malloc(DISK_BYTES);
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

	fill(content, DISK_BYTES, 1);
	ck_assert_int_eq(write(fd, content, DISK_BYTES), DISK_BYTES);
	close(fd);
	free(content);
}

/* Attached, saved and detached. */
static void save_disk(const char *path)
{
	snprintf(config.path, sizeof(config.path), "%s", path);
	attach();
	assert_ok(rig.dev->ops->identify(rig.dev, UINT64_MAX, &fixture_err));
	saved = *(struct virtio_blk_state *)device_state(rig.dev);
	ck_assert_ptr_null(rig.dev->ops->state->check(&saved));
	devices_detach(&rig.vm);
}

static int recognize(const char *path)
{
	int ret;

	snprintf(config.path, sizeof(config.path), "%s", path);
	attach();
	fixture_err.msg[0] = '\0';
	ret = rig.dev->ops->recognize(rig.dev, &saved, &fixture_err);
	devices_detach(&rig.vm);
	return ret;
}

/* As of another disk that says the same of itself as this one. */
static void keep_times(const char *path, const struct stat *st)
{
	const struct timespec times[] = {st->st_atim, st->st_mtim};

	ck_assert_int_eq(utimensat(AT_FDCWD, path, times, 0), 0);
}

static void change_byte(const char *path, off_t at)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	uint8_t byte;

	ck_assert_int_eq(pread(fd, &byte, 1, at), 1);
	byte ^= 1;
	ck_assert_int_eq(pwrite(fd, &byte, 1, at), 1);
	close(fd);
}

TEST(known_again)
{
	static const uint64_t sizes[] = {DISK_BYTES, 512, 4096, 65536, 65536 + 512, 1536};
	const char *path = fixture_path("disk.img");

	for (size_t i = 0; i < ARRAY_SIZE(sizes); i++) {
		for (int cache = 0; cache < 2; cache++) {
			unlink(path);
			make_image(path);
			ck_assert_int_eq(truncate(path, (off_t)sizes[i]), 0);
			config.cache = cache ? DISK_CACHE_WRITEBACK : DISK_CACHE_NONE;
			/* Direct I/O may ask for larger blocks. */
			if (!cache && sizes[i] % 4096)
				continue;
			save_disk(path);
			ck_assert_uint_ne(saved.identity.inode, 0);
			ck_assert_uint_ne(saved.identity.mtime_ns, 0);
			assert_ok(recognize(path));
			/* Read in another way, too. */
			config.cache = DISK_CACHE_WRITEBACK;
			assert_ok(recognize(path));
			config.readonly = true;
			assert_ok(recognize(path));
			config.readonly = false;
		}
	}
}

TEST(written_to)
{
	const char *path = fixture_path("disk.img");

	make_image(path);
	save_disk(path);
	change_byte(path, 66000); /* in none of the pieces that are hashed */
	assert_refused(recognize(path), -ESTALE, WORDS("written to since the save"));
	ck_assert_ptr_null(strstr(fixture_err.msg, "content"));
}

/* Each of the places, whatever the file's times say. */
TEST(content)
{
	const char *path = fixture_path("disk.img");
	const off_t place[] = {0, 65535, DISK_BYTES - 65536, DISK_BYTES - 1};
	struct stat st;

	make_image(path);
	ck_assert_int_eq(stat(path, &st), 0);
	save_disk(path);
	for (size_t i = 0; i < ARRAY_SIZE(place) + 14; i++) {
		off_t at = i < 14 ? (off_t)((DISK_BYTES - 4096) / 15 * (i + 1) / 4096 * 4096 + 4095)
				  : place[i - 14];

		change_byte(path, at);
		keep_times(path, &st);
		assert_refused(recognize(path), -ESTALE, WORDS("its content is another"));
		ck_assert_ptr_null(strstr(fixture_err.msg, "written"));
		change_byte(path, at);
		keep_times(path, &st);
		assert_ok(recognize(path));
	}
}

TEST(other_file)
{
	const char *path = fixture_path("disk.img"), *copy = fixture_path("copy.img");
	struct stat st;

	make_image(path);
	make_image(copy);
	ck_assert_int_eq(stat(path, &st), 0);
	keep_times(copy, &st);
	save_disk(path);
	/* The same to the last byte and the nanosecond. */
	ck_assert_int_eq(rename(copy, path), 0);
	assert_refused(recognize(path), -ESTALE, WORDS("another file", "inode"));
	ck_assert_ptr_null(strstr(fixture_err.msg, "content"));
	/* Made anew, empty. */
	unlink(path);
	fixture_make_file(path, DISK_BYTES);
	assert_refused(recognize(path), -ESTALE, WORDS("its content is another"));
	/* On another file system, with the inode's number by chance. */
	fixture_mount("tmpfs", "size=64m");
	copy = fixture_path("fs/disk.img");
	make_image(copy);
	config.cache = DISK_CACHE_WRITEBACK;
	save_disk(copy);
	saved.identity.file_system++;
	assert_refused(recognize(copy), -ESTALE, WORDS("another file system"));
}

/* Numbers of loop devices change over a boot; their files do not. */
TEST(loop_devices)
{
	char a[64], b[64];
	int fd;

	make_image(fixture_path("a"));
	make_image(fixture_path("b"));
	snprintf(a, sizeof(a), "%s", loop_attach(fixture_path("a"), 512));
	fd = loop_fd;
	snprintf(b, sizeof(b), "%s", loop_attach(fixture_path("b"), 512));
	save_disk(a);
	ck_assert_uint_ne(saved.identity.inode, 0);
	assert_ok(recognize(a));
	assert_refused(recognize(b), -ESTALE, WORDS("another file", "inode"));
	loop_detach();
	close(fd);
	/* The other way round. */
	snprintf(b, sizeof(b), "%s", loop_attach(fixture_path("b"), 512));
	fd = loop_fd;
	snprintf(a, sizeof(a), "%s", loop_attach(fixture_path("a"), 512));
	assert_ok(recognize(a));
	assert_refused(recognize(b), -ESTALE, WORDS("another file"));
	loop_detach();
	close(fd);
}

/* What sysfs says of the loop device, which stands for any other here. */
TEST(names)
{
	const char *path = fixture_path("disk.img"), *device;
	char number[32];
	struct stat st;

	make_image(path);
	device = loop_attach(path, 512);
	ck_assert_int_eq(fstat(loop_fd, &st), 0);
	snprintf(number, sizeof(number), "%u:%u", major(st.st_rdev), minor(st.st_rdev));
	sys_begin();
	save_disk(device); /* nothing is known of it */
	ck_assert_uint_eq(saved.identity.device[0], 0);
	assert_ok(recognize(device));
	sys_device("sda", "8:0");
	sys_file("block/sda/device/wwid", "  naa.5000c500a1b2c3d4");
	sys_device("sda/sda2", number);
	sys_file("block/sda/sda2/partition", "2");
	sys_file("block/sda/sda2/start", "2048");
	assert_refused(recognize(device), -ESTALE, WORDS("begins at byte 1048576"));
	save_disk(device);
	ck_assert_str_eq((char *)saved.identity.device, "WWID naa.5000c500a1b2c3d4");
	ck_assert_uint_eq(saved.identity.offset_bytes, 1048576);
	assert_ok(recognize(device));
	sys_file("block/sda/device/wwid", "naa.5000c500a1b2c3d5");
	assert_refused(recognize(device), -ESTALE,
		       WORDS("WWID naa.5000c500a1b2c3d4,", "WWID naa.5000c500a1b2c3d5"));
	sys_file("block/sda/device/wwid", " ");
	assert_refused(recognize(device), -ESTALE,
		       WORDS("WWID naa.5000c500a1b2c3d4,", "without an identifier"));
	/* The volume's own name comes first. */
	sys_file("block/sda/dm/uuid", "LVM-abc");
	save_disk(device);
	ck_assert_str_eq((char *)saved.identity.device, "dm uuid LVM-abc");
	loop_detach();
}

/* A checkpoint without identities loads; one that is made up is refused. */
TEST(checkpoint_without_identity)
{
	const char *path = fixture_path("disk.img");

	make_image(path);
	save_disk(path);
	saved.identity = (struct disk_identity){0};
	assert_ok(recognize(path));
	memset(saved.identity.device, 'x', sizeof(saved.identity.device));
	ck_assert_ptr_nonnull(disk_identity_check(&saved.identity));
	saved.identity.device[2] = '\0';
	ck_assert_ptr_null(disk_identity_check(&saved.identity));
	saved.identity.device[1] = '\n';
	ck_assert_ptr_nonnull(disk_identity_check(&saved.identity));
}

/* A disk with a bad block there can be saved, and is known again by the rest. */
TEST(unreadable)
{
	static const uint8_t none[sizeof(saved.identity.hash)];
	const char *path = fixture_path("disk.img");
	struct virtio_blk_state *state;

	make_image(path);
	save_disk(path);
	attach();
	state = device_state(rig.dev);
	state->capacity *= 2; /* beyond the end nothing can be read */
	assert_ok(rig.dev->ops->identify(rig.dev, UINT64_MAX, &fixture_err));
	ck_assert(!memcmp(state->identity.hash, none, sizeof(none)));
	ck_assert_uint_eq(state->identity.inode, saved.identity.inode);
	devices_detach(&rig.vm);
	memset(saved.identity.hash, 0, sizeof(saved.identity.hash));
	assert_ok(recognize(path));
	memset(saved.identity.hash, 1, sizeof(saved.identity.hash));
	assert_refused(recognize(path), -ESTALE, WORDS("content"));
	saved.capacity *= 2;
	assert_refused(recognize(path), -EIO, WORDS("cannot be read"));
}

/* A kexec is as a crash to the file system: what the flush has not made durable of the file's times is
 * what it was before. */
TEST(time_is_durable)
{
	char command[1200], image[64];
	struct stat live, after;
	int fd;

	fixture_make_file(fixture_path("image"), 32 * MIB);
	snprintf(command, sizeof(command), "PATH=$PATH:/sbin:/usr/sbin mkfs.ext4 -q -F '%s'",
		 fixture_path("image"));
	ck_assert_msg(!system(command), "%s: install e2fsprogs",
		      command); /* NOLINT(cert-env33-c) */
	ck_assert_int_eq(
		mount(loop_attach(fixture_path("image"), 512), fixture_mkdir("fs"), "ext4", 0, ""),
		0);
	fd = loop_fd;
	snprintf(config.path, sizeof(config.path), "%s", fixture_path("fs/disk.img"));
	make_image(config.path);
	sync();
	attach();
	drive(ALL);
	usleep(20000);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	assert_ok(rig.dev->ops->flush(rig.dev, UINT64_MAX, &fixture_err));
	ck_assert_int_eq(stat(config.path, &live), 0);
	snprintf(command, sizeof(command), "cp '%s' '%s'", fixture_path("image"),
		 fixture_path("crashed"));
	ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
	snprintf(image, sizeof(image), "%s", loop_attach(fixture_path("crashed"), 512));
	ck_assert_msg(!mount(image, fixture_mkdir("under"), "ext4", 0, ""), "%s", strerror(errno));
	ck_assert_int_eq(stat(fixture_path("under/disk.img"), &after), 0);
	ck_assert_int_eq(after.st_mtim.tv_sec, live.st_mtim.tv_sec);
	ck_assert_int_eq(after.st_mtim.tv_nsec, live.st_mtim.tv_nsec);
	devices_detach(&rig.vm);
	loop_detach();
	close(fd);
}

UNIT_MAIN(setup, teardown)
