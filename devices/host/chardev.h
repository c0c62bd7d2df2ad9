/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/chardev.h - host end of a character device: terminal, socket, file or nothing.
 * Owns: its descriptors, the socket's file and the terminal's mode, from open to close.
 * Threads: open, close, pause, resume: main only; write and accept_input: any thread that holds
 *	the device's lock. The callbacks run with that lock held.
 * Units: bytes.
 * Errors: open returns -errno with one message. Afterwards there are none: output that the host
 *	does not take for a quarter of a second is discarded until it does, so that nothing out
 *	there ever stops a guest (but see `patient`); the log then says how much it was. */
#ifndef DEVICES_HOST_CHARDEV_H
#define DEVICES_HOST_CHARDEV_H
#include "vmm/base/listen.h"
#include "vmm/base/timer.h"
#include "vmm/options.h"
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;

#define CHARDEV_AHEAD_BYTES    4096
#define CHARDEV_FILENAME_BYTES 160

/* What the device offers to its host end. */
struct chardev_ops {
	/* Bytes that the device takes now. Nothing more is read from the host, except what a
	 * person types ahead at a terminal. */
	uint32_t (*room)(void *opaque);
	void (*receive)(void *opaque, const uint8_t *data, uint32_t n);
	/* chardev_write() took less than it was offered; now is the time to offer again. */
	void (*writable)(void *opaque);
	/* A client has come or gone; while paused it is kept for resume. May be NULL. */
	void (*connected)(void *opaque, bool is_connected);
	/* A client may take all the time it wants: its output is lost only when it goes away. For
	 * what stops only the guest's program that writes, not the guest. */
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
	int ready_fd; /* stands in for an input that epoll refuses because it is always ready */
	struct timer
		stall; /* how long a host end that does not take output may hold the guest up */
	struct {
		int fd; /* -1: not watched */
		uint32_t events;
	} watch[CHARDEV_ROLES];
	bool paused;
	bool tty;     /* input is a terminal: always read, for the escapes */
	bool eof;     /* input has ended */
	bool hangup;  /* the client is gone; what it sent before may still be unread */
	bool unread;  /* it is, and the device has no room */
	bool blocked; /* output took less than offered */
	bool discard; /* nobody takes the output: it is dropped until somebody does */
	bool escape;  /* Ctrl-A was the last byte */
	uint8_t ahead[CHARDEV_AHEAD_BYTES];
	uint32_t nahead;
	uint64_t dropped_bytes; /* of output, not yet told */
	_Atomic long long told_ns;
	uint32_t nclients; /* that have come since open */
	uint32_t told;	   /* the one that the device believes to be there; 0: none */
};

/* What query-chardev tells, in QEMU's words. */
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
/* Takes up to n bytes without ever blocking; returns how many. Less than n: writable() follows. */
uint32_t chardev_write(struct chardev *chr, const uint8_t *data, uint32_t n);
/* The device has room again. */
void chardev_accept_input(struct chardev *chr);
/* On return neither reads from the host nor calls the device back; idempotent. */
void chardev_pause(struct chardev *chr);
/* The device then offers again what it still has. */
void chardev_resume(struct chardev *chr);

/* A client is there, as far as the device has been told; no socket: always. */
bool chardev_connected(const struct chardev *chr);
/* label: the device's, as frontend_open is the device's to say. */
void chardev_query(const struct chardev *chr, const char *label, struct chardev_info *info);

/* Puts the terminal back as it was found; async-signal-safe, for handlers of fatal signals. */
void chardev_restore_terminal(void);
#endif
