/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts of a function that is passed through: each is an eventfd which the kernel's VFIO signals and
 * KVM takes. PCI Local Bus 3.0, 6.8; Documentation/virt/kvm/api.rst, 4.75 KVM_IRQFD. */
#include "devices/vfio/vfio.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/pci_regs.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

static const struct mode {
	uint32_t index; /* VFIO's */
	const char *name;
} modes[] = {
	[VFIO_IRQ_INTX] = {VFIO_PCI_INTX_IRQ_INDEX, "INTx"},
	[VFIO_IRQ_MSI] = {VFIO_PCI_MSI_IRQ_INDEX, "MSI"},
	[VFIO_IRQ_MSIX] = {VFIO_PCI_MSIX_IRQ_INDEX, "MSI-X"},
};

uint32_t vfio_irq_count(const struct vfio_host *host, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(host->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count;
}

/* 0, -errno, or how many there are at most. n 0: switches them off. */
static int set_irqs(const struct vfio_host *host, uint32_t index, uint32_t action, uint32_t n,
		    const int *fd)
{
	struct {
		struct vfio_irq_set head;
		int fd[VFIO_VECTORS_MAX];
	} set = {
		.head = {.argsz = (uint32_t)(sizeof(set.head) + n * sizeof(*fd)),
			 .flags = action | (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
			 .index = index,
			 .count = n}};
	int ret;

	if (n)
		memcpy(set.fd, fd, n * sizeof(*fd));
	ret = ioctl(host->fd, VFIO_DEVICE_SET_IRQS, &set);
	return ret < 0 ? -errno : ret;
}

static int new_fd(int *fd)
{
	if (*fd < 0)
		*fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	return *fd < 0 ? -errno : 0;
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* What has come before is taken. */
static bool take_fd(int fd)
{
	uint64_t n;

	return read(fd, &n, sizeof(n)) == sizeof(n);
}

static void raise_fd(int fd)
{
	const uint64_t one = 1;

	if (write(fd, &one, sizeof(one)) < 0)
		return; /* it is raised, as often as can be counted */
}

static void complain(const struct vfio_host *host, const char *what, int ret)
{
	log_guest("%s (%s): %s of %s cannot be switched on: %s", host->config->id,
		  host->config->host, what, modes[host->irq_mode].name, strerror(-ret));
}

/* --- INTx */

static void intx_off(struct device *dev)
{
	struct vfio_host *host = dev->host;

	if (host->intx_gsi)
		irq_detach_fd(&dev->vm->irq, host->intx_gsi, host->intx_fd);
	host->intx_gsi = 0;
	close_fd(&host->intx_fd);
	close_fd(&host->unmask_fd);
}

/* VFIO masks the line at the host when it comes; the end of the interrupt in the guest unmasks it. */
static void intx_on(struct device *dev)
{
	struct vfio_host *host = dev->host;
	uint32_t gsi = pci_intx_gsi(&host->pci), index = VFIO_PCI_INTX_IRQ_INDEX;
	struct error err;
	int ret = new_fd(&host->intx_fd);

	ret = ret ? ret : new_fd(&host->unmask_fd);
	if (!ret && irq_attach_level_fd(&dev->vm->irq, gsi, host->intx_fd, host->unmask_fd, &err)) {
		log_guest("%s (%s): %s", host->config->id, host->config->host, err.msg);
		return;
	}
	if (!ret)
		host->intx_gsi = gsi;
	ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &host->intx_fd);
	ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_UNMASK, 1, &host->unmask_fd);
	if (ret)
		complain(host, "the line", ret);
}

/* --- MSI and MSI-X */

static bool msi_message(const struct device *dev, uint32_t vector, struct irq_msi *msi)
{
	const struct vfio_host *host = dev->host;
	uint32_t cap = host->msi_cap, flags = vfio_config_seen(dev, cap + PCI_MSI_FLAGS, 2);
	uint32_t n = 1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4), mask = 0;
	bool is_64bit = flags & PCI_MSI_FLAGS_64BIT;
	const uint32_t data_at = is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	const uint32_t mask_at = is_64bit ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

	if (n > host->nmsis)
		n = host->nmsis;
	msi->address = vfio_config_seen(dev, cap + PCI_MSI_ADDRESS_LO, 4);
	if (is_64bit)
		msi->address |= (uint64_t)vfio_config_seen(dev, cap + PCI_MSI_ADDRESS_HI, 4) << 32;
	msi->data = vfio_config_seen(dev, cap + data_at, 2);
	msi->data = (msi->data & ~(n - 1)) | vector;
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		mask = vfio_config_seen(dev, cap + mask_at, 4);
	return vector < n && !(mask >> vector & 1) &&
	       vfio_config_seen(dev, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

static bool message(struct device *dev, uint32_t vector, struct irq_msi *msi)
{
	struct vfio_host *host = dev->host;

	return host->irq_mode == VFIO_IRQ_MSIX ? pci_msix_message(&host->pci, vector, msi)
					       : msi_message(dev, vector, msi);
}

static void detach(struct device *dev, struct vfio_vector *v)
{
	if (v->by_irqfd)
		irq_detach_fd(&dev->vm->irq, v->gsi, v->fd);
	v->by_irqfd = false;
}

static void free_route(struct device *dev, struct vfio_vector *v)
{
	detach(dev, v);
	if (v->gsi)
		irq_route_free(&dev->vm->irq, v->gsi);
	v->gsi = 0;
	v->renewed = false;
}

/* A vector has a route from its first use on. */
static bool set_route(struct device *dev, struct vfio_vector *v, const struct irq_msi *msi)
{
	const struct vfio_host *host = dev->host;
	struct irq *irq = &dev->vm->irq;
	struct error err;

	if (v->gsi && v->msi.address == msi->address && v->msi.data == msi->data)
		return true;
	if (!v->gsi && irq_route_alloc(irq, &v->gsi, &err)) {
		log_guest("%s (%s): %s", host->config->id, host->config->host, err.msg);
		return false;
	}
	v->msi = *msi;
	v->renewed = true;
	irq_route_set(irq, v->gsi, msi);
	return true;
}

/* One commit for all: each costs KVM a grace period. */
static void commit_routes(struct device *dev, uint32_t first, uint32_t end)
{
	struct vfio_host *host = dev->host;
	bool any = false, failed;
	struct error err;

	for (uint32_t i = first; i < end; i++)
		any |= host->vector[i].renewed;
	failed = any && irq_route_commit(&dev->vm->irq, &err);
	if (failed)
		log_guest("%s (%s): %s", host->config->id, host->config->host, err.msg);
	for (uint32_t i = first; i < end; i++) {
		struct vfio_vector *v = &host->vector[i];

		if (v->renewed && failed) {
			free_route(dev, v); /* the next look tries again */
			v->wanted = false;
		}
		v->renewed = false;
	}
}

/* VFIO knows the first n vectors, or as many of them as the host has; or as before. */
static void set_vectors(struct vfio_host *host, uint32_t n)
{
	uint32_t former = host->nenabled, index = modes[host->irq_mode].index;
	int fd[VFIO_VECTORS_MAX], ret;

	for (uint32_t i = 0; i < n; i++)
		fd[i] = host->vector[i].fd;
	if (former)
		set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	while ((ret = set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, n, fd))) {
		if (ret > 0 && (uint32_t)ret < n) {
			log_guest("%s (%s): the host has no more than %d interrupts for it",
				  host->config->id, host->config->host, ret);
			n = host->nvectors = (uint32_t)ret;
			continue;
		}
		complain(host, "vectors", ret < 0 ? ret : -ENOSPC);
		n = n > former ? former : 0;
		if (!n)
			break;
	}
	host->nenabled = n;
	if (n > host->nknown)
		host->nknown = n;
}

/* More vectors than before are in use. What came while they were all switched off is lost, so each that
 * the guest knows is raised once more. */
static void grow(struct vfio_host *host, uint32_t need)
{
	uint32_t known = host->nknown, n = 1;
	int ret = 0;

	while (n < need)
		n *= 2;
	if (n > host->nvectors)
		n = host->nvectors;
	for (uint32_t i = 0; !ret && i < n; i++)
		ret = new_fd(&host->vector[i].fd);
	if (ret) {
		complain(host, "vectors", ret);
		host->refused = true;
		return;
	}
	set_vectors(host, n);
	host->refused = host->nenabled < need;
	for (uint32_t i = 0; i < known; i++)
		if (host->vector[i].gsi)
			raise_fd(host->vector[i].fd);
}

/* To KVM, or out of its hands: what comes then waits in the eventfd. */
static void attach(struct device *dev, struct vfio_vector *v)
{
	struct error err;
	bool came;

	if (!v->wanted || v->by_irqfd) {
		if (!v->wanted)
			detach(dev, v);
		return;
	}
	came = take_fd(v->fd);
	v->by_irqfd = !irq_attach_fd(&dev->vm->irq, v->gsi, v->fd, &err);
	if (!v->by_irqfd)
		log_guest("%s: %s", dev->name, err.msg);
	if (came)
		raise_fd(v->fd);
}

static void sync_vectors(struct device *dev, uint32_t first, uint32_t end)
{
	struct vfio_host *host = dev->host;
	/* Some functions behave in another way once MSI-X is on. */
	uint32_t need = host->nknown ? host->nknown : 1;
	struct irq_msi msi;

	for (uint32_t i = first; i < end; i++) {
		struct vfio_vector *v = &host->vector[i];

		v->wanted = message(dev, i, &msi) && set_route(dev, v, &msi);
		if (v->wanted && need <= i)
			need = i + 1;
	}
	/* Without power the host refuses: they follow when it is back. A try takes from the guest those
	 * that it has, for a while. */
	if (need > host->nenabled && !host->powered_off && !host->refused)
		grow(host, need);
	commit_routes(dev, first, end);
	for (uint32_t i = first; i < end; i++) {
		host->vector[i].wanted &= i < host->nenabled;
		attach(dev, &host->vector[i]);
	}
}

bool vfio_irq_pending(struct device *dev, uint32_t vector)
{
	const struct vfio_host *host = dev->host;
	const struct vfio_vector *v = &host->vector[vector];
	struct pollfd pollfd = {.fd = v->fd, .events = POLLIN};

	return v->fd >= 0 && !v->by_irqfd && poll(&pollfd, 1, 0) == 1;
}

/* --- which of them */

/* The line has no switch of its own: it is the driver's from when it lets the function answer. */
static enum vfio_irq_mode wanted_mode(struct device *dev)
{
	struct vfio_host *host = dev->host;
	uint32_t command = vfio_config_seen(dev, PCI_COMMAND, 2);

	if (pci_msix_enabled(&host->pci))
		return VFIO_IRQ_MSIX;
	if (host->msi_cap &&
	    vfio_config_seen(dev, host->msi_cap + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE)
		return VFIO_IRQ_MSI;
	if (vfio_config_seen(dev, PCI_INTERRUPT_PIN, 1) && !(command & PCI_COMMAND_INTX_DISABLE) &&
	    command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER))
		return VFIO_IRQ_INTX;
	return VFIO_IRQ_OFF;
}

void vfio_irq_off(struct device *dev)
{
	struct vfio_host *host = dev->host;

	if (host->nenabled || host->intx_gsi)
		set_irqs(host, modes[host->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	host->nvectors = host->nenabled = host->nknown = 0;
	host->refused = false;
	intx_off(dev);
	for (uint32_t i = 0; i < host->max_vectors; i++) {
		free_route(dev, &host->vector[i]);
		close_fd(&host->vector[i].fd);
	}
	host->irq_mode = VFIO_IRQ_OFF;
}

/* Routes and eventfds stay, with what has come. A line that KVM holds high, and forgets with its
 * controllers, comes anew. */
void vfio_irq_pause(struct device *dev)
{
	struct vfio_host *host = dev->host;

	if (host->irq_mode == VFIO_IRQ_INTX)
		vfio_irq_off(dev);
	if (host->nenabled)
		set_irqs(host, modes[host->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	host->nenabled = 0;
}

void vfio_irq_sync(struct device *dev, bool retry)
{
	struct vfio_host *host = dev->host;
	enum vfio_irq_mode mode = wanted_mode(dev);

	if (retry)
		host->refused = false;
	if (mode != host->irq_mode) {
		vfio_irq_off(dev);
		host->irq_mode = mode;
		host->nvectors = mode == VFIO_IRQ_MSIX	? host->pci.nvectors
				 : mode == VFIO_IRQ_MSI ? host->nmsis
							: 0;
		if (mode == VFIO_IRQ_INTX)
			intx_on(dev);
	}
	if (host->nvectors)
		sync_vectors(dev, 0, host->nvectors);
}

void vfio_irq_sync_vector(struct device *dev, uint32_t vector)
{
	struct vfio_host *host = dev->host;

	host->refused = false;
	if (host->irq_mode == VFIO_IRQ_MSIX && vector < host->nvectors)
		sync_vectors(dev, vector, vector + 1);
}

/* --- what the host has to say */

static void report(const struct device *dev, const char *reason)
{
	const struct vfio_host *host = dev->host;
	struct vm_event event = {.type = VM_EVENT_VFIO_DEVICE_ERROR, .reason = reason};

	snprintf(event.id, sizeof(event.id), "%s", host->config->id);
	vm_post_event(dev->vm, &event);
}

static void error_came(void *opaque, uint32_t events)
{
	struct device *dev = opaque;
	const struct vfio_host *host = dev->host;

	(void)events;
	if (!take_fd(host->error_fd))
		return;
	log_error("%s (%s): the function has reported an error that the bus could not mend; the "
		  "guest goes on, its driver may not: reset the guest, or quit and look at the "
		  "host's kernel log",
		  host->config->id, host->config->host);
	report(dev, "error");
}

static void request_came(void *opaque, uint32_t events)
{
	struct device *dev = opaque;
	const struct vfio_host *host = dev->host;

	(void)events;
	if (!take_fd(host->request_fd))
		return;
	log_error(
		"%s (%s): the host wants the function back (its driver is being unbound, or it is "
		"being removed) and waits until this VM ends: save or shut down the guest",
		host->config->id, host->config->host);
	report(dev, "release-requested");
}

static int watch(struct device *dev, uint32_t index, int *fd, loop_fn fn, struct error *err)
{
	const struct vfio_host *host = dev->host;
	int ret;

	if (!vfio_irq_count(host, index))
		return 0;
	ret = new_fd(fd);
	ret = ret ? ret : loop_add(&dev->vm->loop, *fd, EPOLLIN, fn, dev, &dev->lock);
	ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, fd);
	return ret ? error_set(err, ret, "VFIO_DEVICE_SET_IRQS of index %u: %s", index,
			       strerror(-ret))
		   : 0;
}

int vfio_irq_open(struct device *dev, struct error *err)
{
	struct vfio_host *host = dev->host;
	int ret;

	host->max_vectors = host->pci.nvectors > host->nmsis ? host->pci.nvectors : host->nmsis;
	host->vector = calloc(host->max_vectors + 1u, sizeof(*host->vector));
	if (!host->vector)
		return error_set(err, -ENOMEM, "out of memory");
	for (uint32_t i = 0; i < host->max_vectors; i++)
		host->vector[i].fd = -1;
	ret = watch(dev, VFIO_PCI_ERR_IRQ_INDEX, &host->error_fd, error_came, err);
	return ret ? ret : watch(dev, VFIO_PCI_REQ_IRQ_INDEX, &host->request_fd, request_came, err);
}

static void unwatch(struct device *dev, uint32_t index, int *fd)
{
	if (*fd < 0)
		return;
	set_irqs(dev->host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	loop_del(&dev->vm->loop, *fd);
	close_fd(fd);
}

void vfio_irq_close(struct device *dev)
{
	struct vfio_host *host = dev->host;

	vfio_irq_off(dev);
	unwatch(dev, VFIO_PCI_ERR_IRQ_INDEX, &host->error_fd);
	unwatch(dev, VFIO_PCI_REQ_IRQ_INDEX, &host->request_fd);
	free(host->vector);
	host->vector = NULL;
	host->max_vectors = 0;
}
