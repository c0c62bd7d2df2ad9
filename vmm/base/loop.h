/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/loop.h - an event loop: file descriptors and their callbacks. The main thread has one, and each
 * iothread (vmm/base/iothread.h).
 * Owns: the epoll descriptor; watched descriptors stay their owners'.
 * Threads: callbacks run in the thread of loop_run(). loop_add(), loop_mod() and loop_del(): any thread, for a
 * vCPU's write may make a device wait for its descriptor. After a loop_del() with the callback's lock held the
 * callback does not run any more. loop_wake(): any thread and signal handlers. Init and close: whoever starts
 * and ends the loop's thread. loop_quit(): within a callback.
 * Errors: 0 or -errno. epoll(7). */
#ifndef VMM_BASE_LOOP_H
#define VMM_BASE_LOOP_H
#include "vmm/base/error.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

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
#endif
