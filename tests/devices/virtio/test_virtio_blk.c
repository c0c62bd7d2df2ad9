/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio disk as its driver sees it: config, requests, good and bad, and what they do. */
#include "tests/rig/blk_fixture.h"
#include "tests/rig/ram_lost.h"

TEST(config_space)
{
	struct virtio_blk_config c;
	const struct virtio_state *s;

	attach_file(DISK_BYTES);
	s = device_state(rig.dev);
	c = device_config();
	ck_assert_uint_eq(c.capacity, DISK_BYTES / 512);
	ck_assert_uint_eq(c.blk_size << c.physical_block_exp, 4096);
	ck_assert_uint_eq(c.seg_max, QUEUE_SIZE - 2);
	ck_assert_uint_eq(c.num_queues, QUEUES);
	ck_assert_uint_eq(c.wce, 1);
	ck_assert_uint_eq(c.max_discard_seg, 1);
	ck_assert_uint_eq(c.max_write_zeroes_seg, 1);
	ck_assert_uint_gt(c.max_discard_sectors, 0);
	ck_assert(s->offered & FEATURE(VIRTIO_BLK_F_MQ));
	ck_assert(s->offered & FEATURE(VIRTIO_BLK_F_DISCARD));
	ck_assert(s->offered & FEATURE(VIRTIO_BLK_F_FLUSH));
	ck_assert(!(s->offered & FEATURE(VIRTIO_BLK_F_RO)));
	ck_assert(s->offered & FEATURE(VIRTIO_BLK_F_SIZE_MAX));
	ck_assert_uint_ge(c.size_max, 65536);
	ck_assert_uint_le((uint64_t)c.size_max * c.seg_max, 64 * MIB);
	ck_assert_uint_gt((uint64_t)c.size_max * c.seg_max, 32 * MIB);
}

TEST_EACH(requests, cache_modes)
{
	uint8_t want[8192], zero[8192] = {0};
	uint16_t head;

	config.cache = cache_modes[_i];
	attach_file(DISK_BYTES);
	fill(want, sizeof(want), 1);
	memcpy(data(), want, sizeof(want));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 16, 8192), VIRTIO_BLK_S_OK);
	check_file(8192, want, sizeof(want));
	memset(data(), 0, 8192);
	put_request(0, 0, VIRTIO_BLK_T_IN, 16, 8192);
	kick(0);
	ck_assert_uint_eq(take_used(0, &head), 8193);
	ck_assert_uint_eq(*status_of(0, 0), VIRTIO_BLK_S_OK);
	ck_assert(!memcmp(data(), want, sizeof(want)));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, 20), VIRTIO_BLK_S_OK);
	ck_assert(!memcmp(data(), "SERIAL\0\0\0\0\0\0\0\0\0\0\0\0\0\0", 20));
	memset(data(), 0xee, 20);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_GET_ID, 0, 4), VIRTIO_BLK_S_OK);
	ck_assert(!memcmp(data(), "SERI\xee\xee", 6));
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 0), VIRTIO_BLK_S_OK);
	check_file(8192, zero, 4096);
	check_file(8192 + 4096, want + 4096, 4096);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 24, 8, 1), VIRTIO_BLK_S_OK);
	check_file(8192, zero, 8192);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, DISK_BYTES / 512, 0),
			  VIRTIO_BLK_S_OK);
	/* The last sector, and no more than it. */
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, DISK_BYTES / 512 - 1, 512), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(rig.nevents, 0);
	ck_assert(driver_isr(&drv) & 1);
}

/* Header, data and status in pieces at odd addresses; both queues. */
TEST_EACH(odd_layout, cache_modes)
{
	const struct virtio_blk_outhdr hdr = {.type = VIRTIO_BLK_T_IN, .sector = 8};
	const uint64_t h = HEADERS_GPA + 1, d = DATA_GPA + 3;
	const struct buffer buffer[] = {
		{h, 7, false},		{h + 100, 9, false},  {d, 1, true},
		{d + 5000, 4094, true}, {d + 20000, 2, true},
	};
	uint8_t want[4096];
	uint16_t head;

	config.cache = cache_modes[_i];
	attach_file(DISK_BYTES);
	fill(data(), 4096, 2);
	memcpy(want, data(), 4096);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 8, 4096), VIRTIO_BLK_S_OK);
	memset(at(d), 0xee, 30000);
	memcpy(at(h), &hdr, 7);
	memcpy(at(h + 100), (const uint8_t *)&hdr + 7, 9);
	put_chain(1, 9, buffer, 5);
	kick(1);
	ck_assert_uint_eq(take_used(1, &head), 4097);
	ck_assert_uint_eq(head, 9);
	ck_assert_uint_eq(*at(d + 20001), VIRTIO_BLK_S_OK);
	ck_assert(!memcmp(at(d), want, 1));
	ck_assert(!memcmp(at(d + 5000), want + 1, 4094));
	ck_assert(!memcmp(at(d + 20000), want + 4095, 1));
	ck_assert_uint_eq(*at(d + 1), 0xee);
	ck_assert_uint_eq(*at(d + 5000 + 4094), 0xee);
	ck_assert_uint_eq(*at(d + 20002), 0xee);
}

