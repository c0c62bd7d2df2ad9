/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/fakes/fake_vhost.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_config.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))

struct fake_vhost fake_vhost[FAKE_VHOSTS];
unsigned long fake_vhost_fails;
int fake_vhost_errno;
bool fake_vhost_absent;

int fake_vhost_open(const char *path, int flags, ...);
int fake_vhost_ioctl(int fd, unsigned long request, ...);

static bool is_open(int fd)
{
	return fcntl(fd, F_GETFD) >= 0;
}

static void record(struct fake_vhost *in, int fd, const char *path)
{
	*in = (struct fake_vhost){.fd = fd, .is_vsock = strstr(path, "vsock")};
	for (int i = 0; i < 2; i++)
		in->ring[i] = (struct fake_vhost_ring){
			.kick = -1, .call = -1, .error = -1, .backend = -1};
}

int fake_vhost_open(const char *path, int flags, ...)
{
	int fd;

	if (fake_vhost_absent) {
		errno = ENOENT;
		return -1;
	}
	fd = open("/dev/null", flags);
	for (struct fake_vhost *in = fake_vhost; in < fake_vhost + FAKE_VHOSTS; in++)
		if (!in->fd || in->fd == fd || !is_open(in->fd)) {
			record(in, fd, path);
			return fd;
		}
	abort();
}

static void must(bool condition)
{
	if (!condition)
		abort();
}

static int vsock(struct fake_vhost *in, unsigned long request, const void *arg)
{
	if (request == VHOST_VSOCK_SET_GUEST_CID)
		memcpy(&in->cid, arg, sizeof(in->cid));
	if (request == VHOST_VSOCK_SET_RUNNING)
		in->runs = *(const int *)arg;
	return 0;
}

/* Requests that name a ring: all their structures begin with its index. */
static int of_ring(struct fake_vhost *in, unsigned long request, void *arg)
{
	struct vhost_vring_state *state = arg;
	const struct vhost_vring_file *file = arg;
	struct fake_vhost_ring *ring = &in->ring[state->index & 1];
	bool stands = ring->backend < 0 && !in->runs;

	must(in->has_owner && state->index < 2);
	switch (request) {
	case VHOST_SET_VRING_NUM:
		must(stands);
		ring->size = state->num;
		break;
	case VHOST_SET_VRING_BASE:
		must(stands && state->num <= UINT16_MAX);
		ring->base = state->num;
		break;
	case VHOST_GET_VRING_BASE:
		must(stands);
		state->num = ring->base;
		break;
	case VHOST_SET_VRING_ADDR:
		memcpy(&ring->addr, arg, sizeof(ring->addr));
		break;
	case VHOST_SET_VRING_KICK:
		ring->kick = file->fd;
		break;
	case VHOST_SET_VRING_CALL:
		ring->call = file->fd;
		break;
	case VHOST_SET_VRING_ERR:
		ring->error = file->fd;
		break;
	case VHOST_NET_SET_BACKEND:
		must(file->fd < 0 || (ring->size && ring->addr.desc_user_addr));
		ring->backend = file->fd;
		break;
	default:
		abort();
	}
	return 0;
}

/* What takes something away again does not fail. */
static bool is_undone(unsigned long request, const void *arg)
{
	const struct vhost_vring_file *file = arg;

	if (request == VHOST_VSOCK_SET_RUNNING)
		return !*(const int *)arg;
	return (request == VHOST_SET_VRING_KICK || request == VHOST_NET_SET_BACKEND) &&
	       file->fd < 0;
}

int fake_vhost_ioctl(int fd, unsigned long request, ...)
{
	struct fake_vhost *in = fake_vhost;
	va_list ap;
	void *arg;

	va_start(ap, request);
	arg = va_arg(ap, void *);
	va_end(ap);
	while (in->fd != fd)
		if (++in == fake_vhost + FAKE_VHOSTS)
			return ioctl(fd, request, arg); /* somebody else's */
	if (request == fake_vhost_fails && !is_undone(request, arg)) {
		errno = fake_vhost_errno;
		return -1;
	}
	switch (request) {
	case VHOST_SET_OWNER:
		in->has_owner = true;
		return 0;
	case VHOST_GET_FEATURES:
		*(uint64_t *)arg = BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) |
				   BIT(VIRTIO_RING_F_INDIRECT_DESC) |
				   (in->is_vsock ? BIT(VIRTIO_VSOCK_F_SEQPACKET)
						 : BIT(VIRTIO_NET_F_MRG_RXBUF));
		return 0;
	case VHOST_SET_FEATURES:
		must(!in->runs && in->ring[0].backend < 0);
		memcpy(&in->features, arg, sizeof(in->features));
		return 0;
	case VHOST_SET_MEM_TABLE:
		must(((struct vhost_memory *)arg)->nregions <= 8);
		memcpy(&in->memory, arg,
		       sizeof(in->memory.head) + ((struct vhost_memory *)arg)->nregions *
							 sizeof(in->memory.region[0]));
		return 0;
	case VHOST_VSOCK_SET_GUEST_CID:
	case VHOST_VSOCK_SET_RUNNING:
		return vsock(in, request, arg);
	default:
		return of_ring(in, request, arg);
	}
}

uint32_t fake_vhost_serve(struct fake_vhost *in, uint32_t ring, uint32_t n, uint32_t bytes)
{
	struct fake_vhost_ring *r = &in->ring[ring];
	const uint16_t *avail = (const void *)(uintptr_t)r->addr.avail_user_addr;
	uint16_t *used = (void *)(uintptr_t)r->addr.used_user_addr;
	uint32_t done = 0;

	must(in->runs || r->backend >= 0);
	for (; done < n && (uint16_t)r->base != avail[1]; done++, r->base++) {
		struct vring_used_elem elem = {avail[2 + r->base % r->size], bytes};

		memcpy((uint8_t *)used + 4 + sizeof(elem) * (used[1] % r->size), &elem,
		       sizeof(elem));
		used[1]++;
	}
	r->base = (uint16_t)r->base;
	return done;
}
