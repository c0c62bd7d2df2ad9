// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pokes what a guest can reach: every width at the devices' ports and at ports nobody has, string I/O, MMIO
 * holes, MSRs nobody knows. Nothing of it may end the VMM; only values that would rightly reset or power off
 * the machine are left out. way=fetch runs into a hole, way=halt stops for ever with interrupts off: the VMM
 * must stay in command of both.
 */
#include "rt.h"

struct port_range {
	uint16_t first, last;
	uint8_t clear, set; /* applied to every byte written */
};

const char guest_name[] = "hostile";

static const struct port_range poked[] = {
	{0x3f8, 0x3ff, 0x00, 0x00},   {0x70, 0x71, 0x00, 0x00},
	{0x60, 0x64, 0x80, 0x01},   /* no i8042 pulse command, no write of its output port */
	{0xcf8, 0xcfc, 0x04, 0x00}, /* no reset */
	{0x600, 0x60f, 0x20, 0x00}, /* no SLP_EN */
	{0x2f8, 0x2ff, 0x00, 0x00},   {0x80, 0x80, 0x00, 0x00},
	{0x1f0, 0x1f7, 0x00, 0x00},   {0x5000, 0x5003, 0x00, 0x00},
	{0xfffc, 0xffff, 0x00, 0x00},
};

static void poke_port(uint16_t port, const struct port_range *r)
{
	uint32_t value = ((uint32_t)random64() & ~(r->clear * 0x01010101u)) | r->set * 0x01010101u;

	switch (random_below(6)) {
	case 0:
		outb(port, (uint8_t)value);
		break;
	case 1:
		outw(port, (uint16_t)value);
		break;
	case 2:
		outl(port, value);
		break;
	case 3:
		(void)inb(port);
		break;
	case 4:
		(void)inw(port);
		break;
	default:
		(void)inl(port);
	}
}

/* Back to a UART that can be printed with, whatever was written to it. */
static void restore_serial(void)
{
	outb(COM1 + 3, 0x03);
	outb(COM1 + 1, 0x00);
	outb(COM1 + 2, 0x07);
	outb(COM1 + 4, 0x0b);
}

static void poke_strings(void)
{
	static uint8_t buffer[8192];
	static const uint16_t port[] = {COM1 + 5, COM1 + 2, 0x71, 0x5000, 0x604, 0x64};

	for (size_t i = 0; i < sizeof(port) / sizeof(*port); i++) {
		void *to = buffer;
		size_t n = sizeof(buffer) / 4;

		__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(port[i]) : "memory");
	}
	memset(buffer, 0, sizeof(buffer));
	for (size_t i = 0; i < 4; i++) {
		const void *from = buffer;
		size_t n = 1000;

		__asm__ volatile("rep outsb" : "+S"(from), "+c"(n) : "d"(port[i]) : "memory");
	}
}

static void poke_memory(void)
{
	static const uint64_t hole[] = {0xd0000000, 0xe0000ff8, 0xfd000000, 0xfe000ffc, 0xfed00000,
					0xfed40000, 0xfee01000, 0xfec01000, 0xf0000000};

	for (size_t i = 0; i < sizeof(hole) / sizeof(*hole); i++) {
		volatile uint64_t *p = (volatile uint64_t *)hole[i];

		*p = random64();
		(void)*p;
		*(volatile uint32_t *)p = (uint32_t)random64();
		(void)*(volatile uint16_t *)p;
		*(volatile uint8_t *)p = 1;
		(void)*(volatile uint32_t *)(hole[i] + 0xffe); /* over the end of a page */
		*(volatile uint64_t *)(hole[i] + 0xffc) = (uint32_t)random64();
	}
}

static uint64_t poke_msrs(void)
{
	static const uint32_t index[] = {0x0,	     0x8b,	 0x140,	     0x345,
					 0x4b564d10, 0x40000000, 0xc0010117, 0xc0011029};
	uint64_t value, known = 0;

	for (size_t i = 0; i < sizeof(index) / sizeof(*index); i++) {
		known += rdmsr_safe(index[i], &value);
		wrmsr_safe(index[i], (uint32_t)random64());
	}
	return known;
}

static void fetch_hole(void)
{
	put("hostile 1 ok jumps into a hole\n");
	((void (*)(void))0xd0000000)();
	guest_fail("came back from a hole");
}

static void halt_for_ever(void)
{
	put("hostile 1 ok halts for ever\n");
	for (;;)
		__asm__ volatile("cli; hlt");
}

void guest_main(void)
{
	irq_init();
	if (*option_value("way") == 'f')
		fetch_hole();
	if (*option_value("way") == 'h')
		halt_for_ever();
	for (;;) {
		uint64_t known = 0;

		for (size_t i = 0; i < sizeof(poked) / sizeof(*poked); i++)
			for (unsigned int port = poked[i].first; port <= poked[i].last; port++)
				poke_port((uint16_t)port, poked + i);
		poke_strings();
		poke_memory();
		known = poke_msrs();
		restore_serial();
		put("\n");
		shared.counter++;
		guest_ok("msrs known %lu", known);
	}
}
