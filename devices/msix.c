/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSI-X. PCI Local Bus 3.0, 6.8.2. The table and the pending bits are a BAR of their own. */
#include "devices/pci_bus.h"
#include "vmm/vm.h"
#include <linux/pci_regs.h>

#define PBA_OFFSET 2048

/* A vector's entry in the table. */
enum { ENTRY_LOW, ENTRY_HIGH, ENTRY_DATA, ENTRY_CONTROL, ENTRY_WORDS };
static const uint32_t entry_writable[ENTRY_WORDS] = {~3u, ~0u, ~0u, PCI_MSIX_ENTRY_CTRL_MASKBIT};

void msix_add_cap(struct pci_func *func)
{
	const struct pci_reg regs[] = {
		{.offset = PCI_MSIX_FLAGS,
		 .bytes = 2,
		 .value = func->nvectors - 1,
		 .writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL},
		{.offset = PCI_MSIX_TABLE, .bytes = 4, .value = func->msix_bar},
		{.offset = PCI_MSIX_PBA, .bytes = 4, .value = PBA_OFFSET | func->msix_bar},
	};

	func->msix_cap = pci_add_cap(func, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, regs,
				     sizeof(regs) / sizeof(regs[0]));
}

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
	return func->state->msix + (size_t)vector * ENTRY_WORDS;
}

static bool message(const struct pci_func *func, uint32_t vector, struct irq_msi *msi)
{
	const uint32_t *entry = entry_of(func, vector);

	*msi = (struct irq_msi){(uint64_t)entry[ENTRY_HIGH] << 32 | entry[ENTRY_LOW],
				entry[ENTRY_DATA]};
	return msix_live(func) && !(entry[ENTRY_CONTROL] & PCI_MSIX_ENTRY_CTRL_MASKBIT);
}

/* Under irq_lock to the end: once a mask is written, nothing is sent any more. */
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

static uint32_t read_word(const struct pci_func *func, uint64_t offset)
{
	if (offset < func->nvectors * (uint64_t)PCI_MSIX_ENTRY_SIZE)
		return func->state->msix[offset / 4];
	return offset == PBA_OFFSET ? func->state->msix_pending : 0;
}

static uint64_t table_read(void *opaque, uint64_t offset, uint32_t size)
{
	struct pci_func *func = opaque;
	uint64_t value;

	if (size < 4 || offset % size)
		return UINT64_MAX;
	pthread_mutex_lock(&func->irq_lock);
	value = read_word(func, offset);
	if (size == 8)
		value |= (uint64_t)read_word(func, offset + 4) << 32;
	pthread_mutex_unlock(&func->irq_lock);
	return value;
}

static void table_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_func *func = opaque;
	uint32_t vector = (uint32_t)(offset / PCI_MSIX_ENTRY_SIZE);

	if (size < 4 || offset % size || vector >= func->nvectors)
		return;
	pthread_mutex_lock(&func->irq_lock);
	for (uint32_t i = 0; i < size / 4; i++) {
		uint32_t word = (uint32_t)(offset / 4 + i) % ENTRY_WORDS;

		entry_of(func, vector)[word] = (uint32_t)(value >> (32 * i)) & entry_writable[word];
	}
	msix_update(func);
	pthread_mutex_unlock(&func->irq_lock);
	if (func->vectors_changed)
		func->vectors_changed(func->dev);
}

const struct bus_ops msix_bus_ops = {.read = table_read, .write = table_write};

void msix_reset(struct pci_func *func)
{
	for (uint32_t vector = 0; vector < func->nvectors; vector++)
		entry_of(func, vector)[ENTRY_CONTROL] = PCI_MSIX_ENTRY_CTRL_MASKBIT;
}

const char *msix_check(const struct pci_state *state)
{
	for (uint32_t i = 0; i < ENTRY_WORDS * PCI_MSIX_MAX; i++)
		if (state->msix[i] & ~entry_writable[i % ENTRY_WORDS])
			return "an MSI-X vector has bits that do not exist";
	if (state->msix_pending >> PCI_MSIX_MAX)
		return "an MSI-X vector is pending that does not exist";
	return NULL;
}
