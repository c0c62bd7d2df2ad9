/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The PCI bus and its host bridge. Where BARs are mapped and which line a pin drives depends only on the saved state of all
 * functions, so a load gives the same result in any order. */
#include "devices/pci/pci.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <assert.h>
#include <errno.h>
#include <linux/pci_regs.h>
#include <stdlib.h>
#include <string.h>

#define PAGE_BYTES 4096
#define PORTS	   0x10000

/* Type 0 header: PCI Local Bus 3.0, 6.2. Identity and BARs come from struct pci_func. */
static const struct pci_reg header[] = {
	{.offset = PCI_COMMAND,
	 .bytes = 2,
	 .writable = PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE},
	{.offset = PCI_CACHE_LINE_SIZE, .bytes = 1, .writable = 0xff},
	{.offset = PCI_INTERRUPT_LINE, .bytes = 1, .writable = 0xff},
	{.offset = PCI_INTERRUPT_PIN, .bytes = 1, .value = 1},
};

/* What the guest chose its driver by. */
static const struct {
	uint8_t offset, bytes;
	const char *name;
} identity[] = {
	{PCI_VENDOR_ID, 2, "vendor ID"},
	{PCI_DEVICE_ID, 2, "device ID"},
	{PCI_REVISION_ID, 1, "revision"},
	{PCI_CLASS_PROG, 3, "class code"},
	{PCI_SUBSYSTEM_VENDOR_ID, 2, "subsystem vendor ID"},
	{PCI_SUBSYSTEM_ID, 2, "subsystem ID"},
};

static void add_regs(struct pci_func *func, uint32_t base, const struct pci_reg *regs,
		     uint32_t nregs)
{
	for (const struct pci_reg *reg = regs; reg < regs + nregs; reg++) {
		put_le(func->initial + base + reg->offset, reg->bytes, reg->value);
		put_le(func->writable + base + reg->offset, reg->bytes, reg->writable);
	}
}

