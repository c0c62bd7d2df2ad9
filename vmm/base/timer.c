/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/timer.h"
#include "vmm/base/clock.h"
#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/timerfd.h>
#include <unistd.h>

int timer_open(struct timer *timer, clockid_t clock, struct loop *loop, loop_fn fn, void *opaque,
	       pthread_mutex_t *lock, struct error *err)
{
	int fd = timerfd_create(clock, TFD_CLOEXEC | TFD_NONBLOCK), ret;

	if (fd < 0)
		return error_set(err, -errno, "timerfd: %s", strerror(errno));
	ret = loop_add(loop, fd, EPOLLIN, fn, opaque, lock);
	if (ret) {
		close(fd);
		return error_set(err, ret, "event loop: %s", strerror(-ret));
	}
	*timer = (struct timer){loop, fd};
	return 0;
}

void timer_close(struct timer *timer)
{
	if (!timer->loop)
		return;
	loop_del(timer->loop, timer->fd);
	close(timer->fd);
	timer->loop = NULL;
}

void timer_set(const struct timer *timer, uint64_t delay_ns)
{
	const struct itimerspec spec = {.it_value = {(time_t)(delay_ns / CLOCK_NS_PER_S),
						     (long)(delay_ns % CLOCK_NS_PER_S)}};

	timerfd_settime(timer->fd, 0, &spec, NULL);
}

bool timer_take(const struct timer *timer)
{
	uint64_t count;

	/* ECANCELED: the host's clock was set, which the owner wants to know. */
	return read(timer->fd, &count, sizeof(count)) >= 0 || errno == ECANCELED;
}
