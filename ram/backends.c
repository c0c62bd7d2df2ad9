/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where guest RAM lies, and a row for each kind of place. */
#include "ram/backend.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/notify.h"
#include <cpuid.h>
#include <daxctl/libdaxctl.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* --- the open file and its kind */

#define PAGE_BYTES 4096u
#define DAX_PREFIX "/dev/dax"

static bool is_hugetlbfs(const struct ram_place *place)
{
	return (uint32_t)place->fs.f_type == HUGETLBFS_MAGIC;
}

uint64_t place_file_align(const struct ram_place *place)
{
	return is_hugetlbfs(place) ? (uint64_t)place->fs.f_bsize : PAGE_BYTES;
}

int place_check_align(const struct ram_config *config, uint64_t align_bytes, struct error *err)
{
	if (config->offset_bytes % align_bytes || config->size_bytes % align_bytes)
		return error_set(err, -EINVAL,
				 "%s: offset=%" PRIu64 ",size=%" PRIu64
				 ": both must be multiples of its page size %" PRIu64,
				 config->path, config->offset_bytes, config->size_bytes,
				 align_bytes);
	return 0;
}

int place_look(struct ram_place *place, int fd, const char *path, struct error *err)
{
	place->path = path;
	if (fstat(fd, &place->st) || fstatfs(fd, &place->fs))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	place->survives = ram_fd_survives(fd);
	return 0;
}

uint64_t place_free_bytes(const struct statfs *fs)
{
	/* No blocks at all: it has no limit of its own. */
	return fs->f_blocks ? (uint64_t)fs->f_bfree * (uint64_t)fs->f_frsize : UINT64_MAX;
}

static int open_failed(const char *path, int error_number, struct error *err)
{
	if (error_number == ENOENT)
		return error_set(err, -ENOENT, "%s: no such folder to create the file in", path);
	if (error_number == EEXIST)
		return error_set(
			err, -EEXIST,
			"%s: is a symbolic link that leads nowhere: remove it, or give the "
			"path of the file itself",
			path);
	return error_set(err, -error_number, "%s: cannot open for reading and writing: %s", path,
			 strerror(error_number));
}

/* A memfd that is looked at as if it were a new file of that path. */
static int stand_in(struct ram_place *place, const char *path, struct error *err)
{
	char folder[PATH_MAX];
	int dir_fd, fd, ret;

	if (!lstat(path, &place->st)) /* a link that leads nowhere */
		return open_failed(path, EEXIST, err);
	if (snprintf(folder, sizeof(folder), "%s", path) >= (int)sizeof(folder))
		return open_failed(path, ENAMETOOLONG, err);
	dir_fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (dir_fd < 0)
		return open_failed(path, errno, err);
	ret = place_look(place, dir_fd, path, err);
	close(dir_fd);
	if (ret)
		return ret;
	fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (fd < 0 || fstat(fd, &place->st))
		return error_set(err, -errno, "memfd: %s", strerror(errno));
	return fd;
}

int place_open(struct ram_place *place, const struct ram_config *config, bool *created,
	       struct error *err)
{
	const int flags = O_RDWR | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	const char *path = config->path;
	int fd = open(path, flags);
	int ret;

	*created = false;
	if (fd < 0 && errno == ENOENT) {
		/* A plain file in /dev would be RAM that is lost with the next boot. */
		if (!strncmp(path, DAX_PREFIX, strlen(DAX_PREFIX)))
			return error_set(err, -ENOENT,
					 "%s: no such DAX device: 'daxctl list' shows those that "
					 "exist, they need mode devdax and the module device_dax",
					 path);
		if (config->has_offset)
			return error_set(err, -ENOENT,
					 "%s: no such file: with offset= it must exist and be "
					 "large enough for all its VMs (fallocate -l SIZE %s)",
					 path, path);
		if (config->must_exist)
			return error_set(
				err, -ENOENT,
				"RAM %s is not there, and nor is the guest that was saved in it",
				path);
		if (config->make_nothing) {
			*created = true;
			return stand_in(place, path, err);
		}
		fd = open(path, flags | O_CREAT | O_EXCL, 0600);
		*created = fd >= 0;
	}
	if (fd < 0)
		return open_failed(path, errno, err);
	ret = place_look(place, fd, path, err);
	if (ret) {
		struct stat st;

		if (*created && !fstat(fd, &st))
			file_unlink_named(AT_FDCWD, path, &st);
		close(fd);
		return ret;
	}
	return fd;
}

