/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/vhost.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/vhost.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int failed(const struct vhost *vhost, const char *what, struct error *err)
{
	int ret = -errno;

	return error_set(err, ret, "%s: %s: %s", vhost->node, what, strerror(-ret));
}

/* The kernel does not say which of the rings is broken. */
static void ring_broken(void *opaque, uint32_t events)
{
	struct vhost *vhost = opaque;
	struct error why = {"the host's kernel found the ring broken"}, reason;
	uint64_t count;

	if (read(vhost->error_fd, &count, sizeof(count)) <= 0)
		return;
	if (ram_fault_reason(&vhost->virtio->dev.vm->ram, &reason))
		error_prefix(&why, "%s", reason.msg);
	virtio_broken(vhost->virtio, vhost->first, why.msg);
}

static int set_memory(struct vhost *vhost, struct error *err)
{
	const struct ram *ram = &vhost->virtio->dev.vm->ram;
	struct {
		struct vhost_memory head;
		struct vhost_memory_region region[RAM_MAX_REGIONS];
	} table = {.head.nregions = ram->nregions};

	for (uint32_t i = 0; i < ram->nregions; i++)
		table.region[i] = (struct vhost_memory_region){
			.guest_phys_addr = ram->region[i].gpa,
			.memory_size = ram->region[i].size_bytes,
			.userspace_addr = (uintptr_t)ram->region[i].hva,
		};
	return ioctl(vhost->fd, VHOST_SET_MEM_TABLE, &table)
		       ? failed(vhost, "VHOST_SET_MEM_TABLE", err)
		       : 0;
}

static int new_eventfd(const struct vhost *vhost, int *fd, struct error *err)
{
	*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? failed(vhost, "eventfd", err) : 0;
}

static int set_up(struct vhost *vhost, struct error *err)
{
	struct loop *loop = &vhost->virtio->dev.vm->loop;
	int ret;

	if (ioctl(vhost->fd, VHOST_SET_OWNER))
		return failed(vhost, "VHOST_SET_OWNER", err);
	if (ioctl(vhost->fd, VHOST_GET_FEATURES, &vhost->features))
		return failed(vhost, "VHOST_GET_FEATURES", err);
	ret = set_memory(vhost, err);
	for (int i = 0; !ret && i < VHOST_RINGS; i++)
		ret = new_eventfd(vhost, &vhost->call_fd[i], err);
	if (!ret)
		ret = new_eventfd(vhost, &vhost->error_fd, err);
	if (ret)
		return ret;
	ret = loop_add(loop, vhost->error_fd, EPOLLIN, ring_broken, vhost,
		       &vhost->virtio->dev.lock);
	return ret ? error_set(err, ret, "%s: event loop: %s", vhost->virtio->dev.name,
			       strerror(-ret))
		   : 0;
}

int vhost_open(struct vhost *vhost, struct virtio *virtio, uint32_t first, const char *node,
	       const char *module, struct error *err)
{
	int ret;

	*vhost = VHOST_CLOSED;
	vhost->virtio = virtio;
	vhost->node = node;
	vhost->first = first;
	vhost->fd = open(node, O_RDWR | O_CLOEXEC);
	if (vhost->fd < 0 && (errno == ENOENT || errno == ENODEV || errno == ENXIO))
		return error_set(err, -errno, "%s: the host's kernel has no %s: modprobe %s",
				 virtio->dev.name, node, module);
	if (vhost->fd < 0)
		return error_set(err, -errno,
				 "%s: %s: %s: give this user access to it (group kvm or an ACL)",
				 virtio->dev.name, node, strerror(errno));
	ret = set_up(vhost, err);
	if (ret) {
		error_prefix(err, "%s", virtio->dev.name);
		vhost_close(vhost);
	}
	return ret;
}

