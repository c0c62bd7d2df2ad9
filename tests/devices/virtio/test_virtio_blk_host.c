/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio disk when the host fails, hangs, saves, loads and resizes. */
#include "tests/rig/blk_fixture.h"
#include "tests/rig/loop_fixture.h"
#include "vmm/base/bytes.h"
#include <linux/userfaultfd.h>
#include <sys/mman.h>
#include <sys/syscall.h>

TEST(flush_for_a_save)
{
	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(DISK_BYTES);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert(is_on_its_way());
	assert_ok(rig.dev->ops->flush(rig.dev, UINT64_MAX, &fixture_err));
	ck_assert(!is_on_its_way());
}

/* An image that the next kernel does not have is none to save for it. */
TEST(survives)
{
	const char *words[] = {"disk0", config.path, "kexec", "mode=restart", NULL};

	snprintf(config.path, sizeof(config.path), "%s", fixture_path("fs/disk.img"));
	fixture_mount("tmpfs", "size=8m");
	config.cache = DISK_CACHE_WRITEBACK;
	fixture_make_file(config.path, DISK_BYTES);
	attach();
	assert_ok(rig.dev->ops->check_survives(rig.dev, RAM_SURVIVES_PROCESS, &fixture_err));
	assert_refused(rig.dev->ops->check_survives(rig.dev, RAM_SURVIVES_KEXEC, &fixture_err),
		       -EOPNOTSUPP, words);
	devices_detach(&rig.vm);
	config.readonly = true;
	attach();
	assert_ok(rig.dev->ops->check_survives(rig.dev, RAM_SURVIVES_KEXEC, &fixture_err));
	devices_detach(&rig.vm);
	config.readonly = false;
	/* A loop device over it. */
	snprintf(config.path, sizeof(config.path), "%s", loop_attach(config.path, 512));
	attach();
	assert_refused(rig.dev->ops->check_survives(rig.dev, RAM_SURVIVES_KEXEC, &fixture_err),
		       -EOPNOTSUPP, words);
	devices_detach(&rig.vm);
	loop_detach();
	snprintf(config.path, sizeof(config.path), "%s", fixture_path("disk.img"));
	fixture_make_file(config.path, DISK_BYTES);
	snprintf(config.path, sizeof(config.path), "%s", loop_attach(config.path, 512));
	attach();
	assert_ok(rig.dev->ops->check_survives(rig.dev, RAM_SURVIVES_KEXEC, &fixture_err));
	devices_detach(&rig.vm);
	loop_detach();
}

/* --- errors of the host */
static void check_event(const char *operation, const char *reason, bool nospace, uint32_t nth)
{
	ck_assert_uint_eq(rig.nevents, nth);
	ck_assert_int_eq(rig.event.type, VM_EVENT_BLOCK_IO_ERROR);
	ck_assert_str_eq(rig.event.operation, operation);
	ck_assert_str_eq(rig.event.reason, reason);
	ck_assert_str_eq(rig.event.id, "root");
	ck_assert_int_eq(rig.event.on, nospace);
}

TEST(io_errors)
{
	struct blk_info info;

	snprintf(config.path, sizeof(config.path), "%s", fixture_path("fs/disk.img"));
	config.cache = DISK_CACHE_WRITEBACK;
	fixture_mount("tmpfs", "size=64k");
	attach_file(DISK_BYTES);
	for (uint64_t i = 0; i < 16; i++)
		ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, i * 8, 4096), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 4096, 4096), VIRTIO_BLK_S_IOERR);
	check_event("write", "No space left on device", true, 1);
	ck_assert_int_eq(truncate(config.path, 65536), 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 4096, 4096), VIRTIO_BLK_S_IOERR);
	check_event("read", "Input/output error", false, 2);
	/* The guest goes on with what there is. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	blk_query(rig.dev, &info);
	ck_assert_uint_eq(info.counter[BLK_WRITE].operations, 16);
	ck_assert_uint_eq(info.counter[BLK_WRITE].bytes, 65536);
	ck_assert_uint_eq(info.counter[BLK_WRITE].failed, 1);
	ck_assert_uint_eq(info.counter[BLK_READ].operations, 1);
	ck_assert_uint_eq(info.counter[BLK_READ].failed, 1);
	ck_assert_uint_eq(info.written_end, 65536);
	ck_assert_uint_gt(info.counter[BLK_WRITE].total_ns, 0);
	ck_assert_ptr_eq(info.config, &config);
}

/* Errors that the library has no words for, as some file systems return them. */
static bool no_words;

