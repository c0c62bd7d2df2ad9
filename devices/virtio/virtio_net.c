/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network card: features, config space, control queue, announcements. net_io.c moves its packets.
 * virtio 1.2, 5.1. */
#include "devices/virtio/virtio_net.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <string.h>
#include <sys/epoll.h>

#define CTRL_BATCH 64

/* With every back end, with vhost and without, so that a guest may go from one to the other. */
#define NET_FEATURES                                                                              \
	(NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(MRG_RXBUF) | NET_FEATURE(CTRL_VQ) | \
	 NET_FEATURE(CTRL_MAC_ADDR) | NET_FEATURE(GUEST_ANNOUNCE))
static const char *net_check(const void *state)
{
	const struct net_state *s = state;
	const char *why = virtio_check(&s->virtio);

	if (why)
		return why;
	if (!s->max_pairs || s->max_pairs > OPTIONS_MAX_QUEUES || !s->pairs ||
	    s->pairs > s->max_pairs)
		return "more queue pairs in use than it has";
	if (s->virtio.nqueues != 2 * s->max_pairs + 1)
		return "the number of queues does not match the queue pairs";
	if (s->pairs > 1 && (!(s->virtio.accepted & NET_FEATURE(MQ)) ||
			     !(s->virtio.status & VIRTIO_CONFIG_S_DRIVER_OK)))
		return "several queue pairs in use that were not negotiated";
	if (s->offloads & ~(s->virtio.accepted & NET_GUEST_OFFLOADS))
		return "an offload that was not negotiated";
	return NULL;
}

#define NET_STATE(F, A, V, T)          \
	VIRTIO_STATE_ROWS(F, A, V, T)  \
	F(T, offloads)                 \
	F(T, hardware_mac)             \
	F(T, mac)                      \
	F(T, max_pairs)                \
	F(T, pairs)                    \
	F(T, offloads_chosen, ST_BOOL) \
	F(T, link_down, ST_BOOL)       \
	F(T, announce, ST_BOOL)        \
	F(T, pad, ST_PADDING)
STATE_DEFINE(net_state, NET_STATE, "virtio-net", net_check);

/* Which GUEST_* offloads are in force. */
static uint64_t offloads_now(const struct net *net)
{
	const struct net_state *s = &net->s;

	return s->offloads_chosen ? s->offloads : s->virtio.accepted & NET_GUEST_OFFLOADS;
}

static int apply_offloads(struct net *net)
{
	struct net_backend *be = &net->backend;

	return be->ops->set_offloads ? be->ops->set_offloads(be, offloads_now(net)) : 0;
}

static void show_config(struct net *net)
{
	const struct net_state *s = &net->s;
	struct virtio_net_config *shown = &net->shown;
	uint16_t status = (uint16_t)((s->link_down ? 0 : VIRTIO_NET_S_LINK_UP) |
				     (s->announce ? VIRTIO_NET_S_ANNOUNCE : 0));

	memcpy(shown->mac, s->mac, sizeof(shown->mac));
	shown->status = htole16(status);
	shown->max_virtqueue_pairs = htole16(s->max_pairs);
}

static void config_changed(struct net *net)
{
	show_config(net);
	virtio_config_changed(&net->virtio);
}

/* Back to work with other pairs or another link: the driver may have kicked queues meanwhile that
 * nobody served. */
static void serve_again(struct net *net)
{
	net_io_start(net);
	for (uint32_t i = 0; i < 2u * net->s.pairs; i++)
		if (net->virtio.queue[i].running)
			virtio_kick(&net->virtio, i);
}

static void apply_pairs(struct net *net, uint16_t pairs)
{
	struct net_backend *be = &net->backend;

	if (pairs == net->s.pairs)
		return;
	net_io_stop(net);
	net->s.pairs = pairs;
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, pairs);
	serve_again(net);
}

/* --- the control queue: virtio 1.2, 5.1.6.5. A command is read once; one that is wrong in any part
 * changes nothing and gets VIRTIO_NET_ERR. */

/* A command's data, taken piece by piece. */
struct ctrl_data {
	const struct virtq_chain *chain;
	uint64_t offset;
};

static bool take(struct ctrl_data *data, void *to, uint64_t bytes)
{
	uint64_t n = virtq_read(data->chain, data->offset, to, bytes);

	data->offset += n;
	return n == bytes;
}

static bool at_end(const struct ctrl_data *data)
{
	return data->offset == data->chain->read_bytes;
}

