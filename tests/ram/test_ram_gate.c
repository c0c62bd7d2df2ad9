/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The gate's boundaries, hash and zero of all of RAM, and RAM that breaks under its user. */
#define XXH_INLINE_ALL
#include "tests/rig/ram_fixture.h"
#include "vmm/base/bytes.h"
#include <signal.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <xxhash.h>

#define LOW_GPA	   0x0ull
#define MIDDLE_GPA (2 * MIB) /* adjoins the low one */
#define HIGH_GPA   (4ull << 30)
#define RAM_BYTES  (8 * MIB)

static struct ram ram;

static void open_ram(const char *path)
{
	struct ram_config config = {.path = path, .size_bytes = RAM_BYTES};

	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_ok(ram_add_region(&ram, LOW_GPA, 2 * MIB, &fixture_err));
	assert_ok(ram_add_region(&ram, MIDDLE_GPA, 2 * MIB, &fixture_err));
	assert_ok(ram_add_region(&ram, HIGH_GPA, 4 * MIB, &fixture_err));
}

TEST(regions_refused)
{
	struct ram_config config = {.size_bytes = RAM_BYTES};

	assert_ok(ram_open(&ram, &config, &fixture_err));
	assert_ok(ram_add_region(&ram, 4 * MIB, 2 * MIB, &fixture_err));
	const uint64_t wrong[][2] = {{0, 0},
				     {4 * MIB, 2 * MIB},
				     {3 * MIB, 2 * MIB},
				     {5 * MIB, 2 * MIB},
				     {6 * MIB - 1, 1},
				     {8 * MIB, 6 * MIB + 1},
				     {UINT64_MAX - MIB + 1, 2 * MIB},
				     {8 * MIB, UINT64_MAX}};
	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_refused(ram_add_region(&ram, wrong[i][0], wrong[i][1], &fixture_err),
			       -EINVAL, WORDS("RAM layout", "GPA"));
	ck_assert_uint_eq(ram.nregions, 1);
	assert_ok(ram_add_region(&ram, 6 * MIB, 2 * MIB, &fixture_err));
	assert_ok(ram_add_region(&ram, 2 * MIB, 2 * MIB, &fixture_err));
	assert_ok(ram_add_region(&ram, HIGH_GPA, MIB, &fixture_err));
	ck_assert_ptr_eq(ram.region[3].hva, ram.hva + 6 * MIB);
	assert_refused(ram_add_region(&ram, 2 * HIGH_GPA, MIB, &fixture_err), -EINVAL,
		       WORDS("RAM layout"));
	ram_close(&ram);
}

TEST(gate_pointers)
{
	const struct {
		uint64_t gpa, size_bytes;
		int64_t at; /* offset in RAM, -1: refused */
	} row[] = {
		{0, 1, 0},
		{0, 0, 0},
		{0, 2 * MIB, 0},
		{0, 2 * MIB + 1, -1}, /* over the seam of two regions */
		{2 * MIB - 1, 1, 2 * MIB - 1},
		{2 * MIB - 1, 2, -1},
		{2 * MIB, 1, 2 * MIB},
		{4 * MIB - 1, 1, 4 * MIB - 1},
		{4 * MIB, 0, -1},
		{4 * MIB, 1, -1},
		{0, UINT64_MAX, -1},
		{1, UINT64_MAX, -1},
		{UINT64_MAX, 1, -1},
		{UINT64_MAX, UINT64_MAX, -1},
		{HIGH_GPA - 1, 1, -1},
		{HIGH_GPA - 1, 2, -1},
		{HIGH_GPA, 4 * MIB, 4 * MIB},
		{HIGH_GPA, 4 * MIB + 1, -1},
		{HIGH_GPA + 4 * MIB - 1, 1, 8 * MIB - 1},
		{HIGH_GPA + 4 * MIB, 1, -1}, /* the label is no guest memory */
		{HIGH_GPA + 1, UINT64_MAX - HIGH_GPA, -1},
	};

	open_ram(NULL);
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		uint8_t *want = row[i].at < 0 ? NULL : ram.hva + row[i].at;

		ck_assert_msg(ram_ptr(&ram, row[i].gpa, row[i].size_bytes) == want, "row %zu", i);
	}
	ram_close(&ram);
}

