/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio over PCI, modern only: capabilities and registers, ioeventfds and irqfds. virtio 1.2, 4.1.
 * BAR 0 has MSI-X; BAR 2 one page for each structure, so that a hypervisor in the guest could map
 * them apart. */
#include "devices/virtio/virtio_pci.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>

#define VENDOR	     0x1af4
#define DEVICE_BASE  0x1040
#define BAR_MSIX     0
#define BAR_VIRTIO   2
#define BAR_BYTES    0x4000
#define PAGE	     0x1000
#define NOTIFY	     0x3000
#define NOTIFY_BYTES 4 /* queue_notify_off multiplier */

enum { PAGE_COMMON, PAGE_ISR, PAGE_DEVICE, PAGE_NOTIFY };

/* Without the registers of VIRTIO_F_RING_RESET, which is not offered. */
#define COMMON_BYTES sizeof(struct virtio_pci_common_cfg)

/* --- kicks */
static int ioeventfd(struct virtio *v, uint64_t gpa, int fd, uint32_t flags)
{
	/* Length 0 matches writes of any width. */
	struct kvm_ioeventfd io = {.addr = gpa, .fd = fd, .flags = flags};

	return ioctl(v->dev.vm->vm_fd, KVM_IOEVENTFD, &io) ? -errno : 0;
}

static void sync_kick(struct virtio *v, struct virtio_queue *queue, uint64_t gpa)
{
	int ret = 0;

	if (queue->kick_gpa && queue->kick_gpa != gpa) {
		ret = ioeventfd(v, queue->kick_gpa, queue->kick_fd, KVM_IOEVENTFD_FLAG_DEASSIGN);
		queue->kick_gpa = 0;
	}
	/* It stays when the queue stops, until the BAR moves: removal is slow, and an unused kick is
	 * harmless. */
	if (!ret && gpa && !queue->kick_gpa && queue->running && queue->kick_fd >= 0) {
		ret = ioeventfd(v, gpa, queue->kick_fd, 0);
		queue->kick_gpa = ret ? 0 : gpa;
	}
	if (ret)
		log_guest("%s: KVM_IOEVENTFD: %s; each kick exits to the VMM", v->dev.name,
			  strerror(-ret));
}

static void virtio_pci_sync_kicks(struct virtio *v)
{
	const struct pci_bar *bar = &v->pci.bar[BAR_VIRTIO];

	for (uint32_t i = 0; i < v->nqueues; i++)
		sync_kick(v, &v->queue[i],
			  bar->mapped ? bar->gpa + NOTIFY + NOTIFY_BYTES * (uint64_t)i : 0);
}

static void bar_changed(struct device *dev, uint32_t bar)
{
	if (bar == BAR_VIRTIO)
		virtio_pci_sync_kicks(virtio_of(dev));
}

/* --- interrupts of back ends in the kernel */
static void call_ready(void *opaque, uint32_t events)
{
	const struct virtio_queue *queue = opaque;
	struct virtio *v = queue->virtio;
	uint32_t i = (uint32_t)(queue - v->queue);
	eventfd_t n;

	(void)events;
	if (!eventfd_read(v->call[i].fd, &n))
		virtio_signal(v, i);
}

static void virtio_pci_sync_calls(struct virtio *v)
{
	struct irq_msi msi;

	for (uint32_t i = 0; i < v->nqueues; i++) {
		bool sends = v->call[i].fd >= 0 &&
			     pci_msix_message(&v->pci, v->s->queue_vector[i], &msi);

		irq_vector_set(&v->calls, i, sends ? &msi : NULL);
	}
	irq_vectors_commit(&v->calls, 0, v->nqueues);
}

void virtio_call_fd(struct virtio *v, uint32_t queue, int call_fd)
{
	if (call_fd == v->call[queue].fd)
		return;
	irq_vector_release(&v->calls, queue);
	v->call[queue].fd = call_fd;
	/* During ops->start() not: the core syncs all queues after it. */
	if (v->started)
		virtio_pci_sync_calls(v);
}

static void vectors_changed(struct device *dev)
{
	struct virtio *v = virtio_of(dev);

	if (v->started)
		virtio_pci_sync_calls(v);
}