/* --- commands: false is VIRTIO_NET_ERR */

static bool set_mac(struct net *net, struct ctrl_data *data)
{
	uint8_t mac[NET_MAC_BYTES];

	if (!take(data, mac, sizeof(mac)) || !at_end(data))
		return false;
	memcpy(net->s.mac, mac, sizeof(mac));
	show_config(net);
	return true;
}

static bool acknowledge(struct net *net, struct ctrl_data *data)
{
	struct net_state *s = &net->s;

	if (!s->announce || !at_end(data))
		return false;
	s->announce = 0;
	show_config(net);
	return true;
}

static bool set_pairs(struct net *net, struct ctrl_data *data)
{
	uint16_t pairs;

	if (!take(data, &pairs, sizeof(pairs)) || !at_end(data))
		return false;
	pairs = le16toh(pairs);
	if (!pairs || pairs > net->s.max_pairs)
		return false;
	apply_pairs(net, pairs);
	return true;
}

static bool set_offloads(struct net *net, struct ctrl_data *data)
{
	struct net_state *s = &net->s;
	const uint64_t former = s->offloads;
	const uint8_t former_chosen = s->offloads_chosen;
	uint64_t offloads;

	if (!take(data, &offloads, sizeof(offloads)) || !at_end(data))
		return false;
	offloads = le64toh(offloads);
	if (offloads & ~(s->virtio.accepted & NET_GUEST_OFFLOADS))
		return false;
	s->offloads = offloads;
	s->offloads_chosen = 1;
	if (!apply_offloads(net))
		return true;
	/* The kernel knows combinations that make no sense, such as TSO without checksums. */
	s->offloads = former;
	s->offloads_chosen = former_chosen;
	return false;
}

static const struct {
	uint8_t class, command, feature;
	bool (*run)(struct net *net, struct ctrl_data *data);
} commands[] = {
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac},
	{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, VIRTIO_NET_F_GUEST_ANNOUNCE,
	 acknowledge},
	{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_F_MQ, set_pairs},
	{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
	 VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, set_offloads},
};

static bool run_command(struct net *net, struct ctrl_data *data)
{
	struct virtio_net_ctrl_hdr head;

	if (!take(data, &head, sizeof(head)))
		return false;
	for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
		if (commands[i].class == head.class && commands[i].command == head.cmd &&
		    virtio_has(&net->virtio, commands[i].feature))
			return commands[i].run(net, data);
	return false;
}

static void ctrl_ready(void *opaque, uint32_t events)
{
	struct net *net = opaque;
	struct virtq *q = &net->virtio.queue[net->ctrl].q;
	struct iovec iov[NET_CHAIN_IOV];
	struct virtq_chain chain = {.iov = iov};
	uint16_t pairs = net->s.pairs;
	struct error err;
	int ret = 0;

	virtio_take_kick(&net->virtio, net->ctrl);
	if (atomic_load(&net->virtio.broken))
		return;
	/* A change of the pairs takes the kernel milliseconds, and others wait for the lock. */
	for (int i = 0; i < CTRL_BATCH && pairs == net->s.pairs; i++) {
		struct ctrl_data data = {.chain = &chain};
		uint8_t ack;

		ret = virtq_pop(q, &chain, NET_CHAIN_IOV, &err);
		if (!ret) {
			/* A command that has come meanwhile brings no kick: even after the last
			 * pass it must be seen. */
			ret = virtq_want_kicks(q);
			if (ret)
				continue;
		}
		if (ret <= 0)
			break;
		ack = run_command(net, &data) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, &ack, sizeof(ack)));
	}
	if (ret > 0)
		virtio_kick(&net->virtio, net->ctrl);
	virtio_used(&net->virtio, net->ctrl);
	if (ret < 0)
		virtio_broken(&net->virtio, net->ctrl, err.msg);
}

/* --- announcements: after a load the guest may be behind another port of the network's switches. They
 * learn it from any frame of the guest's: a reverse ARP request of ours (RFC 903), which needs no
 * answer, and the announcement of a driver that can make one. */

#define ROUNDS	     5		  /* rounds and gaps are QEMU's defaults */
#define GAP_NS	     50000000ull  /* between the first and the second */
#define GAP_GROWS_NS 100000000ull /* with each */
#define LEAST_BYTES  60		  /* an Ethernet frame without its checksum */

