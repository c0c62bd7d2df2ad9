// SPDX-License-Identifier: GPL-2.0-or-later
#include "virtio.h"

#define VENDOR	       0x1af4
#define DEVICE_BASE    0x1040
#define CAP_VENDOR     0x09
#define CAP_MSIX       0x11
#define COMMAND_MEMORY 0x002
#define COMMAND_MASTER 0x004
#define MSIX_ENABLE    0x8000
#define BAR_64BIT      4
#define FIRST_VECTOR   0x50 /* of the CPU; MSI-X vector n of the nth device found has its own */
#define INTX_PIN       16   /* of slot 0 at the IOAPIC, see _PRT */
#define INTX_PINS      8
#define MAX_DEVICES    4

enum { CFG_COMMON = 1, CFG_NOTIFY, CFG_ISR, CFG_DEVICE, CFG_PCI };

static struct virtio_dev *by_pin[INTX_PINS][MAX_DEVICES];
static struct virtio_dev *by_vector[256];
static uint8_t first_vector[32]; /* of each slot, 0: none yet */

/* --- PCI */
static uint16_t config_port(uint32_t slot, uint32_t offset)
{
	outl(0xcf8, 0x80000000u | slot << 11 | (offset & 0xfc));
	return (uint16_t)(0xcfc + (offset & 3));
}

uint32_t pci_read(uint32_t slot, uint32_t offset, uint32_t bytes)
{
	uint16_t port = config_port(slot, offset);

	return bytes == 1 ? inb(port) : bytes == 2 ? inw(port) : inl(port);
}

void pci_write(uint32_t slot, uint32_t offset, uint32_t bytes, uint32_t value)
{
	uint16_t port = config_port(slot, offset);

	if (bytes == 1)
		outb(port, (uint8_t)value);
	else if (bytes == 2)
		outw(port, (uint16_t)value);
	else
		outl(port, value);
}

void *virtio_alloc(uint64_t bytes)
{
	static uint64_t next = VIRTIO_HEAP_GPA;
	void *at = (void *)next;

	next += (bytes + 4095) & ~4095ull;
	memset(at, 0, bytes);
	return at;
}

static uint64_t *page_entry(uint64_t *table, uint64_t index)
{
	if (!table[index])
		table[index] = (uint64_t)virtio_alloc(4096) + 7;
	return (uint64_t *)(table[index] & ~0xffful);
}

/* What is below 4 GiB is mapped. */
static void map(uint64_t gpa)
{
	extern uint64_t pml4[512];
	uint64_t *pd;

	if (gpa >> 32 == 0)
		return;
	pd = page_entry(page_entry(pml4, gpa >> 39), gpa >> 30 & 511);
	pd[gpa >> 21 & 511] = (gpa & ~0x1ffffful) + 0x9f;
}

static bool is_64bit(uint32_t slot, uint32_t bar)
{
	return pci_read(slot, 0x10 + 4 * bar, 4) & BAR_64BIT;
}

uint64_t pci_bar_gpa(uint32_t slot, uint32_t bar)
{
	uint64_t gpa = pci_read(slot, 0x10 + 4 * bar, 4) & ~0xfu;

	if (is_64bit(slot, bar))
		gpa |= (uint64_t)pci_read(slot, 0x14 + 4 * bar, 4) << 32;
	map(gpa);
	return gpa;
}

void pci_move_bar(uint32_t slot, uint32_t bar, uint64_t gpa)
{
	uint32_t command = pci_read(slot, 4, 2);

	pci_write(slot, 4, 2, command & ~(uint32_t)COMMAND_MEMORY);
	pci_write(slot, 0x10 + 4 * bar, 4, (uint32_t)gpa);
	if (is_64bit(slot, bar))
		pci_write(slot, 0x14 + 4 * bar, 4, (uint32_t)(gpa >> 32));
	pci_write(slot, 4, 2, command);
	CHECK(pci_bar_gpa(slot, bar) == gpa, "BAR %u is at %lx, not at %lx", bar,
	      pci_bar_gpa(slot, bar), gpa);
}

