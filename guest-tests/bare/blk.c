// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Drives virtio-blk with many requests on their way all the time, in two queues, so that each save finds some. Each
 * slot has sectors of its own and knows what was written there last: what is read must be that. mode=msix or
 * mode=intx, "indirect" and "event" where asked for. Some buffers are at odd addresses, some requests are bad ones.
 */
#include "virtio.h"

#define SLOTS	    16
#define SECTORS	    64 /* of each slot */
#define MAX_SECTORS 8  /* of a request */
#define WORDS	    64 /* of 8 bytes in a sector; the first and the last have the stamp */
#define ROUNDS	    40 /* requests between two lines */
#define END_SECTOR  (SLOTS * SECTORS)

#define FEATURE_FLUSH	     (1ull << 9)
#define FEATURE_MQ	     (1ull << 12)
#define FEATURE_WRITE_ZEROES (1ull << 14)

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8, BLK_WRITE_ZEROES = 13 };
enum { STATUS_OK, STATUS_IOERR, STATUS_UNSUPP, STATUS_NONE = 0x5a };

const char guest_name[] = "blk";

struct slot {
	struct {
		uint32_t type, priority;
		uint64_t sector;
	} header;
	struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range;
	uint8_t id[20];
	uint8_t status, want;
	bool busy;
	uint16_t queue;
	uint32_t first, sectors, bytes; /* what the device shall have written */
	uint64_t *data;
	uint64_t written[SECTORS]; /* stamp of the last write; 0: zeroes */
};

static struct virtio_dev dev;
static struct slot *slot;
static uint64_t stamp, answered[6];

static void write_stamps(struct slot *s)
{
	for (uint32_t i = 0; i < s->sectors; i++) {
		s->written[s->first + i] = ++stamp;
		s->data[i * WORDS] = s->data[i * WORDS + WORDS - 1] = stamp;
	}
}

static void check_stamps(const struct slot *s)
{
	for (uint32_t i = 0; i < s->sectors; i++) {
		const uint64_t *data = s->data + i * WORDS, want = s->written[s->first + i];

		CHECK(data[0] == want && data[WORDS - 1] == want,
		      "sector %u of slot %lu has %lx and %lx, not %lx", s->first + i,
		      (uint64_t)(s - slot), data[0], data[WORDS - 1], want);
	}
}

static void send(struct slot *s, void *data, uint32_t bytes, bool is_in)
{
	struct virtq_buffer buffer[3] = {{&s->header, sizeof(s->header)}};
	struct virtq *q = &dev.queue[s->queue];
	uint32_t n = 1;

	if (bytes)
		buffer[n++] = (struct virtq_buffer){data, bytes};
	buffer[n++] = (struct virtq_buffer){&s->status, 1};
	s->bytes = is_in && s->want == STATUS_OK ? bytes + 1 : 1;
	virtq_add(q, buffer, is_in ? 1 : n - 1, is_in ? n - 1 : 1, s);
	virtq_kick(q);
}

/* What no disk may do, whatever the driver says. */
static void ask_badly(struct slot *s)
{
	static const uint64_t sector[] = {END_SECTOR, ~0ull, 1ull << 55, END_SECTOR - 1};
	uint32_t which = random_below(5);

	s->header.type = which < 4 ? BLK_OUT : 99;
	s->header.sector = which < 4 ? sector[which] : 0;
	s->want = which < 4 ? STATUS_IOERR : STATUS_UNSUPP;
	send(s, s->data, which == 3 ? 1024 : 512, false);
}

