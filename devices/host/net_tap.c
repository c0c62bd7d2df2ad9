/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back end: an Ethernet interface of the host's. Its packets have the header that the guest's have,
 * so both go through as they are, and the kernel checks what the guest put in.
 * Documentation/networking/tuntap.rst. */
#include "devices/host/net_backend.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/ethtool.h>
#include <linux/if_tun.h>
#include <linux/sockios.h>
#include <linux/virtio_net.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

struct net_tap {
	bool is_multi_queue;
	uint32_t npairs; /* the kernel delivers to the first of them */
};

static bool tap_claims(const struct net_config *config)
{
	struct ifreq ifr = {0};

	return config->kind == NET_TAP ||
	       (config->kind == NET_FD && !ioctl(config->fd, TUNGETIFF, &ifr));
}

#define HOW_BYTES 160

/* Is the interface of that name one? Its driver says so. */
static bool is_tap(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {.ifr_data = (char *)&info};
	bool is_tun;

	if (fd < 0)
		return false;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	is_tun = !ioctl(fd, SIOCETHTOOL, &ifr) && !strcmp(info.driver, "tun");
	close(fd);
	return is_tun && !strcmp(info.bus_info, "tap");
}

/* How to make one that fits, and stays. */
static const char *how_to_make(const struct net_backend *be, const char *tap, char text[HOW_BYTES])
{
	snprintf(text, HOW_BYTES,
		 "ip tuntap add dev %.15s mode tap user %u%s && ip link set %.15s up", tap,
		 (unsigned int)getuid(), be->config->queues > 1 ? " multi_queue" : "", tap);
	return text;
}

static int refused(const struct net_backend *be, int code, struct error *err)
{
	const char *tap = be->config->path;
	char how[HOW_BYTES];

	how_to_make(be, tap, how);
	if (code == -EBUSY)
		return error_set(err, code,
				 "%s: tap %s is another process's: end it, or take another",
				 be->name, tap);
	if (!if_nametoindex(tap))
		return error_set(err, code,
				 "%s: there is no tap %s, and this user cannot make one (%s): as "
				 "root, %s",
				 be->name, tap, strerror(-code), how);
	/* Only a tap may be deleted and made anew: anything else, such as eth0, is the host's. */
	if (!is_tap(tap))
		return error_set(err, code,
				 "%s: %s is not a tap: give tap= the name of one; as root, this "
				 "makes one: %s",
				 be->name, tap, how_to_make(be, "NAME", how));
	if (code == -EINVAL)
		return error_set(err, code,
				 "%s: tap %s is one %s multi_queue, which does not go with "
				 "queues=%u: take another, or as root, ip link del %s && %s",
				 be->name, tap, be->config->queues > 1 ? "without" : "with",
				 be->config->queues, tap, how);
	return error_set(err, code,
			 "%s: tap %s is not this user's (%s): as root, ip link del %s && %s",
			 be->name, tap, strerror(-code), tap, how);
}

static int open_tun(const struct net_backend *be, struct error *err)
{
	static const struct {
		int code;
		const char *way_out;
	} known[] = {
		{ENOENT, ": modprobe tun"},
		{ENODEV, ": modprobe tun"},
		{EACCES, ": give this user access to it (chmod or an ACL)"},
		{EPERM, ": let the container or cgroup that this process is in use it"},
	};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK), code = errno;
	const char *way_out = "";

	if (fd >= 0)
		return fd;
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (known[i].code == code)
			way_out = known[i].way_out;
	return error_set(err, -code, "%s: /dev/net/tun: %s%s", be->name, strerror(code), way_out);
}

static int open_queue(struct net_backend *be, uint32_t pair, struct error *err)
{
	struct ifreq ifr = {.ifr_flags = TAP_FLAGS};
	bool is_new = !if_nametoindex(be->config->path);
	char how[HOW_BYTES];
	int fd;

	if (strlen(be->config->path) >= sizeof(ifr.ifr_name))
		return error_set(err, -EINVAL,
				 "%s: tap=%s: an interface's name has up to %zu bytes", be->name,
				 be->config->path, sizeof(ifr.ifr_name) - 1);
	if (is_new && be->makes_nothing)
		return error_set(
			err, -ENODEV,
			"%s: there is no tap %s, to which a saved guest comes back: make it "
			"as it was, bridge and all (as root, %s), then run the same "
			"command again",
			be->name, be->config->path, how_to_make(be, be->config->path, how));
	memcpy(ifr.ifr_name, be->config->path, strlen(be->config->path));
	if (be->config->queues > 1)
		ifr.ifr_flags |= IFF_MULTI_QUEUE;
	fd = open_tun(be, err);
	if (fd < 0)
		return fd;
	be->fd[pair] = fd;
	if (ioctl(fd, TUNSETIFF, &ifr))
		return refused(be, -errno, err);
	if (is_new)
		log_info("%s: made tap %s, which goes with this process; for one that stays, as "
			 "it must for an update: %s",
			 be->name, be->config->path, how_to_make(be, be->config->path, how));
	return 0;
}

