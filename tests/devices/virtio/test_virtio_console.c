/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The console device with real sockets on one side and a driver's queues on the other. */
#include "devices/devices.h"
#include "devices/virtio/virtio_console.h"
#include "tests/rig/ram_lost.h"
#include "tests/rig/unit.h"
#include "tests/rig/virtio_driver.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define CONTROL_GPA DRIVER_BUFFERS /* buffers of control messages */
#define DATA_GPA    (DRIVER_BUFFERS + 0x100000u)
#define MULTIPORT   (1ull << VIRTIO_CONSOLE_F_MULTIPORT)
enum { CONSOLE_RX, CONSOLE_TX, CONTROL_RX, CONTROL_TX, AGENT_RX, AGENT_TX };
enum { CONSOLE_PORT, AGENT_PORT };

static struct driver drv;
static char dir[] = "/tmp/stasis-console-XXXXXX";
static char console_path[64], agent_path[64];

/* --- the driver */
static struct console *console(void)
{
	return container_of(rig.dev, struct console, virtio.dev);
}

static struct console_state *state(void)
{
	return &console()->s;
}

/* A chain of n pieces of a buffer; visible to the device, which is not kicked. */
static void add(uint32_t q, uint64_t gpa, uint32_t bytes, bool is_write, uint32_t n)
{
	struct driver_buffer piece[16];

	for (uint32_t i = 0; i < n; i++)
		piece[i] = (struct driver_buffer){gpa + (uint64_t)i * (bytes / n),
						  i < n - 1 ? bytes / n
							    : bytes - (n - 1) * (bytes / n)};
	driver_add(&drv, q, piece, is_write ? 0 : n, is_write ? n : 0);
}

static void offer(uint32_t q, uint64_t gpa, uint32_t bytes, bool is_write, uint32_t n)
{
	add(q, gpa, bytes, is_write, n);
	driver_kick(&drv, q);
}

/* -1: the device has given nothing back; else how many bytes it wrote. */
static int got(uint32_t q)
{
	uint32_t bytes;
	uint16_t head;

	return driver_get(&drv, q, &head, &bytes) ? (int)bytes : -1;
}

static void say(uint32_t q, const void *data, uint32_t bytes)
{
	memcpy(driver_ram(DATA_GPA), data, bytes);
	offer(q, DATA_GPA, bytes, false, 1);
}

static void control(uint32_t id, uint16_t event, uint16_t value)
{
	const struct virtio_console_control message = {id, event, value};

	say(CONTROL_TX, &message, sizeof(message));
	ck_assert_int_eq(got(CONTROL_TX), 0);
}

static uint64_t control_gpa(uint32_t i)
{
	return CONTROL_GPA + i % DRIVER_QUEUE_SIZE * 64u;
}

static void give_control_buffers(uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		add(CONTROL_RX, control_gpa(drv.added[CONTROL_RX]), 64, true, 1);
	driver_kick(&drv, CONTROL_RX);
}

/* The next message that the device has sent, and a buffer for one more. */
static const uint8_t *expect(uint32_t id, uint16_t event, uint16_t value)
{
	uint8_t *message = driver_ram(control_gpa(drv.seen[CONTROL_RX]));
	struct virtio_console_control head;

	ck_assert_int_ge(got(CONTROL_RX), (int)sizeof(head));
	memcpy(&head, message, sizeof(head));
	ck_assert_uint_eq(head.id, id);
	ck_assert_uint_eq(head.event, event);
	ck_assert_uint_eq(head.value, value);
	return message + sizeof(head);
}

static bool needs_reset(void)
{
	return driver_status(&drv) & 0x40;
}

/* --- the machine */
static void begin(enum chardev_kind console)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(console_path, sizeof(console_path), "%s/console", dir);
	snprintf(agent_path, sizeof(agent_path), "%s/agent", dir);
	rig.opt.console = (struct chardev_config){console, console_path, "--console"};
	rig.opt.agent = (struct chardev_config){CHARDEV_UNIX, agent_path, "--agent"};
	rig.opt.has_console = rig.opt.has_agent = true;
	rig.opt.serial.kind = CHARDEV_NONE;
	virtio_guest_boot();
	rig.dev = devices_find(&rig.vm, "console0");
}

