/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Where guest RAM lies: the open file, its kind, and what its file system outlives. */
#include "ram/backend.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PAGE_BYTES	4096u
#define DAX_PREFIX	"/dev/dax"
#define OVERLAY_NESTING 3

bool place_is_hugetlbfs(const struct ram_place *place)
{
	return (uint32_t)place->fs.f_type == HUGETLBFS_MAGIC;
}

uint64_t place_file_align(const struct ram_place *place)
{
	return place_is_hugetlbfs(place) ? (uint64_t)place->fs.f_bsize : PAGE_BYTES;
}

/* "a\040b" as mountinfo writes "a b"; in place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') << 6 | (text[2] - '0') << 3 |
				       (text[3] - '0'));
			text += 3;
		} else {
			*to++ = *text;
		}
	}
	*to = 0;
}

static long mount_id(int fd)
{
	char name[64], line[128];
	long id = -1;
	FILE *f;

	snprintf(name, sizeof(name), "/proc/self/fdinfo/%d", fd);
	f = fopen(name, "re");
	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, "mnt_id:", 7))
			id = strtol(line + 7, NULL, 10);
	fclose(f);
	return id;
}

/* The folder that takes an overlay's writes, opened; -1 if it cannot be seen from here. */
static int open_upper(int fd)
{
	long id = mount_id(fd);
	int upper_fd = -1;
	char *line = NULL, *upper;
	size_t line_bytes = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -1;
	while (getline(&line, &line_bytes, f) > 0) {
		if (strtol(line, NULL, 10) != id)
			continue;
		upper = strstr(line, ",upperdir=");
		if (!upper)
			break;
		upper += strlen(",upperdir=");
		upper[strcspn(upper, ", \n")] = 0;
		unescape(upper);
		upper_fd = open(upper, O_PATH | O_CLOEXEC);
		break;
	}
	free(line);
	fclose(f);
	return upper_fd;
}

static enum ram_survives fs_survives(const struct statfs *fs)
{
	switch ((uint32_t)fs->f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return RAM_SURVIVES_PROCESS;
	default:
		return RAM_SURVIVES_KEXEC;
	}
}

/* From an overlay's fd and statfs to those of its upper layer. */
static bool descend(int *fd, struct statfs *fs)
{
	int upper_fd = open_upper(*fd);

	close(*fd);
	*fd = upper_fd;
	return upper_fd >= 0 && !fstatfs(upper_fd, fs);
}

/* An overlay is as durable as what is under it; one whose upper layer is hidden promises nothing. */
static enum ram_survives overlay_survives(int fd, struct statfs fs)
{
	enum ram_survives survives = RAM_SURVIVES_PROCESS;
	int nesting;

	fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	for (nesting = 0; nesting < OVERLAY_NESTING && descend(&fd, &fs); nesting++) {
		if ((uint32_t)fs.f_type == OVERLAYFS_SUPER_MAGIC)
			continue;
		survives = fs_survives(&fs);
		break;
	}
	if (fd >= 0)
		close(fd);
	return survives;
}

static enum ram_survives survives_of(int fd, const struct statfs *fs)
{
	if ((uint32_t)fs->f_type == OVERLAYFS_SUPER_MAGIC)
		return overlay_survives(fd, *fs);
	return fs_survives(fs);
}

enum ram_survives ram_fd_survives(int fd)
{
	struct statfs fs;

	return fstatfs(fd, &fs) ? RAM_SURVIVES_PROCESS : survives_of(fd, &fs);
}

int place_look(struct ram_place *place, int fd, const char *path, struct error *err)
{
	place->path = path;
	if (fstat(fd, &place->st) || fstatfs(fd, &place->fs))
		return error_set(err, -errno, "%s: %s", path, strerror(errno));
	place->survives = survives_of(fd, &place->fs);
	return 0;
}

static int open_failed(const char *path, int error_number, struct error *err)
{
	if (error_number == ENOENT)
		return error_set(err, -ENOENT, "%s: no such folder to create the file in", path);
	return error_set(err, -error_number, "%s: cannot open for reading and writing: %s", path,
			 strerror(error_number));
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
					 "large enough for all its VMs (fallocate -l)",
					 path);
		fd = open(path, flags | O_CREAT | O_EXCL, 0600);
		*created = fd >= 0;
	}
	if (fd < 0)
		return open_failed(path, errno, err);
	ret = place_look(place, fd, path, err);
	if (ret) {
		if (*created)
			unlink(path);
		close(fd);
		return ret;
	}
	return fd;
}