/* The next capability of this ID behind `at` (0: the first); 0: none. */
static uint8_t find_cap(uint32_t slot, uint8_t id, uint8_t at)
{
	at = (uint8_t)pci_read(slot, at ? at + 1 : 0x34, 1);
	while (at && pci_read(slot, at, 1) != id)
		at = (uint8_t)pci_read(slot, at + 1, 1);
	return at;
}

/* --- interrupts */
static void on_msix(struct trap_frame *frame)
{
	struct virtio_dev *dev = by_vector[frame->vector];
	uint64_t n = frame->vector - first_vector[dev->slot];

	if (n == dev->nqueues)
		dev->config_irqs++;
	else
		dev->queue[n].irqs++;
	lapic_write(LAPIC_EOI, 0);
}

static void on_intx(struct trap_frame *frame)
{
	uint64_t pin = frame->vector - FIRST_VECTOR;

	for (int i = 0; i < MAX_DEVICES && by_pin[pin][i]; i++) {
		struct virtio_dev *dev = by_pin[pin][i];
		uint8_t isr = *dev->isr;

		dev->intx += isr & 1;
		dev->config_irqs += isr >> 1 & 1;
	}
	lapic_write(LAPIC_EOI, 0);
}

static void take_pin(struct virtio_dev *dev)
{
	unsigned int pin = dev->slot % INTX_PINS;
	int i = 0;

	while (by_pin[pin][i] && by_pin[pin][i] != dev)
		CHECK(++i < MAX_DEVICES, "pin %u has no room", pin);
	by_pin[pin][i] = dev;
	trap_set(FIRST_VECTOR + pin, on_intx);
	ioapic_set_entry(INTX_PIN + pin, 1u << 15 | 1u << 13 | (FIRST_VECTOR + pin));
}

/* Vectors behind those of the pins: each device once gets as many as it has queues, and one more. */
static void take_vectors(struct virtio_dev *dev)
{
	static unsigned int next = FIRST_VECTOR + INTX_PINS;
	uint8_t cap = find_cap(dev->slot, CAP_MSIX, 0);
	volatile uint32_t *table;

	CHECK(cap, "the device in slot %u has no MSI-X", dev->slot);
	if (!first_vector[dev->slot]) {
		first_vector[dev->slot] = (uint8_t)next;
		next += dev->nqueues + 1u;
	}
	table = (volatile uint32_t *)pci_bar_gpa(dev->slot, pci_read(dev->slot, cap + 4u, 4) & 7);
	for (unsigned int i = 0; i <= dev->nqueues; i++) {
		unsigned int vector = first_vector[dev->slot] + i;

		by_vector[vector] = dev;
		trap_set(vector, on_msix);
		table[4 * i] = LAPIC_GPA;
		table[4 * i + 1] = 0;
		table[4 * i + 2] = vector;
		table[4 * i + 3] = 0;
	}
	pci_write(dev->slot, cap + 2u, 2, MSIX_ENABLE);
}

static void enable_irq(struct virtio_dev *dev, enum virtio_irq irq)
{
	uint8_t cap = find_cap(dev->slot, CAP_MSIX, 0);

	dev->irq = irq;
	if (cap)
		pci_write(dev->slot, cap + 2u, 2, 0);
	if (irq != VIRTIO_POLL) {
		lapic_enable();
		sti();
	}
	if (irq == VIRTIO_INTX)
		take_pin(dev);
	else if (irq == VIRTIO_MSIX)
		take_vectors(dev);
}

