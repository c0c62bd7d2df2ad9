/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram/blockdev.h"
#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sysmacros.h>
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

bool blockdev_any_below(dev_t dev, bool (*fn)(dev_t below, uint32_t depth), uint32_t depth)
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
