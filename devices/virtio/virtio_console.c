/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio console with several ports: a console, and the guest agent's channel. virtio 1.2, 5.3.
 *
 * Nothing is read from the host before the guest has a buffer for it, and a chain that the host end
 * takes only in part stays in its queue: no byte is anywhere but in the socket, in guest RAM or in a
 * count of the saved state. */
#include "devices/virtio/virtio_console.h"
#include "devices/virtio/console.h"
#include "vmm/base/iov.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define QUEUE_SIZE	 128
#define CLASS_SERIAL	 0x078000 /* communication controller, other */
#define BYTES_A_TURN	 (256u << 10)
#define CONFIG_PORTS	 4 /* offset of max_nr_ports */
#define CONFIG_EMERGENCY 8 /* offset of emerg_wr */

const struct console_row console_row[CONSOLE_ROWS] = {
	{NULL, "console0", "--console", offsetof(struct options, console),
	 offsetof(struct options, has_console)},
	{"org.qemu.guest_agent.0", "agent0", "--agent", offsetof(struct options, agent),
	 offsetof(struct options, has_agent)},
};

static uint32_t rx_queue(uint32_t id)
{
	return id ? 2 * id + 2 : 0;
}

static uint32_t tx_queue(uint32_t id)
{
	return rx_queue(id) + 1;
}

static const char *check_port(const struct console_state *s, uint32_t id)
{
	const struct console_row *row = id < CONSOLE_ROWS ? &console_row[id] : NULL;
	uint8_t when_ready = CONSOLE_TELL_OPEN;

	if (!(s->ports & 1U << id))
		return s->tx_done[id] || s->tell[id] || s->ready[id] || s->guest_open[id] ||
				       s->host_open[id] || s->hold[id]
			       ? "a port that does not exist is in use"
			       : NULL;
	if (!row)
		return "a port that nobody knows";
	when_ready |= row->name ? CONSOLE_TELL_NAME | CONSOLE_TELL_CLOSED : CONSOLE_TELL_CONSOLE;
	if (s->tell[id] & ~(CONSOLE_TELL_ADD | (s->ready[id] ? when_ready : 0)))
		return "a port has something to tell that it cannot have";
	if (s->tell[id] & CONSOLE_TELL_OPEN && !s->host_open[id])
		return "a port that is closed is told to be open";
	if (s->ready[id] > 1 || s->guest_open[id] > 1 || s->host_open[id] > 1 || s->hold[id] > 1)
		return "a port is open or not, 0 or 1";
	if (!row->name && !s->host_open[id])
		return "a console is always open";
	if (s->hold[id] && s->host_open[id])
		return "a port waits for a client that is there";
	if (s->tx_done[id] && !s->virtio.queue_enable[tx_queue(id)])
		return "bytes were sent from a queue that does not exist";
	return NULL;
}

static const char *console_check(const void *state)
{
	const struct console_state *s = state;
	const char *why = virtio_check(&s->virtio);

	if (!why && s->virtio.nqueues != CONSOLE_QUEUES)
		why = "it has another number of queues than ports need";
	if (!why && s->ports >> CONSOLE_PORTS)
		why = "there are more ports than it has";
	for (uint32_t id = 0; !why && id < CONSOLE_PORTS; id++)
		why = check_port(s, id);
	return why;
}
STATE_DEFINE(console_state, CONSOLE_STATE, "virtio-console", console_check);

struct virtio_queue *console_queue(struct device *dev, uint32_t queue)
{
	struct virtio *v = dev->host;

	if (!v->started || !v->queue[queue].running || atomic_load(&v->broken))
		return NULL;
	/* Without MULTIPORT there is the console's pair and nothing else. */
	return queue <= tx_queue(0) || virtio_has(dev, VIRTIO_CONSOLE_F_MULTIPORT)
		       ? &v->queue[queue]
		       : NULL;
}

void console_again(struct device *dev)
{
	const struct console_host *host = dev->host;

	timer_set(&host->again, 1);
}