/* --- progress of long steps */

struct ram_progress progress_start(const char *what, const struct ram *ram,
				   const struct ram_watch *watch)
{
	const uint64_t now = clock_now_ns();

	return (struct ram_progress){.what = what,
				     .path = ram_where(ram),
				     .watch = watch,
				     .total_bytes = ram->config.size_bytes,
				     .begun_ns = now,
				     .next_ns = now + CLOCK_NS_PER_S};
}

int progress_report(struct ram_progress *progress, uint64_t done_bytes, struct error *err)
{
	uint64_t now = clock_now_ns();
	char text[128];

	if (now >= progress->next_ns) {
		const double bytes_per_s = (double)done_bytes / (double)(now - progress->begun_ns) *
					   (double)CLOCK_NS_PER_S;
		const double left_bytes = (double)(progress->total_bytes - done_bytes);

		progress->next_ns = now + CLOCK_NS_PER_S;
		snprintf(text, sizeof(text),
			 "%" PRIu64 " of %" PRIu64 " MiB %s, %.0f MiB/s, %.0f s left",
			 done_bytes >> 20, progress->total_bytes >> 20, progress->what,
			 bytes_per_s / (1 << 20), done_bytes ? left_bytes / bytes_per_s : 0.0);
		log_info("%s: %s", progress->path, text);
		notify_busy(text);
	}
	return progress->watch ? progress->watch->fn(progress->watch->opaque, done_bytes, err) : 0;
}

/* --- CPU caches to memory, for media that are memory: Intel SDM, "CLFLUSHOPT" and "CLWB" */

#if !defined(__x86_64__)
#error "writeback_lines() knows x86_64 only"
#endif

#define LINE_BYTES	 64u
#define LEAF7_CLFLUSHOPT (1u << 23)
#define LEAF7_CLWB	 (1u << 24)

static unsigned int leaf7_ebx(void)
{
	unsigned int eax, ebx = 0, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ? ebx : 0;
}

/* On return the lines have left the CPU's caches for memory. */
static void writeback_lines(const void *hva, size_t size_bytes)
{
	const char *line = (const char *)hva - ((uintptr_t)hva & (LINE_BYTES - 1));
	const char *end = (const char *)hva + size_bytes;
	unsigned int has = leaf7_ebx();

	for (; line < end; line += LINE_BYTES) {
		if (has & LEAF7_CLWB)
			__asm__ volatile("clwb %0" : : "m"(*line) : "memory");
		else if (has & LEAF7_CLFLUSHOPT)
			__asm__ volatile("clflushopt %0" : : "m"(*line) : "memory");
		else
			__asm__ volatile("clflush %0" : : "m"(*line) : "memory");
	}
	__asm__ volatile("sfence" : : : "memory");
}

/* --- a DAX device (/dev/daxX.Y, mode devdax): outlives a kexec if the next kernel finds the region again.
 * There is no msync and no need of one: the caches stay coherent over a kexec. libdaxctl pulls in
 * libkmod and libcrypto, so only VMs on DAX devices load it, and not for long. */

#define LIBRARY "libdaxctl.so.1"

/* clang-format off */
#define DAXCTL_FUNCTIONS(F)                                         \
	F(new) F(unref)                                             \
	F(region_get_first) F(region_get_next)                      \
	F(dev_get_first) F(dev_get_next)                            \
	F(dev_get_major) F(dev_get_minor)                           \
	F(dev_get_size) F(dev_get_align)                            \
	F(dev_get_memory) F(dev_is_enabled)
/* clang-format on */

struct daxctl {
	void *library;
/* NOLINTNEXTLINE(bugprone-macro-parentheses): it declares */
#define MEMBER(function) __typeof__(daxctl_##function) *function;
	DAXCTL_FUNCTIONS(MEMBER)
};

static bool load_library(struct daxctl *daxctl, const char *path, struct error *err)
{
	const char *missing = NULL;

	daxctl->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!daxctl->library) {
		error_set(err, -ENOENT, "%s: DAX devices need %s (package libdaxctl1): %s", path,
			  LIBRARY, dlerror());
		return false;
	}
