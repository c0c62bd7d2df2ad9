/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/pci/pci.h - PCI functions: config space, BARs, MSI-X and INTx. One bus, function 0 only.
 * Owns: struct pci_func belongs to its device's host part, struct pci_state to its state; the bus
 *	(struct pci, in pci.c) belongs to the device "pci-host".
 * Threads: pci_add(), pci_remove(), pci_reset(), pci_post_load(), pci_resume(): main only. Config
 *	and BAR accesses: vCPU threads, with the device's lock held. pci_msix_signal() and
 *	pci_intx_set(): any thread, with or without that lock (irq_lock is a leaf).
 * Units: slots are 0 to 31, vectors 0 to PCI_MSIX_MAX - 1.
 * Errors: 0 or -errno with one message; a guest's fault does nothing, or reads all ones, as on a PC.
 *	PCI Local Bus 3.0, chapter 6; PCI Express Base 3.0, 7.2.2 (ECAM). */
#ifndef DEVICES_PCI_PCI_H
#define DEVICES_PCI_PCI_H
#include "devices/device.h"
#include "vmm/bus.h"
#include "vmm/irq.h"

#define PCI_SLOTS	 32
#define PCI_BARS	 6
#define PCI_CONFIG_BYTES 256 /* beyond it config space reads as zeroes: no extended capabilities */
#define PCI_MSIX_MAX	 20 /* vectors in struct pci_state; a function may bring a table of its own */
#define PCI_NO_VECTOR	 0xffff

/* Guest-visible. config is what the guest reads, as it is in a checkpoint: a later build with other
 * capabilities does not change it under a loaded guest. */
struct pci_state {
	/* The table: address low, high, data, control of each vector. */
	uint32_t msix[4 * PCI_MSIX_MAX];
	uint32_t msix_pending; /* a bit a vector */
	uint32_t slot;
	uint32_t intx; /* 1: the function asserts its pin */
	uint8_t config[PCI_CONFIG_BYTES];
	uint8_t bar_bits[8]; /* log2 of the size of each BAR, 0: none; the last two are always 0 */
};
/* m: the path to the member, e.g. virtio.pci */
#define PCI_STATE_ROWS(F, A, V, T, m) \
	F(T, m.msix)                  \
	F(T, m.msix_pending)          \
	F(T, m.slot)                  \
	F(T, m.intx)                  \
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
	uint64_t size_bytes;  /* a power of two from 16 on (ports: 4); 0: there is none */
	bool is_64bit;	      /* takes this BAR and the next */
	bool is_prefetchable; /* a bit that the guest reads, nothing more */
	bool is_io;	      /* ports, not memory; never 64-bit */
	const struct bus_ops *ops;
	void *opaque; /* of ops; NULL: the device */
	bool mapped;  /* is on the bus, at gpa */
	uint64_t gpa;
};

struct pci_func {
	/* Filled by the device before pci_add(); all of it stays as it is. */
	struct device *dev;
	struct pci_state *state;
	uint16_t vendor, device, subsystem_vendor, subsystem;
	uint32_t class_code; /* 24 bits: base class, sub-class, interface */
	uint8_t revision;
	bool no_intx; /* it has no interrupt pin, as one without BARs */
	struct pci_bar bar[PCI_BARS];
	uint32_t nvectors; /* MSI-X vectors; 0: no MSI-X */
	uint32_t
		msix_bar; /* of the table (at 0) and the pending bits (at 2048); msix.c serves it */
	/* NULL: that BAR and the entries in state. Else 4 words for each of nvectors, more than
	 * PCI_MSIX_MAX maybe, and the device has put the capability and the BAR where it wants them; it
	 * hands the BAR's accesses to pci_msix_read() and pci_msix_write(). */
	uint32_t *msix_entry;
	/* With msix_entry: has a vector that is masked been raised? */
	bool (*msix_pending)(struct device *dev, uint32_t vector);
	/* May be NULL. A BAR was mapped or unmapped; one that moves is first unmapped. */
	void (*bar_changed)(struct device *dev, uint32_t bar);
	/* May be NULL. Masks or messages of vectors have changed: irqfds may follow. */
	void (*vectors_changed)(struct device *dev);
	/* May be NULL. Before a read and after a write of config space at [offset, offset + bytes). */
	void (*config_read)(struct device *dev, uint32_t offset, uint32_t bytes);
	void (*config_written)(struct device *dev, uint32_t offset, uint32_t bytes);

