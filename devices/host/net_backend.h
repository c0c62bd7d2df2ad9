/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/net_backend.h - the host end of a network card: a tap or a stream socket.
 * Owns: its descriptors and what it keeps in `own`, from net_backend_open() to _close().
 * Threads: open and close: main only; the rest: any thread that holds the device's lock.
 * Units: bytes; a packet is a frame after its struct virtio_net_hdr_v1 (NET_HDR_BYTES).
 * Errors: open: -errno with one message. Afterwards frames are lost silently, as on any network.
 *	Documentation/networking/tuntap.rst; QEMU's -netdev stream, which passt speaks too. */
#ifndef DEVICES_HOST_NET_BACKEND_H
#define DEVICES_HOST_NET_BACKEND_H
#include "vmm/base/error.h"
#include "vmm/base/loop.h"
#include "vmm/options.h"
#include <pthread.h>
#include <sys/types.h>
#include <sys/uio.h>

#define NET_HDR_BYTES	 12
#define NET_PACKET_BYTES ((64 << 10) + 64) /* TSO's largest, with its headers */
#define NET_IOV_MAX	 1024		   /* IOV_MAX of readv(2) */

struct net_backend;

struct net_backend_ops {
	bool has_vhost;	   /* its descriptors are taken by the kernel's vhost-net */
	uint64_t offloads; /* virtio-net features that its packets can carry in their headers */
	bool (*claims)(const struct net_config *config);
	int (*open)(struct net_backend *be, struct error *err);
	void (*close)(struct net_backend *be); /* frees `own`. May be NULL */
	/* Returns the bytes of the next packet, or -EAGAIN. Bytes that iov has no room for are lost.
	 * -EFAULT: iov is not accessible, the packet is lost; the same for send(). */
	ssize_t (*receive)(struct net_backend *be, uint32_t pair, const struct iovec *iov,
			   uint32_t niov);
	/* 0: the packet is sent, or lost; -EAGAIN: offer it again when the descriptor is
	 * writable. */
	int (*send)(struct net_backend *be, uint32_t pair, const struct iovec *iov, uint32_t niov);
	/* Sends the rest of the last packet; updates `unsent`. May be NULL. */
	void (*flush)(struct net_backend *be);
	/* Packets for the guest may need these of its GUEST_* features. May be NULL. */
	int (*set_offloads)(struct net_backend *be, uint64_t features);
	/* The guest uses pairs [0, n). May be NULL. */
	void (*set_pairs)(struct net_backend *be, uint32_t n);
};

struct net_backend {
	/* Filled by the card before net_backend_open(). */
	const struct net_config *config;
	const char *name;      /* of the device, for messages */
	struct loop *loop;     /* the main one */
	pthread_mutex_t *lock; /* the device's */
	bool makes_nothing;    /* a missing tap is refused: a saved guest needs the one it had */
	/* While the card is open: fd[0] is connected; fd is about to be closed. */
	void (*on_connect)(void *opaque);
	void (*on_disconnect)(void *opaque, int fd);
	void *opaque;

	const struct net_backend_ops *ops;
	int fd[OPTIONS_MAX_QUEUES]; /* of each pair; -1: not connected */
	uint32_t npairs;	    /* tap: the kernel delivers to the first of them */
	bool unsent;		    /* flush() when fd[0] is writable */
	void *own;
};

int net_backend_open(struct net_backend *be, struct error *err) must_check;
void net_backend_close(struct net_backend *be);
#endif