static void end(void)
{
	rig_close();
	unlink(console_path);
	ck_assert_int_ne(access(agent_path, F_OK), 0); /* its socket is gone with it */
	ck_assert_int_eq(rmdir(dir), 0);
}

/* From power-on to two ports that the guest has open. */
static void ports_open(void)
{
	driver_start(&drv, "console0", MULTIPORT);
	give_control_buffers(DRIVER_QUEUE_SIZE);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
	for (uint32_t id = 0; id < 2; id++) {
		expect(id, VIRTIO_CONSOLE_PORT_ADD, 1);
		control(id, VIRTIO_CONSOLE_PORT_READY, 1);
		control(id, VIRTIO_CONSOLE_PORT_OPEN, 1);
	}
	expect(0, VIRTIO_CONSOLE_CONSOLE_PORT, 1);
	expect(0, VIRTIO_CONSOLE_PORT_OPEN, 1);
	ck_assert_str_eq((const char *)expect(1, VIRTIO_CONSOLE_PORT_NAME, 1),
			 "org.qemu.guest_agent.0");
	ck_assert_int_eq(got(CONTROL_RX), -1);
}

static int agent_client(void)
{
	int fd = rig_connect(agent_path);

	RIG_WAIT_FOR(state()->host_open[AGENT_PORT]);
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	return fd;
}

/* Reads until all of it has come. */
static void read_all(int fd, uint8_t *data, size_t n)
{
	ck_assert_int_eq(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
	for (int spins = 0; n && spins < 3000;) {
		ssize_t ret = read(fd, data, n);

		if (ret < 0) {
			ck_assert_int_eq(errno, EAGAIN);
			rig_spin();
			spins++;
			continue;
		}
		ck_assert_int_gt(ret, 0);
		data += ret;
		n -= (size_t)ret;
	}
	ck_assert_uint_eq(n, 0);
}

static void expect_text(int fd, const char *text)
{
	uint8_t data[64];

	read_all(fd, data, strlen(text));
	ck_assert_mem_eq(data, text, strlen(text));
}

TEST(handshake)
{
	begin(CHARDEV_NONE);
	ports_open();
	ck_assert_uint_eq(rig.nevents, 2);
	ck_assert_int_eq(rig.event.type, VM_EVENT_VSERPORT_CHANGE);
	ck_assert_str_eq(rig.event.id, "agent0");
	ck_assert(rig.event.on);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1); /* no news */
	ck_assert_uint_eq(rig.nevents, 2);
	/* Another one within the second waits for its end, and then there is nothing to tell. */
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	rig_advance(1000000000);
	ck_assert_uint_eq(rig.nevents, 2);
	for (uint16_t i = 0; i < 99; i++)
		control(1, VIRTIO_CONSOLE_PORT_OPEN, i & 1);
	ck_assert_uint_eq(rig.nevents, 3);
	ck_assert(!rig.event.on);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	rig_advance(999999999);
	ck_assert_uint_eq(rig.nevents, 3);
	rig_advance(1);
	ck_assert_uint_eq(rig.nevents, 4);
	ck_assert(rig.event.on);
	/* Nothing is left to the next process. */
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_uint_eq(rig.nevents, 4);
	rig_reload();
	ck_assert_uint_eq(rig.nevents, 5);
	ck_assert(!rig.event.on);
	rig_advance(2000000000);
	ck_assert_uint_eq(rig.nevents, 5);
}

