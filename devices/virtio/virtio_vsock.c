/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Socket device: sockets between guest and host. The host's kernel serves both data queues by vhost,
 * this process the event queue. Connections live in that kernel and end with the process: the guest
 * gets a TRANSPORT_RESET. virtio 1.2, 5.10. */
#include "devices/host/vhost.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <endian.h>
#include <errno.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/ioctl.h>

#define NODE	    "/dev/vhost-vsock"
#define EVENT_QUEUE 2
#define QUEUES	    3
#define QUEUE_SIZE  128
#define EVENT_IOV   (QUEUE_SIZE + RAM_MAX_REGIONS)

struct vsock_state {
	struct virtio_state virtio;
	uint64_t cid;
	uint32_t reset_due; /* TRANSPORT_RESET waits for a buffer in the event queue */
	uint32_t pad;
};
#define VSOCK_STATE(F, A, V, T)       \
	VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, cid, ST_CONSTANT)        \
	F(T, reset_due, ST_BOOL)      \
	F(T, pad, ST_PADDING)

struct vsock {
	struct virtio virtio;
	struct vsock_state s;
	struct virtio_vsock_config shown;
	struct vhost vhost;
};

static const char *vsock_check(const void *state)
{
	const struct vsock_state *s = state;

	if (s->virtio.nqueues != QUEUES)
		return "a socket device has three queues";
	return virtio_check(&s->virtio);
}
STATE_DEFINE(vsock_state, VSOCK_STATE, "virtio-vsock", vsock_check);

static int set_running(const struct vsock *vsock, int on)
{
	return ioctl(vsock->vhost.fd, VHOST_VSOCK_SET_RUNNING, &on) ? -errno : 0;
}

static void stop_rings(struct vsock *vsock)
{
	int ret = set_running(vsock, 0);

	if (ret)
		log_error("%s: VHOST_VSOCK_SET_RUNNING: %s", vsock->virtio.dev.name,
			  strerror(-ret));
	vhost_stop(&vsock->vhost);
}

static void vsock_start(struct virtio *v)
{
	struct vsock *vsock = container_of(v, struct vsock, virtio);
	struct error err;
	int ret;

	if (!v->queue[0].running || !v->queue[1].running)
		return;
	ret = vhost_start(&vsock->vhost, &err);
	if (!ret) {
		ret = set_running(vsock, 1);
		if (ret)
			error_set(&err, ret, "VHOST_VSOCK_SET_RUNNING: %s", strerror(-ret));
	}
	if (!ret)
		return;
	stop_rings(vsock);
	virtio_broken(v, 0, err.msg);
}

static int vsock_stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	(void)deadline_ns; /* the kernel holds a chain only while it copies */
	stop_rings(container_of(v, struct vsock, virtio));
	return 0;
}

/* The event queue: the driver offers buffers, the device has one kind of event. */
static void vsock_kick(struct virtio *v, uint32_t queue)
{
	const struct virtio_vsock_event event = {htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET)};
	struct vsock *vsock = container_of(v, struct vsock, virtio);
	struct virtq *q = &v->queue[queue].q;
	struct iovec iov[EVENT_IOV];
	struct virtq_chain chain = {.iov = iov};
	struct error err;
	int ret;

	if (!vsock->s.reset_due)
		return;
	ret = virtq_pop(q, &chain, EVENT_IOV, &err);
	if (!ret && virtq_want_kicks(q))
		ret = virtq_pop(q, &chain, EVENT_IOV, &err);
	if (ret < 0)
		virtio_broken(v, queue, err.msg);
	if (ret <= 0)
		return;
	vsock->s.reset_due = 0;
	virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, &event, sizeof(event)));
	virtio_used(v, queue);
}

static void vsock_driver_reset(struct virtio *v)
{
	struct vsock *vsock = container_of(v, struct vsock, virtio);

	vsock->s.cid = v->dev.vm->opt->vsock_cid;
	vsock->s.reset_due = 0;
}

static const struct virtio_ops vsock_virtio_ops = {
	.id = VIRTIO_ID_VSOCK,
	.class_code = 0x078000, /* communication controller, other */
	.kick = vsock_kick,
	.start = vsock_start,
	.stop = vsock_stop,
	.reset = vsock_driver_reset,
};

static int set_cid(const struct vsock *vsock, struct error *err)
{
	const struct device *dev = &vsock->virtio.dev;
	uint64_t cid = dev->vm->opt->vsock_cid;

	if (!ioctl(vsock->vhost.fd, VHOST_VSOCK_SET_GUEST_CID, &cid))
		return 0;
	if (errno == EADDRINUSE)
		return error_set(err, -EADDRINUSE,
				 "%s: cid=%llu is another VM's on this host: choose another",
				 dev->name, (unsigned long long)cid);
	return error_set(err, -errno, "%s: cid=%llu: %s", dev->name, (unsigned long long)cid,
			 strerror(errno));
}

static int vsock_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct vsock *vsock = container_of(dev, struct vsock, virtio.dev);
	struct virtio *v = &vsock->virtio;
	int ret = vhost_open(&vsock->vhost, v, 0, NODE, "vhost_vsock", err);

	if (ret)
		return ret;
	ret = set_cid(vsock, err);
	if (ret)
		goto close_vhost;
	vsock->shown.guest_cid = htole64(vm->opt->vsock_cid);
	v->ops = &vsock_virtio_ops;
	v->features = vsock->vhost.features & 1ull << VIRTIO_VSOCK_F_SEQPACKET;
	v->nqueues = QUEUES;
	v->config = &vsock->shown;
	v->config_bytes = sizeof(vsock->shown);
	for (uint32_t i = 0; i < QUEUES; i++) {
		v->queue[i].max_size = QUEUE_SIZE;
		v->queue[i].by_fd = i != EVENT_QUEUE;
	}
	ret = virtio_attach(v, vm, err);
	if (ret)
		goto close_vhost;
	return 0;

close_vhost:
	vhost_close(&vsock->vhost);
	return ret;
}

static void vsock_detach(struct device *dev)
{
	struct vsock *vsock = container_of(dev, struct vsock, virtio.dev);

	virtio_detach(dev);
	vhost_close(&vsock->vhost);
}

static int vsock_post_load(struct device *dev, struct error *err)
{
	struct vsock *vsock = container_of(dev, struct vsock, virtio.dev);

	vsock->s.reset_due = (vsock->s.virtio.status & VIRTIO_CONFIG_S_DRIVER_OK) != 0;
	return virtio_post_load(dev, err);
}

static uint32_t vsock_count(const struct options *opt)
{
	return opt->vsock_cid != 0;
}

const struct device_ops virtio_vsock_ops = {
	.type = "virtio-vsock",
	.name = "vsock",
	.count = vsock_count,
	.needs = &pci_host_ops,
	.state = &vsock_state_desc,
	DEVICE_STRUCT(struct vsock),
	.attach = vsock_attach,
	.detach = vsock_detach,
	.reset = virtio_reset,
	.pause = virtio_pause,
	.compare = virtio_compare,
	.post_load = vsock_post_load,
	.resume = virtio_resume,
};
