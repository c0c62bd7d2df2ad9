/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/net_backend.h"
#include "devices/host/net_bridge.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
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
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

/* The card's only pair has the inherited descriptor itself, so that the peer sees it closed when the
 * card closes it. */
static int adopt_fd(struct net_backend *be, struct error *err)
{
	be->fd[0] = be->config->fd;
	if (fcntl(be->fd[0], F_SETFD, FD_CLOEXEC))
		return error_set(err, -errno, "%s: descriptor %d: %s", be->name, be->config->fd,
				 strerror(errno));
	return 0;
}

/* Nobody is at the other end of the pair's descriptor any more. */
static void disconnected(struct net_backend *be, uint32_t pair)
{
	be->on_disconnect(be->opaque, be->fd[pair]);
	close(be->fd[pair]);
	be->fd[pair] = -1;
}

/* --- a tap: an Ethernet interface of the host. Its packets have the header that the guest's have, so
 * both pass as they are, and the kernel checks what the guest put in.
 * Documentation/networking/tuntap.rst. */

#define TAP_FLAGS (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR)

static bool tap_claims(const struct net_config *config)
{
	struct ifreq ifr = {0};

	return config->kind == NET_TAP ||
	       (config->kind == NET_FD && !ioctl(config->fd, TUNGETIFF, &ifr));
}

#define HOW_BYTES 160

/* The driver of the interface of that name; an empty one if it does not say. */
static struct ethtool_drvinfo driver_of(const char *name)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ethtool_drvinfo info = {.cmd = ETHTOOL_GDRVINFO};
	struct ifreq ifr = {.ifr_data = (char *)&info};

	if (fd < 0)
		return info;
	snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%.15s", name);
	if (ioctl(fd, SIOCETHTOOL, &ifr))
		*info.driver = '\0';
	close(fd);
	return info;
}

static bool is_tap(const char *name)
{
	struct ethtool_drvinfo info = driver_of(name);

	return !strcmp(info.driver, "tun") && !strcmp(info.bus_info, "tap");
}

/* May this process make interfaces? */
static bool is_net_admin(void)
{
	struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
	struct __user_cap_data_struct data[_LINUX_CAPABILITY_U32S_3] = {{0}};

	return !syscall(SYS_capget, &head, data) && data[0].effective >> CAP_NET_ADMIN & 1;
}

/* The command that makes a persistent tap that fits. */
static const char *how_to_make(const struct net_backend *be, const char *tap, char text[HOW_BYTES])
{
	snprintf(text, HOW_BYTES,
		 "ip tuntap add dev %.15s mode tap user %u%s && ip link set %.15s up", tap,
		 (unsigned int)getuid(), be->config->queues > 1 ? " multi_queue" : "", tap);
	return text;
}

/* The tap of a bridge, which only this VM makes. */
static int not_made(const struct net_backend *be, int code, struct error *err)
{
	const char *tap = be->config->path;

	if (code == -EPERM)
		return error_set(err, code,
				 "%s: bridge=%s: this user cannot make a tap: it needs "
				 "CAP_NET_ADMIN (in a unit, AmbientCapabilities=CAP_NET_ADMIN)",
				 be->name, be->config->bridge);
	if (code == -EBUSY)
		return error_set(err, code,
				 "%s: bridge=%s: there is an interface %s already, which is the "
				 "name of this VM's tap: rename it, or if nothing needs it, as "
				 "root, ip link del %s",
				 be->name, be->config->bridge, tap, tap);
	return error_set(err, code, "%s: bridge=%s: tap %s: %s", be->name, be->config->bridge, tap,
			 strerror(-code));
}