static void ask(struct slot *s)
{
	uint32_t what = random_below(16);

	s->first = random_below(SECTORS);
	s->sectors = 1 + random_below(MAX_SECTORS);
	if (s->sectors > SECTORS - s->first)
		s->sectors = SECTORS - s->first;
	s->header.type = what < 7 ? BLK_OUT : what < 12 ? BLK_IN : BLK_FLUSH;
	s->header.sector = (uint32_t)(s - slot) * SECTORS + s->first;
	s->want = STATUS_OK;
	s->status = STATUS_NONE;
	s->busy = true;
	if (what == 13) {
		s->header.type = BLK_WRITE_ZEROES;
		s->range.sector = s->header.sector;
		s->range.sectors = s->sectors;
		s->range.flags = random_below(2);
		for (uint32_t i = 0; i < s->sectors; i++)
			s->written[s->first + i] = 0;
		send(s, &s->range, sizeof(s->range), false);
	} else if (what == 14) {
		s->header.type = BLK_GET_ID;
		send(s, s->id, sizeof(s->id), true);
	} else if (what == 15) {
		ask_badly(s);
	} else if (s->header.type == BLK_FLUSH) {
		send(s, 0, 0, false);
	} else if (s->header.type == BLK_OUT) {
		write_stamps(s);
		send(s, s->data, s->sectors * WORDS * 8, false);
	} else {
		memset(s->data, STATUS_NONE, 8);
		send(s, s->data, s->sectors * WORDS * 8, true);
	}
}

static void check(struct slot *s, uint32_t bytes)
{
	CHECK(s->busy, "a request was answered twice");
	s->busy = false;
	CHECK(s->status == s->want, "type %u: status %u, not %u", s->header.type, s->status,
	      s->want);
	CHECK(bytes == s->bytes, "type %u: %u bytes written, not %u", s->header.type, bytes,
	      s->bytes);
	if (s->want != STATUS_OK)
		answered[5]++;
	else if (s->header.type == BLK_IN)
		check_stamps(s);
	else if (s->header.type == BLK_GET_ID)
		CHECK(!memcmp(s->id, "BARE", 5), "the serial number is another");
	if (s->want == STATUS_OK)
		answered[s->header.type == BLK_IN	      ? 0
			 : s->header.type == BLK_OUT	      ? 1
			 : s->header.type == BLK_FLUSH	      ? 2
			 : s->header.type == BLK_WRITE_ZEROES ? 3
							      : 4]++;
}

static void serve(uint16_t queue)
{
	struct slot *s;
	uint32_t bytes;

	while ((s = virtq_get(&dev.queue[queue], &bytes))) {
		check(s, bytes);
		ask(s);
	}
}

/* Until one of the queues has something. */
static void rest(void)
{
	bool empty = true;

	for (int i = 0; i < 2; i++)
		dev.queue[i].avail->ring[dev.queue[i].size] = dev.queue[i].seen;
	memory_barrier();
	for (int i = 0; i < 2; i++)
		empty &= dev.queue[i].used->idx == dev.queue[i].seen;
	if (empty)
		wait_for_interrupt();
}

void guest_main(void)
{
	virtio_open(&dev, 2, FEATURE_FLUSH | FEATURE_MQ | FEATURE_WRITE_ZEROES);
	CHECK(*(volatile uint32_t *)dev.config == END_SECTOR, "the disk has another size");
	slot = virtio_alloc(sizeof(*slot) * SLOTS);
	cli();
	for (uint32_t i = 0; i < SLOTS; i++) {
		slot[i].queue = i % 2;
		slot[i].data = (uint64_t *)((uint8_t *)virtio_alloc(MAX_SECTORS * WORDS * 8 + 8) +
					    (i % 4 == 3));
		ask(slot + i);
	}
	for (uint64_t next = ROUNDS, sum;;) {
		rest();
		serve(0);
		serve(1);
		sum = 0;
		for (int i = 0; i < 6; i++)
			sum += answered[i];
		if (sum < next)
			continue;
		next = sum + ROUNDS;
		CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "it needs a reset");
		shared.counter++;
		guest_ok("reads %lu writes %lu flushes %lu zeroes %lu ids %lu refused %lu",
			 answered[0], answered[1], answered[2], answered[3], answered[4],
			 answered[5]);
	}
}