/* --- the device */
void virtio_map(struct virtio_dev *dev)
{
	for (uint8_t cap = find_cap(dev->slot, CAP_VENDOR, 0); cap;
	     cap = find_cap(dev->slot, CAP_VENDOR, cap)) {
		uint64_t gpa = pci_bar_gpa(dev->slot, pci_read(dev->slot, cap + 4u, 1)) +
			       pci_read(dev->slot, cap + 8u, 4);

		switch (pci_read(dev->slot, cap + 3u, 1)) {
		case CFG_COMMON:
			dev->common = (volatile struct virtio_common *)gpa;
			dev->cap_common = cap;
			break;
		case CFG_NOTIFY:
			dev->notify_gpa = gpa;
			dev->notify_multiplier = pci_read(dev->slot, cap + 16u, 4);
			break;
		case CFG_ISR:
			dev->isr = (volatile uint8_t *)gpa;
			break;
		case CFG_DEVICE:
			dev->config = (volatile uint8_t *)gpa;
			break;
		case CFG_PCI:
			dev->cap_pci_cfg = cap;
			break;
		}
	}
	CHECK(dev->common && dev->isr && dev->notify_gpa && dev->cap_pci_cfg,
	      "slot %u lacks a virtio capability", dev->slot);
	for (uint16_t i = 0; i < dev->nqueues; i++)
		if (dev->queue[i].notify) {
			dev->common->queue_select = i;
			dev->queue[i].notify =
				(volatile uint16_t *)(dev->notify_gpa +
						      dev->notify_multiplier *
							      dev->common->queue_notify_off);
		}
}

bool virtio_find(struct virtio_dev *dev, uint16_t id, uint32_t nth)
{
	uint32_t slot = 0;

	for (; slot < 32; slot++)
		if (pci_read(slot, 0, 4) == (VENDOR | (uint32_t)(DEVICE_BASE + id) << 16) && !nth--)
			break;
	if (slot == 32)
		return false;
	memset(dev, 0, sizeof(*dev));
	dev->slot = slot;
	pci_write(slot, 4, 2, pci_read(slot, 4, 2) | COMMAND_MEMORY | COMMAND_MASTER);
	virtio_map(dev);
	return true;
}

void virtio_reset(struct virtio_dev *dev)
{
	dev->common->status = 0;
	while (dev->common->status)
		cpu_pause();
}

void virtio_negotiate(struct virtio_dev *dev, uint64_t wanted, enum virtio_irq irq)
{
	volatile struct virtio_common *c = dev->common;
	uint64_t offered;

	virtio_reset(dev);
	c->status = VIRTIO_ACKNOWLEDGE;
	c->status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER;
	c->offered_select = 1;
	offered = (uint64_t)c->offered << 32;
	c->offered_select = 0;
	offered |= c->offered;
	CHECK(offered & VIRTIO_VERSION_1, "no VERSION_1 in %lx", offered);
	dev->features = offered & (wanted | VIRTIO_VERSION_1);
	c->accepted_select = 0;
	c->accepted = (uint32_t)dev->features;
	c->accepted_select = 1;
	c->accepted = (uint32_t)(dev->features >> 32);
	c->status = VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK;
	CHECK(c->status & VIRTIO_FEATURES_OK, "features %lx of %lx are refused", dev->features,
	      offered);
	dev->nqueues = c->nqueues;
	CHECK(dev->nqueues <= VIRTIO_MAX_QUEUES, "%u queues", dev->nqueues);
	enable_irq(dev, irq);
	c->config_vector = irq == VIRTIO_MSIX ? dev->nqueues : VIRTIO_NO_VECTOR;
	CHECK(irq != VIRTIO_MSIX || c->config_vector == dev->nqueues, "no vector for config");
}

/* Rings are allocated at the first time and used again after a reset. */
static void clear_queue(struct virtq *q, uint16_t size)
{
	if (!q->desc) {
		q->desc = virtio_alloc(sizeof(*q->desc) * VIRTQ_MAX_SIZE);
		q->table = virtio_alloc(sizeof(*q->table) * VIRTQ_MAX_SIZE);
		q->avail = virtio_alloc(6 + 2 * VIRTQ_MAX_SIZE);
		q->used = virtio_alloc(6 + 8 * VIRTQ_MAX_SIZE);
		q->token = virtio_alloc(sizeof(*q->token) * VIRTQ_MAX_SIZE);
	}
	memset(q->desc, 0, sizeof(*q->desc) * VIRTQ_MAX_SIZE);
	memset((void *)q->avail, 0, 6 + 2 * VIRTQ_MAX_SIZE);
	memset((void *)q->used, 0, 6 + 8 * VIRTQ_MAX_SIZE);
	q->size = q->nfree = size;
	q->free = q->seen = q->kicked = 0;
	for (uint16_t i = 0; i < size; i++)
		q->desc[i].next = (uint16_t)(i + 1);
	if (q->dev->irq == VIRTIO_POLL)
		q->avail->flags = 1;
}

