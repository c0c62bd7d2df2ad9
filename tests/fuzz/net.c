/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest at the queues of the network card, the control queue above all, and somebody at the other
 * end of its wire; in between it is saved and loaded, loses its link and is reset. Whatever comes,
 * the state can be saved, and no chain is given back that was not given. */
#include "tests/fuzz/fuzz.h"
#include "tests/rig/net_fixture.h"
#include "vmm/base/log.h"
#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

enum op { CONTROL, SEND, OFFER, RECEIVE, SCRIBBLE, LINK, ANNOUNCE, LOAD, START, OPS };

static int peer;

/* In place of the card's thread: its loop runs when the guest has done something. */
int __wrap_iothread_start(struct iothread *io, const char *name, struct error *err);
void __wrap_iothread_stop(struct iothread *io);

int __wrap_iothread_start(struct iothread *io, const char *name, struct error *err)
{
	io->started = true;
	return loop_init(&io->loop, NULL, NULL, err); /* nobody wakes it */
}

void __wrap_iothread_stop(struct iothread *io)
{
	if (io->started)
		loop_close(&io->loop);
	io->started = false;
}

static void connect_card(void)
{
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, fd), 0);
	peer = fd[0];
	card.fd = fd[1];
}

/* The next bytes of the input, into guest RAM; returns how many. */
static uint32_t fill(struct fuzz *in, uint64_t gpa)
{
	uint32_t n = (uint32_t)fuzz_take(in, 1) * ((uint32_t)fuzz_take(in, 1) % 4 ? 1 : 16);
	uint8_t *at = driver_ram(gpa);

	for (uint32_t i = 0; i < n; i++)
		at[i] = (uint8_t)fuzz_take(in, 1);
	return n;
}

/* A chain of buffers of these sizes in one piece of RAM, cut as the input says. */
static void add(struct fuzz *in, uint32_t queue, uint32_t nread_bytes, uint32_t nwrite_bytes)
{
	struct driver_buffer buffer[8];
	uint64_t gpa = buffer_gpa(queue);
	uint32_t n = 0, nread;

	for (uint32_t left = nread_bytes; left && n < 4; n++) {
		uint32_t cut = n == 3 ? left : 1 + (uint32_t)fuzz_take(in, 1) % left;

		buffer[n] = (struct driver_buffer){gpa, cut};
		gpa += cut;
		left -= cut;
	}
	nread = n;
	if (nwrite_bytes)
		buffer[n++] = (struct driver_buffer){buffer_gpa(queue) + 0x8000, nwrite_bytes};
	if (n)
		driver_add(&drv, queue, buffer, nread, n - nread);
	driver_kick(&drv, queue);
}

static void receive(struct fuzz *in)
{
	static uint8_t frame[8192];
	uint32_t how = (uint32_t)fuzz_take(in, 1);
	uint32_t n = fill(in, buffer_gpa(62)), length = htonl(how & 1 ? n : how << 8);

	memcpy(frame, driver_ram(buffer_gpa(62)), n);
	if (!(how & 2))
		send(peer, &length, sizeof(length), MSG_NOSIGNAL);
	send(peer, frame, n, MSG_NOSIGNAL);
}

static void step(struct fuzz *in)
{
	uint32_t op = (uint32_t)fuzz_take(in, 1);
	const struct state_desc *desc;
	uint8_t sink[4096];

	switch (op % OPS) {
	case CONTROL:
		add(in, CTRL, fill(in, buffer_gpa(CTRL)), op & 0x80 ? 0 : 1);
		break;
	case SEND:
		add(in, TX, fill(in, buffer_gpa(TX)), op & 0x80 ? 64 : 0);
		break;
	case OFFER:
		add(in, RX, op & 0x80 ? 4 : 0, (uint32_t)fuzz_take(in, 2) % 0x8000);
		break;
	case RECEIVE:
		receive(in);
		break;
	case SCRIBBLE:
		/* Anywhere in the rings of the three queues. */
		fill(in, 0x10000u + (uint32_t)fuzz_take(in, 2) % 0xc000);
		driver_kick(&drv, op >> 4 & 3);
		break;
	case LINK:
		set_link(op & 0x80);
		break;
	case ANNOUNCE:
		net_announce(rig.dev);
		break;
	case LOAD:
		close(peer);
		connect_card();
		rig_reload();
		break;
	default:
		driver_start(&drv, "net0", fuzz_take(in, 4) | fuzz_take(in, 1) << 28);
	}
	fuzz_serve(&net_of(rig.dev)->io.loop);
	while (recv(peer, sink, sizeof(sink), MSG_DONTWAIT) > 0)
		;
	desc = rig.dev->ops->state;
	ck_assert_int_eq(state_check(desc, device_state(rig.dev), NULL), 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};

	rig_open();
	log_init(LOG_ERROR, "fuzz");
	card_options(NET_FD, 1);
	connect_card();
	virtio_guest_boot();
	driver_start(&drv, "net0", EVERY);
	while (in.left)
		step(&in);
	close(peer);
	virtio_guest_end();
	rig_close();
	return 0;
}
