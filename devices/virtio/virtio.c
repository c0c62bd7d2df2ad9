/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtio devices over PCI, modern only: status, features, queues, registers, interrupts, save and load.
 * virtio 1.2, 2, 3 and 4.1. BAR 0 has MSI-X; BAR 2 one page for each structure, so that a hypervisor in the
 * guest could map them apart. */
#include "devices/virtio/virtio.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/vm.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/kvm.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_pci.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define BIT(n) (1ull << (n))
#define CORE_FEATURES \
	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_RING_F_INDIRECT_DESC))
#define STATUS_DRIVER \
	(VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FAILED)
#define STATUS_ALL                                                                 \
	(STATUS_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK | VIRTIO_CONFIG_S_DRIVER_OK | \
	 VIRTIO_CONFIG_S_NEEDS_RESET)
#define ISR_QUEUE  1
#define ISR_CONFIG 2
/* Time for requests in flight when the driver switches bus mastering off. */
#define BUS_MASTER_OFF_NS CLOCK_NS_PER_S

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

/* Status and vectors are written with dev->lock held, and read without it by threads that signal. */
#define LOAD(x)	     __atomic_load_n(&(x), __ATOMIC_RELAXED)
#define STORE(x, to) __atomic_store_n(&(x), (to), __ATOMIC_RELAXED)

/* --- interrupts */
static void interrupt(struct virtio *v, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&v->pci)) {
		if (vector != PCI_NO_VECTOR)
			pci_msix_signal(&v->pci, vector);
		return;
	}
	pthread_mutex_lock(&v->isr_lock);
	v->s->isr |= isr;
	pci_intx_set(&v->pci, true);
	pthread_mutex_unlock(&v->isr_lock);
}

static uint8_t take_isr(struct virtio *v)
{
	uint8_t isr;

	pthread_mutex_lock(&v->isr_lock);
	isr = v->s->isr;
	v->s->isr = 0;
	pci_intx_set(&v->pci, false);
	pthread_mutex_unlock(&v->isr_lock);
	return isr;
}

void virtio_signal(struct virtio *v, uint32_t queue)
{
	interrupt(v, LOAD(v->s->queue_vector[queue]), ISR_QUEUE);
}

void virtio_used(struct virtio *v, uint32_t queue)
{
	if (virtq_should_signal(&v->queue[queue].q))
		virtio_signal(v, queue);
}

/* Config interrupts begin with DRIVER_OK. */
static void signal_config(struct virtio *v)
{
	if (LOAD(v->s->status) & VIRTIO_CONFIG_S_DRIVER_OK)
		interrupt(v, LOAD(v->s->config_vector), ISR_CONFIG);
}

void virtio_config_changed(struct virtio *v)
{
	v->s->generation++;
	signal_config(v);
}

void virtio_broken(struct virtio *v, uint32_t queue, const char *why)
{
	if (atomic_exchange(&v->broken, true))
		return;
	log_guest("%s: queue %u: %s; the device waits for a reset by its driver", v->dev.name,
		  queue, why);
	signal_config(v);
}

/* --- kicks */
void virtio_take_kick(const struct virtio *v, uint32_t queue)
{
	uint64_t n;

	(void)!read(v->queue[queue].kick_fd, &n, sizeof(n));
}

void virtio_kick(struct virtio *v, uint32_t queue)
{
	const uint64_t one = 1;

	if (!v->started || !v->queue[queue].running || atomic_load(&v->broken))
		return;
	if (v->queue[queue].kick_fd >= 0)
		(void)!write(v->queue[queue].kick_fd, &one, sizeof(one));
	else
		v->ops->kick(v, queue);
}

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

static void sync_kicks(struct virtio *v)
{
	const struct pci_bar *bar = &v->pci.bar[BAR_VIRTIO];

	for (uint32_t i = 0; i < v->nqueues; i++)
		sync_kick(v, &v->queue[i],
			  bar->mapped ? bar->gpa + NOTIFY + NOTIFY_BYTES * (uint64_t)i : 0);
}

static void bar_changed(struct device *dev, uint32_t bar)
{
	if (bar == BAR_VIRTIO)
		sync_kicks(virtio_of(dev));
}

/* --- interrupts of back ends in the kernel */
static void call_ready(void *opaque, uint32_t events)
{
	const struct virtio_queue *queue = opaque;
	struct virtio *v = queue->virtio;
	uint32_t i = (uint32_t)(queue - v->queue);
	eventfd_t n;

	if (!eventfd_read(v->call[i].fd, &n))
		virtio_signal(v, i);
}

static void sync_calls(struct virtio *v)
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
		sync_calls(v);
}

static void vectors_changed(struct device *dev)
{
	struct virtio *v = virtio_of(dev);

	if (v->started)
		sync_calls(v);
}

