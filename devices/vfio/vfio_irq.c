/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts of a VFIO device: VFIO signals an eventfd for each, and KVM takes it. PCI Local Bus 3.0, 6.8;
 * Documentation/virt/kvm/api.rst, 4.75 KVM_IRQFD. */
#include "devices/vfio/vfio.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <linux/pci_regs.h>
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

/* n 0: disables all. Returns 0, -errno, or how many the host has if n is too many. */
static int set_irqs(const struct vfio_host *host, uint32_t index, uint32_t action, uint32_t n,
		    const int *fd)
{
	struct {
		struct vfio_irq_set head;
		int fd[VFIO_VECTORS_MAX]; /* only the first n are filled: it is large */
	} set;
	int ret;

	set.head = (struct vfio_irq_set){
		.argsz = (uint32_t)(sizeof(set.head) + n * sizeof(*fd)),
		.flags = action | (n ? VFIO_IRQ_SET_DATA_EVENTFD : VFIO_IRQ_SET_DATA_NONE),
		.index = index,
		.count = n,
	};
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

static void warn_refused(const struct vfio_host *host, const char *what, int ret)
{
	log_guest("%s: %s of %s cannot be switched on: %s", host->name, what,
		  modes[host->irq_mode].name, strerror(-ret));
}

/* Config space as the guest has it. */
static uint32_t config(const struct vfio_host *host, uint32_t offset, uint32_t bytes)
{
	return get_le(host->state->pci.config + offset, bytes);
}

/* --- INTx */

static void intx_off(struct vfio_host *host)
{
	if (host->intx_gsi)
		irq_detach_fd(&host->vm->irq, host->intx_gsi, host->intx_fd);
	host->intx_gsi = 0;
	close_fd(&host->intx_fd);
	close_fd(&host->unmask_fd);
}

/* VFIO masks the line when it rises; the guest's end of interrupt unmasks it by unmask_fd. */
static void intx_on(struct vfio_host *host)
{
	uint32_t gsi = pci_intx_gsi(&host->pci), index = VFIO_PCI_INTX_IRQ_INDEX;
	struct error err;
	int ret = new_fd(&host->intx_fd);

	ret = ret ? ret : new_fd(&host->unmask_fd);
	if (!ret &&
	    irq_attach_level_fd(&host->vm->irq, gsi, host->intx_fd, host->unmask_fd, &err)) {
		log_guest("%s: %s", host->name, err.msg);
		return;
	}
	if (!ret)
		host->intx_gsi = gsi;
	ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &host->intx_fd);
	ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_UNMASK, 1, &host->unmask_fd);
	if (ret)
		warn_refused(host, "the line", ret);
}

/* --- MSI and MSI-X */

static bool msi_message(const struct vfio_host *host, uint32_t vector, struct irq_msi *msi)
{
	uint32_t cap = host->msi_cap, flags = config(host, cap + PCI_MSI_FLAGS, 2);
	uint32_t n = 1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4), mask = 0;
	bool is_64bit = flags & PCI_MSI_FLAGS_64BIT;
	const uint32_t data_at = is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	const uint32_t mask_at = is_64bit ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

	if (n > host->nmsis)
		n = host->nmsis;
	msi->address = config(host, cap + PCI_MSI_ADDRESS_LO, 4);
	if (is_64bit)
		msi->address |= (uint64_t)config(host, cap + PCI_MSI_ADDRESS_HI, 4) << 32;
	msi->data = config(host, cap + data_at, 2);
	msi->data = (msi->data & ~(n - 1)) | vector;
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		mask = config(host, cap + mask_at, 4);
	return vector < n && !(mask >> vector & 1) &&
	       config(host, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

static bool message(struct vfio_host *host, uint32_t vector, struct irq_msi *msi)
{
	return host->irq_mode == VFIO_IRQ_MSIX ? pci_msix_message(&host->pci, vector, msi)
					       : msi_message(host, vector, msi);
}

/* Enables the first n vectors, or as many as the host has; if that fails, as many as before. */
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
			log_guest("%s: the host has no more than %d interrupts for it", host->name,
				  ret);
			n = host->nvectors = (uint32_t)ret;
			continue;
		}
		warn_refused(host, "vectors", ret < 0 ? ret : -ENOSPC);
		n = n > former ? former : 0;
		if (!n)
			break;
	}
	host->nenabled = n;
	if (n > host->nknown)
		host->nknown = n;
}

/* VFIO can only enable more vectors by disabling all for a moment. Interrupts are lost then, so each vector
 * in use is raised once more. */
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
		warn_refused(host, "vectors", ret);
		host->refused = true;
		return;
	}
	set_vectors(host, n);
	host->refused = host->nenabled < need;
	for (uint32_t i = 0; i < known; i++)
		if (host->vector[i].gsi)
			irq_vector_raise(&host->vector[i]);
}

static void sync_vectors(struct vfio_host *host, uint32_t first, uint32_t end)
{
	/* One at least: some devices change their behaviour with MSI-X enabled. */
	uint32_t need = host->nknown ? host->nknown : 1;
	struct irq_msi msi;

	for (uint32_t i = first; i < end; i++) {
		irq_vector_set(&host->vectors, i, message(host, i, &msi) ? &msi : NULL);
		if (host->vector[i].unmasked && need <= i)
			need = i + 1;
	}
	/* The host refuses them without power, and after a refusal each further try would disable those
	 * that work. */
	if (need > host->nenabled && !host->powered_off && !host->refused)
		grow(host, need);
	for (uint32_t i = first; i < end; i++)
		if (i >= host->nenabled)
			irq_vector_set(&host->vectors, i, NULL);
	irq_vectors_commit(&host->vectors, first, end);
}

