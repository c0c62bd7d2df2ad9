/* SPDX-License-Identifier: GPL-2.0-or-later */
#define XXH_INLINE_ALL
#include "devices/host/disk.h"
#include "ram/blockdev.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

#define END_BYTES   65536u
#define BLOCK_BYTES 4096u
#define BLOCKS	    14u
#define PIECES	    (BLOCKS + 2)
_Static_assert(PIECES <= DISK_URING_MAX_READS, "at once");

/* File systems whose numbers and times are a server's: they may change though the file does not. */
static const uint32_t foreign[] = {
	NFS_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, 0x65735546 /* FUSE */,
	V9FS_MAGIC,	 CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC,  CODA_SUPER_MAGIC,
};

/* Stable names of a device in sysfs, best first. */
static const struct {
	const char *file, *what;
} names[] = {
	{"dm/uuid", "dm uuid"},
	{"md/uuid", "md uuid"},
	{"wwid", "WWID"},
	{"device/wwid", "WWID"},
	{"serial", "serial number"},
	{"device/serial", "serial number"},
	{"device/cid", "card number"},
};

static bool is_shown(uint8_t c)
{
	return c >= ' ' && c <= '~';
}

static void look_name(dev_t dev, struct disk_identity *id)
{
	char text[sizeof(id->device)];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		if (!blockdev_read(dev, names[i].file, text, sizeof(text)))
			continue;
		snprintf((char *)id->device, sizeof(id->device), "%s %.*s", names[i].what,
			 (int)(sizeof(id->device) - sizeof("serial number ")), text);
		for (uint8_t *c = id->device; *c; c++)
			*c = is_shown(*c) ? *c : '?';
		return;
	}
}

/* The number in one of the device's sysfs files; 0: no such file. */
static uint64_t number_of(dev_t dev, const char *name)
{
	char text[32];

	return blockdev_read(dev, name, text, sizeof(text)) ? strtoull(text, NULL, 10) : 0;
}

static bool is_foreign(const struct statfs *fs)
{
	for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
		if ((uint32_t)fs->f_type == foreign[i])
			return true;
	return false;
}

static void look_file(int fd, const struct stat *st, struct disk_identity *id)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) || is_foreign(&fs))
		return;
	id->inode = st->st_ino;
	id->mtime_ns = (uint64_t)st->st_mtim.tv_sec * 1000000000u + (uint64_t)st->st_mtim.tv_nsec;
	_Static_assert(sizeof(fs.f_fsid) == sizeof(id->file_system), "fsid");
	memcpy(&id->file_system, &fs.f_fsid, sizeof(id->file_system));
	/* Some, such as XFS, derive it from the device number: then use the device's name. */
	if (id->file_system == st->st_dev) {
		id->file_system = 0;
		look_name(blockdev_disk(st->st_dev), id);
	}
}

/* A loop device is identified by its file, if that can be opened here. */
static bool look_loop(dev_t dev, struct disk_identity *id)
{
	char path[PATH_MAX];
	struct stat st;
	int fd;

	if (!blockdev_read(dev, "loop/backing_file", path, sizeof(path)))
		return false;
	fd = open(path, O_PATH | O_CLOEXEC);
	if (fd < 0)
		return true;
	id->offset_bytes += number_of(dev, "loop/offset");
	if (!fstat(fd, &st) && S_ISREG(st.st_mode))
		look_file(fd, &st, id);
	close(fd);
	return true;
}

static void look_device(dev_t dev, struct disk_identity *id)
{
	dev_t disk = blockdev_disk(dev);

	if (disk != dev)
		id->offset_bytes += number_of(dev, "start") * 512;
	if (!look_loop(disk, id))
		look_name(disk, id);
}

static int look(const struct disk *disk, struct disk_identity *id, struct error *err)
{
	struct stat st;

	*id = (struct disk_identity){0};
	if (fstat(disk->lock_fd, &st))
		return error_set(err, -errno, "disk %s: %s", disk->config->path, strerror(errno));
	if (S_ISBLK(st.st_mode))
		look_device(st.st_rdev, id);
	else
		look_file(disk->lock_fd, &st, id);
	return 0;
}

/* --- content */
struct piece {
	struct disk_op op; /* reads whole blocks of the disk */
	struct iovec iov;
	uint64_t offset, bytes;
	uint8_t *content;
};

/* Aligned for direct I/O, whatever the blocks of the disk are. */
static void place(struct piece *piece, uint64_t block, uint64_t offset, uint64_t bytes)
{
	uint64_t first = offset / block * block, end = (offset + bytes + block - 1) / block * block;

	piece->offset = offset;
	piece->bytes = bytes;
	piece->op = (struct disk_op){.kind = DISK_READ,
				     .niov = 1,
				     .iov = &piece->iov,
				     .offset = first,
				     .bytes = end - first};
}

/* On small disks the pieces overlap. */
static void place_all(struct piece *piece, uint64_t block, uint64_t size_bytes)
{
	uint64_t end_bytes = size_bytes < END_BYTES ? size_bytes : END_BYTES;
	uint64_t block_bytes = size_bytes < BLOCK_BYTES ? size_bytes : BLOCK_BYTES;

	place(&piece[0], block, 0, end_bytes);
	for (uint64_t i = 1; i <= BLOCKS; i++)
		place(&piece[i], block,
		      (size_bytes - block_bytes) / (BLOCKS + 1) * i / BLOCK_BYTES * BLOCK_BYTES,
		      block_bytes);
	place(&piece[PIECES - 1], block, size_bytes - end_bytes, end_bytes);
}

