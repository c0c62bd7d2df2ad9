/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/vfio/vfio.h - pass-through of a PCI function of the host: vfio_pci.c (the device), vfio_config.c
 * (config space and BARs), vfio_irq.c (interrupts), vfio_kernel.c (the host's kernel).
 * "Function" means the PCI function here.
 *
 * Life of the device. attach: vfio_kernel_open() checks the function in sysfs, opens it and maps guest RAM
 * for DMA; then BARs, config space and interrupts are set up, in this order, and pci_add() makes it
 * visible. While the guest runs, config space decides: BARs become memslots, interrupts follow the
 * INTx, MSI and MSI-X enable bits, and the command register's bus master bit is passed on. The memory of
 * the function cannot be saved, so a save is refused unless the guest sleeps (S3): its drivers have
 * stopped the function then and set it up again when they wake. save: pause disables interrupts and bus
 * mastering, so RAM no longer changes; resume undoes both. load: attach, compare, post_load, resume.
 * reset: interrupts and bus mastering off, then VFIO_DEVICE_RESET. A function that cannot be reset is kept
 * from bus mastering until a reset works. detach: the reverse of attach; memslots go before the
 * mappings that they use.
 *
 * Files call each other in this order only: pci, config, irq; vfio_kernel.c is called by vfio_pci.c.
 *
 * Threads: as devices/device.h says; config and BAR accesses come with the device's lock held. Locks: see
 *	devices/pci/pci.h.
 * Units: offsets are bytes in config space, a BAR or a table.
 * Errors: 0 or -errno with one message. include/uapi/linux/vfio.h. */
#ifndef DEVICES_VFIO_VFIO_H
#define DEVICES_VFIO_VFIO_H
#include "devices/pci/pci.h"
#include "vmm/irq.h"
#include "vmm/options.h"
#include <linux/kvm.h>
#include <linux/vfio.h>

/* What the kernel headers of older distributions lack: iommufd (Linux 6.2) and VFIO device cdevs (6.6).
 * Documentation/userspace-api/iommufd.rst, driver-api/vfio.rst. */
#if __has_include(<linux/iommufd.h>)
#include <linux/iommufd.h>
#else
#define IOMMU_IOAS_ALLOC       _IO(';', 0x81)
#define IOMMU_IOAS_IOVA_RANGES _IO(';', 0x84)
#define IOMMU_IOAS_MAP	       _IO(';', 0x85)
#define IOMMU_IOAS_UNMAP       _IO(';', 0x86)

enum {
	IOMMU_IOAS_MAP_FIXED_IOVA = 1,
	IOMMU_IOAS_MAP_WRITEABLE = 2,
	IOMMU_IOAS_MAP_READABLE = 4,
};

/* size: of the structure, in each of them */
struct iommu_ioas_alloc {
	__u32 size, flags, out_ioas_id;
};
struct iommu_iova_range {
	__aligned_u64 start, last;
};
struct iommu_ioas_iova_ranges {
	__u32 size, ioas_id, num_iovas, __reserved;
	__aligned_u64 allowed_iovas, out_iova_alignment;
};
struct iommu_ioas_map {
	__u32 size, flags, ioas_id, __reserved;
	__aligned_u64 user_va, length, iova;
};
struct iommu_ioas_unmap {
	__u32 size, ioas_id;
	__aligned_u64 iova, length;
};
#endif

#ifndef VFIO_DEVICE_BIND_IOMMUFD
#define VFIO_DEVICE_BIND_IOMMUFD      _IO(VFIO_TYPE, VFIO_BASE + 18)
#define VFIO_DEVICE_ATTACH_IOMMUFD_PT _IO(VFIO_TYPE, VFIO_BASE + 19)

struct vfio_device_bind_iommufd {
	__u32 argsz, flags;
	__s32 iommufd;
	__u32 out_devid;
};
struct vfio_device_attach_iommufd_pt {
	__u32 argsz, flags, pt_id;
};
#endif

#ifndef KVM_DEV_VFIO_FILE
/* The newer name of KVM_DEV_VFIO_GROUP; takes device files as well. */
#define KVM_DEV_VFIO_FILE     KVM_DEV_VFIO_GROUP
#define KVM_DEV_VFIO_FILE_ADD KVM_DEV_VFIO_GROUP_ADD
#define KVM_DEV_VFIO_FILE_DEL KVM_DEV_VFIO_GROUP_DEL
#endif

#define VFIO_VECTORS_MAX   2048 /* the limit of MSI-X */
#define VFIO_ADDRESS_BYTES 16	/* "0000:01:00.0": domain, bus, slot, function */
#define VFIO_AREAS_MAX	   8
#define VFIO_NOTICES	   2

/* Guest-visible: config space as the guest reads it, and its MSI-X table. Drivers set up everything else
 * after a sleep, as on a PC whose devices lose power then. */
struct vfio_state {
	struct pci_state pci;
	uint32_t vector[4 * VFIO_VECTORS_MAX]; /* pci_func.msix_entry; pci.msix is not used */
	uint32_t nvector_words;
};

/* A BAR: a region of the VFIO device. */
struct vfio_bar {
	struct vfio *vfio;
	uint32_t index;
	uint64_t fd_offset, bytes;
	uint32_t flags; /* VFIO_REGION_INFO_FLAG_* */
	/* The parts that the guest accesses without an exit. */
	struct vfio_area {
		uint64_t offset, bytes;
		void *hva;     /* mapped into this process */
		uint32_t slot; /* memslot, while mapped is set */
		bool mapped;
	} area[VFIO_AREAS_MAX];
	uint32_t nareas;
};

struct vfio {
	struct device dev;
	struct vfio_state s;
	struct pci_func pci;
	int fd; /* of the VFIO device */
	const struct vfio_config *config;
	char name[OPTIONS_ID_BYTES + VFIO_ADDRESS_BYTES + 4]; /* for messages: "ID (ADDRESS)" */
	uint64_t config_offset;				      /* of config space in fd */
	uint8_t passed[PCI_CONFIG_BYTES]; /* mask: bits that the function reads and writes itself */
	bool has_effect[PCI_CONFIG_BYTES / 4]; /* a read may have a side effect in the function */
	struct vfio_bar bar[PCI_BARS];
	uint8_t pm_cap, exp_cap, msi_cap, msix_cap; /* offsets; 0: none */
	/* Where the function has its table and its pending bits. */
	uint32_t msix_bar, msix_offset, pba_bar, pba_offset;
	bool used;	  /* the guest has run since the last reset */
	bool must_reset;  /* the last reset failed: no bus master until one works */
	bool powered_off; /* D3: no BAR answers, and a vCPU that reaches a mapped one would hang */
	/* Private to vfio_irq.c. */
	enum vfio_irq_mode { VFIO_IRQ_OFF, VFIO_IRQ_INTX, VFIO_IRQ_MSI, VFIO_IRQ_MSIX } irq_mode;
	struct irq_vector *vector; /* max_vectors of them; eventfds are created when needed */
	struct irq_vectors vectors;
	uint32_t max_vectors;
	uint32_t nmsis;	   /* MSIs that the function has */
	uint32_t nvectors; /* of this mode; fewer if the host has no more */
	uint32_t nenabled; /* in VFIO */
	uint32_t nknown;   /* the most that were enabled in this mode */
	bool refused; /* the host has fewer than the guest needs: do not try again at each write */
	uint32_t intx_gsi;
	int intx_fd, unmask_fd;
	int notice_fd[VFIO_NOTICES]; /* of errors (AER), of requests to release the function */
};

/* Opens a PCI function of the host, which must be bound to vfio-pci and share its IOMMU group with
 * nothing that the host uses. The first one also maps all guest RAM for DMA. fd: the VFIO device.
 * Main thread only. A message names the function, the obstacle and the command that removes it. */
int vfio_kernel_open(struct vm *vm, const char *address, int *fd, struct error *err) must_check;
/* Closes fd. The last one unmaps RAM. */
void vfio_kernel_close(struct vm *vm, const char *address, int fd);
extern const char *vfio_kernel_sysfs_root; /* "/sys"; tests have their own */

/* What the guest sees: fills vfio->pci with identity, BARs and capabilities, and maps what can be mapped of the
 * BARs. */
int vfio_config_open(struct vfio *vfio, struct error *err) must_check;
/* Idempotent. After pci_remove(): memslots go before their mappings. */
void vfio_config_close(struct vfio *vfio);
/* Passes the guest's command register on. */
void vfio_config_command(struct vfio *vfio);
/* Bus mastering off, whatever the guest wants. */
int vfio_config_isolate(struct vfio *vfio, struct error *err) must_check;
/* BARs are mapped as long as the function is in D0. */
void vfio_config_power(struct vfio *vfio);
/* Reads the bits that are the function's into the saved config space. */
void vfio_config_refresh(struct vfio *vfio);

/* Interrupts, and the eventfds of errors and of the host's requests to release the function. */
int vfio_irq_open(struct vfio *vfio, struct error *err) must_check;
void vfio_irq_close(struct vfio *vfio);
/* Interrupts follow config space and the MSI-X table. retry: ask the host again for what it refused. */
void vfio_irq_sync(struct vfio *vfio, bool retry);
/* The same after a write to one entry of the MSI-X table. */
void vfio_irq_sync_vector(struct vfio *vfio, uint32_t vector);
/* Disables vectors until vfio_irq_sync(), which raises those that may have been missed. */
void vfio_irq_pause(struct vfio *vfio);
void vfio_irq_off(struct vfio *vfio);
/* VFIO_DEVICE_GET_IRQ_INFO; 0: the function has none of this kind. */
uint32_t vfio_irq_count(const struct vfio *vfio, uint32_t index);
#endif
