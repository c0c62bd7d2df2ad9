/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The label: torn and damaged copies, on real files, and those found without opening RAM. */
#define XXH_INLINE_ALL
#include "tests/rig/ram_fixture.h"
#include "vmm/base/bytes.h"
#include <xxhash.h>

#define RECORD_BYTES 128 /* label.c: one copy on media */
#define SECOND_COPY  4096

static uint8_t media[LABEL_MEDIA_BYTES];

static struct label saved_label(uint8_t id, uint64_t ram_size_bytes)
{
	struct label label = {.state = LABEL_SAVED, .ram_size_bytes = ram_size_bytes};

	memset(label.vm_id, id, sizeof(label.vm_id));
	memset(label.checkpoint_id, id ^ 0xff, sizeof(label.checkpoint_id));
	return label;
}

static void assert_same(const struct label *a, const struct label *b)
{
	ck_assert_int_eq(a->state, b->state);
	ck_assert_mem_eq(a->vm_id, b->vm_id, 16);
	ck_assert_mem_eq(a->checkpoint_id, b->checkpoint_id, 16);
	ck_assert_uint_eq(a->ram_size_bytes, b->ram_size_bytes);
}

static void assert_media(const struct label *want)
{
	struct label label;

	label_decode(media, &label);
	assert_same(&label, want);
}

/* Sets the sequence of the copy at `at` and makes it valid again, as label.c describes it. */
static void set_sequence(size_t at, uint64_t sequence)
{
	XXH128_canonical_t hash;

	for (size_t i = 0; i < 8; i++)
		media[at + 8 + i] = (uint8_t)(sequence >> 8 * i);
	XXH128_canonicalFromHash(&hash, XXH3_128bits(media + at, RECORD_BYTES - 16));
	memcpy(media + at + RECORD_BYTES - 16, hash.digest, 16);
}

TEST(layout)
{
	struct label label = saved_label(7, 0x112233400000);

	label_encode(media, &label);
	ck_assert_mem_eq(media, "STASISLB\1\0\0\0\0\0\0\0\0\0\x40\x33\x22\x11\0\0\2\0\0\0\0\0\0\0",
			 32);
	ck_assert_mem_eq(media + 32, label.vm_id, 16);
	ck_assert_mem_eq(media + 48, label.checkpoint_id, 16);
	for (size_t i = 64; i < 112; i++)
		ck_assert_int_eq(media[i], 0);
	set_sequence(0, 1); /* hashes by itself */
	assert_media(&label);
}

TEST(nothing_is_no_label)
{
	struct label none = {.state = LABEL_NONE};

	assert_media(&none);
	memset(media, 0xff, sizeof(media));
	assert_media(&none);
}

TEST(newer_counts)
{
	struct label label;

	for (uint8_t id = 1; id < 20; id++) {
		label = saved_label(id, 2 * MIB);
		if (id % 3 == 0) {
			label.state = LABEL_RUNNING;
			memset(label.checkpoint_id, 0, sizeof(label.checkpoint_id));
		}
		label_encode(media, &label);
		assert_media(&label);
	}
}

TEST(sequence_wraps)
{
	struct label label = saved_label(1, 2 * MIB);

	label_encode(media, &label);
	set_sequence(0, UINT64_MAX - 1);
	for (uint8_t id = 2; id < 8; id++) {
		label = saved_label(id, 2 * MIB);
		label_encode(media, &label);
		assert_media(&label);
	}
	/* From UINT64_MAX - 1 on, six writes later. */
	ck_assert_int_eq(media[8], 4);
	ck_assert_int_eq(media[SECOND_COPY + 8], 3);
}

/* A write that stops after any byte, and one whose last cache lines arrive without the first. */
static void check_torn(const uint8_t *before, const uint8_t *after, const struct label *older,
		       const struct label *newer)
{
	for (size_t torn = 0; torn <= LABEL_MEDIA_BYTES; torn++) {
		struct label label;

		memcpy(media, before, sizeof(media));
		memcpy(media, after, torn);
		label_decode(media, &label);
		assert_same(&label, label.vm_id[0] == newer->vm_id[0] ? newer : older);
		memcpy(media, after, sizeof(media));
		memcpy(media, before, torn);
		label_decode(media, &label);
		assert_same(&label, label.vm_id[0] == newer->vm_id[0] ? newer : older);
	}
	memcpy(media, after, sizeof(media));
	assert_media(newer);
}

