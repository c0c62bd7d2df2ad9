/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/listen.h - a listening UNIX socket and its file.
 * Owns: the descriptor and the file, from open to close; the file is open to its user alone.
 * Threads: main only.
 * Units: none.
 * Errors: 0 or -errno with one message that names the option and the path. */
#ifndef VMM_BASE_LISTEN_H
#define VMM_BASE_LISTEN_H
#include "vmm/base/error.h"
#include <sys/stat.h>

struct listen {
	int fd; /* -1: not open */
	const char *path;
	struct stat file; /* that we made: another one in its place is not ours; st_ino 0: none */
	int reserve_fd;	  /* given up for a moment when there is no other descriptor left */
};
#define LISTEN_CLOSED ((struct listen){.fd = -1, .reserve_fd = -1})

/* Replaces the file of a socket that nobody listens on any more; path must outlive it. Of several
 * processes that do so at once one gets the path and the others are refused; meanwhile PATH.lock is
 * there. */
int listen_open(struct listen *listener, const char *option, const char *path,
		struct error *err) must_check;
/* Could listen_open() listen there? Changes nothing. */
int listen_check(const char *option, const char *path, struct error *err) must_check;
void listen_close(struct listen *listener);
/* The next client, non-blocking, or -1. One that finds no descriptor free is hung up on: left in
 * the queue it would wake the event loop for ever. */
int listen_accept(struct listen *listener);
#endif
