/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/iothread.h"
#include <errno.h>
#include <signal.h>
#include <string.h>

static void *run(void *opaque)
{
	struct iothread *io = opaque;

	loop_run(&io->loop);
	return NULL;
}

static void quit(void *opaque)
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
	int ret = loop_init(&io->loop, quit, io, err);

	if (ret)
		return ret;
	ret = iothread_create(&io->thread, name, run, io, err);
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
