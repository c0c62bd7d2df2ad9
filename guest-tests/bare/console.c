// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Drives virtio-console: each ok line goes to its console too, as "console N"; on the agent's port it sends
 * records, numbered without a gap, as fast as the host takes them, and answers "ping N" with "pong N". A ping may come
 * twice, as its sender cannot know whether the first got through a load, but none may be left out. With `panic` on the
 * command line the guest says by pvpanic, too, and with each line again, that it has panicked.
 */
#include "virtio.h"

#define CONTROL_BUFFERS 8
#define CONTROL_BYTES	128
#define INPUT_BUFFERS	4
#define INPUT_BYTES	64
#define CHUNKS		8 /* on their way at a time */
#define CHUNK_RECORDS	128
#define PIECES		16  /* of a chunk: the host end takes some of them, then no more for now */
#define RECORD_BYTES	250 /* "r%08x", dots, "\n": few numbers, for the CPU may be a slow one */
#define PVPANIC		0x505

const char guest_name[] = "console";

static struct virtio_dev dev;
static char (*control)[CONTROL_BYTES], (*input)[INPUT_BYTES],
	(*chunk)[CHUNK_RECORDS * RECORD_BYTES];
static char *line_out, *pong;
static bool chunk_busy[CHUNKS + 1]; /* the last one is the pong */
static bool agent_open, has_console;
static uint64_t next_record, next_line = 1, pings, opens, closes;

static void on_open(uint32_t id, bool open)
{
	if (id == 0)
		return;
	CHECK(open != agent_open, "the agent's port is told twice to be %s",
	      open ? "open" : "closed");
	agent_open = open;
	opens += open;
	closes += !open;
}

static void on_control(const char *data, uint32_t bytes)
{
	static const char name[] = "org.qemu.guest_agent.0";
	struct console_control message;

	CHECK(bytes >= sizeof(message), "a message of %u bytes", bytes);
	memcpy(&message, data, sizeof(message));
	CHECK(message.id < 2, "port %u", message.id);
	if (message.event == PORT_ADD) {
		console_say(&dev, message.id, PORT_READY);
		if (message.id == 1)
			console_say(&dev, 1, PORT_OPEN);
	} else if (message.event == CONSOLE_PORT) {
		CHECK(message.id == 0, "port %u is a console", message.id);
		console_say(&dev, 0, PORT_OPEN);
		has_console = true;
	} else if (message.event == PORT_NAME) {
		CHECK(message.id == 1 && bytes >= sizeof(message) + sizeof(name) - 1 &&
			      !memcmp(data + sizeof(message), name, sizeof(name) - 1),
		      "port %u has another name", message.id);
	} else if (message.event == PORT_OPEN) {
		on_open(message.id, message.value);
	} else {
		guest_fail("message %u", message.event);
	}
}

static void take_control(void)
{
	char *data;
	uint32_t bytes;

	while ((data = virtq_get(&dev.queue[CONTROL_RX], &bytes))) {
		on_control(data, bytes);
		virtq_give(&dev.queue[CONTROL_RX], data, CONTROL_BYTES);
	}
}

static void add_output(uint16_t i, char *data, uint32_t bytes, uint32_t pieces)
{
	struct virtq_buffer piece[PIECES];

	for (uint32_t n = 0; n < pieces; n++)
		piece[n] = (struct virtq_buffer){data + n * (bytes / pieces), bytes / pieces};
	chunk_busy[i] = true;
	virtq_add(&dev.queue[AGENT_TX], piece, pieces, 0, &chunk_busy[i]);
	virtq_kick(&dev.queue[AGENT_TX]);
}

static void send_records(uint16_t i)
{
	char *to = chunk[i];

	for (uint32_t n = 0; n < CHUNK_RECORDS; n++, next_record++, to += RECORD_BYTES)
		for (uint32_t digit = 0; digit < 8; digit++)
			to[1 + digit] = "0123456789abcdef"[next_record >> (28 - 4 * digit) & 15];
	add_output(i, chunk[i], CHUNK_RECORDS * RECORD_BYTES, PIECES);
}

static void reclaim(void)
{
	bool *busy;
	uint32_t bytes;

	while ((busy = virtq_get(&dev.queue[AGENT_TX], &bytes)))
		*busy = false;
}

static void on_line(const char *line)
{
	uint64_t n = 0;

	CHECK(!memcmp(line, "ping ", 5), "'%s' came from the host", line);
	for (line += 5; *line; line++)
		n = n * 10 + (uint64_t)(*line - '0');
	CHECK(n == pings || n == pings + 1, "ping %lu came behind %lu", n, pings);
	/* Sent again, over a new connection: its answer is on the way. */
	if (n == pings)
		return;
	pings = n;
	reclaim();
	CHECK(!chunk_busy[CHUNKS], "pong %lu was read, but its buffer is still the device's",
	      n - 1);
	add_output(CHUNKS, pong, print_to(pong, "pong %lu\n", n), 1);
}

static void take_input(void)
{
	static char line[32];
	static uint32_t length;
	char *data;
	uint32_t bytes;

	while ((data = virtq_get(&dev.queue[AGENT_RX], &bytes))) {
		for (uint32_t at = 0; at < bytes; at++) {
			char c = data[at];

			CHECK(length < sizeof(line), "a line that is too long");
			line[length++] = c == '\n' ? '\0' : c;
			if (c != '\n')
				continue;
			on_line(line);
			length = 0;
		}
		virtq_give(&dev.queue[AGENT_RX], data, INPUT_BYTES);
	}
}

/* Nothing more is sent while the host has the port closed; what is in the queue stays there. */
static void keep_sending(void)
{
	reclaim();
	for (uint16_t i = 0; agent_open && i < CHUNKS; i++)
		if (!chunk_busy[i])
			send_records(i);
}

static void setup(void)
{
	control = virtio_alloc(sizeof(*control) * CONTROL_BUFFERS);
	input = virtio_alloc(sizeof(*input) * INPUT_BUFFERS);
	chunk = virtio_alloc(sizeof(*chunk) * CHUNKS);
	memset(chunk, '.', sizeof(*chunk) * CHUNKS);
	for (char *to = chunk[0]; to < chunk[CHUNKS]; to += RECORD_BYTES) {
		to[0] = 'r';
		to[RECORD_BYTES - 1] = '\n';
	}
	line_out = virtio_alloc(64);
	pong = virtio_alloc(64);
	for (uint16_t i = 0; i < CONTROL_BUFFERS; i++)
		virtq_give(&dev.queue[CONTROL_RX], control[i], CONTROL_BYTES);
	for (uint16_t i = 0; i < INPUT_BUFFERS; i++)
		virtq_give(&dev.queue[AGENT_RX], input[i], INPUT_BYTES);
	console_say(&dev, 0, DEVICE_READY);
	while (!has_console)
		take_control();
}

void guest_main(void)
{
	virtio_open(&dev, 3, CONSOLE_MULTIPORT | VIRTIO_INDIRECT | VIRTIO_EVENT_IDX);
	CHECK(inb(PVPANIC) == 3, "pvpanic reads %x", inb(PVPANIC));
	setup();
	for (;;) {
		for (uint64_t start = rdtsc(); rdtsc() - start < MOMENT;) {
			take_control();
			take_input();
			keep_sending();
		}
		virtq_send(&dev.queue[CONSOLE_TX], line_out,
			   print_to(line_out, "console %lu\n", next_line++));
		CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "it needs a reset");
		if (option("panic"))
			outb(PVPANIC, 1);
		shared.counter++;
		guest_ok("records %lu pings %lu opens %lu closes %lu", next_record, pings, opens,
			 closes);
	}
}