/* --- the common configuration */
static uint32_t half(uint64_t value, uint32_t select)
{
	return select < 2 ? (uint32_t)(value >> (32 * select)) : 0;
}

static void set_half(uint64_t *value, uint32_t select, uint32_t to)
{
	if (select < 2)
		*value = (*value & ~(0xffffffffull << (32 * select))) | (uint64_t)to
										<< (32 * select);
}

static void show_queue(const struct virtio_state *s, struct virtio_pci_common_cfg *cfg)
{
	uint16_t i = s->queue_select;

	if (i >= s->nqueues)
		return;
	cfg->queue_size = s->queue_size[i];
	cfg->queue_msix_vector = s->queue_vector[i];
	cfg->queue_enable = s->queue_enable[i];
	cfg->queue_notify_off = i;
	cfg->queue_desc_lo = half(s->queue_desc[i], 0);
	cfg->queue_desc_hi = half(s->queue_desc[i], 1);
	cfg->queue_avail_lo = half(s->queue_avail[i], 0);
	cfg->queue_avail_hi = half(s->queue_avail[i], 1);
	cfg->queue_used_lo = half(s->queue_used[i], 0);
	cfg->queue_used_hi = half(s->queue_used[i], 1);
}

/* Builds the whole structure; the caller copies the accessed bytes. */
static void read_common(struct virtio *v, struct virtio_pci_common_cfg *cfg)
{
	const struct virtio_state *s = v->s;
	uint8_t status = virtio_status(v);

	*cfg = (struct virtio_pci_common_cfg){
		.device_feature_select = s->offered_select,
		.device_feature = half(s->offered, s->offered_select),
		.guest_feature_select = s->accepted_select,
		.guest_feature = half(s->accepted, s->accepted_select),
		.msix_config = s->config_vector,
		.num_queues = s->nqueues,
		.device_status = status,
		.config_generation = s->generation,
		.queue_select = s->queue_select,
		.queue_msix_vector = PCI_NO_VECTOR,
	};
	show_queue(s, cfg);
}

static uint16_t to_vector(const struct virtio *v, uint64_t value)
{
	return value < v->pci.nvectors ? (uint16_t)value : PCI_NO_VECTOR;
}

/* Registers accept only accesses of their own width. */
#define REG(offset, bytes) ((offset) << 4 | (bytes))

static void write_ring(struct virtio *v, uint32_t reg, uint32_t value)
{
	struct virtio_state *s = v->s;
	uint16_t i = s->queue_select;

	switch (reg) {
	case REG(VIRTIO_PCI_COMMON_Q_SIZE, 2):
		if (value && value <= v->queue[i].max_size && !(value & (value - 1)))
			s->queue_size[i] = (uint16_t)value;
		break;
	case REG(VIRTIO_PCI_COMMON_Q_DESCLO, 4):
	case REG(VIRTIO_PCI_COMMON_Q_DESCHI, 4):
		set_half(&s->queue_desc[i], reg == REG(VIRTIO_PCI_COMMON_Q_DESCHI, 4), value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_AVAILLO, 4):
	case REG(VIRTIO_PCI_COMMON_Q_AVAILHI, 4):
		set_half(&s->queue_avail[i], reg == REG(VIRTIO_PCI_COMMON_Q_AVAILHI, 4), value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_USEDLO, 4):
	case REG(VIRTIO_PCI_COMMON_Q_USEDHI, 4):
		set_half(&s->queue_used[i], reg == REG(VIRTIO_PCI_COMMON_Q_USEDHI, 4), value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_ENABLE, 2):
		if (value == 1)
			virtio_enable_queue(v, i);
		break;
	}
}

static void write_queue(struct virtio *v, uint32_t reg, uint32_t value)
{
	struct virtio_state *s = v->s;
	uint16_t i = s->queue_select;

	if (i >= s->nqueues)
		return;
	if (reg == REG(VIRTIO_PCI_COMMON_Q_MSIX, 2)) {
		STORE(s->queue_vector[i], to_vector(v, value));
		vectors_changed(&v->dev);
	} else if (!s->queue_enable[i] && !(s->status & VIRTIO_CONFIG_S_DRIVER_OK)) {
		write_ring(v, reg, value);
	}
}

