/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a file or a block device outlives: followed down to what its bytes really lie in, through
 * overlays, file systems, partitions, volumes (dm, md) and loop devices. What cannot be seen from
 * here promises nothing. */
#include "ram/blockdev.h"
#include "ram/ram.h"
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
	return blockdev_any_below(dev, device_is_lost, depth + 1);
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
