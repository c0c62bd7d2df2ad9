/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/loop.h"
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define GROWTH 32 /* watches */

static void wake_ready(void *opaque, uint32_t events)
{
	struct loop *loop = opaque;
	uint64_t count;

	/* Several wakes become one: the request bits say what is to be done. */
	if (read(loop->wake_fd, &count, sizeof(count)) > 0)
		loop->on_wake(loop->wake_opaque);
}

int loop_init(struct loop *loop, void (*on_wake)(void *opaque), void *opaque, struct error *err)
{
	int ret = -EIO;

	loop->stop = false;
	loop->watch = NULL;
	loop->nwatches = 0;
	pthread_mutex_init(&loop->lock, NULL);
	loop->on_wake = on_wake;
	loop->wake_opaque = opaque;
	loop->wake_fd = -1;
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (loop->epoll_fd < 0)
		return error_set(err, -errno, "epoll_create1: %s", strerror(errno));
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0) {
		ret = error_set(err, -errno, "eventfd: %s", strerror(errno));
		goto close_loop;
	}
	ret = loop_add(loop, loop->wake_fd, EPOLLIN, wake_ready, loop, NULL);
	if (ret) {
		error_set(err, ret, "event loop: %s", strerror(-ret));
		goto close_loop;
	}
	return 0;

close_loop:
	loop_close(loop);
	return ret;
}

void loop_close(struct loop *loop)
{
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	loop->wake_fd = loop->epoll_fd = -1;
	free(loop->watch);
	loop->watch = NULL;
	loop->nwatches = 0;
	pthread_mutex_destroy(&loop->lock);
}

static struct loop_watch *find(struct loop *loop, int fd)
{
	for (uint32_t i = 0; i < loop->nwatches; i++)
		if (loop->watch[i].fd == fd)
			return &loop->watch[i];
	return NULL;
}

/* An unused slot; NULL: out of memory. */
static struct loop_watch *new_watch(struct loop *loop)
{
	struct loop_watch *watch = find(loop, -1);
	uint32_t n = loop->nwatches;

	if (watch)
		return watch;
	watch = realloc(loop->watch, (n + GROWTH) * sizeof(*watch));
	if (!watch)
		return NULL;
	loop->watch = watch;
	for (; loop->nwatches < n + GROWTH; loop->nwatches++)
		watch[loop->nwatches].fd = -1;
	return &watch[n];
}

int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *opaque,
	     pthread_mutex_t *lock)
{
	struct epoll_event event = {.events = events};
	struct loop_watch *watch;
	int ret = -ENOMEM;

	pthread_mutex_lock(&loop->lock);
	watch = new_watch(loop);
	if (!watch)
		goto unlock;
	event.data.u32 = (uint32_t)(watch - loop->watch);
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event)) {
		ret = -errno;
		goto unlock;
	}
	*watch = (struct loop_watch){fd, events, fn, opaque, lock};
	ret = 0;
unlock:
	pthread_mutex_unlock(&loop->lock);
	return ret;
}

void loop_mod(struct loop *loop, int fd, uint32_t events)
{
	struct epoll_event event = {.events = events};
	struct loop_watch *watch;

	if (fd < 0)
		return;
	pthread_mutex_lock(&loop->lock);
	watch = find(loop, fd);
	if (watch && watch->events != events) {
		event.data.u32 = (uint32_t)(watch - loop->watch);
		if (!epoll_ctl(loop->epoll_fd, EPOLL_CTL_MOD, fd, &event))
			watch->events = events;
	}
	pthread_mutex_unlock(&loop->lock);
}

void loop_del(struct loop *loop, int fd)
{
	struct loop_watch *watch;

	if (fd < 0)
		return;
	pthread_mutex_lock(&loop->lock);
	watch = find(loop, fd);
	if (watch) {
		epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		watch->fd = -1;
	}
	pthread_mutex_unlock(&loop->lock);
}

void loop_wake(struct loop *loop)
{
	const uint64_t one = 1;

	/* EAGAIN: a wake is pending already. EBADF: not open yet; whoever opens it looks for requests first. */
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

static bool watches(struct loop *loop, uint32_t slot, const struct loop_watch *watch)
{
	bool ret;

	pthread_mutex_lock(&loop->lock);
	ret = loop->watch[slot].fd == watch->fd && loop->watch[slot].fn == watch->fn;
	pthread_mutex_unlock(&loop->lock);
	return ret;
}

static void dispatch(struct loop *loop, const struct epoll_event *event)
{
	struct loop_watch watch;

	/* A copy: the callback may remove its own watch. */
	pthread_mutex_lock(&loop->lock);
	watch = loop->watch[event->data.u32];
	pthread_mutex_unlock(&loop->lock);
	if (watch.fd < 0)
		return; /* another thread has just removed it */
	if (watch.lock)
		pthread_mutex_lock(watch.lock);
	/* Its owner may have removed it while this thread waited for the lock. */
	if (!watch.lock || watches(loop, event->data.u32, &watch))
		watch.fn(watch.opaque, event->events);
	if (watch.lock)
		pthread_mutex_unlock(watch.lock);
}

void loop_run(struct loop *loop)
{
	/* One event per round: a callback may close a descriptor and another one may reopen the same number,
	 * which must not be served with the old event. */
	struct epoll_event event;

	while (!loop->stop)
		if (epoll_wait(loop->epoll_fd, &event, 1, -1) == 1)
			dispatch(loop, &event);
}

void loop_quit(struct loop *loop)
{
	loop->stop = true;
}

/* --- timers */

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

/* --- loops in threads of their own */

static void *run_iothread(void *opaque)
{
	struct iothread *io = opaque;

	loop_run(&io->loop);
	return NULL;
}

static void quit_iothread(void *opaque)
{
	struct iothread *io = opaque;

	loop_quit(&io->loop);
}

int iothread_create(pthread_t *thread, const char *name, void *(*fn)(void *), void *opaque,
		    struct error *err)
{
	sigset_t all, former;
	int ret;

	/* SIGBUS stays unblocked: the kernel sends it to the thread that faults. */
	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	pthread_sigmask(SIG_BLOCK, &all, &former);
	ret = -pthread_create(thread, NULL, fn, opaque);
	pthread_sigmask(SIG_SETMASK, &former, NULL);
	if (ret)
		return error_set(err, ret, "%s: no thread: %s", name, strerror(-ret));
	pthread_setname_np(*thread, name);
	return 0;
}

int iothread_start(struct iothread *io, const char *name, struct error *err)
{
	int ret = loop_init(&io->loop, quit_iothread, io, err);

	if (ret)
		return ret;
	ret = iothread_create(&io->thread, name, run_iothread, io, err);
	if (ret) {
		loop_close(&io->loop);
		return ret;
	}
	io->started = true;
	return 0;
}

void iothread_stop(struct iothread *io)
{
	if (!io->started)
		return;
	loop_wake(&io->loop);
	pthread_join(io->thread, NULL);
	loop_close(&io->loop);
	io->started = false;
}