static uint8_t *give_memory(struct piece *piece, uint64_t align)
{
	uint64_t bytes = 0;
	uint8_t *memory;

	for (uint32_t i = 0; i < PIECES; i++)
		bytes += (piece[i].op.bytes + align - 1) / align * align;
	memory = aligned_alloc(align, bytes);
	bytes = 0;
	for (uint32_t i = 0; memory && i < PIECES; i++) {
		piece[i].iov = (struct iovec){memory + bytes, piece[i].op.bytes};
		piece[i].content = memory + bytes + (piece[i].offset - piece[i].op.offset);
		bytes += (piece[i].op.bytes + align - 1) / align * align;
	}
	return memory;
}

static void hash_pieces(const struct piece *piece, const char *path, uint8_t hash[16])
{
	XXH128_canonical_t canonical;
	XXH3_state_t state;

	XXH3_128bits_reset(&state);
	for (uint32_t i = 0; i < PIECES; i++) {
		if (piece[i].op.result) {
			log_warn("%s: cannot be read at %" PRIu64 ": %s", path, piece[i].offset,
				 strerror(-piece[i].op.result));
			return;
		}
		XXH3_128bits_update(&state, piece[i].content, piece[i].bytes);
	}
	XXH128_canonicalFromHash(&canonical, XXH3_128bits_digest(&state));
	memcpy(hash, &canonical, sizeof(canonical));
}

int disk_identity_read(struct disk_identity *id, struct disk_uring *u, uint64_t size_bytes,
		       uint64_t deadline_ns, struct error *err)
{
	const struct disk *disk = u->disk;
	const char *path = disk->config->path;
	struct disk_op *op[PIECES];
	struct piece *piece;
	uint8_t *memory;
	int ret = look(disk, id, err);

	if (ret)
		return ret;
	piece = calloc(PIECES, sizeof(*piece));
	if (!piece)
		return error_set(err, -ENOMEM, "disk %s: out of memory", path);
	place_all(piece, disk->block_bytes, size_bytes);
	memory = give_memory(piece, DISK_MAX_BLOCK_BYTES);
	for (uint32_t i = 0; i < PIECES; i++)
		op[i] = &piece[i].op;
	ret = memory ? disk_uring_read(u, op, PIECES, deadline_ns, err)
		     : error_set(err, -ENOMEM, "disk %s: out of memory", path);
	if (!ret)
		hash_pieces(piece, path, id->hash);
	/* Reads that hang keep their memory: the kernel may still write there. */
	if (ret != -ETIMEDOUT) {
		free(memory);
		free(piece);
	}
	return ret;
}

/* --- comparing */
const char *disk_identity_check(const struct disk_identity *id)
{
	size_t n = strnlen((const char *)id->device, sizeof(id->device));

	for (size_t i = 0; i < n; i++)
		if (!is_shown(id->device[i]))
			return "the device's name is not printable text";
	return n < sizeof(id->device) ? NULL : "the device's name is not terminated";
}

static bool has_hash(const struct disk_identity *id)
{
	static const uint8_t none[sizeof(id->hash)];

	return memcmp(id->hash, none, sizeof(none)) != 0;
}

static int compare_where(const struct disk_identity *saved, const struct disk_identity *now,
			 struct error *err)
{
	const char *was = (const char *)saved->device, *is = (const char *)now->device;
	int ret = 0;

	if (*was && strcmp(was, is) != 0)
		ret = error_join(err, -ESTALE, "it was on the device of %s, and is on %s%s now",
				 was, *is ? "that of " : "one that does not tell", is);
	if (saved->file_system && saved->file_system != now->file_system)
		ret = error_join(err, -ESTALE, "it is on another file system");
	if (saved->inode && saved->inode != now->inode)
		ret = error_join(err, -ESTALE,
				 "it is another file: inode %" PRIu64 ", and it was %" PRIu64,
				 now->inode, saved->inode);
	if (saved->offset_bytes != now->offset_bytes)
		ret = error_join(err, -ESTALE,
				 "it begins at byte %" PRIu64 " there, and began at %" PRIu64,
				 now->offset_bytes, saved->offset_bytes);
	return ret;
}

int disk_identity_compare(const struct disk_identity *saved, const struct disk_identity *now,
			  const char *path, struct error *err)
{
	int ret = compare_where(saved, now, err);

	if (!ret && saved->mtime_ns && saved->mtime_ns != now->mtime_ns)
		ret = error_join(err, -ESTALE, "it was written to since the save");
	if (has_hash(saved) && !has_hash(now))
		ret = error_join(err, -EIO, "it cannot be read");
	else if (has_hash(saved) && memcmp(saved->hash, now->hash, sizeof(now->hash)) != 0)
		ret = error_join(err, -ESTALE, "its content is another");
	if (!ret && !saved->inode && !*saved->device)
		log_warn("%s: nothing tells it from another disk but its size%s: see to it that it "
			 "is the one that was saved",
			 path, has_hash(saved) ? " and a part of its content" : "");
	return ret;
}
