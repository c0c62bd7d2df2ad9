/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/chardev.h - host end of a character device: terminal, socket, file or nothing.
 * Owns: its descriptors, the socket's file and the terminal's mode, from open to close.
 * Threads: open, close, pause, resume: main only; write and accept_input: any thread that holds
 *	the device's lock. The callbacks run with that lock held.
 * Units: bytes.
 * Errors: open returns -errno with one message. Afterwards output that the host does not take for
 *	a quarter of a second is discarded until it does, so that the host end never stops a
 *	guest (but see `patient`); the log then says how much was lost. */
#ifndef DEVICES_HOST_CHARDEV_H
#define DEVICES_HOST_CHARDEV_H
#include "vmm/base/listen.h"
#include "vmm/base/loop.h"
#include "vmm/options.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;

#define CHARDEV_AHEAD_BYTES    4096
#define CHARDEV_FILENAME_BYTES 160

/* The device, as its host end calls it. */
struct chardev_ops {
	/* How many bytes the device takes now. No more are read from the host, except for
	 * type-ahead at a terminal. */
	uint32_t (*room)(void *opaque);
	void (*receive)(void *opaque, const uint8_t *data, uint32_t n);
	/* After a chardev_write() that took less than it was offered: offer again. */
	void (*writable)(void *opaque);
	/* A client has connected or gone; during a pause this is called at the resume. May be NULL. */
	void (*connected)(void *opaque, bool is_connected);
	/* Output waits for a slow client without a limit and is lost only when it disconnects. For
	 * ports where that blocks a program of the guest, not the guest. */
	bool patient;
};

enum chardev_role { CHARDEV_LISTEN, CHARDEV_INPUT, CHARDEV_OUTPUT, CHARDEV_ROLES };

struct chardev {
	const struct chardev_config *config;
	const struct chardev_ops *ops;
	void *opaque;
	struct vm *vm;
	pthread_mutex_t *lock;
	struct listen listen; /* closed: no socket */
	int in_fd, out_fd;
	int ready_fd;	    /* in place of an input that epoll refuses because it is always ready */
	struct timer stall; /* how long a host end that takes no output may block the guest */
	struct {
		int fd; /* -1: not watched */
		uint32_t events;
	} watch[CHARDEV_ROLES];
	bool paused;
	bool tty;     /* input is a terminal: always read, for the escapes */
	bool eof;     /* input has ended */
	bool hangup;  /* the client is gone; what it sent before may still be unread */
	bool unread;  /* after a hangup: input is left, and the device has no room */
	bool blocked; /* output took less than offered */
	bool discard; /* output is dropped until the host end takes it again */
	bool escape;  /* Ctrl-A was the last byte */
	uint8_t ahead[CHARDEV_AHEAD_BYTES];
	uint32_t nahead;
	uint64_t dropped_bytes; /* of output, not logged yet */
	_Atomic long long told_ns;
	uint32_t nclients; /* clients connected since open */
	uint32_t told;	   /* the client that the device knows of; 0: none */
};

/* The members of query-chardev, named as in QEMU. */
struct chardev_info {
	char label[16];			       /* "console0" */
	char filename[CHARDEV_FILENAME_BYTES]; /* "unix:/run/x,server=on" */
	bool frontend_open;		       /* the guest has opened it */
};

/* Starts paused: the first resume lets bytes flow. config and ops must outlive it. */
int chardev_open(struct chardev *chr, const struct chardev_config *config, struct vm *vm,
		 const struct chardev_ops *ops, void *opaque, pthread_mutex_t *lock,
		 struct error *err) must_check;
void chardev_close(struct chardev *chr);
/* Takes up to n bytes, never blocks; returns how many. Less than n: writable() follows. */
uint32_t chardev_write(struct chardev *chr, const uint8_t *data, uint32_t n);
/* The device has room again. */
void chardev_accept_input(struct chardev *chr);
/* Then it neither reads from the host nor calls the device; idempotent. */
void chardev_pause(struct chardev *chr);
/* The device then offers pending output again. */
void chardev_resume(struct chardev *chr);

/* Does the device know of a client? Always true without a socket. */
bool chardev_connected(const struct chardev *chr);
/* The device supplies label and sets frontend_open. */
void chardev_query(const struct chardev *chr, const char *label, struct chardev_info *info);

/* Restores the terminal's mode; async-signal-safe, for handlers of fatal signals. */
void chardev_restore_terminal(void);
#endif
