/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/net.h - what QMP asks of a network card: query-rx-filter, set_link, announce-self.
 * Owns: nothing.
 * Threads: main only, with dev->lock held.
 * Units: none.
 * Errors: none. virtio 1.2, 5.1.6.5 "Control Virtqueue"; the members are QEMU's RxFilterInfo. */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H
#include "devices/device.h"
#include "vmm/options.h"
#include <stdbool.h>

#define NET_MAC_BYTES 6
#define NET_MACS_MAX  64 /* entries of the MAC table: unicast and multicast together */
#define NET_VLANS     4096

/* QEMU's RxState: "normal" is by the table, "none" and "all" what they say. */
enum net_rx_state { NET_RX_NORMAL, NET_RX_NONE, NET_RX_ALL };

struct net_info {
	const char *id;	   /* of the option: "net0" unless it says otherwise */
	char backend[160]; /* "tap=tap0,vhost=on", "stream=unix:/run/passt" */
	bool link_up;
	bool promiscuous, broadcast_allowed, multicast_overflow, unicast_overflow;
	enum net_rx_state multicast, unicast, vlan;
	uint8_t mac[NET_MAC_BYTES]; /* main-mac: as the driver has set it, else the option's */
	uint32_t nunicast, nmulticast;
	uint8_t unicast_table[NET_MACS_MAX][NET_MAC_BYTES];
	uint8_t multicast_table[NET_MACS_MAX][NET_MAC_BYTES];
	uint8_t vlan_table[NET_VLANS / 8]; /* a bit a VLAN; means something if vlan is "normal" */
};

/* Is it a network card? What follows takes no other device. */
bool net_is(const struct device *dev);
void net_query(const struct device *dev, struct net_info *info);
/* Down: the driver sees no carrier, frames are dropped both ways. It stays so over resets and
 * saves. */
void net_set_link(struct device *dev, bool up);
/* Tells the network where the card is now: by the driver if it can, and by RARP in any case; some
 * rounds within a second. */
void net_announce(struct device *dev);
#endif
