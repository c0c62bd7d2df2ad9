/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network card: features, config space, control queue, announcements. net_io.c moves its packets.
 * virtio 1.2, 5.1. */
#include "devices/virtio/virtio_net.h"
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
	if (s->offloads_chosen > 1 || s->link_down > 1 || s->announce > 1)
		return "a flag that is not 0 or 1";
	for (size_t i = 0; i < sizeof(s->pad); i++)
		if (s->pad[i])
			return "padding is not zero";
	return NULL;
}

#define NET_STATE(F, A, V, T)         \
	VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, offloads)                \
	F(T, hardware_mac)            \
	F(T, mac)                     \
	F(T, max_pairs)               \
	F(T, pairs)                   \
	F(T, offloads_chosen)         \
	F(T, link_down)               \
	F(T, announce)                \
	F(T, pad)
STATE_DEFINE(net_state, NET_STATE, "virtio-net", net_check);

/* Which GUEST_* offloads are in force. */
static uint64_t offloads_now(const struct device *dev)
{
	const struct net_state *s = net_state(dev);

	return s->offloads_chosen ? s->offloads : s->virtio.accepted & NET_GUEST_OFFLOADS;
}

static int apply_offloads(struct device *dev)
{
	struct net_backend *be = &net_host(dev)->backend;

	return be->ops->set_offloads ? be->ops->set_offloads(be, offloads_now(dev)) : 0;
}

static void show_config(struct device *dev)
{
	const struct net_state *s = net_state(dev);
	struct virtio_net_config *shown = &net_host(dev)->shown;
	uint16_t status = (uint16_t)((s->link_down ? 0 : VIRTIO_NET_S_LINK_UP) |
				     (s->announce ? VIRTIO_NET_S_ANNOUNCE : 0));

	memcpy(shown->mac, s->mac, sizeof(shown->mac));
	shown->status = htole16(status);
	shown->max_virtqueue_pairs = htole16(s->max_pairs);
}

static void config_changed(struct device *dev)
{
	show_config(dev);
	virtio_config_changed(dev);
}

/* Back to work with other pairs or another link: the driver may have kicked queues meanwhile that
 * nobody served. */
static void serve_again(struct device *dev)
{
	net_io_start(dev);
	for (uint32_t i = 0; i < 2u * net_state(dev)->pairs; i++)
		if (net_queue(dev, i)->running)
			virtio_kick(dev, i);
}

static void apply_pairs(struct device *dev, uint16_t pairs)
{
	struct net_backend *be = &net_host(dev)->backend;

	if (pairs == net_state(dev)->pairs)
		return;
	net_io_stop(dev);
	net_state(dev)->pairs = pairs;
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, pairs);
	serve_again(dev);
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

static bool set_mac(struct device *dev, struct ctrl_data *data)
{
	uint8_t mac[NET_MAC_BYTES];

	if (!take(data, mac, sizeof(mac)) || !at_end(data))
		return false;
	memcpy(net_state(dev)->mac, mac, sizeof(mac));
	show_config(dev);
	return true;
}

static bool acknowledge(struct device *dev, struct ctrl_data *data)
{
	struct net_state *s = net_state(dev);

	if (!s->announce || !at_end(data))
		return false;
	s->announce = 0;
	show_config(dev);
	return true;
}

static bool set_pairs(struct device *dev, struct ctrl_data *data)
{
	uint16_t pairs;

	if (!take(data, &pairs, sizeof(pairs)) || !at_end(data))
		return false;
	pairs = le16toh(pairs);
	if (!pairs || pairs > net_state(dev)->max_pairs)
		return false;
	apply_pairs(dev, pairs);
	return true;
}

static bool set_offloads(struct device *dev, struct ctrl_data *data)
{
	struct net_state *s = net_state(dev);
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
	if (!apply_offloads(dev))
		return true;
	/* The kernel knows combinations that make no sense, such as TSO without checksums. */
	s->offloads = former;
	s->offloads_chosen = former_chosen;
	return false;
}

static const struct {
	uint8_t class, command, feature;
	bool (*run)(struct device *dev, struct ctrl_data *data);
} commands[] = {
	{VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, VIRTIO_NET_F_CTRL_MAC_ADDR, set_mac},
	{VIRTIO_NET_CTRL_ANNOUNCE, VIRTIO_NET_CTRL_ANNOUNCE_ACK, VIRTIO_NET_F_GUEST_ANNOUNCE,
	 acknowledge},
	{VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, VIRTIO_NET_F_MQ, set_pairs},
	{VIRTIO_NET_CTRL_GUEST_OFFLOADS, VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET,
	 VIRTIO_NET_F_CTRL_GUEST_OFFLOADS, set_offloads},
};