TEST(both_ways)
{
	uint8_t *data;
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	say(AGENT_TX, "nobody hears", 12); /* and it is not waited for */
	ck_assert_int_eq(got(AGENT_TX), 0);
	fd = agent_client();
	say(AGENT_TX, "hello", 5);
	ck_assert_int_eq(got(AGENT_TX), 0);
	expect_text(fd, "hello");
	/* Nothing is taken from the host before there is a buffer for it. */
	ck_assert_int_eq(write(fd, "0123456789abcdef", 16), 16);
	rig_spins(5);
	ck_assert_int_eq(got(AGENT_RX), -1);
	offer(AGENT_RX, DATA_GPA, 10, true, 3);
	data = driver_ram(DATA_GPA);
	RIG_WAIT_FOR(!memcmp(data, "0123456789", 10));
	ck_assert_int_eq(got(AGENT_RX), 10);
	offer(AGENT_RX, DATA_GPA + 100, 1000, true, 3);
	RIG_WAIT_FOR(!memcmp(data + 100, "abcdef", 7));
	ck_assert_int_eq(got(AGENT_RX), 6);
	/* Nor while no program has the port open. */
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	offer(AGENT_RX, DATA_GPA, 10, true, 1);
	ck_assert_int_eq(write(fd, "x", 1), 1);
	rig_spins(5);
	ck_assert_int_eq(got(AGENT_RX), -1);
	control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	RIG_WAIT_FOR(data[0] == 'x');
	ck_assert_int_eq(got(AGENT_RX), 1);
	close(fd);
}

TEST(client_gone)
{
	static uint8_t data[1 << 20];
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	fd = agent_client();
	say(AGENT_TX, data, sizeof(data));
	ck_assert_int_eq(got(AGENT_TX), -1); /* it waits for the client */
	rig_advance(10000000000);
	ck_assert_int_eq(got(AGENT_TX), -1);
	close(fd);
	RIG_WAIT_FOR(!state()->host_open[AGENT_PORT]);
	rig_advance(1000);
	ck_assert_int_eq(got(AGENT_TX), 0);
	ck_assert_uint_eq(state()->tx_done[AGENT_PORT], 0);
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	fd = agent_client();
	say(AGENT_TX, "next", 4);
	expect_text(fd, "next");
	close(fd);
}

/* Guest RAM that is not there is no fault of the client's. */
TEST(ram_lost)
{
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	fd = agent_client();
	add(AGENT_TX, DATA_GPA, 100, false, 1);
	ram_lost_begin(DATA_GPA);
	driver_kick(&drv, AGENT_TX);
	ram_lost_end(DATA_GPA);
	say(AGENT_TX, "next", 4);
	expect_text(fd, "next");
	close(fd);
}

/* A long write is cut by a load, and the client that comes back gets each byte once. */
TEST(load_in_a_long_write)
{
	const uint32_t bytes = 3 << 20;
	uint8_t *back = malloc(bytes), *data;
	uint64_t first;
	ssize_t n = 0;
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	fd = agent_client();
	data = driver_ram(DATA_GPA);
	for (uint32_t i = 0; i < bytes; i++)
		data[i] = (uint8_t)(i * 7 + (i >> 8));
	add(AGENT_TX, DATA_GPA, bytes / 2, false, 16);
	offer(AGENT_TX, DATA_GPA + bytes / 2, bytes / 2, false, 16);
	first = state()->tx_done[AGENT_PORT];
	ck_assert_uint_gt(first, 0);
	for (; state()->tx_done[AGENT_PORT] == first; n += 4096) {
		read_all(fd, back + n, 4096);
		rig_spin();
	}
	rig_reload();
	rig_reload(); /* and nobody came in between */
	/* What the old process had put into the socket is still there. */
	for (ssize_t ret; (ret = read(fd, back + n, bytes - (size_t)n)) > 0; n += ret)
		;
	close(fd);
	ck_assert_uint_eq((uint64_t)n, state()->tx_done[AGENT_PORT]);
	rig_advance(10000000000);
	ck_assert_int_eq(got(AGENT_TX), -1); /* it waits for the client to come back */
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 0);
	ck_assert_int_eq(got(CONTROL_RX), -1);
	fd = agent_client();
	for (; (uint32_t)n < bytes; n += 4096) {
		size_t left = bytes - (size_t)n;

		rig_advance(1000);
		read_all(fd, back + n, left < 4096 ? left : 4096);
	}
	ck_assert(!memcmp(back, data, bytes));
	rig_advance(1000);
	ck_assert_int_eq(got(AGENT_TX), 0);
	ck_assert_int_eq(got(AGENT_TX), 0);
	ck_assert_uint_eq(state()->tx_done[AGENT_PORT], 0);
	close(fd);
	free(back);
}