const char *strerrordesc_np(int __err) /* NOLINT(bugprone-reserved-identifier): the library's */
{
	return no_words ? NULL : strerror(__err);
}

/* Zeroes have no buffer, not even that of a request which failed before. ramfs can neither punch nor zero, so that
 * zeroes are written. */
TEST(zeroes_after_a_failed_read)
{
	static const uint8_t zero[4096];
	const struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_IN};
	const struct buffer chain[] = {
		{header_gpa(0, 0), sizeof(hdr), false},
		{data_gpa(0, 4), 2048, true},
		{data_gpa(0, 4) + 4096, 2048, true},
		{header_gpa(0, 0) + 32, 1, true},
	};
	uint16_t head;

	snprintf(config.path, sizeof(config.path), "%s", fixture_path("fs/disk.img"));
	fixture_mount("ramfs", NULL);
	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(DISK_BYTES);
	ck_assert(!truncate(config.path, 0));
	memset(at(data_gpa(0, 4)), 0x55, 8192);
	memcpy(at(header_gpa(0, 0)), &hdr, sizeof(hdr));
	*status_of(0, 0) = NO_STATUS;
	put_chain(0, 0, chain, 4);
	kick(0);
	take_used(0, &head);
	ck_assert_uint_eq(*status_of(0, 0), VIRTIO_BLK_S_IOERR);
	ck_assert(!truncate(config.path, DISK_BYTES));
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_OK);
	check_file(0, zero, sizeof(zero));
}

TEST(error_without_message)
{
	attach_file(DISK_BYTES);
	ck_assert_int_eq(truncate(config.path, 65536), 0);
	no_words = true;
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 4096, 4096), VIRTIO_BLK_S_IOERR);
	check_event("read", "unknown error", false, 1);
}

/* --- I/O that hangs: a page of guest RAM that does not come until it is given. */
static int fault_fd;

static void hold_page(uint64_t gpa)
{
	struct uffdio_api api = {.api = UFFD_API};
	struct uffdio_register reg = {.range = {(uintptr_t)at(gpa), 4096},
				      .mode = UFFDIO_REGISTER_MODE_MISSING};

	ck_assert_int_eq(madvise(at(gpa), 4096, MADV_REMOVE), 0);
	fault_fd = (int)syscall(SYS_userfaultfd, O_CLOEXEC);
	ck_assert_msg(fault_fd >= 0, "userfaultfd: %s: run as root", strerror(errno));
	ck_assert_int_eq(ioctl(fault_fd, UFFDIO_API, &api), 0);
	ck_assert_msg(!ioctl(fault_fd, UFFDIO_REGISTER, &reg), "%s", strerror(errno));
}

static void wait_for_fault(void)
{
	struct uffd_msg msg;

	ck_assert_int_eq(read(fault_fd, &msg, sizeof(msg)), sizeof(msg));
	ck_assert_uint_eq(msg.event, UFFD_EVENT_PAGEFAULT);
}

static void give_page(uint64_t gpa)
{
	struct uffdio_zeropage zero = {.range = {(uintptr_t)at(gpa), 4096}};

	ck_assert_msg(!ioctl(fault_fd, UFFDIO_ZEROPAGE, &zero), "%s", strerror(errno));
	close(fault_fd);
}

static void hang(void)
{
	hold_page(data_gpa(0, 0));
	put_request(0, 0, VIRTIO_BLK_T_IN, 0, 4096);
	kick(0);
	wait_for_fault();
}

