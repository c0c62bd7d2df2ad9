/* SPDX-License-Identifier: GPL-2.0-or-later */
#define XXH_INLINE_ALL
#include "devices/host/disk.h"
#include "ram/ram.h"
#include "vmm/base/bytes.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/fs.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <xxhash.h>

/* Formats whose bytes are not the disk's. A guest that saw one raw could write a header of its own,
 * and with it name any file of the host to whoever probes the image next. */
static const struct format {
	const char *name; /* as qemu-img -f takes it */
	int32_t offset;	  /* negative: from the end */
	uint32_t nbytes;
	const char *magic;
} format_table[] = {
	{"qcow", 0, 8, "QFI\xfb\0\0\0\1"},
	{"qcow2", 0, 4, "QFI\xfb"},
	{"qed", 0, 4, "QED\0"},
	{"vmdk", 0, 4, "KDMV"},
	{"vmdk", 0, 4, "COWD"},
	{"vmdk", 0, 21, "# Disk DescriptorFile"},
	{"vhdx", 0, 8, "vhdxfile"},
	{"vpc", 0, 8, "conectix"},
	{"vpc", -512, 8, "conectix"},
	{"vdi", 64, 4, "\x7f\x10\xda\xbe"},
	{"parallels", 0, 16, "WithoutFreeSpace"},
	{"parallels", 0, 16, "WithouFreSpacExt"},
	{"dmg", -512, 4, "koly"},
};

static const char *probe_format(const struct disk *disk)
{
	for (size_t i = 0; i < ARRAY_SIZE(format_table); i++) {
		const struct format *f = &format_table[i];
		off_t at = f->offset < 0 ? (off_t)disk->size_bytes + f->offset : f->offset;
		char head[32];

		if (at >= 0 && pread(disk->lock_fd, head, f->nbytes, at) == (ssize_t)f->nbytes &&
		    !memcmp(head, f->magic, f->nbytes))
			return f->name;
	}
	return NULL;
}

static int refuse_formats(const struct disk *disk, bool saved, struct error *err)
{
	const char *path = disk->config->path;
	const char *format = disk->config->is_raw ? NULL : probe_format(disk);

	if (!format)
		return 0;
	if (saved) {
		log_warn("%s looks like a %s image now; the saved guest had it as a raw disk, and "
			 "has it again (format=raw makes that permanent)",
			 path, format);
		return 0;
	}
	return error_set(err, -EINVAL,
			 "%s is a %s image, and a disk must be raw: convert it (qemu-img convert "
			 "-f %s -O raw %s NEW) or serve it as a block device (qemu-nbd "
			 "--connect=/dev/nbd0 -f %s %s); if it is a raw disk whose guest wrote "
			 "that there, give format=raw",
			 path, format, format, path, format, path);
}

/* The lock bytes are those of QEMU and its tools, so that they and we keep off each other's images:
 * bytes from 100: what this process does; from 200: what others must not do; the second of each is
 * writing. */
#define LOCK_READS	100
#define LOCK_WRITES	101
#define LOCK_NO_WRITERS 201
#define LOCK_ALL_BYTES	200

static int lock(const struct disk *disk, struct error *err)
{
	const char *path = disk->config->path;
	const int fd = disk->lock_fd;
	const bool look = disk->config->only_look;
	int ret;

	if (disk->config->readonly) {
		ret = file_lock(fd, F_RDLCK, LOCK_READS, 1, look);
		if (!ret)
			ret = file_lock(fd, F_RDLCK, LOCK_NO_WRITERS, 1, look);
		/* Those who write share their bytes with each other: ours would not meet theirs. */
		if (!ret)
			ret = file_lock(fd, F_WRLCK, LOCK_WRITES, 1, true);
	} else {
		ret = file_lock(fd, F_WRLCK, LOCK_READS, LOCK_ALL_BYTES, look);
	}
	if (ret == -EAGAIN)
		return error_set(err, -EAGAIN, "%s is in use by another VM or tool%s", path,
				 disk->config->readonly
					 ? " that writes to it: stop that one first"
					 : ": stop that one first (only readers can share an "
					   "image, all of them with readonly=on)");
	if (ret)
		return error_set(err, ret,
				 "%s: its file system cannot lock (%s), so two VMs might use the "
				 "same disk: mount it with locks (NFS: without nolock), or move "
				 "the image",
				 path, strerror(-ret));
	return 0;
}

#define WAIT                                                                                   \
	": the saved guest needs the one that it had: wait for it, then run the same command " \
	"again"

