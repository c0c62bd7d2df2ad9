// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * With interrupts off: one LAPIC interrupt in service, two more requested by IPI, the serial line raised and so
 * requested at the PIC and, level-triggered with its remote IRR, through the IOAPIC. PIC, IOAPIC and LAPIC
 * registers hold patterns. When the host writes the mailbox, interrupts go on and each request must be
 * delivered exactly once and in order; then the next round begins. (A software KVM may have no in-service
 * register: then nothing is held back by priority, and that is what must stay so.)
 */
#include "rt.h"

#define PIC_BASE	  0x20
#define VECTOR_SERVED	  0x41 /* in service while all wait */
#define VECTOR_LOW	  0x31 /* may come only after its end */
#define VECTOR_HIGH	  0x51
#define VECTOR_LEVEL	  0x61 /* the serial line at the IOAPIC */
#define VECTOR_PIC	  (PIC_BASE + 4)
#define SELF_IPI	  0x40000
#define IOAPIC_LEVEL	  (1u << 15)
#define IOAPIC_REMOTE_IRR (1u << 14)
#define IOAPIC_MASKED	  (1u << 16)
#define SERIAL_PIN	  4
#define IER_THRE	  2
#define MCR_OUT2	  8 /* without it COM1 has no interrupt line */

struct lapic_pattern {
	unsigned int reg;
	uint32_t value;
};

const char guest_name[] = "irqchip";

static const struct lapic_pattern lapic_pattern[] = {
	{LAPIC_TPR, 0x10},
	{LAPIC_SPURIOUS, 0x1fe},
	{LAPIC_LDR, 0x02000000},
	{LAPIC_DFR, 0xffffffff},
	{LAPIC_LVT_THERMAL, LVT_MASKED | 0xf1},
	{LAPIC_LVT_PERF, LVT_MASKED | 0xf2},
	{LAPIC_LVT_LINT0, LVT_EXTINT},
	{LAPIC_LVT_LINT1, LVT_MASKED | 0x400},
	{LAPIC_LVT_ERROR, LVT_MASKED | 0xf5},
	{LAPIC_LVT_TIMER, LVT_MASKED | 0xf6},
	{LAPIC_TIMER_INITIAL, 0x12345678},
	{LAPIC_TIMER_DIVIDE, 0x9},
};

static uint8_t order[16];
static unsigned int delivered;
static uint32_t
	in_service; /* the LAPIC's ISR while VECTOR_SERVED is: 0 on a software KVM without one */

static uint64_t ioapic_pattern(uint64_t pin)
{
	/* masked, physical, fixed; vector, polarity, trigger mode and destination differ from pin to pin */
	return (pin + 1) << 56 | IOAPIC_MASKED | (pin & 1) << 15 | (pin & 2) << 12 | (0x80 + pin);
}

static void check_pending(bool raised)
{
	uint64_t level = ioapic_entry(SERIAL_PIN);
	uint8_t irr, isr;

	for (size_t i = 0; i < sizeof(lapic_pattern) / sizeof(*lapic_pattern); i++) {
		const struct lapic_pattern *p = lapic_pattern + i;

		CHECK(lapic_read(p->reg) == p->value, "LAPIC register %x is %x, not %x", p->reg,
		      lapic_read(p->reg), p->value);
	}
	CHECK(lapic_read(LAPIC_TIMER_COUNT) < 0x12345678, "LAPIC timer stands still");
	CHECK(inb(0x21) == 0xef && inb(0xa1) == 0xab, "PIC masks are %x %x", inb(0x21), inb(0xa1));
	for (uint64_t pin = 0; pin < 24; pin++)
		CHECK(pin == SERIAL_PIN || ioapic_entry((unsigned int)pin) == ioapic_pattern(pin),
		      "IOAPIC entry %lu is %lx", pin, ioapic_entry((unsigned int)pin));
	if (!raised)
		return;
	CHECK(level == (IOAPIC_LEVEL | IOAPIC_REMOTE_IRR | VECTOR_LEVEL), "IOAPIC entry 4 is %lx",
	      level);
	CHECK(lapic_read(LAPIC_ISR + 0x20) == in_service, "LAPIC ISR is %x",
	      lapic_read(LAPIC_ISR + 0x20));
	CHECK(lapic_read(LAPIC_IRR + 0x10) == 1u << (VECTOR_LOW & 31) &&
		      lapic_read(LAPIC_IRR + 0x20) == 1u << (VECTOR_HIGH & 31) &&
		      lapic_read(LAPIC_IRR + 0x30) == 1u << (VECTOR_LEVEL & 31),
	      "LAPIC IRR is %x %x %x", lapic_read(LAPIC_IRR + 0x10), lapic_read(LAPIC_IRR + 0x20),
	      lapic_read(LAPIC_IRR + 0x30));
	outb(0x20, 0x0a);
	irr = inb(0x20);
	outb(0x20, 0x0b);
	isr = inb(0x20);
	CHECK(irr == 0x10 && isr == 0, "PIC IRR is %x, ISR %x", irr, isr);
}

