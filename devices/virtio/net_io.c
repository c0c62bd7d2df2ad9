/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Packets of a network card: between a queue pair and the back end, straight from and into the
 * guest's buffers. Moved by a thread of this process, or by the host's kernel (vhost). One turn of the
 * thread moves a batch, then others may have the device's lock; the driver is interrupted once. */
#include "devices/virtio/virtio_net.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <endian.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#define NET_NODE "/dev/vhost-net"
/* The kernel has to know of these: it fills the rings. */
#define NET_VHOST_FEATURES                                                                       \
	(NET_FEATURE(MRG_RXBUF) | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

#define BATCH	    64
#define FRAME_BYTES 14	 /* the least: an Ethernet header */
#define SMALL_BYTES 1526 /* a packet without offloads: header, Ethernet header, VLAN tag, 1500 */
#define DRAIN_NS    (CLOCK_NS_PER_S / 10)

static uint32_t rx_queue(const struct net_pair *pair)
{
	return 2 * pair->index;
}

static uint32_t tx_queue(const struct net_pair *pair)
{
	return 2 * pair->index + 1;
}

static bool is_broken(const struct net_pair *pair)
{
	return atomic_load(&pair->net->virtio.broken);
}

/* Watches the pair's descriptor only while there is something to do with it: one that was hung up
 * is always ready and would keep the loop spinning. */
static void watch(struct net_pair *pair);

/* A batch of steps: 1: go on, 0: nothing more to do now, -errno: the ring is broken. */
static void turn(struct net_pair *pair, uint32_t queue, bool *waits,
		 int (*step)(struct net_pair *pair, struct error *err))
{
	struct virtio *v = &pair->net->virtio;
	struct error err;
	int ret = 1;

	if (is_broken(pair) || !v->queue[queue].running)
		return;
	*waits = false;
	virtq_no_kicks(&v->queue[queue].q);
	for (int i = 0; i < BATCH && ret > 0; i++)
		ret = step(pair, &err);
	virtio_used(v, queue);
	if (ret > 0)
		virtio_kick(v, queue);
	if (ret < 0)
		virtio_broken(v, queue, err.msg);
	watch(pair);
}

/* --- receive */

static void rx_compact(struct net_rx *rx)
{
	uint32_t nchains = rx->chain_to - rx->chain_from, niov = rx->iov_to - rx->iov_from;
	struct iovec *iov = rx->iov;

	memmove(rx->chain, rx->chain + rx->chain_from, nchains * sizeof(*rx->chain));
	memmove(rx->iov, rx->iov + rx->iov_from, niov * sizeof(*rx->iov));
	for (uint32_t i = 0; i < nchains; i++) {
		rx->chain[i].iov = iov;
		iov += rx->chain[i].nwrite;
	}
	rx->chain_from = rx->iov_from = 0;
	rx->chain_to = nchains;
	rx->iov_to = niov;
}

/* Is there room for one more chain of any size, and for the spill after it? */
static bool rx_has_room(struct net_rx *rx)
{
	if (rx->chain_to == NET_QUEUE_SIZE || rx->iov_to + NET_CHAIN_IOV >= NET_IOV_MAX)
		rx_compact(rx);
	return rx->chain_to < NET_QUEUE_SIZE && rx->iov_to + NET_CHAIN_IOV < NET_IOV_MAX;
}

/* Bytes of buffers that a packet may need; without mergeable buffers it is one chain, whatever its
 * size. */
static uint64_t rx_wanted(const struct net *net)
{
	const uint64_t large = NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6);

	if (!virtio_has(&net->virtio, VIRTIO_NET_F_MRG_RXBUF))
		return 1;
	return net->s.virtio.accepted & large ? NET_PACKET_BYTES : SMALL_BYTES;
}

