/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_net.h - network card: what QMP asks of it, and what its two files share:
 * virtio_net.c is the device, net_io.c moves packets.
 * Threads: with dev->lock held. QMP's functions: main only. Queues are served by the card's own thread,
 *	with vhost by the kernel; the control queue by that thread or the main one.
 * Units: bytes; queue pair i is queues 2i (receive) and 2i + 1 (transmit).
 * Errors: as devices/virtio/virtio.h. virtio 1.2, 5.1 "Network Device". */
#ifndef DEVICES_VIRTIO_VIRTIO_NET_H
#define DEVICES_VIRTIO_VIRTIO_NET_H
#include "devices/host/net_backend.h"
#include "devices/host/vhost.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/loop.h"
#include <linux/virtio_net.h>

/* --- for QMP */

/* Is it a network card? What follows takes no other device. */
bool net_is(const struct device *dev);
/* Its id= of the command line: "net0" by default. */
const char *net_id(const struct device *dev);
/* Down: the driver sees no carrier, frames are dropped both ways. It stays so over resets and
 * saves. */
void net_set_link(struct device *dev, bool up);
/* Tells the network where the card is now, in some rounds within a second: by RARP, and by the
 * driver's own announcement if it can make one. */
void net_announce(struct device *dev);

/* --- the inside */

#define NET_MAC_BYTES  6
#define NET_QUEUE_SIZE 256
/* A chain has at most a queue's descriptors, some of which lie across regions of RAM. */
#define NET_CHAIN_IOV (NET_QUEUE_SIZE + RAM_MAX_REGIONS)

#define NET_FEATURE(name) (1ull << VIRTIO_NET_F_##name)
#define NET_GUEST_OFFLOADS                                                             \
	(NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6) | \
	 NET_FEATURE(GUEST_ECN))

struct net_state {
	struct virtio_state virtio;
	uint64_t offloads; /* the GUEST_* features in force, once the driver has chosen */
	uint8_t hardware_mac[NET_MAC_BYTES], mac[NET_MAC_BYTES]; /* the option's; the driver's */
	uint16_t max_pairs, pairs;
	uint8_t offloads_chosen;
	uint8_t link_down;
	uint8_t announce; /* the driver was asked to and has not acknowledged yet */
	uint8_t pad[5];
};

/* Receive buffers popped ahead: the size of a packet is known only when it is read. */
struct net_rx {
	struct virtq_chain chain[NET_QUEUE_SIZE];
	struct iovec iov[NET_IOV_MAX];
	uint32_t chain_from, chain_to, iov_from, iov_to;
	uint64_t bytes;	    /* room in them */
	uint64_t held;	    /* bytes of a packet that waits for more buffers */
	uint64_t held_room; /* how much of it was read into buffers; the rest is in spill */
	bool waits;	    /* for buffers: the back end is not watched */
	uint8_t spill[NET_PACKET_BYTES];
};

struct net_pair {
	struct net *net;
	uint32_t index;
	bool watched;
	bool tx_waits; /* for the back end to take a packet */
	struct net_rx rx;
	struct vhost vhost;
};

struct net {
	struct virtio virtio;
	struct net_state s;
	const struct net_config *config;
	struct net_backend backend;
	struct virtio_net_config shown;
	struct iothread io;
	struct loop *loop; /* of io, or with vhost the main one */
	struct net_pair *pair;
	bool has_vhost, vhost_runs;
	uint32_t ctrl; /* the control queue, while the driver is ready */
	struct timer announce;
	uint32_t rounds_left;
	bool loaded;	/* resume() announces the guest */
	bool link_down; /* by set_link or by a load that succeeded */
};

static inline struct net *net_of(const struct device *dev)
{
	return container_of(dev, struct net, virtio.dev);
}

/* --- net_io.c */
/* Opens config's back end, and vhost or the card's thread. */
int net_io_open(struct net *net, struct vm *vm, struct error *err) must_check;
void net_io_close(struct net *net);
/* Between these the pairs in use are served. After stop no chain is in hand. */
void net_io_start(struct net *net);
void net_io_stop(struct net *net);
/* Sends the rest of a half-sent packet, as long as the peer takes it. */
void net_io_drain(struct net *net, uint64_t deadline_ns);
#endif