static void link_cap(struct pci_func *func, uint8_t at, uint8_t id, uint8_t bytes,
		     const struct pci_reg *regs, uint32_t nregs)
{
	assert(at >= PCI_STD_HEADER_SIZEOF && at + bytes <= PCI_CONFIG_BYTES);
	func->initial[func->last_cap ? func->last_cap + 1 : PCI_CAPABILITY_LIST] = at;
	func->initial[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	add_regs(func, at, regs, nregs);
	func->initial[at] = id;
	func->last_cap = at;
	if (id == PCI_CAP_ID_MSIX)
		func->msix_cap = at;
}

uint8_t pci_add_cap(struct pci_func *func, uint8_t id, uint8_t bytes, const struct pci_reg *regs,
		    uint32_t nregs)
{
	uint8_t at = func->next_cap ? (uint8_t)func->next_cap : PCI_STD_HEADER_SIZEOF;

	link_cap(func, at, id, bytes, regs, nregs);
	func->next_cap = (at + bytes + 3u) & ~3u;
	return at;
}

static void add_msix_cap(struct pci_func *func)
{
	const struct pci_reg regs[] = {
		{.offset = PCI_MSIX_FLAGS,
		 .bytes = 2,
		 .value = func->nvectors - 1,
		 .writable = PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL},
		{.offset = PCI_MSIX_TABLE, .bytes = 4, .value = func->msix_bar},
		{.offset = PCI_MSIX_PBA, .bytes = 4, .value = MSIX_PBA_OFFSET | func->msix_bar},
	};

	pci_add_cap(func, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF, regs, ARRAY_SIZE(regs));
}

void pci_put_cap(struct pci_func *func, uint8_t at, uint8_t id, uint8_t bytes,
		 const struct pci_reg *regs, uint32_t nregs)
{
	assert(!func->next_cap);
	link_cap(func, at, id, bytes, regs, nregs);
}

void pci_put_regs(struct pci_func *func, const struct pci_reg *regs, uint32_t nregs)
{
	add_regs(func, 0, regs, nregs);
}

static uint32_t bar_offset(uint32_t bar)
{
	return PCI_BASE_ADDRESS_0 + 4 * bar;
}

static enum bus_space space_of(const struct pci_bar *b)
{
	return b->is_io ? BUS_PIO : BUS_MMIO;
}

static uint32_t flags_of(const struct pci_bar *b)
{
	if (b->is_io)
		return PCI_BASE_ADDRESS_SPACE_IO;
	return (b->is_64bit ? PCI_BASE_ADDRESS_MEM_TYPE_64 : 0) |
	       (b->is_prefetchable ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
}

static void put_bar(uint8_t *config, const struct pci_bar *b, uint32_t bar, uint64_t gpa,
		    uint32_t flags)
{
	put_le(config + bar_offset(bar), 4, (uint32_t)gpa | flags);
	if (b->is_64bit)
		put_le(config + bar_offset(bar + 1), 4, (uint32_t)(gpa >> 32));
}

static uint64_t get_bar(const struct pci_func *func, uint32_t bar)
{
	const uint8_t *config = func->state->config;
	uint64_t gpa = get_le(config + bar_offset(bar), 4);

	if (func->bar[bar].is_64bit)
		gpa |= (uint64_t)get_le(config + bar_offset(bar + 1), 4) << 32;
	return gpa & ~(func->bar[bar].size_bytes - 1);
}

static void make_config(struct pci_func *func)
{
	bool has_bars = false;

	add_regs(func, 0, header, ARRAY_SIZE(header));
	put_le(func->initial + PCI_VENDOR_ID, 2, func->vendor);
	put_le(func->initial + PCI_DEVICE_ID, 2, func->device);
	put_le(func->initial + PCI_CLASS_REVISION, 4, func->class_code << 8 | func->revision);
	put_le(func->initial + PCI_SUBSYSTEM_VENDOR_ID, 2, func->subsystem_vendor);
	put_le(func->initial + PCI_SUBSYSTEM_ID, 2, func->subsystem);
	for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
		struct pci_bar *b = &func->bar[bar];

		if (!b->size_bytes)
			continue;
		assert(b->size_bytes >= (b->is_io ? 4 : 16) && !(b->is_io && b->is_64bit));
		has_bars = true;
		put_bar(func->initial, b, bar, 0, flags_of(b));
		put_bar(func->writable, b, bar, ~(b->size_bytes - 1), 0);
		if (b->is_io)
			func->writable[PCI_COMMAND] |= PCI_COMMAND_IO;
	}
	if (!has_bars || func->no_intx)
		func->initial[PCI_INTERRUPT_PIN] = 0;
}

/* --- BARs and lines */

struct pci_func *pci_at(struct vm *vm, uint32_t slot)
{
	for (uint32_t i = 0; vm->pci && i < vm->pci->nfuncs; i++)
		if (vm->pci->func[i]->state->slot == slot)
			return vm->pci->func[i];
	return NULL;
}

static bool overlap(uint64_t a, uint64_t a_bytes, uint64_t b, uint64_t b_bytes)
{
	return a < b + b_bytes && b < a + a_bytes;
}

/* All ones is how a driver asks for the BAR's size. */
static bool decodes(const struct pci_func *func, uint32_t bar)
{
	const struct pci_bar *b = &func->bar[bar];
	uint64_t gpa = get_bar(func, bar), top = b->is_64bit ? UINT64_MAX : UINT32_MAX;
	uint8_t on = b->is_io ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY;

	return b->size_bytes && func->state->config[PCI_COMMAND] & on &&
	       (b->is_io ? gpa + b->size_bytes <= PORTS : gpa != (top & ~(b->size_bytes - 1)));
}

static const char *taken_by_machine(const struct vm *vm, uint64_t gpa, uint64_t bytes)
{
	const struct arch_pci_layout *l = &vm->pci->layout;

	for (uint32_t i = 0; i < vm->ram.nregions; i++)
		if (overlap(gpa, bytes, vm->ram.region[i].gpa, vm->ram.region[i].size_bytes))
			return "RAM";
	return overlap(gpa, bytes, l->irqchip_gpa, l->irqchip_bytes) ? "the interrupt controller"
								     : NULL;
}

/* Of overlapping BARs the one in the lowest slot is mapped. Returns who else has this address, or NULL. */
static const char *taken_by(const struct pci_func *func, uint32_t bar)
{
	const struct pci *pci = func->vm->pci;
	const struct pci_bar *b = &func->bar[bar];
	uint64_t gpa = get_bar(func, bar);
	const char *who = b->is_io ? NULL : taken_by_machine(func->vm, gpa, b->size_bytes);

	for (uint32_t i = 0; !who && i < pci->nfuncs; i++) {
		const struct pci_func *other = pci->func[i];

		if (other->state->slot > func->state->slot)
			continue;
		for (uint32_t j = 0; j < (other == func ? bar : PCI_BARS); j++)
			if (other->bar[j].is_io == b->is_io && decodes(other, j) &&
			    overlap(gpa, b->size_bytes, get_bar(other, j),
				    other->bar[j].size_bytes))
				return other->dev->name;
	}
	return who;
}

static void unmap_bar(struct pci_func *func, uint32_t bar)
{
	struct pci_bar *b = &func->bar[bar];

	if (!b->mapped)
		return;
	bus_del(&func->vm->bus, space_of(b), b->gpa);
	b->mapped = false;
	if (func->bar_changed)
		func->bar_changed(func->dev, bar);
}

static void map_bar(struct pci_func *func, uint32_t bar)
{
	struct pci_bar *b = &func->bar[bar];
	const struct bus_region region = {
		.base = get_bar(func, bar),
		.size = b->size_bytes,
		.ops = b->ops,
		.opaque = b->opaque,
		.lock = &func->dev->lock,
		.name = func->dev->name,
	};
	struct error err;

	if (bus_add(&func->vm->bus, space_of(b), &region, &err)) {
		log_guest("the guest moves BAR %u of %s to %#llx: %s", bar, func->dev->name,
			  (unsigned long long)region.base, err.msg);
		return;
	}
	b->gpa = region.base;
	b->mapped = true;
	if (func->bar_changed)
		func->bar_changed(func->dev, bar);
}

enum settle { UNMAP, MAP };

/* A BAR moves in two halves, so that BARs can exchange their places. */
static bool must_settle(const struct pci_func *func, uint32_t bar, enum settle half)
{
	const struct pci_bar *b = &func->bar[bar];
	uint64_t gpa = get_bar(func, bar);
	const char *who = NULL;

	if (!decodes(func, bar))
		return half == UNMAP && b->mapped;
	who = taken_by(func, bar);
	if (half == UNMAP)
		return b->mapped && (who || b->gpa != gpa);
	if (who)
		log_guest("the guest moves BAR %u of %s to %#llx, which overlaps %s", bar,
			  func->dev->name, (unsigned long long)gpa, who);
	return !who && !b->mapped;
}

static void settle_bar(struct pci_func *func, uint32_t bar, enum settle half)
{
	if (half == UNMAP)
		unmap_bar(func, bar);
	else
		map_bar(func, bar);
}

/* After a write by the running guest. BARs that do not move stay mapped: other vCPUs may use them. */
static void settle_all(struct pci *pci, enum settle half)
{
	for (uint32_t i = 0; i < pci->nfuncs * PCI_BARS; i++) {
		struct pci_func *func = pci->func[i / PCI_BARS];

		if (!must_settle(func, i % PCI_BARS, half))
			continue;
		pthread_mutex_lock(&func->dev->lock);
		settle_bar(func, i % PCI_BARS, half);
		pthread_mutex_unlock(&func->dev->lock);
	}
}

static bool wants_intx(const struct pci_func *func)
{
	return func->state->intx && !msix_enabled(func) &&
	       !(get_le(func->state->config + PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

/* Functions share lines: a line is high while one of them asserts it. renew: KVM may have another level. */
static void update_line(struct pci *pci, struct irq_line *line, bool renew)
{
	bool level = false;

	for (uint32_t i = 0; i < pci->nfuncs; i++)
		level |= pci->func[i]->intx_line == line && pci->func[i]->intx_high;
	if (renew)
		irq_line_renew(line, level);
	else
		irq_line_set(line, level);
}

/* The line belongs to the slot. Does not change its level in KVM. */
static void take_line(struct pci_func *func)
{
	struct pci *pci = func->vm->pci;

	pthread_mutex_lock(&pci->line_lock);
	func->intx_line = &pci->line[func->state->slot % pci->layout.nintx_gsis];
	func->intx_high = wants_intx(func);
	pthread_mutex_unlock(&pci->line_lock);
}

static void renew_line(struct pci *pci, struct irq_line *line)
{
	pthread_mutex_lock(&pci->line_lock);
	update_line(pci, line, true);
	pthread_mutex_unlock(&pci->line_lock);
}

static void drive_intx(struct pci_func *func, bool renew)
{
	struct pci *pci = func->vm->pci;

	pthread_mutex_lock(&pci->line_lock);
	func->intx_high = wants_intx(func);
	update_line(pci, func->intx_line, renew);
	pthread_mutex_unlock(&pci->line_lock);
}

uint32_t pci_intx_gsi(const struct pci_func *func)
{
	return func->intx_line->gsi;
}

void pci_intx_set(struct pci_func *func, bool level)
{
	pthread_mutex_lock(&func->irq_lock);
	func->state->intx = level;
	drive_intx(func, false);
	pthread_mutex_unlock(&func->irq_lock);
}

/* --- config space */

static struct pci_func *find(struct pci *pci, uint64_t address, uint32_t bytes)
{
	if (!bytes || bytes > 4 || address % bytes || address >> 12 & 7) /* function 0 alone */
		return NULL;
	for (uint32_t i = 0; i < pci->nfuncs; i++)
		if (pci->func[i]->state->slot == address >> 15)
			return pci->func[i];
	return NULL;
}

static uint32_t read_config(struct pci_func *func, uint32_t offset, uint32_t bytes)
{
	uint32_t value;

	if (offset + bytes > PCI_CONFIG_BYTES)
		return 0;
	if (func->config_read)
		func->config_read(func->dev, offset, bytes);
	value = get_le(func->state->config + offset, bytes);
	pthread_mutex_lock(&func->irq_lock);
	if (func->state->intx && (offset & ~3u) == PCI_COMMAND && offset + bytes > PCI_STATUS &&
	    offset <= PCI_STATUS)
		value |= (uint32_t)PCI_STATUS_INTERRUPT << (8 * (PCI_STATUS - offset));
	pthread_mutex_unlock(&func->irq_lock);
	return value;
}

/* Returns whether the write may move a BAR. */
static bool write_config(struct pci_func *func, uint32_t offset, uint32_t bytes, uint32_t value)
{
	uint8_t *config = func->state->config;
	bool live;

	if (offset + bytes > func->config_end)
		return false;
	pthread_mutex_lock(&func->irq_lock);
	live = msix_live(func);
	for (uint32_t at = offset; at < offset + bytes; at++, value >>= 8) {
		uint8_t mask = func->writable[at], byte = (uint8_t)value;

		config[at] = (uint8_t)((config[at] & ~mask) | (byte & mask));
	}
	msix_update(func);
	live = live != msix_live(func);
	drive_intx(func, false);
	pthread_mutex_unlock(&func->irq_lock);
	if (live && func->vectors_changed)
		func->vectors_changed(func->dev);
	if (func->config_written)
		func->config_written(func->dev, offset, bytes);
	return offset < PCI_CARDBUS_CIS;
}

/* With pci->lock held. address: as in ECAM, slot << 15 | function << 12 | register. */
static uint64_t access_read(struct pci *pci, uint64_t address, uint32_t bytes)
{
	struct pci_func *func = find(pci, address, bytes);
	uint64_t value;

	if (!func)
		return UINT64_MAX;
	pthread_mutex_lock(&func->dev->lock);
	value = read_config(func, address & 0xfff, bytes);
	pthread_mutex_unlock(&func->dev->lock);
	return value;
}

static void access_write(struct pci *pci, uint64_t address, uint32_t bytes, uint32_t value)
{
	struct pci_func *func = find(pci, address, bytes);
	bool moves;

	if (!func)
		return;
	pthread_mutex_lock(&func->dev->lock);
	moves = write_config(func, address & 0xfff, bytes, value);
	pthread_mutex_unlock(&func->dev->lock);
	if (!moves)
		return;
	settle_all(pci, UNMAP);
	settle_all(pci, MAP);
}

/* --- add and remove */

int pci_add(struct pci_func *func, struct vm *vm, struct error *err)
{
	struct pci *pci = vm->pci;
	uint32_t slot = 0;

	if (!pci)
		return error_set(err, -ENODEV, "%s: this machine has no PCI", func->dev->name);
	while (slot < pci->nfuncs && pci->func[slot]->default_slot == slot)
		slot++;
	if (slot == PCI_SLOTS)
		return error_set(err, -ENOSPC, "%s: PCI takes at most %d devices", func->dev->name,
				 PCI_SLOTS - 1);
	assert(!func->msix_entry || !func->nvectors || func->msix_cap);
	if (func->nvectors && !func->msix_entry) {
		func->bar[func->msix_bar].size_bytes = MSIX_BAR_BYTES;
		func->bar[func->msix_bar].ops = &msix_bus_ops;
		func->bar[func->msix_bar].opaque = func;
		add_msix_cap(func);
	}
	make_config(func);
	pthread_mutex_init(&func->irq_lock, NULL);
	func->vm = vm;
	func->default_slot = slot;
	for (uint32_t i = pci->nfuncs++; i > slot; i--)
		pci->func[i] = pci->func[i - 1];
	pci->func[slot] = func;
	pci_reset(func);
	return 0;
}

void pci_remove(struct pci_func *func)
{
	struct pci *pci = func->vm->pci;
	uint32_t i = 0;

	pci_reset(func);
	while (pci->func[i] != func)
		i++;
	for (pci->nfuncs--; i < pci->nfuncs; i++)
		pci->func[i] = pci->func[i + 1];
	pthread_mutex_destroy(&func->irq_lock);
}

/* BARs follow each other in the order of default slots, aligned to their sizes and to pages, because a
 * guest may map single pages into user space. 0: the window is full; the guest may find another place. */
static uint64_t default_gpa(const struct pci_func *func, uint32_t bar)
{
	const struct pci *pci = func->vm->pci;
	const struct arch_pci_layout *l = &pci->layout;
	struct {
		uint64_t next, end;
	} window[] = {{l->pio_port, l->pio_port + l->pio_bytes},
		      {l->mmio32_gpa, l->mmio32_gpa + l->mmio32_bytes},
		      {l->mmio64_gpa, l->mmio64_gpa + l->mmio64_bytes}},
	  *w;

	for (uint32_t i = 0; i < pci->nfuncs * PCI_BARS; i++) {
		const struct pci_func *f = pci->func[i / PCI_BARS];
		const struct pci_bar *b = &f->bar[i % PCI_BARS];
		uint64_t bytes = b->size_bytes, gpa;
		bool fits;

		if (!bytes)
			continue;
		if (!b->is_io && bytes < PAGE_BYTES)
			bytes = PAGE_BYTES;
		w = &window[b->is_io ? 0 : 1 + (b->is_64bit && l->mmio64_bytes)];
		gpa = (w->next + bytes - 1) & ~(bytes - 1);
		fits = gpa < w->end && bytes <= w->end - gpa;
		if (f == func && i % PCI_BARS == bar)
			return fits ? gpa : 0;
		if (fits)
			w->next = gpa + bytes;
	}
	return 0;
}

void pci_reset(struct pci_func *func)
{
	struct pci_state *s = func->state;
	struct irq_line *former = func->intx_line;

	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		unmap_bar(func, bar);
	/* A guest that has run keeps its slots, also those that another build chose: its firmware tables
	 * and its disk name devices by them. */
	*s = (struct pci_state){.slot = func->vm->has_run ? s->slot : func->default_slot};
	memcpy(s->config, func->initial, sizeof(s->config));
	for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
		const struct pci_bar *b = &func->bar[bar];

		if (!b->size_bytes)
			continue;
		put_bar(s->config, b, bar, default_gpa(func, bar), flags_of(b));
		s->bar_bits[bar] = (uint8_t)__builtin_ctzll(b->size_bytes);
	}
	msix_reset(func);
	func->config_end = PCI_CONFIG_BYTES;
	take_line(func);
	if (former && former != func->intx_line)
		renew_line(func->vm->pci, former);
	renew_line(func->vm->pci, func->intx_line);
}

/* --- checkpoints */

const char *pci_check(const struct pci_state *state)
{
	if (state->slot >= PCI_SLOTS)
		return "the PCI slot does not exist";
	return msix_check(state);
}

/* New builds append capabilities. Returns the offset of the last next pointer that this guest shares
 * with this build. */
static uint32_t last_shared(const struct pci_func *func, const uint8_t *config)
{
	uint32_t at = PCI_CAPABILITY_LIST;

	if (func->last_cap && !func->next_cap)
		return func->last_cap + 1u; /* pci_put_cap(): all or none */
	while (func->initial[at] && func->initial[at] == config[at])
		at = func->initial[at] + 1u;
	return at;
}

static int compare_bars(const struct pci_func *func, const struct pci_state *saved,
			struct error *err)
{
	int ret = 0;

	for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
		uint64_t bytes = func->bar[bar].size_bytes;
		uint8_t bits = bytes ? (uint8_t)__builtin_ctzll(bytes) : 0;

		if (saved->bar_bits[bar] != bits)
			ret = error_join(err, -EINVAL,
					 "BAR %u: saved with 2^%u bytes, here it has 2^%u", bar,
					 saved->bar_bits[bar], bits);
	}
	return ret;
}

/* Read-only bits must be equal in the header and in the capabilities that both have. */
static int compare_read_only(const struct pci_func *func, const struct pci_state *saved,
			     struct error *err)
{
	uint32_t last = last_shared(func, saved->config), end;
	uint8_t config[PCI_CONFIG_BYTES];
	int ret = 0;

	memcpy(config, func->initial, sizeof(config));
	end = config[last] ? config[last] : PCI_CONFIG_BYTES;
	config[last] = 0;
	if (func->msix_cap && func->msix_cap < end &&
	    saved->config[func->msix_cap] == PCI_CAP_ID_MSIX) {
		uint32_t flags = func->msix_cap + PCI_MSIX_FLAGS;
		uint32_t had = (get_le(saved->config + flags, 2) & PCI_MSIX_FLAGS_QSIZE) + 1;

		if (had != func->nvectors)
			ret = error_join(err, -EINVAL, "saved with %u MSI-X vectors, here are %u",
					 had, func->nvectors);
		put_le(config + flags, 2, get_le(saved->config + flags, 2));
	}
	for (uint32_t i = PCI_CACHE_LINE_SIZE; i < end; i++)
		if ((saved->config[i] ^ config[i]) & (uint8_t)~func->writable[i])
			return error_join(err, -EINVAL,
					  "PCI config space at %#x differs from this build's", i);
	return ret;
}

int pci_compare(const struct pci_func *func, const struct pci_state *saved, struct error *err)
{
	int ret = 0;

	for (size_t i = 0; i < ARRAY_SIZE(identity); i++) {
		uint32_t had = get_le(saved->config + identity[i].offset, identity[i].bytes);
		uint32_t has = get_le(func->initial + identity[i].offset, identity[i].bytes);

		if (had != has)
			ret = error_join(err, -EINVAL, "PCI %s: saved with %#x, here it is %#x",
					 identity[i].name, had, has);
	}
	if (ret)
		return ret; /* another device: the rest only follows from it */
	ret = compare_bars(func, saved, err);
	return ret ? ret : compare_read_only(func, saved, err);
}

int pci_post_load(struct pci_func *func, struct error *err)
{
	const struct pci *pci = func->vm->pci;
	struct pci_state *s = func->state;
	uint32_t last = last_shared(func, s->config);

	for (uint32_t i = 0; i < pci->nfuncs; i++)
		if (pci->func[i] != func && pci->func[i]->state->slot == s->slot)
			return error_set(err, -EINVAL, "saved in PCI slot %u, and so is %s",
					 s->slot, pci->func[i]->dev->name);
	func->config_end = func->initial[last] ? func->initial[last] : PCI_CONFIG_BYTES;
	take_line(func);
	for (enum settle half = UNMAP; half <= MAP; half++)
		for (uint32_t bar = 0; bar < PCI_BARS; bar++)
			if (must_settle(func, bar, half))
				settle_bar(func, bar, half);
	return 0;
}

void pci_resume(struct pci_func *func)
{
	pthread_mutex_lock(&func->irq_lock);
	msix_update(func);
	drive_intx(func, true);
	pthread_mutex_unlock(&func->irq_lock);
}

/* --- the host bridge and the two interfaces to config space: ECAM (PCI Express Base 3.0, 7.2.2) and
 * mechanism #1 (PCI Local Bus 3.0, 3.2.2.3.2) */

#define ADDRESS_PORT   0xcf8
#define DATA_PORT      0xcfc
#define ADDRESS_ENABLE 0x80000000u
#define ADDRESS_KEPT   0x80fffffcu

/* The generic PCI Express host bridge, which needs no driver. */
#define BRIDGE_VENDOR 0x1b36
#define BRIDGE_DEVICE 0x0008
#define BRIDGE_CLASS  0x060000

struct pci_host_state {
	uint32_t address; /* of mechanism #1 */
	struct pci_state pci;
};
#define PCI_HOST_STATE(F, A, V, T) F(T, address) PCI_STATE_ROWS(F, A, V, T, pci)

struct pci_host {
	struct device dev;
	struct pci_host_state s;
	struct pci_func func;
};

static const char *pci_host_check(const void *state)
{
	const struct pci_host_state *s = state;

	if (s->address & ~ADDRESS_KEPT)
		return "reserved bits of the config address are set";
	return pci_check(&s->pci);
}
STATE_DEFINE(pci_host_state, PCI_HOST_STATE, "pci-host", pci_host_check);

static uint64_t ecam_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;

	return access_read(host->dev.vm->pci, offset, size);
}

static void ecam_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct pci_host *host = opaque;

	access_write(host->dev.vm->pci, offset, size, (uint32_t)value);
}

