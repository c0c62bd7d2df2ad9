/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver's control messages to the console device, and buffers and clients of the agent's port; in
 * between the device is saved and loaded, and reset. Whatever comes, the state can be saved, and what
 * the device tells is what a driver understands. */
#include "devices/virtio_console.h"
#include "devices/virtio_pci.h"
#include "tests/device_rig.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/log.h"
#include <linux/virtio_console.h>
#include <linux/virtio_ring.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define RAM_BYTES    (2u << 20)
#define SIZE	     128
#define QUEUE_GPA(q) (0x10000u + (q)*0x4000u)
#define AVAIL	     0x1000u
#define USED	     0x2000u
#define BUFFER(q, i) (0x100000u + (q)*0x10000u + (i) % SIZE * 0x200u)
#define BUFFER_BYTES 0x200u
enum { AGENT_PORT = 1, AGENT_RX = 4, AGENT_TX };
enum op { CONTROL, KNOWN_CONTROL, OFFER, SEND, CONNECT, WRITE, READ, LOAD, START, OPS };

extern const struct device_ops console_ops, pci_host_ops;

static char folder[] = "/tmp/stasis-fuzz-XXXXXX", path[64];
static int client;
static uint16_t added[CONSOLE_QUEUES], seen;
static bool told_open;

static struct console_state *state(void)
{
	return rig.dev->state;
}

static void *at(uint64_t gpa)
{
	return ram_ptr(&rig.vm.ram, gpa, 1);
}

static void quit(void *opaque)
{
	(void)opaque;
	loop_quit(&rig.vm.loop);
}

/* What is ready is served before the wake comes round, and what that made ready the second time. */
static void serve(void)
{
	for (int i = 0; i < 2; i++) {
		rig.vm.loop.stop = false;
		loop_wake(&rig.vm.loop);
		loop_run(&rig.vm.loop);
	}
}

static void start_driver(uint64_t features)
{
	struct console_state *s = state();

	memset(added, 0, sizeof(added));
	memset(at(QUEUE_GPA(0)), 0, QUEUE_GPA(CONSOLE_QUEUES) - QUEUE_GPA(0));
	seen = 0;
	told_open = false;
	virtio_set_status(rig.dev, 0);
	virtio_set_status(rig.dev, 3);
	s->virtio.accepted = features | 1ull << 32;
	virtio_set_status(rig.dev, 11);
	for (uint32_t q = 0; q < CONSOLE_QUEUES; q++) {
		s->virtio.queue_desc[q] = QUEUE_GPA(q);
		s->virtio.queue_avail[q] = QUEUE_GPA(q) + AVAIL;
		s->virtio.queue_used[q] = QUEUE_GPA(q) + USED;
		virtio_enable_queue(rig.dev, q);
	}
	virtio_set_status(rig.dev, 15);
}

static void add(uint32_t q, uint32_t bytes, bool is_write)
{
	struct vring_desc *desc = at(QUEUE_GPA(q));
	uint16_t *avail = at(QUEUE_GPA(q) + AVAIL);
	uint16_t i = added[q] % SIZE;

	desc[i] = (struct vring_desc){BUFFER(q, i), bytes, is_write ? VRING_DESC_F_WRITE : 0, 0};
	avail[2 + i] = i;
	avail[1] = ++added[q];
	virtio_kick(rig.dev, q);
}

static void fill(struct fuzz *in, uint32_t q, uint32_t bytes)
{
	uint8_t *to = at(BUFFER(q, added[q]));

	for (uint32_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)fuzz_take(in, 1);
}

/* Nearly always whole, to ports that nearly always exist. */
static void known_control(struct fuzz *in)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	const struct virtio_console_control message = {what & 3, what >> 2 & 7, what >> 5 & 1};

	memcpy(at(BUFFER(CONSOLE_CONTROL_TX, added[CONSOLE_CONTROL_TX])), &message,
	       sizeof(message));
	add(CONSOLE_CONTROL_TX, sizeof(message), false);
}

static void on_message(const uint8_t *data, uint32_t bytes)
{
	struct virtio_console_control message;

	ck_assert_uint_ge(bytes, sizeof(message));
	memcpy(&message, data, sizeof(message));
	ck_assert_uint_lt(message.id, CONSOLE_ROWS);
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
	const uint16_t *used = at(QUEUE_GPA(CONSOLE_CONTROL_RX) + USED);
	const struct vring_used_elem *elem = at(QUEUE_GPA(CONSOLE_CONTROL_RX) + USED + 4);

	for (; seen != used[1]; seen++)
		on_message(at(BUFFER(CONSOLE_CONTROL_RX, elem[seen % SIZE].id)),
			   elem[seen % SIZE].len);
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
		fill(in, CONSOLE_CONTROL_TX, n);
		add(CONSOLE_CONTROL_TX, n, op & 0x80);
		break;
	case KNOWN_CONTROL:
		known_control(in);
		break;
	case OFFER:
		add(op & 0x10 ? AGENT_RX : CONSOLE_CONTROL_RX, (uint32_t)fuzz_take(in, 1), true);
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

static struct device *attach(void)
{
	struct ram_config config = {.size_bytes = RAM_BYTES};
	struct device *pci_host;
	struct error err;

	if (!*path) {
		ck_assert_ptr_nonnull(mkdtemp(folder));
		snprintf(path, sizeof(path), "%s/agent", folder);
	}
	rig_open();
	log_init(LOG_ERROR, "fuzz");
	rig.vm.loop.on_wake = quit;
	client = -1;
	ck_assert(!ram_open(&rig.vm.ram, &config, &err) &&
		  !ram_add_region(&rig.vm.ram, 0, RAM_BYTES, &err));
	rig.opt.console = (struct chardev_config){CHARDEV_NONE, NULL, "--console"};
	rig.opt.agent = (struct chardev_config){CHARDEV_UNIX, path, "--agent"};
	rig.opt.has_console = rig.opt.has_agent = true;
	rig_attach(&pci_host_ops);
	pci_host = rig.dev;
	rig_attach(&console_ops);
	console_ops.resume(rig.dev);
	start_driver(1u << VIRTIO_CONSOLE_F_MULTIPORT);
	return pci_host;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};
	struct device *pci_host = attach();

	while (in.left) {
		step(&in);
		serve();
		take_messages();
		ck_assert_ptr_null(console_ops.state->check(state()));
	}
	if (client >= 0)
		close(client);
	console_ops.detach(rig.dev);
	pthread_mutex_destroy(&rig.dev->lock);
	free(rig.dev->state);
	free(rig.dev->host);
	free(rig.dev);
	rig.dev = pci_host;
	ram_close(&rig.vm.ram);
	rig_close();
	return 0;
}
