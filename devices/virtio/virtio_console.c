/* SPDX-License-Identifier: GPL-2.0-or-later */
/* virtio console with several ports: a console, and the guest agent's channel. virtio 1.2, 5.3.
 *
 * Nothing is read from the host before the guest has a buffer for it, and a chain that the host end
 * takes only in part stays in its queue: each byte is in the socket, in guest RAM or counted in the
 * saved state. */
#include "devices/virtio/virtio_console.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <string.h>

#define QUEUES		 (2 * (CONSOLE_PORTS + 1))
#define QUEUE_SIZE	 128
#define MAX_BUFFERS	 128 /* of a chain: each page of the largest write of a driver, and one more */
#define MAX_NAME_BYTES	 32
#define CLASS_SERIAL	 0x078000 /* communication controller, other */
#define BYTES_A_TURN	 (256u << 10)
#define REPORT_NS	 CLOCK_NS_PER_S
#define CONFIG_PORTS	 4 /* offset of max_nr_ports */
#define CONFIG_EMERGENCY 8 /* offset of emerg_wr */

enum { CONTROL_RX = 2, CONTROL_TX };

/* The ports that there are options for. */
#define ROWS 2
static const struct console_row {
	const char *name;  /* NULL: the console */
	const char *label; /* in QMP */
	const char *option;
	size_t config, wanted; /* in struct options: host end, and whether the port exists */
} console_row[ROWS] = {
	{NULL, "console0", "--console", offsetof(struct options, console),
	 offsetof(struct options, has_console)},
	{"org.qemu.guest_agent.0", "agent0", "--agent", offsetof(struct options, agent),
	 offsetof(struct options, has_agent)},
};

#define for_each_port(port, console)                                                              \
	for (struct console_port *port = (console)->port; port < (console)->port + CONSOLE_PORTS; \
	     port++)                                                                              \
		if (port->row)

#define CONSOLE_STATE(F, A, V, T)     \
	VIRTIO_STATE_ROWS(F, A, V, T) \
	F(T, tx_done)                 \
	F(T, tell)                    \
	F(T, ready, ST_BOOL)          \
	F(T, guest_open, ST_BOOL)     \
	F(T, host_open, ST_BOOL)      \
	F(T, hold, ST_BOOL)           \
	F(T, ports)

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
	const struct console_row *row = id < ROWS ? &console_row[id] : NULL;
	uint8_t when_ready = CONSOLE_TELL_OPEN;

	if (!(s->ports & 1U << id))
		return s->tx_done[id] || s->tell[id] || s->ready[id] || s->guest_open[id] ||
				       s->host_open[id] || s->hold[id]
			       ? "a port that does not exist is in use"
			       : NULL;
	if (!row)
		return "a port without an option";
	when_ready |= row->name ? CONSOLE_TELL_NAME | CONSOLE_TELL_CLOSED : CONSOLE_TELL_CONSOLE;
	if (s->tell[id] & ~(CONSOLE_TELL_ADD | (s->ready[id] ? when_ready : 0)))
		return "a port's pending control messages do not fit its state";
	if (s->tell[id] & CONSOLE_TELL_OPEN && !s->host_open[id])
		return "a closed port has a pending message that it is open";
	if (!row->name && !s->host_open[id])
		return "a console is always open";
	if (s->hold[id] && s->host_open[id])
		return "a port waits for a client that is connected";
	if (s->tx_done[id] && !s->virtio.queue_enable[tx_queue(id)])
		return "bytes were sent from a queue that does not exist";
	return NULL;
}

static const char *console_check(const void *state)
{
	const struct console_state *s = state;
	const char *why = virtio_check(&s->virtio);

	if (!why && s->virtio.nqueues != QUEUES)
		why = "the number of queues does not match the ports";
	if (!why && s->ports >> CONSOLE_PORTS)
		why = "it has more ports than the device";
	for (uint32_t id = 0; !why && id < CONSOLE_PORTS; id++)
		why = check_port(s, id);
	return why;
}
STATE_DEFINE(console_state, CONSOLE_STATE, "virtio-console", console_check);

/* The queue, if it can be used now, or NULL. */
static struct virtio_queue *usable_queue(struct console *console, uint32_t queue)
{
	struct virtio *v = &console->virtio;

	if (!v->started || !v->queue[queue].running || atomic_load(&v->broken))
		return NULL;
	/* Without MULTIPORT there is only the console's pair. */
	return queue <= tx_queue(0) || virtio_has(v, VIRTIO_CONSOLE_F_MULTIPORT) ? &v->queue[queue]
										 : NULL;
}

