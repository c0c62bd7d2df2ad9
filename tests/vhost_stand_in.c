/* SPDX-License-Identifier: GPL-2.0-or-later */
/* In place of open(2) and ioctl(2) in devices that use vhost: a kernel that has it, takes all that
 * it is told, and moves nothing. */
#include <fcntl.h>
#include <linux/vhost.h>
#include <linux/virtio_config.h>
#include <stdarg.h>
#include <stdint.h>

int stand_in_open(const char *path, int flags, ...);
int stand_in_ioctl(int fd, unsigned long request, ...);

int stand_in_open(const char *path, int flags, ...)
{
	(void)path;
	return open("/dev/null", flags);
}

int stand_in_ioctl(int fd, unsigned long request, ...)
{
	static uint32_t base[2];
	struct vhost_vring_state *state;
	va_list ap;

	(void)fd;
	va_start(ap, request);
	state = va_arg(ap, void *);
	va_end(ap);
	if (request == VHOST_GET_FEATURES)
		*(uint64_t *)(void *)state = 1ull << VIRTIO_F_VERSION_1;
	else if (request == VHOST_SET_VRING_BASE)
		base[state->index & 1] = state->num;
	else if (request == VHOST_GET_VRING_BASE)
		state->num = base[state->index & 1];
	return 0;
}
