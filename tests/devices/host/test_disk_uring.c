/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The disk's thread and its ring, with real files, devices, errors and I/O that hangs. */
#include "devices/host/disk.h"
#include "tests/rig/loop_fixture.h"
#include "tests/rig/ram_fixture.h"
#include "vmm/base/loop.h"
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/resource.h>

#define MAX_OPS 64
#define MS_NS	1000000ull

static struct disk_config config;
static struct disk disk;
static struct disk_uring uring;
static int kick_fd;
/* Under uring.lock: what the thread shall take, and what has come back. */
static struct disk_op *todo[MAX_OPS];
static uint32_t ntodo, ndone, nserved;
static uint64_t before_flush; /* what had been written when it was submitted */
static uint64_t busiest;
static uint8_t *data; /* aligned to a page, with room for unaligned use */

static const enum disk_cache cache_modes[] = {DISK_CACHE_WRITEBACK, DISK_CACHE_NONE};

static void serve(void *opaque, bool may_take)
{
	ck_assert_ptr_eq(opaque, &uring);
	nserved++;
	for (; may_take && ntodo; ntodo--) {
		if (todo[ntodo - 1]->kind == DISK_FLUSH)
			before_flush = uring.written;
		disk_uring_submit(&uring, todo[ntodo - 1]);
	}
	if (busiest < uring.busy_bytes)
		busiest = uring.busy_bytes;
}

static void done(void *opaque, struct disk_op *op)
{
	if (op->kind == DISK_FLUSH && !op->result)
		ck_assert_uint_eq(uring.flushed, before_flush);
	ndone++;
}
static const struct disk_uring_client client = {serve, done};

static void open_disk(const char *path, enum disk_cache cache)
{
	config = (struct disk_config){.id = "disk0", .cache = cache};
	snprintf(config.path, sizeof(config.path), "%s", path);
	assert_ok(disk_open(&disk, &config, false, &fixture_err));
	data = aligned_alloc(65536, 4 * MIB);
	ck_assert_ptr_nonnull(data);
	for (uint32_t i = 0; i < 4 * MIB; i++)
		data[i] = (uint8_t)(i * 2654435761u >> 24);
}

static void start(void)
{
	kick_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ndone = ntodo = nserved = 0;
	assert_ok(disk_uring_start(&uring, &disk, MAX_OPS, &kick_fd, 1, "disk0", &client, &uring,
				   &fixture_err));
	disk_uring_serve(&uring);
}

static void open_file(uint64_t bytes, enum disk_cache cache)
{
	const char *path = fixture_path("disk.img");

	fixture_make_file(path, bytes);
	open_disk(path, cache);
	start();
}

static void open_file_on(const char *fs, const char *options)
{
	const char *path = fixture_path("fs/disk.img");

	fixture_mount(fs, options);
	fixture_make_file(path, 4 * MIB);
	open_disk(path, DISK_CACHE_WRITEBACK);
	start();
}

static void end(void)
{
	ck_assert(disk_uring_stop(&uring));
	ck_assert(disk_uring_stop(&uring));
	close(kick_fd);
	disk_close(&disk);
	free(data);
	fixture_teardown();
}

static void give(struct disk_op *op)
{
	pthread_mutex_lock(&uring.lock);
	todo[ntodo++] = op;
	pthread_mutex_unlock(&uring.lock);
	ck_assert_int_eq(eventfd_write(kick_fd, 1), 0);
}

static uint32_t look(const uint32_t *count)
{
	uint32_t n;

	pthread_mutex_lock(&uring.lock);
	n = *count;
	pthread_mutex_unlock(&uring.lock);
	return n;
}

/* No less than a second passes before a test fails for want of an answer. */
static bool wait_done(uint32_t n)
{
	for (int i = 0; i < 5000 && look(&ndone) < n; i++)
		usleep(1000);
	return look(&ndone) >= n;
}

