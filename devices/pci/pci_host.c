/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI host bridge and the two interfaces to config space: ECAM (PCI Express Base 3.0, 7.2.2) and
 * mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2). */
#include "devices/pci/pci.h"
#include "vmm/vm.h"

#define ADDRESS_PORT   0xcf8
#define DATA_PORT      0xcfc
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_KEPT   0x80fffffcu

/* The generic PCI Express host bridge, which needs no driver. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

struct pci_host_state {
	uint32_t address; /* of mechanism #1 */
	struct pci_state pci;
};
#define PCI_HOST_STATE(F, A, V, T) F(T, address) PCI_STATE_ROWS(F, A, V, T, pci)

struct pci_host {
	struct device dev;
	struct pci_host_state s;
	struct pci_func func;
};

static const char *pci_host_check(const void *state)
{
	const struct pci_host_state *s = state;

	if (s->address & ~ADDRESS_KEPT)
		return "reserved bits of the config address are set";
	return pci_check(&s->pci);
}
STATE_DEFINE(pci_host_state, PCI_HOST_STATE, "pci-host", pci_host_check);

static uint64_t ecam_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;

	return pci_config_read(host->dev.vm->pci, offset, size);
}

static void ecam_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct pci_host *host = opaque;

	pci_config_write(host->dev.vm->pci, offset, size, (uint32_t)value);
}

static uint64_t address_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;

	(void)offset;
	(void)size;
	return host->s.address;
}

static void address_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_host *host = opaque;

	(void)offset;
	(void)size;
	host->s.address = (uint32_t)value & ADDRESS_KEPT;
}

/* 0xcf8 has bus, slot and function from bit 8 on, ECAM from bit 12 on. False: not enabled. */
static bool ecam_offset(const struct pci_host *host, uint64_t offset, uint64_t *ecam)
{
	uint32_t address = host->s.address;

	*ecam = (uint64_t)(address >> 8 & 0xffff) << 12 | (address & 0xff) | offset;
	return address & ADDRESS_ENABLE;
}

static uint64_t data_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;
	uint64_t ecam;

	return ecam_offset(host, offset, &ecam) ? pci_config_read(host->dev.vm->pci, ecam, size)
						: UINT64_MAX;
}

static void data_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct pci_host *host = opaque;
	uint64_t ecam;

	if (ecam_offset(host, offset, &ecam))
		pci_config_write(host->dev.vm->pci, ecam, size, (uint32_t)value);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};
static const struct bus_ops address_ops = {
	.read = address_read, .write = address_write, .width = 4};
static const struct bus_ops data_ops = {.read = data_read, .write = data_write};

static void del_regions(const struct device *dev)
{
	bus_del_all(&dev->vm->bus, &dev->vm->pci->lock);
}

static int add_regions(struct pci_host *host, struct error *err)
{
	const char *name = host->dev.name;
	struct vm *vm = host->dev.vm;
	pthread_mutex_t *lock = &vm->pci->lock;
	const struct arch_pci_layout *layout = &vm->pci->layout;
	const struct bus_region ecam = {
		layout->ecam_gpa, layout->ecam_bytes, &ecam_ops, host, lock, name};
	const struct bus_region address = {ADDRESS_PORT, 1, &address_ops, host, lock, name};
	const struct bus_region data = {DATA_PORT, 4, &data_ops, host, lock, name};
	int ret = bus_add(&vm->bus, BUS_MMIO, &ecam, err);

	if (!ret)
		ret = bus_add(&vm->bus, BUS_PIO, &address, err);
	return ret ? ret : bus_add(&vm->bus, BUS_PIO, &data, err);
}

static int pci_host_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);
	struct pci_func *func = &host->func;
	int ret = pci_create(vm, err);

	if (ret)
		return ret;
	func->dev = dev;
	func->state = &host->s.pci;
	func->vendor = BRIDGE_VENDOR;
	func->device = BRIDGE_DEVICE;
	func->class_code = BRIDGE_CLASS;
	ret = pci_add(func, vm, err);
	if (ret)
		goto destroy_pci;
	ret = add_regions(host, err);
	if (ret)
		goto remove_func;
	return 0;
remove_func:
	del_regions(dev);
	pci_remove(func);
destroy_pci:
	pci_destroy(vm);
	return ret;
}

static void pci_host_detach(struct device *dev)
{
	del_regions(dev);
	pci_remove(&container_of(dev, struct pci_host, dev)->func);
	pci_destroy(dev->vm);
}

static void pci_host_reset(struct device *dev)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);

	host->s.address = 0;
	pci_reset(&host->func);
}

static int pci_host_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct pci_host_state *was = saved;

	return pci_compare(&container_of(dev, struct pci_host, dev)->func, &was->pci, err);
}

static int pci_host_post_load(struct device *dev, struct error *err)
{
	return pci_post_load(&container_of(dev, struct pci_host, dev)->func, err);
}

static void pci_host_resume(struct device *dev)
{
	pci_resume(&container_of(dev, struct pci_host, dev)->func);
}

static uint32_t pci_host_count(const struct options *opt)
{
	(void)opt;
	return 0; /* only for devices that need it */
}

const struct device_ops pci_host_ops = {
	.type = "pci-host",
	.name = "pci",
	.count = pci_host_count,
	.state = &pci_host_state_desc,
	DEVICE_STRUCT(struct pci_host),
	.attach = pci_host_attach,
	.detach = pci_host_detach,
	.reset = pci_host_reset,
	.compare = pci_host_compare,
	.post_load = pci_host_post_load,
	.resume = pci_host_resume,
};