/* Takes buffers until the largest packet fits, or no more are there. */
static int rx_fill(struct net_pair *pair, struct error *err)
{
	struct virtq *q = &pair->net->virtio.queue[rx_queue(pair)].q;
	struct net_rx *rx = &pair->rx;
	uint64_t wanted = rx->held ? rx->held : rx_wanted(pair->net);
	int ret;

	while (rx->bytes < wanted && rx_has_room(rx)) {
		struct virtq_chain *chain = &rx->chain[rx->chain_to];

		chain->iov = rx->iov + rx->iov_to;
		ret = virtq_pop(q, chain, NET_CHAIN_IOV, err);
		if (ret <= 0)
			return ret;
		rx->chain_to++;
		rx->iov_to += chain->nwrite;
		rx->bytes += chain->write_bytes;
		if (chain->nread)
			return error_set(err, -EINVAL, "a receive buffer that is to be read");
	}
	return 0;
}

static struct virtq_chain rx_view(struct net_rx *rx)
{
	return (struct virtq_chain){.nwrite = rx->iov_to - rx->iov_from,
				    .iov = rx->iov + rx->iov_from};
}

/* The chains that hold a packet go back to the driver, all at once. */
static void rx_give(struct net_pair *pair, uint64_t bytes)
{
	struct virtq *q = &pair->net->virtio.queue[rx_queue(pair)].q;
	struct net_rx *rx = &pair->rx;
	struct virtq_chain view = rx_view(rx);
	uint16_t merged;
	uint32_t n = 0;

	while (bytes) {
		const struct virtq_chain *chain = &rx->chain[rx->chain_from++];
		uint64_t part = bytes < chain->write_bytes ? bytes : chain->write_bytes;

		virtq_fill(q, n++, chain->head, (uint32_t)part);
		rx->iov_from += chain->nwrite;
		rx->bytes -= chain->write_bytes;
		bytes -= part;
	}
	merged = htole16((uint16_t)n);
	virtq_write(&view, offsetof(struct virtio_net_hdr_v1, num_buffers), &merged,
		    sizeof(merged));
	virtq_publish(q, n);
}

/* The packet's bytes: those that were read before, or a new one's. */
static int64_t rx_packet(struct net_pair *pair)
{
	struct net_backend *be = &pair->net->backend;
	struct net_rx *rx = &pair->rx;
	int64_t bytes;

	if (rx->held)
		return (int64_t)rx->held;
	rx->iov[rx->iov_to] = (struct iovec){rx->spill, sizeof(rx->spill)};
	bytes = be->ops->receive(be, pair->index, rx->iov + rx->iov_from,
				 rx->iov_to - rx->iov_from + 1);
	rx->held_room = rx->bytes;
	return bytes;
}

/* Waits for the driver's buffers. Returns true if some have come meanwhile. */
static bool rx_wait(struct net_pair *pair)
{
	pair->rx.waits = !virtq_want_kicks(&pair->net->virtio.queue[rx_queue(pair)].q);
	return !pair->rx.waits;
}

/* 1: go on, 0: there is no packet, or no buffers for it, -EINVAL: the ring is broken. */
static int rx_one(struct net_pair *pair, struct error *err)
{
	struct net_rx *rx = &pair->rx;
	struct virtq_chain view;
	int64_t bytes;
	int ret = rx_fill(pair, err);

	if (ret)
		return ret;
	if (rx->chain_from == rx->chain_to)
		return rx_wait(pair);
	bytes = rx_packet(pair);
	if (bytes == -EFAULT)
		(void)!vm_ram_broke(pair->net->virtio.dev.vm, rx->iov[rx->iov_from].iov_base);
	if (bytes < 0)
		return 0;
	rx->held = 0;
	if ((uint64_t)bytes > rx->bytes) {
		if (!virtio_has(&pair->net->virtio, VIRTIO_NET_F_MRG_RXBUF) || !rx_has_room(rx))
			return 1; /* too long for the driver's buffers: lost */
		rx->held = (uint64_t)bytes;
		return rx_wait(pair);
	}
	view = rx_view(rx);
	if ((uint64_t)bytes > rx->held_room)
		virtq_write(&view, rx->held_room, rx->spill, (uint64_t)bytes - rx->held_room);
	if (bytes >= NET_HDR_BYTES + FRAME_BYTES)
		rx_give(pair, (uint64_t)bytes);
	return 1;
}