static void hanging_and_new_one_succeed(uint64_t sector)
{
	uint16_t head;

	put_request(1, 0, VIRTIO_BLK_T_IN, sector, 4096);
	kick(1);
	give_page(data_gpa(0, 0));
	take_used(0, &head);
	take_used(1, &head);
	ck_assert_uint_eq(*status_of(0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(*status_of(1, 0), VIRTIO_BLK_S_OK);
}

TEST_EACH(pause_with_hanging_io, cache_modes)
{
	uint64_t began_ns = clock_now_ns();

	config.cache = cache_modes[_i];
	attach_file(DISK_BYTES);
	hang();
	assert_refused(rig.dev->ops->pause(rig.dev, began_ns + 30 * MS_NS, &fixture_err),
		       -ETIMEDOUT, WORDS("1 request of", config.path, "within the time limit"));
	ck_assert_uint_ge(clock_now_ns() - began_ns, 30 * MS_NS);
	ck_assert_uint_eq(used_idx(0), 0);
	hanging_and_new_one_succeed(8);
	assert_ok(rig.dev->ops->pause(rig.dev, UINT64_MAX, &fixture_err));
	assert_ok(rig.dev->ops->pause(rig.dev, 1, &fixture_err));
}

/* However much a driver asks for, a pause has no more to wait for than storage does in seconds: the
 * rest is not even taken. */
TEST(bounded_work)
{
	const struct virtio *v;
	struct buffer buffer[18] = {{HEADERS_GPA, 16, false}};
	uint16_t head;

	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(64 * MIB);
	v = virtio_of(rig.dev);
	memset(at(HEADERS_GPA), 0, 16);
	for (uint32_t i = 1; i <= 16; i++)
		buffer[i] = (struct buffer){DATA_GPA, 4 * MIB, true};
	buffer[17] = (struct buffer){HEADERS_GPA + 32, 1, true};
	hold_page(DATA_GPA);
	for (uint32_t i = 0; i < 16; i++)
		put_chain(0, 0, buffer, 18);
	kick(0);
	wait_for_fault();
	/* The disk's thread hangs in the first, having taken what it takes. */
	ck_assert_uint_eq(v->queue[0].q.last_avail, 4);
	give_page(DATA_GPA);
	for (uint32_t i = 0; i < 16; i++)
		ck_assert_uint_eq(take_used(0, &head), 64 * MIB + 1);
}

/* The driver has its buffers back only when the device has let go of them. */
TEST(reset_with_hanging_io)
{
	attach_file(DISK_BYTES);
	hang();
	driver_set_status(&drv, 0);
	ck_assert_uint_ne(driver_status(&drv), 0);
	put_request(1, 0, VIRTIO_BLK_T_IN, 8, 4096);
	kick(1);
	give_page(data_gpa(0, 0));
	for (int i = 0; i < 5000 && driver_status(&drv); i++)
		usleep(1000);
	ck_assert_uint_eq(used_idx(1), 0); /* that one came too late */
	drive(ALL);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
}

/* --- save and load */
static void *pause_and_copy(void)
{
	void *saved = malloc(rig.dev->ops->state->size);

	assert_ok(rig.dev->ops->pause(rig.dev, UINT64_MAX, &fixture_err));
	memcpy(saved, device_state(rig.dev), rig.dev->ops->state->size);
	assert_ok(state_check(rig.dev->ops->state, saved, &fixture_err));
	return saved;
}

/* Each request has a block of its own and says which. Any moment will do for a save: some requests
 * are in flight, some not even taken. */
TEST_EACH(nothing_lost_or_doubled, cache_modes)
{
	enum { ROUNDS = 60, PER_ROUND = QUEUE_SIZE / 3 };
	uint32_t completed[QUEUES] = {0}, random = 1;
	uint8_t want[4096];

	config.cache = cache_modes[_i];
	attach_file(DISK_BYTES);
	for (uint32_t round = 0; round < ROUNDS; round++) {
		for (uint32_t q = 0; q < QUEUES; q++) {
			for (uint32_t i = 0; i < PER_ROUND; i++) {
				uint16_t head = (uint16_t)(i * 3);
				uint32_t block = (q * PER_ROUND + i) * 8;

				fill(at(data_gpa(q, head)), 4096, block + round);
				put_request(q, head, VIRTIO_BLK_T_OUT, block, 4096);
				if (i == round % PER_ROUND)
					kick(q);
			}
		}
		random = random * 1664525 + 1013904223;
		usleep(random >> 24);
		rig_reload();
		for (uint32_t q = 0; q < QUEUES; q++) {
			uint64_t back = 0;

			for (uint32_t i = 0; i < PER_ROUND; i++) {
				uint16_t head;

				ck_assert_uint_eq(take_used(q, &head), 1);
				ck_assert_uint_eq(head % 3, 0);
				ck_assert_msg(!(back >> head & 1), "head %u twice", head);
				back |= 1ull << head;
				ck_assert_uint_eq(*status_of(q, head), VIRTIO_BLK_S_OK);
				completed[q]++;
			}
			ck_assert_uint_eq(used_idx(q), drv.seen[q]);
		}
	}
	for (uint32_t q = 0; q < QUEUES; q++)
		ck_assert_uint_eq(completed[q], (uint64_t)ROUNDS * PER_ROUND);
	for (uint32_t i = 0; i < QUEUES * PER_ROUND; i++) {
		fill(want, 4096, i * 8 + ROUNDS - 1);
		check_file(i * 4096ul, want, 4096);
	}
}

/* A save may come at a moment when the device wants no kicks: that is in the driver's RAM and nowhere
 * else. A driver that believed it for ever would wait for ever. */
TEST(kicks_are_wanted_again)
{
	fixture_make_file(config.path, DISK_BYTES);
	attach();
	drive(FEATURE(VIRTIO_F_VERSION_1));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	free(pause_and_copy());
	for (uint32_t q = 0; q < QUEUES; q++)
		driver_used(q)->flags = VRING_USED_F_NO_NOTIFY;
	rig_reload();
	for (uint32_t q = 0, i = 0; q < QUEUES; q++)
		for (; __atomic_load_n(&driver_used(q)->flags, __ATOMIC_ACQUIRE); i++) {
			ck_assert_msg(i < 5000, "queue %u never wants kicks again", q);
			usleep(1000);
		}
}

/* What the driver chose stays chosen. */
TEST(reload_keeps_the_cache_mode)
{
	struct virtio *v;

	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(DISK_BYTES);
	v = virtio_of(rig.dev);
	v->ops->config_write(v, offsetof(struct virtio_blk_config, wce), 1, 0);
	rig_reload();
	ck_assert_uint_eq(device_config().wce, 0);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert(!is_on_its_way());
}

static void check_differs(const void *saved, const char *const *word)
{
	int ret;

	attach();
	fixture_err.msg[0] = '\0';
	ret = state_compare(rig.dev->ops->state, saved, device_state(rig.dev), &fixture_err);
	ret = rig.dev->ops->compare(rig.dev, saved, &fixture_err) ? -EINVAL : ret;
	assert_refused(ret, -EINVAL, word);
	devices_detach(&rig.vm);
}

TEST(differences)
{
	void *saved;

	attach_file(DISK_BYTES);
	saved = pause_and_copy();
	devices_detach(&rig.vm);
	ck_assert_int_eq(truncate(config.path, DISK_BYTES * 2), 0);
	check_differs(saved,
		      WORDS("has 8192 sectors", config.path, "16384", "truncate -s 4194304 /"));
	ck_assert_int_eq(truncate(config.path, DISK_BYTES), 0);
	config.queue_size = 32;
	check_differs(saved, WORDS("queue-size=64", "32"));
	config.queue_size = QUEUE_SIZE;
	config.queues = 1;
	check_differs(saved, WORDS("2 queues", "1"));
	config.queues = QUEUES;
	config.readonly = true;
	check_differs(saved, WORDS("readonly=off", "on"));
	config.queues = 1;
	check_differs(saved, WORDS("checkpoint has readonly=off", "2 queues"));
	ck_assert_msg(!strstr(fixture_err.msg, "MSI-X"), "%s", fixture_err.msg);
	config.queues = QUEUES;
	config.readonly = false;
	strcpy(config.serial, "OTHER");
	config.queue_size = 128;
	check_differs(saved, WORDS("serial=SERIAL", "OTHER", "queue-size=64", "128"));
	free(saved);
}

/* Each row that the table names and check() has an opinion about. */
TEST(hostile_state)
{
	static const struct {
		const char *row;
		uint64_t value;
	} bad[] = {
		{"capacity", 0},
		{"capacity", UINT64_MAX},
		{"block_bytes", 0},
		{"block_bytes", 513},
		{"block_bytes", 256},
		{"block_bytes", 1u << 31},
		{"seg_max", 0},
		{"seg_max", 65},
		{"size_max", 0},
		{"size_max", 2 * MIB},
		{"queue_size", 0},
		{"queue_size", 63},
		{"queue_size", 2048},
		{"queue_size", 32},
		{"readonly", 1},
		{"readonly", 2},
		{"writeback", 2},
		{"physical_block_exp", 8},
		{"max_discard_sectors", 0},
		{"max_zero_sectors", UINT32_MAX},
		{"discard_align_sectors", 0},
		{"virtio.nqueues", 0},
		{"virtio.nqueues", 9},
	};
	const struct state_desc *desc;
	uint8_t *saved, *copy;

	attach_file(DISK_BYTES);
	desc = rig.dev->ops->state;
	saved = pause_and_copy();
	copy = malloc(desc->size);
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		const struct state_row *row = state_row_find(desc, bad[i].row);

		ck_assert_msg(row != NULL, "%s", bad[i].row);
		memcpy(copy, saved, desc->size);
		memcpy(copy + row->offset, &bad[i].value, row->width);
		ck_assert_msg(state_check(desc, copy, NULL) != 0, "%s = %lu", bad[i].row,
			      (unsigned long)bad[i].value);
	}
	memcpy(copy, saved, desc->size);
	memset(copy + state_row_find(desc, "serial")->offset, 'x', 24);
	ck_assert_ptr_nonnull(desc->check(copy));
	free(copy);
	free(saved);
}

static void put_row(void *state, const char *row, uint64_t value)
{
	const struct state_row *r = state_row_find(rig.dev->ops->state, row);

	memcpy((uint8_t *)state + r->offset, &value, r->width);
}

static int resize(uint64_t bytes)
{
	int ret;

	pthread_mutex_lock(&rig.dev->lock);
	ret = blk_resize(rig.dev, bytes, &fixture_err);
	pthread_mutex_unlock(&rig.dev->lock);
	return ret;
}

/* A guest with large blocks is at home on a disk with small ones, not the other way round. */
TEST(block_sizes)
{
	uint8_t *saved;

	attach_file(DISK_BYTES);
	saved = pause_and_copy();
	put_row(saved, "block_bytes", 4096);
	assert_ok(rig.dev->ops->compare(rig.dev, saved, &fixture_err));
	memcpy(device_state(rig.dev), saved, rig.dev->ops->state->size);
	assert_ok(rig.dev->ops->post_load(rig.dev, &fixture_err));
	pthread_mutex_lock(&rig.dev->lock);
	rig.dev->ops->resume(rig.dev);
	pthread_mutex_unlock(&rig.dev->lock);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 8, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 8, 4096), VIRTIO_BLK_S_OK);
	assert_refused(resize(DISK_BYTES + 512), -EINVAL, WORDS("4096"));
	put_row(device_state(rig.dev), "block_bytes", 4096);
	put_row(saved, "block_bytes", 512);
	fixture_err.msg[0] = '\0';
	assert_refused(rig.dev->ops->compare(rig.dev, saved, &fixture_err), -EINVAL,
		       WORDS("blocks of 512 bytes", "blocks of 4096"));
	free(saved);
}