/* Everything that a tap in the bridge needs. The tap itself is the last step. */
static int check_bridge(const struct net_backend *be, struct error *err)
{
	const char *bridge = be->config->bridge;
	int ret = net_bridge_allowed(NET_BRIDGE_LIST, bridge, err);

	if (ret) {
		error_prefix(err, "%s: bridge=%s", be->name, bridge);
		return ret;
	}
	if (!if_nametoindex(bridge))
		return error_set(err, -ENODEV,
				 "%s: there is no bridge %s: make it (as root, ip link add %s type "
				 "bridge && ip link set %s up), then run the same command again",
				 be->name, bridge, bridge, bridge);
	if (strcmp(driver_of(bridge).driver, "bridge"))
		return error_set(err, -EINVAL,
				 "%s: %s is not a bridge of the kernel: give bridge= the name of "
				 "one",
				 be->name, bridge);
	if (if_nametoindex(be->config->path))
		return not_made(be, -EBUSY, err);
	return is_net_admin() ? 0 : not_made(be, -EPERM, err);
}

static int refused(const struct net_backend *be, int code, struct error *err)
{
	const char *tap = be->config->path;
	char how[HOW_BYTES];

	if (*be->config->bridge)
		return not_made(be, code, err);
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
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (known[i].code == code)
			way_out = known[i].way_out;
	return error_set(err, -code, "%s: /dev/net/tun: %s%s", be->name, strerror(code), way_out);
}

static int open_queue(struct net_backend *be, uint32_t pair, struct error *err)
{
	struct ifreq ifr = {.ifr_flags = TAP_FLAGS};
	bool has_bridge = *be->config->bridge, is_new = !if_nametoindex(be->config->path);
	char how[HOW_BYTES];
	int fd;

	if (strlen(be->config->path) >= sizeof(ifr.ifr_name))
		return error_set(err, -EINVAL,
				 "%s: tap=%s: an interface's name has up to %zu bytes", be->name,
				 be->config->path, sizeof(ifr.ifr_name) - 1);
	if (is_new && be->makes_nothing && !has_bridge)
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
	if (be->config->only_look && is_new && is_net_admin()) {
		if (!pair)
			log_info("%s: there is no tap %s: a start makes one that goes with it",
				 be->name, be->config->path);
		return 0;
	}
	/* It must not be somebody else's: only this VM's other queues may find it there. */
	if (has_bridge && !pair)
		ifr.ifr_flags |= (short)IFF_TUN_EXCL;
	if (ioctl(fd, TUNSETIFF, &ifr))
		return refused(be, -errno, err);
	if (is_new && !has_bridge)
		log_info("%s: made tap %s, which goes with this process; for one that stays, as "
			 "it must for an update: %s",
			 be->name, be->config->path, how_to_make(be, be->config->path, how));
	return 0;
}

/* An inherited descriptor: its flags are checked. */
static int adopt_tap(struct net_backend *be, struct error *err)
{
	const int wanted = TAP_FLAGS;
	struct ifreq ifr = {0};
	int ret = adopt_fd(be, err);

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

/* An interface that is down loses frames without a message. */
static void warn_if_down(const struct net_backend *be)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	struct ifreq ifr = {0};

	if (fd < 0)
		return;
	memcpy(ifr.ifr_name, be->config->bridge, sizeof(ifr.ifr_name));
	if ((*ifr.ifr_name || !ioctl(be->fd[0], TUNGETIFF, &ifr)) &&
	    !ioctl(fd, SIOCGIFFLAGS, &ifr) && !(ifr.ifr_flags & IFF_UP))
		log_warn("%s: interface %s is down: ip link set %s up", be->name, ifr.ifr_name,
			 ifr.ifr_name);
	close(fd);
}

static int set_up_tap(const struct net_backend *be, struct error *err)
{
	const struct net_config *config = be->config;
	int header_bytes = NET_HDR_BYTES, ret;

	if (ioctl(be->fd[0], TUNSETVNETHDRSZ, &header_bytes))
		return error_set(err, -errno, "%s: TUNSETVNETHDRSZ: %s", be->name, strerror(errno));
	if (!*config->bridge)
		return 0;
	ret = net_bridge_join(config->bridge, config->path, config->mac, err);
	if (ret)
		error_prefix(err, "%s", be->name);
	else
		log_info("%s: made tap %s in bridge %s", be->name, config->path, config->bridge);
	return ret;
}

