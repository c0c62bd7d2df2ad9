/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues, virtio 1.2, 2.7. The driver may change any byte of its rings at any moment:
 * each field is copied once, then checked and used. */
#include "devices/virtio/virtqueue.h"
#include "vmm/base/bytes.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/virtio_ring.h>
#include <string.h>

/* Two more bytes after each ring: used_event and avail_event. */
#define AVAIL_BYTES(size) (6 + 2 * (uint64_t)(size))
#define USED_BYTES(size)  (6 + 8 * (uint64_t)(size))

/* Keeps the compiler from reading guest memory a second time. */
#define COPIED() __asm__ volatile("" : : : "memory")

static uint16_t load16(const uint8_t *at)
{
	return __atomic_load_n((const uint16_t *)(const void *)at, __ATOMIC_ACQUIRE);
}

static void store16(uint8_t *at, uint16_t value)
{
	__atomic_store_n((uint16_t *)(void *)at, value, __ATOMIC_RELEASE);
}

/* Full (store-load) memory barrier: publish our index before reading the other side's. */
static void full_barrier(void)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
}

static uint16_t avail_idx(const struct virtq *q)
{
	return load16(q->avail + 2);
}

/* Entry `size`, after the ring: used_event in the available ring, avail_event in the used ring. */
static uint8_t *avail_entry(const struct virtq *q, size_t i)
{
	return q->avail + 4 + 2 * i;
}

static uint8_t *used_entry(const struct virtq *q, size_t i)
{
	return q->used + 4 + sizeof(struct vring_used_elem) * i;
}

static int ring(const struct ram *ram, const char *what, uint64_t gpa, uint64_t bytes,
		uint64_t align, uint8_t **hva, struct error *err)
{
	if (gpa % align)
		return error_set(err, -EINVAL, "%s at GPA 0x%" PRIx64 " is not aligned to %" PRIu64,
				 what, gpa, align);
	*hva = ram_ptr(ram, gpa, bytes);
	if (!*hva)
		return error_set(err, -EINVAL,
				 "%s of %" PRIu64 " bytes at GPA 0x%" PRIx64 " is not in RAM", what,
				 bytes, gpa);
	return 0;
}

int virtq_start(struct virtq *q, const struct ram *ram, uint64_t desc_gpa, uint64_t avail_gpa,
		uint64_t used_gpa, struct error *err)
{
	int ret;

	if (!q->size || q->size > VIRTQ_MAX_SIZE || q->size & (q->size - 1))
		return error_set(err, -EINVAL, "a queue of %u entries", q->size);
	q->ram = ram;
	q->signalled_valid = false;
	ret = ring(ram, "the descriptor table", desc_gpa, q->size * sizeof(struct vring_desc),
		   VRING_DESC_ALIGN_SIZE, &q->desc, err);
	if (!ret)
		ret = ring(ram, "the available ring", avail_gpa, AVAIL_BYTES(q->size),
			   VRING_AVAIL_ALIGN_SIZE, &q->avail, err);
	if (!ret)
		ret = ring(ram, "the used ring", used_gpa, USED_BYTES(q->size),
			   VRING_USED_ALIGN_SIZE, &q->used, err);
	return ret;
}

/* A buffer becomes one element for each region of RAM that it touches. */
static int add_buffer(const struct virtq *q, struct virtq_chain *chain, uint32_t max_iov,
		      const struct vring_desc *d, struct error *err)
{
	bool is_write = d->flags & VRING_DESC_F_WRITE;

	if (!d->len)
		return error_set(err, -EINVAL, "a buffer of 0 bytes");
	if (!is_write && chain->nwrite)
		return error_set(err, -EINVAL, "a buffer to read after one to write");
	for (uint64_t at = 0, left; at < d->len; at += left) {
		uint32_t n = chain->nread + chain->nwrite;
		/* ram_at() finds nothing past the end of the address space. */
		void *hva = ram_at(q->ram, d->addr + at, &left);

		if (!hva)
			return error_set(err, -EINVAL,
					 "a buffer of %u bytes at GPA 0x%" PRIx64 " is not in RAM",
					 d->len, (uint64_t)d->addr);
		if (n == max_iov)
			return error_set(err, -EINVAL, "a chain of more than %u buffers", max_iov);
		if (left > d->len - at)
			left = d->len - at;
		chain->iov[n] = (struct iovec){hva, left};
		if (is_write)
			chain->nwrite++;
		else
			chain->nread++;
	}
	*(is_write ? &chain->write_bytes : &chain->read_bytes) += d->len;
	return 0;
}

/* The table of a chain's descriptors: the queue's own, or an indirect one. */
struct table {
	bool is_indirect;
	uint64_t gpa;
	uint32_t size, left; /* left: descriptors that a chain without a loop may still have */
};

static int enter_indirect(const struct virtq *q, struct table *table, const struct vring_desc *d,
			  struct error *err)
{
	if (!q->indirect)
		return error_set(err, -EINVAL, "an indirect table, which was not negotiated");
	if (table->is_indirect)
		return error_set(err, -EINVAL, "an indirect table in an indirect table");
	if (d->flags & VRING_DESC_F_NEXT)
		return error_set(err, -EINVAL, "an indirect table that is not the chain's last");
	if (!d->len || d->len % sizeof(struct vring_desc))
		return error_set(err, -EINVAL, "an indirect table of %u bytes", d->len);
	table->is_indirect = true;
	table->gpa = d->addr;
	table->size = table->left = d->len / (uint32_t)sizeof(struct vring_desc);
	return 0;
}

