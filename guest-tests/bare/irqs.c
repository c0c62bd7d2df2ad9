// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Lives by interrupts alone: asks for one buffer, and halts until the interrupt says that it is there. One that is
 * lost, and it halts for ever. mode=intx or mode=msix; a timer is not to wake it, so there is none.
 */
#include "virtio.h"

#define ROUNDS 16

const char guest_name[] = "irqs";

static struct virtio_dev dev;

static uint64_t irqs(void)
{
	return dev.irq == VIRTIO_MSIX ? dev.queue[0].irqs : dev.intx;
}

void guest_main(void)
{
	enum virtio_irq irq = *option_value("mode") == 'm' ? VIRTIO_MSIX : VIRTIO_INTX;
	uint8_t *data;

	irq_init();
	pic_init(0x20, 0xff, 0xff);
	CHECK(virtio_find(&dev, 4, 0), "there is no virtio-rng");
	virtio_init(&dev, option("event") ? VIRTIO_EVENT_IDX : 0, irq);
	data = virtio_alloc(64);
	for (;;) {
		for (int i = 0; i < ROUNDS; i++) {
			struct virtq_buffer buffer = {data, 64};
			uint64_t before = irqs();
			uint32_t bytes;
			uint16_t id;

			dev.queue[0].avail->ring[dev.queue[0].size] = dev.queue[0].seen;
			virtq_add(&dev.queue[0], &buffer, 0, 1);
			virtq_kick(&dev.queue[0]);
			cli();
			while (irqs() == before)
				wait_for_interrupt();
			sti();
			/* After a pause one may come that nobody needs; the one for the buffer comes too. */
			while (!virtq_get(&dev.queue[0], &id, &bytes)) {
				cli();
				if (dev.queue[0].used->idx == dev.queue[0].seen)
					wait_for_interrupt();
				sti();
			}
			shared.counter++;
		}
		guest_ok("interrupts %u", irqs());
	}
}
