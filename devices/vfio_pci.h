/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio_pci.h - what the files of the pass-through device share: vfio_pci.c (the device),
 *	vfio_config.c (its config space), vfio_region.c (its BARs), vfio_irq.c (its interrupts).
 * Owns: struct vfio_host is the device's host part; struct vfio_state its state.
 * Threads: as devices/device.h has it; config and BAR accesses come with the device's lock held.
 * Units: offsets are bytes within config space, a BAR or a table.
 * Errors: 0 or -errno with one message. include/uapi/linux/vfio.h. */
#ifndef DEVICES_VFIO_PCI_H
#define DEVICES_VFIO_PCI_H
#include "devices/pci.h"
#include "devices/vfio_iommu.h"
#include <linux/vfio.h>

#define VFIO_VECTORS_MAX 2048 /* what MSI-X has room for */
#define VFIO_AREAS_MAX	 8    /* pieces of a BAR that the guest reaches without an exit */

/* Guest-visible: config space as the guest reads it, and its MSI-X table. What a driver does not put
 * back after a sleep is as after a reset, as on a PC whose devices lose power then. */
struct vfio_state {
	struct pci_state pci;
	uint32_t vector[4 * VFIO_VECTORS_MAX]; /* pci_func.msix_entry; pci.msix is not used */
	uint32_t nvector_words;
};

/* A BAR of the function, by the regions of its VFIO device. */
struct vfio_bar {
	uint64_t fd_offset, bytes;
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
	struct vfio_area {
		uint64_t offset, bytes;
		void *hva;     /* NULL: not mapped into this process */
		uint32_t slot; /* memslot, while mapped is set */
		bool mapped;
	} area[VFIO_AREAS_MAX];
	uint32_t nareas;
};

/* One interrupt of the function: an eventfd that the kernel signals. */
struct vfio_vector {
	int fd;	      /* -1: none yet */
	uint32_t gsi; /* its route; 0: none yet */
	struct irq_msi msi;
	bool by_irqfd; /* KVM takes it */
};

struct vfio_host {
	struct pci_func pci;
	int fd; /* of the VFIO device */
	const struct vfio_config *config;
	uint64_t config_offset;		  /* of config space in fd */
	uint8_t passed[PCI_CONFIG_BYTES]; /* mask: bits that are the function's own */
	struct vfio_bar bar[PCI_BARS];
	uint8_t msi_cap, msix_cap;		    /* offsets; 0: none */
	uint32_t msix_bar, msix_offset, pba_offset; /* where the function has its table */
	/* vfio_irq.c's */
	enum vfio_irq_mode { VFIO_IRQ_OFF, VFIO_IRQ_INTX, VFIO_IRQ_MSI, VFIO_IRQ_MSIX } irq_mode;
	struct vfio_vector *vector;
	uint32_t nvectors, nenabled;
	int intx_fd, unmask_fd, error_fd, request_fd;
};
#endif
