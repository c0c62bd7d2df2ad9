/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_console.h - what the two halves of the console device share: ports and the control
 * messages about them.
 * Owns: see devices/virtio/virtio.h.
 * Threads: with dev->lock held.
 * Units: bytes.
 * Errors: as devices/virtio/virtio.h. virtio 1.2, 5.3 "Console Device". */
#ifndef DEVICES_VIRTIO_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_VIRTIO_CONSOLE_H
#include "devices/host/chardev.h"
#include "devices/virtio/virtio.h"

/* More than there are options for: a later one adds its port to a guest that was started before. */
#define CONSOLE_PORTS  4
#define CONSOLE_QUEUES (2 * (CONSOLE_PORTS + 1))
/* Of a chain: each page of the largest write that a driver makes, and one more. */
#define CONSOLE_MAX_BUFFERS 128

enum { CONSOLE_CONTROL_RX = 2, CONSOLE_CONTROL_TX };

/* Control messages that wait for a buffer; they go out in this order. A client that goes and one
 * that comes are two messages; a whole storm of them is not more. */
enum {
	CONSOLE_TELL_ADD = 1,
	CONSOLE_TELL_CONSOLE = 2,
	CONSOLE_TELL_NAME = 4,
	CONSOLE_TELL_CLOSED = 8,
	CONSOLE_TELL_OPEN = 16,
};

struct console_state {
	struct virtio_state virtio;
	uint64_t
		tx_done[CONSOLE_PORTS]; /* bytes of the first waiting chain that are sent already */
	uint8_t tell[CONSOLE_PORTS];
	uint8_t ready[CONSOLE_PORTS];	   /* the driver knows the port */
	uint8_t guest_open[CONSOLE_PORTS]; /* a program there, or the kernel's console */
	uint8_t host_open[CONSOLE_PORTS];  /* a client here; a console's is always there */
	/* Its client has to come back after a load: what waits in the queue is for that one. */
	uint8_t hold[CONSOLE_PORTS];
	uint32_t ports; /* a bit for each that exists */
};
#define CONSOLE_STATE(F, A, V, T)     \
	VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, tx_done)                 \
	F(T, tell)                    \
	F(T, ready)                   \
	F(T, guest_open)              \
	F(T, host_open)               \
	F(T, hold)                    \
	F(T, ports)

struct console_port {
	struct device *dev;
	uint32_t index;
	struct chardev chr;
	bool reported; /* guest_open, as the last event told it */
	uint64_t reported_ns;
};

struct console_host {
	struct virtio virtio;
	struct console_port port[CONSOLE_PORTS];
	struct timer again;  /* a queue was left before it was empty */
	struct timer report; /* events wait for their second */
	uint8_t config[12];
};

/* What is known of a port before anybody asks; those without a row do not exist. */
struct console_row {
	const char *name;  /* NULL: a console */
	const char *label; /* in QMP */
	const char *option;
	size_t config, wanted; /* in struct options: host end, and whether the port exists */
};
#define CONSOLE_ROWS 2
extern const struct console_row console_row[CONSOLE_ROWS];

/* The queue, if it can be used now, or NULL. */
struct virtio_queue *console_queue(struct device *dev, uint32_t queue);
/* Once more, from the main loop: for what one call must not take the time to finish. */
void console_again(struct device *dev);

/* --- virtio_console_control.c */
/* Takes the driver's messages. */
void console_control_take(struct device *dev);
/* Sends what is to be told, as far as the driver has buffers. */
void console_control_send(struct device *dev);
/* Events about ports that the guest has opened or closed; unless at once, at most one a second for
 * each port, so that no guest pushes other events out. */
void console_control_report(struct device *dev, bool at_once);
/* The guest has opened or closed the port. */
void console_control_guest_open(struct device *dev, uint32_t id, bool is_open);
/* A client of the port has come or gone. */
void console_control_host_open(struct device *dev, uint32_t id, bool is_open);
#endif
