/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The virtio device core: status, features, queues, interrupts, save and load. virtio 1.2, 2 and 3. */
#include "devices/virtio/virtio.h"
#include "devices/virtio/virtio_pci.h"
#include "vmm/base/bytes.h"
#include "vmm/base/clock.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <inttypes.h>
#include <linux/pci_regs.h>
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>
#include <string.h>
#include <sys/eventfd.h>
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

uint8_t virtio_take_isr(struct virtio *v)
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
	v->transport->sync_kicks(v);
	v->transport->sync_calls(v);
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

/* --- the driver's accesses to the transport's registers */
static void reset(struct virtio *v, uint64_t offered)
{
	struct virtio_state *s = v->s;

	(void)virtio_take_isr(v);
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

uint8_t virtio_status(struct virtio *v)
{
	if (v->resetting)
		try_reset(v);
	return v->s->status | (atomic_load(&v->broken) ? VIRTIO_CONFIG_S_NEEDS_RESET : 0);
}

static bool features_ok(const struct virtio_state *s)
{
	return s->accepted & BIT(VIRTIO_F_VERSION_1) && !(s->accepted & ~s->offered);
}

void virtio_set_status(struct virtio *v, uint8_t value)
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
void virtio_command_written(struct virtio *v)
{
	/* Waits once, however often the driver writes: the vCPU cannot be paused meanwhile. */
	uint64_t wait_ns = atomic_load(&v->broken) ? 0 : BUS_MASTER_OFF_NS;
	struct error err;

	if (is_bus_master(v))
		start_if_may(v, true);
	else if (stop(v, wait_ns ? clock_now_ns() + wait_ns : 0, &err))
		virtio_broken(v, 0, "bus mastering was switched off with I/O in flight");
}

void virtio_enable_queue(struct virtio *v, uint32_t queue)
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

/* --- device_ops */
static void close_fds(struct virtio *v)
{
	for (uint32_t i = 0; i < v->nqueues; i++)
		if (v->queue[i].kick_fd >= 0)
			close(v->queue[i].kick_fd);
	pthread_mutex_destroy(&v->isr_lock);
}

int virtio_attach(struct virtio *v, struct virtio_state *s,
		  const struct virtio_transport *transport, struct vm *vm, struct error *err)
{
	int ret = 0;

	v->s = s;
	v->transport = transport;
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
		ret = transport->attach(v, vm, err);
	if (ret)
		close_fds(v);
	return ret;
}

void virtio_detach(struct device *dev)
{
	struct virtio *v = virtio_of(dev);
	struct error err;

	(void)!stop(v, 0, &err);
	v->transport->detach(v);
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
