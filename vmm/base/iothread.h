/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/iothread.h - an event loop in a thread of its own, for a device whose host side must not wait for
 * the main thread.
 * Threads: start and stop: main only. Callbacks run in the iothread and hold the lock of loop_add(). A device
 * pauses by loop_del() with its lock held; after that none of its callbacks runs.
 * Errors: 0 or -errno with one message. */
#ifndef VMM_BASE_IOTHREAD_H
#define VMM_BASE_IOTHREAD_H
#include "vmm/base/loop.h"

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
