/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/pci/pci.h - PCI functions: config space, BARs, MSI-X and INTx. One bus, function 0 of each slot only.
 *
 * Life of a PCI function. attach: the device fills struct pci_func, adds its capabilities with
 * pci_add_cap() or pci_put_cap(), and calls pci_add(), which chooses a slot and resets it. reset:
 * pci_reset(). While the guest runs, it writes config space and the BARs follow (bar_changed). save:
 * struct pci_state is part of the device's state. load: pci_compare() before anything is replaced, then
 * pci_post_load() maps the BARs and pci_resume() restores the pin and sends pending vectors. detach, and
 * an attach that failed after pci_add(): pci_remove() takes BARs and slot.
 *
 * Locks, in this order: pci->lock, the device's lock, its irq_lock, pci->line_lock. Functions are added
 * and removed, and change slots, only while the guest is stopped.
 *
 * Owns: struct pci_func belongs to its device's host part, struct pci_state to its state; the bus
 *	(struct pci) to the device "pci-host".
 * Threads: pci_add(), pci_remove(), pci_reset(), pci_post_load(), pci_resume(): main only. Config
 *	and BAR accesses: vCPU threads, with the device's lock held. pci_msix_signal() and
 *	pci_intx_set(): any thread, with or without that lock.
 * Units: slots are 0 to 31, vectors 0 to nvectors - 1.
 * Errors: 0 or -errno with one message. An access that a guest must not make does nothing, or reads all
 *	ones, as on a PC. PCI Local Bus 3.0, chapter 6; PCI Express Base 3.0, 7.2.2 (ECAM). */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H
#include "devices/device.h"
#include "vmm/arch.h"
#include "vmm/bus.h"
#include "vmm/irq.h"

#define PCI_SLOTS	 32
#define PCI_BARS	 6
#define PCI_CONFIG_BYTES 256 /* beyond it config space reads as zeroes: no extended capabilities */
#define PCI_MSIX_MAX	 20  /* vectors in struct pci_state; a device may have a table of its own */
#define PCI_NO_VECTOR	 0xffff

/* Guest-visible. A load replaces config as a whole: a guest keeps the capabilities that it was started
 * with, whatever a later build has. */
struct pci_state {
	/* The table: address low, high, data, control of each vector. */
	uint32_t msix[4 * PCI_MSIX_MAX];
	uint32_t msix_pending; /* one bit per vector */
	uint32_t slot;
	uint32_t intx; /* 1: the pin is asserted */
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t bar_bits[8]; /* log2 of the size of each BAR, 0: none; the last two are always 0 */
};
/* m: the path to the member, e.g. virtio.pci */
#define PCI_STATE_ROWS(F, A, V, T, m) \
	F(T, m.msix)                  \
	F(T, m.msix_pending)          \
	F(T, m.slot)                  \
	F(T, m.intx, ST_BOOL)         \
	F(T, m.config)                \
	F(T, m.bar_bits)

/* One register of config space; the rest reads as zero and cannot be written. */
struct pci_reg {
	uint16_t offset;
	uint8_t bytes; /* 1, 2, 4 */
	uint32_t value;
	uint32_t writable; /* mask */
};

struct pci_bar {
	uint64_t size_bytes;  /* a power of two, at least 16 (ports: 4); 0: no such BAR */
	bool is_64bit;	      /* takes this BAR and the next */
	bool is_prefetchable; /* only a bit in the BAR register */
	bool is_io;	      /* ports; never 64-bit */
	const struct bus_ops *ops;
	void *opaque; /* of ops */
	bool mapped;  /* on the bus, at gpa */
	uint64_t gpa;
};

struct pci_func {
	/* Filled by the device before pci_add(), constant afterwards. */
	struct device *dev;
	struct pci_state *state;
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: base class, sub-class, interface */
	uint8_t revision;
	bool no_intx; /* no interrupt pin; without BARs there is none either */
	struct pci_bar bar[PCI_BARS];
	uint32_t nvectors; /* MSI-X vectors; 0: no MSI-X */
	/* Has the table at 0 and the pending bits at 2048; served by msix.c. */
	uint32_t msix_bar;
	/* NULL: msix_bar, and the entries in state. Else the device's own table, 4 words for each of
	 * nvectors, which may be more than PCI_MSIX_MAX: the device places capability and BAR itself,
	 * and passes the BAR's accesses to pci_msix_read(), pci_msix_write() and pci_msix_pba_read(). */
	uint32_t *msix_entry;
	/* With msix_entry: was the vector raised while masked? */
	bool (*msix_pending)(struct device *dev, uint32_t vector);
	/* All callbacks may be NULL. A BAR was mapped or unmapped; a move is an unmap and a map. */
	void (*bar_changed)(struct device *dev, uint32_t bar);
	/* Masks or messages of vectors have changed. */
	void (*vectors_changed)(struct device *dev);
	/* Before a read and after a write of config space at [offset, offset + bytes). */
	void (*config_read)(struct device *dev, uint32_t offset, uint32_t bytes);
	void (*config_written)(struct device *dev, uint32_t offset, uint32_t bytes);

