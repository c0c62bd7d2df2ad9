// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The PCI bus: both ways to config space agree; BARs are sized and moved; every width at every offset of
 * config space is poked, by both ways. What is left behind at the end of a round is there at the
 * beginning of the next, whatever was saved and loaded in between.
 */
#include "virtio.h"

#define ECAM_GPA       0xc0000000ul
#define ADDRESS_PORT   0xcf8
#define DATA_PORT      0xcfc
#define COMMAND	       0x04
#define COMMAND_MEMORY 0x02
#define COMMAND_INTX   0x400
#define BAR0	       0x10
#define BARS	       6
#define CAP_LIST       0x34
#define CAP_MSIX       0x11
#define IRQ_LINE       0x3c
#define SLOTS	       32
#define MAX_FUNCS      8
#define HOME_GPA       0xe0000000ul /* where BARs are moved to; 1 MiB per function, twice */
#define HOME_BYTES     0x100000ul

const char guest_name[] = "pci";

static struct func {
	uint32_t slot, id, class_revision, caps, msix;
	struct {
		uint64_t bytes; /* 0: none */
		bool is_64bit;
	} bar[BARS];
	uint32_t msix_bar;
} funcs[MAX_FUNCS];
static unsigned int nfuncs;
static uint64_t round;

static volatile void *ecam(uint32_t slot, uint32_t offset)
{
	return (volatile void *)(ECAM_GPA + (slot << 15) + offset);
}

/* By ECAM; 0xcf8 is pci_read(). */
static uint32_t read32(uint32_t slot, uint32_t offset)
{
	return *(volatile uint32_t *)ecam(slot, offset);
}

static void write32(uint32_t slot, uint32_t offset, uint32_t value)
{
	*(volatile uint32_t *)ecam(slot, offset) = value;
}

static uint32_t find_cap(uint32_t slot, uint8_t id)
{
	uint32_t at = read32(slot, CAP_LIST) & 0xff;

	for (int i = 0; at && i < 48; i++) {
		if ((read32(slot, at) & 0xff) == id)
			return at;
		at = read32(slot, at) >> 8 & 0xff;
	}
	CHECK(!at, "slot %u: its capability list has no end", slot);
	return 0;
}

/* All ones, and what comes back tells the size. Decoding is off. */
static void size_bars(struct func *f)
{
	for (uint32_t bar = 0; bar < BARS; bar++) {
		uint32_t at = BAR0 + 4 * bar, was = read32(f->slot, at), high = 0;
		uint64_t mask;

		f->bar[bar].is_64bit = (was & 6) == 4;
		write32(f->slot, at, 0xffffffff);
		mask = 0xffffffff00000000ull | (read32(f->slot, at) & ~0xfu);
		write32(f->slot, at, was);
		if (f->bar[bar].is_64bit) {
			high = read32(f->slot, at + 4);
			write32(f->slot, at + 4, 0xffffffff);
			CHECK(read32(f->slot, at + 4) == 0xffffffff, "BAR %u: half a BAR", bar);
			write32(f->slot, at + 4, high);
			CHECK(read32(f->slot, at + 4) == high, "BAR %u: not as it was", bar);
		}
		CHECK(read32(f->slot, at) == was, "BAR %u: not as it was", bar);
		f->bar[bar].bytes = mask << 32 ? -mask : 0;
		CHECK(!(f->bar[bar].bytes & (f->bar[bar].bytes - 1)),
		      "slot %u BAR %u has %lx bytes", f->slot, bar, f->bar[bar].bytes);
		bar += f->bar[bar].is_64bit;
	}
}

static void enumerate(void)
{
	for (uint32_t slot = 0; slot < SLOTS; slot++) {
		uint32_t id = read32(slot, 0);
		struct func *f = &funcs[nfuncs];

		CHECK(id == pci_read(slot, 0, 4), "slot %u: %x by ECAM, %x by ports", slot, id,
		      pci_read(slot, 0, 4));
		if (id == 0xffffffff)
			continue;
		CHECK(nfuncs++ < MAX_FUNCS, "more functions than expected");
		*f = (struct func){.slot = slot, .id = id};
		CHECK(!(read32(slot, COMMAND) & 7), "slot %u decodes at power-on", slot);
		f->class_revision = read32(slot, 8);
		f->caps = read32(slot, CAP_LIST);
		f->msix = find_cap(slot, CAP_MSIX);
		if (f->msix)
			f->msix_bar = read32(slot, f->msix + 4) & 7;
		size_bars(f);
	}
	CHECK(nfuncs && funcs[0].class_revision >> 8 == 0x060000, "no host bridge in slot 0");
}

static uint64_t home(const struct func *f, uint32_t bar)
{
	uint64_t gpa = HOME_GPA + HOME_BYTES * (2 * f->slot + round % 2);

	for (uint32_t i = 0; i < bar; i++)
		gpa += f->bar[i].bytes;
	return f->bar[bar].bytes ? (gpa + f->bar[bar].bytes - 1) & -f->bar[bar].bytes : gpa;
}

/* Both ways show the same 256 bytes, in every width. */
static void compare(const struct func *f)
{
	for (uint32_t offset = 0; offset < 256; offset += 4) {
		uint32_t want = read32(f->slot, offset);
		uint32_t bytes = 0, words = 0;

		for (uint32_t i = 0; i < 4; i++)
			bytes |= pci_read(f->slot, offset + i, 1) << (8 * i);
		for (uint32_t i = 0; i < 4; i += 2)
			words |= (uint32_t) * (volatile uint16_t *)ecam(f->slot, offset + i)
				 << (8 * i);
		CHECK(want == pci_read(f->slot, offset, 4) && want == bytes && want == words,
		      "slot %u offset %x: %x, %x, %x", f->slot, offset, want, bytes, words);
	}
}

