// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lives by interrupts alone: asks for one buffer, and halts until the interrupt says that it is there. One that is
 * lost, and it halts for ever. mode=intx or mode=msix; a timer is not to wake it, so there is none.
 */
#include "virtio.h"

#define ROUNDS 16

const char guest_name[] = "irqs";

static struct virtio_dev dev;

void guest_main(void)
{
	uint8_t *data;

	virtio_open(&dev, 4, 0);
	data = virtio_alloc(64);
	for (;;) {
		for (int i = 0; i < ROUNDS; i++) {
			uint64_t before = virtio_irqs(&dev);
			uint32_t bytes;

			dev.queue[0].avail->ring[dev.queue[0].size] = dev.queue[0].seen;
			virtq_give(&dev.queue[0], data, 64);
			cli();
			while (virtio_irqs(&dev) == before)
				wait_for_interrupt();
			sti();
			/* After a pause one may come that nobody needs; the one for the buffer comes too. */
			while (!virtq_get(&dev.queue[0], &bytes)) {
				cli();
				if (dev.queue[0].used->idx == dev.queue[0].seen)
					wait_for_interrupt();
				sti();
			}
			shared.counter++;
		}
		guest_ok("interrupts %lu", virtio_irqs(&dev));
	}
}
