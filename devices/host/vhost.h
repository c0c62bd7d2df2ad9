/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/vhost.h - virtqueues that the host's kernel serves: /dev/vhost-net, /dev/vhost-vsock.
 * Owns: the vhost descriptor, the rings' call eventfds and their error eventfd.
 * Threads: open and close: main only; the rest with the device's lock held.
 * Units: rings are those of this descriptor, 0 and 1; queues those of the device.
 * Errors: 0 or -errno with one message. A ring that the kernel finds broken puts the device in
 *	error. include/uapi/linux/vhost.h. */
#ifndef DEVICES_HOST_VHOST_H
#define DEVICES_HOST_VHOST_H
#include "devices/virtio/virtio.h"

#define VHOST_RINGS 2

struct vhost {
	struct virtio *virtio;
	const char *node;
	int fd;		   /* -1: not open */
	uint64_t features; /* that the kernel offers */
	uint32_t first;	   /* the device's queue that is ring 0 */
	int error_fd;
	int call_fd[VHOST_RINGS];
	bool running[VHOST_RINGS];
};
#define VHOST_CLOSED ((struct vhost){.fd = -1, .error_fd = -1, .call_fd = {-1, -1}})

/* Hands guest RAM to the kernel. module: named in the message if there is no such node. */
int vhost_open(struct vhost *vhost, struct virtio *virtio, uint32_t first, const char *node,
	       const char *module, struct error *err) must_check;
/* Idempotent. */
void vhost_close(struct vhost *vhost);
/* Both rings, at the indices of the device's queues, with those of the accepted features that the kernel
 * handles. The device then makes them run, by a back end or SET_RUNNING. */
int vhost_start(struct vhost *vhost, struct error *err) must_check;
/* After the device has stopped them, and after a start that failed: the device's queues take over the
 * rings' indices. */
void vhost_stop(struct vhost *vhost);
#endif