static uint64_t address_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;

	return host->s.address;
}

static void address_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	struct pci_host *host = opaque;

	host->s.address = (uint32_t)value & ADDRESS_KEPT;
}

/* 0xcf8 has bus, slot and function from bit 8 on, ECAM from bit 12 on. False: not enabled. */
static bool ecam_offset(const struct pci_host *host, uint64_t offset, uint64_t *ecam)
{
	uint32_t address = host->s.address;

	*ecam = (uint64_t)(address >> 8 & 0xffff) << 12 | (address & 0xff) | offset;
	return address & ADDRESS_ENABLE;
}

static uint64_t data_read(void *opaque, uint64_t offset, uint32_t size)
{
	const struct pci_host *host = opaque;
	uint64_t ecam;

	return ecam_offset(host, offset, &ecam) ? access_read(host->dev.vm->pci, ecam, size)
						: UINT64_MAX;
}

static void data_write(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	const struct pci_host *host = opaque;
	uint64_t ecam;

	if (ecam_offset(host, offset, &ecam))
		access_write(host->dev.vm->pci, ecam, size, (uint32_t)value);
}

static const struct bus_ops ecam_ops = {.read = ecam_read, .write = ecam_write};
static const struct bus_ops address_ops = {
	.read = address_read, .write = address_write, .width = 4};
