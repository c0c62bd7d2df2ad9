/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/irq.h"
#include "vmm/log.h"
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

void irq_set(const struct irq *irq, uint32_t gsi, bool level)
{
	struct kvm_irq_level line = {.irq = gsi, .level = level};

	if (ioctl(irq->vm_fd, KVM_IRQ_LINE, &line))
		log_error("GSI %u: KVM_IRQ_LINE: %s", gsi, strerror(errno));
}
