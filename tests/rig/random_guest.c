/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/random_guest.h"
#include "tests/rig/virtio_driver.h"
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>

uint32_t random_next(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 8;
}

static void any_access(uint32_t *random)
{
	uint32_t what = random_next(random), data = random_next(random);
	struct bus *bus = &rig.vm.bus;
	enum bus_space space = what >> 2 & 1 ? BUS_MMIO : BUS_PIO;
	uint32_t size = 1u << (what % 3), nregions = bus->nregions[space];
	const struct bus_region *region;

	if (!nregions)
		return;
	region = &bus->region[space][(what >> 4) % nregions];
	bus_access(bus, space, region->base + (what >> 12) % region->size, &data, size, what & 8);
}

/* NULL: this device is no virtio device. */
static struct virtio *if_virtio(const struct device *dev)
{
	return strncmp(dev->ops->type, "virtio-", 7) ? NULL : virtio_of(dev);
}

/* A descriptor, mostly of RAM that is there. */
static void scribble_desc(uint32_t *random, uint64_t gpa)
{
	uint32_t what = random_next(random);
	struct vring_desc desc = {
		.addr = random_next(random) % (uint32_t)rig.vm.ram.config.size_bytes,
		.len = random_next(random) % 4096,
		.flags = what & 3,
		.next = (uint16_t)(random_next(random) % DRIVER_QUEUE_SIZE),
	};

	if (!(what >> 4 & 15))
		desc.flags = (uint16_t)random_next(random);
	if (!(what >> 8 & 31))
		desc.addr = (uint64_t)random_next(random) << 32 | random_next(random);
	if (!(what >> 13 & 31))
		desc.len = random_next(random) << 8;
	if (ram_write(&rig.vm.ram, gpa, &desc, sizeof(desc)))
		ck_abort_msg("the rig's RAM is too small");
}

static void scribble_ring(uint32_t *random, uint32_t queue)
{
	const uint64_t gpa = driver_ring_gpa(queue);
	struct vring_avail *avail = driver_avail(queue);

	for (uint32_t i = 0; i < DRIVER_QUEUE_SIZE; i++) {
		scribble_desc(random, gpa + i * sizeof(struct vring_desc));
		avail->ring[i] = (uint16_t)(random_next(random) %
					    (DRIVER_QUEUE_SIZE + DRIVER_QUEUE_SIZE / 16));
	}
	avail->flags = random_next(random) & 1;
	avail->idx = (uint16_t)(avail->idx + random_next(random) % 8);
}

static void set_up_queue(uint32_t *random, uint64_t common, uint32_t queue)
{
	driver_set_rings(common, queue, DRIVER_QUEUE_SIZE >> random_next(random) % 3);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_MSIX, 2, random_next(random) % 4);
	if (random_next(random) % 8)
		rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

/* As virtio 1.2, 3.1.1 has it, but the features are a matter of luck. */
static void start_driver(uint32_t *random, uint64_t common, uint32_t nqueues)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status);
	for (uint32_t half = 0; half < 2; half++) {
		rig_mmio_write(common + VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		rig_mmio_write(common + VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		rig_mmio_write(common + VIRTIO_PCI_COMMON_GF, 4,
			       rig_mmio_read(common + VIRTIO_PCI_COMMON_DF, 4) &
				       (half ? 1 : random_next(random) | random_next(random) << 8));
	}
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status);
	for (uint32_t i = 0; i < nqueues; i++)
		set_up_queue(random, common, i);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void drive(uint32_t *random)
{
	struct virtio *v = if_virtio(rig.vm.device[random_next(random) % rig.vm.ndevices]);
	uint64_t common, notify;
	uint32_t unused, step, queue;

	if (!v)
		return;
	driver_enable_function(v); /* as no random access does */
	common = driver_structure(v, VIRTIO_PCI_CAP_COMMON_CFG, &unused);
	notify = driver_structure(v, VIRTIO_PCI_CAP_NOTIFY_CFG, &step);
	if (!common || !notify)
		return;
	if (!(random_next(random) % 8) || !v->started || atomic_load(&v->broken))
		start_driver(random, common, v->nqueues);
	queue = random_next(random) % v->nqueues;
	scribble_ring(random, queue);
	rig_mmio_write(notify + (uint64_t)queue * step, 2, queue);
}

void random_guest(uint32_t *random, int times)
{
	for (int i = 0; i < times; i++)
		if (random_next(random) % 16)
			any_access(random);
		else
			drive(random);
}