TEST(torn_writes)
{
	struct label older = saved_label(1, 2 * MIB), newer = {.state = LABEL_NONE};
	uint8_t before[LABEL_MEDIA_BYTES], after[LABEL_MEDIA_BYTES];
	uint8_t *const copy[] = {before, after};

	label_encode(media, &older);
	for (uint8_t id = 2; id < 6; id++) {
		memcpy(copy[0], media, sizeof(media));
		newer = saved_label(id, 4 * MIB);
		label_encode(media, &newer);
		memcpy(copy[1], media, sizeof(media));
		/* The copy that counts is never the one being written. */
		ck_assert(!memcmp(before, after, SECOND_COPY) !=
			  !memcmp(before + SECOND_COPY, after + SECOND_COPY, SECOND_COPY));
		check_torn(before, after, &older, &newer);
		older = newer;
	}
}

TEST(flipped_bits)
{
	struct label older = saved_label(1, 2 * MIB), newer = saved_label(2, 2 * MIB);
	struct label none = {.state = LABEL_NONE};

	label_encode(media, &older);
	for (size_t bit = 0; bit < RECORD_BYTES * 8ul; bit++) {
		media[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_media(&none);
		media[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	label_encode(media, &newer);
	for (size_t bit = 0; bit < LABEL_MEDIA_BYTES * 8ul; bit++) {
		bool in_newer = bit / 8 >= SECOND_COPY && bit / 8 < SECOND_COPY + RECORD_BYTES;

		media[bit / 8] ^= (uint8_t)(1 << bit % 8);
		assert_media(in_newer ? &older : &newer);
		media[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
}

/* Valid by its hash, but not what any Stasis writes. */
TEST(nonsense_is_no_label)
{
	const struct {
		size_t at;
		uint8_t value;
	} wrong[] = {{0, 'X'}, {24, 0}, {24, 3}, {25, 1}, {16, 1}, {18, 0}, {18, 0x10}};
	struct label label = saved_label(1, 2 * MIB), none = {.state = LABEL_NONE};
	uint8_t good[RECORD_BYTES];

	label_encode(media, &label);
	memcpy(good, media, sizeof(good));
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++) {
		memcpy(media, good, sizeof(good));
		media[wrong[i].at] = wrong[i].value;
		set_sequence(0, 1);
		assert_media(&none);
	}
}

static struct ram ram;

static void open_at(const char *path, uint64_t offset_bytes, uint64_t size_bytes)
{
	struct ram_config config = {.path = path,
				    .size_bytes = size_bytes,
				    .offset_bytes = offset_bytes,
				    .has_offset = true};

	assert_ok(ram_open(&ram, &config, &fixture_err));
}

static void put_label(const char *path, uint64_t offset_bytes, uint64_t size_bytes, uint8_t id)
{
	struct label label = saved_label(id, size_bytes);

	open_at(path, offset_bytes, size_bytes);
	assert_ok(label_write(&ram, &label, &fixture_err));
	ram_close(&ram);
}

static int peek(const char *path, uint64_t offset_bytes, uint64_t size_bytes, struct label *label)
{
	struct ram_config config = {
		.path = path, .size_bytes = size_bytes, .offset_bytes = offset_bytes};

	return label_peek(&config, label, &fixture_err);
}

static void check_file(const char *path)
{
	struct ram_config config = {.path = path, .size_bytes = 4 * MIB};
	struct label label, running = {.state = LABEL_RUNNING}, saved = saved_label(9, 4 * MIB);

	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_ok(label_read(&ram, &label, &fixture_err));
	ck_assert_int_eq(label.state, LABEL_NONE);
	assert_refused(label_write(&ram, &label, &fixture_err), -EINVAL, WORDS("state"));
	memset(running.vm_id, 9, sizeof(running.vm_id));
	running.ram_size_bytes = 1; /* not what counts */
	assert_ok(label_write(&ram, &running, &fixture_err));
	running.ram_size_bytes = 4 * MIB;
	assert_ok(label_read(&ram, &label, &fixture_err));
	assert_same(&label, &running);
	/* Works beside the VM that has the lock. */
	assert_ok(peek(path, 0, 4 * MIB, &label));
	assert_same(&label, &running);
	assert_ok(label_write(&ram, &saved, &fixture_err));
	ram_close(&ram);
	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_ok(label_read(&ram, &label, &fixture_err));
	assert_same(&label, &saved);
	for (size_t at = 0; at < 4 * MIB; at += 4096)
		ck_assert_int_eq(ram.hva[at], 0);
	ram_close(&ram);
	assert_ok(peek(path, 0, 0, &label));
	assert_same(&label, &saved);
}

TEST(on_disk)
{
	check_file(fixture_path("ram"));
}

TEST(on_tmpfs)
{
	fixture_mount("tmpfs", "size=64m");
	check_file(fixture_path("fs/ram"));
}

/* A bad page takes neither the label nor what it said last, whichever page it is. */
TEST(one_page_lost)
{
	struct ram_config config = {.path = fixture_path("ram"), .size_bytes = 4 * MIB};
	struct label label, saved = saved_label(9, 4 * MIB), running = {.state = LABEL_RUNNING};

	running.ram_size_bytes = 4 * MIB;
	memset(running.vm_id, 9, sizeof(running.vm_id));
	assert_ok(ram_open(&ram, &config, &fixture_err));
	for (int i = 0; i < 8; i++) {
		const struct label *now = i % 2 ? &saved : &running;

		assert_ok(label_write(&ram, now, &fixture_err));
		memset((uint8_t *)ram.label_hva + (i / 2 % 2 ? SECOND_COPY : 0), i / 4 ? 0xff : 0,
		       4096);
		assert_ok(label_read(&ram, &label, &fixture_err));
		assert_same(&label, now);
		assert_ok(peek(config.path, 0, 4 * MIB, &label));
		assert_same(&label, now);
	}
	ram_close(&ram);
}

TEST(peek_refused)
{
	const char *path = fixture_path("ram");
	struct label label;

	assert_refused(peek(path, 0, 0, &label), -ENOENT, WORDS(path, "No such file"));
	fixture_make_file(path, 0);
	assert_refused(peek(path, 0, 0, &label), -EINVAL,
		       WORDS(path, "0 bytes", "too small for guest RAM"));
	fixture_make_file(path, 4 * MIB + 8192);
	assert_refused(peek(path, 0, 6 * MIB, &label), -EINVAL, WORDS(path, "4202496", "6291456"));
	assert_refused(peek(path, 4 * MIB, 0, &label), -EINVAL, WORDS(path, "4202496"));
	assert_refused(peek(path, UINT64_MAX - 4095, 4 * MIB, &label), -EINVAL, WORDS(path));
	assert_refused(peek(path, 0, UINT64_MAX - 4095, &label), -EINVAL, WORDS(path));
	assert_refused(peek(path, 1, 2 * MIB, &label), -EINVAL, WORDS(path, "4096"));
	assert_refused(peek(fixture_folder, 0, 0, &label), -EINVAL, WORDS("regular file"));
	assert_ok(peek(path, 0, 0, &label));
	ck_assert_int_eq(label.state, LABEL_NONE);
}

/* Three VMs in one file; each found by its offset, with and without its size. */
TEST(peek_shared)
{
	const char *path = fixture_path("ram");
	const uint64_t second = 6 * MIB, third = 16 * MIB;
	struct label label, want;

	fixture_make_file(path, 32 * MIB);
	put_label(path, 0, 4 * MIB, 1);
	put_label(path, second, 6 * MIB, 2);
	put_label(path, third, 16 * MIB - 2 * MIB, 3);
	const uint64_t row[][2] = {{0, 4 * MIB}, {second, 6 * MIB}, {third, 14 * MIB}};
	for (uint8_t i = 0; i < 3; i++) {
		want = saved_label((uint8_t)(i + 1), row[i][1]);
		assert_ok(peek(path, row[i][0], row[i][1], &label));
		assert_same(&label, &want);
		assert_ok(peek(path, row[i][0], 0, &label));
		assert_same(&label, &want);
	}
	assert_ok(peek(path, 2 * MIB, 0, &label));
	ck_assert_int_eq(label.state, LABEL_NONE);
	assert_ok(peek(path, 0, 2 * MIB, &label));
	ck_assert_int_eq(label.state, LABEL_NONE);
}

/* A guest that writes labels into its RAM deceives nobody. */
TEST(peek_forged)
{
	const char *path = fixture_path("ram");
	struct label forged = saved_label(0x66, 2 * MIB), label, want;

	fixture_make_file(path, 8 * MIB + 8192);
	put_label(path, 0, 8 * MIB, 1);
	open_at(path, 0, 8 * MIB);
	label_encode(ram.hva + 2 * MIB, &forged);
	ram_close(&ram);
	want = saved_label(1, 8 * MIB);
	assert_ok(peek(path, 0, 0, &label)); /* in the last unit */
	assert_same(&label, &want);
	fixture_make_file(path, 10 * MIB);
	assert_refused(peek(path, 0, 0, &label), -ENOTUNIQ,
		       WORDS(path, "size=2097152", "size=8388608", "give size="));
	assert_ok(peek(path, 0, 8 * MIB, &label));
	assert_same(&label, &want);
}

static int check_overlap(uint8_t vm, bool discard)
{
	struct label label = saved_label(vm, 0);

	return label_check_overlap(&ram, label.vm_id, discard, &fixture_err);
}

static int spend_overlap(uint8_t vm)
{
	struct label label = saved_label(vm, 0);

	return label_spend_overlap(&ram, label.vm_id, &fixture_err);
}

/* A saved guest is not booted over because size= or offset= has changed. */
TEST(overlap)
{
	const char *path = fixture_path("ram");
	const uint64_t overlapping[][2] = {{4 * MIB, 4 * MIB},	/* smaller */
					   {4 * MIB, 16 * MIB}, /* larger */
					   {0, 6 * MIB},	{10 * MIB, 2 * MIB},
					   {2 * MIB, 20 * MIB}, {12 * MIB, 2 * MIB}, /* its label */
					   {0, 4 * MIB}}; /* by its label */
	const uint64_t apart[][2] = {
		{4 * MIB, 8 * MIB} /* itself */, {14 * MIB, 2 * MIB}, {0, 2 * MIB}};
	struct label label;

	fixture_make_file(path, 32 * MIB);
	put_label(path, 4 * MIB, 8 * MIB, 1);
	for (size_t i = 0; i < ARRAY_SIZE(overlapping); i++) {
		open_at(path, overlapping[i][0], overlapping[i][1]);
		assert_refused(check_overlap(1, false), -EBUSY,
			       WORDS(path, "offset=4194304", "size=8388608", "--discard-saved"));
		ram_close(&ram);
	}
	for (size_t i = 0; i < ARRAY_SIZE(apart); i++) {
		open_at(path, apart[i][0], apart[i][1]);
		assert_ok(check_overlap(1, false));
		assert_ok(check_overlap(2, true));
		assert_ok(spend_overlap(1));
		ram_close(&ram);
	}
	assert_ok(peek(path, 4 * MIB, 8 * MIB, &label));
	ck_assert_int_eq(label.state, LABEL_SAVED);
	open_at(path, 4 * MIB, 4 * MIB);
	assert_ok(check_overlap(1, true)); /* looks only */
	assert_refused(check_overlap(1, false), -EBUSY, WORDS(path));
	assert_ok(spend_overlap(1));
	assert_ok(check_overlap(1, false));
	ram_close(&ram);
	assert_ok(peek(path, 4 * MIB, 8 * MIB, &label));
	ck_assert_int_eq(label.state, LABEL_NONE);
}

/* --discard-saved discards this VM's guest; another VM's is named and stays. */
TEST(overlap_of_another_vm)
{
	const char *path = fixture_path("ram");
	struct label label, want = saved_label(2, 8 * MIB);

	fixture_make_file(path, 32 * MIB);
	put_label(path, 4 * MIB, 8 * MIB, 2);
	open_at(path, 6 * MIB, 4 * MIB);
	for (int discard = 0; discard < 2; discard++)
		assert_refused(check_overlap(1, discard), -EPERM,
			       WORDS(path, "02020202-0202-0202-0202-020202020202", "offset=4194304",
				     "size=8388608", "--discard-saved"));
	assert_ok(spend_overlap(1));
	ram_close(&ram);
	assert_ok(peek(path, 4 * MIB, 8 * MIB, &label));
	assert_same(&label, &want);
}

/* What looks like a label but lies in the RAM of a VM that runs is its guest's own writing: it
 * keeps nobody from booting and is not touched. */
TEST(overlap_in_use)
{
	const char *path = fixture_path("ram");
	struct label forged = saved_label(0x66, 14 * MIB), label;
	struct ram_config config = {
		.path = path, .size_bytes = 8 * MIB, .offset_bytes = 10 * MIB, .has_offset = true};
	struct ram other;

	fixture_make_file(path, 32 * MIB);
	assert_ok(ram_open(&other, &config, &fixture_err));
	label_encode(other.hva + 4 * MIB, &forged); /* of [0, 14 MiB) */
	open_at(path, 0, 8 * MIB);
	assert_ok(check_overlap(1, false));
	assert_ok(check_overlap(0x66, false));
	assert_ok(spend_overlap(0x66));
	label_decode(other.hva + 4 * MIB, &label);
	assert_same(&label, &forged);
	ram_close(&other);
	assert_refused(check_overlap(1, false), -EPERM, WORDS(path));
	ram_close(&ram);
}

UNIT_MAIN(fixture_setup, fixture_teardown)