/* O_EXCL: no file system, volume manager or swap of the host has the device either. */
static int open_lock_fd(struct disk *disk, bool saved, struct error *err)
{
	const struct disk_config *config = disk->config;
	int flags = O_CLOEXEC | O_NONBLOCK | (config->readonly ? O_RDONLY : O_RDWR);
	struct stat st;

	if (stat(config->path, &st))
		return error_set(err, -errno, "disk %s: %s%s", config->path, strerror(errno),
				 saved		   ? WAIT
				 : errno == ENOENT ? ": create it (truncate -s 10G FILE)"
						   : "");
	disk->is_block = S_ISBLK(st.st_mode);
	if (!disk->is_block && !S_ISREG(st.st_mode))
		return error_set(err, -EINVAL, "disk %s: neither a regular file nor a block device",
				 config->path);
	if (disk->is_block && !config->readonly)
		flags |= O_EXCL;
	disk->lock_fd = open(config->path, flags);
	/* O_EXCL takes the device; give it back at once. */
	if (disk->lock_fd >= 0 && flags & O_EXCL && config->only_look) {
		close(disk->lock_fd);
		disk->lock_fd = open(config->path, flags & ~O_EXCL);
	}
	if (disk->lock_fd >= 0)
		return 0;
	if (errno == EBUSY)
		return error_set(err, -errno,
				 "disk %s: the host uses it (mounted, swap, LVM, RAID or another "
				 "VM): free it, or give readonly=on",
				 config->path);
	return error_set(err, -errno, "disk %s: %s%s", config->path, strerror(errno),
			 !config->readonly && (errno == EACCES || errno == EROFS || errno == EPERM)
				 ? ": readonly=on needs no write permission"
				 : "");
}

static int open_fd(struct disk *disk, struct error *err)
{
	const struct disk_config *config = disk->config;
	int flags = O_CLOEXEC | (config->readonly ? O_RDONLY : O_RDWR);
	struct stat locked, opened;

	if (config->cache == DISK_CACHE_NONE)
		flags |= O_DIRECT;
	disk->fd = open(config->path, flags);
	if (disk->fd < 0 && errno == EINVAL && flags & O_DIRECT)
		return error_set(err, -EINVAL,
				 "disk %s: its file system has no direct I/O: use cache=writeback",
				 config->path);
	if (disk->fd < 0)
		return error_set(err, -errno, "disk %s: %s", config->path, strerror(errno));
	if (fstat(disk->fd, &opened) || fstat(disk->lock_fd, &locked))
		return error_set(err, -errno, "disk %s: %s", config->path, strerror(errno));
	if (opened.st_dev != locked.st_dev || opened.st_ino != locked.st_ino)
		return error_set(err, -EAGAIN, "disk %s was replaced just now: try again",
				 config->path);
	return 0;
}

static bool is_block_size(uint32_t bytes)
{
	return bytes >= DISK_SECTOR_BYTES && bytes <= DISK_MAX_BLOCK_BYTES &&
	       !(bytes & (bytes - 1));
}

/* Tries larger blocks until a read succeeds: the kernel says what it asks of direct I/O only since
 * 6.1, and not for every file system. An empty file answers whatever it is asked. */
static int probe(struct disk *disk, struct error *err)
{
	uint32_t block = DISK_SECTOR_BYTES;
	uint8_t *buffer = aligned_alloc(DISK_MAX_BLOCK_BYTES, 2ul * DISK_MAX_BLOCK_BYTES);

	if (!buffer)
		return error_set(err, -ENOMEM, "disk %s: out of memory", disk->config->path);
	while (block <= DISK_MAX_BLOCK_BYTES && pread(disk->fd, buffer, block, 0) < 0)
		block *= 2;
	if (block > DISK_MAX_BLOCK_BYTES) {
		free(buffer);
		return error_set(err, -EINVAL,
				 "disk %s: direct I/O fails (%s): use cache=writeback",
				 disk->config->path, strerror(errno));
	}
	disk->memory_align = 1;
	while (disk->memory_align < block &&
	       pread(disk->fd, buffer + disk->memory_align, block, 0) < 0)
		disk->memory_align *= 2;
	if (disk->block_bytes < block)
		disk->block_bytes = block;
	free(buffer);
	return 0;
}

static int measure_direct(struct disk *disk, struct error *err)
{
#ifdef STATX_DIOALIGN
	struct statx stx;

	if (!statx(disk->fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &stx) &&
	    stx.stx_mask & STATX_DIOALIGN && is_block_size(stx.stx_dio_offset_align)) {
		disk->memory_align = stx.stx_dio_mem_align;
		if (disk->block_bytes < stx.stx_dio_offset_align)
			disk->block_bytes = stx.stx_dio_offset_align;
		return 0;
	}
#endif
	return probe(disk, err);
}

static void measure_block_device(struct disk *disk)
{
	unsigned int physical, min_io, opt_io;
	int logical, offset;

	if (!ioctl(disk->fd, BLKSSZGET, &logical) && is_block_size((uint32_t)logical))
		disk->block_bytes = (uint32_t)logical;
	if (!ioctl(disk->fd, BLKPBSZGET, &physical) && is_block_size(physical))
		disk->physical_bytes = physical;
	if (!ioctl(disk->fd, BLKALIGNOFF, &offset) && offset > 0)
		disk->first_bytes = (uint32_t)offset;
	if (!ioctl(disk->fd, BLKIOMIN, &min_io))
		disk->min_io_bytes = min_io;
	if (!ioctl(disk->fd, BLKIOOPT, &opt_io))
		disk->opt_io_bytes = opt_io;
}

