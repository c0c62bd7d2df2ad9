/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_net.h - the inside of a network card: virtio_net.c is the device, net_io.c moves
 * packets, net_ctrl.c serves the control queue, net_announce.c tells the network where the guest is.
 * Owns: struct net_host its back end, vhost descriptors, thread and buffers.
 * Threads: as devices/virtio/virtio.h says: with dev->lock held. Queues are served by the card's own thread,
 *	with vhost by the kernel; the control queue by that thread or the main one.
 * Units: bytes; queue pair i is queues 2i (receive) and 2i + 1 (transmit).
 * Errors: as devices/virtio/virtio.h. virtio 1.2, 5.1 "Network Device". */
#ifndef DEVICES_VIRTIO_VIRTIO_NET_H
#define DEVICES_VIRTIO_VIRTIO_NET_H
#include "devices/host/net_backend.h"
#include "devices/host/vhost.h"
#include "devices/virtio/net.h"
#include "devices/virtio/virtio.h"
#include "vmm/base/iothread.h"
#include "vmm/base/timer.h"
#include <linux/virtio_net.h>

#define NET_QUEUE_SIZE 256
/* A chain has at most a queue's descriptors, some of which lie across regions of RAM. */
#define NET_CHAIN_IOV (NET_QUEUE_SIZE + RAM_MAX_REGIONS)

#define NET_FEATURE(name) (1ull << VIRTIO_NET_F_##name)
#define NET_GUEST_OFFLOADS                                                             \
	(NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4) | NET_FEATURE(GUEST_TSO6) | \
	 NET_FEATURE(GUEST_ECN))

struct net_state {
	struct virtio_state virtio;
	uint64_t offloads; /* of the GUEST_* features those in force, once the driver has chosen */
	uint8_t hardware_mac[NET_MAC_BYTES], mac[NET_MAC_BYTES]; /* the option's; the driver's */
	uint16_t max_pairs, pairs;
	uint8_t offloads_chosen;
	uint8_t link_down;
	uint8_t announce; /* the driver was asked to, and has not done so */
	uint8_t pad[5];
};

/* Receive buffers that were popped ahead, for the size of a packet is known only when it is read. */
struct net_rx {
	struct virtq_chain chain[NET_QUEUE_SIZE];
	struct iovec iov[NET_IOV_MAX];
	uint32_t chain_from, chain_to, iov_from, iov_to;
	uint64_t bytes;	    /* room in them */
	uint64_t held;	    /* bytes of a packet that waits for more buffers */
	uint64_t held_room; /* how much of it was read into buffers; the rest is in spill */
	bool waits;	    /* for buffers: the back end is not looked at */
	uint8_t spill[NET_PACKET_BYTES];
};

struct net_pair {
	struct device *dev;
	uint32_t index;
	bool watched;
	bool tx_waits; /* for the back end to take a packet */
	struct net_rx rx;
	struct vhost vhost;
};

struct net_host {
	struct virtio virtio;
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
	bool loaded;	/* resume() is to announce the guest */
	bool link_down; /* what set_link said, or a load that succeeded */
};

static inline struct net_host *net_host(const struct device *dev)
{
	return dev->host;
}

static inline struct net_state *net_state(const struct device *dev)
{
	return dev->state;
}

static inline struct virtio_queue *net_queue(const struct device *dev, uint32_t queue)
{
	return &net_host(dev)->virtio.queue[queue];
}

/* virtio_net.c */
/* Which GUEST_* offloads are in force. */
uint64_t net_offloads(const struct device *dev);
/* The driver has changed offloads or pairs: back end and queues follow. */
int net_apply_offloads(struct device *dev) must_check;
void net_apply_pairs(struct device *dev, uint16_t pairs);
/* Config space shows what the state says; net_config_changed() interrupts the driver too. */
void net_config_shown(struct device *dev);
void net_config_changed(struct device *dev);

/* net_io.c: packets by way of this process. */
void net_io_start(struct device *dev);
/* On return no chain is in hand. */
void net_io_stop(struct device *dev);
/* Sends on what is half sent, as long as the other end takes it. */
void net_io_drain(struct device *dev, uint64_t deadline_ns);
/* For struct net_backend. */
void net_io_came(void *opaque);
void net_io_goes(void *opaque, int fd);

/* net_ctrl.c: the control queue; opaque is the device. */
void net_ctrl_ready(void *opaque, uint32_t events);

/* net_announce.c */
int net_announce_open(struct device *dev, struct error *err) must_check;
void net_announce_pause(struct device *dev);
void net_announce_resume(struct device *dev);
#endif
