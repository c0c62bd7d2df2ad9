// SPDX-License-Identifier: GPL-2.0-or-later
/* Counts in the shared page for as long as it runs: what bench watches, and the plainest save and load. With
 * "devices" all virtio devices that it knows are in use: rings, vectors, and buffers for what may come. "calm": it rests
 * between its lines, and leaves the CPU to others. */
#include "virtio.h"

#define NDEVICES 4
#define NBUFFERS 16
#define BYTES	 2048

#define TICK_VECTOR 0x40
#define TICK_COUNT  1000000 /* 16 ms: KVM's LAPIC counts at 1 GHz, here divided by 16 */

const char guest_name[] = "counter";

static void use_devices(void)
{
	static const struct {
		uint16_t id;
		bool receives; /* in queue 0 */
	} table[NDEVICES] = {{1, true}, {2, false}, {3, true}, {4, true}};
	static struct virtio_dev dev[NDEVICES];

	irq_init();
	for (int i = 0; i < NDEVICES; i++) {
		if (!virtio_find(&dev[i], table[i].id, 0))
			continue;
		virtio_init(&dev[i], VIRTIO_INDIRECT | VIRTIO_EVENT_IDX, VIRTIO_MSIX);
		for (int j = 0; table[i].receives && j < NBUFFERS; j++)
			virtq_offer(&dev[i].queue[0], virtio_alloc(BYTES), BYTES);
		virtq_kick(&dev[i].queue[0]);
		put("device %u in use\n", table[i].id);
	}
}

static void on_tick(struct trap_frame *frame)
{
	(void)frame;
	lapic_write(LAPIC_EOI, 0);
}

static void start_ticks(void)
{
	irq_init();
	trap_set(TICK_VECTOR, on_tick);
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIVIDE, 3);
	lapic_write(LAPIC_LVT_TIMER, LVT_PERIODIC | TICK_VECTOR);
	lapic_write(LAPIC_TIMER_INITIAL, TICK_COUNT);
}

void guest_main(void)
{
	bool calm = option("calm");
	bool quiet = option("quiet"); /* bench: no exits, only the counter */
	uint64_t expected = 0;

	shared.counter = 0;
	if (option("devices"))
		use_devices();
	if (calm)
		start_ticks();
	put("counter at gpa %lx\n", (uint64_t)&shared.counter);
	for (;;) {
		for (int i = 0; i < 2000; i++) {
			CHECK(shared.counter == expected, "counter is %lu, not %lu", shared.counter,
			      expected);
			shared.counter = ++expected;
		}
		if (!quiet)
			guest_ok("count %lu", expected);
		if (calm)
			wait_for_interrupt();
	}
}