TEST(gate_copies)
{
	uint8_t to[64], from[64];

	open_ram(NULL);
	for (size_t i = 0; i < sizeof(from); i++)
		from[i] = (uint8_t)(i + 1);
	ck_assert_int_eq(ram_write(&ram, HIGH_GPA - 1, from, 2), -EFAULT);
	ck_assert_int_eq(ram_write(&ram, 4 * MIB - 10, from, 11), -EFAULT);
	ck_assert_int_eq(ram_write(&ram, UINT64_MAX, from, 2), -EFAULT);
	ck_assert_int_eq(ram_write(&ram, HIGH_GPA + 4 * MIB - 63, from, 64), -EFAULT);
	for (size_t at = 0; at < RAM_BYTES; at++)
		if (ram.hva[at])
			ck_abort_msg("a refused write has written at %zu", at);
	/* Guest physical neighbours are one piece of memory for the guest. */
	ck_assert_int_eq(ram_write(&ram, 2 * MIB - 10, from, 64), 0);
	ck_assert_mem_eq(ram.hva + 2 * MIB - 10, from, 64);
	ck_assert_int_eq(ram_read(&ram, 2 * MIB - 10, to, 64), 0);
	ck_assert_mem_eq(to, from, 64);
	memset(to, 0x77, sizeof(to));
	ck_assert_int_eq(ram_read(&ram, 4 * MIB - 63, to, 64), -EFAULT);
	ck_assert_int_eq(to[0], 0x77);
	ck_assert_int_eq(ram_read(&ram, 3ull << 40, to, 0), 0);
	ram_close(&ram);
}

TEST(gpa_of)
{
	uint64_t gpa = 1;

	open_ram(NULL);
	ck_assert(ram_gpa_of(&ram, ram.hva, &gpa) && gpa == 0);
	ck_assert(ram_gpa_of(&ram, ram.hva + 4 * MIB - 1, &gpa) && gpa == 4 * MIB - 1);
	ck_assert(ram_gpa_of(&ram, ram.hva + 4 * MIB, &gpa) && gpa == HIGH_GPA);
	ck_assert(ram_gpa_of(&ram, ram.hva + 8 * MIB - 1, &gpa) && gpa == HIGH_GPA + 4 * MIB - 1);
	ck_assert(!ram_gpa_of(&ram, ram.hva - 1, &gpa));
	ck_assert(!ram_gpa_of(&ram, ram.label_hva, &gpa));
	ck_assert(!ram_gpa_of(&ram, NULL, &gpa));
	ram_close(&ram);
}

/* The hash as xxHash itself has it of the bytes, piece by piece. */
static void check_hash(void)
{
	uint8_t *copy = malloc(RAM_BYTES), hash[16];
	XXH128_canonical_t want, piece[RAM_BYTES / (2 * MIB)];

	ck_assert_ptr_nonnull(copy);
	assert_ok(ram_hash(&ram, NULL, hash, &fixture_err));
	memcpy(copy, ram.hva, RAM_BYTES);
	for (size_t i = 0; i < RAM_BYTES / (2 * MIB); i++)
		XXH128_canonicalFromHash(&piece[i], XXH3_128bits(copy + i * 2 * MIB, 2 * MIB));
	XXH128_canonicalFromHash(&want, XXH3_128bits(piece, sizeof(piece)));
	free(copy);
	ck_assert_mem_eq(hash, want.digest, 16);
}

