/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The event loop with more descriptors than any machine has so far. */
#include "tests/rig/unit.h"
#include "vmm/base/loop.h"
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define WATCHES 500u /* 8 cards of 8 queue pairs want 26 each beside what the VM has */

static struct loop loop;
static struct served {
	int fd;
	uint32_t times;
} served[WATCHES];
static uint32_t nserved;

static void woken(void *opaque)
{
}

static void serve(void *opaque, uint32_t events)
{
	struct served *one = opaque;
	uint64_t count;

	ck_assert_uint_eq(events, EPOLLIN);
	ck_assert_int_eq(read(one->fd, &count, sizeof(count)), sizeof(count));
	one->times++;
	if (++nserved == WATCHES)
		loop_quit(&loop);
}

/* Each is served, whenever it came, also in the places of those that went. */
TEST(many_watches)
{
	struct error err;

	ck_assert_int_eq(loop_init(&loop, woken, NULL, &err), 0);
	for (uint32_t round = 1; round <= 2; round++) {
		for (uint32_t i = 0; i < WATCHES; i++) {
			served[i].fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);
			ck_assert_int_eq(
				loop_add(&loop, served[i].fd, EPOLLIN, serve, &served[i], NULL), 0);
		}
		nserved = 0;
		loop.stop = false;
		loop_run(&loop);
		for (uint32_t i = 0; i < WATCHES; i++) {
			ck_assert_uint_eq(served[i].times, round);
			loop_del(&loop, served[i].fd);
			close(served[i].fd);
		}
	}
	loop_close(&loop);
}

UNIT_MAIN(NULL, NULL)
