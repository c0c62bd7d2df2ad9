/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/iothread.h - an event loop in a thread of its own, for a device whose host side must not wait
 * for the main thread.
 * Owns: the thread and its loop, from iothread_start() to iothread_stop().
 * Threads: start and stop: main only. Callbacks run in the iothread with the lock of loop_add():
 *	a device pauses by loop_del() with its lock held, after which no callback of it runs.
 * Units: none.
 * Errors: 0 or -errno with one message. */
#ifndef VMM_BASE_IOTHREAD_H
#define VMM_BASE_IOTHREAD_H
#include "vmm/base/loop.h"

struct iothread {
	struct loop loop;
	pthread_t thread;
	bool started;
};

/* name: as ps -L shows it, at most 15 characters. Signals stay with the other threads. */
int iothread_start(struct iothread *io, const char *name, struct error *err) must_check;
/* The thread alone, for who has no use for a loop of descriptors. */
int iothread_create(pthread_t *thread, const char *name, void *(*fn)(void *), void *opaque,
		    struct error *err) must_check;
/* Idempotent. */
void iothread_stop(struct iothread *io);
#endif
