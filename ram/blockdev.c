/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram/ram.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <linux/major.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

const char *blockdev_sysfs = "/sys";

/* The device's folder is a symbolic link to where it hangs: ".." is what it is a part of. */
static void path_of(dev_t dev, const char *name, char path[PATH_MAX])
{
	snprintf(path, PATH_MAX, "%s/dev/block/%u:%u/%s", blockdev_sysfs, major(dev), minor(dev),
		 name);
}

bool blockdev_read(dev_t dev, const char *name, char *text, size_t size)
{
	char path[PATH_MAX];
	ssize_t n;
	size_t skip;
	int fd;

	path_of(dev, name, path);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? -1 : read(fd, text, size - 1);
	if (fd >= 0)
		close(fd);
	while (n > 0 && isspace((unsigned char)text[n - 1]))
		n--;
	text[n > 0 ? n : 0] = '\0';
	skip = strspn(text, " \t\n");
	memmove(text, text + skip, strlen(text + skip) + 1);
	return *text;
}

static bool read_number(dev_t dev, const char *name, dev_t *out)
{
	unsigned long major_number, minor_number;
	char text[32], *end;

	if (!blockdev_read(dev, name, text, sizeof(text)))
		return false;
	major_number = strtoul(text, &end, 10);
	if (end == text || *end != ':')
		return false;
	minor_number = strtoul(end + 1, NULL, 10);
	*out = makedev((unsigned int)major_number, (unsigned int)minor_number);
	return true;
}

dev_t blockdev_disk(dev_t dev)
{
	char text[16];
	dev_t disk;

	if (blockdev_read(dev, "partition", text, sizeof(text)) &&
	    read_number(dev, "../dev", &disk))
		return disk;
	return dev;
}

/* Calls fn for each device directly below a partition or a volume (dm, md), until it returns true.
 * Returns whether it did. */
static bool any_below(dev_t dev, bool (*fn)(dev_t below, uint32_t depth), uint32_t depth)
{
	char path[PATH_MAX], name[NAME_MAX + sizeof("slaves//dev")];
	dev_t below = blockdev_disk(dev);
	struct dirent *entry;
	bool found = false;
	DIR *folder;

	if (below != dev)
		return fn(below, depth);
	path_of(dev, "slaves", path);
	folder = opendir(path);
	while (folder && !found && (entry = readdir(folder))) {
		snprintf(name, sizeof(name), "slaves/%s/dev", entry->d_name);
		found = entry->d_name[0] != '.' && read_number(dev, name, &below) &&
			fn(below, depth);
	}
	if (folder)
		closedir(folder);
	return found;
}

/* --- what a file or a block device outlives: followed down to what its bytes really lie in, through overlays, file
 * systems, partitions, volumes (dm, md) and loop devices. What cannot be seen from here promises nothing. */

/* As many steps down; more is a circle, or nothing that a host has. */
#define MAX_DEPTH 16

static bool is_lost(int fd, uint32_t depth);

/* "a\040b" as mountinfo writes "a b"; in place. */
static void unescape(char *text)
{
	char *to = text;

	for (; *text; text++) {
		if (text[0] == '\\' && text[1] >= '0' && text[1] <= '3' && text[2] && text[3]) {
			*to++ = (char)((text[1] - '0') * 64 + (text[2] - '0') * 8 +
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

/* Opens the path that the line of fd's mount names after this key and `skip` more words; -1 if there is
 * none or it cannot be seen from here. */
static int open_of_mount(int fd, const char *key, int skip)
{
	long id = mount_id(fd);
	int found_fd = -1;
	char *line = NULL, *word;
	size_t line_bytes = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return -1;
	while (getline(&line, &line_bytes, f) > 0) {
		if (strtol(line, NULL, 10) != id)
			continue;
		word = strstr(line, key);
		word += word ? strlen(key) : 0;
		for (; word && skip; skip--) {
			word = strchr(word, ' ');
			word += word ? 1 : 0;
		}
		if (!word)
			break;
		word[strcspn(word, ", \n")] = 0;
		unescape(word);
		found_fd = open(word, O_PATH | O_CLOEXEC);
		break;
	}
	free(line);
	fclose(f);
	return found_fd;
}

/* Devices lie on devices; depth bounds the recursion. NOLINTBEGIN(misc-no-recursion) */
static bool is_lost_closing(int fd, uint32_t depth)
{
	bool lost = fd < 0 || is_lost(fd, depth);

	if (fd >= 0)
		close(fd);
	return lost;
}

static bool device_is_lost(dev_t dev, uint32_t depth)
{
	char text[PATH_MAX];

	if (depth > MAX_DEPTH || major(dev) == RAMDISK_MAJOR ||
	    blockdev_read(dev, "mm_stat", text, sizeof(text))) /* zram */
		return true;
	if (blockdev_read(dev, "loop/backing_file", text, sizeof(text)))
		return is_lost_closing(open(text, O_PATH | O_CLOEXEC), depth + 1);
	return any_below(dev, device_is_lost, depth + 1);
}

/* A file system of several devices (btrfs) has a number of its own, and its mount names one of them.
 * One without a device at all is on another host. */
static bool mounted_is_lost(int fd, dev_t dev, uint32_t depth)
{
	int source_fd;
	struct stat st;
	bool lost;

	if (major(dev))
		return device_is_lost(dev, depth);
	source_fd = open_of_mount(fd, " - ", 1);
	if (source_fd < 0)
		return false;
	lost = !fstat(source_fd, &st) && S_ISBLK(st.st_mode) && device_is_lost(st.st_rdev, depth);
	close(source_fd);
	return lost;
}

static bool is_lost(int fd, uint32_t depth)
{
	struct statfs fs;
	struct stat st;

	if (depth > MAX_DEPTH || fstat(fd, &st) || fstatfs(fd, &fs))
		return true;
	if (S_ISBLK(st.st_mode))
		return device_is_lost(st.st_rdev, depth);
	switch ((uint32_t)fs.f_type) {
	case TMPFS_MAGIC:
	case RAMFS_MAGIC:
	case HUGETLBFS_MAGIC:
		return true;
	case OVERLAYFS_SUPER_MAGIC: /* is as durable as what takes its writes */
		return is_lost_closing(open_of_mount(fd, ",upperdir=", 0), depth + 1);
	default:
		return mounted_is_lost(fd, st.st_dev, depth);
	}
}
/* NOLINTEND(misc-no-recursion) */

enum ram_survives ram_fd_survives(int fd)
{
	return is_lost(fd, 0) ? RAM_SURVIVES_PROCESS : RAM_SURVIVES_KEXEC;
}
