/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/irq.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>

void irq_init(struct irq *irq, int vm_fd)
{
	memset(irq, 0, sizeof(*irq));
	irq->vm_fd = vm_fd;
	pthread_mutex_init(&irq->lock, NULL);
}

void irq_close(struct irq *irq)
{
	pthread_mutex_destroy(&irq->lock);
}

void irq_set(const struct irq *irq, uint32_t gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	if (ioctl(irq->vm_fd, KVM_IRQ_LINE, &line))
		log_error("GSI %u: KVM_IRQ_LINE: %s", gsi, strerror(errno));
}

void irq_signal_msi(const struct irq *irq, const struct irq_msi *msi)
{
	struct kvm_msi message = {
		.address_lo = (uint32_t)msi->address,
		.address_hi = (uint32_t)(msi->address >> 32),
		.data = msi->data,
	};

	/* 0: no local APIC took it, as for a vCPU that is not there. */
	if (ioctl(irq->vm_fd, KVM_SIGNAL_MSI, &message) < 0)
		log_guest("the guest's MSI to %#llx with data %#x reaches no interrupt controller",
			  (unsigned long long)msi->address, msi->data);
}

int irq_route_alloc(struct irq *irq, uint32_t *gsi, struct error *err)
{
	uint32_t i = 0;

	pthread_mutex_lock(&irq->lock);
	while (i < IRQ_MAX_ROUTES && irq->route[i].used)
		i++;
	if (i < IRQ_MAX_ROUTES)
		irq->route[i] = (struct irq_route){.used = true};
	pthread_mutex_unlock(&irq->lock);
	if (i == IRQ_MAX_ROUTES)
		return error_set(err, -ENOSPC, "no more than %d interrupts of kernel back ends",
				 IRQ_MAX_ROUTES);
	*gsi = ARCH_FIRST_MSI_GSI + i;
	return 0;
}

void irq_route_free(struct irq *irq, uint32_t gsi)
{
	pthread_mutex_lock(&irq->lock);
	irq->route[gsi - ARCH_FIRST_MSI_GSI] = (struct irq_route){0};
	pthread_mutex_unlock(&irq->lock);
}

void irq_route_set(struct irq *irq, uint32_t gsi, const struct irq_msi *msi)
{
	struct irq_route *route = &irq->route[gsi - ARCH_FIRST_MSI_GSI];

	pthread_mutex_lock(&irq->lock);
	route->msi = *msi;
	pthread_mutex_unlock(&irq->lock);
}

int irq_route_commit(struct irq *irq, struct error *err)
{
	struct {
		struct kvm_irq_routing head;
		struct kvm_irq_routing_entry entry[ARCH_MAX_LINE_ROUTES + IRQ_MAX_ROUTES];
	} table = {0};
	uint32_t n = irq->nline_routes;
	int ret;

	memcpy(table.entry, irq->line_route, n * sizeof(table.entry[0]));
	pthread_mutex_lock(&irq->lock);
	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++) {
		const struct irq_route *route = &irq->route[i];

		if (!route->used)
			continue;
		table.entry[n++] = (struct kvm_irq_routing_entry){
			.gsi = ARCH_FIRST_MSI_GSI + i,
			.type = KVM_IRQ_ROUTING_MSI,
			.u.msi = {.address_lo = (uint32_t)route->msi.address,
				  .address_hi = (uint32_t)(route->msi.address >> 32),
				  .data = route->msi.data},
		};
	}
	table.head.nr = n;
	ret = ioctl(irq->vm_fd, KVM_SET_GSI_ROUTING, &table) ? -errno : 0;
	pthread_mutex_unlock(&irq->lock);
	return ret ? error_set(err, ret, "KVM_SET_GSI_ROUTING: %s", strerror(-ret)) : 0;
}

static int irqfd(const struct irq *irq, const struct kvm_irqfd *irqfd, struct error *err)
{
	int ret = ioctl(irq->vm_fd, KVM_IRQFD, irqfd) ? -errno : 0;

	return ret ? error_set(err, ret, "GSI %u: KVM_IRQFD: %s", irqfd->gsi, strerror(-ret)) : 0;
}

int irq_attach_fd(const struct irq *irq, uint32_t gsi, int fd, struct error *err)
{
	return irqfd(irq, &(struct kvm_irqfd){.fd = (uint32_t)fd, .gsi = gsi}, err);
}

int irq_attach_level_fd(const struct irq *irq, uint32_t gsi, int fd, int resample_fd,
			struct error *err)
{
	return irqfd(irq,
		     &(struct kvm_irqfd){.fd = (uint32_t)fd,
					 .gsi = gsi,
					 .flags = KVM_IRQFD_FLAG_RESAMPLE,
					 .resamplefd = (uint32_t)resample_fd},
		     err);
}

void irq_detach_fd(const struct irq *irq, uint32_t gsi, int fd)
{
	const struct kvm_irqfd off = {
		.fd = (uint32_t)fd, .gsi = gsi, .flags = KVM_IRQFD_FLAG_DEASSIGN};
	struct error err;

	if (irqfd(irq, &off, &err))
		log_error("%s", err.msg);
}