/* --- from the host */
/* The next buffer of the guest, which stays where it is until it is popped again. */
static int pop_rx(struct device *dev, uint32_t queue, struct virtq_chain *chain)
{
	struct virtio_queue *rx = console_queue(dev, queue);
	struct error err;
	int ret;

	if (!rx)
		return 0;
	ret = virtq_pop(&rx->q, chain, CONSOLE_MAX_BUFFERS, &err);
	if (!ret && virtq_want_kicks(&rx->q))
		ret = virtq_pop(&rx->q, chain, CONSOLE_MAX_BUFFERS, &err);
	if (ret > 0 && !chain->write_bytes)
		ret = error_set(&err, -EINVAL, "a buffer that cannot be written");
	if (ret < 0)
		virtio_broken(dev, queue, err.msg);
	return ret;
}

static uint32_t port_room(void *opaque)
{
	const struct console_port *port = opaque;
	struct virtio *v = port->dev->host;
	const struct console_state *s = port->dev->state;
	struct iovec iov[CONSOLE_MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	uint32_t queue = rx_queue(port->index);

	if (virtio_has(port->dev, VIRTIO_CONSOLE_F_MULTIPORT) && !s->guest_open[port->index])
		return 0;
	if (pop_rx(port->dev, queue, &chain) <= 0)
		return 0;
	virtq_unpop(&v->queue[queue].q);
	return chain.write_bytes < UINT32_MAX ? (uint32_t)chain.write_bytes : UINT32_MAX;
}

static void port_receive(void *opaque, const uint8_t *data, uint32_t n)
{
	const struct console_port *port = opaque;
	struct virtio *v = port->dev->host;
	struct iovec iov[CONSOLE_MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	uint32_t queue = rx_queue(port->index), taken;

	/* The first buffer has room for it, unless the driver has changed it since. */
	for (; n && pop_rx(port->dev, queue, &chain) > 0; data += taken, n -= taken) {
		taken = (uint32_t)virtq_write(&chain, 0, data, n);
		virtq_push(&v->queue[queue].q, chain.head, taken);
	}
	if (console_queue(port->dev, queue))
		virtio_used(port->dev, queue);
}

/* --- from the guest */
/* True: the whole chain is sent. */
static bool send_chain(struct console_port *port, const struct virtq_chain *chain, uint64_t *done,
		       uint64_t *budget_bytes)
{
	struct iovec left[CONSOLE_MAX_BUFFERS];
	uint32_t count = iov_slice(chain->iov, chain->nread, *done, UINT64_MAX, left);

	for (uint32_t i = 0; i < count; i++) {
		uint64_t n = left[i].iov_len < *budget_bytes ? left[i].iov_len : *budget_bytes;

		n = chardev_write(&port->chr, left[i].iov_base, (uint32_t)n);
		*done += n;
		*budget_bytes -= n;
		if (n < left[i].iov_len)
			return false;
	}
	*done = 0;
	return true;
}

/* What the host end does not take stays in the queue, and the host end says when it does. */
static void send_queue(struct console_port *port)
{
	uint32_t queue = tx_queue(port->index);
	struct virtio_queue *tx = console_queue(port->dev, queue);
	struct console_state *s = port->dev->state;
	uint64_t budget_bytes = BYTES_A_TURN;
	struct iovec iov[CONSOLE_MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	bool is_blocked = false;
	struct error err;
	int ret = 0;

	if (!tx || s->hold[port->index])
		return;
	for (uint32_t i = 0; i < tx->q.size && !is_blocked; i++) {
		ret = virtq_pop(&tx->q, &chain, CONSOLE_MAX_BUFFERS, &err);
		if (ret <= 0)
			break;
		is_blocked = !send_chain(port, &chain, &s->tx_done[port->index], &budget_bytes);
		if (is_blocked)
			virtq_unpop(&tx->q);
		else
			virtq_push(&tx->q, chain.head, 0);
	}
	if (ret < 0)
		virtio_broken(port->dev, queue, err.msg);
	else if (!budget_bytes || (!is_blocked && virtq_want_kicks(&tx->q)))
		console_again(port->dev);
	virtio_used(port->dev, queue);
}

static void port_writable(void *opaque)
{
	send_queue(opaque);
}

static void port_connected(void *opaque, bool is_connected)
{
	struct console_port *port = opaque;
	struct console_state *s = port->dev->state;

	console_control_host_open(port->dev, port->index, is_connected);
	if (!is_connected)
		return;
	s->hold[port->index] = 0;
	send_queue(port);
}

/* The kernel's console waits for each line, with a lock held: it must not wait long. */
static const struct chardev_ops console_chardev_ops = {
	.room = port_room,
	.receive = port_receive,
	.writable = port_writable,
};
static const struct chardev_ops named_chardev_ops = {
	.room = port_room,
	.receive = port_receive,
	.writable = port_writable,
	.connected = port_connected,
	.patient = true,
};

/* --- the device */
static bool is_wanted(const struct options *opt, uint32_t id)
{
	return *(const bool *)((const char *)opt + console_row[id].wanted);
}

static bool exists(const struct device *dev, uint32_t id)
{
	return id < CONSOLE_ROWS && is_wanted(dev->vm->opt, id);
}

static void console_kick(struct device *dev, uint32_t queue)
{
	struct console_host *host = dev->host;
	uint32_t id = queue <= tx_queue(0) ? 0 : queue / 2 - 1;

	if (queue == CONSOLE_CONTROL_RX)
		console_control_send(dev);
	else if (queue == CONSOLE_CONTROL_TX)
		console_control_take(dev);
	else if (!exists(dev, id))
		return;
	else if (queue == tx_queue(id))
		send_queue(&host->port[id]);
	else
		chardev_accept_input(&host->port[id].chr);
}

static void again(void *opaque, uint32_t events)
{
	struct device *dev = opaque;
	struct console_host *host = dev->host;

	(void)events;
	if (!timer_take(&host->again))
		return;
	console_control_take(dev);
	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		if (exists(dev, id))
			send_queue(&host->port[id]);
}

static void report(void *opaque, uint32_t events)
{
	struct device *dev = opaque;
	const struct console_host *host = dev->host;

	(void)events;
	if (timer_take(&host->report))
		console_control_report(dev, false);
}

/* Of the device's own state; the transport's is the core's. */
static void console_reset(struct device *dev)
{
	struct console_state *s = dev->state;
	struct console_host *host = dev->host;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		if (s->ports & 1U << id)
			console_control_guest_open(dev, id, false);
	memset((char *)s + sizeof(s->virtio), 0, sizeof(*s) - sizeof(s->virtio));
	for (uint32_t id = 0; id < CONSOLE_ROWS; id++) {
		if (!exists(dev, id))
			continue;
		s->ports |= 1U << id;
		s->host_open[id] = !console_row[id].name || chardev_connected(&host->port[id].chr);
	}
}

/* The console's first sign of life, without a driver. */
static void console_config_write(struct device *dev, uint32_t offset, uint32_t bytes,
				 uint32_t value)
{
	struct console_host *host = dev->host;
	uint8_t byte = (uint8_t)value;

	(void)bytes;
	if (offset == CONFIG_EMERGENCY && exists(dev, 0))
		chardev_write(&host->port[0].chr, &byte, 1);
}

static const struct virtio_ops console_virtio_ops = {
	.id = VIRTIO_ID_CONSOLE,
	.class_code = CLASS_SERIAL,
	.kick = console_kick,
	.reset = console_reset,
	.config_write = console_config_write,
};

static uint32_t console_count(const struct options *opt)
{
	return opt->has_console || opt->has_agent;
}

static void close_ports(struct device *dev, uint32_t n)
{
	struct console_host *host = dev->host;

	for (uint32_t id = 0; id < n; id++)
		if (exists(dev, id))
			chardev_close(&host->port[id].chr);
}

static int open_ports(struct device *dev, struct vm *vm, struct error *err)
{
	struct console_host *host = dev->host;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++) {
		const struct console_row *row = &console_row[id];
		struct console_port *port = &host->port[id];
		int ret;

		*port = (struct console_port){.dev = dev, .index = id};
		if (!exists(dev, id))
			continue;
		ret = chardev_open(&port->chr, (const void *)((const char *)vm->opt + row->config),
				   vm, row->name ? &named_chardev_ops : &console_chardev_ops, port,
				   &dev->lock, err);
		if (!ret)
			continue;
		close_ports(dev, id);
		return ret;
	}
	return 0;
}

static int console_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct console_host *host = dev->host;
	struct virtio *v = &host->virtio;
	int ret;

	host->config[CONFIG_PORTS] = CONSOLE_PORTS;
	v->ops = &console_virtio_ops;
	v->features = 1U << VIRTIO_CONSOLE_F_MULTIPORT | 1U << VIRTIO_CONSOLE_F_EMERG_WRITE;
	v->config = host->config;
	v->config_bytes = sizeof(host->config);
	v->nqueues = CONSOLE_QUEUES;
	for (uint32_t i = 0; i < CONSOLE_QUEUES; i++)
		v->queue[i].max_size = QUEUE_SIZE;
	ret = timer_open(&host->again, CLOCK_MONOTONIC, &vm->loop, again, dev, &dev->lock, err);
	if (ret)
		return ret;
	ret = timer_open(&host->report, CLOCK_MONOTONIC, &vm->loop, report, dev, &dev->lock, err);
	if (ret)
		goto close_again;
	ret = open_ports(dev, vm, err);
	if (ret)
		goto close_report;
	ret = virtio_attach(dev, vm, err);
	if (ret)
		goto close_ports;
	return 0;

close_ports:
	close_ports(dev, CONSOLE_ROWS);
close_report:
	timer_close(&host->report);
close_again:
	timer_close(&host->again);
	return ret;
}

static void console_detach(struct device *dev)
{
	struct console_host *host = dev->host;

	virtio_detach(dev);
	close_ports(dev, CONSOLE_ROWS);
	timer_close(&host->report);
	timer_close(&host->again);
}

static void resume_ports(struct device *dev)
{
	struct console_host *host = dev->host;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		if (exists(dev, id))
			chardev_resume(&host->port[id].chr);
}

static int console_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct console_host *host = dev->host;
	int ret;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		if (exists(dev, id))
			chardev_pause(&host->port[id].chr);
	ret = virtio_pause(dev, deadline_ns, err);
	if (ret) {
		resume_ports(dev);
		return ret;
	}
	timer_set(&host->again, 0);
	console_control_report(dev, true);
	return 0;
}

