/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver's control messages to the console device, and buffers and clients of the agent's port; in
 * between the device is saved and loaded, and reset. Whatever comes, the state can be saved, and what
 * the device tells is what a driver understands. */
#include "devices/devices.h"
#include "devices/virtio/virtio_console.h"
#include "tests/fuzz/fuzz.h"
#include "tests/rig/virtio_driver.h"
#include "vmm/base/log.h"
#include <linux/virtio_console.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define BUFFER_BYTES 0x200u
#define PORTS	     2
enum { AGENT_PORT = 1, CONTROL_RX, CONTROL_TX, AGENT_RX, AGENT_TX };
enum op { CONTROL, KNOWN_CONTROL, OFFER, SEND, CONNECT, WRITE, READ, LOAD, START, OPS };

static char folder[] = "/tmp/stasis-fuzz-XXXXXX", path[64];
static int client;
static struct driver drv;
static bool told_open;

/* The one of a descriptor, which each chain has one of. */
static uint64_t buffer_gpa(uint32_t q, uint32_t descriptor)
{
	return DRIVER_BUFFERS + q * 0x10000u + descriptor % DRIVER_QUEUE_SIZE * BUFFER_BYTES;
}

static uint8_t *next_buffer(uint32_t q)
{
	return driver_ram(buffer_gpa(q, drv.added[q]));
}

static void start_driver(uint64_t features)
{
	told_open = false;
	driver_start(&drv, "console0", features);
}

static void add(uint32_t q, uint32_t bytes, bool is_write)
{
	const struct driver_buffer buffer = {buffer_gpa(q, drv.added[q]), bytes};

	driver_add(&drv, q, &buffer, !is_write, is_write);
	driver_kick(&drv, q);
}

static void fill(struct fuzz *in, uint32_t q, uint32_t bytes)
{
	uint8_t *to = next_buffer(q);

	for (uint32_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)fuzz_take(in, 1);
}

/* Nearly always whole, to ports that nearly always exist. */
static void known_control(struct fuzz *in)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	const struct virtio_console_control message = {what & 3, what >> 2 & 7, what >> 5 & 1};

	memcpy(next_buffer(CONTROL_TX), &message, sizeof(message));
	add(CONTROL_TX, sizeof(message), false);
}

static void on_message(const uint8_t *data, uint32_t bytes)
{
	struct virtio_console_control message;

	ck_assert_uint_ge(bytes, sizeof(message));
	memcpy(&message, data, sizeof(message));
	ck_assert_uint_lt(message.id, PORTS);
	ck_assert(message.event == VIRTIO_CONSOLE_PORT_ADD ||
		  message.event == VIRTIO_CONSOLE_PORT_OPEN ||
		  message.event == (message.id == AGENT_PORT ? VIRTIO_CONSOLE_PORT_NAME
							     : VIRTIO_CONSOLE_CONSOLE_PORT));
	if (message.id != AGENT_PORT || message.event != VIRTIO_CONSOLE_PORT_OPEN)
		return;
	ck_assert_msg(message.value || told_open, "told to be closed, but never to be open");
	told_open = message.value;
}

static void take_messages(void)
{
	uint32_t bytes;
	uint16_t head;

	while (driver_get(&drv, CONTROL_RX, &head, &bytes))
		on_message(driver_ram(buffer_gpa(CONTROL_RX, head)), bytes);
}

static void toggle_client(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};

	if (client >= 0) {
		close(client);
		client = -1;
		return;
	}
	client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	strcpy(addr.sun_path, path);
	ck_assert_int_eq(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void step(struct fuzz *in)
{
	uint8_t op = (uint8_t)fuzz_take(in, 1), data[BUFFER_BYTES];
	uint32_t bytes = 1u << (op >> 4 & 7), n;

	switch (op % OPS) {
	case CONTROL:
		n = (uint32_t)fuzz_take(in, 1) % 16;
		fill(in, CONTROL_TX, n);
		add(CONTROL_TX, n, op & 0x80);
		break;
	case KNOWN_CONTROL:
		known_control(in);
		break;
	case OFFER:
		add(op & 0x10 ? AGENT_RX : CONTROL_RX, (uint32_t)fuzz_take(in, 1), true);
		break;
	case SEND:
		add(AGENT_TX, bytes, false);
		break;
	case CONNECT:
		toggle_client();
		break;
	case WRITE:
		memset(data, op, sizeof(data));
		n = (uint32_t)send(client, data, bytes, MSG_NOSIGNAL);
		break;
	case READ:
		n = (uint32_t)recv(client, data, bytes, 0);
		break;
	case LOAD:
		if (client >= 0)
			toggle_client();
		rig_reload();
		break;
	case START:
		start_driver(op & 0x10 ? 0 : 1u << VIRTIO_CONSOLE_F_MULTIPORT);
		break;
	default:
		break;
	}
}

static void boot(void)
{
	if (!*path) {
		ck_assert_ptr_nonnull(mkdtemp(folder));
		snprintf(path, sizeof(path), "%s/agent", folder);
	}
	rig_open();
	log_init(LOG_ERROR, "fuzz");
	client = -1;
	rig.opt.serial.kind = CHARDEV_NONE;
	rig.opt.console = (struct chardev_config){CHARDEV_NONE, NULL, "--console"};
	rig.opt.agent = (struct chardev_config){CHARDEV_UNIX, path, "--agent"};
	rig.opt.has_console = rig.opt.has_agent = true;
	virtio_guest_boot();
	start_driver(1u << VIRTIO_CONSOLE_F_MULTIPORT);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};

	boot();
	while (in.left) {
		step(&in);
		fuzz_serve(&rig.vm.loop);
		take_messages();
		ck_assert_int_eq(state_check(rig.dev->ops->state, device_state(rig.dev), NULL), 0);
	}
	if (client >= 0)
		close(client);
	virtio_guest_end();
	rig_close();
	return 0;
}
