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

uint32_t vfio_irq_count(const struct vfio *vfio, uint32_t index)
{
	struct vfio_irq_info info = {.argsz = sizeof(info), .index = index};

	if (ioctl(vfio->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) ||
	    !(info.flags & VFIO_IRQ_INFO_EVENTFD))
		return 0;
	return info.count;
}

/* n 0: disables all. Returns 0, -errno, or how many the host has if n is too many. */
static int set_irqs(const struct vfio *vfio, uint32_t index, uint32_t action, uint32_t n,
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
	ret = ioctl(vfio->fd, VFIO_DEVICE_SET_IRQS, &set);
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

static void warn_refused(const struct vfio *vfio, const char *what, int ret)
{
	log_guest("%s: %s of %s cannot be switched on: %s", vfio->name, what,
		  modes[vfio->irq_mode].name, strerror(-ret));
}

/* Config space as the guest has it. */
static uint32_t config(const struct vfio *vfio, uint32_t offset, uint32_t bytes)
{
	return get_le(vfio->s.pci.config + offset, bytes);
}

/* --- INTx */

static void intx_off(struct vfio *vfio)
{
	if (vfio->intx_gsi)
		irq_detach_fd(&vfio->dev.vm->irq, vfio->intx_gsi, vfio->intx_fd);
	vfio->intx_gsi = 0;
	close_fd(&vfio->intx_fd);
	close_fd(&vfio->unmask_fd);
}

/* VFIO masks the line when it rises; the guest's end of interrupt unmasks it by unmask_fd. */
static void intx_on(struct vfio *vfio)
{
	uint32_t gsi = pci_intx_gsi(&vfio->pci), index = VFIO_PCI_INTX_IRQ_INDEX;
	struct error err;
	int ret = new_fd(&vfio->intx_fd);

	ret = ret ? ret : new_fd(&vfio->unmask_fd);
	if (!ret &&
	    irq_attach_level_fd(&vfio->dev.vm->irq, gsi, vfio->intx_fd, vfio->unmask_fd, &err)) {
		log_guest("%s: %s", vfio->name, err.msg);
		return;
	}
	if (!ret)
		vfio->intx_gsi = gsi;
	ret = ret ? ret : set_irqs(vfio, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, &vfio->intx_fd);
	ret = ret ? ret : set_irqs(vfio, index, VFIO_IRQ_SET_ACTION_UNMASK, 1, &vfio->unmask_fd);
	if (ret)
		warn_refused(vfio, "the line", ret);
}

/* --- MSI and MSI-X */

static bool msi_message(const struct vfio *vfio, uint32_t vector, struct irq_msi *msi)
{
	uint32_t cap = vfio->msi_cap, flags = config(vfio, cap + PCI_MSI_FLAGS, 2);
	uint32_t n = 1u << ((flags & PCI_MSI_FLAGS_QSIZE) >> 4), mask = 0;
	bool is_64bit = flags & PCI_MSI_FLAGS_64BIT;
	const uint32_t data_at = is_64bit ? PCI_MSI_DATA_64 : PCI_MSI_DATA_32;
	const uint32_t mask_at = is_64bit ? PCI_MSI_MASK_64 : PCI_MSI_MASK_32;

	if (n > vfio->nmsis)
		n = vfio->nmsis;
	msi->address = config(vfio, cap + PCI_MSI_ADDRESS_LO, 4);
	if (is_64bit)
		msi->address |= (uint64_t)config(vfio, cap + PCI_MSI_ADDRESS_HI, 4) << 32;
	msi->data = config(vfio, cap + data_at, 2);
	msi->data = (msi->data & ~(n - 1)) | vector;
	if (flags & PCI_MSI_FLAGS_MASKBIT)
		mask = config(vfio, cap + mask_at, 4);
	return vector < n && !(mask >> vector & 1) &&
	       config(vfio, PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

static bool message(struct vfio *vfio, uint32_t vector, struct irq_msi *msi)
{
	return vfio->irq_mode == VFIO_IRQ_MSIX ? pci_msix_message(&vfio->pci, vector, msi)
					       : msi_message(vfio, vector, msi);
}

/* Enables the first n vectors, or as many as the host has; if that fails, as many as before. */
static void set_vectors(struct vfio *vfio, uint32_t n)
{
	uint32_t former = vfio->nenabled, index = modes[vfio->irq_mode].index;
	int fd[VFIO_VECTORS_MAX], ret;

	for (uint32_t i = 0; i < n; i++)
		fd[i] = vfio->vector[i].fd;
	if (former)
		set_irqs(vfio, index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	while ((ret = set_irqs(vfio, index, VFIO_IRQ_SET_ACTION_TRIGGER, n, fd))) {
		if (ret > 0 && (uint32_t)ret < n) {
			log_guest("%s: the host has no more than %d interrupts for it", vfio->name,
				  ret);
			n = vfio->nvectors = (uint32_t)ret;
			continue;
		}
		warn_refused(vfio, "vectors", ret < 0 ? ret : -ENOSPC);
		n = n > former ? former : 0;
		if (!n)
			break;
	}
	vfio->nenabled = n;
	if (n > vfio->nknown)
		vfio->nknown = n;
}

/* VFIO can only enable more vectors by disabling all for a moment. Interrupts are lost then, so each vector
 * in use is raised once more. */
static void grow(struct vfio *vfio, uint32_t need)
{
	uint32_t known = vfio->nknown, n = 1;
	int ret = 0;

	while (n < need)
		n *= 2;
	if (n > vfio->nvectors)
		n = vfio->nvectors;
	for (uint32_t i = 0; !ret && i < n; i++)
		ret = new_fd(&vfio->vector[i].fd);
	if (ret) {
		warn_refused(vfio, "vectors", ret);
		vfio->refused = true;
		return;
	}
	set_vectors(vfio, n);
	vfio->refused = vfio->nenabled < need;
	for (uint32_t i = 0; i < known; i++)
		if (vfio->vector[i].gsi)
			irq_vector_raise(&vfio->vector[i]);
}

static void sync_vectors(struct vfio *vfio, uint32_t first, uint32_t end)
{
	/* One at least: some devices change their behaviour with MSI-X enabled. */
	uint32_t need = vfio->nknown ? vfio->nknown : 1;
	struct irq_msi msi;

	for (uint32_t i = first; i < end; i++) {
		irq_vector_set(&vfio->vectors, i, message(vfio, i, &msi) ? &msi : NULL);
		if (vfio->vector[i].unmasked && need <= i)
			need = i + 1;
	}
	/* The host refuses them without power, and after a refusal each further try would disable those
	 * that work. */
	if (need > vfio->nenabled && !vfio->powered_off && !vfio->refused)
		grow(vfio, need);
	for (uint32_t i = first; i < end; i++)
		if (i >= vfio->nenabled)
			irq_vector_set(&vfio->vectors, i, NULL);
	irq_vectors_commit(&vfio->vectors, first, end);
}

/* --- the mode */

/* INTx has no enable bit: it is on from when the driver lets the device answer or be bus master. */
static enum vfio_irq_mode wanted_mode(struct vfio *vfio)
{
	uint32_t command = config(vfio, PCI_COMMAND, 2);

	if (pci_msix_enabled(&vfio->pci))
		return VFIO_IRQ_MSIX;
	if (vfio->msi_cap && config(vfio, vfio->msi_cap + PCI_MSI_FLAGS, 2) & PCI_MSI_FLAGS_ENABLE)
		return VFIO_IRQ_MSI;
	if (config(vfio, PCI_INTERRUPT_PIN, 1) && !(command & PCI_COMMAND_INTX_DISABLE) &&
	    command & (PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER))
		return VFIO_IRQ_INTX;
	return VFIO_IRQ_OFF;
}

void vfio_irq_off(struct vfio *vfio)
{
	if (vfio->nenabled || vfio->intx_gsi)
		set_irqs(vfio, modes[vfio->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	vfio->nvectors = vfio->nenabled = vfio->nknown = 0;
	vfio->refused = false;
	intx_off(vfio);
	for (uint32_t i = 0; i < vfio->max_vectors; i++) {
		irq_vector_release(&vfio->vectors, i);
		close_fd(&vfio->vector[i].fd);
	}
	vfio->irq_mode = VFIO_IRQ_OFF;
}

/* Routes and eventfds stay, with pending events. INTx is switched off: KVM may forget the level of the line,
 * and the guest would never unmask it. */
void vfio_irq_pause(struct vfio *vfio)
{
	if (vfio->irq_mode == VFIO_IRQ_INTX)
		vfio_irq_off(vfio);
	if (vfio->nenabled)
		set_irqs(vfio, modes[vfio->irq_mode].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
	vfio->nenabled = 0;
}

void vfio_irq_sync(struct vfio *vfio, bool retry)
{
	enum vfio_irq_mode mode = wanted_mode(vfio);

	if (retry)
		vfio->refused = false;
	if (mode != vfio->irq_mode) {
		vfio_irq_off(vfio);
		vfio->irq_mode = mode;
		vfio->nvectors = mode == VFIO_IRQ_MSIX	? vfio->pci.nvectors
				 : mode == VFIO_IRQ_MSI ? vfio->nmsis
							: 0;
		if (mode == VFIO_IRQ_INTX)
			intx_on(vfio);
	}
	if (vfio->nvectors)
		sync_vectors(vfio, 0, vfio->nvectors);
}

void vfio_irq_sync_vector(struct vfio *vfio, uint32_t vector)
{
	vfio->refused = false;
	if (vfio->irq_mode == VFIO_IRQ_MSIX && vector < vfio->nvectors)
		sync_vectors(vfio, vector, vector + 1);
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
	struct vfio *vfio = opaque;

	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		struct vm_event event = {.type = VM_EVENT_VFIO_DEVICE_ERROR,
					 .reason = notices[i].reason};
		eventfd_t n;

		if (vfio->notice_fd[i] < 0 || eventfd_read(vfio->notice_fd[i], &n))
			continue;
		log_error("%s: %s", vfio->name, notices[i].text);
		snprintf(event.id, sizeof(event.id), "%s", vfio->config->id);
		vm_post_event(vfio->dev.vm, &event);
	}
}

int vfio_irq_open(struct vfio *vfio, struct error *err)
{
	uint32_t n = vfio->pci.nvectors > vfio->nmsis ? vfio->pci.nvectors : vfio->nmsis;

	vfio->vector = calloc(n + 1u, sizeof(*vfio->vector));
	if (!vfio->vector)
		return error_set(err, -ENOMEM, "out of memory");
	vfio->max_vectors = n;
	vfio->vectors = (struct irq_vectors){
		.irq = &vfio->dev.vm->irq, .name = vfio->name, .vector = vfio->vector};
	for (uint32_t i = 0; i < n; i++)
		vfio->vector[i].fd = -1;
	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		uint32_t index = notices[i].index;
		int *fd = &vfio->notice_fd[i], ret;

		if (!vfio_irq_count(vfio, index))
			continue;
		ret = new_fd(fd);
		ret = ret ? ret
			  : loop_add(&vfio->dev.vm->loop, *fd, EPOLLIN, notice_ready, vfio,
				     &vfio->dev.lock);
		ret = ret ? ret : set_irqs(vfio, index, VFIO_IRQ_SET_ACTION_TRIGGER, 1, fd);
		if (ret)
			return error_set(err, ret, "VFIO_DEVICE_SET_IRQS of index %u: %s", index,
					 strerror(-ret));
	}
	return 0;
}

void vfio_irq_close(struct vfio *vfio)
{
	vfio_irq_off(vfio);
	for (uint32_t i = 0; i < VFIO_NOTICES; i++) {
		if (vfio->notice_fd[i] < 0)
			continue;
		set_irqs(vfio, notices[i].index, VFIO_IRQ_SET_ACTION_TRIGGER, 0, NULL);
		loop_del(&vfio->dev.vm->loop, vfio->notice_fd[i]);
		close_fd(&vfio->notice_fd[i]);
	}
	free(vfio->vector);
	vfio->vector = NULL;
	vfio->max_vectors = 0;
}