/* Stopped and continued, nobody hears of anything. */
TEST(pause_and_resume)
{
	struct error err;
	uint8_t *data;
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	fd = agent_client();
	ck_assert_int_eq(rig.dev->ops->pause(rig.dev, 0, &err), 0);
	ck_assert_int_eq(write(fd, "later", 5), 5);
	offer(AGENT_RX, DATA_GPA, 100, true, 1);
	rig_spins(5);
	ck_assert_int_eq(got(AGENT_RX), -1);
	ck_assert_int_eq(rig.dev->ops->pause(rig.dev, 0, &err), 0);
	rig.dev->ops->resume(rig.dev);
	data = driver_ram(DATA_GPA);
	RIG_WAIT_FOR(!memcmp(data, "later", 5));
	ck_assert_int_eq(got(CONTROL_RX), -1);
	ck_assert_uint_eq(rig.nevents, 2);
	close(fd);
}

/* However much a driver sends, what waits for it is a few bits. */
TEST(control_storm)
{
	int fd;

	begin(CHARDEV_NONE);
	driver_start(&drv, "console0", MULTIPORT);
	for (int i = 0; i < 1000; i++) {
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		control(1, VIRTIO_CONSOLE_PORT_READY, 1);
		control(1, VIRTIO_CONSOLE_PORT_OPEN, (uint16_t)(i & 1));
	}
	for (int i = 0; i < 10; i++) {
		fd = rig_connect(agent_path);
		RIG_WAIT_FOR(state()->host_open[AGENT_PORT]);
		close(fd);
		RIG_WAIT_FOR(!state()->host_open[AGENT_PORT]);
	}
	fd = rig_connect(agent_path);
	RIG_WAIT_FOR(state()->host_open[AGENT_PORT]);
	rig_reload(); /* and they go on to wait */
	close(fd);
	give_control_buffers(2);
	expect(0, VIRTIO_CONSOLE_PORT_ADD, 1);
	expect(1, VIRTIO_CONSOLE_PORT_ADD, 1);
	ck_assert_int_eq(got(CONTROL_RX), -1);
	give_control_buffers(10);
	expect(1, VIRTIO_CONSOLE_PORT_NAME, 1);
	ck_assert_int_eq(got(CONTROL_RX), -1); /* that client was never told of */
}

TEST(malformed_messages)
{
	begin(CHARDEV_NONE);
	ports_open();
	say(CONTROL_TX, "short", 5);
	ck_assert_int_eq(got(CONTROL_TX), 0);
	add(CONTROL_TX, DATA_GPA, 8, true, 1); /* nothing to read in it */
	driver_kick(&drv, CONTROL_TX);
	ck_assert_int_eq(got(CONTROL_TX), 0);
	control(2, VIRTIO_CONSOLE_PORT_OPEN, 1);
	control(UINT32_MAX, VIRTIO_CONSOLE_PORT_READY, 1);
	control(1, VIRTIO_CONSOLE_PORT_NAME, 1);
	control(1, 0xffff, 0xffff);
	control(0, VIRTIO_CONSOLE_DEVICE_READY, 0);
	ck_assert_uint_eq(rig.nevents, 2);
	ck_assert_int_eq(got(CONTROL_RX), -1);
	ck_assert(!needs_reset());
	control(1, VIRTIO_CONSOLE_PORT_READY, 0);
	ck_assert_uint_eq(state()->ready[AGENT_PORT], 0);
}

TEST(malformed_buffers)
{
	static const struct {
		uint32_t queue, bytes;
		bool is_write;
	} bad[] = {
		{CONTROL_RX, 7, true},
		{CONTROL_RX, 64, false},
		{AGENT_RX, 64, false},
	};
	int fd = -1;

	begin(CHARDEV_NONE);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		driver_start(&drv, "console0", MULTIPORT);
		add(bad[i].queue, DATA_GPA, bad[i].bytes, bad[i].is_write, 1);
		control(0, VIRTIO_CONSOLE_DEVICE_READY, 1);
		if (!needs_reset())
			control(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
		driver_kick(&drv, bad[i].queue);
		if (fd < 0)
			fd = rig_connect(agent_path);
		rig_spins(5);
		ck_assert_msg(needs_reset(), "case %zu", i);
		driver_reset(&drv);
		ck_assert(!needs_reset());
	}
	close(fd);
}