/* Goes on from the main loop: a turn is bounded. */
static void go_on_later(struct console *console)
{
	timer_set(&console->again, 1);
}

/* --- from the host */
/* The next buffer of the guest, with room for these bytes at least. */
static int pop_rx(struct console *console, uint32_t queue, struct virtq_chain *chain, size_t bytes)
{
	struct virtio_queue *rx = usable_queue(console, queue);
	struct error err;
	int ret;

	if (!rx)
		return 0;
	ret = virtq_pop(&rx->q, chain, MAX_BUFFERS, &err);
	if (!ret && virtq_want_kicks(&rx->q))
		ret = virtq_pop(&rx->q, chain, MAX_BUFFERS, &err);
	if (ret > 0 && chain->write_bytes < bytes)
		ret = error_set(&err, -EINVAL, "a buffer of %llu bytes to write, needed are %zu",
				(unsigned long long)chain->write_bytes, bytes);
	if (ret < 0)
		virtio_broken(&console->virtio, queue, err.msg);
	return ret;
}

static uint32_t port_room(void *opaque)
{
	const struct console_port *port = opaque;
	struct virtio *v = &port->console->virtio;
	const struct console_state *s = &port->console->s;
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	uint32_t queue = rx_queue(port->index);

	if (virtio_has(v, VIRTIO_CONSOLE_F_MULTIPORT) && !s->guest_open[port->index])
		return 0;
	if (pop_rx(port->console, queue, &chain, 1) <= 0)
		return 0;
	virtq_unpop(&v->queue[queue].q);
	return chain.write_bytes < UINT32_MAX ? (uint32_t)chain.write_bytes : UINT32_MAX;
}

static void port_receive(void *opaque, const uint8_t *data, uint32_t n)
{
	const struct console_port *port = opaque;
	struct virtio *v = &port->console->virtio;
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	uint32_t queue = rx_queue(port->index), taken;

	/* The first buffer had room for it, but the driver may have changed it since. */
	for (; n && pop_rx(port->console, queue, &chain, 1) > 0; data += taken, n -= taken) {
		taken = (uint32_t)virtq_write(&chain, 0, data, n);
		virtq_push(&v->queue[queue].q, chain.head, taken);
	}
	if (usable_queue(port->console, queue))
		virtio_used(v, queue);
}