static void write_common(struct virtio *v, uint64_t offset, uint32_t size, uint64_t value)
{
	uint32_t reg = REG((uint32_t)offset, size);
	struct virtio_state *s = v->s;

	switch (reg) {
	case REG(VIRTIO_PCI_COMMON_DFSELECT, 4):
		s->offered_select = (uint32_t)value;
		break;
	case REG(VIRTIO_PCI_COMMON_GFSELECT, 4):
		s->accepted_select = (uint32_t)value;
		break;
	case REG(VIRTIO_PCI_COMMON_GF, 4):
		if (!(s->status & VIRTIO_CONFIG_S_FEATURES_OK))
			set_half(&s->accepted, s->accepted_select, (uint32_t)value);
		break;
	case REG(VIRTIO_PCI_COMMON_MSIX, 2):
		STORE(s->config_vector, to_vector(v, value));
		break;
	case REG(VIRTIO_PCI_COMMON_STATUS, 1):
		virtio_set_status(v, (uint8_t)value);
		break;
	case REG(VIRTIO_PCI_COMMON_Q_SELECT, 2):
		s->queue_select = (uint16_t)value;
		break;
	default:
		write_queue(v, reg, (uint32_t)value);
	}
}

/* --- the BAR */
static uint64_t read_config(const struct virtio *v, uint64_t offset, uint32_t size)
{
	uint64_t value = 0;

	if (offset + size <= v->config_bytes)
		memcpy(&value, (const uint8_t *)v->config + offset, size);
	return value;
}

static void write_config(struct virtio *v, uint64_t offset, uint32_t size, uint64_t value)
{
	if (!v->ops->config_write || offset + size > v->config_bytes)
		return;
	for (uint32_t at = 0, bytes; at < size; at += bytes) {
		bytes = size - at < 4 ? size - at : 4;
		v->ops->config_write(v, (uint32_t)offset + at, bytes,
				     (uint32_t)(value >> (8 * at)));
	}
}

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	struct virtio *v = opaque;
	struct virtio_pci_common_cfg cfg;
	uint64_t at = offset % PAGE, value = 0;

	switch (offset / PAGE) {
	case PAGE_COMMON:
		if (at + size > COMMON_BYTES)
			break;
		read_common(v, &cfg);
		memcpy(&value, (const uint8_t *)&cfg + at, size);
		break;
	case PAGE_ISR:
		value = at ? 0 : virtio_take_isr(v);
		break;
	case PAGE_DEVICE:
		value = read_config(v, at, size);
		break;
	}
	return value;
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct virtio *v = opaque;
	uint64_t at = offset % PAGE;

	switch (offset / PAGE) {
	case PAGE_COMMON:
		write_common(v, at, size, value);
		break;
	case PAGE_DEVICE:
		write_config(v, at, size, value);
		break;
	case PAGE_NOTIFY:
		if (at % NOTIFY_BYTES == 0 && at / NOTIFY_BYTES < v->nqueues)
			virtio_kick(v, (uint32_t)(at / NOTIFY_BYTES));
		break;
	}
}

static const struct bus_ops bar_ops = {.read = bar_read, .write = bar_write};

/* --- BAR accesses through config space, for firmware that maps no BARs */
#define CFG_DATA sizeof(struct virtio_pci_cap)

/* The access that the driver has set up in the capability; false: it is not valid. */
static bool cfg_window(const struct virtio *v, uint32_t *offset, uint32_t *size)
{
	struct virtio_pci_cap cap;

	memcpy(&cap, v->s->pci.config + v->cfg_cap, sizeof(cap));
	*offset = cap.offset;
	*size = cap.length;
	return cap.bar == BAR_VIRTIO && (*size == 1 || *size == 2 || *size == 4) &&
	       *offset % *size == 0 && *offset < BAR_BYTES;
}

static bool is_cfg_data(const struct virtio *v, uint32_t offset, uint32_t bytes)
{
	return offset < v->cfg_cap + CFG_DATA + 4 && offset + bytes > v->cfg_cap + CFG_DATA;
}

static void config_read(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct virtio *v = virtio_of(dev);
	uint32_t at, size, data;

	if (!is_cfg_data(v, offset, bytes) || !cfg_window(v, &at, &size))
		return;
	data = (uint32_t)bar_read(v, at, size);
	memcpy(v->s->pci.config + v->cfg_cap + CFG_DATA, &data, sizeof(data));
}

