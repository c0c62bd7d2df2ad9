/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/blk_fixture.h - a virtio disk in the rig and a tiny driver for it.
 * Owns: the rig, its RAM, and the image in the fixture's folder.
 * Threads: one, beside the disk's own.
 * Units: bytes, sectors of 512; GPAs. virtio 1.2, 2.7 and 5.2. */
#ifndef TESTS_RIG_BLK_FIXTURE_H
#define TESTS_RIG_BLK_FIXTURE_H
#include "devices/virtio/virtio_blk.h"
#include "tests/rig/ram_fixture.h"
#include "tests/rig/virtio_driver.h"
#include "vmm/base/loop.h"
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_ring.h>
#include <sys/ioctl.h>

#define MS_NS	    1000000ull
#define RAM_BYTES   (8 * MIB)
#define DISK_BYTES  (4 * MIB)
#define QUEUE_SIZE  DRIVER_QUEUE_SIZE
#define QUEUES	    2u
#define HEADERS_GPA 0x100000ul
#define DATA_GPA    0x200000ul
#define SLOT_BYTES  16384ul /* of data for each head */
#define ALL	    UINT64_MAX
#define FEATURE(n)  (1ull << (n))
#define NO_STATUS   0x77

static const enum disk_cache cache_modes[] = {DISK_CACHE_WRITEBACK, DISK_CACHE_NONE};
static struct disk_config config;
static struct driver drv;

/* --- the machine */
static inline void open_machine(void)
{
	rig_open();
	rig_ram(RAM_BYTES);
	config = (struct disk_config){
		.id = "root", .serial = "SERIAL", .queues = QUEUES, .queue_size = QUEUE_SIZE};
	snprintf(config.path, sizeof(config.path), "%s", fixture_path("disk.img"));
	rig.opt.disk = &config;
	rig.opt.ndisks = 1;
}

static inline void attach(void)
{
	fixture_err.msg[0] = '\0';
	assert_ok(devices_attach(&rig.vm, &fixture_err));
	rig.dev = devices_find(&rig.vm, "disk0");
	ck_assert_ptr_nonnull(rig.dev);
}

static inline void setup(void)
{
	fixture_setup();
	open_machine();
}

static inline void teardown(void)
{
	rig_close();
	fixture_teardown();
}

/* --- a driver */
static inline uint8_t *at(uint64_t gpa)
{
	return ram_ptr(&rig.vm.ram, gpa, 1);
}

static inline void drive(uint64_t features)
{
	driver_start(&drv, "disk0", features);
}

static inline void attach_file(uint64_t bytes)
{
	fixture_make_file(config.path, bytes);
	attach();
	drive(ALL);
}

struct buffer {
	uint64_t gpa;
	uint32_t bytes;
	bool is_write;
};

/* Chain of head, head + 1 ...; does not kick the device. */
static inline void put_chain(uint32_t queue, uint16_t head, const struct buffer *buffer, uint32_t n)
{
	struct vring_desc *desc = driver_desc(queue);

	for (uint32_t i = 0; i < n; i++)
		desc[head + i] = (struct vring_desc){
			.addr = buffer[i].gpa,
			.len = buffer[i].bytes,
			.flags = (uint16_t)((buffer[i].is_write ? VRING_DESC_F_WRITE : 0) |
					    (i + 1 < n ? VRING_DESC_F_NEXT : 0)),
			.next = (uint16_t)(head + i + 1),
		};
	driver_offer(queue, head);
}

static inline void kick(uint32_t queue)
{
	driver_kick(&drv, queue);
}

/* Where the pieces of the request with this head are; each head takes three descriptors. */
static inline uint64_t header_gpa(uint32_t queue, uint16_t head)
{
	return HEADERS_GPA + queue * 0x10000ul + head * 64ul;
}

static inline uint64_t data_gpa(uint32_t queue, uint16_t head)
{
	return DATA_GPA + (queue * QUEUE_SIZE + head) * (uint64_t)SLOT_BYTES;
}