/* No carrier: frames that come are lost. */
static int rx_lose(struct net_pair *pair, struct error *err)
{
	struct net_backend *be = &pair->net->backend;
	const struct iovec all = {pair->rx.spill, sizeof(pair->rx.spill)};

	pair->rx.held = 0;
	return be->ops->receive(be, pair->index, &all, 1) >= 0;
}

static void rx_turn(struct net_pair *pair)
{
	turn(pair, rx_queue(pair), &pair->rx.waits, pair->net->s.link_down ? rx_lose : rx_one);
}

/* --- transmit */

/* False: the back end does not take it now. */
static bool tx_one(struct net_pair *pair, const struct virtq_chain *chain)
{
	struct net_backend *be = &pair->net->backend;
	int ret;

	if (chain->read_bytes < NET_HDR_BYTES + FRAME_BYTES ||
	    chain->read_bytes > NET_PACKET_BYTES) {
		log_guest("%s: a packet of %llu bytes from the guest is dropped",
			  pair->net->virtio.dev.name, (unsigned long long)chain->read_bytes);
		return true;
	}
	if (pair->net->s.link_down)
		return true;
	ret = be->ops->send(be, pair->index, chain->iov, chain->nread);
	if (ret == -EFAULT)
		(void)!vm_ram_broke(pair->net->virtio.dev.vm, chain->iov->iov_base);
	return ret != -EAGAIN;
}

/* As tx_one(), for the next chain: 1: go on, 0: there is none, or the back end must wait. */
static int tx_next(struct net_pair *pair, struct error *err)
{
	struct virtq *q = &pair->net->virtio.queue[tx_queue(pair)].q;
	struct iovec iov[NET_CHAIN_IOV];
	struct virtq_chain chain = {.iov = iov};
	int ret = virtq_pop(q, &chain, NET_CHAIN_IOV, err);

	if (ret < 0)
		return ret;
	if (!ret)
		return virtq_want_kicks(q);
	if (!tx_one(pair, &chain)) {
		virtq_unpop(q);
		pair->tx_waits = true;
		return 0;
	}
	virtq_push(q, chain.head, 0);
	return 1;
}

static void tx_turn(struct net_pair *pair)
{
	turn(pair, tx_queue(pair), &pair->tx_waits, tx_next);
}

/* --- descriptors */

static void fd_ready(void *opaque, uint32_t events)
{
	struct net_pair *pair = opaque;
	struct net_backend *be = &pair->net->backend;

	/* Errors and hang-ups are found by whoever uses the descriptor next. */
	if (events & ~(uint32_t)EPOLLIN) {
		if (be->unsent)
			be->ops->flush(be);
		if (pair->tx_waits)
			tx_turn(pair);
	}
	if (events & ~(uint32_t)EPOLLOUT && !pair->rx.waits)
		rx_turn(pair);
	watch(pair);
}

static void watch(struct net_pair *pair)
{
	struct net *net = pair->net;
	struct net_backend *be = &net->backend;
	int fd = be->fd[pair->index];
	uint32_t events = 0;

	if (!pair->rx.waits && !is_broken(pair) && net->virtio.queue[rx_queue(pair)].running)
		events |= EPOLLIN;
	if (fd >= 0 && (pair->tx_waits || be->unsent))
		events |= EPOLLOUT;
	if (pair->watched && events) {
		loop_mod(net->loop, fd, events);
	} else if (pair->watched) {
		loop_del(net->loop, fd);
		pair->watched = false;
	} else if (fd >= 0 && events) {
		pair->watched =
			!loop_add(net->loop, fd, events, fd_ready, pair, &net->virtio.dev.lock);
	}
}

static void rx_kicked(void *opaque, uint32_t events)
{
	struct net_pair *pair = opaque;

	virtio_take_kick(&pair->net->virtio, rx_queue(pair));
	rx_turn(pair);
}

static void tx_kicked(void *opaque, uint32_t events)
{
	struct net_pair *pair = opaque;

	virtio_take_kick(&pair->net->virtio, tx_queue(pair));
	tx_turn(pair);
}

