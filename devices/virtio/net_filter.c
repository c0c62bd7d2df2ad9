/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a frame must be to reach the guest, as the driver has asked on the control queue. virtio 1.2,
 * 5.1.6.5.1 to 5.1.6.5.3. Packets that vhost delivers come unfiltered: the spec calls filters best
 * effort, and drivers look again. */
#include "devices/virtio/virtio_net.h"
#include <net/ethernet.h>
#include <stdio.h>
#include <string.h>
#include <sys/un.h>

static const uint8_t broadcast[NET_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void net_filter_reset(struct net_state *s)
{
	/* A driver that knows no filters gets all. */
	s->promisc = 1;
	s->allmulti = s->alluni = s->nomulti = s->nouni = s->nobcast = 0;
	s->unicast_overflow = s->multicast_overflow = 0;
	s->nunicast = s->nmulticast = 0;
	memset(s->macs, 0, sizeof(s->macs));
	memset(s->vlan, 0, sizeof(s->vlan));
}

const char *net_filter_check(const struct net_state *s)
{
	const uint8_t flags = s->promisc | s->allmulti | s->alluni | s->nomulti | s->nouni |
			      s->nobcast | s->unicast_overflow | s->multicast_overflow;

	if (flags > 1)
		return "a receive mode that is not 0 or 1";
	if (s->nunicast > NET_MACS_MAX || s->nmulticast > NET_MACS_MAX - s->nunicast)
		return "more MAC addresses than the table has room for";
	return NULL;
}

static bool in_table(const struct net_state *s, uint32_t from, uint32_t n, const uint8_t *mac)
{
	for (uint32_t i = from; i < from + n; i++)
		if (!memcmp(s->macs + (size_t)i * NET_MAC_BYTES, mac, NET_MAC_BYTES))
			return true;
	return false;
}

static bool vlan_passes(const struct device *dev, const uint8_t *frame)
{
	uint32_t type = (uint32_t)frame[12] << 8 | frame[13];
	uint32_t vlan = ((uint32_t)frame[14] << 8 | frame[15]) % NET_VLANS;

	return !virtio_has(dev, VIRTIO_NET_F_CTRL_VLAN) || type != ETHERTYPE_VLAN ||
	       net_state(dev)->vlan[vlan / 8] >> (vlan % 8) & 1;
}

bool net_filter_accepts(const struct device *dev, const uint8_t frame[NET_FILTER_BYTES])
{
	const struct net_state *s = net_state(dev);

	if (s->promisc)
		return true;
	if (!vlan_passes(dev, frame))
		return false;
	if (!memcmp(frame, broadcast, sizeof(broadcast)))
		return !s->nobcast;
	if (frame[0] & 1)
		return !s->nomulti && (s->allmulti || s->multicast_overflow ||
				       in_table(s, s->nunicast, s->nmulticast, frame));
	return !s->nouni &&
	       (s->alluni || s->unicast_overflow || !memcmp(frame, s->mac, sizeof(s->mac)) ||
		in_table(s, 0, s->nunicast, frame));
}

static enum net_rx_state rx_state(uint8_t none, uint8_t all)
{
	return none ? NET_RX_NONE : all ? NET_RX_ALL : NET_RX_NORMAL;
}

void net_query(const struct device *dev, struct net_info *info)
{
	char text[sizeof(info->backend) - sizeof(",vhost=on")];
	static const char *const option[] = {"tap", "stream", "fd"};
	const struct net_host *host = net_host(dev);
	const struct net_config *config = host->config;
	const struct net_state *s = net_state(dev);

	*info = (struct net_info){
		.id = config->id,
		.link_up = !s->link_down,
		.promiscuous = s->promisc,
		.broadcast_allowed = !s->nobcast,
		.multicast_overflow = s->multicast_overflow,
		.unicast_overflow = s->unicast_overflow,
		.multicast = rx_state(s->nomulti, s->allmulti),
		.unicast = rx_state(s->nouni, s->alluni),
		.vlan = virtio_has(dev, VIRTIO_NET_F_CTRL_VLAN) ? NET_RX_NORMAL : NET_RX_ALL,
		.nunicast = s->nunicast,
		.nmulticast = s->nmulticast,
	};
	if (config->kind == NET_FD)
		snprintf(text, sizeof(text), "fd=%d (%s)", config->fd, host->backend.ops->type);
	else
		snprintf(text, sizeof(text), "%s=%s%.*s", option[config->kind],
			 config->kind == NET_STREAM ? "unix:" : "", (int)sizeof(struct sockaddr_un),
			 config->path);
	snprintf(info->backend, sizeof(info->backend), "%s%s", text,
		 host->has_vhost ? ",vhost=on" : "");
	memcpy(info->mac, s->mac, sizeof(info->mac));
	memcpy(info->unicast_table, s->macs, (size_t)s->nunicast * NET_MAC_BYTES);
	memcpy(info->multicast_table, s->macs + (size_t)s->nunicast * NET_MAC_BYTES,
	       (size_t)s->nmulticast * NET_MAC_BYTES);
	memcpy(info->vlan_table, s->vlan, sizeof(info->vlan_table));
}
