/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Network card: features, config space, and who serves its queues: a thread of this process, or
 * the host's kernel by vhost. virtio 1.2, 5.1. */
#include "devices/virtio/virtio_net.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <endian.h>
#include <errno.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <linux/vhost.h>

#define NET_NODE "/dev/vhost-net"

/* With every back end, with vhost and without, so that a guest may go from one to the other. */
#define NET_FEATURES                                                                              \
	(NET_FEATURE(MAC) | NET_FEATURE(STATUS) | NET_FEATURE(MRG_RXBUF) | NET_FEATURE(CTRL_VQ) | \
	 NET_FEATURE(CTRL_MAC_ADDR) | NET_FEATURE(GUEST_ANNOUNCE))
/* What the kernel has to know of, for it fills the rings. */
#define NET_VHOST_FEATURES                                                                       \
	(NET_FEATURE(MRG_RXBUF) | 1ull << VIRTIO_F_VERSION_1 | 1ull << VIRTIO_RING_F_EVENT_IDX | \
	 1ull << VIRTIO_RING_F_INDIRECT_DESC)

static const char *net_check(const void *state)
{
	const struct net_state *s = state;
	const char *why = virtio_check(&s->virtio);

	if (why)
		return why;
	if (!s->max_pairs || s->max_pairs > OPTIONS_MAX_QUEUES || !s->pairs ||
	    s->pairs > s->max_pairs)
		return "queue pairs in use that there are not";
	if (s->virtio.nqueues != 2 * s->max_pairs + 1)
		return "queue pairs and queues do not go together";
	if (s->pairs > 1 && (!(s->virtio.accepted & NET_FEATURE(MQ)) ||
			     !(s->virtio.status & VIRTIO_CONFIG_S_DRIVER_OK)))
		return "several queue pairs, which were not negotiated";
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

uint64_t net_offloads(const struct device *dev)
{
	const struct net_state *s = net_state(dev);

	return s->offloads_chosen ? s->offloads : s->virtio.accepted & NET_GUEST_OFFLOADS;
}

int net_apply_offloads(struct device *dev)
{
	struct net_backend *be = &net_host(dev)->backend;

	return be->ops->set_offloads ? be->ops->set_offloads(be, net_offloads(dev)) : 0;
}

void net_config_shown(struct device *dev)
{
	const struct net_state *s = net_state(dev);
	struct virtio_net_config *shown = &net_host(dev)->shown;
	uint16_t status = (uint16_t)((s->link_down ? 0 : VIRTIO_NET_S_LINK_UP) |
				     (s->announce ? VIRTIO_NET_S_ANNOUNCE : 0));

	memcpy(shown->mac, s->mac, sizeof(shown->mac));
	shown->status = htole16(status);
	shown->max_virtqueue_pairs = htole16(s->max_pairs);
}

void net_config_changed(struct device *dev)
{
	net_config_shown(dev);
	virtio_config_changed(dev);
}

/* --- who serves the queues */

/* The kernel takes and gives packets of a pair from now on; NULL ends it. */
static int set_vhost_backend(struct net_pair *pair, const struct net_backend *be, struct error *err)
{
	for (uint32_t ring = 0; ring < VHOST_RINGS; ring++) {
		struct vhost_vring_file file = {ring, be ? be->fd[pair->index] : VHOST_FILE_UNBIND};

		if (ioctl(pair->vhost.fd, VHOST_NET_SET_BACKEND, &file) && be)
			return error_set(err, -errno, "VHOST_NET_SET_BACKEND: %s", strerror(errno));
	}
	return 0;
}

static void stop_vhost_pair(struct net_pair *pair)
{
	/* On return the kernel has nothing of the pair's in hand; this cannot fail. */
	(void)!set_vhost_backend(pair, NULL, NULL);
	for (uint32_t ring = 0; ring < VHOST_RINGS; ring++)
		vhost_stop_ring(&pair->vhost, ring);
}

static int start_vhost_pair(struct net_pair *pair, struct error *err)
{
	struct device *dev = pair->dev;
	int ret = vhost_set_features(&pair->vhost, net_state(dev)->virtio.accepted, err);

	for (uint32_t ring = 0; !ret && ring < VHOST_RINGS; ring++)
		ret = vhost_start_ring(&pair->vhost, ring, err);
	if (!ret)
		ret = set_vhost_backend(pair, &net_host(dev)->backend, err);
	if (ret)
		stop_vhost_pair(pair);
	return ret;
}

/* A driver that sets up one queue of a pair alone is served by this process. */
static bool vhost_fits(const struct device *dev)
{
	const struct net_state *s = net_state(dev);

	if (!net_host(dev)->has_vhost || s->link_down)
		return false;
	for (uint32_t i = 0; i < 2u * s->pairs; i++)
		if (!net_queue(dev, i)->running)
			return false;
	return true;
}

static void serve(struct device *dev)
{
	struct net_host *host = net_host(dev);
	uint32_t n = net_state(dev)->pairs, i = 0;
	struct error err;

	host->vhost_runs = vhost_fits(dev);
	for (; host->vhost_runs && i < n; i++) {
		if (!start_vhost_pair(&host->pair[i], &err))
			continue;
		log_error("%s: %s: goes on without vhost", dev->name, err.msg);
		host->vhost_runs = false;
		break;
	}
	if (host->vhost_runs)
		return;
	while (i--)
		stop_vhost_pair(&host->pair[i]);
	net_io_start(dev);
}

static void unserve(struct device *dev)
{
	struct net_host *host = net_host(dev);

	if (host->vhost_runs)
		for (uint32_t i = 0; i < net_state(dev)->pairs; i++)
			stop_vhost_pair(&host->pair[i]);
	else
		net_io_stop(dev);
	host->vhost_runs = false;
}

void net_apply_pairs(struct device *dev, uint16_t pairs)
{
	struct net_backend *be = &net_host(dev)->backend;

	if (pairs == net_state(dev)->pairs)
		return;
	unserve(dev);
	net_state(dev)->pairs = pairs;
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, pairs);
	serve(dev);
	/* What the driver put into them while nobody looked. */
	for (uint32_t i = 0; i < 2u * pairs; i++)
		if (net_queue(dev, i)->running)
			virtio_kick(dev, i);
}