	/* pci.c's */
	struct vm *vm;
	uint32_t default_slot;
	uint32_t next_cap; /* where pci_add_cap() puts the next one */
	uint8_t last_cap, msix_cap;
	uint32_t config_end; /* the capabilities from here on are unknown to the guest */
	struct irq_line *intx_line;
	bool intx_high; /* what this function contributes to its line */
	uint8_t initial[PCI_CONFIG_BYTES], writable[PCI_CONFIG_BYTES];
	pthread_mutex_t irq_lock;
};

/* After the device has filled its part and before pci_add(): appends a capability to the list; regs
 * are relative to its beginning (0: the ID, 1: next, which pci.c fills). Returns its offset. */
uint8_t pci_add_cap(struct pci_func *func, uint8_t id, uint8_t bytes, const struct pci_reg *regs,
		    uint32_t nregs);
/* The same at a place of the device's choosing. All are of one kind or of the other, and a checkpoint
 * must have all of this kind, at the same places. */
void pci_put_cap(struct pci_func *func, uint8_t at, uint8_t id, uint8_t bytes,
		 const struct pci_reg *regs, uint32_t nregs);
/* Before pci_add(), too: registers of the header beyond those that each function has. */
void pci_put_regs(struct pci_func *func, const struct pci_reg *regs, uint32_t nregs);
/* Takes the lowest free slot, which a load may change, and puts the function on the bus, in reset. */
int pci_add(struct pci_func *func, struct vm *vm, struct error *err) must_check;
void pci_remove(struct pci_func *func);
/* Power-on: its slot, BARs at the addresses that the VMM gives, decoding off, vectors masked. */
void pci_reset(struct pci_func *func);
/* Is the saved state one of this function (IDs, BAR sizes, vectors)? Joins what differs. */
int pci_compare(const struct pci_func *func, const struct pci_state *saved,
		struct error *err) must_check;
/* What the check() of a state table asks first; NULL or the reason. */
const char *pci_check(const struct pci_state *state);
/* Slot, BARs and mask state follow the state that was loaded. */
int pci_post_load(struct pci_func *func, struct error *err) must_check;
/* The pin's level again, and unmasked vectors that are pending. */
void pci_resume(struct pci_func *func);

/* MSI-X is on in the function's control register. */
bool pci_msix_enabled(struct pci_func *func);
/* Sends the vector's message, or sets its pending bit if it or the function is masked or not a bus
 * master. MSI-X off: nothing. */
void pci_msix_signal(struct pci_func *func, uint32_t vector);
/* The message if the vector would be sent now, else false. */
bool pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *msi);
void pci_intx_set(struct pci_func *func, bool level);
/* The line that the pin pulls now; changes with the slot only. */
uint32_t pci_intx_gsi(const struct pci_func *func);

/* For a device that serves the BAR itself (msix_entry): offset is into the table, or into the pending
 * bits. With the device's lock held. */
uint64_t pci_msix_read(struct pci_func *func, uint64_t offset, uint32_t size);
void pci_msix_write(struct pci_func *func, uint64_t offset, uint32_t size, uint64_t value);
uint64_t pci_msix_pba_read(struct pci_func *func, uint64_t offset, uint32_t size);
/* For its check(): NULL, or why no guest can have written these entries. */
const char *pci_msix_check(const uint32_t *entry, uint32_t nwords);

/* For query-pci; slot by slot; NULL: empty. */
struct pci_func *pci_at(struct vm *vm, uint32_t slot);
/* devices.c's count() of the bridge: is there anything to put on a bus? */
bool pci_wanted(const struct options *opt);
#endif