static int console_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct console_state *was = saved;
	int ret = 0;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		if ((bool)(was->ports & 1U << id) != exists(dev, id))
			ret = error_join(err, -EINVAL,
					 "checkpoint has %s%s, the command line has %s",
					 exists(dev, id) ? "no " : "", console_row[id].option,
					 exists(dev, id) ? "one" : "none");
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int console_post_load(struct device *dev, struct error *err)
{
	struct console_state *s = dev->state;
	struct console_host *host = dev->host;

	for (uint32_t id = 0; id < CONSOLE_ROWS; id++)
		host->port[id].reported = s->guest_open[id];
	/* Clients were the other process's. Who comes back gets what was on its way to it. */
	for (uint32_t id = 0; id < CONSOLE_ROWS; id++) {
		if (!console_row[id].name || !s->host_open[id])
			continue;
		console_control_host_open(dev, id, false);
		s->hold[id] = 1;
	}
	return virtio_post_load(dev, err);
}

/* Clients first: what they are to be told and what waits goes out when the queues start. */
static void console_resume(struct device *dev)
{
	resume_ports(dev);
	virtio_resume(dev);
}

bool console_query(const struct device *dev, uint32_t i, struct chardev_info *info)
{
	const struct console_state *s = dev->state;
	const struct console_host *host = dev->host;
	uint32_t id = 0;

	while (id < CONSOLE_ROWS && (!exists(dev, id) || i--))
		id++;
	if (id == CONSOLE_ROWS)
		return false;
	chardev_query(&host->port[id].chr, console_row[id].label, info);
	info->frontend_open = s->guest_open[id];
	return true;
}

const struct device_ops console_ops = {
	.type = "virtio-console",
	.name = "console",
	.count = console_count,
	.state = &console_state_desc,
	.host_size = sizeof(struct console_host),
	.attach = console_attach,
	.detach = console_detach,
	.reset = virtio_reset,
	.pause = console_pause,
	.compare = console_compare,
	.post_load = console_post_load,
	.resume = console_resume,
};