static bool run_command(struct device *dev, struct ctrl_data *data)
{
	struct virtio_net_ctrl_hdr head;

	if (!take(data, &head, sizeof(head)))
		return false;
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (commands[i].class == head.class && commands[i].command == head.cmd &&
		    virtio_has(dev, commands[i].feature))
			return commands[i].run(dev, data);
	return false;
}

static void ctrl_ready(void *opaque, uint32_t events)
{
	struct device *dev = opaque;
	struct net_host *host = net_host(dev);
	struct virtq *q = &net_queue(dev, host->ctrl)->q;
	struct iovec iov[NET_CHAIN_IOV];
	struct virtq_chain chain = {.iov = iov};
	uint16_t pairs = net_state(dev)->pairs;
	struct error err;
	int ret = 0;

	(void)events;
	virtio_take_kick(dev, host->ctrl);
	if (atomic_load(&host->virtio.broken))
		return;
	/* A change of the pairs takes the kernel milliseconds, and others wait for the lock. */
	for (int i = 0; i < CTRL_BATCH && pairs == net_state(dev)->pairs; i++) {
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
		ack = run_command(dev, &data) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, &ack, sizeof(ack)));
	}
	if (ret > 0)
		virtio_kick(dev, host->ctrl);
	virtio_used(dev, host->ctrl);
	if (ret < 0)
		virtio_broken(dev, host->ctrl, err.msg);
}

/* --- announcements: after a load the guest may be behind another port of the network's switches. They
 * learn it from any frame of the guest's: a reverse ARP request of ours (RFC 903), which needs no
 * answer, and the announcement of a driver that can make one. */

#define ROUNDS	     5		  /* rounds and gaps are QEMU's defaults */
#define GAP_NS	     50000000ull  /* between the first and the second */
#define GAP_GROWS_NS 100000000ull /* with each */
#define LEAST_BYTES  60		  /* an Ethernet frame without its checksum */

static void send_rarp(struct device *dev)
{
	struct {
		struct virtio_net_hdr_v1 head;
		struct ether_header ether;
		struct ether_arp arp;
		uint8_t pad[LEAST_BYTES - sizeof(struct ether_header) - sizeof(struct ether_arp)];
	} __attribute__((packed)) packet = {0};
	const struct iovec iov = {&packet, sizeof(packet)};
	struct net_backend *be = &net_host(dev)->backend;
	const uint8_t *mac = net_state(dev)->mac;

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

static void announce_round(struct device *dev)
{
	struct net_host *host = net_host(dev);
	struct net_state *s = net_state(dev);

	if (s->link_down)
		return;
	if (host->virtio.started && virtio_has(dev, VIRTIO_NET_F_GUEST_ANNOUNCE) &&
	    virtio_has(dev, VIRTIO_NET_F_CTRL_VQ)) {
		s->announce = 1;
		config_changed(dev);
	}
	send_rarp(dev);
}

static void next_round(struct device *dev)
{
	struct net_host *host = net_host(dev);

	announce_round(dev);
	host->rounds_left--;
	timer_set(&host->announce,
		  host->rounds_left ? GAP_NS + (ROUNDS - 1 - host->rounds_left) * GAP_GROWS_NS : 0);
}

static void round_due(void *opaque, uint32_t events)
{
	struct device *dev = opaque;

	(void)events;
	if (timer_take(&net_host(dev)->announce) && net_host(dev)->rounds_left)
		next_round(dev);
}

void net_announce(struct device *dev)
{
	net_host(dev)->rounds_left = ROUNDS;
	next_round(dev);
}

/* --- the driver */

static void net_start(struct device *dev)
{
	struct net_host *host = net_host(dev);
	struct net_backend *be = &host->backend;
	struct virtio_queue *ctrl;

	host->ctrl = virtio_has(dev, VIRTIO_NET_F_MQ) ? 2u * net_state(dev)->max_pairs : 2;
	ctrl = net_queue(dev, host->ctrl);
	if (apply_offloads(dev)) {
		log_guest("%s: the driver accepted offloads that exclude each other; it gets none",
			  dev->name);
		(void)!be->ops->set_offloads(be, 0);
	}
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, net_state(dev)->pairs);
	if (virtio_has(dev, VIRTIO_NET_F_CTRL_VQ) && ctrl->running &&
	    loop_add(host->loop, ctrl->kick_fd, EPOLLIN, ctrl_ready, dev, &dev->lock))
		log_error("%s: the control queue cannot be watched", dev->name);
	net_io_start(dev);
}

