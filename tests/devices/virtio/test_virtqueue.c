/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Split virtqueues as good and bad drivers make them. */
#include "devices/virtio/virtqueue.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define MIB	  (1ull << 20)
#define DESC	  0x1000ull
#define AVAIL	  0x2000ull
#define USED	  0x3000ull
#define TABLE	  0x4000ull
#define DATA	  0x10000ull
#define HIGH	  (4ull << 30)
#define SIZE	  8
#define MAX_IOV	  16
#define DESC_SIZE sizeof(struct vring_desc)

static struct ram ram;
static struct virtq q;
static struct iovec iov[MAX_IOV];
static struct virtq_chain chain;
static struct error err;
static uint16_t avail_idx;

/* Three regions, two of them side by side. */
static void setup(void)
{
	const struct ram_config config = {.size_bytes = 6 * MIB};

	ck_assert_int_eq(ram_open(&ram, &config, &err), 0);
	ck_assert_int_eq(ram_add_region(&ram, 0, 2 * MIB, &err), 0);
	ck_assert_int_eq(ram_add_region(&ram, 2 * MIB, 2 * MIB, &err), 0);
	ck_assert_int_eq(ram_add_region(&ram, HIGH, 2 * MIB, &err), 0);
	q = (struct virtq){.size = SIZE};
	ck_assert_int_eq(virtq_start(&q, &ram, DESC, AVAIL, USED, &err), 0);
	chain.iov = iov;
	avail_idx = 0;
}

static void teardown(void)
{
	ram_close(&ram);
}

static void put(uint64_t gpa, const void *from, uint64_t bytes)
{
	ck_assert_int_eq(ram_write(&ram, gpa, from, bytes), 0);
}

static void put16(uint64_t gpa, uint16_t value)
{
	put(gpa, &value, sizeof(value));
}

static uint32_t get(uint64_t gpa, uint32_t bytes)
{
	uint32_t value = 0;

	ck_assert_int_eq(ram_read(&ram, gpa, &value, bytes), 0);
	return value;
}

static void put_desc(uint64_t table, uint32_t i, uint64_t gpa, uint32_t len, uint16_t flags,
		     uint16_t next)
{
	const struct vring_desc d = {gpa, len, flags, next};

	put(table + i * DESC_SIZE, &d, sizeof(d));
}

static void offer(uint16_t head)
{
	put16(AVAIL + 4 + 2ull * (avail_idx % SIZE), head);
	put16(AVAIL + 2, ++avail_idx);
}

static void pop(void)
{
	int ret = virtq_pop(&q, &chain, MAX_IOV, &err);

	ck_assert_msg(ret == 1, "%d: %s", ret, err.msg);
}

static void refuse(const char *word)
{
	uint16_t before = q.last_avail;

	err.msg[0] = '\0';
	ck_assert_int_eq(virtq_pop(&q, &chain, MAX_IOV, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, word) != NULL, "no \"%s\" in: %s", word, err.msg);
	ck_assert_uint_eq(q.last_avail, before);
}