static void config_written(struct device *dev, uint32_t offset, uint32_t bytes)
{
	struct virtio *v = virtio_of(dev);
	uint32_t at, size, data = 0;

	if (offset <= PCI_COMMAND && offset + bytes > PCI_COMMAND)
		virtio_command_written(v);
	if (!is_cfg_data(v, offset, bytes) || !cfg_window(v, &at, &size))
		return;
	memcpy(&data, v->s->pci.config + v->cfg_cap + CFG_DATA, size);
	bar_write(v, at, size, data);
}

/* --- attach */
static uint8_t add_cap(struct virtio *v, uint8_t type, uint32_t page, uint32_t length,
		       uint8_t bytes, uint32_t extra, uint32_t writable)
{
	const struct pci_reg regs[] = {
		{2, 1, bytes, 0},
		{3, 1, type, 0},
		{4, 1, BAR_VIRTIO, writable & 0xff},
		{8, 4, page * PAGE, writable},
		{12, 4, length, writable},
		{16, 4, extra, writable},
	};

	return pci_add_cap(&v->pci, PCI_CAP_ID_VNDR, bytes, regs,
			   bytes > sizeof(struct virtio_pci_cap) ? 6 : 5);
}

static void add_caps(struct virtio *v)
{
	const uint8_t plain = sizeof(struct virtio_pci_cap), more = plain + 4;

	add_cap(v, VIRTIO_PCI_CAP_COMMON_CFG, PAGE_COMMON, COMMON_BYTES, plain, 0, 0);
	add_cap(v, VIRTIO_PCI_CAP_ISR_CFG, PAGE_ISR, 1, plain, 0, 0);
	add_cap(v, VIRTIO_PCI_CAP_NOTIFY_CFG, PAGE_NOTIFY, NOTIFY_BYTES * v->nqueues, more,
		NOTIFY_BYTES, 0);
	v->cfg_cap = add_cap(v, VIRTIO_PCI_CAP_PCI_CFG, 0, 0, more, 0, UINT32_MAX);
	if (v->config_bytes)
		add_cap(v, VIRTIO_PCI_CAP_DEVICE_CFG, PAGE_DEVICE, v->config_bytes, plain, 0, 0);
}

static int virtio_pci_attach(struct virtio *v, struct vm *vm, struct error *err)
{
	v->pci = (struct pci_func){
		.dev = &v->dev,
		.state = &v->s->pci,
		.vendor = VENDOR,
		.device = (uint16_t)(DEVICE_BASE + v->ops->id),
		.subsystem_vendor = VENDOR,
		.subsystem = (uint16_t)(DEVICE_BASE + v->ops->id),
		.class_code = v->ops->class_code,
		.revision = 1,
		.bar[BAR_MSIX] = {.size_bytes = 4096},
		.bar[BAR_VIRTIO] = {.size_bytes = BAR_BYTES,
				    .is_64bit = true,
				    .ops = &bar_ops,
				    .opaque = v},
		.nvectors = v->nqueues + 1,
		.msix_bar = BAR_MSIX,
		.bar_changed = bar_changed,
		.vectors_changed = vectors_changed,
		.config_read = config_read,
		.config_written = config_written,
	};
	v->calls = (struct irq_vectors){.irq = &vm->irq,
					.name = v->dev.name,
					.vector = v->call,
					.fallback = call_ready,
					.loop = &vm->loop,
					.lock = &v->dev.lock};
	for (uint32_t i = 0; i < v->nqueues; i++)
		v->call[i] = (struct irq_vector){.fd = -1, .opaque = &v->queue[i]};
	add_caps(v);
	return pci_add(&v->pci, vm, err);
}

static void virtio_pci_detach(struct virtio *v)
{
	for (uint32_t i = 0; i < v->nqueues; i++)
		irq_vector_release(&v->calls, i);
	pci_remove(&v->pci); /* unmaps the BAR, which removes the ioeventfds */
}

const struct virtio_transport virtio_pci = {
	.attach = virtio_pci_attach,
	.detach = virtio_pci_detach,
	.sync_kicks = virtio_pci_sync_kicks,
	.sync_calls = virtio_pci_sync_calls,
};
