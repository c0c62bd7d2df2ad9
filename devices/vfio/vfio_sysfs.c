/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/vfio/vfio_sysfs.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define NAME_BYTES 256
#define PCI_TO_PCI 0x0604 /* upper part of a class: a bridge */
#define DEVICES	   "/sys/bus/pci/devices"

const char *vfio_sysfs_root = "/sys";

/* The last part of where a link points to; false: there is none. */
static bool link_name(int dir, const char *link, char name[NAME_BYTES])
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, link, target, sizeof(target) - 1);
	const char *slash;

	if (n < 0)
		return false;
	target[n] = 0;
	slash = strrchr(target, '/');
	snprintf(name, NAME_BYTES, "%.255s", slash ? slash + 1 : target);
	return true;
}

/* The first line of a file; "": there is none. */
static const char *line_of(int dir, const char *file, char line[NAME_BYTES])
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, line, NAME_BYTES - 1);

	line[n < 0 ? 0 : n] = 0;
	line[strcspn(line, "\n")] = 0;
	if (fd >= 0)
		close(fd);
	return line;
}

/* N of vfioN, under which its driver serves VFIO (from Linux 6.1 on); -1: none */
static int vfio_number(int device)
{
	struct dirent **entry;
	int number = -1;
	int n = scandirat(device, "vfio-dev", &entry, NULL, alphasort);

	for (int i = 0; i < n; free(entry[i++]))
		if (!strncmp(entry[i]->d_name, "vfio", 4))
			number = (int)strtol(entry[i]->d_name + 4, NULL, 10);
	if (n >= 0)
		free(entry);
	return number;
}

static int check_group(struct vfio_function *function, int device, struct error *err)
{
	char name[NAME_BYTES], kind[NAME_BYTES];

	if (!link_name(device, "iommu_group", name) ||
	    !strcmp(line_of(device, "iommu_group/name", kind), "vfio-noiommu"))
		return error_set(err, -ENODEV,
				 "no IOMMU keeps its DMA within a guest: enable VT-d or AMD-Vi in "
				 "the host's firmware, and boot the host with intel_iommu=on or "
				 "without amd_iommu=off");
	function->group = (uint32_t)strtoul(name, NULL, 10);
	return 0;
}

static int check_driver(struct vfio_function *function, int device, struct error *err)
{
	const char *address = function->address;
	char driver[NAME_BYTES], unbind[128] = "";
	bool bound = link_name(device, "driver", driver);

	function->cdev = vfio_number(device);
	/* Others serve VFIO, too: vendors have their own variants. */
	if (bound && (!strcmp(driver, "vfio-pci") || function->cdev >= 0))
		return 0;
	if (bound)
		snprintf(unbind, sizeof(unbind), "echo %s > " DEVICES "/%s/driver/unbind; ",
			 address, address);
	return error_set(
		err, -EBUSY,
		"is bound to %s, not to vfio-pci: modprobe vfio-pci; echo vfio-pci > " DEVICES
		"/%s/driver_override; %secho %s > /sys/bus/pci/drivers_probe",
		bound ? driver : "no driver", address, unbind, address);
}

/* Has the host a driver on it, which the guest's DMA would reach? */
static bool is_hosts(int device, char driver[NAME_BYTES])
{
	static const char *const harmless[] = {"vfio-pci", "pci-stub", "pcieport"};
	char class[NAME_BYTES];

	if (!link_name(device, "driver", driver))
		return false;
	for (size_t i = 0; i < sizeof(harmless) / sizeof(harmless[0]); i++)
		if (!strcmp(driver, harmless[i]))
			return false;
	return vfio_number(device) < 0 &&
	       strtoul(line_of(device, "class", class), NULL, 16) >> 8 != PCI_TO_PCI;
}

/* The IOMMU tells groups apart, not the devices in one. */
static int check_neighbours(const struct vfio_function *function, int devices, struct error *err)
{
	char driver[NAME_BYTES], hosts[512] = "";
	struct dirent **entry;
	size_t used = 0;
	int n = scandirat(devices, ".", &entry, NULL, alphasort);

	if (n < 0)
		return error_set(err, -errno, "IOMMU group %u: %s", function->group,
				 strerror(errno));
	for (int i = 0; i < n; free(entry[i++])) {
		const char *name = entry[i]->d_name;
		int neighbour = name[0] == '.' || !strcmp(name, function->address)
					? -1
					: openat(devices, name, O_PATH | O_CLOEXEC);

		if (neighbour >= 0 && is_hosts(neighbour, driver) && used < sizeof(hosts))
			used += (size_t)snprintf(hosts + used, sizeof(hosts) - used, "%s%s (%s)",
						 used ? ", " : "", name, driver);
		if (neighbour >= 0)
			close(neighbour);
	}
	free(entry);
	if (!used)
		return 0;
	if (used >= sizeof(hosts))
		strcpy(hosts + sizeof(hosts) - 4, "...");
	return error_set(
		err, -EBUSY,
		"shares IOMMU group %u with what belongs to the host: %s: a group is passed "
		"through as a whole: bind these to vfio-pci as well, or unbind them",
		function->group, hosts);
}

static int check(struct vfio_function *function, int device, struct error *err)
{
	/* Without an IOMMU no binding would succeed. */
	int ret = check_group(function, device, err);
	int devices;

	if (!ret)
		ret = check_driver(function, device, err);
	if (ret)
		return ret;
	devices = openat(device, "iommu_group/devices", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (devices < 0)
		return error_set(err, -errno, "IOMMU group %u: %s", function->group,
				 strerror(errno));
	ret = check_neighbours(function, devices, err);
	close(devices);
	return ret;
}

int vfio_sysfs_look(struct vfio_function *function, const char *address, struct error *err)
{
	char path[PATH_MAX];
	int device, ret;

	*function = (struct vfio_function){.cdev = -1, .fd = -1, .group_fd = -1};
	snprintf(function->address, sizeof(function->address), "%s", address);
	snprintf(path, sizeof(path), "%s/bus/pci/devices/%s", vfio_sysfs_root, address);
	device = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (device < 0)
		return error_set(err, -ENODEV,
				 "the host has no such PCI function: lspci -D shows those it has");
	ret = check(function, device, err);
	close(device);
	return ret;
}
