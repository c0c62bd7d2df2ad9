/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Control messages of the console device: which ports there are and who has them open.
 * virtio 1.2, 5.3.6.2 "Multiport Device Operation". */
#include "devices/virtio/virtio_console.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/virtio_console.h>
#include <string.h>

#define MAX_NAME_BYTES 32
#define REPORT_NS      CLOCK_NS_PER_S

static void report(struct device *dev, uint32_t id, uint64_t now_ns)
{
	const struct console_state *s = dev->state;
	struct console_host *host = dev->host;
	struct console_port *port = &host->port[id];
	struct vm_event event = {.type = VM_EVENT_VSERPORT_CHANGE, .on = s->guest_open[id]};

	port->reported = s->guest_open[id];
	port->reported_ns = now_ns;
	strcpy(event.id, console_row[id].label);
	vm_post_event(dev->vm, &event);
}

void console_control_report(struct device *dev, bool at_once)
{
	const struct console_state *s = dev->state;
	const struct console_host *host = dev->host;
	uint64_t now_ns = clock_now_ns();

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++) {
		const struct console_port *port = &host->port[id];
		uint64_t since_ns = now_ns - port->reported_ns;

		if (port->reported == s->guest_open[id])
			continue;
		if (at_once || since_ns >= REPORT_NS)
			report(dev, id, now_ns);
		else
			timer_set(&host->report, REPORT_NS - since_ns);
	}
}

void console_control_guest_open(struct device *dev, uint32_t id, bool is_open)
{
	struct console_state *s = dev->state;
	struct console_host *host = dev->host;

	s->guest_open[id] = is_open;
	console_control_report(dev, false);
	chardev_accept_input(&host->port[id].chr);
}

static void port_ready(struct device *dev, uint32_t id, bool is_ready)
{
	struct console_state *s = dev->state;

	s->ready[id] = is_ready;
	if (!is_ready) {
		log_guest("%s: the driver cannot use port %u", dev->name, id);
		s->tell[id] = 0;
		return;
	}
	s->tell[id] |= console_row[id].name ? CONSOLE_TELL_NAME : CONSOLE_TELL_CONSOLE;
	if (s->host_open[id])
		s->tell[id] |= CONSOLE_TELL_OPEN;
}

static void device_ready(struct device *dev, bool is_ready)
{
	struct console_state *s = dev->state;

	if (!is_ready)
		log_guest("%s: the driver failed", dev->name);
	for (uint32_t id = 0; is_ready && id < CONSOLE_ROWS; id++)
		if (s->ports & 1U << id)
			s->tell[id] |= CONSOLE_TELL_ADD;
}

static void take(struct device *dev, const struct virtq_chain *chain)
{
	const struct console_state *s = dev->state;
	struct virtio_console_control message;

	/* As long as it likes, of which the head counts. */
	if (virtq_read(chain, 0, &message, sizeof(message)) < sizeof(message)) {
		log_guest("%s: a control message of %llu bytes", dev->name,
			  (unsigned long long)chain->read_bytes);
		return;
	}
	if (message.event == VIRTIO_CONSOLE_DEVICE_READY)
		device_ready(dev, message.value);
	else if (message.id >= CONSOLE_ROWS || !(s->ports & 1U << message.id))
		log_guest("%s: control message %u to port %u, which does not exist", dev->name,
			  message.event, message.id);
	else if (message.event == VIRTIO_CONSOLE_PORT_READY)
		port_ready(dev, message.id, message.value);
	else if (message.event == VIRTIO_CONSOLE_PORT_OPEN)
		console_control_guest_open(dev, message.id, message.value);
	else
		log_guest("%s: control message %u, which no driver sends", dev->name,
			  message.event);
}

