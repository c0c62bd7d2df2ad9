/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/vfio_fixture.h"
#include "devices/devices.h"
#include "tests/rig/virtio_driver.h"
#include "vmm/base/bytes.h"
#include <string.h>
#include <unistd.h>

#define ADDRESS "0000:01:00.0"

struct fake_vfio_function *function;
static struct vfio_config config = {.id = "nvme", .host = ADDRESS};
static bool booted;

uint32_t function_get(uint32_t offset, uint32_t bytes)
{
	uint32_t value = 0;

	memcpy(&value, function->config + offset, bytes);
	return value;
}

void function_put(uint32_t offset, uint32_t bytes, uint32_t value)
{
	memcpy(function->config + offset, &value, bytes);
}

static void put_cap(uint32_t at, uint8_t id, uint8_t next)
{
	function->config[at] = id;
	function->config[at + 1] = next;
}

static void make_header(void)
{
	function_put(PCI_VENDOR_ID, 4, 0xa808144d);
	function_put(PCI_COMMAND, 2, PCI_COMMAND_SERR);
	function_put(PCI_STATUS, 2, PCI_STATUS_CAP_LIST | PCI_STATUS_FAST_BACK);
	function_put(PCI_CLASS_REVISION, 4, 0x01080203);
	function_put(PCI_HEADER_TYPE, 1, 0x80);
	function_put(PCI_BASE_ADDRESS_0, 4,
		     0xfe000000 | PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH);
	function_put(PCI_BASE_ADDRESS_2, 4, 0xfd000000);
	function_put(PCI_BASE_ADDRESS_3, 4, 0xc000 | PCI_BASE_ADDRESS_SPACE_IO);
	function_put(PCI_BASE_ADDRESS_4, 4, 0xfc000000);
	function_put(PCI_SUBSYSTEM_VENDOR_ID, 4, 0xa801144d);
	function_put(PCI_CAPABILITY_LIST, 1, FUNCTION_PM);
	function_put(PCI_INTERRUPT_PIN, 1, 2);
}

static void make_caps(void)
{
	put_cap(FUNCTION_PM, PCI_CAP_ID_PM, FUNCTION_VPD);
	function_put(FUNCTION_PM + PCI_PM_CTRL, 2, PCI_PM_CTRL_NO_SOFT_RESET);
	put_cap(FUNCTION_VPD, PCI_CAP_ID_VPD, FUNCTION_MSI);
	put_cap(FUNCTION_MSI, PCI_CAP_ID_MSI, FUNCTION_MSIX);
	function_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2,
		     3 << 1 | PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_MASKBIT);
	put_cap(FUNCTION_MSIX, PCI_CAP_ID_MSIX, FUNCTION_EXP);
	function_put(FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, FUNCTION_VECTORS - 1);
	function_put(FUNCTION_MSIX + PCI_MSIX_TABLE, 4, FUNCTION_TABLE | FUNCTION_WIDE);
	function_put(FUNCTION_MSIX + PCI_MSIX_PBA, 4, FUNCTION_PBA | FUNCTION_WIDE);
	put_cap(FUNCTION_EXP, PCI_CAP_ID_EXP, FUNCTION_VENDOR);
	function_put(FUNCTION_EXP + PCI_EXP_FLAGS, 2, 0x0142);
	function_put(FUNCTION_EXP + PCI_EXP_DEVCAP, 4, 0x10008fc1);
	function_put(FUNCTION_EXP + PCI_EXP_DEVCTL, 2, 0x2810);
	put_cap(FUNCTION_VENDOR, PCI_CAP_ID_VNDR, FUNCTION_AF);
	function_put(FUNCTION_VENDOR + 2, 1, 16);
	put_cap(FUNCTION_AF, PCI_CAP_ID_AF, FUNCTION_PM);
}