static void send_rarp(struct net *net)
{
	struct {
		struct virtio_net_hdr_v1 head;
		struct ether_header ether;
		struct ether_arp arp;
		uint8_t pad[LEAST_BYTES - sizeof(struct ether_header) - sizeof(struct ether_arp)];
	} __attribute__((packed)) packet = {0};
	const struct iovec iov = {&packet, sizeof(packet)};
	struct net_backend *be = &net->backend;
	const uint8_t *mac = net->s.mac;

	packet.ether.ether_type = htons(ETHERTYPE_REVARP);
	packet.arp.ea_hdr.ar_hrd = htons(ARPHRD_ETHER);
	packet.arp.ea_hdr.ar_pro = htons(ETHERTYPE_IP);
	packet.arp.ea_hdr.ar_hln = ETHER_ADDR_LEN;
	packet.arp.ea_hdr.ar_pln = 4;
	packet.arp.ea_hdr.ar_op = htons(ARPOP_RREQUEST);
	memset(packet.ether.ether_dhost, 0xff, sizeof(packet.ether.ether_dhost));
	memcpy(packet.ether.ether_shost, mac, sizeof(packet.ether.ether_shost));
	memcpy(packet.arp.arp_sha, mac, sizeof(packet.arp.arp_sha));
	memcpy(packet.arp.arp_tha, mac, sizeof(packet.arp.arp_tha));
	/* If it does not go out now, the next round's does. */
	be->ops->send(be, 0, &iov, 1);
}

static void announce_round(struct net *net)
{
	if (net->s.link_down)
		return;
	if (net->virtio.started && virtio_has(&net->virtio, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
	    virtio_has(&net->virtio, VIRTIO_NET_F_CTRL_VQ)) {
		net->s.announce = 1;
		config_changed(net);
	}
	send_rarp(net);
}

static void next_round(struct net *net)
{
	announce_round(net);
	net->rounds_left--;
	timer_set(&net->announce,
		  net->rounds_left ? GAP_NS + (ROUNDS - 1 - net->rounds_left) * GAP_GROWS_NS : 0);
}

static void round_due(void *opaque, uint32_t events)
{
	struct net *net = opaque;

	if (timer_take(&net->announce) && net->rounds_left)
		next_round(net);
}

void net_announce(struct device *dev)
{
	struct net *net = net_of(dev);

	net->rounds_left = ROUNDS;
	next_round(net);
}

/* --- the driver */

static void net_start(struct virtio *v)
{
	struct net *net = container_of(v, struct net, virtio);
	struct net_backend *be = &net->backend;
	struct virtio_queue *ctrl;

	net->ctrl = virtio_has(v, VIRTIO_NET_F_MQ) ? 2u * net->s.max_pairs : 2;
	ctrl = &v->queue[net->ctrl];
	if (apply_offloads(net)) {
		log_guest("%s: the driver accepted offloads that exclude each other; it gets none",
			  v->dev.name);
		(void)!be->ops->set_offloads(be, 0);
	}
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, net->s.pairs);
	if (virtio_has(v, VIRTIO_NET_F_CTRL_VQ) && ctrl->running &&
	    loop_add(net->loop, ctrl->kick_fd, EPOLLIN, ctrl_ready, net, &v->dev.lock))
		log_error("%s: the control queue cannot be watched", v->dev.name);
	net_io_start(net);
}

static int net_stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	struct net *net = container_of(v, struct net, virtio);

	/* Nothing to wait for: packets are read and written at once. The rest of one that is half sent on a
	 * stream was copied. */
	loop_del(net->loop, v->queue[net->ctrl].kick_fd);
	net_io_stop(net);
	return 0;
}

static void net_driver_reset(struct virtio *v)
{
	struct net *net = container_of(v, struct net, virtio);
	const struct net_config *config = net->config;
	struct net_state *s = &net->s;

	memcpy(s->hardware_mac, config->mac, sizeof(s->hardware_mac));
	memcpy(s->mac, config->mac, sizeof(s->mac));
	s->max_pairs = (uint16_t)config->queues;
	s->pairs = 1;
	s->offloads = 0;
	s->offloads_chosen = s->announce = 0;
	/* The operator's setting, not what a failed load has left in the state. */
	s->link_down = net->link_down;
	net->loaded = false;
	show_config(net);
}

static const struct virtio_ops net_virtio_ops = {
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000, /* Ethernet controller */
	.start = net_start,
	.stop = net_stop,
	.reset = net_driver_reset,
};

/* --- the device */