/* --- start and stop */
static int start_queue(struct virtio *v, uint32_t queue, struct virtq *q, struct error *err)
{
	const struct virtio_state *s = v->s;

	*q = (struct virtq){
		.size = s->queue_size[queue],
		.event_idx = virtio_has(v, VIRTIO_RING_F_EVENT_IDX),
		.indirect = virtio_has(v, VIRTIO_RING_F_INDIRECT_DESC),
		.last_avail = s->queue_last_avail[queue],
		.next_used = s->queue_next_used[queue],
	};
	return virtq_start(q, &v->dev.vm->ram, s->queue_desc[queue], s->queue_avail[queue],
			   s->queue_used[queue], err);
}

/* From here on the device serves its queues. Each is kicked, for what the driver has put there before.
 * After a pause (goes_on) each is signalled too: an interrupt that was pending in an irqfd is lost with the
 * process that saved. */
static void start(struct virtio *v, bool goes_on)
{
	const struct virtio_state *s = v->s;
	struct error err;

	for (uint32_t i = 0; i < v->nqueues; i++)
		if (s->queue_enable[i] && start_queue(v, i, &v->queue[i].q, &err)) {
			virtio_broken(v, i, err.msg);
			return;
		}
	for (uint32_t i = 0; i < v->nqueues; i++)
		v->queue[i].running = s->queue_enable[i];
	if (v->ops->start)
		v->ops->start(v);
	v->started = true;
	sync_kicks(v);
	sync_calls(v);
	for (uint32_t i = 0; i < v->nqueues; i++) {
		if (!v->queue[i].running)
			continue;
		virtio_kick(v, i);
		if (goes_on)
			virtio_signal(v, i);
	}
}

static int stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	struct virtio_state *s = v->s;
	int ret = 0;

	if (!v->started)
		return 0;
	if (v->ops->stop)
		ret = v->ops->stop(v, deadline_ns, err);
	if (ret)
		return ret;
	v->started = false;
	for (uint32_t i = 0; i < v->nqueues; i++) {
		if (!v->queue[i].running)
			continue;
		v->queue[i].running = false;
		s->queue_last_avail[i] = v->queue[i].q.last_avail;
		s->queue_next_used[i] = v->queue[i].q.next_used;
	}
	return 0;
}

static bool is_bus_master(const struct virtio *v)
{
	return v->s->pci.config[PCI_COMMAND] & PCI_COMMAND_MASTER;
}

static void start_if_may(struct virtio *v, bool goes_on)
{
	if (v->s->status & VIRTIO_CONFIG_S_DRIVER_OK && is_bus_master(v) && !v->started &&
	    !v->resetting && !atomic_load(&v->broken))
		start(v, goes_on);
}

/* --- reset, status, bus mastering, queues */
static void reset(struct virtio *v, uint64_t offered)
{
	struct virtio_state *s = v->s;

	(void)take_isr(v);
	*s = (struct virtio_state){
		.offered = offered,
		.config_vector = PCI_NO_VECTOR,
		.generation = s->generation,
		.nqueues = (uint8_t)v->nqueues,
		.pci = s->pci,
	};
	for (uint32_t i = 0; i < v->nqueues; i++) {
		s->queue_size[i] = v->queue[i].max_size;
		s->queue_vector[i] = PCI_NO_VECTOR;
	}
	v->resetting = false;
	atomic_store(&v->broken, false);
	if (v->ops->reset)
		v->ops->reset(v);
}

/* The driver gets its buffers back only when nothing is in flight: till then status is not 0. */
static void try_reset(struct virtio *v)
{
	struct error err;

	v->resetting = stop(v, 0, &err);
	if (!v->resetting)
		reset(v, v->s->offered);
}