void vhost_close(struct vhost *vhost)
{
	if (vhost->fd < 0)
		return;
	/* First: it uses the other descriptors. */
	close(vhost->fd);
	if (vhost->error_fd >= 0) {
		loop_del(&vhost->virtio->dev.vm->loop, vhost->error_fd);
		close(vhost->error_fd);
	}
	for (int i = 0; i < VHOST_RINGS; i++)
		if (vhost->call_fd[i] >= 0)
			close(vhost->call_fd[i]);
	*vhost = VHOST_CLOSED;
}

static int start_ring(struct vhost *vhost, uint32_t ring, struct error *err)
{
	const struct virtio_queue *queue = &vhost->virtio->queue[vhost->first + ring];
	struct vhost_vring_state size = {ring, queue->q.size}, base = {ring, queue->q.last_avail};
	struct vhost_vring_addr addr = {
		.index = ring,
		.desc_user_addr = (uintptr_t)queue->q.desc,
		.used_user_addr = (uintptr_t)queue->q.used,
		.avail_user_addr = (uintptr_t)queue->q.avail,
	};
	struct vhost_vring_file kick = {ring, queue->kick_fd}, call = {ring, vhost->call_fd[ring]};
	struct vhost_vring_file error = {ring, vhost->error_fd};
	const struct {
		unsigned long request;
		const char *name;
		void *arg;
	} step[] = {
		{VHOST_SET_VRING_NUM, "VHOST_SET_VRING_NUM", &size},
		{VHOST_SET_VRING_BASE, "VHOST_SET_VRING_BASE", &base},
		{VHOST_SET_VRING_ADDR, "VHOST_SET_VRING_ADDR", &addr},
		{VHOST_SET_VRING_ERR, "VHOST_SET_VRING_ERR", &error},
		{VHOST_SET_VRING_CALL, "VHOST_SET_VRING_CALL", &call},
		{VHOST_SET_VRING_KICK, "VHOST_SET_VRING_KICK", &kick},
	};

	for (size_t i = 0; i < ARRAY_SIZE(step); i++)
		if (ioctl(vhost->fd, step[i].request, step[i].arg))
			return failed(vhost, step[i].name, err);
	virtio_call_fd(vhost->virtio, vhost->first + ring, vhost->call_fd[ring]);
	vhost->running[ring] = true;
	return 0;
}

int vhost_start(struct vhost *vhost, struct error *err)
{
	uint64_t features = vhost->virtio->s->accepted & vhost->features;
	int ret = ioctl(vhost->fd, VHOST_SET_FEATURES, &features)
			  ? failed(vhost, "VHOST_SET_FEATURES", err)
			  : 0;

	for (uint32_t ring = 0; !ret && ring < VHOST_RINGS; ring++)
		ret = start_ring(vhost, ring, err);
	return ret;
}

static void stop_ring(struct vhost *vhost, uint32_t ring)
{
	struct virtq *q = &vhost->virtio->queue[vhost->first + ring].q;
	struct vhost_vring_file none = {ring, VHOST_FILE_UNBIND};
	struct vhost_vring_state base = {.index = ring};
	uint16_t used;

	if (!vhost->running[ring])
		return;
	vhost->running[ring] = false;
	/* The kernel returns the available index only; the used index is in the ring. */
	memcpy(&used, q->used + 2, sizeof(used));
	q->next_used = used;
	q->signalled_valid = false;
	ioctl(vhost->fd, VHOST_SET_VRING_KICK, &none);
	if (ioctl(vhost->fd, VHOST_GET_VRING_BASE, &base)) {
		log_error("%s: %s: VHOST_GET_VRING_BASE: %s", vhost->virtio->dev.name, vhost->node,
			  strerror(errno));
		base.num = used;
	}
	q->last_avail = (uint16_t)base.num;
	virtio_call_fd(vhost->virtio, vhost->first + ring, -1);
}

void vhost_stop(struct vhost *vhost)
{
	for (uint32_t ring = 0; ring < VHOST_RINGS; ring++)
		stop_ring(vhost, ring);
}