TEST(device_of_another_size)
{
	const char *path = fixture_path("disk.img");
	void *saved;

	fixture_make_file(path, DISK_BYTES);
	snprintf(config.path, sizeof(config.path), "%s", loop_attach(path, 512));
	attach();
	drive(ALL);
	saved = pause_and_copy();
	put_row(saved, "capacity", DISK_BYTES / 1024);
	fixture_err.msg[0] = '\0';
	assert_refused(rig.dev->ops->compare(rig.dev, saved, &fixture_err), -EINVAL,
		       WORDS(config.path, "has 4096 sectors", "its size again on the host"));
	ck_assert(!strstr(fixture_err.msg, "truncate"));
	free(saved);
	devices_detach(&rig.vm);
	loop_detach();
}

/* What a failed load leaves in the state is gone with the reset that follows. */
TEST(reset_after_a_failed_load)
{
	struct virtio_blk_config before;

	attach_file(DISK_BYTES);
	before = device_config();
	free(pause_and_copy());
	put_row(device_state(rig.dev), "capacity", DISK_BYTES);
	put_row(device_state(rig.dev), "block_bytes", 4096);
	put_row(device_state(rig.dev), "max_zero_sectors", 1);
	put_row(device_state(rig.dev), "serial", 'X');
	put_row(device_state(rig.dev), "writeback", 0);
	rig.dev->ops->reset(rig.dev);
	drive(ALL);
	before.wce = 1;
	ck_assert(!memcmp(&before, (struct virtio_blk_config[]){device_config()}, sizeof(before)));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	ck_assert_str_eq(data(), "SERIAL");
}

