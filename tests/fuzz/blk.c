/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A driver that gives a disk chains of any kind, good headers among them, and switches its cache;
 * in between the disk is saved and loaded, resized and reset. The disk always comes to rest, its
 * state can be saved, and its image has the size that it should have. */
#include "tests/fuzz/fuzz.h"
#include "tests/rig/blk_fixture.h"
#include "vmm/base/log.h"
#include <sys/mman.h>

enum op { REQUEST, CHAIN, KICK, INDIRECT, CACHE, LOAD, RESIZE, RESET, OPS };

static int image;

static void start(void)
{
	log_init(LOG_ERROR, "fuzz");
	open_machine();
	image = memfd_create("image", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(image, DISK_BYTES), 0);
	snprintf(config.path, sizeof(config.path), "/proc/self/fd/%d", image);
	config.cache = DISK_CACHE_WRITEBACK;
	attach();
}

static void load(void)
{
	static uint8_t saved[4096];

	ck_assert_uint_le(rig.dev->ops->state->size, sizeof(saved));
	fixture_err.msg[0] = '\0';
	assert_ok(rig.dev->ops->pause(rig.dev, UINT64_MAX, &fixture_err));
	assert_ok(state_check(rig.dev->ops->state, device_state(rig.dev), &fixture_err));
	memcpy(saved, device_state(rig.dev), rig.dev->ops->state->size);
	assert_ok(rig.dev->ops->compare(rig.dev, saved, &fixture_err));
	rig.dev->ops->reset(rig.dev);
	memcpy(device_state(rig.dev), saved, rig.dev->ops->state->size);
	assert_ok(rig.dev->ops->post_load(rig.dev, &fixture_err));
	rig.dev->ops->resume(rig.dev);
}

static uint64_t any_gpa(struct fuzz *in)
{
	return fuzz_take(in, 2) << 8 | fuzz_take(in, 1);
}

static void chain(struct fuzz *in, uint32_t queue)
{
	uint16_t head = fuzz_take(in, 1) % QUEUE_SIZE;
	struct buffer buffer[8];
	uint32_t n = 1 + fuzz_take(in, 1) % 8;

	for (uint32_t i = 0; i < n; i++) {
		uint16_t bytes = (uint16_t)fuzz_take(in, 2);

		buffer[i] = (struct buffer){any_gpa(in), bytes, bytes & 0x8000};
	}
	put_chain(queue, head, buffer, n);
}

/* The table is the one of queue 1's descriptors; or it is not. */
static void indirect(struct fuzz *in, uint32_t queue)
{
	uint16_t head = fuzz_take(in, 1) % QUEUE_SIZE;
	const struct buffer table = {.gpa = driver_ring_gpa(1) + fuzz_take(in, 1),
				     .bytes = (uint32_t)fuzz_take(in, 1) * 8};

	put_chain(queue, head, &table, 1);
	driver_desc(queue)[head].flags = VRING_DESC_F_INDIRECT;
}

static void request_of(struct fuzz *in, uint32_t queue)
{
	static const uint32_t type[] = {VIRTIO_BLK_T_IN,      VIRTIO_BLK_T_OUT,
					VIRTIO_BLK_T_FLUSH,   VIRTIO_BLK_T_GET_ID,
					VIRTIO_BLK_T_DISCARD, VIRTIO_BLK_T_WRITE_ZEROES};
	uint16_t head = fuzz_take(in, 1) % QUEUE_SIZE;
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	uint64_t sector = fuzz_take(in, what & 0x80 ? 8 : 2);
	uint32_t bytes = (uint32_t)fuzz_take(in, 2) % SLOT_BYTES;
	struct virtio_blk_discard_write_zeroes *range = (void *)at(data_gpa(queue, head));

	put_request(queue, head, what & 0x40 ? what : type[what % 6], sector, bytes);
	if (what & 0x20) {
		range->sector = fuzz_take(in, 2);
		range->num_sectors = (uint32_t)fuzz_take(in, 3);
		range->flags = (uint32_t)fuzz_take(in, 1) % 4;
	}
}

static void resize(uint32_t sectors)
{
	int ret = blk_resize(rig.dev, (sectors % 8192 + 1ull) * 512, &fixture_err);

	ck_assert(!ret || ret == -EBUSY);
}

static void step(struct fuzz *in)
{
	struct virtio *v = virtio_of(rig.dev);
	uint8_t op = (uint8_t)fuzz_take(in, 1);
	uint32_t queue = op >> 3 & 1;

	switch (op % OPS) {
	case REQUEST:
		request_of(in, queue);
		break;
	case CHAIN:
		chain(in, queue);
		break;
	case KICK:
		kick(queue);
		break;
	case INDIRECT:
		indirect(in, queue);
		break;
	case CACHE:
		v->ops->config_write(v, op >> 4 ? 32 : op, 1, queue);
		break;
	case LOAD:
		load();
		break;
	case RESIZE:
		resize((uint32_t)fuzz_take(in, 2));
		break;
	case RESET:
		drive(op & 0x10 ? ALL : FEATURE(VIRTIO_F_VERSION_1));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data_, size_t size)
{
	struct fuzz in = {data_, size};
	struct blk_info info;
	struct stat st;

	if (!rig.dev)
		start();
	assert_ok(rig.dev->ops->pause(rig.dev, UINT64_MAX, &fixture_err));
	resize(DISK_BYTES / 512 - 1);
	rig.dev->ops->reset(rig.dev);
	drive(ALL);
	while (in.left)
		step(&in);
	kick(0);
	kick(1);
	load();
	assert_ok(rig.dev->ops->pause(rig.dev, UINT64_MAX, &fixture_err));
	blk_query(rig.dev, &info);
	ck_assert(!fstat(image, &st));
	ck_assert_uint_eq((uint64_t)st.st_size, info.size_bytes);
	ck_assert_uint_eq(info.counter[BLK_READ].failed + info.counter[BLK_WRITE].failed, 0);
	return 0;
}