/* A buffer that a full tmpfs cannot give is no error of the disk's: the guest is told nothing. */
TEST_EACH(ram_lost, cache_modes)
{
	config.cache = cache_modes[_i];
	attach_file(DISK_BYTES);
	for (uint32_t type = VIRTIO_BLK_T_IN; type <= VIRTIO_BLK_T_OUT; type++) {
		put_request(0, (uint16_t)(type * 3), type, 16, 8192);
		ram_lost_begin(data_gpa(0, (uint16_t)(type * 3)));
		kick(0);
		ram_lost_end(data_gpa(0, (uint16_t)(type * 3)));
	}
	assert_ok(rig.dev->ops->pause(rig.dev, clock_now_ns() + 5000 * MS_NS, &fixture_err));
	ck_assert_uint_eq(used_idx(0), 0);
	ck_assert_uint_eq(*status_of(0, 0), NO_STATUS);
	ck_assert_uint_eq(rig.nevents, 0);
}

TEST(invalid_requests)
{
	const uint64_t end = DISK_BYTES / 512;
	struct blk_info info;

	attach_file(DISK_BYTES);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, end, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, end - 1, 1024), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, UINT64_MAX, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, UINT64_MAX / 512 + 1, 512), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 511), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 513), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(7, 0, 512), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(UINT32_MAX, 0, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_DISCARD, 0, 8), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_DISCARD, 0, 32), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, end, 1, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, UINT64_MAX, 8, 0),
			  VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, UINT32_MAX, 0),
			  VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, end - 1, 2, 0),
			  VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
	/* None of them is the host's fault. */
	ck_assert_uint_eq(rig.nevents, 0);
	blk_query(rig.dev, &info);
	ck_assert_uint_eq(info.counter[BLK_READ].invalid, 3);
	ck_assert_uint_eq(info.counter[BLK_WRITE].invalid, 4);
	ck_assert_uint_eq(info.counter[BLK_UNMAP].invalid, 5);
	ck_assert_uint_eq(info.counter[BLK_READ].failed, 0);
	ck_assert_uint_eq(fixture_size(config.path), DISK_BYTES);
}

/* A request may be as large as SIZE_MAX and SEG_MAX say, but not without end: a pause waits for it. */
TEST(largest_transfer)
{
	struct buffer buffer[19] = {{HEADERS_GPA, 16, false}};
	uint16_t head;

	attach_file(128 * MIB);
	memset(at(HEADERS_GPA), 0, 16);
	for (uint32_t n = 16; n <= 17; n++) {
		for (uint32_t i = 1; i <= n; i++)
			buffer[i] = (struct buffer){DATA_GPA, 4 * MIB, true};
		buffer[n + 1] = (struct buffer){HEADERS_GPA + 32, 1, true};
		put_chain(0, 0, buffer, n + 2);
		kick(0);
		ck_assert_uint_eq(take_used(0, &head), n == 16 ? 64 * MIB + 1 : 1);
		ck_assert_uint_eq(*at(HEADERS_GPA + 32),
				  n == 16 ? VIRTIO_BLK_S_OK : VIRTIO_BLK_S_IOERR);
	}
	ck_assert_uint_eq(rig.nevents, 0);
}

TEST(features_not_taken)
{
	fixture_make_file(config.path, DISK_BYTES);
	attach();
	drive(FEATURE(VIRTIO_F_VERSION_1));
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

TEST(readonly)
{
	const struct virtio_state *s;

	config.readonly = true;
	attach_file(DISK_BYTES);
	s = device_state(rig.dev);
	ck_assert(s->offered & FEATURE(VIRTIO_BLK_F_RO));
	ck_assert(!(s->offered & FEATURE(VIRTIO_BLK_F_DISCARD)));
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(rig.nevents, 0);
}

static bool needs_reset(void)
{
	return driver_status(&drv) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

static void check_breaks(const struct buffer *buffer, uint32_t n)
{
	drive(ALL);
	ck_assert(!needs_reset());
	put_chain(0, 0, buffer, n);
	kick(0);
	for (int i = 0; i < 5000 && !needs_reset(); i++)
		usleep(1000);
	ck_assert(needs_reset());
	put_request(1, 3, VIRTIO_BLK_T_IN, 0, 512);
	kick(1);
	usleep(2000);
	ck_assert_uint_eq(used_idx(1), 0);
}

TEST(broken_chains)
{
	const struct buffer short_header[] = {{HEADERS_GPA, 15, false}, {DATA_GPA, 1, true}};
	const struct buffer no_status[] = {{HEADERS_GPA, 16, false}, {DATA_GPA, 512, false}};
	const struct buffer outside[] = {{HEADERS_GPA, 16, false}, {RAM_BYTES - 1, 2, true}};

	attach_file(DISK_BYTES);
	check_breaks(short_header, 2);
	check_breaks(no_status, 2);
	check_breaks(outside, 2);
	drive(ALL);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_IN, 0, 512), VIRTIO_BLK_S_OK);
}