static uint64_t allocated_bytes(void)
{
	struct stat st;

	ck_assert_int_eq(fstat(ram.fd, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void check_hash_and_zero(const char *path)
{
	uint8_t before[16], after[16];

	open_ram(path);
	assert_ok(ram_hash(&ram, NULL, before, &fixture_err));
	memset(ram.hva + 3 * MIB + 12345, 0xa5, 20000);
	ram.hva[0] = 1;
	check_hash();
	ram.hva[RAM_BYTES - 1] ^= 0x80;
	assert_ok(ram_hash(&ram, NULL, after, &fixture_err));
	ck_assert_mem_ne(before, after, 16);
	check_hash();
	memset(ram.label_hva, 0x11, 4096); /* not part of it */
	ram_zero(&ram);
	assert_ok(ram_hash(&ram, NULL, after, &fixture_err));
	ck_assert_mem_eq(before, after, 16);
	for (size_t at = 0; at < RAM_BYTES; at++)
		if (ram.hva[at])
			ck_abort_msg("not zero at %zu", at);
	ck_assert_int_eq(*(uint8_t *)ram.label_hva, 0x11);
	ram_close(&ram);
}

TEST(hash_and_zero)
{
	check_hash_and_zero(NULL);
	check_hash_and_zero(fixture_path("ram"));
	fixture_mount("ramfs", ""); /* can neither tell holes nor make them */
	check_hash_and_zero(fixture_path("fs/ram"));
}

TEST(holes_stay_holes)
{
	uint8_t hash[16];

	fixture_mount("tmpfs", "size=64m");
	open_ram(fixture_path("fs/ram"));
	ram.hva[5 * MIB] = 1;
	assert_ok(ram_hash(&ram, NULL, hash, &fixture_err));
	ck_assert_uint_eq(allocated_bytes(), 4096);
	check_hash(); /* reads all through the mapping: right, and no hole any more */
	ck_assert_uint_gt(allocated_bytes(), 4096);
	ram_zero(&ram);
	ck_assert_uint_eq(allocated_bytes(), 0);
	ram_close(&ram);
}

/* Whoever has a reference to a page, as the IOMMU has, goes on with that one. */
TEST(pinned_pages_stay)
{
	struct iovec page;
	uint8_t seen[4096];
	int fd[2];

	fixture_mount("tmpfs", "size=64m");
	open_ram(fixture_path("fs/ram"));
	ram.pinned = true;
	memset(ram.hva, 0x5a, RAM_BYTES);
	page = (struct iovec){ram.hva + MIB, sizeof(seen)};
	ck_assert_int_eq(pipe2(fd, O_CLOEXEC), 0);
	ck_assert_int_eq(vmsplice(fd[1], &page, 1, 0), sizeof(seen));
	ram_zero(&ram);
	ck_assert_int_eq(ram.hva[0] | ram.hva[RAM_BYTES - 1], 0);
	ram.hva[MIB + 1] = 7;
	ck_assert_int_eq(read(fd[0], seen, sizeof(seen)), sizeof(seen));
	ck_assert_int_eq(seen[0], 0);
	ck_assert_int_eq(seen[1], 7);
	ram_close(&ram);
}

/* Zeroing must not give back what a file on a disk has allocated for the guest. */
TEST(zero_stays_allocated)
{
	open_ram(fixture_path("ram"));
	memset(ram.hva, 1, RAM_BYTES);
	assert_ok(ram_sync(&ram, NULL, &fixture_err));
	ram_zero(&ram);
	ck_assert_uint_ge(allocated_bytes(), RAM_BYTES);
	ram_close(&ram);
}

/* Only this VM's part of a file that holds more. */
TEST(zero_and_hash_keep_to_the_range)
{
	const uint64_t offset = 2 * MIB;
	struct ram_config config = {.path = fixture_path("ram"),
				    .size_bytes = RAM_BYTES,
				    .offset_bytes = offset,
				    .has_offset = true};
	uint8_t byte;

	fixture_make_file(config.path, offset + RAM_BYTES + 8192);
	assert_ok(ram_open(&ram, &config, &fixture_err));
	ck_assert_int_eq(pwrite(ram.fd, "x", 1, (off_t)offset - 1), 1);
	ck_assert_int_eq(pwrite(ram.fd, "y", 1, (off_t)(offset + RAM_BYTES)), 1);
	ck_assert_int_eq(pwrite(ram.fd, "z", 1, (off_t)(offset + 5 * MIB)), 1);
	check_hash();
	ram_zero(&ram);
	ck_assert_int_eq(ram.hva[5 * MIB], 0);
	ck_assert(pread(ram.fd, &byte, 1, (off_t)offset - 1) == 1 && byte == 'x');
	ck_assert(pread(ram.fd, &byte, 1, (off_t)(offset + RAM_BYTES)) == 1 && byte == 'y');
	check_hash();
	ram_close(&ram);
}

static volatile sig_atomic_t patched, not_ram;
static uint64_t patched_gpa;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	if (ram_patch_hole(&ram, info->si_addr, &patched_gpa)) {
		patched++;
		return;
	}
	not_ram++;
	signal(number, SIG_DFL);
}

static void catch_sigbus(void)
{
	struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
}

TEST(truncated_file)
{
	volatile uint8_t *hva;
	struct label label = {.state = LABEL_RUNNING};
	uint8_t hash[16];

	fixture_mount("tmpfs", "size=64m");
	open_ram(fixture_path("fs/ram"));
	catch_sigbus();
	assert_ok(label_write(&ram, &label, &fixture_err));
	hva = ram.hva;
	hva[0] = 42;
	ck_assert_int_eq(ftruncate(ram.fd, 4 * MIB), 0);
	hva[4 * MIB + 8191] = 7;
	ck_assert_int_eq(patched, 1);
	ck_assert_uint_eq(patched_gpa, HIGH_GPA + 8191);
	ck_assert_int_eq(hva[4 * MIB + 8191], 7);
	ck_assert_int_eq(hva[4 * MIB + 4096], 0);
	ck_assert_int_eq(patched, 1);
	ck_assert_int_eq(hva[4 * MIB + 8192], 0);
	ck_assert_int_eq(patched, 2);
	ck_assert_int_eq(hva[0], 42);
	assert_ok(ram_hash(&ram, NULL, hash, &fixture_err));
	ck_assert_int_gt(patched, 2);

	assert_refused(ram_check_survives(&ram, RAM_SURVIVES_PROCESS, &fixture_err), -EIO,
		       WORDS("fs/ram", "lost"));
	assert_refused(ram_sync(&ram, NULL, &fixture_err), -EIO, WORDS("fs/ram", "lost"));
	ck_assert_int_eq(label_read(&ram, &label, &fixture_err), -EIO);
	ck_assert_uint_eq(patched_gpa, RAM_NO_GPA);
	ck_assert_int_eq(not_ram, 0);
	ram_close(&ram);
}

/* A label that cannot be written is no success, even if nothing else was lost; nor is one that cannot be
 * read a RAM without a label. */
TEST(truncated_label)
{
	struct label label = {.state = LABEL_RUNNING};

	open_ram(fixture_path("ram"));
	catch_sigbus();
	assert_ok(label_write(&ram, &label, &fixture_err));
	ck_assert_int_eq(ftruncate(ram.fd, RAM_BYTES), 0);
	assert_refused(label_read(&ram, &label, &fixture_err), -EIO, WORDS("ram", "be read"));
	label.state = LABEL_SAVED;
	assert_refused(label_write(&ram, &label, &fixture_err), -EIO, WORDS("ram", "be written"));
	ck_assert(!atomic_load(&ram.pages_replaced));
	ram_close(&ram);
}

/* With one page of it gone the label is read and written as before. */
TEST(truncated_copy)
{
	static const enum label_state next[] = {LABEL_SAVED, LABEL_RUNNING, LABEL_SAVED};
	struct label label = {.state = LABEL_RUNNING};
	struct ram_config peeked;

	open_ram(fixture_path("ram"));
	catch_sigbus();
	assert_ok(label_write(&ram, &label, &fixture_err));
	ck_assert_int_eq(ftruncate(ram.fd, RAM_BYTES + 4096), 0);
	for (size_t i = 0; i < ARRAY_SIZE(next); i++) {
		assert_ok(label_read(&ram, &label, &fixture_err));
		ck_assert_int_eq(label.state, i ? next[i - 1] : LABEL_RUNNING);
		label.state = next[i];
		assert_ok(label_write(&ram, &label, &fixture_err));
	}
	ck_assert_int_ge(patched, 6);
	ck_assert(!atomic_load(&ram.pages_replaced));
	peeked = ram.config;
	ram_close(&ram);
	ck_assert_int_eq(truncate(fixture_path("ram"), (off_t)RAM_BYTES + 8192), 0);
	peeked.path = fixture_path("ram");
	assert_ok(label_peek(&peeked, &label, &fixture_err));
	ck_assert_int_eq(label.state, LABEL_SAVED);
}

/* Where pages are large, the patch takes both copies from the mapping: the one that is good is mapped
 * anew. */
TEST(label_in_a_large_page)
{
	struct label label = {.state = LABEL_RUNNING};

	open_ram(fixture_path("ram"));
	assert_ok(label_write(&ram, &label, &fixture_err));
	ck_assert_ptr_eq(mmap(ram.label_hva, ram.label_bytes, PROT_READ | PROT_WRITE,
			      MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0),
			 ram.label_hva);
	atomic_store(&ram.label_replaced, true); /* as ram_patch_hole() does */
	assert_ok(label_read(&ram, &label, &fixture_err));
	ck_assert_int_eq(label.state, LABEL_RUNNING);
	ram_close(&ram);
}

TEST(tmpfs_runs_full)
{
	volatile uint8_t *hva;
	size_t at;

	fixture_mount("tmpfs", "size=16m,huge=never");
	open_ram(fixture_path("fs/ram"));
	/* With less free the start would be refused. */
	ck_assert(!mount("none", fixture_path("fs"), NULL, MS_REMOUNT, "size=4m"));
	catch_sigbus();
	hva = ram.hva;
	for (at = 0; at < RAM_BYTES && !patched; at += 4096)
		hva[at] = 1;
	ck_assert_int_eq(patched, 1);
	ck_assert_uint_eq(at, 4 * MIB + 4096);
	ck_assert_uint_eq(patched_gpa, HIGH_GPA);
	ram_close(&ram);
}

TEST(patch_outside_ram)
{
	uint64_t gpa;
	int local = 0;

	open_ram(NULL);
	ck_assert(!ram_patch_hole(&ram, &local, &gpa));
	ck_assert(!ram_patch_hole(&ram, ram.hva - 1, &gpa));
	ck_assert(!ram_patch_hole(&ram, ram.hva + RAM_BYTES + ram.label_bytes, &gpa));
	ck_assert(!ram_patch_hole(&ram, NULL, &gpa));
	ck_assert(!atomic_load(&ram.pages_replaced));
	assert_ok(ram_sync(&ram, NULL, &fixture_err));
	ram_close(&ram);
	ck_assert(!ram_patch_hole(&ram, NULL, &gpa));
}

static int refuse(void *opaque, uint64_t done_bytes, struct error *err)
{
	uint64_t *seen = opaque;

	ck_assert_uint_gt(done_bytes, *seen);
	*seen = done_bytes;
	return done_bytes < RAM_BYTES / 2 ? 0 : error_set(err, -ECANCELED, "enough");
}

static int look(void *opaque, uint64_t done_bytes, struct error *err)
{
	*(uint64_t *)opaque = done_bytes;
	return 0;
}

/* Each walk tells how far it is, and ends where the watch says so. */
TEST(walks_are_watched)
{
	uint64_t seen = 0;
	const struct ram_watch no = {refuse, &seen}, yes = {look, &seen};
	uint8_t hash[16], again[16];

	open_ram(fixture_path("ram"));
	memset(ram.hva, 1, RAM_BYTES);
	assert_refused(ram_hash(&ram, &no, hash, &fixture_err), -ECANCELED, WORDS("enough"));
	ck_assert_uint_eq(seen, RAM_BYTES / 2);
	assert_ok(ram_hash(&ram, &yes, hash, &fixture_err));
	ck_assert_uint_eq(seen, RAM_BYTES);
	assert_ok(ram_hash(&ram, NULL, again, &fixture_err));
	ck_assert_mem_eq(hash, again, sizeof(hash));
	seen = 0;
	assert_refused(ram_sync(&ram, &no, &fixture_err), -ECANCELED, WORDS("enough"));
	assert_ok(ram_sync(&ram, &yes, &fixture_err));
	ck_assert_uint_eq(seen, RAM_BYTES);
	ram_close(&ram);
}

UNIT_MAIN(fixture_setup, fixture_teardown)
