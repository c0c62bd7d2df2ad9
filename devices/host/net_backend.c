/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/net_backend.h"
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

static const struct net_backend_ops *const backends[] = {&net_tap_ops, &net_stream_ops};

int net_backend_open(struct net_backend *be, struct error *err)
{
	int ret;

	for (int i = 0; i < OPTIONS_MAX_QUEUES; i++)
		be->fd[i] = -1;
	for (size_t i = 0; i < sizeof(backends) / sizeof(backends[0]); i++) {
		if (!backends[i]->claims(be->config))
			continue;
		be->ops = backends[i];
		ret = be->ops->open(be, err);
		if (ret)
			be->ops = NULL;
		return ret;
	}
	return error_set(err, -EINVAL,
			 "%s: descriptor %d is neither a tap nor a stream socket: pass an open one",
			 be->name, be->config->fd);
}

void net_backend_close(struct net_backend *be)
{
	if (!be->ops)
		return;
	be->ops->close(be);
	for (int i = 0; i < OPTIONS_MAX_QUEUES; i++)
		if (be->fd[i] >= 0)
			close(be->fd[i]);
}

int net_backend_adopt(struct net_backend *be, struct error *err)
{
	be->fd[0] = be->config->fd;
	if (fcntl(be->fd[0], F_SETFD, FD_CLOEXEC))
		return error_set(err, -errno, "%s: descriptor %d: %s", be->name, be->config->fd,
				 strerror(errno));
	return 0;
}

void net_backend_lost(struct net_backend *be, uint32_t pair)
{
	be->goes(be->opaque, be->fd[pair]);
	close(be->fd[pair]);
	be->fd[pair] = -1;
}