/* --- from the guest */
/* True: the whole chain is sent. */
static bool send_chain(struct console_port *port, const struct virtq_chain *chain, uint64_t *done,
		       uint64_t *budget_bytes)
{
	struct iovec left[MAX_BUFFERS];
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

/* A chain that the host end does not take stays in the queue until the host end is writable. */
static void send_queue(struct console_port *port)
{
	uint32_t queue = tx_queue(port->index);
	struct virtio_queue *tx = usable_queue(port->console, queue);
	struct console_state *s = &port->console->s;
	uint64_t budget_bytes = BYTES_A_TURN;
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	bool is_blocked = false;
	struct error err;
	int ret = 0;

	if (!tx || s->hold[port->index])
		return;
	for (uint32_t i = 0; i < tx->q.size && !is_blocked; i++) {
		ret = virtq_pop(&tx->q, &chain, MAX_BUFFERS, &err);
		if (ret <= 0)
			break;
		is_blocked = !send_chain(port, &chain, &s->tx_done[port->index], &budget_bytes);
		if (is_blocked)
			virtq_unpop(&tx->q);
		else
			virtq_push(&tx->q, chain.head, 0);
	}
	if (ret < 0)
		virtio_broken(&port->console->virtio, queue, err.msg);
	else if (!budget_bytes || (!is_blocked && virtq_want_kicks(&tx->q)))
		go_on_later(port->console);
	virtio_used(&port->console->virtio, queue);
}

/* --- control messages: virtio 1.2, 5.3.6.2 "Multiport Device Operation" */

static void report(struct console_port *port, uint64_t now_ns)
{
	struct vm_event event = {.type = VM_EVENT_VSERPORT_CHANGE,
				 .on = port->console->s.guest_open[port->index]};

	port->reported = event.on;
	port->reported_ns = now_ns;
	strcpy(event.id, port->row->label);
	vm_post_event(port->console->virtio.dev.vm, &event);
}

/* Events about ports that the guest has opened or closed: unless at once, at most one a second for each
 * port, so that a guest cannot push other events out. */
static void report_all(struct console *console, bool at_once)
{
	const struct console_state *s = &console->s;
	uint64_t now_ns = clock_now_ns();

	for_each_port (port, console) {
		uint64_t since_ns = now_ns - port->reported_ns;

		if (port->reported == s->guest_open[port->index])
			continue;
		if (at_once || since_ns >= REPORT_NS)
			report(port, now_ns);
		else
			timer_set(&console->report, REPORT_NS - since_ns);
	}
}

static void set_guest_open(struct console_port *port, bool is_open)
{
	port->console->s.guest_open[port->index] = is_open;
	report_all(port->console, false);
	chardev_accept_input(&port->chr);
}

static void port_ready(struct console_port *port, bool is_ready)
{
	struct console_state *s = &port->console->s;
	uint32_t id = port->index;

	s->ready[id] = is_ready;
	if (!is_ready) {
		log_guest("%s: the driver cannot use port %u", port->console->virtio.dev.name, id);
		s->tell[id] = 0;
		return;
	}
	s->tell[id] |= port->row->name ? CONSOLE_TELL_NAME : CONSOLE_TELL_CONSOLE;
	if (s->host_open[id])
		s->tell[id] |= CONSOLE_TELL_OPEN;
}

static void device_ready(struct console *console, bool is_ready)
{
	struct console_state *s = &console->s;

	if (!is_ready)
		log_guest("%s: the driver failed", console->virtio.dev.name);
	else
		for_each_port (port, console)
			s->tell[port->index] |= CONSOLE_TELL_ADD;
}

static void control_message(struct console *console, const struct virtq_chain *chain)
{
	struct virtio_console_control message;

	/* It may be longer: only the head counts. */
	if (virtq_read(chain, 0, &message, sizeof(message)) < sizeof(message)) {
		log_guest("%s: a control message of %llu bytes", console->virtio.dev.name,
			  (unsigned long long)chain->read_bytes);
		return;
	}
	if (message.event == VIRTIO_CONSOLE_DEVICE_READY)
		device_ready(console, message.value);
	else if (message.id >= CONSOLE_PORTS || !console->port[message.id].row)
		log_guest("%s: control message %u to port %u, which does not exist",
			  console->virtio.dev.name, message.event, message.id);
	else if (message.event == VIRTIO_CONSOLE_PORT_READY)
		port_ready(&console->port[message.id], message.value);
	else if (message.event == VIRTIO_CONSOLE_PORT_OPEN)
		set_guest_open(&console->port[message.id], message.value);
	else
		log_guest("%s: control message %u, which no driver sends", console->virtio.dev.name,
			  message.event);
}

static const struct message {
	uint8_t tell;
	uint16_t event, value;
} messages[] = {
	{CONSOLE_TELL_ADD, VIRTIO_CONSOLE_PORT_ADD, 1},
	{CONSOLE_TELL_CONSOLE, VIRTIO_CONSOLE_CONSOLE_PORT, 1},
	{CONSOLE_TELL_NAME, VIRTIO_CONSOLE_PORT_NAME, 1},
	{CONSOLE_TELL_CLOSED, VIRTIO_CONSOLE_PORT_OPEN, 0},
	{CONSOLE_TELL_OPEN, VIRTIO_CONSOLE_PORT_OPEN, 1},
};

/* False: the driver has no buffer for it now. */
static bool send_message(struct console_port *port, const struct message *message)
{
	const struct virtio_console_control head = {port->index, message->event, message->value};
	struct virtq *q = &port->console->virtio.queue[CONTROL_RX].q;
	uint8_t bytes[sizeof(head) + MAX_NAME_BYTES];
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	size_t n = sizeof(head);

	memcpy(bytes, &head, sizeof(head));
	/* With its final 0: some drivers use the name as it comes. */
	if (message->tell == CONSOLE_TELL_NAME) {
		size_t name_bytes = strlen(port->row->name) + 1;

		memcpy(bytes + n, port->row->name, name_bytes);
		n += name_bytes;
	}
	if (pop_rx(port->console, CONTROL_RX, &chain, n) <= 0)
		return false;
	virtq_push(q, chain.head, (uint32_t)virtq_write(&chain, 0, bytes, n));
	return true;
}

/* Sends the pending messages, as far as the driver has buffers. */
static void send_control(struct console *console)
{
	struct console_state *s = &console->s;

	if (!usable_queue(console, CONTROL_RX))
		return;
	for_each_port (port, console)
		for (size_t i = 0; i < ARRAY_SIZE(messages); i++) {
			uint8_t *tell = &s->tell[port->index];

			if (!(*tell & messages[i].tell))
				continue;
			if (!send_message(port, &messages[i]))
				goto signal;
			*tell &= (uint8_t)~messages[i].tell;
		}
signal:
	virtio_used(&console->virtio, CONTROL_RX);
}

static void take_control(struct console *console)
{
	struct virtio_queue *queue = usable_queue(console, CONTROL_TX);
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	struct error err;
	int ret;

	if (!queue)
		return;
	/* Once around the queue: a driver that never stops must not keep the main loop here. */
	for (uint32_t i = 0; i < queue->q.size; i++) {
		ret = virtq_pop(&queue->q, &chain, MAX_BUFFERS, &err);
		if (ret < 0) {
			virtio_broken(&console->virtio, CONTROL_TX, err.msg);
			return;
		}
		if (!ret)
			break;
		control_message(console, &chain);
		virtq_push(&queue->q, chain.head, 0);
	}
	virtio_used(&console->virtio, CONTROL_TX);
	if (virtq_want_kicks(&queue->q))
		go_on_later(console);
	send_control(console);
}

/* A client has come or gone. */
static void set_host_open(struct console_port *port, bool is_open)
{
	struct console_state *s = &port->console->s;
	uint8_t *tell = &s->tell[port->index];

	s->host_open[port->index] = is_open;
	if (!s->ready[port->index])
		return;
	/* A client that goes before the driver was told that it came is not mentioned. */
	if (is_open)
		*tell |= CONSOLE_TELL_OPEN;
	else if (*tell & CONSOLE_TELL_OPEN)
		*tell &= (uint8_t)~CONSOLE_TELL_OPEN;
	else
		*tell |= CONSOLE_TELL_CLOSED;
	send_control(port->console);
}

/* --- the host end */

static void port_writable(void *opaque)
{
	send_queue(opaque);
}

static void port_connected(void *opaque, bool is_connected)
{
	struct console_port *port = opaque;

	set_host_open(port, is_connected);
	if (!is_connected)
		return;
	port->console->s.hold[port->index] = 0;
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

/* --- the driver */

static void console_kick(struct virtio *v, uint32_t queue)
{
	struct console *console = container_of(v, struct console, virtio);
	uint32_t id = queue <= tx_queue(0) ? 0 : queue / 2 - 1;

	if (queue == CONTROL_RX)
		send_control(console);
	else if (queue == CONTROL_TX)
		take_control(console);
	else if (!console->port[id].row)
		return;
	else if (queue == tx_queue(id))
		send_queue(&console->port[id]);
	else
		chardev_accept_input(&console->port[id].chr);
}

static void again(void *opaque, uint32_t events)
{
	struct console *console = opaque;

	if (!timer_take(&console->again))
		return;
	take_control(console);
	for_each_port (port, console)
		send_queue(port);
}

static void report_due(void *opaque, uint32_t events)
{
	struct console *console = opaque;

	if (timer_take(&console->report))
		report_all(console, false);
}

/* The device's own state; the transport's is the core's. */
static void console_reset(struct virtio *v)
{
	struct console *console = container_of(v, struct console, virtio);
	struct console_state *s = &console->s;

	for_each_port (port, console)
		if (s->ports & 1U << port->index)
			set_guest_open(port, false);
	memset((char *)s + sizeof(s->virtio), 0, sizeof(*s) - sizeof(s->virtio));
	for_each_port (port, console) {
		s->ports |= 1U << port->index;
		s->host_open[port->index] = !port->row->name || chardev_connected(&port->chr);
	}
}

/* Output without a driver, before the guest has set one up. */
static void console_config_write(struct virtio *v, uint32_t offset, uint32_t bytes, uint32_t value)
{
	struct console *console = container_of(v, struct console, virtio);
	uint8_t byte = (uint8_t)value;

	if (offset == CONFIG_EMERGENCY && console->port[0].row)
		chardev_write(&console->port[0].chr, &byte, 1);
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

static void close_ports(struct console *console)
{
	for_each_port (port, console) {
		chardev_close(&port->chr);
		port->row = NULL;
	}
}

static int open_ports(struct console *console, struct vm *vm, struct error *err)
{
	const char *opt = (const char *)vm->opt;
	int ret = 0;

	for (uint32_t id = 0; !ret && id < ROWS; id++) {
		const struct console_row *row = &console_row[id];
		struct console_port *port = &console->port[id];

		*port = (struct console_port){.console = console, .index = id};
		if (!*(const bool *)(opt + row->wanted))
			continue;
		port->row = row;
		ret = chardev_open(&port->chr, (const void *)(opt + row->config), vm,
				   row->name ? &named_chardev_ops : &console_chardev_ops, port,
				   &console->virtio.dev.lock, err);
		if (ret)
			port->row = NULL;
	}
	if (ret)
		close_ports(console);
	return ret;
}

static int console_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct console *console = container_of(dev, struct console, virtio.dev);
	struct virtio *v = &console->virtio;
	int ret;

	console->config[CONFIG_PORTS] = CONSOLE_PORTS;
	v->ops = &console_virtio_ops;
	v->features = 1U << VIRTIO_CONSOLE_F_MULTIPORT | 1U << VIRTIO_CONSOLE_F_EMERG_WRITE;
	v->config = console->config;
	v->config_bytes = sizeof(console->config);
	v->nqueues = QUEUES;
	for (uint32_t i = 0; i < QUEUES; i++)
		v->queue[i].max_size = QUEUE_SIZE;
	ret = timer_open(&console->again, CLOCK_MONOTONIC, &vm->loop, again, console, &dev->lock,
			 err);
	if (ret)
		return ret;
	ret = timer_open(&console->report, CLOCK_MONOTONIC, &vm->loop, report_due, console,
			 &dev->lock, err);
	if (ret)
		goto close_again;
	ret = open_ports(console, vm, err);
	if (ret)
		goto close_report;
	ret = virtio_attach(v, vm, err);
	if (ret)
		goto close_ports;
	return 0;

close_ports:
	close_ports(console);
close_report:
	timer_close(&console->report);
close_again:
	timer_close(&console->again);
	return ret;
}

static void console_detach(struct device *dev)
{
	struct console *console = container_of(dev, struct console, virtio.dev);

	virtio_detach(dev);
	close_ports(console);
	timer_close(&console->report);
	timer_close(&console->again);
}

static void resume_ports(struct console *console)
{
	for_each_port (port, console)
		chardev_resume(&port->chr);
}

static int console_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct console *console = container_of(dev, struct console, virtio.dev);
	int ret;

	for_each_port (port, console)
		chardev_pause(&port->chr);
	ret = virtio_pause(dev, deadline_ns, err);
	if (ret) {
		resume_ports(console);
		return ret;
	}
	timer_set(&console->again, 0);
	report_all(console, true);
	return 0;
}

static int console_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct console_state *was = saved;
	const struct console *console = container_of(dev, struct console, virtio.dev);
	int ret = 0;

	for (uint32_t id = 0; id < ROWS; id++) {
		bool exists = console->port[id].row;

		if ((bool)(was->ports & 1U << id) != exists)
			ret = error_join(err, -EINVAL,
					 "checkpoint has %s%s, the command line has %s",
					 exists ? "no " : "", console_row[id].option,
					 exists ? "one" : "none");
	}
	return virtio_compare(dev, saved, err) ? -EINVAL : ret;
}

