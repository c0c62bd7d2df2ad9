// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Drives virtio-rng with several requests on their way all the time, so that each save finds some: mode=poll,
 * mode=intx or mode=msix, with "indirect" and "event" where asked for. Each request is answered once, in all of its
 * bytes and nowhere else; where interrupts are used it is they that end the wait.
 */
#include "virtio.h"

#define REQUESTS  8
#define BUFFERS	  3
#define ROUNDS	  40 /* requests between two lines */
#define GUARD	  0x5a
#define MAX_BYTES 512

const char guest_name[] = "rng";

struct request {
	uint8_t data[BUFFERS][MAX_BYTES];
	struct virtq_buffer buffer[BUFFERS];
	uint32_t nbuffers, bytes;
	bool busy;
};

static struct virtio_dev dev;
static struct request *request;
static uint16_t request_of[VIRTQ_MAX_SIZE]; /* by ID of the chain */
static uint64_t seed = 1;

static uint32_t random_below(uint32_t n)
{
	seed = seed * 6364136223846793005ull + 1442695040888963407ull;
	return (uint32_t)(seed >> 33) % n;
}

static void ask(uint16_t i)
{
	struct request *r = request + i;

	memset(r->data, GUARD, sizeof(r->data));
	r->nbuffers = 1 + random_below(BUFFERS);
	r->bytes = 0;
	r->busy = true;
	for (uint32_t b = 0; b < r->nbuffers; b++) {
		r->buffer[b] =
			(struct virtq_buffer){r->data[b], 64 + random_below(MAX_BYTES - 128)};
		r->bytes += r->buffer[b].bytes;
	}
	request_of[virtq_add(&dev.queue[0], r->buffer, 0, r->nbuffers)] = i;
	virtq_kick(&dev.queue[0]);
}

/* 64 random bytes and more are not all the same. */
static void check(const struct request *r, uint32_t bytes)
{
	CHECK(r->busy, "a request was answered twice");
	CHECK(bytes == r->bytes, "%u bytes of %u", (uint64_t)bytes, (uint64_t)r->bytes);
	for (uint32_t b = 0; b < BUFFERS; b++) {
		uint32_t n = b < r->nbuffers ? r->buffer[b].bytes : 0, changed = 0;

		for (uint32_t i = 0; i < n; i++)
			changed += r->data[b][i] != GUARD;
		CHECK(changed >= n / 2, "%u bytes of %u came", (uint64_t)changed, (uint64_t)n);
		for (uint32_t i = n; i < MAX_BYTES; i++)
			CHECK(r->data[b][i] == GUARD, "a byte behind the buffer was written");
	}
}

void guest_main(void)
{
	const char *mode = option_value("mode");
	enum virtio_irq irq = *mode == 'm' ? VIRTIO_MSIX : *mode == 'i' ? VIRTIO_INTX : VIRTIO_POLL;
	uint64_t wanted = (option("indirect") ? VIRTIO_INDIRECT : 0) |
			  (option("event") ? VIRTIO_EVENT_IDX : 0);
	uint64_t irqs;

	irq_init();
	pic_init(0x20, 0xff, 0xff);
	CHECK(virtio_find(&dev, 4, 0), "there is no virtio-rng");
	virtio_init(&dev, wanted, irq);
	CHECK((dev.features & wanted) == wanted, "features are %x", dev.features);
	request = virtio_alloc(sizeof(*request) * REQUESTS);
	for (uint16_t i = 0; i < REQUESTS; i++)
		ask(i);
	for (;;) {
		for (uint32_t i = 0; i < ROUNDS; i++) {
			uint32_t bytes;
			uint16_t which = request_of[virtq_wait(&dev.queue[0], &bytes)];

			check(request + which, bytes);
			request[which].busy = false;
			ask(which);
		}
		irqs = irq == VIRTIO_MSIX ? dev.queue[0].irqs : dev.intx;
		CHECK(irq == VIRTIO_POLL || irqs, "no interrupt came");
		CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "it needs a reset");
		shared.counter++;
		guest_ok("interrupts %u", irqs);
	}
}