/* --- block_resize */

static int make_append_only(bool on)
{
	int fd = open(config.path, O_RDONLY | O_CLOEXEC), flags = on ? FS_APPEND_FL : 0;
	int ret = ioctl(fd, FS_IOC_SETFLAGS, &flags);

	close(fd);
	return ret;
}

TEST(resize)
{
	const struct virtio_state *s;
	struct blk_info info;
	uint8_t generation;

	attach_file(DISK_BYTES);
	s = device_state(rig.dev);
	generation = s->generation;
	driver_isr(&drv);
	assert_ok(resize(DISK_BYTES * 2));
	ck_assert_uint_eq(fixture_size(config.path), DISK_BYTES * 2);
	ck_assert_uint_eq(device_config().capacity, DISK_BYTES * 2 / 512);
	ck_assert_uint_ne(s->generation, generation);
	ck_assert_uint_eq(driver_isr(&drv), 2);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, DISK_BYTES * 2 / 512 - 8, 4096),
			  VIRTIO_BLK_S_OK);
	assert_ok(resize(DISK_BYTES / 2));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, DISK_BYTES / 1024, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, DISK_BYTES / 1024 - 1, 512), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(fixture_size(config.path), DISK_BYTES / 2);
	assert_refused(resize(DISK_BYTES + 100), -EINVAL, WORDS(config.path));
	blk_query(rig.dev, &info);
	ck_assert_uint_eq(info.size_bytes, DISK_BYTES / 2);
	rig_reload();
	ck_assert_uint_eq(device_config().capacity, DISK_BYTES / 1024);
}

