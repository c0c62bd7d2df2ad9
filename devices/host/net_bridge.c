/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/net_bridge.h"
#include "vmm/base/bytes.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

/* --- the list of bridges */

#define FILES_MAX 64

/* What the files say about one bridge. Their order does not matter, so an included file is just read later. */
struct bridge_list {
	const char *bridge;
	bool allows;
	char *file[FILES_MAX];
	uint32_t nfiles;
};

/* One that is there already, such as a file that includes itself, is read once. */
static int include(struct bridge_list *list, const char *file, struct error *err)
{
	for (uint32_t i = 0; i < list->nfiles; i++)
		if (!strcmp(list->file[i], file))
			return 0;
	if (*file != '/')
		return error_set(err, -EINVAL, "include %s: must be an absolute path", file);
	if (list->nfiles == FILES_MAX)
		return error_set(err, -EINVAL, "include %s: there are more than %d files", file,
				 FILES_MAX);
	list->file[list->nfiles] = strdup(file);
	return list->file[list->nfiles++] ? 0 : error_set(err, -ENOMEM, "out of memory");
}

static int take_line(struct bridge_list *list, char *line, struct error *err)
{
	static const char space[] = " \t\r\n";
	char *rest, *word = strtok_r(line, space, &rest), *value;
	bool is_meant;

	if (!word || *word == '#')
		return 0;
	value = strtok_r(NULL, space, &rest);
	if (value && !strtok_r(NULL, space, &rest)) {
		is_meant = !strcmp(value, "all") || !strcmp(value, list->bridge);
		if (!strcmp(word, "include"))
			return include(list, value, err);
		if (!strcmp(word, "deny"))
			return is_meant ? error_set(err, -EACCES,
						    "denies bridge %s by 'deny %s', whatever else "
						    "allows it",
						    list->bridge, value)
					: 0;
		if (!strcmp(word, "allow")) {
			list->allows |= is_meant;
			return 0;
		}
	}
	return error_set(err, -EINVAL,
			 "'%s' begins a line that is not 'allow BRIDGE', 'deny BRIDGE' or "
			 "'include FILE'",
			 word);
}

/* A stream of the file; NULL with ret 0: to be left out. */
static FILE *open_list(const char *file, bool is_included, int *ret, struct error *err)
{
	int fd = open(file, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), code = errno;
	struct stat st;
	FILE *stream;

	*ret = 0;
	if (fd < 0 && code == (is_included ? EACCES : ENOENT))
		return NULL;
	if (fd < 0) {
		*ret = error_set(err, -code, "%s: %s", file, strerror(code));
		return NULL;
	}
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		*ret = error_set(err, -EINVAL, "%s: is not a regular file", file);
	else if (st.st_uid || st.st_mode & (S_IWGRP | S_IWOTH))
		*ret = error_set(err, -EPERM,
				 "%s: must be root's and writable by nobody else: chown root %s && "
				 "chmod go-w %s",
				 file, file, file);
	stream = *ret ? NULL : fdopen(fd, "r");
	if (!stream)
		close(fd);
	if (!stream && !*ret)
		*ret = error_set(err, -errno, "%s: %s", file, strerror(errno));
	return stream;
}

static int read_list(struct bridge_list *list, uint32_t i, struct error *err)
{
	const char *file = list->file[i];
	size_t line_bytes = 0;
	char *line = NULL;
	int ret;
	FILE *stream = open_list(file, i > 0, &ret, err);

	if (!stream)
		return ret;
	for (unsigned int n = 1; !ret && getline(&line, &line_bytes, stream) >= 0; n++) {
		ret = take_line(list, line, err);
		if (ret)
			error_prefix(err, "%s:%u", file, n);
	}
	if (!ret && ferror(stream))
		ret = error_set(err, -EIO, "%s: cannot be read", file);
	free(line);
	fclose(stream);
	return ret;
}

int net_bridge_allowed(const char *file, const char *bridge, struct error *err)
{
	struct bridge_list all = {.bridge = bridge};
	int ret = include(&all, file, err);

	for (uint32_t i = 0; !ret && i < all.nfiles; i++)
		ret = read_list(&all, i, err);
	for (uint32_t i = 0; i < all.nfiles; i++)
		free(all.file[i]);
	if (!ret && !all.allows)
		ret = error_set(err, -EACCES,
				"bridge %s is not allowed: as root, add the line 'allow %s' to %s",
				bridge, bridge, file);
	return ret;
}

/* --- the place in it */

static struct ifreq named(const char *interface)
{
	struct ifreq ifr = {0};

	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", interface);
	return ifr;
}

/* A bridge without an address of its own takes the lowest of its ports': so that of a tap is high, and the same after
 * each start. It must not be the guest's. */
static void port_address(const uint8_t mac[6], struct sockaddr *address)
{
	address->sa_family = ARPHRD_ETHER;
	memcpy(address->sa_data, mac, 6);
	address->sa_data[0] = (char)(mac[0] == 0xfe ? 0xfa : 0xfe);
}

int net_bridge_join(const char *bridge, const char *tap, const uint8_t mac[6], struct error *err)
{
	struct ifreq of_bridge = named(bridge), mtu = named(tap), address = named(tap),
		     port = named(bridge), up = named(tap);
	const struct {
		unsigned long request;
		struct ifreq *ifr;
	} steps[] = {
		{SIOCSIFMTU, &mtu}, /* the bridge's own may follow that of its ports */
		{SIOCSIFHWADDR, &address},
		{SIOCBRADDIF, &port},
		{SIOCSIFFLAGS, &up},
	};
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0), ret;

	ret = fd < 0 || ioctl(fd, SIOCGIFMTU, &of_bridge) ? -errno : 0;
	mtu.ifr_mtu = of_bridge.ifr_mtu;
	port_address(mac, &address.ifr_hwaddr);
	port.ifr_ifindex = (int)if_nametoindex(tap);
	up.ifr_flags = IFF_UP | IFF_MULTICAST;
	for (size_t i = 0; !ret && i < ARRAY_SIZE(steps); i++)
		ret = ioctl(fd, steps[i].request, steps[i].ifr) ? -errno : 0;
	if (ret)
		error_set(err, ret, "tap %s cannot be made a port of bridge %s: %s", tap, bridge,
			  strerror(-ret));
	if (fd >= 0)
		close(fd);
	return ret;
}
