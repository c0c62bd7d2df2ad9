// SPDX-License-Identifier: GPL-2.0-or-later
/* The CMOS clock's time, line by line; alarm registers, register B and a byte of its RAM hold patterns. */
#include "rt.h"

#define INDEX		     0x70
#define DATA		     0x71
#define SECONDS		     0
#define SECONDS_ALARM	     1
#define MINUTES		     2
#define MINUTES_ALARM	     3
#define HOURS		     4
#define HOURS_ALARM	     5
#define DAY		     7
#define MONTH		     8
#define YEAR		     9
#define REG_A		     0xa
#define REG_B		     0xb
#define RAM_BYTE	     0x35
#define A_UPDATE_IN_PROGRESS 0x80
#define B_24H		     0x02
#define B_BINARY	     0x04

const char guest_name[] = "rtc";

static uint64_t number(uint8_t reg)
{
	uint8_t value = cmos(reg);

	return cmos(REG_B) & B_BINARY ? value : (value >> 4) * 10u + (value & 15u);
}

static void put_two(uint64_t n)
{
	put("%lu%lu", n / 10, n % 10);
}

/* Read again until two readings agree: the clock may step between two registers. */
static void put_time(void)
{
	static const uint8_t reg[6] = {YEAR, MONTH, DAY, HOURS, MINUTES, SECONDS};
	uint64_t now[6], again[6];

	do {
		for (int i = 0; i < 6; i++)
			now[i] = number(reg[i]);
		for (int i = 0; i < 6; i++)
			again[i] = number(reg[i]);
	} while (cmos(REG_A) & A_UPDATE_IN_PROGRESS || memcmp(now, again, sizeof(now)));
	put("rtc time 20");
	for (int i = 0; i < 6; i++) {
		put_two(now[i]);
		put("%c", "-- ::\n"[i]);
	}
}

void guest_main(void)
{
	static const struct {
		uint8_t reg, value;
	} pattern[] = {{SECONDS_ALARM, 0x21},
		       {MINUTES_ALARM, 0x43},
		       {HOURS_ALARM, 0x11},
		       {RAM_BYTE, 0x5a}};
	uint8_t reg_b;

	irq_init();
	set_cmos(REG_B, cmos(REG_B) | B_24H);
	reg_b = cmos(REG_B);
	for (unsigned int i = 0; i < 4; i++)
		set_cmos(pattern[i].reg, pattern[i].value);
	for (;;) {
		put_time();
		for (unsigned int i = 0; i < 4; i++)
			CHECK(cmos(pattern[i].reg) == pattern[i].value, "register %x is %x, not %x",
			      pattern[i].reg, cmos(pattern[i].reg), pattern[i].value);
		CHECK(cmos(REG_B) == reg_b, "register b is %x, not %x", cmos(REG_B), reg_b);
		/* the index register is state too: what was selected stays so across a save in between */
		outb(INDEX, RAM_BYTE);
		spin(MOMENT * 5);
		CHECK(inb(DATA) == 0x5a, "the index register lost its value");
		shared.counter++;
		guest_ok("");
	}
}
