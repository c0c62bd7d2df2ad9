/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/virtio_driver.h"
#include "vmm/base/loop.h"
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <stdlib.h>
#include <string.h>

#define QUEUE_BYTES 0x4000u
#define AVAIL	    0x1000u
#define USED	    0x2000u

/* --- the guest */

void virtio_guest_boot(void)
{
	struct error err = {""};

	rig_ram(DRIVER_RAM_BYTES);
	ck_assert_msg(!devices_attach(&rig.vm, &err), "%s", err.msg);
	devices_resume(&rig.vm);
}

void virtio_guest_end(void)
{
	devices_detach(&rig.vm);
	ram_close(&rig.vm.ram);
}

/* --- the driver */

void *driver_ram(uint64_t gpa)
{
	void *hva = ram_ptr(&rig.vm.ram, gpa, 1);

	ck_assert_ptr_nonnull(hva);
	return hva;
}

uint64_t driver_ring_gpa(uint32_t queue)
{
	return 0x10000u + (uint64_t)queue * QUEUE_BYTES;
}

struct vring_desc *driver_desc(uint32_t queue)
{
	return driver_ram(driver_ring_gpa(queue));
}

struct vring_avail *driver_avail(uint32_t queue)
{
	return driver_ram(driver_ring_gpa(queue) + AVAIL);
}

struct vring_used *driver_used(uint32_t queue)
{
	return driver_ram(driver_ring_gpa(queue) + USED);
}

uint64_t driver_structure(const struct virtio *v, uint8_t type, uint32_t *extra)
{
	const uint8_t *config = v->pci.state->config;

	/* As long as a list can be: a state from a hostile checkpoint may have a loop. */
	for (uint32_t at = config[PCI_CAPABILITY_LIST], n = 0; at && at < 236 && n < 48;
	     at = config[at + 1], n++) {
		struct virtio_pci_cap cap;

		memcpy(&cap, config + at, sizeof(cap));
		memcpy(extra, config + at + sizeof(cap), sizeof(*extra));
		if (cap.cap_vndr == PCI_CAP_ID_VNDR && cap.cfg_type == type && cap.bar < PCI_BARS &&
		    v->pci.bar[cap.bar].mapped)
			return v->pci.bar[cap.bar].gpa + cap.offset;
	}
	return 0;
}