static uint8_t read_status(struct virtio *v)
{
	if (v->resetting)
		try_reset(v);
	return v->s->status | (atomic_load(&v->broken) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

static bool features_ok(const struct virtio_state *s)
{
	return s->accepted & BIT(VIRTIO_F_VERSION_1) && !(s->accepted & ~s->offered);
}

static void write_status(struct virtio *v, uint8_t value)
{
	struct virtio_state *s = v->s;
	uint8_t status;

	if (!value || v->resetting)
		try_reset(v);
	if (!value || v->resetting)
		return;
	status = s->status | (value & STATUS_DRIVER);
	if (value & VIRTIO_CONFIG_S_FEATURES_OK && features_ok(s))
		status |= VIRTIO_CONFIG_S_FEATURES_OK;
	if (value & VIRTIO_CONFIG_S_DRIVER_OK && status & VIRTIO_CONFIG_S_FEATURES_OK)
		status |= VIRTIO_CONFIG_S_DRIVER_OK;
	STORE(s->status, status);
	start_if_may(v, false);
}

/* A kernel switches bus mastering off before it starts another one: on return the device no longer
 * touches guest memory. If I/O does not end in time, the device needs a reset. */
static void command_written(struct virtio *v)
{
	/* Waits once, however often the driver writes: the vCPU cannot be paused meanwhile. */
	uint64_t wait_ns = atomic_load(&v->broken) ? 0 : BUS_MASTER_OFF_NS;
	struct error err;

	if (is_bus_master(v))
		start_if_may(v, true);
	else if (stop(v, wait_ns ? clock_now_ns() + wait_ns : 0, &err))
		virtio_broken(v, 0, "bus mastering was switched off with I/O in flight");
}

static void enable_queue(struct virtio *v, uint32_t queue)
{
	struct virtio_state *s = v->s;
	struct error err;
	struct virtq q;

	if (!s->queue_size[queue])
		return;
	if (start_queue(v, queue, &q, &err))
		virtio_broken(v, queue, err.msg);
	else
		s->queue_enable[queue] = 1;
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
	uint8_t status = read_status(v);

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
			enable_queue(v, i);
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
		write_status(v, (uint8_t)value);
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
		value = at ? 0 : take_isr(v);
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
		command_written(v);
	if (!is_cfg_data(v, offset, bytes) || !cfg_window(v, &at, &size))
		return;
	memcpy(&data, v->s->pci.config + v->cfg_cap + CFG_DATA, size);
	bar_write(v, at, size, data);
}

/* --- device_ops */
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

static int add_function(struct virtio *v, struct vm *vm, struct error *err)
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

static void close_fds(struct virtio *v)
{
	for (uint32_t i = 0; i < v->nqueues; i++)
		if (v->queue[i].kick_fd >= 0)
			close(v->queue[i].kick_fd);
	pthread_mutex_destroy(&v->isr_lock);
}

int virtio_attach(struct virtio *v, struct vm *vm, struct error *err)
{
	int ret = 0;

	v->s = device_state(&v->dev);
	v->features |= CORE_FEATURES;
	pthread_mutex_init(&v->isr_lock, NULL);
	for (uint32_t i = 0; i < v->nqueues; i++) {
		struct virtio_queue *queue = &v->queue[i];
		bool by_fd = !v->ops->kick || queue->by_fd;

		queue->virtio = v;
		queue->kick_fd = by_fd ? eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC) : -1;
		if (by_fd && queue->kick_fd < 0)
			ret = error_set(err, -errno, "%s: no eventfd: %s", v->dev.name,
					strerror(errno));
	}
	if (!ret)
		ret = add_function(v, vm, err);
	if (ret)
		close_fds(v);
	return ret;
}

void virtio_detach(struct device *dev)
{
	struct virtio *v = virtio_of(dev);
	struct error err;

	(void)!stop(v, 0, &err);
	for (uint32_t i = 0; i < v->nqueues; i++) {
		irq_vector_release(&v->calls, i);
		v->queue[i].kick_gpa =
			0; /* KVM drops the ioeventfds with the VM; one by one it is slow */
	}
	pci_remove(&v->pci);
	close_fds(v);
}

/* Power-on; the guest is stopped, and so is the device. */
void virtio_reset(struct device *dev)
{
	struct virtio *v = virtio_of(dev);

	pci_reset(&v->pci);
	reset(v, v->features);
}

int virtio_pause(struct device *dev, uint64_t deadline_ns, struct error *err)
{
	struct virtio *v = virtio_of(dev);
	int ret = stop(v, deadline_ns, err);

	if (ret)
		return ret;
	if (v->resetting)
		reset(v, v->s->offered);
	if (atomic_load(&v->broken))
		v->s->status |= VIRTIO_CONFIG_S_NEEDS_RESET;
	return 0;
}

void virtio_resume(struct device *dev)
{
	struct virtio *v = virtio_of(dev);

	pci_resume(&v->pci);
	start_if_may(v, true);
}

#define ANY 0
#define FEATURE(id, feature)          \
	{                             \
		id, feature, #feature \
	}

static const struct {
	uint16_t id; /* of the device */
	uint8_t bit;
	const char *name;
} features[] = {
	FEATURE(ANY, VIRTIO_RING_F_INDIRECT_DESC),
	FEATURE(ANY, VIRTIO_RING_F_EVENT_IDX),
	FEATURE(ANY, VIRTIO_F_VERSION_1),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_SEG_MAX),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_RO),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_BLK_SIZE),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_FLUSH),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_TOPOLOGY),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_CONFIG_WCE),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_MQ),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_DISCARD),
	FEATURE(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_WRITE_ZEROES),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_CSUM),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_CSUM),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_MAC),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_TSO4),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_TSO6),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_ECN),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_TSO4),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_TSO6),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_ECN),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_MRG_RXBUF),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_STATUS),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_VQ),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_ANNOUNCE),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_MQ),
	FEATURE(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_MAC_ADDR),
	FEATURE(VIRTIO_ID_CONSOLE, VIRTIO_CONSOLE_F_MULTIPORT),
	FEATURE(VIRTIO_ID_CONSOLE, VIRTIO_CONSOLE_F_EMERG_WRITE),
	FEATURE(VIRTIO_ID_VSOCK, VIRTIO_VSOCK_F_SEQPACKET),
};