static void net_start(struct device *dev)
{
	struct net_host *host = net_host(dev);
	struct net_backend *be = &host->backend;
	struct virtio_queue *ctrl;

	host->ctrl = virtio_has(dev, VIRTIO_NET_F_MQ) ? 2u * net_state(dev)->max_pairs : 2;
	ctrl = net_queue(dev, host->ctrl);
	if (net_apply_offloads(dev)) {
		log_guest("%s: the driver has taken offloads that do not go together; it gets none",
			  dev->name);
		(void)!be->ops->set_offloads(be, 0);
	}
	if (be->ops->set_pairs)
		be->ops->set_pairs(be, net_state(dev)->pairs);
	if (virtio_has(dev, VIRTIO_NET_F_CTRL_VQ) && ctrl->running &&
	    loop_add(host->loop, ctrl->kick_fd, EPOLLIN, net_ctrl_ready, dev, &dev->lock))
		log_error("%s: the control queue cannot be watched", dev->name);
	serve(dev);
}

static int net_stop(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct net_host *host = net_host(dev);

	/* Nothing to wait for: packets are read and written at once. Of one that is half sent on a
	 * stream this process has the rest. */
	(void)deadline_ns;
	(void)err;
	loop_del(host->loop, net_queue(dev, host->ctrl)->kick_fd);
	unserve(dev);
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
	/* The link is the operator's; what a load that failed has left there is not. */
	s->link_down = host->link_down;
	host->loaded = false;
	net_config_shown(dev);
}

static const struct virtio_ops net_virtio_ops = {
	.id = VIRTIO_ID_NET,
	.class_code = 0x020000, /* Ethernet controller */
	.start = net_start,
	.stop = net_stop,
	.reset = net_driver_reset,
};

/* --- the device */