TEST(rings_are_in_ram)
{
	static const struct {
		uint16_t size;
		uint64_t desc, avail, used;
		const char *word;
	} bad[] = {
		{0, DESC, AVAIL, USED, "0 entries"},
		{3, DESC, AVAIL, USED, "3 entries"},
		{2048, DESC, AVAIL, USED, "2048 entries"},
		{SIZE, DESC + 8, AVAIL, USED, "descriptor table"},
		{SIZE, DESC, AVAIL + 1, USED, "available ring"},
		{SIZE, DESC, AVAIL, USED + 2, "used ring"},
		{SIZE, 8 * MIB, AVAIL, USED, "not in RAM"},
		{SIZE, 4 * MIB - SIZE * DESC_SIZE + 16, AVAIL, USED, "descriptor table"},
		{SIZE, DESC, 4 * MIB - 20, USED, "available ring"},
		{SIZE, DESC, AVAIL, 4 * MIB - 68, "used ring"},
		{SIZE, UINT64_MAX - 15, AVAIL, USED, "not in RAM"},
		{SIZE, DESC, AVAIL, UINT64_MAX - 3, "not in RAM"},
		{SIZE, 2 * MIB - 16, AVAIL, USED, "descriptor table"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		q.size = bad[i].size;
		ck_assert_int_eq(
			virtq_start(&q, &ram, bad[i].desc, bad[i].avail, bad[i].used, &err),
			-EINVAL);
		ck_assert_msg(strstr(err.msg, bad[i].word) != NULL, "%zu: %s", i, err.msg);
	}
	q.size = SIZE;
	ck_assert_int_eq(virtq_start(&q, &ram, 4 * MIB - SIZE * DESC_SIZE, HIGH + 2 * MIB - 22,
				     4 * MIB - 72, &err),
			 0);
}

TEST(chain_in_order)
{
	char text[16] = "", back[16] = "";

	ck_assert_int_eq(virtq_pop(&q, &chain, MAX_IOV, &err), 0);
	put(DATA, "abcdef", 6);
	put_desc(DESC, 5, DATA, 3, VRING_DESC_F_NEXT, 2);
	put_desc(DESC, 2, DATA + 3, 3, VRING_DESC_F_NEXT, 7);
	put_desc(DESC, 7, DATA + 100, 4, VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 0);
	put_desc(DESC, 0, DATA + 200, 5, VRING_DESC_F_WRITE, 0);
	offer(5);
	ck_assert_uint_eq(virtq_waiting(&q), 1);
	pop();
	ck_assert_uint_eq(virtq_waiting(&q), 0);
	ck_assert_uint_eq(chain.head, 5);
	ck_assert_uint_eq(chain.nread, 2);
	ck_assert_uint_eq(chain.nwrite, 2);
	ck_assert_uint_eq(chain.read_bytes, 6);
	ck_assert_uint_eq(chain.write_bytes, 9);
	ck_assert_uint_eq(virtq_read(&chain, 2, text, sizeof(text)), 4);
	ck_assert_str_eq(text, "cdef");
	ck_assert_uint_eq(virtq_read(&chain, 6, text, sizeof(text)), 0);
	ck_assert_uint_eq(virtq_read(&chain, UINT64_MAX, text, sizeof(text)), 0);
	ck_assert_uint_eq(virtq_write(&chain, 3, "vwxyz", 5), 5);
	ck_assert_int_eq(ram_read(&ram, DATA + 103, back, 1), 0);
	ck_assert_int_eq(ram_read(&ram, DATA + 200, back + 1, 4), 0);
	ck_assert_str_eq(back, "vwxyz");
	ck_assert_uint_eq(virtq_write(&chain, 8, "123", 3), 1);
	virtq_unpop(&q);
	pop();
	ck_assert_uint_eq(chain.head, 5);
	ck_assert_int_eq(virtq_pop(&q, &chain, MAX_IOV, &err), 0);
}

TEST(buffer_across_regions)
{
	put_desc(DESC, 0, 2 * MIB - 10, 30, VRING_DESC_F_WRITE, 0);
	offer(0);
	pop();
	ck_assert_uint_eq(chain.nwrite, 2);
	ck_assert_uint_eq(chain.iov[0].iov_len, 10);
	ck_assert_uint_eq(chain.iov[1].iov_len, 20);
	ck_assert_uint_eq(chain.write_bytes, 30);
	ck_assert_ptr_eq(chain.iov[1].iov_base, ram_ptr(&ram, 2 * MIB, 1));
}

/* Each is one bad descriptor, or two, as the queue's first chain. */
TEST(bad_chains)
{
	const uint16_t next = VRING_DESC_F_NEXT, write = VRING_DESC_F_WRITE;
	const struct {
		struct vring_desc d[2];
		const char *word;
	} bad[] = {
		{{{DATA, 0, 0, 0}}, "0 bytes"},
		{{{DATA, 8, next, 1}, {DATA, 0, write, 0}}, "0 bytes"},
		{{{DATA, 8, next, 0}}, "loop"},
		{{{DATA, 8, next, 1}, {DATA, 8, next, 0}}, "loop"},
		{{{DATA, 8, next, SIZE}}, "descriptor 8"},
		{{{DATA, 8, next, 0xffff}}, "descriptor 65535"},
		{{{DATA, 8, next | write, 1}, {DATA, 8, 0, 0}}, "to read after"},
		{{{4 * MIB - 4, 8, 0, 0}}, "not in RAM"},
		{{{4 * MIB, 1, 0, 0}}, "not in RAM"},
		{{{HIGH - 4, 8, write, 0}}, "not in RAM"},
		{{{HIGH + 2 * MIB - 1, 2, write, 0}}, "not in RAM"},
		{{{UINT64_MAX - 3, 8, 0, 0}}, "not in RAM"},
		{{{DATA, UINT32_MAX, 0, 0}}, "not in RAM"},
		{{{TABLE, 32, VRING_DESC_F_INDIRECT, 0}}, "not negotiated"},
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(DESC, bad[i].d, sizeof(bad[i].d));
		put16(AVAIL + 4, 0);
		put16(AVAIL + 2, 1);
		refuse(bad[i].word);
		refuse(bad[i].word);
	}
	put16(AVAIL + 4, SIZE);
	refuse("descriptor 8");
}

TEST(bad_index)
{
	put_desc(DESC, 0, DATA, 8, 0, 0);
	put16(AVAIL + 2, SIZE + 1);
	refuse("jumped by 9");
	put16(AVAIL + 2, 0xffff);
	refuse("jumped by 65535");
	put16(AVAIL + 2, SIZE);
	for (int i = 0; i < SIZE; i++)
		pop();
	ck_assert_int_eq(virtq_pop(&q, &chain, MAX_IOV, &err), 0);
}

TEST(chain_too_long)
{
	for (uint16_t i = 0; i < SIZE; i++)
		put_desc(DESC, i, DATA, 8, i < SIZE - 1 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	offer(0);
	ck_assert_int_eq(virtq_pop(&q, &chain, SIZE - 1, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "more than 7"));
	ck_assert_int_eq(virtq_pop(&q, &chain, SIZE, &err), 1);
	ck_assert_uint_eq(chain.nread, SIZE);
	/* A buffer that becomes two does not go past the end either. */
	put_desc(DESC, 0, 2 * MIB - 1, 2, 0, 0);
	offer(0);
	ck_assert_int_eq(virtq_pop(&q, &chain, 1, &err), -EINVAL);
}

TEST(indirect)
{
	q.indirect = true;
	put_desc(DESC, 0, DATA, 4, VRING_DESC_F_NEXT, 1);
	/* The table's own flag of direction says nothing. */
	put_desc(DESC, 1, TABLE, 3 * DESC_SIZE, VRING_DESC_F_INDIRECT | VRING_DESC_F_WRITE, 99);
	put_desc(TABLE, 0, DATA + 4, 4, VRING_DESC_F_NEXT, 2);
	put_desc(TABLE, 2, DATA + 100, 8, VRING_DESC_F_WRITE, 0);
	offer(0);
	pop();
	ck_assert_uint_eq(chain.head, 0);
	ck_assert_uint_eq(chain.nread, 2);
	ck_assert_uint_eq(chain.nwrite, 1);
	ck_assert_uint_eq(chain.read_bytes, 8);
	/* A table at no alignment, across regions. */
	put_desc(DESC, 0, 2 * MIB - 17, 2 * DESC_SIZE, VRING_DESC_F_INDIRECT, 0);
	put_desc(2 * MIB - 17, 0, DATA, 1, VRING_DESC_F_NEXT, 1);
	put_desc(2 * MIB - 17, 1, DATA + 8, 2, 0, 0);
	offer(0);
	pop();
	ck_assert_uint_eq(chain.read_bytes, 3);
	/* More than the queue has, which some drivers do. */
	put_desc(DESC, 0, TABLE, 12 * DESC_SIZE, VRING_DESC_F_INDIRECT, 0);
	for (uint16_t i = 0; i < 12; i++)
		put_desc(TABLE, i, DATA, 8, i < 11 ? VRING_DESC_F_NEXT : 0, (uint16_t)(i + 1));
	offer(0);
	pop();
	ck_assert_uint_eq(chain.nread, 12);
}

TEST(bad_indirect)
{
	const uint16_t table = VRING_DESC_F_INDIRECT, next = VRING_DESC_F_NEXT;
	const struct {
		struct vring_desc d, t[2];
		const char *word;
	} bad[] = {
		{{TABLE, 0, table, 0}, {{0}}, "table of 0 bytes"},
		{{TABLE, 15, table, 0}, {{0}}, "table of 15 bytes"},
		{{TABLE, 24, table, 0}, {{0}}, "table of 24 bytes"},
		{{TABLE, 32, table | next, 1}, {{DATA, 8, 0, 0}}, "last"},
		{{TABLE, 32, table, 0}, {{TABLE, 32, table, 0}}, "in an indirect table"},
		{{TABLE, 32, table, 0}, {{DATA, 8, next, 2}}, "descriptor 2 of a table of 2"},
		{{TABLE, 32, table, 0}, {{DATA, 8, next, 0}}, "loop"},
		{{TABLE, 32, table, 0}, {{DATA, 8, next, 1}, {DATA, 0, 0, 0}}, "0 bytes"},
		{{4 * MIB - 8, 32, table, 0}, {{0}}, "is not in RAM"},
		{{8 * MIB, 32, table, 0}, {{0}}, "is not in RAM"},
		{{UINT64_MAX - 15, 32, table, 0}, {{0}}, "is not in RAM"},
		{{TABLE, 0xfffffff0, table, 0}, {{DATA, 8, next, 0xffff}}, "0 bytes"},
	};

	q.indirect = true;
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		put(DESC, &bad[i].d, sizeof(bad[i].d));
		put(TABLE, bad[i].t, sizeof(bad[i].t));
		put16(AVAIL + 4, 0);
		put16(AVAIL + 2, 1);
		refuse(bad[i].word);
	}
	/* Endless but for the room that the device has. */
	put_desc(DESC, 0, TABLE, 64 * DESC_SIZE, table, 0);
	for (uint16_t i = 0; i < 64; i++)
		put_desc(TABLE, i, DATA, 8, next, (uint16_t)((i + 1) % 64));
	refuse("more than 16");
}

TEST(around_the_indices)
{
	q.last_avail = q.next_used = avail_idx = 65530;
	put16(AVAIL + 2, avail_idx);
	ck_assert_int_eq(virtq_start(&q, &ram, DESC, AVAIL, USED, &err), 0);
	for (uint32_t i = 0; i < 70000; i++) {
		uint16_t head = (uint16_t)(i % SIZE), slot = (uint16_t)(65530 + i) % SIZE;

		put_desc(DESC, head, DATA + i, 1, VRING_DESC_F_WRITE, 0);
		offer(head);
		pop();
		ck_assert_uint_eq(chain.head, head);
		ck_assert_ptr_eq(chain.iov[0].iov_base, ram_ptr(&ram, DATA + i, 1));
		virtq_push(&q, chain.head, i);
		ck_assert_uint_eq(get(USED + 2, 2), (uint16_t)(65531 + i));
		ck_assert_uint_eq(get(USED + 4 + 8ull * slot, 4), head);
		ck_assert_uint_eq(get(USED + 8 + 8ull * slot, 4), i);
	}
}

TEST(several_at_once)
{
	virtq_fill(&q, 0, 3, 100);
	virtq_fill(&q, 1, 4, 200);
	ck_assert_uint_eq(get(USED + 2, 2), 0);
	virtq_publish(&q, 2);
	ck_assert_uint_eq(get(USED + 2, 2), 2);
	ck_assert_uint_eq(get(USED + 4, 4), 3);
	ck_assert_uint_eq(get(USED + 12, 4), 4);
	ck_assert_uint_eq(get(USED + 16, 4), 200);
}

TEST(signals_by_flag)
{
	ck_assert(virtq_should_signal(&q)); /* after a start, in any case */
	ck_assert(!virtq_should_signal(&q));
	virtq_push(&q, 0, 0);
	ck_assert(virtq_should_signal(&q));
	put16(AVAIL, VRING_AVAIL_F_NO_INTERRUPT);
	virtq_push(&q, 0, 0);
	ck_assert(!virtq_should_signal(&q));
}

static void push(uint32_t n)
{
	while (n--)
		virtq_push(&q, 0, 0);
}

TEST(signals_by_event)
{
	static const struct {
		uint16_t from, pushes, event;
		bool signals;
	} row[] = {
		{0, 1, 0, true},	 {0, 1, 1, false},     {0, 3, 0, true},
		{0, 3, 2, true},	 {0, 3, 3, false},     {0, 3, 65535, false},
		{65534, 1, 65534, true}, {65534, 4, 0, true},  {65534, 4, 1, true},
		{65534, 4, 2, false},	 {65534, 4, 5, false}, {65534, 4, 65533, false},
		{100, 0, 99, false},	 {100, 1, 99, false},  {100, 1, 100, true},
	};

	q.event_idx = true;
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		q.next_used = row[i].from;
		q.signalled_valid = false;
		put16(AVAIL + 4 + 2ull * SIZE, row[i].event);
		(void)virtq_should_signal(&q);
		push(row[i].pushes);
		ck_assert_msg(virtq_should_signal(&q) == row[i].signals, "row %zu", i);
	}
	/* Once around without a look: the distance is lost, so it signals. */
	put16(AVAIL + 4 + 2ull * SIZE, (uint16_t)(q.next_used - 10));
	(void)virtq_should_signal(&q);
	push(65536);
	ck_assert(virtq_should_signal(&q));
	push(65535);
	put16(AVAIL + 4 + 2ull * SIZE, (uint16_t)(q.next_used - 1));
	ck_assert(virtq_should_signal(&q));
}

TEST(kicks_wanted)
{
	put_desc(DESC, 0, DATA, 1, 0, 0);
	virtq_no_kicks(&q);
	ck_assert_uint_eq(get(USED, 2), VRING_USED_F_NO_NOTIFY);
	ck_assert(!virtq_want_kicks(&q));
	ck_assert_uint_eq(get(USED, 2), 0);
	offer(0);
	ck_assert(virtq_want_kicks(&q));
	q.event_idx = true;
	pop();
	ck_assert(!virtq_want_kicks(&q));
	ck_assert_uint_eq(get(USED + 4 + 8ull * SIZE, 2), 1);
	virtq_no_kicks(&q);
	ck_assert_uint_eq(get(USED, 2), 0);
}

UNIT_MAIN(setup, teardown)