#define RESOLVE(function)                                                                 \
	if (!(*(void **)&daxctl->function = dlsym(daxctl->library, "daxctl_" #function))) \
		missing = "daxctl_" #function;
	DAXCTL_FUNCTIONS(RESOLVE)
	if (!missing)
		return true;
	dlclose(daxctl->library);
	error_set(err, -ENOENT, "%s: %s has no %s: Debian 12's libdaxctl1 has it", path, LIBRARY,
		  missing);
	return false;
}

static struct daxctl_dev *find_device(const struct daxctl *daxctl, struct daxctl_ctx *ctx,
				      dev_t rdev)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;

	for (region = daxctl->region_get_first(ctx); region;
	     region = daxctl->region_get_next(region))
		for (dev = daxctl->dev_get_first(region); dev; dev = daxctl->dev_get_next(dev))
			if (daxctl->dev_get_major(dev) == (int)major(rdev) &&
			    daxctl->dev_get_minor(dev) == (int)minor(rdev))
				return dev;
	return NULL;
}

static int check_device(const struct daxctl *daxctl, struct daxctl_dev *dev, const char *path,
			uint64_t *size_bytes, uint64_t *align_bytes, struct error *err)
{
	if (!dev)
		return error_set(err, -ENODEV,
				 "%s: not a DAX device: 'daxctl list' shows those that exist",
				 path);
	if (!daxctl->dev_is_enabled(dev) || daxctl->dev_get_memory(dev))
		return error_set(err, -ENODEV,
				 "%s: its mode is not devdax: daxctl reconfigure-device "
				 "--mode=devdax",
				 path);
	*size_bytes = daxctl->dev_get_size(dev);
	*align_bytes = daxctl->dev_get_align(dev);
	if (*align_bytes != 2u << 20 && *align_bytes != 1u << 30)
		return error_set(err, -EINVAL,
				 "%s: aligned to %" PRIu64
				 " bytes, not to 2 MiB or 1 GiB: create the namespace with -a 2M",
				 path, *align_bytes);
	return 0;
}

int devdax_query(const struct ram_place *place, uint64_t *size_bytes, uint64_t *align_bytes,
		 struct error *err)
{
	struct daxctl daxctl = {0};
	struct daxctl_ctx *ctx;
	int ret;

	if (!load_library(&daxctl, place->path, err))
		return -ENOENT;
	ret = daxctl.new(&ctx);
	if (ret) {
		ret = error_set(err, ret, "%s: %s does not start", place->path, LIBRARY);
		goto close_library;
	}
	ret = check_device(&daxctl, find_device(&daxctl, ctx, place->st.st_rdev), place->path,
			   size_bytes, align_bytes, err);
	daxctl.unref(ctx);
close_library:
	dlclose(daxctl.library);
	return ret;
}

static int devdax_open(struct ram *ram, const struct ram_place *place, struct error *err)
{
	const struct ram_config *config = &ram->config;
	uint64_t has_bytes = 0, need_bytes;
	int ret = devdax_query(place, &has_bytes, &ram->align_bytes, err);

	if (ret)
		return ret;
	need_bytes = config->offset_bytes + config->size_bytes + ram->align_bytes;
	if (has_bytes < need_bytes)
		return error_set(err, -EINVAL,
				 "%s: has %" PRIu64 " bytes, offset=%" PRIu64 ",size=%" PRIu64
				 " needs %" PRIu64 " (%" PRIu64
				 " for the label): give a smaller size",
				 config->path, has_bytes, config->offset_bytes, config->size_bytes,
				 need_bytes, ram->align_bytes);
	return 0;
}

static int devdax_sync_label(const struct ram *ram, void *hva, uint64_t bytes, struct error *err)
{
	writeback_lines(hva, bytes);
	return 0;
}

const struct ram_backend ram_devdax = {
	.name = "devdax",
	.survives = RAM_SURVIVES_KEXEC,
	.open = devdax_open,
	.sync_label = devdax_sync_label,
};

/* --- a regular file: what it outlives depends on its file system, so there is a row for each kind; all
 * open alike. */

/* Writing goes in pieces small enough to be broken off between them; each msync, at whose end is a flush
 * of the disk, then finds little left to do, and is large enough for that flush not to count. */
#define WRITE_BYTES (8ull << 20)
#define SYNC_BYTES  (256ull << 20)

static int set_size(struct ram *ram, uint64_t bytes, struct error *err)
{
	const char *path = ram->config.path;
	int ret;

	if (ram->backend->allocates && !ram->config.make_nothing) {
		do
			ret = fallocate(ram->fd, 0, 0, (off_t)bytes);
		while (ret && errno == EINTR);
		if (!ret)
			return 0;
		if (errno != EOPNOTSUPP)
			return error_set(err, -errno, "%s: cannot allocate %" PRIu64 " bytes: %s",
					 path, bytes, strerror(errno));
		log_warn("%s: its file system cannot allocate space ahead: the guest stops if "
			 "it runs full",
			 path);
	}
	if (ftruncate(ram->fd, (off_t)bytes))
		return error_set(err, -errno, "%s: cannot make it %" PRIu64 " bytes large: %s",
				 path, bytes, strerror(errno));
	return 0;
}

/* What is not there when the guest first touches it costs the guest. A file that may hold a saved
 * guest is opened all the same. */
static int check_space(const struct ram *ram, const struct ram_place *place, uint64_t need_bytes,
		       struct error *err)
{
	uint64_t has_bytes = (uint64_t)place->st.st_blocks * 512;
	uint64_t free_bytes = place_free_bytes(&place->fs);

	/* Huge pages are reserved by the mapping. */
	if (is_hugetlbfs(place) || need_bytes <= has_bytes || need_bytes - has_bytes <= free_bytes)
		return 0;
	if (ram->created)
		return error_set(
			err, -ENOSPC,
			"%s: size=%" PRIu64 " needs %" PRIu64 " MiB, its file system has %" PRIu64
			" MiB left: give a smaller size=, free some, or enlarge it (tmpfs: "
			"mount -o remount,size=)",
			ram->config.path, ram->config.size_bytes, need_bytes >> 20,
			free_bytes >> 20);
	log_warn(
		"%s: %" PRIu64 " MiB of it are not allocated yet, and its file system has %" PRIu64
		" MiB left: the guest stops as internal-error if it needs more: enlarge it (tmpfs: "
		"mount -o remount,size=)",
		ram->config.path, (need_bytes - has_bytes) >> 20, free_bytes >> 20);
	return 0;
}

/* A guest that is saved here is not to be removed for a wrong size=. */
/* -ERANGE: another size. */
static int check_size(const struct ram *ram, uint64_t has_bytes, uint64_t need_bytes,
		      struct error *err)
{
	const struct ram_config *config = &ram->config;
	uint64_t label_bytes = label_unit_bytes(ram->align_bytes);

	if (has_bytes == need_bytes || (config->has_offset && has_bytes > need_bytes))
		return 0;
	if (config->has_offset)
		return error_set(err, -ERANGE,
				 "%s: has %" PRIu64 " bytes, offset=%" PRIu64 ",size=%" PRIu64
				 " needs %" PRIu64 " (%" PRIu64 " for the label): enlarge it",
				 config->path, has_bytes, config->offset_bytes, config->size_bytes,
				 need_bytes, label_bytes);
	if (has_bytes == config->size_bytes + LABEL_PAGE_BYTES)
		return error_set(
			err, -EINVAL,
			"%s: was made by a stasis before 1.0.0: load the guest that is saved "
			"in it, if any, by that version and shut it down, then remove the "
			"file",
			config->path);
	return error_set(err, -ERANGE,
			 "%s: has %" PRIu64 " bytes, size=%" PRIu64 " needs %" PRIu64 " (%" PRIu64
			 " for the label): %s",
			 config->path, has_bytes, config->size_bytes, need_bytes, label_bytes,
			 has_bytes > need_bytes
				 ? "give its size, or offset=0 if it holds more VMs"
				 : "give its size, or remove it to have it made anew");
}

static int file_open(struct ram *ram, const struct ram_place *place, struct error *err)
{
	uint64_t need_bytes;
	int ret;

	ram->align_bytes = place_file_align(place);
	need_bytes = ram->config.offset_bytes + ram->config.size_bytes +
		     label_unit_bytes(ram->align_bytes);
	if (!ram->created) {
		ret = check_size(ram, (uint64_t)place->st.st_size, need_bytes, err);
		need_bytes = (uint64_t)place->st.st_size; /* other VMs' too */
		return ret ? ret : check_space(ram, place, need_bytes, err);
	}
	ret = check_space(ram, place, need_bytes, err);
	return ret ? ret : set_size(ram, need_bytes, err);
}

static int sync_failed(const struct ram *ram, struct error *err)
{
	return error_set(err, -errno, "%s: cannot write RAM back: %s", ram->config.path,
			 strerror(errno));
}

static int sync_range(const struct ram *ram, void *hva, uint64_t bytes, struct error *err)
{
	return msync(hva, bytes, MS_SYNC) ? sync_failed(ram, err) : 0;
}

/* Content only; metadata and the disk's own cache are msync's. */
static int write_range(const struct ram *ram, uint64_t at, uint64_t bytes, struct error *err)
{
	const unsigned int all =
		SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER;

	return sync_file_range(ram->fd, (off_t)(ram->config.offset_bytes + at), (off_t)bytes, all)
		       ? sync_failed(ram, err)
		       : 0;
}

/* A file made by this process is durable only once its folder is. */
static int sync_folder(const struct ram *ram, struct error *err)
{
	char folder[PATH_MAX];
	int fd, ret = 0;

	if (snprintf(folder, sizeof(folder), "%s", ram->config.path) >= (int)sizeof(folder))
		return error_set(err, -ENAMETOOLONG, "%s: path too long", ram->config.path);
	fd = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0 || fsync(fd))
		ret = error_set(err, -errno, "%s: cannot make its folder durable: %s",
				ram->config.path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return ret;
}

static int file_sync(struct ram *ram, const struct ram_watch *watch, struct error *err)
{
	struct ram_progress progress = progress_start("written to disk", ram, watch);
	uint64_t size_bytes = ram->config.size_bytes, synced = 0, at, bytes;
	int ret;

	for (at = 0; at < size_bytes; at += bytes) {
		bytes = size_bytes - at < WRITE_BYTES ? size_bytes - at : WRITE_BYTES;
		ret = write_range(ram, at, bytes, err);
		if (!ret && (at + bytes == size_bytes || at + bytes - synced == SYNC_BYTES)) {
			ret = sync_range(ram, ram->hva + synced, at + bytes - synced, err);
			synced = at + bytes;
		}
		ret = ret ? ret : progress_report(&progress, at + bytes, err);
		if (ret)
			return ret;
	}
	return ram->created ? sync_folder(ram, err) : 0;
}

const struct ram_backend ram_file = {
	.name = "file",
	.survives = RAM_SURVIVES_KEXEC,
	.allocates = true,
	.open = file_open,
	.sync = file_sync,
	.sync_label = sync_range,
};

#define INSTEAD "save with mode=restart, or start with RAM on a DAX device or in a file on a disk"

/* ramfs, and whatever stands on either, too: overlays, file systems on loop devices. */
const struct ram_backend ram_tmpfs = {
	.name = "tmpfs",
	.survives = RAM_SURVIVES_PROCESS,
	.instead = INSTEAD,
	.open = file_open,
};

const struct ram_backend ram_hugetlbfs = {
	.name = "hugetlbfs",
	.survives = RAM_SURVIVES_PROCESS,
	.instead = INSTEAD,
	.open = file_open,
};

/* --- a memfd, where no path was given: gone with the process. */

static int memfd_open(struct ram *ram, const struct ram_place *place, struct error *err)
{
	uint64_t need_bytes = ram->config.size_bytes + label_unit_bytes(PAGE_BYTES);

	ram->align_bytes = PAGE_BYTES;
	ram->fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (ram->fd < 0 || ftruncate(ram->fd, (off_t)need_bytes))
		return error_set(err, -errno, "memfd of %" PRIu64 " bytes for guest RAM: %s",
				 need_bytes, strerror(errno));
	ram->created = true;
	return 0;
}

const struct ram_backend ram_memfd = {
	.name = "memfd",
	.survives = RAM_SURVIVES_NOTHING,
	.instead = "start with --memory size=...,path=... on a DAX device or a file on a disk",
	.open = memfd_open,
};

const struct ram_backend *ram_backend_of(const struct ram_place *place, struct error *err)
{
	if (!place->path)
		return &ram_memfd;
	if (S_ISCHR(place->st.st_mode))
		return &ram_devdax;
	if (S_ISREG(place->st.st_mode) && is_hugetlbfs(place))
		return &ram_hugetlbfs;
	if (S_ISREG(place->st.st_mode))
		return place->survives == RAM_SURVIVES_KEXEC ? &ram_file : &ram_tmpfs;
	error_set(err, -EINVAL, "%s: guest RAM can be a DAX device or a regular file, not a %s",
		  place->path,
		  S_ISBLK(place->st.st_mode) ? "block device (make it mode devdax)"
					     : "file of this type");
	return NULL;
}