static int measure_size(const struct disk *disk, uint64_t *bytes, struct error *err)
{
	struct stat st = {0};

	if (disk->is_block ? ioctl(disk->lock_fd, BLKGETSIZE64, bytes) : fstat(disk->lock_fd, &st))
		return error_set(err, -errno, "disk %s: size: %s", disk->config->path,
				 strerror(errno));
	if (!disk->is_block)
		*bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_size(const struct disk *disk, uint64_t bytes, bool saved, struct error *err)
{
	const char *path = disk->config->path;
	uint64_t rest = bytes % disk->block_bytes;

	if (!bytes)
		return saved ? error_set(err, -EINVAL, "disk %s is empty" WAIT, path)
			     : error_set(err, -EINVAL,
					 "disk %s is empty: give it a size (truncate -s 10G %s)",
					 path, path);
	if (bytes > INT64_MAX)
		return error_set(err, -EFBIG, "disk %s: %" PRIu64 " bytes are too many", path,
				 bytes);
	if (rest)
		return error_set(err, -EINVAL,
				 "disk %s: %" PRIu64 " bytes are no whole number of blocks of "
				 "%u bytes: is it a complete raw image? (truncate -s %" PRIu64
				 " %s would fill it up)",
				 path, bytes, disk->block_bytes, bytes - rest + disk->block_bytes,
				 path);
	return 0;
}

static int measure(struct disk *disk, bool saved, struct error *err)
{
	struct stat st;
	int ret = 0;

	if (fstat(disk->fd, &st))
		return error_set(err, -errno, "disk %s: %s", disk->config->path, strerror(errno));
	disk->memory_align = 1;
	disk->block_bytes = DISK_SECTOR_BYTES;
	if (disk->is_block)
		measure_block_device(disk);
	else if (is_block_size((uint32_t)st.st_blksize))
		disk->physical_bytes = (uint32_t)st.st_blksize;
	if (disk->config->cache == DISK_CACHE_NONE)
		ret = measure_direct(disk, err);
	if (disk->physical_bytes < disk->block_bytes)
		disk->physical_bytes = disk->block_bytes;
	return ret ? ret : check_size(disk, disk->size_bytes, saved, err);
}

int disk_open(struct disk *disk, const struct disk_config *config, bool saved, struct error *err)
{
	int ret;

	*disk = (struct disk){.config = config, .fd = -1, .lock_fd = -1};
	ret = open_lock_fd(disk, saved, err);
	if (!ret)
		ret = lock(disk, err);
	if (!ret)
		ret = measure_size(disk, &disk->size_bytes, err);
	if (!ret)
		ret = refuse_formats(disk, saved, err);
	if (!ret)
		ret = open_fd(disk, err);
	if (!ret)
		ret = measure(disk, saved, err);
	if (ret)
		disk_close(disk);
	return ret;
}

void disk_close(struct disk *disk)
{
	if (disk->fd >= 0)
		close(disk->fd);
	if (disk->lock_fd >= 0)
		close(disk->lock_fd);
	disk->fd = disk->lock_fd = -1;
}

int disk_can_resize(const struct disk *disk, uint64_t size_bytes, uint32_t block_bytes,
		    struct error *err)
{
	const char *path = disk->config->path;
	uint64_t rest = size_bytes % block_bytes, have_bytes = 0;
	int ret;

	if (!size_bytes || size_bytes > INT64_MAX)
		return error_set(err, size_bytes ? -EFBIG : -EINVAL,
				 "disk %s: no disk has %" PRIu64 " bytes", path, size_bytes);
	if (rest)
		return error_set(err, -EINVAL,
				 "disk %s: its guest has blocks of %u bytes, and %" PRIu64
				 " bytes are no whole number of them: %" PRIu64 " would be",
				 path, block_bytes, size_bytes, size_bytes - rest + block_bytes);
	if (!disk->is_block)
		return disk->config->readonly ? error_set(err, -EACCES, "disk %s is readonly", path)
					      : 0;
	ret = measure_size(disk, &have_bytes, err);
	if (!ret && have_bytes != size_bytes)
		ret = error_set(err, -EINVAL,
				"disk %s is a block device of %" PRIu64
				" bytes: resize it on the host first, then ask for that size",
				path, have_bytes);
	return ret;
}

int disk_resize(struct disk *disk, uint64_t size_bytes, struct error *err)
{
	if (!disk->is_block && ftruncate(disk->fd, (off_t)size_bytes))
		return error_set(err, -errno, "disk %s: cannot be resized to %" PRIu64 " bytes: %s",
				 disk->config->path, size_bytes, strerror(errno));
	disk->size_bytes = size_bytes;
	return 0;
}

/* --- identity: what sysfs and the file system say of it */

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
		ret = error_join(err, -ESTALE, "it was on the device of %s, and is now on %s%s",
				 was, *is ? "that of " : "a device without an identifier", is);
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
		log_warn("%s: only its size%s this disk: make sure that it is the one that was "
			 "saved",
			 path,
			 has_hash(saved) ? " and a part of its content identify" : " identifies");
	return ret;
}
