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
	/* What it is; fake_vfio_add() fills it in, a test changes it before the open. */
	char address[16];
	uint32_t group;
	uint32_t flags; /* VFIO_DEVICE_FLAGS_*; PCI and RESET */
	struct fake_vfio_region {
		uint64_t bytes; /* 0: there is none, which all are but config space */
		uint32_t flags; /* VFIO_REGION_INFO_FLAG_*, without CAPS */
		struct vfio_region_sparse_mmap_area area[FAKE_VFIO_AREAS];
		uint32_t nareas;    /* 0: no such capability */
		bool msix_mappable; /* a capability as well */
	} region[VFIO_PCI_NUM_REGIONS];
	struct fake_vfio_irq {
		/* INTx, error and request have one; of MSI and MSI-X there are none. */
		uint32_t count, flags;
		uint32_t available; /* that the host has of these, if fewer; 0: all */
		/* What it was told: */
		uint32_t enabled;	   /* vectors, from 0 on; 0: switched off */
		int fd[FAKE_VFIO_VECTORS]; /* the VMM's eventfd; -1: none */
		int unmask_fd;		   /* INTx; -1: none */
		bool masked;		   /* INTx */
	} irq[VFIO_PCI_NUM_IRQS];
	uint8_t *config;      /* its config space, all zero at first */
	int memory_fd;	      /* what its descriptors are duplicates of: regions at their offsets */
	uint32_t open;	      /* descriptors of it */
	uint32_t resets;      /* VFIO_DEVICE_RESET */
	bool deaf;	      /* takes what is written to it and does nothing */
	bool bound, attached; /* cdev: to iommufd, to the address space */
};

extern struct fake_vfio {
	bool no_groups, no_cdev; /* the host has no such nodes; at first no_cdev is set */
	uint64_t memlock_bytes;	 /* RLIMIT_MEMLOCK; at first there is no limit */
	const char *denied;	 /* a part of the paths that access(2) denies */
	struct fake_vfio_function function[FAKE_VFIO_FUNCTIONS];
	uint32_t nfunctions;
	struct {
		uint64_t iova, bytes;
		void *hva;
	} map[FAKE_VFIO_MAPS]; /* of the address space */
	uint32_t nmaps;
	/* Where the IOMMU can map; first and last byte. */
	struct {
		uint64_t start, last;
	} range[FAKE_VFIO_RANGES];
	uint32_t nranges; /* 0: the kernel does not say */
	/* The n'th call (1: the next) of this request, or open of this path, fails with errno. */
	unsigned long fails;
	const char *open_fails;
	uint32_t nth;
	int fails_errno;
	uint32_t containers, groups, kvm_devices; /* that are open */
	uint32_t kvm_files;			  /* that KVM was told of */
	char log[4096];				  /* "open /dev/vfio/vfio\nSET_CONTAINER\n..." */
} fake_vfio;

void fake_vfio_begin(void);
void fake_vfio_end(void);
/* A function in that group, bound to vfio-pci. */
struct fake_vfio_function *fake_vfio_add(const char *address, uint32_t group);
/* In sysfs alone. group -1: none; driver NULL: not bound; class: as sysfs has it, 0x010802. Once
 * more for the same address: this is how it is now. */
void fake_vfio_sysfs(const char *address, int group, const char *driver, uint32_t class);
/* Where a region begins in the function's descriptor. */
uint64_t fake_vfio_offset(uint32_t region);
/* The function raises an interrupt; false: it is masked, or the VMM has given no eventfd. INTx is
 * masked then, until the VMM or fake_vfio_resample() unmasks it. */
bool fake_vfio_fire(struct fake_vfio_function *function, uint32_t index, uint32_t vector);
/* The guest is done with INTx: takes what KVM signalled to the unmask eventfd. Is it unmasked? */
bool fake_vfio_resample(struct fake_vfio_function *function);
#endif