static int run_op(struct disk_op *op)
{
	uint32_t before = look(&ndone);

	give(op);
	ck_assert_msg(wait_done(before + 1), "kind %d does not come back", op->kind);
	pthread_mutex_lock(&uring.lock);
	memset(todo, 0, sizeof(todo));
	pthread_mutex_unlock(&uring.lock);
	return op->result;
}

static int transfer(enum disk_op_kind kind, void *at, uint64_t offset, uint64_t bytes)
{
	struct iovec iov = {at, bytes};
	struct disk_op op = {
		.kind = kind, .niov = 1, .iov = &iov, .offset = offset, .bytes = bytes};

	return run_op(&op);
}

static int range(enum disk_op_kind kind, uint64_t offset, uint64_t bytes)
{
	struct disk_op op = {.kind = kind, .offset = offset, .bytes = bytes};

	return run_op(&op);
}

/* What the file has, by another way. */
static void check_content(uint64_t offset, const void *want, size_t bytes)
{
	uint8_t *have = malloc(bytes);
	int fd = open(config.path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(pread(fd, have, bytes, (off_t)offset), (ssize_t)bytes);
	ck_assert(!memcmp(have, want, bytes));
	close(fd);
	free(have);
}

static void check_reads_and_writes(void)
{
	uint8_t *back = data + MIB;

	ck_assert_int_eq(transfer(DISK_WRITE, data, 8192, 65536), 0);
	check_content(8192, data, 65536);
	ck_assert_int_eq(transfer(DISK_READ, back, 8192, 65536), 0);
	ck_assert(!memcmp(back, data, 65536));
	ck_assert_int_eq(range(DISK_FLUSH, 0, 0), 0);
}

TEST_EACH(reads_and_writes, cache_modes)
{
	open_file(4 * MIB, cache_modes[_i]);
	check_reads_and_writes();
}

/* Many pieces at odd addresses and of odd lengths, which direct I/O does not take as they are. */
static void check_pieces(uint32_t odd)
{
	enum { PIECES = 77, PIECE = 4096 };
	struct iovec iov[PIECES], used[PIECES];
	struct disk_op op = {.niov = PIECES, .iov = used, .offset = 512 * 9ul};
	uint8_t *want = calloc(PIECES, 2ul * PIECE), *back = data + 2 * MIB;

	for (uint32_t i = 0; i < PIECES; i++) {
		uint32_t bytes = i % 2 ? PIECE - odd : PIECE + odd;

		if (i == PIECES - 1)
			bytes = PIECE;
		iov[i] = (struct iovec){data + i * 3ul * PIECE + odd, bytes};
		memcpy(want + op.bytes, iov[i].iov_base, bytes);
		op.bytes += bytes;
	}
	op.kind = DISK_WRITE;
	memcpy(used, iov, sizeof(iov));
	ck_assert_int_eq(run_op(&op), 0);
	check_content(op.offset, want, op.bytes);
	for (uint32_t i = 0; i < PIECES; i++)
		iov[i].iov_base = back + i * 3ul * PIECE + odd;
	op.kind = DISK_READ;
	op.iov = used;
	op.niov = PIECES;
	memcpy(used, iov, sizeof(iov));
	memset(back, 0, MIB);
	ck_assert_int_eq(run_op(&op), 0);
	for (uint64_t i = 0, at = 0; i < PIECES; at += iov[i++].iov_len)
		ck_assert(!memcmp(iov[i].iov_base, want + at, iov[i].iov_len));
	free(want);
}

TEST_EACH(pieces, cache_modes)
{
	open_file(4 * MIB, cache_modes[_i]);
	check_pieces(0);
	check_pieces(1);
	check_pieces(511);
	check_pieces(2048);
}

/* They take turns at one bounce buffer, and each gets its own. */
TEST(many_unaligned)
{
	struct disk_op op[MAX_OPS] = {0};
	struct iovec iov[MAX_OPS];

	open_file(4 * MIB, DISK_CACHE_NONE);
	ck_assert_int_eq(transfer(DISK_WRITE, data, 0, MIB), 0);
	pthread_mutex_lock(&uring.lock);
	for (uint32_t i = 0; i < MAX_OPS; i++) {
		uint64_t offset = i * 37 % 128 * 8192ul;

		iov[i] = (struct iovec){data + MIB + i * 8192ul + i % 3, 4096};
		op[i] = (struct disk_op){.kind = DISK_READ,
					 .niov = 1,
					 .iov = &iov[i],
					 .offset = offset,
					 .bytes = 4096};
		todo[ntodo++] = &op[i];
	}
	ndone = 0;
	pthread_mutex_unlock(&uring.lock);
	disk_uring_wake(&uring);
	ck_assert(wait_done(MAX_OPS));
	/* Of three, two are not aligned, and each of those may cost a whole turn. */
	ck_assert_uint_eq(busiest, 42 * MIB + 22 * 4096ul);
	ck_assert_uint_eq(uring.busy_bytes, 0);
	for (uint32_t i = 0; i < MAX_OPS; i++) {
		ck_assert_int_eq(op[i].result, 0);
		ck_assert(!memcmp(data + MIB + i * 8192ul + i % 3, data + op[i].offset, 4096));
	}
}

static uint64_t allocated_bytes(void)
{
	struct stat st;

	ck_assert_int_eq(stat(config.path, &st), 0);
	return (uint64_t)st.st_blocks * 512;
}

static void check_holes(void)
{
	const uint8_t *zero = calloc(1, MIB);

	ck_assert_int_eq(transfer(DISK_WRITE, data, 0, MIB), 0);
	ck_assert_int_eq(range(DISK_ZERO, 4096, 8192), 0);
	check_content(0, data, 4096);
	check_content(4096, zero, 8192);
	check_content(12288, data + 12288, 4096);
	ck_assert_int_eq(range(DISK_ZERO_UNMAP, 65536, 65536), 0);
	check_content(65536, zero, 65536);
	ck_assert_int_eq(range(DISK_DISCARD, 131072, 65536), 0);
	check_content(196608, data + 196608, 4096);
	free((void *)zero);
}

TEST(holes_in_a_file)
{
	uint64_t before;

	open_file(4 * MIB, DISK_CACHE_NONE);
	check_holes();
	before = allocated_bytes();
	ck_assert_int_eq(range(DISK_DISCARD, 0, MIB), 0);
	ck_assert_uint_lt(allocated_bytes(), before);
}

/* tmpfs cannot zero in place. */
TEST(holes_in_tmpfs)
{
	open_file_on("tmpfs", "size=8m");
	check_holes();
	ck_assert_uint_eq(uring.way[DISK_ZERO], 1);
}

/* ramfs can neither zero nor make holes: then it is written to, and a discard is not done. */
TEST(zeroes_without_holes)
{
	uint8_t *zero = calloc(3, MIB);

	open_file_on("ramfs", NULL);
	for (enum disk_op_kind kind = DISK_ZERO; kind <= DISK_ZERO_UNMAP; kind++) {
		struct disk_op op = {.kind = kind,
				     .is_durable = kind == DISK_ZERO,
				     .offset = 4096,
				     .bytes = 2 * MIB + 512};

		ck_assert_int_eq(transfer(DISK_WRITE, data, 0, 3 * MIB), 0);
		ck_assert_int_eq(run_op(&op), 0);
		check_content(0, data, 4096);
		check_content(4096, zero, op.bytes);
		check_content(4096 + op.bytes, data + 4096 + op.bytes, 65536);
	}
	ck_assert_int_eq(range(DISK_DISCARD, 0, MIB), -EOPNOTSUPP);
	ck_assert_int_eq(range(DISK_DISCARD, 0, MIB), -EOPNOTSUPP);
	check_content(0, data, 4096);
	free(zero);
}

TEST(holes_in_a_device)
{
	const char *path = fixture_path("disk.img"), *device;
	uint64_t before;

	fixture_make_file(path, 4 * MIB);
	device = loop_attach(path, 512);
	open_disk(device, DISK_CACHE_NONE);
	start();
	check_reads_and_writes();
	check_holes();
	snprintf(config.path, sizeof(config.path), "%s", path);
	before = allocated_bytes();
	ck_assert_uint_ge(before, MIB / 2);
	ck_assert_int_eq(range(DISK_DISCARD, 0, 4 * MIB), 0);
	ck_assert_uint_lt(allocated_bytes(), before);
}

/* --- errors of the host */
TEST(no_space)
{
	open_file_on("tmpfs", "size=1m");
	ck_assert_int_eq(transfer(DISK_WRITE, data, 0, 2 * MIB), -ENOSPC);
	ck_assert_int_eq(transfer(DISK_READ, data, 0, 4096), 0);
}

TEST_EACH(file_became_shorter, cache_modes)
{
	open_file(4 * MIB, cache_modes[_i]);
	ck_assert_int_eq(truncate(config.path, MIB), 0);
	ck_assert_int_eq(transfer(DISK_READ, data, MIB / 2, MIB), -EIO);
	ck_assert_int_eq(transfer(DISK_READ, data, 2 * MIB, 4096), -EIO);
	ck_assert_int_eq(transfer(DISK_READ, data, MIB - 4096, 4096), 0);
}

/* The signal that comes with it must not end the process. */
TEST_EACH(file_size_limit, cache_modes)
{
	const struct rlimit limit = {MIB, MIB};

	open_file(4 * MIB, cache_modes[_i]);
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	ck_assert_int_eq(transfer(DISK_WRITE, data, 2 * MIB, 4096), -EFBIG);
	ck_assert_int_eq(transfer(DISK_WRITE, data, 0, 4096), 0);
}

/* --- I/O that hangs: the ring reads from a pipe that nobody writes to */
static int pipe_fd[2];

static void open_hanging(void)
{
	const char *path = fixture_path("disk.img");

	fixture_make_file(path, MIB);
	open_disk(path, DISK_CACHE_WRITEBACK);
	ck_assert_int_eq(pipe2(pipe_fd, O_CLOEXEC), 0);
	ck_assert_int_eq(dup3(pipe_fd[0], disk.fd, O_CLOEXEC), disk.fd);
	start();
}

/* Gives once the drain has begun, or else is over: not before it, however late it is. */
static atomic_bool drained;
static void *give_late(void *op)
{
	bool serving;

	do {
		usleep(100);
		pthread_mutex_lock(&uring.lock);
		serving = uring.serving;
		pthread_mutex_unlock(&uring.lock);
	} while (serving && !atomic_load(&drained));
	give(op);
	return NULL;
}

TEST(drain)
{
	uint8_t buffer[4096] = {0};
	struct iovec iov[3];
	pthread_t thread;
	struct disk_op op[3] = {0};
	uint64_t began_ns;

	open_hanging();
	assert_ok(disk_uring_drain(&uring, 0, &fixture_err));
	assert_ok(disk_uring_drain(&uring, UINT64_MAX, &fixture_err));
	disk_uring_serve(&uring);
	for (uint32_t i = 0; i < 3; i++) {
		iov[i] = (struct iovec){data + i * 4096ul, 4096};
		op[i] = (struct disk_op){.niov = 1, .iov = &iov[i], .bytes = 4096};
	}
	give(&op[0]);
	give(&op[1]);
	while (look(&uring.in_flight) < 2)
		usleep(100);
	began_ns = clock_now_ns();
	ck_assert_int_eq(pthread_create(&thread, NULL, give_late, &op[2]), 0);
	assert_refused(disk_uring_drain(&uring, began_ns + 50 * MS_NS, &fixture_err), -ETIMEDOUT,
		       WORDS("2 requests", config.path, "time limit"));
	atomic_store(&drained, true);
	ck_assert_uint_ge(clock_now_ns() - began_ns, 50 * MS_NS);
	pthread_join(thread, NULL);
	/* It goes on as if it had not been asked: also with what came meanwhile. */
	for (int i = 0; look(&uring.in_flight) < 3; i++) {
		ck_assert_int_lt(i, 50000);
		usleep(100);
	}
	ck_assert_int_eq(write(pipe_fd[1], buffer, sizeof(buffer)), 4096);
	ck_assert(wait_done(1));
	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(write(pipe_fd[1], buffer, sizeof(buffer)), 4096);
	assert_ok(disk_uring_drain(&uring, UINT64_MAX, &fixture_err));
	ck_assert_uint_eq(ndone, 3);
}

/* What the VMM itself reads has a time limit, too, and is none of the client's. */
TEST(own_reads)
{
	struct iovec iov[2] = {{data, 4096}, {data, 4096}};
	struct disk_op op[2] = {{.niov = 1, .iov = &iov[0], .bytes = 4096},
				{.niov = 1, .iov = &iov[1], .bytes = 4096}};
	struct disk_op *const list[] = {&op[0], &op[1]};
	uint8_t buffer[8192];
	uint64_t began_ns;

	open_hanging();
	memset(buffer, 7, sizeof(buffer));
	iov[0].iov_base = data;
	iov[1].iov_base = data + 4096;
	began_ns = clock_now_ns();
	assert_refused(disk_uring_read(&uring, list, 2, began_ns + 50 * MS_NS, &fixture_err),
		       -ETIMEDOUT, WORDS("disk0", config.path, "time limit"));
	ck_assert_uint_ge(clock_now_ns() - began_ns, 50 * MS_NS);
	/* As long as they hang there are no others. */
	assert_refused(disk_uring_read(&uring, list, 2, clock_now_ns() + 20 * MS_NS, &fixture_err),
		       -ETIMEDOUT, WORDS("time limit"));
	ck_assert_int_eq(write(pipe_fd[1], buffer, 8192), 8192);
	assert_ok(disk_uring_drain(&uring, UINT64_MAX, &fixture_err));
	ck_assert_int_eq(op[0].result, 0);
	ck_assert_int_eq(data[8191], 7);
	/* With nothing being served. */
	memset(data, 0, 8192);
	for (uint32_t i = 0; i < 2; i++) {
		iov[i] = (struct iovec){data + i * 4096ul, 4096};
		op[i] = (struct disk_op){.niov = 1, .iov = &iov[i], .bytes = 4096};
	}
	ck_assert_int_eq(write(pipe_fd[1], buffer, 8192), 8192);
	assert_ok(disk_uring_read(&uring, list, 2, UINT64_MAX, &fixture_err));
	ck_assert_int_eq(data[0], 7);
	ck_assert_int_eq(data[8191], 7);
	ck_assert_uint_eq(ndone, 0);
}

/* A driver that resets gives nothing more, even while something is in flight. */
TEST(drain_for_a_reset)
{
	uint8_t buffer[4096] = {0};
	struct iovec iov = {data, 4096};
	struct disk_op op = {.niov = 1, .bytes = 4096}, late = {.niov = 1, .bytes = 4096};

	open_hanging();
	iov.iov_base = data;
	op.iov = late.iov = &iov;
	give(&op);
	while (!look(&uring.in_flight))
		usleep(100);
	assert_refused(disk_uring_drain(&uring, 0, &fixture_err), -ETIMEDOUT,
		       WORDS("1 request of", "has not"));
	give(&late);
	ck_assert_int_eq(write(pipe_fd[1], buffer, sizeof(buffer)), 4096);
	ck_assert(wait_done(1));
	assert_ok(disk_uring_drain(&uring, 0, &fixture_err));
	ck_assert_uint_eq(ntodo, 1);
}

/* A piece at a time, as a pipe gives it, is one request. */
TEST(short_reads)
{
	struct iovec iov[2];
	struct disk_op op = {.niov = 2, .iov = iov, .bytes = 8192};

	open_hanging();
	iov[0] = (struct iovec){data, 1000};
	iov[1] = (struct iovec){data + 65536, 7192};
	give(&op);
	for (uint32_t i = 0; i < 8; i++) {
		uint8_t piece[1024];

		ck_assert_uint_eq(look(&ndone), 0);
		memset(piece, (int)i + 1, sizeof(piece));
		ck_assert_int_eq(write(pipe_fd[1], piece, sizeof(piece)), sizeof(piece));
		usleep(2000);
	}
	ck_assert(wait_done(1));
	ck_assert_int_eq(op.result, 0);
	for (uint32_t i = 0; i < 8192; i++)
		ck_assert_uint_eq(i < 1000 ? data[i] : data[65536 + i - 1000], i / 1024 + 1);
}

/* --- flush */
TEST(flush)
{
	open_file(4 * MIB, DISK_CACHE_WRITEBACK);
	/* What was there before counts as written. */
	ck_assert_uint_ne(uring.written, uring.flushed);
	assert_ok(disk_uring_flush(&uring, UINT64_MAX, &fixture_err));
	ck_assert_uint_eq(uring.written, uring.flushed);
	ck_assert_int_eq(transfer(DISK_WRITE, data, 0, 4096), 0);
	ck_assert_uint_ne(uring.written, uring.flushed);
	assert_ok(disk_uring_drain(&uring, UINT64_MAX, &fixture_err));
	assert_ok(disk_uring_flush(&uring, UINT64_MAX, &fixture_err));
	ck_assert_uint_eq(uring.written, uring.flushed);
	assert_ok(disk_uring_flush(&uring, 0, &fixture_err)); /* nothing to do */
}

/* What is written while a flush is on its way is not its. */
TEST(flush_covers_what_was_before)
{
	struct disk_op write = {.kind = DISK_WRITE, .bytes = 4096}, flush = {.kind = DISK_FLUSH};
	struct iovec iov;

	open_file(4 * MIB, DISK_CACHE_WRITEBACK);
	for (uint32_t i = 1; i <= 50; i++) {
		ck_assert_int_eq(transfer(DISK_WRITE, data, 8192, 4096), 0);
		pthread_mutex_lock(&uring.lock);
		iov = (struct iovec){data, 4096};
		write.iov = &iov;
		write.niov = 1;
		todo[ntodo++] = &write;
		todo[ntodo++] = &flush;
		pthread_mutex_unlock(&uring.lock);
		disk_uring_wake(&uring);
		ck_assert(wait_done(i * 3));
		ck_assert_int_eq(flush.result, 0);
	}
}

TEST(lost_pages_stay_lost)
{
	open_file(4 * MIB, DISK_CACHE_WRITEBACK);
	pthread_mutex_lock(&uring.lock);
	uring.flush_error = -EIO; /* as a flush that failed leaves it */
	pthread_mutex_unlock(&uring.lock);
	ck_assert_int_eq(range(DISK_FLUSH, 0, 0), -EIO);
	assert_refused(disk_uring_flush(&uring, UINT64_MAX, &fixture_err), -EIO,
		       WORDS(config.path, "cannot be flushed", "no reset", "boot anew"));
}

/* A pipe cannot be flushed; and what the page cache may have lost stays lost. */
TEST(flush_fails)
{
	open_hanging();
	assert_refused(disk_uring_flush(&uring, UINT64_MAX, &fixture_err), -EINVAL,
		       WORDS(config.path, "cannot be flushed"));
	assert_refused(disk_uring_flush(&uring, UINT64_MAX, &fixture_err), -EINVAL,
		       WORDS(config.path, "cannot be flushed"));
	ck_assert_int_eq(range(DISK_FLUSH, 0, 0), -EINVAL);
}

UNIT_MAIN(fixture_setup, end)
