/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/timer.h - a timer that the event loop serves.
 * Threads: open and close: main only; set: any that holds the owner's lock.
 * Units: ns.
 * Errors: 0 or -errno with one message. timerfd_create(2). */
#ifndef VMM_BASE_TIMER_H
#define VMM_BASE_TIMER_H
#include "vmm/base/loop.h"
#include <time.h>

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
#endif
