/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/random_guest.h"
#include "devices/virtio/virtio.h"
#include "tests/rig/device_rig.h"
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <string.h>

#define QUEUE_BYTES 0x8000u /* rings of each */
#define QUEUE_SIZE  64u

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

/* Where a structure of the device is, by its capability; 0: the BAR is not mapped. */
static uint64_t structure_gpa(const struct virtio *v, uint8_t type, uint32_t *extra)
{
	const uint8_t *config = v->pci.state->config;

	/* As long as a list can be: a state from a hostile checkpoint may have a circle. */
	for (uint32_t at = config[PCI_CAPABILITY_LIST], n = 0; at && at < 236 && n < 48;
	     at = config[at + 1], n++) {
		struct virtio_pci_cap cap;

		memcpy(&cap, config + at, sizeof(cap));
		memcpy(extra, config + at + sizeof(cap), sizeof(*extra));
		if (cap.cap_vndr != PCI_CAP_ID_VNDR || cap.cfg_type != type ||
		    cap.bar >= PCI_BARS || !v->pci.bar[cap.bar].mapped)
			continue;
		return v->pci.bar[cap.bar].gpa + cap.offset;
	}
	return 0;
}

/* A descriptor, mostly of RAM that is there. */
static void scribble_desc(uint32_t *random, uint64_t gpa)
{
	uint32_t what = random_next(random);
	struct vring_desc desc = {
		.addr = random_next(random) % (uint32_t)rig.vm.ram.config.size_bytes,
		.len = random_next(random) % 4096,
		.flags = what & 3,
		.next = (uint16_t)(random_next(random) % QUEUE_SIZE),
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
	const uint64_t gpa = (uint64_t)queue * QUEUE_BYTES;
	uint16_t *avail = ram_ptr(&rig.vm.ram, gpa + 0x1000, 4 + 2 * QUEUE_SIZE);

	for (uint32_t i = 0; i < QUEUE_SIZE; i++) {
		scribble_desc(random, gpa + i * sizeof(struct vring_desc));
		avail[2 + i] = (uint16_t)(random_next(random) % (QUEUE_SIZE + QUEUE_SIZE / 16));
	}
	avail[0] = random_next(random) & 1;
	avail[1] = (uint16_t)(avail[1] + random_next(random) % 8);
}

static void set_up_queue(uint32_t *random, uint64_t common, uint32_t queue)
{
	const uint64_t gpa = (uint64_t)queue * QUEUE_BYTES;
	const struct {
		uint32_t reg;
		uint64_t gpa;
	} part[] = {{VIRTIO_PCI_COMMON_Q_DESCLO, gpa},
		    {VIRTIO_PCI_COMMON_Q_AVAILLO, gpa + 0x1000},
		    {VIRTIO_PCI_COMMON_Q_USEDLO, gpa + 0x2000}};

	memset(ram_ptr(&rig.vm.ram, gpa, QUEUE_BYTES), 0, QUEUE_BYTES);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_SIZE, 2, QUEUE_SIZE >> random_next(random) % 3);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_MSIX, 2, random_next(random) % 4);
	for (uint32_t i = 0; i < 3; i++) {
		rig_mmio_write(common + part[i].reg, 4, part[i].gpa);
		rig_mmio_write(common + part[i].reg + 4, 4, 0);
	}
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

/* Memory decoding and bus mastering, as no random access sets them. */
static void enable_function(const struct virtio *v)
{
	rig_mmio_write(RIG_ECAM + ((uint64_t)v->pci.state->slot << 15) + PCI_COMMAND, 2,
		       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void drive(uint32_t *random)
{
	struct virtio *v = if_virtio(rig.vm.device[random_next(random) % rig.vm.ndevices]);
	uint64_t common, notify;
	uint32_t unused, step, queue;

	if (!v)
		return;
	enable_function(v);
	common = structure_gpa(v, VIRTIO_PCI_CAP_COMMON_CFG, &unused);
	notify = structure_gpa(v, VIRTIO_PCI_CAP_NOTIFY_CFG, &step);
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
