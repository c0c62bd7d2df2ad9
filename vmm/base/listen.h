/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/listen.h - a listening UNIX socket and its file.
 * Owns: the descriptor and the file, from open to close. Only the user that runs the VM can connect.
 * Threads: main only.
 * Errors: 0 or -errno with one message that names the option and the path. */
#ifndef VMM_BASE_LISTEN_H
#define VMM_BASE_LISTEN_H
#include "vmm/base/error.h"
#include <sys/stat.h>

struct listen {
	int fd; /* -1: not open */
	const char *path;
	struct stat file; /* of the file that listen_open() made; st_ino 0: none */
	int reserve_fd;	  /* reserved descriptor: closed for a moment when no other one is left */
};
#define LISTEN_CLOSED ((struct listen){.fd = -1, .reserve_fd = -1})

/* Replaces the file of a socket on which nobody listens any more; path must outlive it. If several processes
 * do so at once, one gets the path and the others are refused. PATH.lock exists meanwhile. */
int listen_open(struct listen *listener, const char *option, const char *path,
		struct error *err) must_check;
/* Could listen_open() listen there? Changes nothing. */
int listen_check(const char *option, const char *path, struct error *err) must_check;
void listen_close(struct listen *listener);
/* The next client, non-blocking, or -1. If no descriptor is free the client is disconnected: it would wake the
 * event loop for ever. */
int listen_accept(struct listen *listener);
#endif
