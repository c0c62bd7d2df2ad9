/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where guest RAM lies: the open file and its kind. */
#include "ram/backend.h"
#include "vmm/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096u
#define DAX_PREFIX "/dev/dax"

bool place_is_hugetlbfs(const struct ram_place *place)
{
	return (uint32_t)place->fs.f_type == HUGETLBFS_MAGIC;
}

uint64_t place_file_align(const struct ram_place *place)
{
	return place_is_hugetlbfs(place) ? (uint64_t)place->fs.f_bsize : PAGE_BYTES;
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