static void note(struct trap_frame *frame)
{
	CHECK(delivered < sizeof(order), "more interrupts than were raised, last %lx",
	      frame->vector);
	order[delivered++] = (uint8_t)frame->vector;
}

static void on_lapic(struct trap_frame *frame)
{
	/* without in-service state KVM ends a level interrupt as it delivers it: it comes again */
	if (in_service || frame->vector != VECTOR_LEVEL || !delivered ||
	    order[delivered - 1] != VECTOR_LEVEL)
		note(frame);
	if (frame->vector == VECTOR_LEVEL)
		outb(COM1 + 1,
		     0); /* the line falls before the end of the interrupt, or it would come again */
	lapic_write(LAPIC_EOI, 0);
}

static void on_pic(struct trap_frame *frame)
{
	note(frame);
	outb(0x20, 0x20);
}

static void check_order(void)
{
	static const uint8_t expected[] = {VECTOR_PIC, VECTOR_LEVEL, VECTOR_HIGH, VECTOR_LOW};

	CHECK(delivered == sizeof(expected), "%u interrupts delivered, not 4: %x %x %x %x %x",
	      delivered, order[0], order[1], order[2], order[3], order[4]);
	for (uint64_t i = 0; i < sizeof(expected); i++)
		CHECK(order[i] == expected[i], "interrupt %lu was %x, not %x", i, order[i],
		      expected[i]);
}

/* Interrupts on until that many have come, and a moment longer for those that should not. */
static void take(unsigned int count)
{
	sti();
	for (int i = 0; i < 500 && delivered < count; i++)
		spin(MOMENT);
	spin(MOMENT);
	cli();
}

/* In service all the time: returns to guest_main() only after its own end of interrupt. */
static void on_served(struct trap_frame *frame)
{
	(void)frame;
	in_service = lapic_read(LAPIC_ISR + 0x20);
	CHECK(!in_service || in_service == 1u << (VECTOR_SERVED & 31), "LAPIC ISR is %x",
	      in_service);
	lapic_write(LAPIC_ICR, SELF_IPI | VECTOR_LOW);
	lapic_write(LAPIC_ICR, SELF_IPI | VECTOR_HIGH);
	outb(COM1 + 1, IER_THRE);
	while (!mailbox_take()) {
		check_pending(true);
		guest_ok("pending");
		spin(MOMENT);
	}
	check_pending(true);
	take(in_service ? 3 : 4);
	CHECK(delivered == 3 || !in_service, "%u interrupts delivered over the one in service",
	      delivered);
	lapic_write(LAPIC_EOI, 0);
}

void guest_main(void)
{
	irq_init();
	for (unsigned int vector = VECTOR_LOW; vector <= VECTOR_LEVEL; vector += 0x10)
		trap_set(vector, vector == VECTOR_SERVED ? on_served : on_lapic);
	trap_set(VECTOR_PIC, on_pic);
	pic_init(PIC_BASE, 0xef, 0xab);
	for (unsigned int pin = 0; pin < 24; pin++)
		ioapic_set_entry(pin, ioapic_pattern(pin));
	ioapic_set_entry(SERIAL_PIN, IOAPIC_LEVEL | VECTOR_LEVEL);
	outb(COM1 + 4, MCR_OUT2);
	lapic_enable();
	for (size_t i = 0; i < sizeof(lapic_pattern) / sizeof(*lapic_pattern); i++)
		lapic_write(lapic_pattern[i].reg, lapic_pattern[i].value);
	for (uint64_t round = 1;; round++) {
		check_pending(false);
		lapic_write(LAPIC_ICR, SELF_IPI | VECTOR_SERVED);
		delivered = 0;
		take(4);
		check_order();
		put("irqchip delivered %lu in-service %x\n", round, in_service);
	}
}