static void make_regions(void)
{
	static const struct {
		uint32_t bar, bytes;
		bool maps;
	} row[] = {{FUNCTION_WIDE, FUNCTION_WIDE_BYTES, true},
		   {FUNCTION_SMALL, FUNCTION_SMALL_BYTES, true},
		   {FUNCTION_PORTS, FUNCTION_PORTS_BYTES, false},
		   {FUNCTION_SPARSE, FUNCTION_SPARSE_BYTES, true}};

	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		struct fake_vfio_region *region = &function->region[row[i].bar];

		region->bytes = row[i].bytes;
		region->flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
				(row[i].maps ? VFIO_REGION_INFO_FLAG_MMAP : 0u);
	}
	function->region[FUNCTION_WIDE].msix_mappable = true;
	/* The last ones are no whole page, and outside. */
	function->region[FUNCTION_SPARSE].nareas = 4;
	memcpy(function->region[FUNCTION_SPARSE].area,
	       (struct vfio_region_sparse_mmap_area[]){
		       {0x1000, 0x2000}, {0x5000, 0x1000}, {0x8100, 0xf00}, {0xf000, 0x2000}},
	       4 * sizeof(struct vfio_region_sparse_mmap_area));
	function->irq[VFIO_PCI_MSI_IRQ_INDEX].count = FUNCTION_MSIS;
	function->irq[VFIO_PCI_MSIX_IRQ_INDEX].count = FUNCTION_VECTORS;
}

void vfio_fixture_open(void)
{
	rig_open();
	fake_vfio_begin();
	function = fake_vfio_add(ADDRESS, 1);
	memset(function->config, 0xff, PCI_CONFIG_BYTES);
	make_header();
	make_caps();
	make_regions();
}

void vfio_fixture_boot(void)
{
	rig.opt.vfio = &config;
	rig.opt.nvfios = 1;
	rig.opt.s3 = true;
	virtio_guest_boot();
	booted = true;
}

int vfio_fixture_refused(struct error *err)
{
	int ret;

	rig_ram(DRIVER_RAM_BYTES);
	rig.opt.vfio = &config;
	rig.opt.nvfios = 1;
	ret = devices_attach(&rig.vm, err);
	virtio_guest_end();
	ck_assert_uint_eq(function->open + fake_vfio.groups + fake_vfio.containers, 0);
	for (uint32_t i = 0; i < VFIO_PCI_NUM_IRQS; i++)
		ck_assert_int_eq(function->irq[i].fd[0], -1);
	return ret;
}

void vfio_fixture_shutdown(void)
{
	if (booted)
		virtio_guest_end();
	booted = false;
}

void vfio_fixture_close(void)
{
	vfio_fixture_shutdown();
	ck_assert_uint_eq(function->open, 0);
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		ck_assert_uint_eq(rig.slot[i].bytes, 0);
	ck_assert_uint_eq(rig_routes(), 0);
	fake_vfio_end();
	rig_close();
}

void vfio_fixture_reload(void)
{
	rig.vm.suspended = true;
	rig_reload();
	rig.vm.suspended = false;
}

void vfio_fixture_reset(void)
{
	devices_reset(&rig.vm);
}

struct device *vfio_fixture_device(void)
{
	struct device *dev = devices_find(&rig.vm, "vfio0");

	ck_assert_ptr_nonnull(dev);
	return dev;
}

struct vfio *vfio_fixture_vfio(void)
{
	return container_of(vfio_fixture_device(), struct vfio, dev);
}

static uint64_t ecam(uint32_t offset)
{
	return RIG_ECAM + (vfio_fixture_vfio()->pci.state->slot << 15) + offset;
}

uint32_t vfio_get(uint32_t offset, uint32_t bytes)
{
	return (uint32_t)rig_mmio_read(ecam(offset), bytes);
}

void vfio_put(uint32_t offset, uint32_t bytes, uint32_t value)
{
	rig_mmio_write(ecam(offset), bytes, value);
}

uint64_t vfio_bar_gpa(uint32_t bar)
{
	const struct pci_bar *b = &vfio_fixture_vfio()->pci.bar[bar];

	return b->mapped ? b->gpa : 0;
}

void *vfio_slot_hva(uint64_t gpa)
{
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		if (gpa >= rig.slot[i].gpa && gpa - rig.slot[i].gpa < rig.slot[i].bytes)
			return (uint8_t *)rig.slot[i].hva + (gpa - rig.slot[i].gpa);
	return NULL;
}

uint32_t function_read(uint32_t region, uint64_t offset)
{
	uint32_t value;

	ck_assert_int_eq(pread(function->memory_fd, &value, sizeof(value),
			       (off_t)(fake_vfio_offset(region) + offset)),
			 sizeof(value));
	return value;
}
