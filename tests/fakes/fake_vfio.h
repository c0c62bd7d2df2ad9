/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fakes/fake_vfio.h - a host with VFIO, in place of open(2), access(2), ioctl(2), close(2), pwrite(2) and
 *	getrlimit(2), and its sysfs. It records what it is asked for. Tests link with
 *	--wrap for these calls (fake_vfio in CMakeLists.txt); what does not concern VFIO is passed on.
 *	A function's descriptor is a memfd: pread(2) and mmap(2) are the real ones.
 * Owns: a folder with the sysfs tree and a memfd for each function, from fake_vfio_begin() to
 *	fake_vfio_end().
 * Threads: one.
 * Units: bytes.
 * Errors: what no user of the real thing may do aborts. include/uapi/linux/vfio.h, iommufd.h. */
#ifndef TESTS_FAKES_FAKE_VFIO_H
#define TESTS_FAKES_FAKE_VFIO_H
#include <linux/vfio.h>
#include <stdbool.h>
#include <stdint.h>

#define FAKE_VFIO_FUNCTIONS 4
#define FAKE_VFIO_AREAS	    4
#define FAKE_VFIO_VECTORS   64
#define FAKE_VFIO_MAPS	    8
#define FAKE_VFIO_RANGES    4
#define FAKE_VFIO_CONFIG    4096u

struct fake_vfio_function {
	/* Filled by fake_vfio_add(); a test may change it before the open. */
	char address[16];
	uint32_t group;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_*; PCI and RESET */
	struct fake_vfio_region {
		uint64_t bytes; /* 0: no such region; the default except for config space */
		uint32_t flags; /* VFIO_REGION_INFO_FLAG_*, without CAPS */
		struct vfio_region_sparse_mmap_area area[FAKE_VFIO_AREAS];
		uint32_t nareas;    /* 0: no sparse mmap capability */
		bool msix_mappable; /* has that capability */
	} region[VFIO_PCI_NUM_REGIONS];
	struct fake_vfio_irq {
		/* By default one of INTx, error and request each, no MSI and MSI-X. */
		uint32_t count, flags;
		uint32_t available; /* how many the host can enable; 0: all */
		/* As set by the VMM: */
		uint32_t enabled;	   /* vectors */
		int fd[FAKE_VFIO_VECTORS]; /* the VMM's eventfd; -1: none */
		int unmask_fd;		   /* INTx; -1: none */
		bool masked;		   /* INTx */
	} irq[VFIO_PCI_NUM_IRQS];
	uint8_t *config;      /* zeroes at first */
	int memory_fd;	      /* has the regions; open() gives duplicates */
	uint32_t open;	      /* descriptors */
	uint32_t resets;      /* VFIO_DEVICE_RESET */
	bool deaf;	      /* ignores writes */
	bool bound, attached; /* cdev: to iommufd, to the address space */
};

extern struct fake_vfio {
	bool no_groups, no_cdev; /* no such nodes in /dev; no_cdev is the default */
	uint64_t memlock_bytes;	 /* RLIMIT_MEMLOCK; default: no limit */
	const char *denied;	 /* access(2) denies paths with this in them */
	struct fake_vfio_function function[FAKE_VFIO_FUNCTIONS];
	uint32_t nfunctions;
	struct {
		uint64_t iova, bytes;
		void *hva;
	} map[FAKE_VFIO_MAPS]; /* for DMA */
	uint32_t nmaps;
	/* What the IOMMU can map, both included. */
	struct {
		uint64_t start, last;
	} range[FAKE_VFIO_RANGES];
	uint32_t nranges; /* 0: not reported */
	/* The n'th call (1: the next) of this request, or open of this path, fails with errno. */
	unsigned long fails;
	const char *open_fails;
	uint32_t nth;
	int fails_errno;
	uint32_t containers, groups, kvm_devices; /* open ones */
	uint32_t kvm_files;			  /* added to KVM's VFIO device */
	char log[4096];				  /* "open /dev/vfio/vfio\nSET_CONTAINER\n..." */
} fake_vfio;

void fake_vfio_begin(void);
void fake_vfio_end(void);
/* A function in that group, bound to vfio-pci. */
struct fake_vfio_function *fake_vfio_add(const char *address, uint32_t group);
/* Only in sysfs. group -1: none; driver NULL: not bound; class: as sysfs has it, 0x010802. Once
 * more for the same address: this is how it is now. */
void fake_vfio_sysfs(const char *address, int group, const char *driver, uint32_t class);
/* Where a region begins in the function's descriptor. */
uint64_t fake_vfio_offset(uint32_t region);
/* The function raises an interrupt; false: it is masked, or the VMM has given no eventfd. INTx is
 * masked then, until the VMM or fake_vfio_resample() unmasks it. */
bool fake_vfio_fire(struct fake_vfio_function *function, uint32_t index, uint32_t vector);
/* After the guest's end of interrupt: takes KVM's event from the unmask eventfd. Is INTx unmasked? */
bool fake_vfio_resample(struct fake_vfio_function *function);
#endif