static int console_post_load(struct device *dev, struct error *err)
{
	struct console *console = container_of(dev, struct console, virtio.dev);
	struct console_state *s = &console->s;

	for_each_port (port, console) {
		uint32_t id = port->index;

		port->reported = s->guest_open[id];
		/* The clients were the other process's. One that comes back gets what was on its way. */
		if (!port->row->name || !s->host_open[id])
			continue;
		set_host_open(port, false);
		s->hold[id] = 1;
	}
	return virtio_post_load(dev, err);
}

/* Clients first: messages about them and waiting data go out when the queues start. */
static void console_resume(struct device *dev)
{
	resume_ports(container_of(dev, struct console, virtio.dev));
	virtio_resume(dev);
}

bool console_query(const struct device *dev, uint32_t i, struct chardev_info *info)
{
	struct console *console = container_of(dev, struct console, virtio.dev);
	const struct console_state *s = &console->s;

	for_each_port (port, console) {
		if (i--)
			continue;
		chardev_query(&port->chr, port->row->label, info);
		info->frontend_open = s->guest_open[port->index];
		return true;
	}
	return false;
}

const struct device_ops console_ops = {
	.type = "virtio-console",
	.name = "console",
	.count = console_count,
	.needs = &pci_host_ops,
	.state = &console_state_desc,
	DEVICE_STRUCT(struct console),
	.attach = console_attach,
	.detach = console_detach,
	.reset = virtio_reset,
	.pause = console_pause,
	.compare = console_compare,
	.post_load = console_post_load,
	.resume = console_resume,
};
