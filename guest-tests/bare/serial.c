// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * COM1 by interrupts on IRQ 4: every byte goes out by THRE, lines that come in by RDA are echoed as
 * "serial echo TEXT", and the UART's registers hold patterns. With `hold` on the command line input stays
 * unread in the FIFO ("serial holding") until the host writes the mailbox.
 */
#include "rt.h"

#define PIN	    4
#define VECTOR	    0x44
#define DIVISOR	    3
#define IER_RDA	    1
#define IER_THRE    2
#define LSR_DR	    1
#define LSR_OVERRUN 2
#define LSR_THRE    0x20
#define FIFO_BYTES  16

const char guest_name[] = "serial";

static char out[256], in[64];
static volatile unsigned int out_head, out_tail;
static unsigned int in_length;
static volatile bool line_ready;
static volatile uint64_t interrupts;
static uint8_t ier;

static void receive(void)
{
	while (inb(COM1 + 5) & LSR_DR) {
		char c = (char)inb(COM1);

		if (c == '\n')
			line_ready = true;
		else if (in_length < sizeof(in) - 1)
			in[in_length++] = c;
	}
}

static void transmit(void)
{
	if (!(inb(COM1 + 5) & LSR_THRE))
		return;
	for (int i = 0; i < FIFO_BYTES && out_tail != out_head; i++)
		outb(COM1, (uint8_t)out[out_tail++ % sizeof(out)]);
	if (out_tail == out_head) {
		ier &= (uint8_t)~IER_THRE;
		outb(COM1 + 1, ier);
	}
}

static void on_serial(struct trap_frame *frame)
{
	uint8_t iir;

	(void)frame;
	while (!((iir = inb(COM1 + 2)) & 1)) {
		CHECK((iir & 0xc0) == 0xc0, "IIR is %x: the FIFO is off", iir);
		switch (iir & 0xf) {
		case 0x4:
		case 0xc:
			receive();
			break;
		case 0x2:
			transmit();
			break;
		default:
			guest_fail("IIR is %x", iir);
		}
	}
	interrupts++;
	lapic_write(LAPIC_EOI, 0);
}

/* The interrupt of an empty transmitter takes it from here: only on_serial() writes bytes. */
static void out_char(char c)
{
	out[out_head++ % sizeof(out)] = c;
	if (c != '\n' && out_head - out_tail < sizeof(out) - 1)
		return;
	ier |= IER_THRE;
	outb(COM1 + 1, ier);
	while (out_tail != out_head)
		wait_for_interrupt();
}

static void setup(void)
{
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 0x83);
	outb(COM1, DIVISOR);
	outb(COM1 + 1, 0);
	outb(COM1 + 3, 0x1b); /* 8 bits, even parity */
	outb(COM1 + 2, 0x81); /* FIFO on, trigger at 8 bytes: fewer come by the time-out */
	outb(COM1 + 4, 0x0b);
	outb(COM1 + 7, 0xa5);
	ier = option("hold") ? 0 : IER_RDA;
	outb(COM1 + 1, ier);
}

static void check_registers(void)
{
	uint8_t low, high;

	CHECK(inb(COM1 + 1) == ier, "IER is %x, not %x", inb(COM1 + 1), ier);
	CHECK(inb(COM1 + 3) == 0x1b && inb(COM1 + 4) == 0x0b && inb(COM1 + 7) == 0xa5,
	      "LCR is %x, MCR %x, SCR %x", inb(COM1 + 3), inb(COM1 + 4), inb(COM1 + 7));
	CHECK(!(inb(COM1 + 5) & LSR_OVERRUN), "the receive FIFO ran over");
	outb(COM1 + 3, 0x9b);
	low = inb(COM1);
	high = inb(COM1 + 1);
	outb(COM1 + 3, 0x1b);
	CHECK(low == DIVISOR && high == 0, "divisor is %x %x", low, high);
}

/* Input waits in the FIFO across the save; afterwards the interrupt must bring it. */
static void hold_input(void)
{
	bool told = false;

	while (!mailbox_take()) {
		check_registers();
		if (!told && inb(COM1 + 5) & LSR_DR) {
			put("serial holding\n");
			told = true;
		}
		CHECK(!told || inb(COM1 + 5) & LSR_DR, "the receive FIFO lost its bytes");
		CHECK(!in_length, "input was read without an interrupt");
		guest_ok("interrupts %lu", interrupts);
		spin(MOMENT);
	}
	ier = IER_RDA;
	outb(COM1 + 1, ier);
}

void guest_main(void)
{
	irq_init();
	trap_set(VECTOR, on_serial);
	lapic_enable();
	setup();
	ioapic_set_entry(PIN, VECTOR);
	put_sink = out_char;
	if (option("hold"))
		hold_input();
	for (;;) {
		check_registers();
		sti();
		spin(MOMENT);
		cli();
		if (line_ready) {
			in[in_length] = '\0';
			put("serial echo %s\n", in);
			in_length = 0;
			line_ready = false;
		}
		shared.counter++;
		guest_ok("interrupts %lu", interrupts);
	}
}