static void start_queues(struct net *net)
{
	int ret = 0;

	for (uint32_t i = 0; i < net->s.pairs; i++) {
		struct net_pair *pair = &net->pair[i];

		ret |= loop_add(net->loop, net->virtio.queue[rx_queue(pair)].kick_fd, EPOLLIN,
				rx_kicked, pair, &net->virtio.dev.lock);
		ret |= loop_add(net->loop, net->virtio.queue[tx_queue(pair)].kick_fd, EPOLLIN,
				tx_kicked, pair, &net->virtio.dev.lock);
	}
	if (ret)
		log_error("%s: its queues cannot be watched", net->virtio.dev.name);
}

static void stop_queues(struct net *net)
{
	for (uint32_t i = 0; i < net->s.pairs; i++) {
		struct net_pair *pair = &net->pair[i];
		struct net_rx *rx = &pair->rx;

		loop_del(net->loop, net->virtio.queue[rx_queue(pair)].kick_fd);
		loop_del(net->loop, net->virtio.queue[tx_queue(pair)].kick_fd);
		if (pair->watched)
			loop_del(net->loop, net->backend.fd[i]);
		pair->watched = pair->tx_waits = rx->waits = false;
		/* A packet that waited for more buffers is lost: all of them go back unused. */
		for (; rx->chain_from < rx->chain_to; rx->chain_to--)
			virtq_unpop(&net->virtio.queue[rx_queue(pair)].q);
		rx->chain_from = rx->chain_to = rx->iov_from = rx->iov_to = 0;
		rx->bytes = rx->held = 0;
	}
}

/* --- by the host's kernel */

/* The kernel moves the packets of a pair from now on; NULL: no longer. */
static int set_vhost_backend(struct net_pair *pair, const struct net_backend *be, struct error *err)
{
	for (uint32_t ring = 0; ring < VHOST_RINGS; ring++) {
		struct vhost_vring_file file = {ring, be ? be->fd[pair->index] : VHOST_FILE_UNBIND};

		if (ioctl(pair->vhost.fd, VHOST_NET_SET_BACKEND, &file) && be)
			return error_set(err, -errno, "VHOST_NET_SET_BACKEND: %s", strerror(errno));
	}
	return 0;
}

static void stop_vhost_pair(struct net_pair *pair)
{
	/* On return the kernel uses none of the pair's buffers; this cannot fail. */
	(void)!set_vhost_backend(pair, NULL, NULL);
	vhost_stop(&pair->vhost);
}

static int start_vhost_pair(struct net_pair *pair, struct error *err)
{
	struct net *net = pair->net;
	int ret = vhost_start(&pair->vhost, err);

	if (!ret)
		ret = set_vhost_backend(pair, &net->backend, err);
	if (ret)
		stop_vhost_pair(pair);
	return ret;
}

/* A driver that sets up one queue of a pair alone is served by this process. */
static bool vhost_fits(const struct net *net)
{
	const struct net_state *s = &net->s;

	if (!net->has_vhost || s->link_down)
		return false;
	for (uint32_t i = 0; i < 2u * s->pairs; i++)
		if (!net->virtio.queue[i].running)
			return false;
	return true;
}

/* --- start and stop */

void net_io_start(struct net *net)
{
	uint32_t n = net->s.pairs, i = 0;
	struct error err;

	net->vhost_runs = vhost_fits(net);
	for (; net->vhost_runs && i < n; i++) {
		if (!start_vhost_pair(&net->pair[i], &err))
			continue;
		log_error("%s: %s: going on without vhost", net->virtio.dev.name, err.msg);
		net->vhost_runs = false;
		break;
	}
	if (net->vhost_runs)
		return;
	while (i--)
		stop_vhost_pair(&net->pair[i]);
	start_queues(net);
}

void net_io_stop(struct net *net)
{
	if (net->vhost_runs)
		for (uint32_t i = 0; i < net->s.pairs; i++)
			stop_vhost_pair(&net->pair[i]);
	else
		stop_queues(net);
	net->vhost_runs = false;
}