static void set_address(volatile uint32_t *half, uint64_t gpa)
{
	half[0] = (uint32_t)gpa;
	half[1] = (uint32_t)(gpa >> 32);
}

void virtio_set_rings(struct virtio_dev *dev, uint64_t desc, uint64_t avail, uint64_t used)
{
	set_address(dev->common->queue_desc, desc);
	set_address(dev->common->queue_avail, avail);
	set_address(dev->common->queue_used, used);
}

static void set_queue(struct virtio_dev *dev, uint16_t index)
{
	volatile struct virtio_common *c = dev->common;
	struct virtq *q = &dev->queue[index];

	q->dev = dev;
	q->index = index;
	c->queue_select = index;
	if (!c->queue_size)
		return;
	if (c->queue_size > VIRTQ_MAX_SIZE)
		c->queue_size = VIRTQ_MAX_SIZE;
	clear_queue(q, c->queue_size);
	virtio_set_rings(dev, (uint64_t)q->desc, (uint64_t)q->avail, (uint64_t)q->used);
	c->queue_vector = dev->irq == VIRTIO_MSIX ? index : VIRTIO_NO_VECTOR;
	CHECK(dev->irq != VIRTIO_MSIX || c->queue_vector == index, "no vector for queue %u", index);
	q->notify = (volatile uint16_t *)(dev->notify_gpa +
					  dev->notify_multiplier * c->queue_notify_off);
	c->queue_enable = 1;
	CHECK(c->queue_enable == 1, "queue %u cannot be enabled", index);
}

void virtio_ready(struct virtio_dev *dev)
{
	dev->common->status =
		VIRTIO_ACKNOWLEDGE | VIRTIO_DRIVER | VIRTIO_FEATURES_OK | VIRTIO_DRIVER_OK;
}

void virtio_init(struct virtio_dev *dev, uint64_t wanted, enum virtio_irq irq)
{
	virtio_negotiate(dev, wanted, irq);
	for (uint16_t i = 0; i < dev->nqueues; i++)
		set_queue(dev, i);
	virtio_ready(dev);
}

void virtio_open(struct virtio_dev *dev, uint16_t id, uint64_t wanted)
{
	const char *mode = option_value("mode");

	wanted |= option("indirect") ? VIRTIO_INDIRECT : 0;
	wanted |= option("event") ? VIRTIO_EVENT_IDX : 0;
	irq_init();
	CHECK(virtio_find(dev, id, 0), "there is no virtio device %u", id);
	virtio_init(dev, wanted,
		    *mode == 'p'   ? VIRTIO_POLL
		    : *mode == 'i' ? VIRTIO_INTX
				   : VIRTIO_MSIX);
	CHECK(dev->features == (wanted | VIRTIO_VERSION_1), "features are %lx", dev->features);
}

uint64_t virtio_irqs(const struct virtio_dev *dev)
{
	return dev->irq == VIRTIO_MSIX ? dev->queue[0].irqs : dev->intx;
}

/* --- queues */
static bool has(const struct virtq *q, uint64_t feature)
{
	return q->dev->features & feature;
}

static uint16_t take_desc(struct virtq *q)
{
	uint16_t i = q->free;

	CHECK(q->nfree, "queue %u is full", q->index);
	q->nfree--;
	q->free = q->desc[i].next;
	return i;
}

static void set_desc(struct virtq_desc *d, const struct virtq_buffer *buffer, bool is_write,
		     bool is_last, uint16_t next)
{
	d->gpa = (uint64_t)buffer->at;
	d->bytes = buffer->bytes;
	d->flags = (uint16_t)((is_write ? VIRTQ_WRITE : 0) | (is_last ? 0 : VIRTQ_NEXT));
	d->next = next;
}