const char *virtio_feature_name(uint16_t id, uint32_t bit)
{
	for (uint32_t i = 0; i < ARRAY_SIZE(features); i++)
		if (features[i].bit == bit && (features[i].id == id || features[i].id == ANY))
			return features[i].name;
	return "unknown";
}

int virtio_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct virtio_state *was = saved;
	const struct virtio *v = virtio_of(dev);
	uint64_t missing = was->offered & ~v->features;
	int ret = 0;

	if (was->nqueues != v->nqueues)
		ret = error_join(err, -EINVAL, "checkpoint has %u queue%s, here are %u",
				 was->nqueues, was->nqueues == 1 ? "" : "s", v->nqueues);
	for (uint32_t bit = 0; bit < 64; bit++)
		if (missing & BIT(bit))
			ret = error_join(err, -EINVAL, "feature bit %u (%s) is missing here", bit,
					 virtio_feature_name(v->ops->id, bit));
	if (missing)
		ret = error_join(err, -EINVAL,
				 "start with the options that it was saved with, on such a host");
	for (uint32_t i = 0; i < v->nqueues; i++)
		if (was->queue_size[i] > v->queue[i].max_size)
			ret = error_join(err, -EINVAL,
					 "checkpoint has %u entries in queue %u, here it takes %u",
					 was->queue_size[i], i, v->queue[i].max_size);
	return ret || (err && *err->msg) ? ret : pci_compare(&v->pci, &was->pci, err);
}

int virtio_post_load(struct device *dev, struct error *err)
{
	struct virtio *v = virtio_of(dev);
	const struct virtio_state *s = v->s;
	struct virtq q;
	int ret = pci_post_load(&v->pci, err);

	for (uint32_t i = 0; !ret && i < v->nqueues; i++) {
		ret = s->queue_enable[i] ? start_queue(v, i, &q, err) : 0;
		if (ret)
			error_prefix(err, "queue %u", i);
	}
	atomic_store(&v->broken, s->status & VIRTIO_CONFIG_S_NEEDS_RESET);
	return ret;
}

/* --- states that no driver and no device could have produced */
static const char *check_status(const struct virtio_state *s)
{
	if (s->status & ~STATUS_ALL)
		return "status has bits that do not exist";
	if (s->status & VIRTIO_CONFIG_S_DRIVER_OK && !(s->status & VIRTIO_CONFIG_S_FEATURES_OK))
		return "DRIVER_OK is set without FEATURES_OK";
	if (s->status & VIRTIO_CONFIG_S_FEATURES_OK && !features_ok(s))
		return "accepted features were not offered, or lack VERSION_1";
	if (s->isr & ~(ISR_QUEUE | ISR_CONFIG))
		return "ISR has bits that do not exist";
	return NULL;
}

static bool is_vector(const struct virtio_state *s, uint16_t vector)
{
	return vector == PCI_NO_VECTOR || vector <= s->nqueues;
}

static const char *check_queue(const struct virtio_state *s, uint32_t i)
{
	uint16_t size = s->queue_size[i];

	if (i >= s->nqueues)
		return size || s->queue_enable[i] ? "a queue beyond the number of queues" : NULL;
	if (size > VIRTQ_MAX_SIZE || size & (size - 1))
		return "a queue's size is no power of two, or too large";
	if (!is_vector(s, s->queue_vector[i]))
		return "a queue has a vector that does not exist";
	if (!s->queue_enable[i])
		return NULL;
	if (!size || s->queue_desc[i] % VRING_DESC_ALIGN_SIZE ||
	    s->queue_avail[i] % VRING_AVAIL_ALIGN_SIZE || s->queue_used[i] % VRING_USED_ALIGN_SIZE)
		return "an enabled queue has no size or is misaligned";
	return NULL;
}

const char *virtio_check(const struct virtio_state *s)
{
	const char *why = check_status(s);

	if (s->nqueues > VIRTIO_MAX_QUEUES)
		return "more queues than any device has";
	if (!why && !is_vector(s, s->config_vector))
		why = "the config vector does not exist";
	for (uint32_t i = 0; !why && i < VIRTIO_MAX_QUEUES; i++)
		why = check_queue(s, i);
	return why ? why : pci_check(&s->pci);
}