static uint32_t mark(const struct func *f)
{
	return (uint32_t)(round * 0x01000193) ^ f->slot;
}

/* The last thing of a round: what the next one finds. */
static void leave(const struct func *f)
{
	write32(f->slot, COMMAND, COMMAND_INTX);
	for (uint32_t bar = 0; bar < BARS; bar++)
		if (f->bar[bar].bytes) {
			write32(f->slot, BAR0 + 4 * bar, (uint32_t)home(f, bar));
			if (f->bar[bar].is_64bit)
				write32(f->slot, BAR0 + 4 * bar + 4, 0);
		}
	write32(f->slot, COMMAND, COMMAND_INTX | COMMAND_MEMORY);
	pci_write(f->slot, IRQ_LINE, 1, mark(f) & 0xff);
	if (f->msix) {
		volatile uint32_t *entry = (volatile uint32_t *)home(f, f->msix_bar);

		pci_write(f->slot, f->msix + 2, 2, 0);
		entry[0] = 0xfee00000;
		entry[1] = 0;
		entry[2] = mark(f);
		entry[3] = 1;
	}
}

static void find_again(const struct func *f)
{
	CHECK(read32(f->slot, 0) == f->id && read32(f->slot, 8) == f->class_revision &&
		      read32(f->slot, CAP_LIST) == f->caps,
	      "slot %u is another function now", f->slot);
	CHECK((read32(f->slot, COMMAND) & 0xffff) == (COMMAND_INTX | COMMAND_MEMORY),
	      "slot %u: command is %x", f->slot, read32(f->slot, COMMAND));
	CHECK(pci_read(f->slot, IRQ_LINE, 1) == (mark(f) & 0xff), "slot %u: another interrupt line",
	      f->slot);
	for (uint32_t bar = 0; bar < BARS; bar++)
		CHECK(!f->bar[bar].bytes ||
			      (read32(f->slot, BAR0 + 4 * bar) & ~0xfu) == home(f, bar),
		      "slot %u BAR %u is at %x", f->slot, bar, read32(f->slot, BAR0 + 4 * bar));
	if (f->msix) {
		volatile uint32_t *entry = (volatile uint32_t *)home(f, f->msix_bar);

		CHECK(entry[0] == 0xfee00000 && entry[2] == mark(f) && entry[3] == 1,
		      "slot %u: its MSI-X table is %x %x %x", f->slot, entry[0], entry[2],
		      entry[3]);
	}
}

static void poke(uint32_t slot, uint32_t offset)
{
	volatile void *at = ecam(slot, offset);
	uint32_t value = (uint32_t)random64() | (random64() & 1 ? 0xffffffff : 0);
	uint16_t port = (uint16_t)(DATA_PORT + offset % 4);

	*(volatile uint8_t *)at = (uint8_t)value;
	*(volatile uint16_t *)at = (uint16_t)value;
	*(volatile uint32_t *)at = value;
	*(volatile uint64_t *)at = (uint64_t)value << 32 | (uint32_t)random64();
	(void)*(volatile uint8_t *)at;
	(void)*(volatile uint16_t *)at;
	(void)*(volatile uint32_t *)at;
	(void)*(volatile uint64_t *)at;
	outl(ADDRESS_PORT, 0x80000000u | slot << 11 | (offset & 0xff));
	outw(ADDRESS_PORT, (uint16_t)value);
	outb(port, (uint8_t)value);
	outw(port, (uint16_t)random64());
	outl(port, value);
	(void)inw(port);
	(void)inl(port);
}

static void poke_all(uint32_t slot)
{
	for (uint32_t offset = 0; offset < 0x110; offset++)
		poke(slot, offset);
	poke(slot, 0xffe);
	poke(slot, 0x1000); /* another function */
}

/* On the second vCPU: reads all that the first one moves and writes. */
static void reader(void)
{
	for (;;)
		for (unsigned int i = 0; i < nfuncs; i++) {
			const struct func *f = &funcs[i];

			for (uint32_t offset = 0; offset < 256; offset += 4)
				(void)read32(f->slot, offset);
			for (uint32_t bar = 0; bar < BARS; bar++)
				for (uint64_t at = 0; at < f->bar[bar].bytes; at += 1028)
					(void)*(volatile uint32_t *)((home(f, bar) + at) & ~3ul);
		}
}

void guest_main(void)
{
	irq_init();
	enumerate();
	for (unsigned int i = 0; i < nfuncs; i++)
		leave(&funcs[i]);
	lapic_enable();
	if (option("reader"))
		ap_start(1, reader);
	for (;;) {
		outl(ADDRESS_PORT, 0x8000f8fc ^ (uint32_t)(round & 0xff) << 2);
		spin(MOMENT);
		CHECK(inl(ADDRESS_PORT) == (0x8000f8fc ^ (uint32_t)(round & 0xff) << 2),
		      "the config address is %x", inl(ADDRESS_PORT));
		for (unsigned int i = 0; i < nfuncs; i++) {
			find_again(&funcs[i]);
			compare(&funcs[i]);
		}
		round++;
		poke_all(round % 8 ? funcs[round % nfuncs].slot : SLOTS - 1);
		for (unsigned int i = 0; i < nfuncs; i++)
			write32(funcs[i].slot, COMMAND, 0);
		for (unsigned int i = 0; i < nfuncs; i++)
			leave(&funcs[i]);
		shared.counter++;
		guest_ok("functions %u", nfuncs);
	}
}