static int tap_open(struct net_backend *be, struct error *err)
{
	const struct net_config *config = be->config;
	const bool stays_missing =
		config->only_look && config->kind == NET_TAP && !if_nametoindex(config->path);
	int ret = *config->bridge ? check_bridge(be, err) : 0;

	be->npairs = config->queues;
	if (config->kind == NET_FD)
		ret = adopt_tap(be, err);
	for (uint32_t i = 0; !ret && config->kind == NET_TAP && i < config->queues; i++)
		ret = open_queue(be, i, err);
	if (!ret && !stays_missing)
		ret = set_up_tap(be, err);
	if (ret)
		net_backend_close(be);
	else
		warn_if_down(be);
	return ret;
}

static ssize_t tap_receive(struct net_backend *be, uint32_t pair, const struct iovec *iov,
			   uint32_t niov)
{
	ssize_t n = readv(be->fd[pair], iov, (int)niov);

	if (n < 0 && (errno == EBADFD || errno == EIO)) {
		log_error("%s: the interface is gone: the card has no network from now on",
			  be->name);
		disconnected(be, pair);
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

	for (size_t i = 0; i < ARRAY_SIZE(offload); i++)
		if (features >> offload[i].feature & 1)
			flags |= offload[i].flag;
	return ioctl(be->fd[0], TUNSETOFFLOAD, (unsigned long)flags) ? -errno : 0;
}

/* The kernel spreads packets over the attached queues: none may go to one that is not served. */
static void tap_set_pairs(struct net_backend *be, uint32_t n)
{
	bool is_multi_queue = be->config->kind == NET_TAP && be->config->queues > 1;

	for (uint32_t i = 0; is_multi_queue && i < be->config->queues; i++) {
		struct ifreq ifr = {.ifr_flags = i < n ? IFF_ATTACH_QUEUE : IFF_DETACH_QUEUE};

		if ((i < n) != (i < be->npairs) && ioctl(be->fd[i], TUNSETQUEUE, &ifr))
			log_error("%s: TUNSETQUEUE: %s", be->name, strerror(errno));
	}
	be->npairs = n;
}

static const struct net_backend_ops tap_ops = {
	.offloads = 1ull << VIRTIO_NET_F_CSUM | 1ull << VIRTIO_NET_F_HOST_TSO4 |
		    1ull << VIRTIO_NET_F_HOST_TSO6 | 1ull << VIRTIO_NET_F_HOST_ECN |
		    1ull << VIRTIO_NET_F_GUEST_CSUM | 1ull << VIRTIO_NET_F_GUEST_TSO4 |
		    1ull << VIRTIO_NET_F_GUEST_TSO6 | 1ull << VIRTIO_NET_F_GUEST_ECN |
		    1ull << VIRTIO_NET_F_CTRL_GUEST_OFFLOADS,
	.has_vhost = true,
	.claims = tap_claims,
	.open = tap_open,
	.receive = tap_receive,
	.send = tap_send,
	.set_offloads = tap_set_offloads,
	.set_pairs = tap_set_pairs,
};

/* --- a stream socket: each frame follows its length, 32 bits big endian, as in QEMU's -netdev stream
 * and in passt. There is no header for offloads. While there is no peer, frames are lost, as on an
 * unplugged cable; a connection is tried every second. */

#define LENGTH_BYTES 4
#define IN_BYTES     (2 * (LENGTH_BYTES + NET_PACKET_BYTES))

struct net_stream {
	struct timer retry;
	bool warned; /* that nobody listens */
	uint32_t in_from, in_to;
	uint32_t out_from, out_to; /* of a half-sent frame */
	uint8_t in[IN_BYTES];
	uint8_t out[LENGTH_BYTES + NET_PACKET_BYTES];
};

static bool stream_claims(const struct net_config *config)
{
	socklen_t len = sizeof(int);
	int type;

	return config->kind == NET_STREAM ||
	       (config->kind == NET_FD &&
		!getsockopt(config->fd, SOL_SOCKET, SO_TYPE, &type, &len) && type == SOCK_STREAM);
}

static void hang_up(struct net_backend *be, const char *why)
{
	struct net_stream *stream = be->own;

	disconnected(be, 0);
	/* A half-sent or half-received frame ends with the connection. */
	stream->in_from = stream->in_to = 0;
	be->unsent = false;
	if (be->config->kind == NET_FD) {
		log_warn("%s: descriptor %d: %s: the card has no network from now on", be->name,
			 be->config->fd, why);
		return;
	}
	log_warn("%s: %s: %s: will reconnect when the peer listens", be->name, be->config->path,
		 why);
	stream->warned = true;
	timer_set(&stream->retry, CLOCK_NS_PER_S);
}

static bool dial(struct net_backend *be)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct net_stream *stream = be->own;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, be->config->path, strlen(be->config->path));
	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		if (stream->warned)
			log_info("%s: %s: connected", be->name, be->config->path);
		stream->warned = false;
		be->fd[0] = fd;
		return true;
	}
	if (!stream->warned)
		log_warn("%s: %s: %s: will connect when the peer listens", be->name,
			 be->config->path, strerror(errno));
	stream->warned = true;
	if (fd >= 0)
		close(fd);
	timer_set(&stream->retry, CLOCK_NS_PER_S);
	return false;
}