static inline uint8_t *status_of(uint32_t queue, uint16_t head)
{
	return at(header_gpa(queue, head) + 32);
}

static inline void put_request(uint32_t queue, uint16_t head, uint32_t type, uint64_t sector,
			       uint32_t bytes)
{
	bool is_in = type == VIRTIO_BLK_T_IN || type == VIRTIO_BLK_T_GET_ID;
	const struct virtio_blk_outhdr hdr = {.type = type, .sector = sector};
	const struct buffer with_data[] = {
		{header_gpa(queue, head), sizeof(hdr), false},
		{data_gpa(queue, head), bytes, is_in},
		{header_gpa(queue, head) + 32, 1, true},
	};
	const struct buffer without[] = {with_data[0], with_data[2]};

	memcpy(at(header_gpa(queue, head)), &hdr, sizeof(hdr));
	*status_of(queue, head) = NO_STATUS;
	put_chain(queue, head, bytes ? with_data : without, bytes ? 3 : 2);
}

static inline uint16_t used_idx(uint32_t queue)
{
	return __atomic_load_n(&driver_used(queue)->idx, __ATOMIC_ACQUIRE);
}

/* The next one that comes back within 5 seconds; returns what the device says it wrote. */
static inline uint32_t take_used(uint32_t queue, uint16_t *head)
{
	uint32_t bytes;

	for (int i = 0; !driver_get(&drv, queue, head, &bytes); i++) {
		ck_assert_msg(i < 50000, "a request does not come back");
		usleep(100);
	}
	return bytes;
}

static inline uint8_t request(uint32_t type, uint64_t sector, uint32_t bytes)
{
	uint16_t head;

	put_request(0, 0, type, sector, bytes);
	kick(0);
	take_used(0, &head);
	ck_assert_uint_eq(head, 0);
	return *status_of(0, 0);
}

static inline void *data(void)
{
	return at(data_gpa(0, 0));
}

static inline void fill(uint8_t *to, uint32_t bytes, uint32_t seed)
{
	for (uint32_t i = 0; i < bytes; i++)
		to[i] = (uint8_t)((i + seed * 7919) * 2654435761u >> 24);
}

static inline void check_file(uint64_t offset, const void *want, size_t bytes)
{
	uint8_t *have = malloc(bytes);
	int fd = open(config.path, O_RDONLY | O_CLOEXEC);

	ck_assert_int_eq(pread(fd, have, bytes, (off_t)offset), (ssize_t)bytes);
	ck_assert(!memcmp(have, want, bytes));
	close(fd);
	free(have);
}

static inline struct virtio_blk_config device_config(void)
{
	const struct virtio *v = virtio_of(rig.dev);
	struct virtio_blk_config c = {0};

	memcpy(&c, v->config, v->config_bytes);
	return c;
}

static inline uint8_t range_request(uint32_t type, uint64_t sector, uint32_t sectors,
				    uint32_t flags)
{
	const struct virtio_blk_discard_write_zeroes range = {sector, sectors, flags};

	memcpy(data(), &range, sizeof(range));
	return request(type, 0, sizeof(range));
}

/* --- durability: has the file system given the first block a place already? */
static inline bool is_on_its_way(void)
{
	struct {
		struct fiemap map;
		struct fiemap_extent extent;
	} fie = {.map = {.fm_length = 4096, .fm_extent_count = 1}};
	int fd = open(config.path, O_RDONLY | O_CLOEXEC);

	ck_assert_msg(!ioctl(fd, FS_IOC_FIEMAP, &fie),
		      "%s: %s: STASIS_TEST_DISK= a folder on ext4 or xfs", config.path,
		      strerror(errno));
	close(fd);
	ck_assert_uint_eq(fie.map.fm_mapped_extents, 1);
	return fie.extent.fe_flags & FIEMAP_EXTENT_DELALLOC;
}
#endif