TEST(without_multiport)
{
	uint8_t *data;
	int fd;

	begin(CHARDEV_UNIX);
	driver_start(&drv, "console0", 0);
	fd = rig_connect(console_path);
	RIG_WAIT_FOR(console()->port[CONSOLE_PORT].chr.in_fd >= 0);
	say(CONSOLE_TX, "login: ", 7);
	expect_text(fd, "login: ");
	offer(CONSOLE_RX, DATA_GPA + 4096, 64, true, 1);
	ck_assert_int_eq(write(fd, "root\r", 5), 5);
	data = driver_ram(DATA_GPA + 4096);
	RIG_WAIT_FOR(!memcmp(data, "root\r", 5));
	/* The other queues are not there. */
	offer(CONTROL_TX, DATA_GPA, 8, false, 1);
	ck_assert_int_eq(got(CONTROL_TX), -1);
	offer(AGENT_TX, DATA_GPA, 8, false, 1);
	ck_assert_int_eq(got(AGENT_TX), -1);
	close(fd);
}

/* Linux spins until its console has taken a line. */
TEST(console_stalls_nobody)
{
	static uint8_t data[1 << 20];
	int fd;

	begin(CHARDEV_UNIX);
	ports_open();
	fd = rig_connect(console_path);
	RIG_WAIT_FOR(console()->port[CONSOLE_PORT].chr.in_fd >= 0);
	say(CONSOLE_TX, data, sizeof(data));
	ck_assert_int_eq(got(CONSOLE_TX), -1);
	rig_advance(260000000);
	ck_assert_int_eq(got(CONSOLE_TX), 0);
	say(CONSOLE_TX, data, sizeof(data));
	rig_advance(1000);
	ck_assert_int_eq(got(CONSOLE_TX), 0);
	close(fd);
}

/* No call sends more than a little; the rest follows from the main loop. */
TEST(console_to_a_file)
{
	uint8_t *back = malloc(1 << 20), *data;
	FILE *file;

	begin(CHARDEV_FILE);
	ports_open();
	data = driver_ram(DATA_GPA);
	for (uint32_t i = 0; i < 1 << 20; i++)
		data[i] = (uint8_t)(i * 3 + (i >> 8));
	offer(CONSOLE_TX, DATA_GPA, 1 << 20, false, 5);
	ck_assert_int_eq(got(CONSOLE_TX), -1);
	ck_assert_uint_gt(state()->tx_done[CONSOLE_PORT], 0);
	rig_reload();
	rig_advance(1000);
	ck_assert_int_eq(got(CONSOLE_TX), 0);
	file = fopen(console_path, "r");
	ck_assert_uint_eq(fread(back, 1, 1 << 20, file), 1 << 20);
	ck_assert_int_eq(getc(file), EOF);
	fclose(file);
	ck_assert(!memcmp(back, data, 1 << 20));
	free(back);
}

TEST(emergency_write)
{
	char text[8] = "";
	FILE *file;

	begin(CHARDEV_FILE);
	for (const char *c = "dead"; *c; c++)
		console()->virtio.ops->config_write(&console()->virtio, 8, 4, (uint32_t)*c);
	file = fopen(console_path, "r");
	ck_assert_uint_eq(fread(text, 1, sizeof(text), file), 4);
	fclose(file);
	ck_assert_str_eq(text, "dead");
}

TEST(reset_by_the_driver)
{
	int fd;

	begin(CHARDEV_NONE);
	ports_open();
	fd = agent_client();
	ck_assert_uint_eq(rig.nevents, 2);
	driver_reset(&drv);
	rig_advance(1000000000);
	ck_assert_uint_eq(rig.nevents, 4); /* both are closed */
	ck_assert(!rig.event.on);
	/* The client is still there, and the next driver hears of it. */
	driver_start(&drv, "console0", MULTIPORT);
	give_control_buffers(DRIVER_QUEUE_SIZE);
	control(1, VIRTIO_CONSOLE_PORT_READY, 1);
	expect(1, VIRTIO_CONSOLE_PORT_NAME, 1);
	expect(1, VIRTIO_CONSOLE_PORT_OPEN, 1);
	close(fd);
}