void console_control_take(struct device *dev)
{
	struct virtio_queue *queue = console_queue(dev, CONSOLE_CONTROL_TX);
	struct iovec iov[CONSOLE_MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	struct error err;
	int ret;

	if (!queue)
		return;
	/* Once around the queue: a driver that never stops must not keep anybody here. */
	for (uint32_t i = 0; i < queue->q.size; i++) {
		ret = virtq_pop(&queue->q, &chain, CONSOLE_MAX_BUFFERS, &err);
		if (ret < 0) {
			virtio_broken(dev, CONSOLE_CONTROL_TX, err.msg);
			return;
		}
		if (!ret)
			break;
		take(dev, &chain);
		virtq_push(&queue->q, chain.head, 0);
	}
	virtio_used(dev, CONSOLE_CONTROL_TX);
	if (virtq_want_kicks(&queue->q))
		console_again(dev);
	console_control_send(dev);
}

struct message {
	uint8_t tell;
	uint16_t event, value;
};
static const struct message messages[] = {
	{CONSOLE_TELL_ADD, VIRTIO_CONSOLE_PORT_ADD, 1},
	{CONSOLE_TELL_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT, 1},
	{CONSOLE_TELL_NAME, VIRTIO_CONSOLE_PORT_NAME, 1},
	{CONSOLE_TELL_CLOSED, VIRTIO_CONSOLE_PORT_OPEN, 0},
	{CONSOLE_TELL_OPEN, VIRTIO_CONSOLE_PORT_OPEN, 1},
};

/* False: not now. */
static bool send(struct device *dev, struct virtq *q, uint32_t id, const struct message *message)
{
	const struct virtio_console_control head = {id, message->event, message->value};
	uint8_t bytes[sizeof(head) + MAX_NAME_BYTES];
	struct iovec iov[CONSOLE_MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	size_t n = sizeof(head);
	struct error err;
	int ret;

	memcpy(bytes, &head, sizeof(head));
	/* With its zero: there are drivers that take the name as it comes. */
	if (message->tell == CONSOLE_TELL_NAME) {
		memcpy(bytes + n, console_row[id].name, strlen(console_row[id].name) + 1);
		n += strlen(console_row[id].name) + 1;
	}
	ret = virtq_pop(q, &chain, CONSOLE_MAX_BUFFERS, &err);
	if (!ret && virtq_want_kicks(q))
		ret = virtq_pop(q, &chain, CONSOLE_MAX_BUFFERS, &err);
	if (ret > 0 && chain.write_bytes < n)
		ret = error_set(&err, -EINVAL, "a buffer of %llu bytes for a control message",
				(unsigned long long)chain.write_bytes);
	if (ret < 0)
		virtio_broken(dev, CONSOLE_CONTROL_RX, err.msg);
	if (ret <= 0)
		return false;
	virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, bytes, n));
	return true;
}

void console_control_send(struct device *dev)
{
	struct virtio_queue *queue = console_queue(dev, CONSOLE_CONTROL_RX);
	struct console_state *s = dev->state;

	if (!queue)
		return;
	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		for (size_t i = 0; i < sizeof(messages) / sizeof(messages[0]); i++) {
			if (!(s->tell[id] & messages[i].tell))
				continue;
			if (!send(dev, &queue->q, id, &messages[i]))
				goto signal;
			s->tell[id] &= (uint8_t)~messages[i].tell;
		}
signal:
	virtio_used(dev, CONSOLE_CONTROL_RX);
}

void console_control_host_open(struct device *dev, uint32_t id, bool is_open)
{
	struct console_state *s = dev->state;
	uint8_t tell = s->tell[id];

	s->host_open[id] = is_open;
	if (!s->ready[id])
		return;
	/* Of one that comes and goes again before the driver could be told, it is not told. */
	if (is_open)
		tell |= CONSOLE_TELL_OPEN;
	else if (tell & CONSOLE_TELL_OPEN)
		tell &= (uint8_t)~CONSOLE_TELL_OPEN;
	else
		tell |= CONSOLE_TELL_CLOSED;
	s->tell[id] = tell;
	console_control_send(dev);
}