static int fetch(const struct virtq *q, const struct table *table, uint32_t index,
		 struct vring_desc *d, struct error *err)
{
	uint64_t gpa, offset = (uint64_t)index * sizeof(*d);
	int ret = 0;

	if (!table->is_indirect)
		memcpy(d, q->desc + offset, sizeof(*d));
	else if (__builtin_add_overflow(table->gpa, offset, &gpa) ||
		 ram_read(q->ram, gpa, d, sizeof(*d)))
		ret = error_set(err, -EINVAL,
				"an indirect table at GPA 0x%" PRIx64 " is not in RAM", table->gpa);
	COPIED();
	return ret;
}

static int walk(const struct virtq *q, struct virtq_chain *chain, uint32_t max_iov,
		struct error *err)
{
	struct table table = {.size = q->size, .left = q->size};
	uint32_t index = chain->head;
	int ret;

	for (;;) {
		struct vring_desc d;

		if (index >= table.size)
			return error_set(err, -EINVAL, "descriptor %u of a table of %u", index,
					 table.size);
		if (!table.left--)
			return error_set(err, -EINVAL, "a chain that loops");
		ret = fetch(q, &table, index, &d, err);
		if (ret)
			return ret;
		if (d.flags & VRING_DESC_F_INDIRECT) {
			ret = enter_indirect(q, &table, &d, err);
			index = 0;
		} else {
			ret = add_buffer(q, chain, max_iov, &d, err);
			index = d.next;
			if (!(d.flags & VRING_DESC_F_NEXT))
				return ret;
		}
		if (ret)
			return ret;
	}
}

int virtq_pop(struct virtq *q, struct virtq_chain *chain, uint32_t max_iov, struct error *err)
{
	struct iovec *iov = chain->iov;
	uint16_t waiting = virtq_waiting(q);
	int ret;

	if (!waiting)
		return 0;
	if (waiting > q->size)
		return error_set(err, -EINVAL, "the available index jumped by %u in a queue of %u",
				 waiting, q->size);
	*chain = (struct virtq_chain){.iov = iov};
	chain->head = load16(avail_entry(q, q->last_avail % q->size));
	ret = walk(q, chain, max_iov, err);
	if (ret)
		return ret;
	q->last_avail++;
	return 1;
}

void virtq_unpop(struct virtq *q)
{
	q->last_avail--;
}

void virtq_fill(struct virtq *q, uint32_t index, uint16_t head, uint32_t bytes)
{
	const struct vring_used_elem elem = {.id = head, .len = bytes};

	memcpy(used_entry(q, (q->next_used + index) % q->size), &elem, sizeof(elem));
}

void virtq_publish(struct virtq *q, uint32_t n)
{
	q->next_used = (uint16_t)(q->next_used + n);
	/* The index has wrapped since the last interrupt: the distance means nothing now. */
	if ((uint16_t)(q->next_used - q->signalled) < n)
		q->signalled_valid = false;
	store16(q->used + 2, q->next_used);
}

void virtq_push(struct virtq *q, uint16_t head, uint32_t bytes)
{
	virtq_fill(q, 0, head, bytes);
	virtq_publish(q, 1);
}

bool virtq_should_signal(struct virtq *q)
{
	uint16_t since = (uint16_t)(q->next_used - q->signalled), event;
	bool valid = q->signalled_valid;

	/* We publish the used index, then read the driver's request for interrupts; the driver does it the
	 * other way round, so at least one of us sees the other's store. */
	full_barrier();
	if (valid && !since)
		return false;
	q->signalled = q->next_used;
	q->signalled_valid = true;
	if (!q->event_idx)
		return !(load16(q->avail) & VRING_AVAIL_F_NO_INTERRUPT);
	event = load16(avail_entry(q, q->size));
	return !valid || (uint16_t)(q->next_used - event - 1) < since;
}

bool virtq_want_kicks(struct virtq *q)
{
	if (q->event_idx)
		store16(used_entry(q, q->size), q->last_avail);
	else
		store16(q->used, 0);
	full_barrier();
	return virtq_waiting(q);
}

void virtq_no_kicks(struct virtq *q)
{
	/* With event indices the old avail_event stays: it makes the driver kick once in 65536. */
	if (!q->event_idx)
		store16(q->used, VRING_USED_F_NO_NOTIFY);
}

uint16_t virtq_waiting(const struct virtq *q)
{
	return (uint16_t)(avail_idx(q) - q->last_avail);
}

uint64_t virtq_read(const struct virtq_chain *chain, uint64_t offset, void *to, uint64_t bytes)
{
	return iov_read(chain->iov, chain->nread, offset, to, bytes);
}

uint64_t virtq_write(const struct virtq_chain *chain, uint64_t offset, const void *from,
		     uint64_t bytes)
{
	return iov_write(chain->iov + chain->nread, chain->nwrite, offset, from, bytes);
}
