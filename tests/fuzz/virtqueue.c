/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues and the registers of the virtio core, with the entropy device behind them: a hostile driver writes what
 * its input says into rings, buffers and registers. */
#include "tests/fuzz/fuzz.h"
#include "tests/rig/device_rig.h"
#include "tests/rig/virtio_driver.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>

#define DEVICE	   "rng0"
#define RING_BYTES 0x4000u
#define BAR_BYTES  0x4000u
#define DATA_BYTES 0x1000u
#define MAX_STEPS  200

enum op { CHAIN, DESCRIPTOR, AVAIL, MEMORY, NOTIFY, REGISTER, SERVE, RELOAD, START, OPS };

/* Mostly somewhere sensible, else at an edge. */
static uint64_t take_gpa(struct fuzz *in)
{
	static const uint64_t edge[] = {0,	   DRIVER_RAM_BYTES, DRIVER_RAM_BYTES - 8,
					0x10000,   UINT64_MAX - 7,   RIG_MMIO64,
					0xfee00000};
	uint8_t what = (uint8_t)fuzz_take(in, 1);

	if (what & 0x80)
		return edge[what % ARRAY_SIZE(edge)];
	return DRIVER_BUFFERS + (uint64_t)(what & 0x7f) * DATA_BYTES / 2;
}

static void put_desc(struct fuzz *in, uint64_t table, uint32_t index)
{
	uint16_t flags = (uint16_t)fuzz_take(in, 1);
	struct vring_desc d = {.addr = take_gpa(in), .flags = flags & 7};

	d.len = (uint32_t)fuzz_take(in, flags & 8 ? 4 : 1);
	d.next = (uint16_t)(flags & 16 ? fuzz_take(in, 2) : index + 1);
	/* A table in which the next descriptors put themselves. */
	if (flags & VRING_DESC_F_INDIRECT && !(flags & 32))
		d = (struct vring_desc){DRIVER_BUFFERS, 16 * (d.len & 0x1f), flags & 7, d.next};
	memcpy(driver_ram(table + index * sizeof(d)), &d, sizeof(d));
}

/* A chain as a driver would make it, of up to four buffers, the readable ones filled. */
static void chain(struct fuzz *in, struct driver *drv, uint32_t queue)
{
	struct driver_buffer buffer[4];
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	uint32_t nread = what & 1 ? 1 + (what >> 1 & 1) : 0;
	uint32_t nwrite = what & 4 || !nread ? 1 + (what >> 3 & 1) : 0;

	for (uint32_t i = 0; i < nread + nwrite; i++) {
		buffer[i] = (struct driver_buffer){DRIVER_BUFFERS + 0x20000 + i * DATA_BYTES,
						   (uint32_t)fuzz_take(in, what & 16 ? 2 : 1)};
		for (uint32_t at = 0; i < nread && at < buffer[i].bytes && at < 64; at += 4) {
			uint32_t data = (uint32_t)fuzz_take(in, 4);

			memcpy(driver_ram(buffer[i].gpa + at), &data, sizeof(data));
		}
	}
	driver_add(drv, queue, buffer, nread, nwrite);
	driver_kick(drv, queue);
}

static void step(struct fuzz *in, struct driver *drv)
{
	uint8_t op = (uint8_t)fuzz_take(in, 1);
	const struct virtio *v = virtio_of(rig.dev);
	uint32_t queue = (op >> 4) % v->nqueues;
	struct vring_avail *avail = driver_avail(queue);
	uint64_t gpa, value;

	switch (op % OPS) {
	case CHAIN:
		chain(in, drv, queue);
		break;
	case DESCRIPTOR:
		value = fuzz_take(in, 1);
		put_desc(in, value & 0x80 ? DRIVER_BUFFERS : driver_ring_gpa(queue),
			 value % DRIVER_QUEUE_SIZE);
		break;
	case AVAIL:
		value = fuzz_take(in, 2);
		avail->ring[avail->idx % DRIVER_QUEUE_SIZE] = (uint16_t)(value & 0x7f);
		avail->idx = (uint16_t)(avail->idx + (value & 0x8000 ? value >> 7 : 1));
		driver_kick(drv, queue);
		break;
	case MEMORY:
		gpa = driver_ring_gpa(queue) + fuzz_take(in, 2) % (RING_BYTES - 8);
		value = fuzz_take(in, 8);
		memcpy(driver_ram(gpa), &value, sizeof(value));
		break;
	case NOTIFY:
		driver_kick(drv, queue);
		break;
	case REGISTER:
		gpa = drv->common + fuzz_take(in, 2) % BAR_BYTES;
		if (op & 0x80)
			rig_mmio_write(gpa, 1u << (op >> 5 & 3), fuzz_take(in, 8));
		else
			(void)rig_mmio_read(gpa, 1u << (op >> 5 & 3));
		break;
	case SERVE:
		fuzz_serve(&rig.vm.loop);
		break;
	case RELOAD:
		rig_reload();
		break;
	case START:
		driver_start(drv, DEVICE, fuzz_take(in, 8));
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};
	struct driver drv = {0};

	rig_open();
	rig.opt.rng = true;
	log_init(LOG_ERROR, "fuzz");
	virtio_guest_boot();
	driver_start(&drv, DEVICE, fuzz_take(&in, 8));
	for (int i = 0; in.left && i < MAX_STEPS; i++)
		step(&in, &drv);
	fuzz_serve(&rig.vm.loop);
	/* Whatever it was, after a reset all is well again. */
	rig_reload();
	driver_start(&drv, DEVICE, 0);
	virtio_guest_end();
	rig_close();
	return 0;
}
