// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A driver that breaks every rule of rings and registers. After each breach the device must ask for a reset, and
 * after that reset serve a request as if nothing had been; no byte of RAM but the buffers may change.
 */
#include "virtio.h"

#define RAM_BYTES   (32ul << 20)
#define NOWHERE	    0xd8000000ul /* neither RAM nor a BAR */
#define DATA_BYTES  256
#define CANARY	    0xa5
#define MOVED_GPA   0xe0000000ul
#define NEXT	    VIRTQ_NEXT
#define WRITE	    VIRTQ_WRITE
#define IS_TABLE    VIRTQ_IS_TABLE
#define COMMON_SIZE 56

const char guest_name[] = "rings";

static struct virtio_dev dev;
static uint8_t *data;
static struct virtq_desc *table;
static uint8_t *canary;	     /* a page around which nothing is to be written */
static uint64_t irqs_before; /* of config changes, when all was well */

static void start(void)
{
	virtio_init(&dev, VIRTIO_INDIRECT | VIRTIO_EVENT_IDX, VIRTIO_MSIX);
	CHECK(!(dev.common->status & VIRTIO_NEEDS_RESET), "a reset is needed right after one");
	irqs_before = dev.config_irqs;
}

static void check_canary(void)
{
	for (uint32_t i = 0; i < 4096; i++)
		CHECK(canary[i] == CANARY, "byte %u of the canary was written", i);
}

static void serve_one(const char *after)
{
	struct virtq_buffer buffer[2] = {{data, 64}, {data + 128, 64}};
	uint32_t bytes, changed = 0;

	memset(data, 0, DATA_BYTES);
	virtq_add(&dev.queue[0], buffer, 0, 2, data);
	virtq_kick(&dev.queue[0]);
	virtq_wait(&dev.queue[0], &bytes);
	for (uint32_t i = 0; i < DATA_BYTES; i++)
		changed += data[i] != 0;
	CHECK(bytes == 128 && changed > 64 && changed <= 128, "after %s: %u bytes came, %u said",
	      after, changed, bytes);
	check_canary();
}

static void needs_reset(const char *what)
{
	for (uint64_t begin = rdtsc(); !(dev.common->status & VIRTIO_NEEDS_RESET);)
		CHECK(rdtsc() - begin < 20000000000ull, "%s: no reset is asked for", what);
	while (dev.config_irqs == irqs_before)
		cpu_pause();
	*dev.queue[0].notify = 0; /* as if nothing had been */
	start();
	serve_one(what);
}

/* Bad chains: descriptors 0 and 1 of the queue, and an indirect table of two. */
struct breach {
	const char *what;
	struct virtq_desc d[2], t[2];
};

static void offer(uint16_t head, uint16_t jump)
{
	struct virtq *q = &dev.queue[0];

	q->avail->ring[q->avail->idx % q->size] = head;
	__asm__ volatile("" : : : "memory");
	q->avail->idx = (uint16_t)(q->avail->idx + jump);
	*q->notify = 0;
}

static void commit_breach(const struct breach *b)
{
	memcpy(dev.queue[0].desc, b->d, sizeof(b->d));
	memcpy(table, b->t, sizeof(b->t));
	offer(0, 1);
	needs_reset(b->what);
}

static void break_chains(void)
{
	uint64_t at = (uint64_t)data, t = (uint64_t)table;
	const struct breach breach[] = {
		{"a buffer of 0 bytes", {{at, 0, WRITE, 0}}, {{0}}},
		{"a chain to itself", {{at, 8, NEXT | WRITE, 0}}, {{0}}},
		{"a loop of two", {{at, 8, NEXT | WRITE, 1}, {at, 8, NEXT | WRITE, 0}}, {{0}}},
		{"a descriptor too far", {{at, 8, NEXT | WRITE, 0xffff}}, {{0}}},
		{"reading behind writing", {{at, 8, NEXT | WRITE, 1}, {at, 8, 0, 0}}, {{0}}},
		{"a buffer nowhere", {{NOWHERE, 64, WRITE, 0}}, {{0}}},
		{"a buffer over the end of RAM", {{RAM_BYTES - 8, 64, WRITE, 0}}, {{0}}},
		{"a buffer in the LAPIC", {{LAPIC_GPA, 64, WRITE, 0}}, {{0}}},
		{"a buffer in a BAR", {{(uint64_t)dev.common, 64, WRITE, 0}}, {{0}}},
		{"a buffer that wraps around", {{~7ul, 64, WRITE, 0}}, {{0}}},
		{"a buffer of 4 GiB", {{at, 0xffffffff, WRITE, 0}}, {{0}}},
		{"a table of 8 bytes", {{t, 8, IS_TABLE, 0}}, {{0}}},
		{"a table of 0 bytes", {{t, 0, IS_TABLE, 0}}, {{0}}},
		{"a table nowhere", {{NOWHERE, 32, IS_TABLE, 0}}, {{0}}},
		{"a table that wraps around",
		 {{~15ul, 32, IS_TABLE, 0}},
		 {{at, 8, NEXT | WRITE, 1}}},
		{"a table in a table", {{t, 32, IS_TABLE, 0}}, {{t, 32, IS_TABLE, 0}}},
		{"a loop in a table", {{t, 32, IS_TABLE, 0}}, {{at, 8, NEXT | WRITE, 0}}},
		{"more behind a table", {{t, 32, IS_TABLE | NEXT, 1}}, {{at, 8, WRITE, 0}}},
		{"an endless table", {{0, 0xfffffff0, IS_TABLE, 0}}, {{0}}},
	};

	for (size_t i = 0; i < sizeof(breach) / sizeof(*breach); i++)
		commit_breach(breach + i);
	offer(dev.queue[0].size, 1);
	needs_reset("a head too far");
	offer(0, (uint16_t)(dev.queue[0].size + 1));
	needs_reset("an index that jumps");
	offer(0, 0x8000);
	needs_reset("an index that jumps far");
}