static void retry(void *opaque, uint32_t events)
{
	struct net_backend *be = opaque;
	struct net_stream *stream = be->own;

	if (timer_take(&stream->retry) && be->fd[0] < 0 && dial(be))
		be->on_connect(be->opaque);
}

static int stream_open(struct net_backend *be, struct error *err)
{
	struct net_stream *stream = calloc(1, sizeof(*stream));
	int ret = -EINVAL;

	be->own = stream;
	if (!stream)
		return error_set(err, -ENOMEM, "%s: out of memory", be->name);
	if (strlen(be->config->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)) {
		error_set(err, ret, "%s: %s: a socket's path has up to %zu bytes", be->name,
			  be->config->path, sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
		goto close_backend;
	}
	ret = timer_open(&stream->retry, CLOCK_MONOTONIC, be->loop, retry, be, be->lock, err);
	if (ret)
		goto close_backend;
	if (be->config->kind == NET_STREAM) {
		dial(be);
		return 0;
	}
	ret = adopt_fd(be, err);
	if (!ret)
		return 0;
close_backend:
	net_backend_close(be);
	return ret;
}

static void stream_close(struct net_backend *be)
{
	struct net_stream *stream = be->own;

	timer_close(&stream->retry);
	free(stream);
}

/* Bytes of the frame that is complete in `in`; 0: not yet. */
static uint32_t next_frame(struct net_backend *be)
{
	const struct net_stream *stream = be->own;
	uint32_t have = stream->in_to - stream->in_from, bytes;

	if (have < LENGTH_BYTES)
		return 0;
	memcpy(&bytes, stream->in + stream->in_from, sizeof(bytes));
	bytes = ntohl(bytes);
	if (!bytes || bytes > NET_PACKET_BYTES - NET_HDR_BYTES) {
		hang_up(be, "the peer does not speak length-prefixed frames");
		return 0;
	}
	return have - LENGTH_BYTES >= bytes ? bytes : 0;
}

static bool read_more(struct net_backend *be)
{
	struct net_stream *stream = be->own;
	ssize_t n;

	if (be->fd[0] < 0)
		return false;
	memmove(stream->in, stream->in + stream->in_from, stream->in_to - stream->in_from);
	stream->in_to -= stream->in_from;
	stream->in_from = 0;
	n = recv(be->fd[0], stream->in + stream->in_to, IN_BYTES - stream->in_to, MSG_DONTWAIT);
	if (n > 0)
		stream->in_to += (uint32_t)n;
	else if (!n || (errno != EAGAIN && errno != EINTR))
		hang_up(be, n ? strerror(errno) : "the other end has closed the connection");
	return n > 0;
}

static ssize_t stream_receive(struct net_backend *be, uint32_t pair, const struct iovec *iov,
			      uint32_t niov)
{
	static const uint8_t header[NET_HDR_BYTES];
	struct net_stream *stream = be->own;
	uint32_t bytes;

	while (!(bytes = next_frame(be)))
		if (!read_more(be))
			return -EAGAIN;
	iov_write(iov, niov, 0, header, sizeof(header));
	iov_write(iov, niov, sizeof(header), stream->in + stream->in_from + LENGTH_BYTES, bytes);
	stream->in_from += LENGTH_BYTES + bytes;
	return (ssize_t)sizeof(header) + bytes;
}

static void stream_flush(struct net_backend *be)
{
	struct net_stream *stream = be->own;
	ssize_t n = send(be->fd[0], stream->out + stream->out_from,
			 stream->out_to - stream->out_from, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0 && errno != EAGAIN && errno != EINTR)
		hang_up(be, strerror(errno));
	if (n > 0)
		stream->out_from += (uint32_t)n;
	if (stream->out_from == stream->out_to)
		be->unsent = false;
}

/* The guest may have changed its buffers meanwhile: the peer still gets the length it was promised. */
static void keep_rest(struct net_backend *be, const struct iovec *iov, uint32_t niov,
		      uint32_t bytes, uint32_t sent)
{
	struct net_stream *stream = be->own;

	stream->out_to = (uint32_t)iov_read(iov, niov, 0, stream->out, bytes);
	stream->out_from = sent;
	be->unsent = true;
}

static int stream_send(struct net_backend *be, uint32_t pair, const struct iovec *iov,
		       uint32_t niov)
{
	struct iovec out[NET_IOV_MAX];
	struct msghdr msg = {.msg_iov = out};
	uint32_t bytes = 0, length;
	ssize_t n;

	if (be->unsent)
		stream_flush(be);
	if (be->fd[0] < 0)
		return 0;
	if (be->unsent)
		return -EAGAIN;
	/* out[0] is the length; an iovec of a chain never fills the rest. */
	if (niov >= NET_IOV_MAX)
		return 0;
	niov = iov_slice(iov, niov, NET_HDR_BYTES, UINT64_MAX, out + 1);
	for (uint32_t i = 1; i <= niov; i++)
		bytes += (uint32_t)out[i].iov_len;
	msg.msg_iovlen = niov + 1;
	length = htonl(bytes);
	out[0] = (struct iovec){&length, sizeof(length)};
	n = sendmsg(be->fd[0], &msg, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return -EAGAIN;
	if (n < 0 && errno == EFAULT)
		return -EFAULT;
	if (n < 0)
		hang_up(be, strerror(errno));
	else if ((uint32_t)n < LENGTH_BYTES + bytes)
		keep_rest(be, out, (uint32_t)msg.msg_iovlen, LENGTH_BYTES + bytes, (uint32_t)n);
	return 0;
}

static const struct net_backend_ops stream_ops = {
	.claims = stream_claims,
	.open = stream_open,
	.close = stream_close,
	.receive = stream_receive,
	.send = stream_send,
	.flush = stream_flush,
};

/* --- both */

static const struct net_backend_ops *const backends[] = {&tap_ops, &stream_ops};

int net_backend_open(struct net_backend *be, struct error *err)
{
	int ret;

	for (int i = 0; i < OPTIONS_MAX_QUEUES; i++)
		be->fd[i] = -1;
	for (size_t i = 0; i < ARRAY_SIZE(backends); i++) {
		if (!backends[i]->claims(be->config))
			continue;
		be->ops = backends[i];
		ret = be->ops->open(be, err);
		if (ret)
			be->ops = NULL;
		return ret;
	}
	return error_set(err, -EINVAL,
			 "%s: descriptor %d is neither a tap nor a stream socket: pass an open one",
			 be->name, be->config->fd);
}

void net_backend_close(struct net_backend *be)
{
	if (!be->ops)
		return;
	if (be->ops->close)
		be->ops->close(be);
	for (int i = 0; i < OPTIONS_MAX_QUEUES; i++)
		if (be->fd[i] >= 0)
			close(be->fd[i]);
}
