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

static void ask(struct request *r)
{
	memset(r->data, GUARD, sizeof(r->data));
	r->nbuffers = 1 + random_below(BUFFERS);
	r->bytes = 0;
	r->busy = true;
	for (uint32_t b = 0; b < r->nbuffers; b++) {
		r->buffer[b] =
			(struct virtq_buffer){r->data[b], 64 + random_below(MAX_BYTES - 128)};
		r->bytes += r->buffer[b].bytes;
	}
	virtq_add(&dev.queue[0], r->buffer, 0, r->nbuffers, r);
	virtq_kick(&dev.queue[0]);
}

/* 64 random bytes and more are not all the same. */
static void check(const struct request *r, uint32_t bytes)
{
	CHECK(r->busy, "a request was answered twice");
	CHECK(bytes == r->bytes, "%u bytes of %u", bytes, r->bytes);
	for (uint32_t b = 0; b < BUFFERS; b++) {
		uint32_t n = b < r->nbuffers ? r->buffer[b].bytes : 0, changed = 0;

		for (uint32_t i = 0; i < n; i++)
			changed += r->data[b][i] != GUARD;
		CHECK(changed >= n / 2, "%u bytes of %u came", changed, n);
		for (uint32_t i = n; i < MAX_BYTES; i++)
			CHECK(r->data[b][i] == GUARD, "a byte behind the buffer was written");
	}
}

void guest_main(void)
{
	virtio_open(&dev, 4, 0);
	request = virtio_alloc(sizeof(*request) * REQUESTS);
	for (uint16_t i = 0; i < REQUESTS; i++)
		ask(request + i);
	for (;;) {
		for (uint32_t i = 0; i < ROUNDS; i++) {
			uint32_t bytes;
			struct request *r = virtq_wait(&dev.queue[0], &bytes);

			check(r, bytes);
			r->busy = false;
			ask(r);
		}
		CHECK(dev.irq == VIRTIO_POLL || virtio_irqs(&dev), "no interrupt came");
		CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "it needs a reset");
		shared.counter++;
		guest_ok("interrupts %lu", virtio_irqs(&dev));
	}
}
