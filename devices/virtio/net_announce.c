/* SPDX-License-Identifier: GPL-2.0-or-later */
/* After a load the guest may be behind another port of the network's switches. They learn it from
 * any frame of the guest's: a reverse ARP request of ours (RFC 903), whose answer nobody needs, and
 * what a driver that can announce itself sends. Rounds and gaps are QEMU's defaults. */
#include "devices/virtio/virtio_net.h"
#include "vmm/vm.h"
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/if_ether.h>
#include <string.h>

#define ROUNDS	     5
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
	/* One that does not go out now is made good by the next round. */
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
		net_config_changed(dev);
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

int net_announce_open(struct device *dev, struct error *err)
{
	return timer_open(&net_host(dev)->announce, CLOCK_MONOTONIC, &dev->vm->loop, round_due, dev,
			  &dev->lock, err);
}

void net_announce_pause(struct device *dev)
{
	timer_set(&net_host(dev)->announce, 0);
}

void net_announce_resume(struct device *dev)
{
	if (net_host(dev)->rounds_left)
		next_round(dev);
}