static void fill_virtio(struct net *net)
{
	struct virtio *virtio = &net->virtio;

	virtio->ops = &net_virtio_ops;
	virtio->features = NET_FEATURES | net->backend.ops->offloads;
	if (net->config->queues > 1)
		virtio->features |= NET_FEATURE(MQ);
	virtio->nqueues = 2 * net->config->queues + 1;
	virtio->config = &net->shown;
	virtio->config_bytes = offsetof(struct virtio_net_config, mtu);
	for (uint32_t i = 0; i < virtio->nqueues; i++) {
		virtio->queue[i].max_size = NET_QUEUE_SIZE;
		virtio->queue[i].by_fd = true;
	}
}

static void close_host(struct net *net)
{
	net_io_close(net);
	timer_close(&net->announce);
}

static int net_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct net *net = net_of(dev);
	int ret;

	net->config = &vm->opt->net[dev->instance];
	ret = net_io_open(net, vm, err);
	if (ret)
		return ret;
	ret = timer_open(&net->announce, CLOCK_MONOTONIC, &vm->loop, round_due, net, &dev->lock,
			 err);
	if (!ret) {
		fill_virtio(net);
		ret = virtio_attach(&net->virtio, vm, err);
	}
	if (ret)
		close_host(net);
	return ret;
}

static void net_detach(struct device *dev)
{
	/* The card's thread may be serving a queue. */
	pthread_mutex_lock(&dev->lock);
	virtio_detach(dev);
	pthread_mutex_unlock(&dev->lock);
	close_host(net_of(dev));
}

static int net_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct net *net = net_of(dev);
	int ret = virtio_pause(dev, deadline_ns, err);

	if (ret)
		return ret;
	timer_set(&net->announce, 0);
	net_io_drain(net, deadline_ns);
	return 0;
}

static void join_mac(struct error *err, const uint8_t *saved, const uint8_t *here)
{
	error_join(err, -EINVAL,
		   "the checkpoint has mac=%02x:%02x:%02x:%02x:%02x:%02x, the command line "
		   "gives %02x:%02x:%02x:%02x:%02x:%02x",
		   saved[0], saved[1], saved[2], saved[3], saved[4], saved[5], here[0], here[1],
		   here[2], here[3], here[4], here[5]);
}

static int net_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct net_config *config = net_of(dev)->config;
	const struct net_state *s = saved;
	int ret = 0;

	if (memcmp(s->hardware_mac, config->mac, sizeof(s->hardware_mac))) {
		join_mac(err, s->hardware_mac, config->mac);
		ret = -EINVAL;
	}
	/* With other queues nothing that follows can match. */
	if (s->max_pairs != config->queues)
		return error_join(err, -EINVAL,
				  "the checkpoint has queues=%u, the command line gives %u",
				  s->max_pairs, config->queues);
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int net_post_load(struct device *dev, struct error *err)
{
	struct net *net = net_of(dev);
	int ret = virtio_post_load(dev, err);

	show_config(net);
	net->loaded = true;
	return ret;
}

static void net_resume(struct device *dev)
{
	struct net *net = net_of(dev);

	net->link_down = net->s.link_down;
	virtio_resume(dev);
	if (net->loaded)
		net_announce(dev);
	else if (net->rounds_left)
		next_round(net);
	net->loaded = false;
}

static uint32_t net_count(const struct options *opt)
{
	return opt->nnets;
}

const struct device_ops virtio_net_ops = {
	.type = "virtio-net",
	.name = "net",
	.count = net_count,
	.needs = &pci_host_ops,
	.state = &net_state_desc,
	DEVICE_STRUCT(struct net),
	.attach = net_attach,
	.detach = net_detach,
	.reset = virtio_reset,
	.pause = net_pause,
	.compare = net_compare,
	.post_load = net_post_load,
	.resume = net_resume,
};

/* --- for QMP */

bool net_is(const struct device *dev)
{
	return dev->ops == &virtio_net_ops;
}

const char *net_id(const struct device *dev)
{
	return net_of(dev)->config->id;
}

void net_set_link(struct device *dev, bool up)
{
	struct net *net = net_of(dev);
	struct net_state *s = &net->s;

	if (s->link_down == !up)
		return;
	/* While it is down this process moves the packets: it drops them. */
	if (net->virtio.started)
		net_io_stop(net);
	s->link_down = net->link_down = !up;
	if (net->virtio.started)
		serve_again(net);
	config_changed(net);
}
