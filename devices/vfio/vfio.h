/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio.h - what the files of the pass-through device share: vfio_pci.c (the device),
 *	vfio_config.c (its config space), vfio_region.c (its BARs), vfio_irq.c (its interrupts).
 * Owns: struct vfio_host is the device's host part; struct vfio_state its state.
 * Threads: as devices/device.h has it; config and BAR accesses come with the device's lock held.
 * Units: offsets are bytes within config space, a BAR or a table.
 * Errors: 0 or -errno with one message. include/uapi/linux/vfio.h. */
#ifndef DEVICES_VFIO_VFIO_H
#define DEVICES_VFIO_VFIO_H
#include "devices/pci/pci.h"
#include <linux/vfio.h>

#define VFIO_VECTORS_MAX   2048 /* what MSI-X has room for */
#define VFIO_ADDRESS_BYTES 16	/* "0000:01:00.0": domain, bus, slot, function */
#define VFIO_AREAS_MAX	   8	/* pieces of a BAR that the guest reaches without an exit */

/* Guest-visible: config space as the guest reads it, and its MSI-X table. What a driver does not put
 * back after a sleep is as after a reset, as on a PC whose devices lose power then. */
struct vfio_state {
	struct pci_state pci;
	uint32_t vector[4 * VFIO_VECTORS_MAX]; /* pci_func.msix_entry; pci.msix is not used */
	uint32_t nvector_words;
};

/* A BAR of the function, by the regions of its VFIO device. */
struct vfio_bar {
	struct vfio_host *host;
	uint32_t index;
	uint64_t fd_offset, bytes;
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
	struct vfio_area {
		uint64_t offset, bytes;
		void *hva;     /* mapped into this process */
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
	bool wanted;   /* the guest wants it to be sent; within one look at all vectors */
	bool renewed;  /* its route is not in KVM yet; the same */
};

struct vfio_host {
	struct pci_func pci;
	int fd; /* of the VFIO device */
	const struct vfio_config *config;
	uint64_t config_offset;		  /* of config space in fd */
	uint8_t passed[PCI_CONFIG_BYTES]; /* mask: bits that are the function's own */
	bool acts[PCI_CONFIG_BYTES / 4];  /* to read there may do something in the function */
	struct vfio_bar bar[PCI_BARS];
	uint8_t pm_cap, exp_cap, msi_cap, msix_cap; /* offsets; 0: none */
	/* Where the function has its table and its pending bits. */
	uint32_t msix_bar, msix_offset, pba_bar, pba_offset;
	bool used;	  /* the guest has run since its last reset */
	bool must_reset;  /* that has failed: it is no bus master before one has worked */
	bool powered_off; /* D3: no BAR answers, and one that is mapped would stop the vCPU */
	/* vfio_irq.c's */
	enum vfio_irq_mode { VFIO_IRQ_OFF, VFIO_IRQ_INTX, VFIO_IRQ_MSI, VFIO_IRQ_MSIX } irq_mode;
	struct vfio_vector *vector; /* room for max_vectors */
	uint32_t max_vectors;
	uint32_t nmsis;	   /* MSIs that the function has */
	uint32_t nvectors; /* of this mode; fewer, if the host has no more */
	uint32_t nenabled;
	uint32_t nknown; /* the most that were enabled in this mode */
	bool refused; /* the host has not given as many as the guest needs: no try without cause */
	uint32_t intx_gsi;
	int intx_fd, unmask_fd, error_fd, request_fd;
};

/* Opens a PCI function of the host, which must be bound to vfio-pci and share its IOMMU group with
 * nothing that the host uses. The first one also maps all guest RAM for DMA. fd: the VFIO device.
 * Main thread only. A message names the function, the obstacle and the command that removes it. */
int vfio_kernel_open(struct vm *vm, const char *address, int *fd, struct error *err) must_check;
/* Closes fd. The last one unmaps RAM. */
void vfio_kernel_close(struct vm *vm, const char *address, int fd);
extern const char *vfio_kernel_sysfs_root; /* "/sys"; tests have their own */

/* What the guest sees: identity and capabilities go into host->pci. After vfio_region_open(). */
int vfio_config_open(struct device *dev, struct error *err) must_check;
/* Reads config space of the function. */
int vfio_config_get(const struct vfio_host *host, uint32_t offset, void *data, uint32_t bytes,
		    struct error *err) must_check;
/* As the guest has it. */
uint32_t vfio_config_seen(const struct device *dev, uint32_t offset, uint32_t bytes);
void vfio_config_read(struct device *dev, uint32_t offset, uint32_t bytes);
void vfio_config_written(struct device *dev, uint32_t offset, uint32_t bytes);
/* The function's command register follows the guest's. */
void vfio_config_command(struct device *dev);
/* It is no bus master, whatever the guest wants. */
int vfio_config_isolate(struct device *dev, struct error *err) must_check;
/* BARs are mapped as long as the function is in D0. */
void vfio_config_power(struct device *dev);
/* The saved config space has what a read would give. */
void vfio_config_refresh(struct device *dev);

/* Sizes, kinds and areas of the BARs. */
int vfio_region_open(struct device *dev, struct error *err) must_check;
/* Maps the areas, but for the pages of the MSI-X table and pending bits. */
void vfio_region_map(struct device *dev);
void vfio_region_close(struct device *dev);
void vfio_region_bar_changed(struct device *dev, uint32_t bar);
/* False: a BAR is still mapped that should not be. */
bool vfio_region_power(struct device *dev, bool on);
/* One access to a region by the descriptor; false: it failed. */
bool vfio_region_pread(const struct vfio_host *host, uint64_t at, void *data, uint32_t bytes);
bool vfio_region_pwrite(const struct vfio_host *host, uint64_t at, const void *data,
			uint32_t bytes);

/* Vectors, and the eventfds of errors and of a host that wants its function back. */
int vfio_irq_open(struct device *dev, struct error *err) must_check;
void vfio_irq_close(struct device *dev);
/* Interrupts are as config space and the MSI-X table say. retry: what the host has refused is asked for
 * once more. */
void vfio_irq_sync(struct device *dev, bool retry);
/* Vectors are off until vfio_irq_sync(), which raises those that may have missed one. */
void vfio_irq_pause(struct device *dev);
void vfio_irq_sync_vector(struct device *dev, uint32_t vector);
void vfio_irq_off(struct device *dev);
/* Has a vector that is masked been raised? */
bool vfio_irq_pending(struct device *dev, uint32_t vector);
/* VFIO_DEVICE_GET_IRQ_INFO; 0: the function has none of this kind. */
uint32_t vfio_irq_count(const struct vfio_host *host, uint32_t index);
#endif
