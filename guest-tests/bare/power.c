// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ends the machine in the way `end=` names, at once or, with `hold`, when the host writes the mailbox:
 * s5 and fadt by what ACPI says, cf9, i8042 and triple by the PC's old ways; button: by s5 once the power
 * button has been pressed and its SCI has come.
 */
#include "rt.h"

#define VECTOR_SCI   0x59
#define IOAPIC_LEVEL (1u << 15)

const char guest_name[] = "power";

static struct acpi_facts acpi;
static volatile bool pressed;

static void end_s5(void)
{
	CHECK(acpi.has_s5 && acpi.pm1a_control, "ACPI has no S5");
	outw((uint16_t)acpi.pm1a_control, (uint16_t)(PM1_SLP_EN | (uint32_t)acpi.slp_typ_s5 << 10));
}

static void end_fadt(void)
{
	CHECK(acpi.has_reset && acpi.reset_port, "the FADT has no reset register");
	outb((uint16_t)acpi.reset_port, acpi.reset_value);
}

static void end_cf9(void)
{
	outb(0xcf9, 0x02);
	outb(0xcf9, 0x06);
}

static void end_i8042(void)
{
	outb(0x64, 0xfe);
}

static void end_triple(void)
{
	const struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) none = {0, 0};

	__asm__ volatile("lidt %0; ud2" : : "m"(none));
}

static void on_sci(struct trap_frame *frame)
{
	uint16_t port = (uint16_t)acpi.pm1a_event;

	(void)frame;
	if (inw(port) & PM1_PWRBTN) {
		outw(port, PM1_PWRBTN);
		pressed = true;
	}
	lapic_write(LAPIC_EOI, 0);
}

static void end_button(void)
{
	uint16_t port = (uint16_t)acpi.pm1a_event;

	CHECK(port, "ACPI has no PM1 event block");
	CHECK(inw((uint16_t)acpi.pm1a_control) & PM1_SCI_EN, "the machine is not in ACPI mode");
	lapic_enable();
	trap_set(VECTOR_SCI, on_sci);
	ioapic_set_entry(acpi.sci, IOAPIC_LEVEL | VECTOR_SCI);
	outw((uint16_t)(port + 2), PM1_PWRBTN);
	while (!pressed) {
		CHECK(inw((uint16_t)(port + 2)) == PM1_PWRBTN, "PM1 enable is %x",
		      inw((uint16_t)(port + 2)));
		guest_ok("waits for the power button");
		sti();
		spin(MOMENT);
		cli();
	}
	put("power button pressed\n");
	end_s5();
}

void guest_main(void)
{
	static const struct {
		const char *name;
		void (*end)(void);
	} way[] = {{"end=s5", end_s5},	       {"end=fadt", end_fadt},
		   {"end=cf9", end_cf9},       {"end=i8042", end_i8042},
		   {"end=triple", end_triple}, {"end=button", end_button}};

	irq_init();
	CHECK(acpi_parse(&acpi), "no FADT");
	while (option("hold") && !mailbox_take()) {
		guest_ok("");
		spin(MOMENT);
	}
	for (size_t i = 0; i < sizeof(way) / sizeof(*way); i++) {
		if (!option(way[i].name))
			continue;
		put("power now %s\n", way[i].name);
		way[i].end();
		spin(MOMENT * 300);
		guest_fail("still running after %s", way[i].name);
	}
	guest_fail("the command line names no end=");
}
