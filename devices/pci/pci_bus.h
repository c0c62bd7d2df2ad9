/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/pci/pci_bus.h - what pci.c, msix.c and pci_host.c share; devices include devices/pci/pci.h.
 * Owns: struct pci, from pci_create() to pci_destroy(), with the device "pci-host".
 * Threads: locks are taken in this order: pci->lock, a device's lock, its function's irq_lock,
 *	pci->line_lock. Functions come, go and change slots with the guest stopped.
 * Units: an address in config space is that of ECAM: slot << 15 | function << 12 | register.
 * Errors: 0 or -errno with one message. */
#ifndef DEVICES_PCI_PCI_BUS_H
#define DEVICES_PCI_PCI_BUS_H
#include "devices/pci/pci.h"
#include "vmm/arch.h"

#define MSIX_BAR_BYTES 4096

struct pci {
	struct arch_pci_layout layout;
	pthread_mutex_t lock;		  /* one access to config space at a time */
	pthread_mutex_t line_lock;	  /* leaf; guards line and the intx_* of all functions */
	struct pci_func *func[PCI_SLOTS]; /* by default slot, lowest first */
	uint32_t nfuncs;
	struct irq_line line[PCI_SLOTS];
};

int pci_create(struct vm *vm, struct error *err) must_check;
void pci_destroy(struct vm *vm);
/* With pci->lock held. No function, or an access that no bus has: all ones, as far as it goes. */
uint64_t pci_config_read(struct pci *pci, uint64_t address, uint32_t bytes);
void pci_config_write(struct pci *pci, uint64_t address, uint32_t bytes, uint32_t value);

/* msix.c: the capability, and the BAR with table and pending bits. */
extern const struct bus_ops msix_bus_ops; /* opaque is the function */
void msix_add_cap(struct pci_func *func);
void msix_reset(struct pci_func *func);
const char *msix_check(const struct pci_state *state);
/* With irq_lock held: MSI-X is on; vectors are sent unless masked one by one; sends what is pending
 * and may go. */
bool msix_enabled(const struct pci_func *func);
bool msix_live(const struct pci_func *func);
void msix_update(struct pci_func *func);
#endif