static int open_vhost(struct device *dev, struct error *err)
{
	struct net_host *host = net_host(dev);
	int ret = 0;

	for (uint32_t i = 0; !ret && i < host->config->queues; i++) {
		struct vhost *vhost = &host->pair[i].vhost;

		ret = vhost_open(vhost, dev, 2 * i, NET_NODE, "vhost_net", err);
		if (!ret && NET_VHOST_FEATURES & ~vhost->features)
			ret = error_set(err, -EOPNOTSUPP, "%s: %s lacks features %#llx", dev->name,
					NET_NODE, NET_VHOST_FEATURES & ~vhost->features);
	}
	if (ret)
		for (uint32_t i = 0; i < host->config->queues; i++)
			vhost_close(&host->pair[i].vhost);
	host->has_vhost = !ret;
	return ret;
}

/* vhost=auto takes what is there. */
static int choose_server(struct device *dev, struct vm *vm, struct error *err)
{
	struct net_host *host = net_host(dev);
	enum on_off_auto wish = host->config->vhost;

	if (host->backend.ops != &net_tap_ops && wish == AUTO_ON)
		return error_set(err, -EINVAL, "%s: vhost=on goes with a tap: leave it away",
				 dev->name);
	if (host->backend.ops == &net_tap_ops && wish != AUTO_OFF) {
		int ret = open_vhost(dev, err);

		if (ret && wish == AUTO_ON)
			return ret;
		if (ret)
			log_info("%s; packets go through this process", err->msg);
	}
	host->loop = host->has_vhost ? &vm->loop : &host->io.loop;
	return host->has_vhost ? 0 : iothread_start(&host->io, dev->name, err);
}

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

static void net_close(struct device *dev)
{
	struct net_host *host = net_host(dev);

	iothread_stop(&host->io);
	timer_close(&host->announce);
	for (uint32_t i = 0; host->pair && i < host->config->queues; i++)
		vhost_close(&host->pair[i].vhost);
	net_backend_close(&host->backend);
	free(host->pair);
}

static int net_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct net_host *host = net_host(dev);
	int ret = -ENOMEM;

	host->config = &vm->opt->net[dev->instance];
	host->backend = (struct net_backend){.config = host->config,
					     .name = dev->name,
					     .loop = &vm->loop,
					     .lock = &dev->lock,
					     .makes_nothing = vm->awaits_guest,
					     .came = net_io_came,
					     .goes = net_io_goes,
					     .opaque = dev};
	host->pair = calloc(host->config->queues, sizeof(*host->pair));
	if (!host->pair)
		return error_set(err, ret, "%s: out of memory", dev->name);
	for (uint32_t i = 0; i < host->config->queues; i++) {
		host->pair[i].dev = dev;
		host->pair[i].index = i;
		host->pair[i].vhost = VHOST_CLOSED;
	}
	ret = net_backend_open(&host->backend, err);
	if (!ret)
		ret = choose_server(dev, vm, err);
	if (!ret)
		ret = net_announce_open(dev, err);
	if (!ret) {
		fill_virtio(dev);
		ret = virtio_attach(dev, vm, err);
	}
	if (ret)
		net_close(dev);
	return ret;
}

static void net_detach(struct device *dev)
{
	/* The card's thread may be about to serve a queue. */
	pthread_mutex_lock(&dev->lock);
	virtio_detach(dev);
	pthread_mutex_unlock(&dev->lock);
	net_close(dev);
}

static int net_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	int ret = virtio_pause(dev, deadline_ns, err);

	if (ret)
		return ret;
	net_announce_pause(dev);
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
	/* Behind different queues nothing else can be the same. */
	if (s->max_pairs != config->queues)
		return error_join(err, -EINVAL,
				  "the checkpoint has queues=%u, the command line gives %u",
				  s->max_pairs, config->queues);
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int net_post_load(struct device *dev, struct error *err)
{
	int ret = virtio_post_load(dev, err);

	net_config_shown(dev);
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
	else
		net_announce_resume(dev);
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
	/* While it is down packets come by this process, which drops them. */
	if (host->virtio.started)
		unserve(dev);
	s->link_down = host->link_down = !up;
	if (host->virtio.started) {
		serve(dev);
		for (uint32_t i = 0; i < 2u * s->pairs; i++)
			if (net_queue(dev, i)->running)
				virtio_kick(dev, i);
	}
	net_config_changed(dev);
}