static const struct bus_ops data_ops = {.read = data_read, .write = data_write};

static void del_regions(const struct device *dev)
{
	bus_del_all(&dev->vm->bus, &dev->vm->pci->lock);
}

static int create_bus(struct vm *vm, struct error *err)
{
	struct pci *pci = calloc(1, sizeof(*pci));

	if (!pci)
		return error_set(err, -ENOMEM, "PCI: out of memory");
	arch_pci_layout(vm, &pci->layout);
	pthread_mutex_init(&pci->lock, NULL);
	pthread_mutex_init(&pci->line_lock, NULL);
	for (uint32_t i = 0; i < pci->layout.nintx_gsis; i++)
		pci->line[i] = (struct irq_line){.irq = &vm->irq, .gsi = pci->layout.intx_gsi + i};
	vm->pci = pci;
	return 0;
}

static void destroy_bus(struct vm *vm)
{
	pthread_mutex_destroy(&vm->pci->line_lock);
	pthread_mutex_destroy(&vm->pci->lock);
	free(vm->pci);
	vm->pci = NULL;
}

static int add_regions(struct pci_host *host, struct error *err)
{
	const char *name = host->dev.name;
	struct vm *vm = host->dev.vm;
	pthread_mutex_t *lock = &vm->pci->lock;
	const struct arch_pci_layout *layout = &vm->pci->layout;
	const struct bus_region ecam = {
		layout->ecam_gpa, layout->ecam_bytes, &ecam_ops, host, lock, name};
	const struct bus_region address = {ADDRESS_PORT, 1, &address_ops, host, lock, name};
	const struct bus_region data = {DATA_PORT, 4, &data_ops, host, lock, name};
	int ret = bus_add(&vm->bus, BUS_MMIO, &ecam, err);

	if (!ret)
		ret = bus_add(&vm->bus, BUS_PIO, &address, err);
	return ret ? ret : bus_add(&vm->bus, BUS_PIO, &data, err);
}