/* Rings where there is no RAM, or not enough of it. */
static void break_rings(void)
{
	static const struct {
		uint64_t desc, avail, used;
	} bad[] = {
		{NOWHERE, 0x500000, 0x501000},
		{RAM_BYTES - 16, 0x500000, 0x501000},
		{0x500000, RAM_BYTES - 4, 0x501000},
		{0x500000, 0x501000, RAM_BYTES - 4},
		{0x500000, 0x501000, ~3ul},
		{~15ul, 0x500000, 0x501000},
		{0x500008, 0x501000, 0x502000},
		{0x500000, 0x501001, 0x502000},
		{0x500000, 0x501000, 0x502002},
		{LAPIC_GPA, 0x501000, 0x502000},
		{0x500000, 0x8000000000ul, 0x8000000000ul},
	};
	volatile struct virtio_common *c = dev.common;

	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		virtio_negotiate(&dev, 0, VIRTIO_MSIX);
		c->queue_select = 0;
		virtio_set_rings(&dev, bad[i].desc, bad[i].avail, bad[i].used);
		c->queue_enable = 1;
		CHECK(c->status & VIRTIO_NEEDS_RESET && !c->queue_enable, "bad rings %lu are taken",
		      i);
		virtio_ready(&dev);
		*dev.queue[0].notify = 0;
		start();
		serve_one("bad rings");
	}
}

static void poke(volatile uint8_t *at, uint32_t width, bool is_write)
{
	uint64_t value = random64();

	if (!is_write)
		value = width == 1   ? *at
			: width == 2 ? *(volatile uint16_t *)at
			: width == 4 ? *(volatile uint32_t *)at
				     : *(volatile uint64_t *)at;
	else if (width == 1)
		*at = (uint8_t)value;
	else if (width == 2)
		*(volatile uint16_t *)at = (uint16_t)value;
	else if (width == 4)
		*(volatile uint32_t *)at = (uint32_t)value;
	else
		*(volatile uint64_t *)at = value;
}

/* Every register at every width; then all the rest of the BAR here and there. What a queue is given this way is
 * anywhere, so status is left out: nothing of it may be written to. */
static void poke_registers(void)
{
	volatile uint8_t *common = (volatile uint8_t *)dev.common;

	virtio_reset(&dev);
	for (uint32_t width = 1; width <= 8; width *= 2)
		for (uint32_t offset = 0; offset + width <= COMMON_SIZE + 8; offset++)
			for (uint32_t i = 0; i < 4; i++)
				if (offset > 20 || offset + width <= 20)
					poke(common + offset, width, i & 1);
	for (uint32_t i = 0; i < 2000; i++) {
		uint32_t offset = 0x1000 + random_below(0x3000);

		poke(common + (offset & ~7u), 1u << random_below(4), i & 1);
	}
	for (uint32_t i = 0; i < 256; i++) {
		dev.common->status = (uint8_t)i;
		(void)dev.common->status;
	}
	start();
	serve_one("pokes");
}

/* BARs at other places, over one another and over RAM; the default places last. */
static void move_bars(void)
{
	uint64_t msix = pci_bar_gpa(dev.slot, 0), virtio = pci_bar_gpa(dev.slot, 2);
	static const uint64_t place[] = {0x300000, LAPIC_GPA & ~0x3ffful, 0xfffff000ul & ~0x3ffful,
					 0xc0000000, 0};

	for (uint64_t i = 0; i < 8; i++) {
		pci_move_bar(dev.slot, 2, i & 1 ? virtio + 0x100000 * i : MOVED_GPA + 0x100000 * i);
		pci_move_bar(dev.slot, 0, MOVED_GPA + 0x1000000 + 0x10000 * i);
		virtio_map(&dev);
		serve_one("moving the BARs");
		start();
		serve_one("moving the BARs");
	}
	for (size_t i = 0; i < sizeof(place) / sizeof(*place); i++) {
		pci_move_bar(dev.slot, 2, place[i]);
		pci_move_bar(dev.slot, 2, pci_bar_gpa(dev.slot, 0) & ~0x3ffful);
	}
	check_canary();
	pci_move_bar(dev.slot, 2, virtio);
	pci_move_bar(dev.slot, 0, msix);
	virtio_map(&dev);
	start();
	serve_one("putting the BARs back");
}

void guest_main(void)
{
	irq_init();
	CHECK(virtio_find(&dev, 4, 0), "there is no virtio-rng");
	canary = virtio_alloc(4096);
	memset(canary, CANARY, 4096);
	data = virtio_alloc(DATA_BYTES);
	table = virtio_alloc(4096);
	start();
	for (;;) {
		break_chains();
		guest_ok("chains");
		break_rings();
		guest_ok("rings");
		poke_registers();
		guest_ok("registers");
		move_bars();
		guest_ok("BARs");
		shared.counter++;
	}
}