static int net_stop(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct net_host *host = net_host(dev);

	/* Nothing to wait for: packets are read and written at once. The rest of one that is half sent on a
	 * stream was copied. */
	(void)deadline_ns;
	(void)err;
	loop_del(host->loop, net_queue(dev, host->ctrl)->kick_fd);
	net_io_stop(dev);
	return 0;
}

static void net_driver_reset(struct device *dev)
{
	struct net_host *host = net_host(dev);
	const struct net_config *config = host->config;
	struct net_state *s = net_state(dev);

	memcpy(s->hardware_mac, config->mac, sizeof(s->hardware_mac));
	memcpy(s->mac, config->mac, sizeof(s->mac));
	s->max_pairs = (uint16_t)config->queues;
	s->pairs = 1;
	s->offloads = 0;
	s->offloads_chosen = s->announce = 0;
	/* The operator's setting, not what a failed load has left in the state. */
	s->link_down = host->link_down;
	host->loaded = false;
	show_config(dev);
}

static const struct virtio_ops net_virtio_ops = {
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000, /* Ethernet controller */
	.start = net_start,
	.stop = net_stop,
	.reset = net_driver_reset,
};

/* --- the device */

static void fill_virtio(struct device *dev)
{
	struct net_host *host = net_host(dev);
	struct virtio *virtio = &host->virtio;

	virtio->ops = &net_virtio_ops;
	virtio->features = NET_FEATURES | host->backend.ops->offloads;
	if (host->config->queues > 1)
		virtio->features |= NET_FEATURE(MQ);
	virtio->nqueues = 2 * host->config->queues + 1;
	virtio->config = &host->shown;
	virtio->config_bytes = offsetof(struct virtio_net_config, mtu);
	for (uint32_t i = 0; i < virtio->nqueues; i++) {
		virtio->queue[i].max_size = NET_QUEUE_SIZE;
		virtio->queue[i].by_fd = true;
	}
}

static void close_host(struct device *dev)
{
	net_io_close(dev);
	timer_close(&net_host(dev)->announce);
}

static int net_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct net_host *host = net_host(dev);
	int ret;

	host->config = &vm->opt->net[dev->instance];
	ret = net_io_open(dev, vm, err);
	if (ret)
		return ret;
	ret = timer_open(&host->announce, CLOCK_MONOTONIC, &vm->loop, round_due, dev, &dev->lock,
			 err);
	if (!ret) {
		fill_virtio(dev);
		ret = virtio_attach(dev, &virtio_pci, vm, err);
	}
	if (ret)
		close_host(dev);
	return ret;
}

static void net_detach(struct device *dev)
{
	/* The card's thread may be serving a queue. */
	pthread_mutex_lock(&dev->lock);
	virtio_detach(dev);
	pthread_mutex_unlock(&dev->lock);
	close_host(dev);
}

static int net_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	int ret = virtio_pause(dev, deadline_ns, err);

	if (ret)
		return ret;
	timer_set(&net_host(dev)->announce, 0);
	net_io_drain(dev, deadline_ns);
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
	const struct net_config *config = net_host(dev)->config;
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
	int ret = virtio_post_load(dev, err);

	show_config(dev);
	net_host(dev)->loaded = true;
	return ret;
}

static void net_resume(struct device *dev)
{
	struct net_host *host = net_host(dev);

	host->link_down = net_state(dev)->link_down;
	virtio_resume(dev);
	if (host->loaded)
		net_announce(dev);
	else if (host->rounds_left)
		next_round(dev);
	host->loaded = false;
}

static uint32_t net_count(const struct options *opt)
{
	return opt->nnets;
}

const struct device_ops virtio_net_ops = {
	.type = "virtio-net",
	.name = "net",
	.count = net_count,
	.state = &net_state_desc,
	.host_size = sizeof(struct net_host),
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
	return net_host(dev)->config->id;
}

void net_set_link(struct device *dev, bool up)
{
	struct net_host *host = net_host(dev);
	struct net_state *s = net_state(dev);

	if (s->link_down == !up)
		return;
	/* While it is down this process moves the packets: it drops them. */
	if (host->virtio.started)
		net_io_stop(dev);
	s->link_down = host->link_down = !up;
	if (host->virtio.started)
		serve_again(dev);
	config_changed(dev);
}
