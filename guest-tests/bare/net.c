// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Drives virtio-net with a peer that sends each frame back: several frames are on their way all the time, of all sizes,
 * the longer ones in merged buffers. What is lost while the other end of the wire changes is sent again, as any network
 * has it. Each echo has the bytes that were sent, frames for others come between them, and whenever the
 * card asks for an announcement it is acknowledged. mode=intx and "event" on the command line.
 */
#include "virtio.h"

#define NET_MRG_RXBUF	   (1ull << 15)
#define NET_STATUS	   (1ull << 16)
#define NET_CTRL_VQ	   (1ull << 17)
#define NET_GUEST_ANNOUNCE (1ull << 21)
#define NET_MAC		   (1ull << 5)
#define WANTED		   (NET_MRG_RXBUF | NET_STATUS | NET_CTRL_VQ | NET_GUEST_ANNOUNCE | NET_MAC)

#define RX	   0
#define TX	   1
#define CTRL	   2
#define ANNOUNCE   2 /* of status */
#define HEADER	   12
#define RX_BUFFERS 32
#define RX_BYTES   1600
#define SLOTS	   4
#define MAX_BYTES  3000
#define ROUNDS	   20		/* frames between two lines */
#define PATIENCE   500000000ull /* cycles until a frame is taken for lost */

const char guest_name[] = "net";

struct slot {
	uint8_t header[HEADER], frame[MAX_BYTES];
	uint32_t bytes, number;
	bool busy, in_card;
	uint64_t sent_tsc;
};

static struct virtio_dev dev;
static struct slot *slot;
static uint8_t (*rx)[RX_BYTES], *whole;
static uint8_t mac[6];
static uint32_t next_number = 1;
static uint64_t echoes, resent, announced;

static uint8_t pattern(uint32_t number, uint32_t i)
{
	return (uint8_t)(number * 31 + i * 7 + i / 256);
}

static void offer(uint8_t *data)
{
	memset(data, 0xee, RX_BYTES);
	virtq_offer(&dev.queue[RX], data, RX_BYTES);
}

static void send(struct slot *s)
{
	const struct virtq_buffer buffer[] = {{s->header, HEADER}, {s->frame, s->bytes}};

	s->in_card = true;
	s->sent_tsc = rdtsc();
	virtq_add(&dev.queue[TX], buffer, 2, 0, s);
	virtq_kick(&dev.queue[TX]);
}

static void send_new(struct slot *s)
{
	static const uint8_t head[14] = {2, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0x88, 0xb5};

	s->number = next_number++;
	s->bytes = 60 + s->number * 97 % (MAX_BYTES - 60);
	s->busy = true;
	memcpy(s->frame, head, sizeof(head));
	memcpy(s->frame + 6, mac, sizeof(mac));
	memcpy(s->frame + 14, &s->number, sizeof(s->number));
	for (uint32_t at = 18; at < s->bytes; at++)
		s->frame[at] = pattern(s->number, at);
	send(s);
}

static uint8_t control(uint8_t class, uint8_t command)
{
	static uint8_t data[8];
	const struct virtq_buffer buffer[] = {{data, 2}, {data + 4, 1}};
	uint32_t written;

	data[0] = class;
	data[1] = command;
	data[4] = 0x55;
	virtq_add(&dev.queue[CTRL], buffer, 1, 1, data);
	virtq_kick(&dev.queue[CTRL]);
	virtq_wait(&dev.queue[CTRL], &written);
	CHECK(written == 1, "an answer of %u bytes", written);
	return data[4];
}

static void check_echo(uint32_t bytes)
{
	struct slot *s = slot;
	uint32_t number;

	if (memcmp(whole, mac, sizeof(mac)))
		return; /* for somebody else: the card has no filter */
	CHECK(whole[12] == 0x88 && whole[13] == 0xb5, "a frame of another type came");
	memcpy(&number, whole + 14, sizeof(number));
	for (uint32_t at = 18; at < bytes; at++)
		CHECK(whole[at] == pattern(number, at), "byte %u of frame %u is wrong", at, number);
	while (s < slot + SLOTS && (!s->busy || s->number != number))
		s++;
	if (s == slot + SLOTS) {
		CHECK(resent, "frame %u came back twice", number);
		return;
	}
	CHECK(bytes == s->bytes, "%u bytes of %u came back", bytes, s->bytes);
	s->busy = false;
	echoes++;
}

/* Puts the packet together that begins in this buffer. */
static void receive(uint8_t *data, uint32_t bytes)
{
	uint16_t n;
	uint32_t total = 0;

	memcpy(&n, data + 10, sizeof(n));
	CHECK(n && n <= RX_BUFFERS, "%u merged buffers", n);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t from = i ? 0 : HEADER;

		if (i)
			data = virtq_get(&dev.queue[RX], &bytes);
		CHECK(data, "buffer %u of %u is missing", i, n);
		CHECK(bytes <= RX_BYTES && total + bytes <= MAX_BYTES + HEADER, "%u bytes came",
		      bytes);
		memcpy(whole + total, data + from, bytes - from);
		total += bytes - from;
		offer(data);
	}
	virtq_kick(&dev.queue[RX]);
	check_echo(total);
}

static void look(void)
{
	struct slot *s;
	uint8_t *data;
	uint32_t bytes;

	while ((s = virtq_get(&dev.queue[TX], &bytes)))
		s->in_card = false;
	while ((data = virtq_get(&dev.queue[RX], &bytes)))
		receive(data, bytes);
	for (s = slot; s < slot + SLOTS; s++) {
		if (s->in_card)
			continue;
		if (!s->busy) {
			send_new(s);
		} else if (rdtsc() - s->sent_tsc > PATIENCE) {
			resent++;
			send(s);
		}
	}
	if (dev.config[6] & ANNOUNCE) {
		CHECK(control(3, 0) == 0, "the announcement's acknowledgement is refused");
		announced++;
	}
	spin(20000);
	/* A software KVM delivers interrupts at an exit. */
	sti();
	inb(COM1 + 5);
	cli();
}

void guest_main(void)
{
	virtio_open(&dev, 1, WANTED);
	slot = virtio_alloc(sizeof(*slot) * SLOTS);
	rx = virtio_alloc(sizeof(*rx) * RX_BUFFERS);
	whole = virtio_alloc(MAX_BYTES + HEADER);
	for (uint32_t i = 0; i < sizeof(mac); i++)
		mac[i] = dev.config[i];
	for (uint16_t i = 0; i < RX_BUFFERS; i++)
		offer(rx[i]);
	virtq_kick(&dev.queue[RX]);
	for (;;) {
		for (uint64_t end = echoes + ROUNDS; echoes < end;)
			look();
		CHECK(virtio_irqs(&dev), "no interrupt came");
		CHECK(!announced || dev.config_irqs, "announcements without an interrupt");
		CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "it needs a reset");
		shared.counter++;
		guest_ok("interrupts %lu %lu echoes %lu resent %lu announced %lu",
			 virtio_irqs(&dev), dev.config_irqs, echoes, resent, announced);
	}
}
