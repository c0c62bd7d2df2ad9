/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The device table of a release to come, for stasis-grown: two built-in rows stand before those of
 * the options, and one of them takes a PCI slot. No guest that is loaded may notice. */
#include "devices/pci/pci.h"

#define DEVICE_TABLE_GROWN(ROW) ROW(grown_isa_ops) ROW(grown_pci_ops)
#include "devices/devices.c" /* NOLINT(bugprone-suspicious-include) */
#include "vmm/base/clock.h"
#include "vmm/vm.h"
#include <unistd.h>

#define GROWN_PORT 0x510

struct grown_isa_state {
	uint64_t value;
};
#define GROWN_ISA_STATE(F, A, V, T) F(T, value)

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

/* With STASIS_GROWN_ONCE a load that fails cannot have it back. */
static int isa_attach(struct device *dev, struct vm *vm, struct error *err)
{
	const struct bus_region region = {GROWN_PORT, 4, &isa_bus_ops, dev, &dev->lock, dev->name};
	static bool was_there;

	if (was_there && getenv("STASIS_GROWN_ONCE"))
		return error_set(err, -EBUSY, "%s: cannot be had again", dev->name);
	was_there = true;
	return bus_add(&vm->bus, BUS_PIO, &region, err);
}

static void isa_reset(struct device *dev)
{
	((struct grown_isa_state *)dev->state)->value = 0;
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

const struct device_ops grown_isa_ops = {
	.type = "grown-isa",
	.state = &grown_isa_state_desc,
	.attach = isa_attach,
	.reset = isa_reset,
	.pause = isa_pause,
};

struct grown_pci_state {
	struct pci_state pci;
};
#define GROWN_PCI_STATE(F, A, V, T) PCI_STATE_ROWS(F, A, V, T, pci)

static const char *pci_state_check(const void *state)
{
	return pci_check(&((const struct grown_pci_state *)state)->pci);
}
STATE_DEFINE(grown_pci_state, GROWN_PCI_STATE, "grown-pci", pci_state_check);

/* A machine without PCI has it nowhere. */
static bool is_there(const struct device *dev)
{
	return ((const struct pci_func *)dev->host)->vm;
}

static int pci_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct pci_func *func = dev->host;

	if (!vm->pci)
		return 0;
	*func = (struct pci_func){
		.dev = dev,
		.state = dev->state,
		.vendor = 0x1b36,
		.device = 0x0005, /* QEMU's test device */
		.class_code = 0xff0000,
		.bar[0] = {.size_bytes = 65536, .ops = &isa_bus_ops},
	};
	return pci_add(func, vm, err);
}

static void pci_detach(struct device *dev)
{
	if (is_there(dev))
		pci_remove(dev->host);
}

static void pci_device_reset(struct device *dev)
{
	if (is_there(dev))
		pci_reset(dev->host);
}

static int pci_device_post_load(struct device *dev, struct error *err)
{
	return is_there(dev) ? pci_post_load(dev->host, err) : 0;
}

const struct device_ops grown_pci_ops = {
	.type = "grown-pci",
	.state = &grown_pci_state_desc,
	.host_size = sizeof(struct pci_func),
	.attach = pci_attach,
	.detach = pci_detach,
	.reset = pci_device_reset,
	.post_load = pci_device_post_load,
};
