/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Back end: a stream socket, each frame behind its length as 32 bits, big endian, as QEMU's
 * -netdev stream and passt speak it. There is no header for offloads. While nobody is at the other
 * end frames are lost, as on a cable that leads nowhere; a connection is tried every second. */
#include "devices/host/net_backend.h"
#include "vmm/base/clock.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/base/timer.h"
#include <arpa/inet.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define LENGTH_BYTES 4
#define IN_BYTES     (2 * (LENGTH_BYTES + NET_PACKET_BYTES))

struct net_stream {
	struct timer retry;
	bool complained; /* about nobody being there */
	uint32_t in_from, in_to;
	uint32_t out_from, out_to; /* of a frame that was half sent */
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

	net_backend_lost(be, 0);
	/* What was half sent or half received belongs to this connection. */
	stream->in_from = stream->in_to = 0;
	be->unsent = false;
	if (be->config->kind == NET_FD) {
		log_warn("%s: descriptor %d: %s: the card has no network from now on", be->name,
			 be->config->fd, why);
		return;
	}
	log_warn("%s: %s: %s: connects again as soon as somebody listens there", be->name,
		 be->config->path, why);
	stream->complained = true;
	timer_set(&stream->retry, CLOCK_NS_PER_S);
}

static bool dial(struct net_backend *be)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	struct net_stream *stream = be->own;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memcpy(addr.sun_path, be->config->path, strlen(be->config->path));
	if (fd >= 0 && !connect(fd, (const struct sockaddr *)&addr, sizeof(addr))) {
		if (stream->complained)
			log_info("%s: %s: connected", be->name, be->config->path);
		stream->complained = false;
		be->fd[0] = fd;
		return true;
	}
	if (!stream->complained)
		log_warn("%s: %s: %s: connects as soon as somebody listens there", be->name,
			 be->config->path, strerror(errno));
	stream->complained = true;
	if (fd >= 0)
		close(fd);
	timer_set(&stream->retry, CLOCK_NS_PER_S);
	return false;
}

static void retry(void *opaque, uint32_t events)
{
	struct net_backend *be = opaque;
	struct net_stream *stream = be->own;

	(void)events;
	if (timer_take(&stream->retry) && be->fd[0] < 0 && dial(be))
		be->came(be->opaque);
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
	ret = net_backend_adopt(be, err);
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
		hang_up(be, "what comes is no stream of frames");
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

	(void)pair;
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

/* The guest may have changed its buffers meanwhile: the other end still gets the length that it was
 * promised. */
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

	(void)pair;
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

const struct net_backend_ops net_stream_ops = {
	.type = "stream",
	.claims = stream_claims,
	.open = stream_open,
	.close = stream_close,
	.receive = stream_receive,
	.send = stream_send,
	.flush = stream_flush,
};
