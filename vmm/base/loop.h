/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/loop.h - an event loop: file descriptors, timers and their callbacks. The main thread has one, and so has
 * each iothread, for a device whose host side must not wait for the main thread.
 * Owns: the epoll descriptor; watched descriptors stay their owners'.
 * Threads: callbacks run in the thread of loop_run(). loop_add(), loop_mod() and loop_del(): any thread, for a
 * vCPU's write may make a device wait for its descriptor. After a loop_del() with the callback's lock held the
 * callback does not run any more: so a device pauses. loop_wake(): any thread and signal handlers. Init and close:
 * whoever starts and ends the loop's thread. loop_quit(): within a callback. timer_set(): any that holds the
 * owner's lock. Timers and iothreads are opened and closed by the main thread.
 * Units: ns.
 * Errors: 0 or -errno. epoll(7), timerfd_create(2). */
#ifndef VMM_BASE_LOOP_H
#define VMM_BASE_LOOP_H
#include "vmm/base/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <time.h>

#define CLOCK_NS_PER_S 1000000000ull

/* A time as the log shows it: "3.071 ms". */
#define CLOCK_MS	"%llu.%03llu ms"
#define CLOCK_MS_OF(ns) (unsigned long long)(ns) / 1000000, (unsigned long long)(ns) / 1000 % 1000

/* The host's monotonic clock. */
static inline uint64_t clock_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * CLOCK_NS_PER_S + (uint64_t)ts.tv_nsec;
}

typedef void (*loop_fn)(void *opaque, uint32_t epoll_events);

struct loop_watch {
	int fd; /* -1: free */
	uint32_t events;
	loop_fn fn;
	void *opaque;
	pthread_mutex_t *lock; /* held around fn; NULL: only the loop's thread uses its data */
};

struct loop {
	int epoll_fd;
	int wake_fd;
	void (*on_wake)(void *opaque); /* runs in the loop's thread after loop_wake() */
	void *wake_opaque;
	bool stop;
	pthread_mutex_t lock; /* leaf; guards watch[], never held around a callback */
	struct loop_watch *watch;
	uint32_t nwatches;
};

int loop_init(struct loop *loop, void (*on_wake)(void *opaque), void *opaque,
	      struct error *err) must_check;
void loop_close(struct loop *loop);
/* events: EPOLLIN, EPOLLOUT or 0 (only errors and hang-ups), with or without EPOLLET. lock, if any, is held
 * around fn. */
int loop_add(struct loop *loop, int fd, uint32_t events, loop_fn fn, void *opaque,
	     pthread_mutex_t *lock) must_check;
void loop_mod(struct loop *loop, int fd, uint32_t events);
/* Call it before fd is closed. Allowed within any callback. */
void loop_del(struct loop *loop, int fd);
void loop_wake(struct loop *loop);
/* Returns after loop_quit(). */
void loop_run(struct loop *loop);
void loop_quit(struct loop *loop);

struct timer {
	struct loop *loop; /* NULL: not open */
	int fd;
};

/* fn runs in the loop with lock held, and must begin with timer_take(). */
int timer_open(struct timer *timer, clockid_t clock, struct loop *loop, loop_fn fn, void *opaque,
	       pthread_mutex_t *lock, struct error *err) must_check;
void timer_close(struct timer *timer);
/* Expires once, after delay_ns; 0: never. */
void timer_set(const struct timer *timer, uint64_t delay_ns);
/* False: the timer was set again after it had expired. */
bool timer_take(const struct timer *timer);

struct iothread {
	struct loop loop;
	pthread_t thread;
	bool started;
};

/* name: shown by ps -L, at most 15 characters. All signals but SIGBUS stay with the other threads. */
int iothread_start(struct iothread *io, const char *name, struct error *err) must_check;
/* The thread alone, without an event loop. */
int iothread_create(pthread_t *thread, const char *name, void *(*fn)(void *), void *opaque,
		    struct error *err) must_check;
/* Idempotent. */
void iothread_stop(struct iothread *io);
#endif
