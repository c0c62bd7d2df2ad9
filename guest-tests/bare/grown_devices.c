/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device table of a later release, for stasis-grown: one more row, and those that take PCI slots
 * in another order. No guest that is loaded may notice. */
#include "devices/devices.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#define GROWN_PORT 0x510

struct grown_isa_state {
	uint64_t value;
};
#define GROWN_ISA_STATE(F, A, V, T) F(T, value)

struct grown_isa {
	struct device dev;
	struct grown_isa_state s;
};

static const char *isa_check(const void *state)
{
	(void)state;
	return NULL;
}
STATE_DEFINE(grown_isa_state, GROWN_ISA_STATE, "grown-isa", isa_check);

static uint64_t isa_read(void *opaque, uint64_t offset, uint32_t size)
{
	(void)opaque, (void)offset, (void)size;
	return 0;
}

static void isa_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	(void)opaque, (void)offset, (void)size, (void)value;
}

static const struct bus_ops isa_bus_ops = {.read = isa_read, .write = isa_write};

/* It comes by option, as every device of a later release. */
static uint32_t isa_count(const struct options *opt)
{
	(void)opt;
	return getenv("STASIS_GROWN_STUCK") || getenv("STASIS_GROWN_IO_ERROR");
}

static int isa_attach(struct device *dev, struct vm *vm, struct error *err)
{
	const struct bus_region region = {GROWN_PORT, 4, &isa_bus_ops, dev, &dev->lock, dev->name};

	return bus_add(&vm->bus, BUS_PIO, &region, err);
}

static void isa_reset(struct device *dev)
{
	container_of(dev, struct grown_isa, dev)->s.value = 0;
}

/* Does not come to rest as long as there is the file that STASIS_GROWN_STUCK names. With
 * STASIS_GROWN_IO_ERROR the last that it does is to fail, as I/O under way may. */
static int isa_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	const char *path = getenv("STASIS_GROWN_STUCK");

	if (getenv("STASIS_GROWN_IO_ERROR"))
		vm_post_event(dev->vm, &(struct vm_event){.type = VM_EVENT_BLOCK_IO_ERROR,
							  .id = "grown",
							  .operation = "write",
							  .reason = "for a test"});
	while (path && !access(path, F_OK)) {
		if (clock_now_ns() > deadline_ns)
			return error_set(err, -ETIMEDOUT, "%s is still there", path);
		usleep(1000);
	}
	return 0;
}

static const struct device_ops grown_isa_ops = {
	.type = "grown-isa",
	.count = isa_count,
	.state = &grown_isa_state_desc,
	DEVICE_STRUCT(struct grown_isa),
	.attach = isa_attach,
	.reset = isa_reset,
	.pause = isa_pause,
};

extern const struct device_ops serial_ops, rtc_ops, i8042_ops, pm_ops, pvpanic_ops, pci_host_ops,
	console_ops, rng_ops, virtio_blk_ops, virtio_net_ops, virtio_vsock_ops, vfio_pci_ops;

const struct device_ops *const device_table[] = {
	&grown_isa_ops,	 &serial_ops,	&rtc_ops,      &i8042_ops,	  &pm_ops,
	&pvpanic_ops,	 &pci_host_ops, &vfio_pci_ops, &virtio_vsock_ops, &virtio_net_ops,
	&virtio_blk_ops, &rng_ops,	&console_ops,
};
const uint32_t device_table_rows = sizeof(device_table) / sizeof(device_table[0]);