static int pci_host_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);
	struct pci_func *func = &host->func;
	int ret = create_bus(vm, err);

	if (ret)
		return ret;
	func->dev = dev;
	func->state = &host->s.pci;
	func->vendor = BRIDGE_VENDOR;
	func->device = BRIDGE_DEVICE;
	func->class_code = BRIDGE_CLASS;
	ret = pci_add(func, vm, err);
	if (ret)
		goto destroy_bus;
	ret = add_regions(host, err);
	if (ret)
		goto remove_func;
	return 0;
remove_func:
	del_regions(dev);
	pci_remove(func);
destroy_bus:
	destroy_bus(vm);
	return ret;
}

static void pci_host_detach(struct device *dev)
{
	del_regions(dev);
	pci_remove(&container_of(dev, struct pci_host, dev)->func);
	destroy_bus(dev->vm);
}

static void pci_host_reset(struct device *dev)
{
	struct pci_host *host = container_of(dev, struct pci_host, dev);

	host->s.address = 0;
	pci_reset(&host->func);
}

static int pci_host_compare(struct device *dev, const void *saved, struct error *err)
{
	const struct pci_host_state *was = saved;

	return pci_compare(&container_of(dev, struct pci_host, dev)->func, &was->pci, err);
}

static int pci_host_post_load(struct device *dev, struct error *err)
{
	return pci_post_load(&container_of(dev, struct pci_host, dev)->func, err);
}

static void pci_host_resume(struct device *dev)
{
	pci_resume(&container_of(dev, struct pci_host, dev)->func);
}

static uint32_t pci_host_count(const struct options *opt)
{
	return 0; /* only for devices that need it */
}

const struct device_ops pci_host_ops = {
	.type = "pci-host",
	.name = "pci",
	.count = pci_host_count,
	.state = &pci_host_state_desc,
	DEVICE_STRUCT(struct pci_host),
	.attach = pci_host_attach,
	.detach = pci_host_detach,
	.reset = pci_host_reset,
	.compare = pci_host_compare,
	.post_load = pci_host_post_load,
	.resume = pci_host_resume,
};