/* As if there was no option for the port; returns what brings it back. */
static const struct console_row *set_row(uint32_t id, const struct console_row *row)
{
	struct console_port *port = &console()->port[id];
	const struct console_row *before = port->row;

	port->row = row;
	return before;
}

TEST(query)
{
	const struct console_row *row;
	struct chardev_info info;
	char filename[128];

	begin(CHARDEV_NONE);
	ck_assert(console_query(rig.dev, 0, &info));
	ck_assert_str_eq(info.label, "console0");
	ck_assert_str_eq(info.filename, "null");
	ck_assert(!info.frontend_open);
	ports_open();
	ck_assert(console_query(rig.dev, 1, &info));
	ck_assert_str_eq(info.label, "agent0");
	snprintf(filename, sizeof(filename), "disconnected:unix:%s,server=on", agent_path);
	ck_assert_str_eq(info.filename, filename);
	ck_assert(info.frontend_open);
	ck_assert(!console_query(rig.dev, 2, &info));
	row = set_row(CONSOLE_PORT, NULL);
	ck_assert(console_query(rig.dev, 0, &info));
	ck_assert_str_eq(info.label, "agent0");
	ck_assert(!console_query(rig.dev, 1, &info));
	set_row(CONSOLE_PORT, row);
}

TEST(other_ports_than_saved)
{
	const struct console_row *row;
	struct console_state saved;
	struct error err = {""};

	begin(CHARDEV_NONE);
	saved = *state();
	ck_assert_int_eq(rig.dev->ops->compare(rig.dev, &saved, &err), 0);
	saved.ports = 2;
	ck_assert_int_ne(rig.dev->ops->compare(rig.dev, &saved, &err), 0);
	ck_assert_str_eq(err.msg, "checkpoint has no --console, the command line has one");
	err.msg[0] = '\0';
	saved.ports = 3;
	row = set_row(AGENT_PORT, NULL);
	ck_assert_int_ne(rig.dev->ops->compare(rig.dev, &saved, &err), 0);
	ck_assert_str_eq(err.msg, "checkpoint has --agent, the command line has none");
	set_row(AGENT_PORT, row);
}

#define HOSTILE(member, value)                                                       \
	do {                                                                         \
		struct console_state s_ = *state();                                  \
		s_.member = value;                                                   \
		ck_assert_msg(state_check(rig.dev->ops->state, &s_, NULL), #member); \
	} while (0)
TEST(hostile_states)
{
	begin(CHARDEV_NONE);
	ports_open();
	ck_assert_int_eq(state_check(rig.dev->ops->state, state(), NULL), 0);
	HOSTILE(ports, 7);
	HOSTILE(ports, 1u << 31);
	HOSTILE(ports, 1); /* and yet port 1 is in use */
	HOSTILE(hold[1], 2);
	HOSTILE(hold[0], 1); /* nobody has to come to a console */
	HOSTILE(hold[2], 1);
	HOSTILE(virtio.nqueues, 6);
	HOSTILE(ready[1], 2);
	HOSTILE(guest_open[1], 2);
	HOSTILE(host_open[0], 0);
	HOSTILE(host_open[1], 2);
	state()->hold[1] = 1;
	ck_assert_int_eq(state_check(rig.dev->ops->state, state(), NULL), 0);
	HOSTILE(host_open[1], 1); /* the client that is waited for */
	state()->hold[1] = 0;
	HOSTILE(ready[2], 1);
	HOSTILE(tx_done[3], 1);
	HOSTILE(tell[0], CONSOLE_TELL_NAME);
	HOSTILE(tell[0], CONSOLE_TELL_CLOSED);
	HOSTILE(tell[1], CONSOLE_TELL_CONSOLE);
	HOSTILE(tell[1], CONSOLE_TELL_OPEN); /* nobody is there */
	HOSTILE(tell[1], 32);
	driver_reset(&drv);
	HOSTILE(tx_done[1], 1);
	HOSTILE(tell[1], CONSOLE_TELL_NAME);
}

UNIT_MAIN(rig_open, end)