void driver_enable_function(const struct virtio *v)
{
	rig_mmio_write(RIG_ECAM + ((uint64_t)v->pci.state->slot << 15) + PCI_COMMAND, 2,
		       PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void driver_set_status(const struct driver *drv, uint32_t status)
{
	rig_mmio_write(drv->common + VIRTIO_PCI_COMMON_STATUS, 1, status);
}

uint32_t driver_status(const struct driver *drv)
{
	return (uint32_t)rig_mmio_read(drv->common + VIRTIO_PCI_COMMON_STATUS, 1);
}

void driver_reset(struct driver *drv)
{
	driver_set_status(drv, 0);
	for (int i = 0; driver_status(drv); i++) {
		ck_assert_int_lt(i, 3000);
		rig_spin();
	}
}

uint64_t driver_offered(struct driver *drv)
{
	uint64_t features = 0;

	for (uint32_t half = 0; half < 2; half++) {
		rig_mmio_write(drv->common + VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		features |= (uint64_t)rig_mmio_read(drv->common + VIRTIO_PCI_COMMON_DF, 4)
			    << (32 * half);
	}
	return features;
}

void driver_set_rings(uint64_t common, uint32_t queue, uint32_t size)
{
	const uint64_t gpa = driver_ring_gpa(queue);
	const uint32_t part[][2] = {{VIRTIO_PCI_COMMON_Q_DESCLO, 0},
				    {VIRTIO_PCI_COMMON_Q_AVAILLO, AVAIL},
				    {VIRTIO_PCI_COMMON_Q_USEDLO, USED}};

	memset(driver_ram(gpa), 0, QUEUE_BYTES);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_SELECT, 2, queue);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_SIZE, 2, size);
	for (uint32_t i = 0; i < 3; i++) {
		rig_mmio_write(common + part[i][0], 4, (uint32_t)gpa + part[i][1]);
		rig_mmio_write(common + part[i][0] + 4, 4, 0);
	}
}

void driver_start(struct driver *drv, const char *device, uint64_t features)
{
	uint32_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER, unused, n;
	const struct virtio *v;

	rig.dev = devices_find(&rig.vm, device);
	ck_assert_ptr_nonnull(rig.dev);
	v = virtio_of(rig.dev);
	driver_enable_function(v);
	drv->common = driver_structure(v, VIRTIO_PCI_CAP_COMMON_CFG, &unused);
	drv->isr = driver_structure(v, VIRTIO_PCI_CAP_ISR_CFG, &unused);
	if (v->config_bytes)
		drv->config = driver_structure(v, VIRTIO_PCI_CAP_DEVICE_CFG, &unused);
	drv->notify = driver_structure(v, VIRTIO_PCI_CAP_NOTIFY_CFG, &drv->notify_step);
	ck_assert(drv->common && drv->isr && drv->notify && (drv->config || !v->config_bytes));
	driver_reset(drv);
	driver_set_status(drv, status);
	features = driver_offered(drv) & (features | 1ull << VIRTIO_F_VERSION_1);
	for (uint32_t half = 0; half < 2; half++) {
		rig_mmio_write(drv->common + VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		rig_mmio_write(drv->common + VIRTIO_PCI_COMMON_GF, 4,
			       (uint32_t)(features >> (32 * half)));
	}
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	driver_set_status(drv, status);
	ck_assert_uint_eq(driver_status(drv), status);
	n = (uint32_t)rig_mmio_read(drv->common + VIRTIO_PCI_COMMON_NUMQ, 2);
	for (uint32_t i = 0; i < n; i++) {
		drv->added[i] = drv->seen[i] = 0;
		driver_set_rings(drv->common, i, DRIVER_QUEUE_SIZE);
		rig_mmio_write(drv->common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
	}
	driver_set_status(drv, status | VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert_uint_eq(driver_status(drv), status | VIRTIO_CONFIG_S_DRIVER_OK);
}

void driver_offer(uint32_t queue, uint16_t head)
{
	struct vring_avail *avail = driver_avail(queue);
	uint16_t idx = avail->idx;

	avail->ring[idx % DRIVER_QUEUE_SIZE] = head;
	__atomic_store_n(&avail->idx, (uint16_t)(idx + 1), __ATOMIC_SEQ_CST);
}

uint16_t driver_add(struct driver *drv, uint32_t queue, const struct driver_buffer *buffer,
		    uint32_t nread, uint32_t nwrite)
{
	struct vring_desc *desc = driver_desc(queue);
	uint16_t head = drv->added[queue] % DRIVER_QUEUE_SIZE;

	for (uint32_t i = 0; i < nread + nwrite; i++) {
		uint16_t at = drv->added[queue]++ % DRIVER_QUEUE_SIZE;
		bool last = i == nread + nwrite - 1;

		desc[at] = (struct vring_desc){
			.addr = buffer[i].gpa,
			.len = buffer[i].bytes,
			.flags = (uint16_t)((i >= nread ? VRING_DESC_F_WRITE : 0) |
					    (last ? 0 : VRING_DESC_F_NEXT)),
			.next = (uint16_t)((at + 1) % DRIVER_QUEUE_SIZE),
		};
	}
	driver_offer(queue, head);
	return head;
}

void driver_kick(struct driver *drv, uint32_t queue)
{
	rig_mmio_write(drv->notify + (uint64_t)queue * drv->notify_step, 2, queue);
}

bool driver_get(struct driver *drv, uint32_t queue, uint16_t *head, uint32_t *bytes)
{
	const struct vring_used *used = driver_used(queue);
	struct vring_used_elem elem;

	if (drv->seen[queue] == __atomic_load_n(&used->idx, __ATOMIC_ACQUIRE))
		return false;
	elem = used->ring[drv->seen[queue]++ % DRIVER_QUEUE_SIZE];
	*head = (uint16_t)elem.id;
	*bytes = elem.len;
	return true;
}

uint32_t driver_wait(struct driver *drv, uint32_t queue)
{
	bool is_back = false;
	uint32_t bytes = 0;
	uint16_t head;

	RIG_WAIT_FOR(is_back || (is_back = driver_get(drv, queue, &head, &bytes)));
	return bytes;
}

uint64_t driver_config(const struct driver *drv, uint32_t offset, uint32_t bytes)
{
	uint64_t value = 0;

	for (uint32_t i = 0; i < bytes; i++)
		value |= (uint64_t)rig_mmio_read(drv->config + offset + i, 1) << (8 * i);
	return value;
}

uint32_t driver_isr(const struct driver *drv)
{
	return (uint32_t)rig_mmio_read(drv->isr, 1);
}