void net_io_drain(struct net *net, uint64_t deadline_ns)
{
	struct net_backend *be = &net->backend;
	uint64_t end_ns = clock_now_ns() + DRAIN_NS;
	struct pollfd ready = {.events = POLLOUT};

	if (end_ns > deadline_ns)
		end_ns = deadline_ns;
	/* The connection ends with this process: a peer that does not take the rest by then drops
	 * the frame of which it has one half. */
	while (be->unsent && clock_now_ns() < end_ns) {
		ready.fd = be->fd[0];
		poll(&ready, 1, (int)(DRAIN_NS / 1000000));
		be->ops->flush(be);
	}
}

/* --- open and close */

static void on_connect(void *opaque)
{
	struct net *net = opaque;

	if (net->virtio.started && !net->vhost_runs)
		watch(&net->pair[0]);
}

static void on_disconnect(void *opaque, int fd)
{
	struct net *net = opaque;

	for (uint32_t i = 0; i < net->config->queues; i++) {
		struct net_pair *pair = &net->pair[i];

		if (net->backend.fd[i] != fd)
			continue;
		if (pair->watched)
			loop_del(net->loop, fd);
		pair->watched = false;
		if (pair->tx_waits)
			virtio_kick(&net->virtio, tx_queue(pair));
	}
}

static int open_vhost(struct net *net, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < net->config->queues; i++) {
		struct vhost *vhost = &net->pair[i].vhost;

		ret = vhost_open(vhost, &net->virtio, 2 * i, NET_NODE, "vhost_net", err);
		if (!ret && NET_VHOST_FEATURES & ~vhost->features)
			ret = error_set(err, -EOPNOTSUPP, "%s: %s lacks features %#llx",
					net->virtio.dev.name, NET_NODE,
					NET_VHOST_FEATURES & ~vhost->features);
	}
	if (ret)
		for (uint32_t i = 0; i < net->config->queues; i++)
			vhost_close(&net->pair[i].vhost);
	net->has_vhost = !ret;
	return ret;
}

/* vhost=auto uses vhost if the host has it. */
static int choose_server(struct net *net, struct vm *vm, struct error *err)
{
	enum on_off_auto wish = net->config->vhost;

	if (!net->backend.ops->has_vhost && wish == AUTO_ON)
		return error_set(err, -EINVAL, "%s: vhost=on needs a tap: leave it out",
				 net->virtio.dev.name);
	if (net->backend.ops->has_vhost && wish != AUTO_OFF) {
		int ret = open_vhost(net, err);

		if (ret && wish == AUTO_ON)
			return ret;
		if (ret)
			log_info("%s; packets go through this process", err->msg);
	}
	net->loop = net->has_vhost ? &vm->loop : &net->io.loop;
	return net->has_vhost ? 0 : iothread_start(&net->io, net->virtio.dev.name, err);
}

void net_io_close(struct net *net)
{
	iothread_stop(&net->io);
	for (uint32_t i = 0; net->pair && i < net->config->queues; i++)
		vhost_close(&net->pair[i].vhost);
	net_backend_close(&net->backend);
	free(net->pair);
}

int net_io_open(struct net *net, struct vm *vm, struct error *err)
{
	int ret;

	net->backend = (struct net_backend){.config = net->config,
					    .name = net->virtio.dev.name,
					    .loop = &vm->loop,
					    .lock = &net->virtio.dev.lock,
					    .makes_nothing = vm->awaits_guest,
					    .on_connect = on_connect,
					    .on_disconnect = on_disconnect,
					    .opaque = net};
	net->pair = calloc(net->config->queues, sizeof(*net->pair));
	if (!net->pair)
		return error_set(err, -ENOMEM, "%s: out of memory", net->virtio.dev.name);
	for (uint32_t i = 0; i < net->config->queues; i++) {
		net->pair[i].net = net;
		net->pair[i].index = i;
		net->pair[i].vhost = VHOST_CLOSED;
	}
	ret = net_backend_open(&net->backend, err);
	if (!ret)
		ret = choose_server(net, vm, err);
	if (ret)
		net_io_close(net);
	return ret;
}