/* --- the mode */

/* INTx has no enable bit: it is on from when the driver lets the device answer or be bus master. */
static enum vfio_irq_mode wanted_mode(struct vfio_host *host)
{
	uint32_t command = config(host, PCI_COMMAND, 2);

	if (pci_msix_enabled(&host->pci))
		return VFIO_IRQ_MSIX;
	if (host->msi_cap && config(host, host->msi_cap + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE)
		return VFIO_IRQ_MSI;
	if (config(host, PCI_INTERRUPT_PIN, 1) && !(command & PCI_COMMAND_INTX_DISABLE) &&
	    command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER))
		return VFIO_IRQ_INTX;
	return VFIO_IRQ_OFF;
}

void vfio_irq_off(struct vfio_host *host)
{
	if (host->nenabled || host->intx_gsi)
		set_irqs(host, modes[host->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	host->nvectors = host->nenabled = host->nknown = 0;
	host->refused = false;
	intx_off(host);
	for (uint32_t i = 0; i < host->max_vectors; i++) {
		irq_vector_release(&host->vectors, i);
		close_fd(&host->vector[i].fd);
	}
	host->irq_mode = VFIO_IRQ_OFF;
}

/* Routes and eventfds stay, with pending events. INTx is switched off: KVM may forget the level of the line,
 * and the guest would never unmask it. */
void vfio_irq_pause(struct vfio_host *host)
{
	if (host->irq_mode == VFIO_IRQ_INTX)
		vfio_irq_off(host);
	if (host->nenabled)
		set_irqs(host, modes[host->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	host->nenabled = 0;
}

void vfio_irq_sync(struct vfio_host *host, bool retry)
{
	enum vfio_irq_mode mode = wanted_mode(host);

	if (retry)
		host->refused = false;
	if (mode != host->irq_mode) {
		vfio_irq_off(host);
		host->irq_mode = mode;
		host->nvectors = mode == VFIO_IRQ_MSIX	? host->pci.nvectors
				 : mode == VFIO_IRQ_MSI ? host->nmsis
							: 0;
		if (mode == VFIO_IRQ_INTX)
			intx_on(host);
	}
	if (host->nvectors)
		sync_vectors(host, 0, host->nvectors);
}

void vfio_irq_sync_vector(struct vfio_host *host, uint32_t vector)
{
	host->refused = false;
	if (host->irq_mode == VFIO_IRQ_MSIX && vector < host->nvectors)
		sync_vectors(host, vector, vector + 1);
}

/* --- error (AER) and device-release request interrupts */

static const struct {
	uint32_t index; /* VFIO's */
	const char *reason, *text;
} notices[VFIO_NOTICES] = {
	{VFIO_PCI_ERR_IRQ_INDEX, "error",
	 "the function has reported an error that the bus could not mend; the guest goes on, its "
	 "driver may not: reset the guest, or quit and look at the host's kernel log"},
	{VFIO_PCI_REQ_IRQ_INDEX, "release-requested",
	 "the host wants the function back (its driver is being unbound, or it is being removed) "
	 "and waits until this VM ends: save or shut down the guest"},
};

static void notice_ready(void *opaque, uint32_t events)
{
	struct vfio_host *host = opaque;

	(void)events;
	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		struct vm_event event = {.type = VM_EVENT_VFIO_DEVICE_ERROR,
					 .reason = notices[i].reason};
		eventfd_t n;

		if (host->notice_fd[i] < 0 || eventfd_read(host->notice_fd[i], &n))
			continue;
		log_error("%s: %s", host->name, notices[i].text);
		snprintf(event.id, sizeof(event.id), "%s", host->config->id);
		vm_post_event(host->vm, &event);
	}
}

int vfio_irq_open(struct vfio_host *host, struct error *err)
{
	uint32_t n = host->pci.nvectors > host->nmsis ? host->pci.nvectors : host->nmsis;

	host->vector = calloc(n + 1u, sizeof(*host->vector));
	if (!host->vector)
		return error_set(err, -ENOMEM, "out of memory");
	host->max_vectors = n;
	host->vectors = (struct irq_vectors){
		.irq = &host->vm->irq, .name = host->name, .vector = host->vector};
	for (uint32_t i = 0; i < n; i++)
		host->vector[i].fd = -1;
	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		uint32_t index = notices[i].index;
		int *fd = &host->notice_fd[i], ret;

		if (!vfio_irq_count(host, index))
			continue;
		ret = new_fd(fd);
		ret = ret ? ret
			  : loop_add(&host->vm->loop, *fd, EPOLLIN, notice_ready, host,
				     &host->pci.dev->lock);
		ret = ret ? ret : set_irqs(host, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, fd);
		if (ret)
			return error_set(err, ret, "VFIO_DEVICE_SET_IRQS of index %u: %s", index,
					 strerror(-ret));
	}
	return 0;
}

void vfio_irq_close(struct vfio_host *host)
{
	vfio_irq_off(host);
	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		if (host->notice_fd[i] < 0)
			continue;
		set_irqs(host, notices[i].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
		loop_del(&host->vm->loop, host->notice_fd[i]);
		close_fd(&host->notice_fd[i]);
	}
	free(host->vector);
	host->vector = NULL;
	host->max_vectors = 0;
}