void virtq_add(struct virtq *q, const struct virtq_buffer *buffer, uint32_t nread, uint32_t nwrite,
	       void *token)
{
	uint32_t n = nread + nwrite;
	uint16_t head = take_desc(q), at = head;

	CHECK(n && n <= VIRTQ_MAX_BUFFERS, "a chain of %u buffers", n);
	if (n > 1 && has(q, VIRTIO_INDIRECT)) {
		uint16_t next = q->desc[head].next;

		for (uint32_t i = 0; i < n; i++)
			set_desc(&q->table[head][i], buffer + i, i >= nread, i == n - 1,
				 (uint16_t)(i + 1));
		q->desc[head] = (struct virtq_desc){(uint64_t)q->table[head],
						    n * (uint32_t)sizeof(struct virtq_desc),
						    VIRTQ_IS_TABLE, next};
	} else {
		for (uint32_t i = 0; i < n; i++) {
			uint16_t next = i == n - 1 ? q->desc[at].next : take_desc(q);

			set_desc(&q->desc[at], buffer + i, i >= nread, i == n - 1, next);
			at = next;
		}
	}
	q->avail->ring[(uint16_t)(q->avail->idx + q->nadded) % q->size] = head;
	q->nadded++;
	q->token[head] = token;
}

void virtq_offer(struct virtq *q, void *data, uint32_t bytes)
{
	struct virtq_buffer buffer = {data, bytes};

	virtq_add(q, &buffer, 0, 1, data);
}

void virtq_kick(struct virtq *q)
{
	uint16_t now, event, before = q->kicked;
	bool wanted;

	__asm__ volatile("" : : : "memory");
	now = (uint16_t)(q->avail->idx + q->nadded);
	q->avail->idx = now;
	q->nadded = 0;
	memory_barrier();
	event = *(volatile uint16_t *)((uint64_t)q->used + 4 + 8ul * q->size);
	if (has(q, VIRTIO_EVENT_IDX))
		wanted = (uint16_t)(now - event - 1) < (uint16_t)(now - before);
	else
		wanted = !(q->used->flags & 1);
	q->kicked = now;
	if (wanted)
		*q->notify = q->index;
}

void *virtq_get(struct virtq *q, uint32_t *bytes)
{
	uint16_t at = q->seen % q->size;
	uint16_t head, d;

	if (q->used->idx == q->seen)
		return NULL;
	__asm__ volatile("" : : : "memory");
	d = head = (uint16_t)q->used->ring[at].id;
	*bytes = q->used->ring[at].bytes;
	CHECK(d < q->size, "queue %u: used entry %u is %u", q->index, at, d);
	q->seen++;
	q->nfree++;
	for (; q->desc[d].flags & VIRTQ_NEXT; q->nfree++)
		d = q->desc[d].next;
	q->desc[d].next = q->free;
	q->free = head;
	return q->token[head];
}

void *virtq_wait(struct virtq *q, uint32_t *bytes)
{
	void *token;

	while (!(token = virtq_get(q, bytes))) {
		if (q->dev->irq == VIRTIO_POLL) {
			cpu_pause();
			continue;
		}
		q->avail->ring[q->size] = q->seen;
		memory_barrier();
		cli();
		if (q->used->idx == q->seen)
			wait_for_interrupt();
		sti();
	}
	return token;
}

void virtq_give(struct virtq *q, void *data, uint32_t bytes)
{
	virtq_offer(q, data, bytes);
	virtq_kick(q);
}

void virtq_send(struct virtq *q, void *data, uint32_t bytes)
{
	struct virtq_buffer buffer = {data, bytes};
	uint32_t written;

	virtq_add(q, &buffer, 1, 0, data);
	virtq_kick(q);
	virtq_wait(q, &written);
}

void console_say(struct virtio_dev *dev, uint32_t id, uint16_t event)
{
	static struct console_control message;

	message = (struct console_control){id, event, 1};
	virtq_send(&dev->queue[CONTROL_TX], &message, sizeof(message));
}