/* A full ring of requests that fail at once, again and again, does not keep the thread from the
 * other queue, nor a pause from its end. */
TEST(flood)
{
	uint16_t head;

	attach_file(DISK_BYTES);
	for (int round = 0; round < 20; round++) {
		for (uint16_t i = 0; i < QUEUE_SIZE / 3; i++)
			put_request(0, (uint16_t)(i * 3), 99, 0, 0);
		put_request(1, 0, VIRTIO_BLK_T_IN, 0, 4096);
		kick(1);
		kick(0);
		take_used(1, &head);
		for (uint16_t i = 0; i < QUEUE_SIZE / 3; i++) {
			take_used(0, &head);
			ck_assert_uint_eq(*status_of(0, head), VIRTIO_BLK_S_UNSUPP);
		}
	}
	assert_ok(rig.dev->ops->pause(rig.dev, clock_now_ns() + 5000 * MS_NS, &fixture_err));
}

/* A driver that is as fast as the device and kicks only when asked to: whenever the device turns to
 * other things with chains left, it comes back by itself. */
TEST(endless_work)
{
	uint32_t answered = 0;

	fixture_make_file(config.path, DISK_BYTES);
	attach();
	drive(FEATURE(VIRTIO_F_VERSION_1));
	for (uint16_t i = 0; i < QUEUE_SIZE / 3; i++)
		put_request(0, (uint16_t)(i * 3), 99, 0, 0);
	kick(0);
	while (answered++ < 100000) {
		struct vring_used *used = driver_used(0);
		uint16_t head;

		take_used(0, &head);
		put_request(0, head, 99, 0, 0);
		__atomic_thread_fence(__ATOMIC_SEQ_CST);
		if (!(__atomic_load_n(&used->flags, __ATOMIC_RELAXED) & VRING_USED_F_NO_NOTIFY))
			kick(0);
	}
}

TEST(write_cache)
{
	struct virtio *v;

	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(DISK_BYTES);
	v = virtio_of(rig.dev);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert(is_on_its_way());
	ck_assert_uint_eq(request(VIRTIO_BLK_T_FLUSH, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert(!is_on_its_way());
	/* The driver switches it off, then resets, which switches it on. */
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
	pthread_mutex_lock(&rig.dev->lock);
	v->ops->config_write(v, offsetof(struct virtio_blk_config, wce), 1, 0);
	v->ops->config_write(v, 0, 4, 1);
	pthread_mutex_unlock(&rig.dev->lock);
	ck_assert_uint_eq(device_config().wce, 0);
	ck_assert_uint_eq(device_config().capacity, DISK_BYTES / 512);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert(!is_on_its_way());
	drive(ALL);
	ck_assert_uint_eq(device_config().wce, 1);
	/* One that cannot flush. */
	drive(~FEATURE(VIRTIO_BLK_F_FLUSH));
	ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
	ck_assert(!is_on_its_way());
}

/* Holes and zeroes are durable as writes are: their flush takes an earlier write with it. */
TEST(holes_without_write_cache)
{
	const uint32_t type[] = {VIRTIO_BLK_T_WRITE_ZEROES, VIRTIO_BLK_T_DISCARD};
	struct virtio *v;

	config.cache = DISK_CACHE_WRITEBACK;
	attach_file(DISK_BYTES);
	v = virtio_of(rig.dev);
	for (int i = 0; i < 2; i++) {
		ck_assert_uint_eq(range_request(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(request(VIRTIO_BLK_T_OUT, 0, 4096), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(range_request(type[i], 4096, 8, 0), VIRTIO_BLK_S_OK);
		ck_assert(is_on_its_way());
		pthread_mutex_lock(&rig.dev->lock);
		v->ops->config_write(v, offsetof(struct virtio_blk_config, wce), 1, 0);
		pthread_mutex_unlock(&rig.dev->lock);
		ck_assert_uint_eq(range_request(type[i], 4096, 8, 0), VIRTIO_BLK_S_OK);
		ck_assert(!is_on_its_way());
		drive(ALL);
	}
}

UNIT_MAIN(setup, teardown)
