/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The control queue: MAC, announcements, queue pairs, offloads. virtio 1.2, 5.1.6.5. What a
 * command says is read once; one that is wrong in any part changes nothing and gets VIRTIO_NET_ERR. */
#include "devices/virtio/virtio_net.h"
#include <endian.h>
#include <string.h>

#define BATCH 64

/* The data behind a command's header, taken piece by piece. */
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
	net_config_shown(dev);
	return true;
}

static bool acknowledge(struct device *dev, struct ctrl_data *data)
{
	struct net_state *s = net_state(dev);

	if (!s->announce || !at_end(data))
		return false;
	s->announce = 0;
	net_config_shown(dev);
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
	net_apply_pairs(dev, pairs);
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
	if (!net_apply_offloads(dev))
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

static bool run(struct device *dev, struct ctrl_data *data)
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

void net_ctrl_ready(void *opaque, uint32_t events)
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
	/* Other pairs take the kernel milliseconds, and others wait for the lock. */
	for (int i = 0; i < BATCH && pairs == net_state(dev)->pairs; i++) {
		struct ctrl_data data = {.chain = &chain};
		uint8_t ack;

		ret = virtq_pop(q, &chain, NET_CHAIN_IOV, &err);
		if (!ret) {
			/* What has come meanwhile is kicked for by nobody, be this the last pass. */
			ret = virtq_want_kicks(q);
			if (ret)
				continue;
		}
		if (ret <= 0)
			break;
		ack = run(dev, &data) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
		virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, &ack, sizeof(ack)));
	}
	if (ret > 0)
		virtio_kick(dev, host->ctrl);
	virtio_used(dev, host->ctrl);
	if (ret < 0)
		virtio_broken(dev, host->ctrl, err.msg);
}
