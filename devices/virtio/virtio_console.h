/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/virtio_console.h - console and agent port: their state, and what QMP asks of them.
 * Threads: main, with dev->lock held. */
#ifndef DEVICES_VIRTIO_VIRTIO_CONSOLE_H
#define DEVICES_VIRTIO_VIRTIO_CONSOLE_H
#include "devices/host/chardev.h"
#include "devices/virtio/virtio.h"

/* More than there are options for: a later one adds its port to a guest that was started before. */
#define CONSOLE_PORTS 4

/* Control messages that wait for a buffer; they go out in this order. A bitmask: repeated opens and closes
 * by clients coalesce into one pending message each. */
enum {
	CONSOLE_TELL_ADD = 1,
	CONSOLE_TELL_CONSOLE = 2,
	CONSOLE_TELL_NAME = 4,
	CONSOLE_TELL_CLOSED = 8,
	CONSOLE_TELL_OPEN = 16,
};

struct console_state {
	struct virtio_state virtio;
	uint64_t tx_done[CONSOLE_PORTS];   /* bytes already sent of the first waiting chain */
	uint8_t tell[CONSOLE_PORTS];	   /* CONSOLE_TELL_*: pending control messages */
	uint8_t ready[CONSOLE_PORTS];	   /* the driver knows the port */
	uint8_t guest_open[CONSOLE_PORTS]; /* by a program there, or the kernel's console */
	uint8_t host_open[CONSOLE_PORTS];  /* a client is connected; always, for the console */
	/* Until its client is back after a load: what waits in the queue is for that client. */
	uint8_t hold[CONSOLE_PORTS];
	uint32_t ports; /* a bit for each that exists */
};

struct console_row; /* what is known of a port before the guest runs */

struct console_port {
	struct console *console;
	const struct console_row *row; /* NULL: the port does not exist */
	uint32_t index;
	struct chardev chr;
	bool reported; /* guest_open, as in the last event */
	uint64_t reported_ns;
};

struct console {
	struct virtio virtio;
	struct console_state s;
	struct console_port port[CONSOLE_PORTS];
	struct timer again;  /* a queue was left before it was empty */
	struct timer report; /* an event waits for its second */
	uint8_t config[12];
};

/* Fills info with the host end of the i'th port that exists; false: no more. */
bool console_query(const struct device *dev, uint32_t i, struct chardev_info *info);
#endif