/* The guest does not notice a resize that is refused: not one of its requests fails, whatever it was
 * that could not be done. */
TEST(resize_refused)
{
	const uint32_t last = DISK_BYTES / 512 - 1;
	uint16_t head;
	int ret;

	attach_file(DISK_BYTES);
	for (int i = 0; i < 50; i++) {
		for (uint16_t j = 0; j < QUEUE_SIZE / 3; j++)
			put_request(0, (uint16_t)(j * 3), VIRTIO_BLK_T_IN, last, 512);
		kick(0);
		assert_refused(resize(i % 2 ? 100 : 0), -EINVAL, WORDS(config.path));
		for (uint16_t j = 0; j < QUEUE_SIZE / 3; j++) {
			take_used(0, &head);
			ck_assert_uint_eq(*status_of(0, head), VIRTIO_BLK_S_OK);
		}
	}
	rig.vm.runstate = RUNSTATE_INMIGRATE;
	assert_refused(resize(DISK_BYTES / 2), -EBUSY, WORDS("root", "when it runs again"));
	rig.vm.runstate = RUNSTATE_RUNNING;
	/* One that the file system refuses, with the requests that waited for it. */
	ck_assert_int_eq(make_append_only(true), 0);
	put_request(0, 0, VIRTIO_BLK_T_IN, last, 512);
	kick(0);
	while ((ret = resize(DISK_BYTES / 2)) == -EBUSY)
		usleep(100);
	assert_refused(ret, -EPERM, WORDS(config.path, "not permitted"));
	ck_assert_int_eq(make_append_only(false), 0);
	take_used(0, &head);
	ck_assert_uint_eq(*status_of(0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(device_config().capacity, DISK_BYTES / 512);
}

/* A driver that resets gives nothing more, a resize or not. */
TEST(resize_within_a_reset)
{
	int ret;

	attach_file(DISK_BYTES);
	hang();
	driver_set_status(&drv, 0);
	put_request(1, 0, VIRTIO_BLK_T_IN, 8, 4096);
	kick(1);
	give_page(data_gpa(0, 0));
	while ((ret = resize(DISK_BYTES / 2)) == -EBUSY)
		usleep(100);
	assert_ok(ret);
	usleep(2000);
	ck_assert_uint_eq(used_idx(1), 0);
	drive(ALL);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
}

/* Writes at the end while the disk gets smaller: they end before it does, or fail. At odd addresses
 * they are done one by one, so some are still to come. */
TEST(shrink_under_load)
{
	config.cache = DISK_CACHE_NONE;
	attach_file(DISK_BYTES);
	for (int round = 0; round < 20; round++) {
		uint16_t head;
		int ret;

		assert_ok(resize(DISK_BYTES));
		for (uint16_t i = 0; i < QUEUE_SIZE / 3; i++) {
			const struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_OUT,
							      .sector = DISK_BYTES / 512 -
									16 * (i + 1ul)};
			const struct buffer buffer[] = {
				{header_gpa(0, (uint16_t)(i * 3)), sizeof(hdr), false},
				{data_gpa(0, (uint16_t)(i * 3)) + 1, 8192, false},
				{header_gpa(0, (uint16_t)(i * 3)) + 32, 1, true},
			};

			memcpy(at(buffer[0].gpa), &hdr, sizeof(hdr));
			put_chain(0, (uint16_t)(i * 3), buffer, 3);
		}
		kick(0);
		take_used(0, &head);
		while ((ret = resize(DISK_BYTES / 2)) == -EBUSY)
			usleep(100);
		assert_ok(ret);
		for (uint16_t i = 1; i < QUEUE_SIZE / 3; i++)
			take_used(0, &head);
		ck_assert_uint_eq(fixture_size(config.path), DISK_BYTES / 2);
	}
	ck_assert_uint_eq(rig.nevents, 0);
}

/* A request that hangs does not hold up the main loop. */
TEST(shrink_with_hanging_io)
{
	int ret;

	attach_file(DISK_BYTES);
	hang();
	assert_refused(resize(DISK_BYTES / 2), -EBUSY,
		       WORDS("root", "1 request in flight", "try again"));
	hanging_and_new_one_succeed(DISK_BYTES / 512 - 8);
	while ((ret = resize(DISK_BYTES / 2)) == -EBUSY)
		usleep(100);
	assert_ok(ret);
	ck_assert_uint_eq(fixture_size(config.path), DISK_BYTES / 2);
}

static const uint8_t qcow2[] = {'Q', 'F', 'I', 0xfb, 0, 0, 0, 3};

static void refused_as_qcow2(void)
{
	rig_refuses(-EINVAL, WORDS(config.path, "qcow2", "qemu-img convert", "format=raw"));
}

TEST(refused_at_start)
{
	int fd;

	fixture_make_file(config.path, DISK_BYTES);
	fd = open(config.path, O_WRONLY | O_CLOEXEC);
	ck_assert_int_eq(write(fd, qcow2, sizeof(qcow2)), sizeof(qcow2));
	close(fd);
	refused_as_qcow2();
	config.is_raw = true;
	attach();
}

/* A guest writes to its disk what it likes, and yet it is loaded again; nobody else is. */
TEST(guest_writes_a_format)
{
	attach_file(DISK_BYTES);
	memcpy(data(), qcow2, sizeof(qcow2));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 512), VIRTIO_BLK_S_OK);
	rig.vm.awaits_guest = true;
	rig_reload();
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	ck_assert(!memcmp(data(), qcow2, sizeof(qcow2)));
	devices_detach(&rig.vm);
	rig.vm.awaits_guest = false;
	refused_as_qcow2();
}

UNIT_MAIN(setup, teardown)