	/* Private to pci.c and msix.c. */
	struct vm *vm;
	uint32_t default_slot;
	uint32_t next_cap; /* where pci_add_cap() puts the next one */
	uint8_t last_cap, msix_cap;
	uint32_t config_end; /* the guest does not know the capabilities from here on */
	struct irq_line *intx_line;
	bool intx_high; /* asserts intx_line */
	uint8_t initial[PCI_CONFIG_BYTES], writable[PCI_CONFIG_BYTES];
	pthread_mutex_t irq_lock;
};

/* Before pci_add(): appends a capability to the list and returns its offset. regs are relative to it;
 * pci.c fills ID (0) and next pointer (1). */
uint8_t pci_add_cap(struct pci_func *func, uint8_t id, uint8_t bytes, const struct pci_reg *regs,
		    uint32_t nregs);
/* The same at an offset that the device chooses. A device uses only one of the two. With this one, a
 * checkpoint is accepted only if it has the same capabilities at the same offsets. */
void pci_put_cap(struct pci_func *func, uint8_t at, uint8_t id, uint8_t bytes,
		 const struct pci_reg *regs, uint32_t nregs);
/* Before pci_add(): more registers of the header. */
void pci_put_regs(struct pci_func *func, const struct pci_reg *regs, uint32_t nregs);
/* Takes the lowest free slot, which a load may change, and resets the function. */
int pci_add(struct pci_func *func, struct vm *vm, struct error *err) must_check;
void pci_remove(struct pci_func *func);
/* Power-on: BARs at the addresses that the VMM chooses, decoding off, vectors masked. */
void pci_reset(struct pci_func *func);
/* Can the saved state be loaded here (IDs, BAR sizes, vectors)? The message lists the differences. */
int pci_compare(const struct pci_func *func, const struct pci_state *saved,
		struct error *err) must_check;
/* For check() of a device's state table: NULL, or why the state is impossible. */
const char *pci_check(const struct pci_state *state);
/* Slot and BARs follow the loaded state. */
int pci_post_load(struct pci_func *func, struct error *err) must_check;
/* Drives the pin again and sends unmasked pending vectors. */
void pci_resume(struct pci_func *func);

/* The guest has enabled MSI-X. */
bool pci_msix_enabled(struct pci_func *func);
/* Sends the vector's message, or sets its pending bit if the vector or all are masked or the function is no
 * bus master. Does nothing with MSI-X off. */
void pci_msix_signal(struct pci_func *func, uint32_t vector);
/* True and the message if the vector would be sent now. */
bool pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *msi);
void pci_intx_set(struct pci_func *func, bool level);
/* The GSI of the pin; it depends on the slot. */
uint32_t pci_intx_gsi(const struct pci_func *func);

/* For a device with msix_entry: offset is into the table, or into the pending bits. With the device's lock
 * held. */
uint64_t pci_msix_read(struct pci_func *func, uint64_t offset, uint32_t size);
void pci_msix_write(struct pci_func *func, uint64_t offset, uint32_t size, uint64_t value);
uint64_t pci_msix_pba_read(struct pci_func *func, uint64_t offset, uint32_t size);
/* For its check(): NULL, or why the entries are impossible. */
const char *pci_msix_check(const uint32_t *entry, uint32_t nwords);

/* The function in this slot, or NULL. */
struct pci_func *pci_at(struct vm *vm, uint32_t slot);
/* What every PCI device needs. */
extern const struct device_ops pci_host_ops;

/* --- the bus: for pci.c and msix.c */

#define MSIX_BAR_BYTES	4096
#define MSIX_PBA_OFFSET 2048

struct pci {
	struct arch_pci_layout layout;
	pthread_mutex_t lock;		  /* one access to config space at a time */
	pthread_mutex_t line_lock;	  /* leaf; guards line and the intx_* of all functions */
	struct pci_func *func[PCI_SLOTS]; /* sorted by default slot */
	uint32_t nfuncs;
	struct irq_line line[PCI_SLOTS];
};

extern const struct bus_ops msix_bus_ops; /* of msix_bar; opaque is the struct pci_func */
void msix_reset(struct pci_func *func);
const char *msix_check(const struct pci_state *state);
/* The rest with irq_lock held. MSI-X is on; unmasked vectors are sent; sends what is pending and unmasked. */
bool msix_enabled(const struct pci_func *func);
bool msix_live(const struct pci_func *func);
void msix_update(struct pci_func *func);
#endif
