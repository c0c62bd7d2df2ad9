/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSI-X. PCI Local Bus 3.0, 6.8.2. */
#include "devices/pci/pci.h"
#include "vmm/vm.h"
#include <linux/pci_regs.h>

/* The words of a table entry. */
enum { ENTRY_LOW, ENTRY_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_WORDS };
static const uint32_t entry_writable[ENTRY_WORDS] = {~3u, ~0u, ~0u, PCI_MSIX_ENTRY_CTRL_MASKBIT};

bool msix_enabled(const struct pci_func *func)
{
	return func->msix_cap && func->state->config[func->msix_cap + PCI_MSIX_FLAGS + 1] &
					 PCI_MSIX_FLAGS_ENABLE >> 8;
}

bool msix_live(const struct pci_func *func)
{
	const uint8_t *config = func->state->config;

	return msix_enabled(func) && config[PCI_COMMAND] & PCI_COMMAND_MASTER &&
	       !(config[func->msix_cap + PCI_MSIX_FLAGS + 1] & PCI_MSIX_FLAGS_MASKALL >> 8);
}

static uint32_t *entry_of(const struct pci_func *func, uint32_t vector)
{
	uint32_t *table = func->msix_entry ? func->msix_entry : func->state->msix;

	return table + (size_t)vector * ENTRY_WORDS;
}

static bool message(const struct pci_func *func, uint32_t vector, struct irq_msi *msi)
{
	const uint32_t *entry = entry_of(func, vector);

	*msi = (struct irq_msi){(uint64_t)entry[ENTRY_HIGH] << 32 | entry[ENTRY_LOW],
				entry[ENTRY_DATA]};
	return msix_live(func) && !(entry[ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/* With irq_lock held to the end: after the guest has masked a vector, none may still be sent. */
static void send(struct pci_func *func, uint32_t vector)
{
	struct irq_msi msi;
	uint32_t bit = 1u << vector;

	if (message(func, vector, &msi)) {
		func->state->msix_pending &= ~bit;
		irq_signal_msi(&func->vm->irq, &msi);
	} else {
		func->state->msix_pending |= bit;
	}
}

void msix_update(struct pci_func *func)
{
	if (func->msix_entry)
		return; /* the device keeps pending vectors itself */
	if (!msix_enabled(func))
		func->state->msix_pending = 0;
	for (uint32_t vector = 0; vector < func->nvectors; vector++)
		if (func->state->msix_pending >> vector & 1)
			send(func, vector);
}

bool pci_msix_enabled(struct pci_func *func)
{
	bool ret;

	pthread_mutex_lock(&func->irq_lock);
	ret = msix_enabled(func);
	pthread_mutex_unlock(&func->irq_lock);
	return ret;
}

void pci_msix_signal(struct pci_func *func, uint32_t vector)
{
	pthread_mutex_lock(&func->irq_lock);
	if (vector < func->nvectors && msix_enabled(func))
		send(func, vector);
	pthread_mutex_unlock(&func->irq_lock);
}

bool pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *msi)
{
	bool ret;

	pthread_mutex_lock(&func->irq_lock);
	ret = vector < func->nvectors && message(func, vector, msi);
	pthread_mutex_unlock(&func->irq_lock);
	return ret;
}

static uint32_t table_word(const struct pci_func *func, uint64_t offset)
{
	if (offset >= func->nvectors * (uint64_t)PCI_MSIX_ENTRY_SIZE)
		return 0;
	return entry_of(func, 0)[offset / 4];
}

/* Without irq_lock: the device's callback may call pci_msix_message(). */
static uint32_t pending_word(struct pci_func *func, uint64_t offset)
{
	uint32_t bits = 0;

	if (func->msix_entry) {
		for (uint64_t v = offset * 8; v < func->nvectors && v < offset * 8 + 32; v++)
			bits |= (uint32_t)func->msix_pending(func->dev, (uint32_t)v) << v % 32;
		return bits;
	}
	pthread_mutex_lock(&func->irq_lock);
	bits = offset ? 0 : func->state->msix_pending;
	pthread_mutex_unlock(&func->irq_lock);
	return bits;
}

uint64_t pci_msix_read(struct pci_func *func, uint64_t offset, uint32_t size)
{
	uint64_t value;

	if (size < 4 || offset % size)
		return UINT64_MAX;
	pthread_mutex_lock(&func->irq_lock);
	value = table_word(func, offset);
	if (size == 8)
		value |= (uint64_t)table_word(func, offset + 4) << 32;
	pthread_mutex_unlock(&func->irq_lock);
	return value;
}

uint64_t pci_msix_pba_read(struct pci_func *func, uint64_t offset, uint32_t size)
{
	uint64_t value;

	if (size < 4 || offset % size)
		return UINT64_MAX;
	value = pending_word(func, offset);
	return size == 8 ? value | (uint64_t)pending_word(func, offset + 4) << 32 : value;
}

void pci_msix_write(struct pci_func *func, uint64_t offset, uint32_t size, uint64_t value)
{
	if (size < 4 || offset % size || offset / PCI_MSIX_ENTRY_SIZE >= func->nvectors)
		return;
	pthread_mutex_lock(&func->irq_lock);
	for (uint32_t i = 0; i < size / 4; i++) {
		uint64_t word = offset / 4 + i;

		entry_of(func, 0)[word] =
			(uint32_t)(value >> (32 * i)) & entry_writable[word % ENTRY_WORDS];
	}
	msix_update(func);
	pthread_mutex_unlock(&func->irq_lock);
	if (func->vectors_changed)
		func->vectors_changed(func->dev);
}

static uint64_t bar_read(void *opaque, uint64_t offset, uint32_t size)
{
	if (offset >= MSIX_PBA_OFFSET)
		return pci_msix_pba_read(opaque, offset - MSIX_PBA_OFFSET, size);
	return pci_msix_read(opaque, offset, size);
}

static void bar_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	pci_msix_write(opaque, offset, size, value);
}

const struct bus_ops msix_bus_ops = {.read = bar_read, .write = bar_write};

void msix_reset(struct pci_func *func)
{
	for (uint32_t vector = 0; vector < func->nvectors; vector++) {
		uint32_t *entry = entry_of(func, vector);

		entry[ENTRY_LOW] = entry[ENTRY_HIGH] = entry[ENTRY_DATA] = 0;
		entry[ENTRY_CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
	}
}

const char *pci_msix_check(const uint32_t *entry, uint32_t nwords)
{
	for (uint32_t i = 0; i < nwords; i++)
		if (entry[i] & ~entry_writable[i % ENTRY_WORDS])
			return "reserved bits of an MSI-X table entry are set";
	return NULL;
}

const char *msix_check(const struct pci_state *state)
{
	if (state->msix_pending >> PCI_MSIX_MAX)
		return "the pending bit of an MSI-X vector that does not exist is set";
	return pci_msix_check(state->msix, ENTRY_WORDS * PCI_MSIX_MAX);
}