/* A descriptor that was opened by somebody else, with the flags that he chose. */
static int adopt(struct net_backend *be, struct error *err)
{
	const int wanted = TAP_FLAGS;
	struct ifreq ifr = {0};
	int ret = net_backend_adopt(be, err);

	if (ret)
		return ret;
	if (fcntl(be->fd[0], F_SETFL, O_RDWR | O_NONBLOCK) || ioctl(be->fd[0], TUNGETIFF, &ifr))
		return error_set(err, -errno, "%s: descriptor %d: %s", be->name, be->config->fd,
				 strerror(errno));
	if ((ifr.ifr_flags & wanted) != wanted)
		return error_set(err, -EINVAL,
				 "%s: descriptor %d is a tap without IFF_TAP, IFF_NO_PI or "
				 "IFF_VNET_HDR: open it with all three",
				 be->name, be->config->fd);
	return 0;
}

/* Frames to an interface that is down are lost, and nobody would know why. */
static void warn_if_down(const struct net_backend *be)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	if (fd < 0)
		return;
	if (!ioctl(be->fd[0], TUNGETIFF, &ifr) && !ioctl(fd, SIOCGIFFLAGS, &ifr) &&
	    !(ifr.ifr_flags & IFF_UP))
		log_warn("%s: interface %s is down: ip link set %s up", be->name, ifr.ifr_name,
			 ifr.ifr_name);
	close(fd);
}

static int tap_open(struct net_backend *be, struct error *err)
{
	struct net_tap *tap = calloc(1, sizeof(*tap));
	int header_bytes = NET_HDR_BYTES, ret = -ENOMEM;

	be->own = tap;
	if (!tap) {
		error_set(err, ret, "%s: out of memory", be->name);
		goto close_backend;
	}
	tap->is_multi_queue = be->config->kind == NET_TAP && be->config->queues > 1;
	tap->npairs = be->config->queues;
	if (be->config->kind == NET_FD)
		ret = adopt(be, err);
	else
		for (uint32_t i = 0; i < be->config->queues; i++) {
			ret = open_queue(be, i, err);
			if (ret)
				break;
		}
	if (ret)
		goto close_backend;
	if (ioctl(be->fd[0], TUNSETVNETHDRSZ, &header_bytes)) {
		ret = error_set(err, -errno, "%s: TUNSETVNETHDRSZ: %s", be->name, strerror(errno));
		goto close_backend;
	}
	warn_if_down(be);
	return 0;

close_backend:
	net_backend_close(be);
	return ret;
}

static void tap_close(struct net_backend *be)
{
	free(be->own);
}

static ssize_t tap_receive(struct net_backend *be, uint32_t pair, const struct iovec *iov,
			   uint32_t niov)
{
	ssize_t n = readv(be->fd[pair], iov, (int)niov);

	if (n < 0 && (errno == EBADFD || errno == EIO)) {
		log_error("%s: the interface is gone: the card has no network from now on",
			  be->name);
		net_backend_lost(be, pair);
	}
	if (n < 0)
		return errno == EFAULT ? -EFAULT : -EAGAIN;
	return n;
}

static int tap_send(struct net_backend *be, uint32_t pair, const struct iovec *iov, uint32_t niov)
{
	/* EINVAL for a header that makes no sense, EIO while the interface is down: lost. */
	if (writev(be->fd[pair], iov, (int)niov) >= 0 || (errno != EAGAIN && errno != EFAULT))
		return 0;
	return -errno;
}

static int tap_set_offloads(struct net_backend *be, uint64_t features)
{
	static const struct {
		uint8_t feature;
		unsigned int flag;
	} offload[] = {
		{VIRTIO_NET_F_GUEST_CSUM, TUN_F_CSUM},
		{VIRTIO_NET_F_GUEST_TSO4, TUN_F_TSO4},
		{VIRTIO_NET_F_GUEST_TSO6, TUN_F_TSO6},
		{VIRTIO_NET_F_GUEST_ECN, TUN_F_TSO_ECN},
	};
	unsigned int flags = 0;

	for (size_t i = 0; i < sizeof(offload) / sizeof(offload[0]); i++)
		if (features >> offload[i].feature & 1)
			flags |= offload[i].flag;
	return ioctl(be->fd[0], TUNSETOFFLOAD, (unsigned long)flags) ? -errno : 0;
}

/* The kernel spreads packets over the queues that are attached: none may go where nobody looks. */
static void tap_set_pairs(struct net_backend *be, uint32_t n)
{
	struct net_tap *tap = be->own;

	for (uint32_t i = 0; tap->is_multi_queue && i < be->config->queues; i++) {
		struct ifreq ifr = {.ifr_flags = i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if ((i < n) != (i < tap->npairs) && ioctl(be->fd[i], TUNSETQUEUE, &ifr))
			log_error("%s: TUNSETQUEUE: %s", be->name, strerror(errno));
	}
	tap->npairs = n;
}

const struct net_backend_ops net_tap_ops = {
	.type = "tap",
	.offloads = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
		    1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN |
		    1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		    1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |
		    1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
	.claims = tap_claims,
	.open = tap_open,
	.close = tap_close,
	.receive = tap_receive,
	.send = tap_send,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
};
