/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The real-time clock against a host clock that the test moves. It starts at a whole second. */
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"
#include <string.h>
#include <time.h>

#define GSI  8
#define MS   1000000ull
#define S    1000000000ull
#define HOUR (3600 * S)
#define B_24 0x02

extern const struct device_ops rtc_ops;

static uint8_t get(uint8_t index)
{
	outb(0x70, index);
	return inb(0x71);
}

/* Little endian, as a BIOS leaves its numbers. */
static uint32_t get_wide(uint8_t index, uint8_t bytes)
{
	uint32_t value = 0;

	for (uint8_t i = 0; i < bytes; i++)
		value |= (uint32_t)get((uint8_t)(index + i)) << (8 * i);
	return value;
}

static void put(uint8_t index, uint8_t value)
{
	outb(0x70, index);
	outb(0x71, value);
}

static void start(void)
{
	rig_attach(&rtc_ops);
	rtc_ops.resume(rig.dev);
}

static void check_bytes(const uint8_t want[8])
{
	static const uint8_t index[8] = {0x32, 0x09, 0x08, 0x07, 0x06, 0x04, 0x02, 0x00};

	/* Not ck_assert(): each one costs a message to the runner, and there are millions. */
	for (int i = 0; i < 8; i++)
		if (get(index[i]) != want[i])
			ck_abort_msg("register %#x: %#x, not %#x", index[i], get(index[i]),
				     want[i]);
}

/* Century to second without the weekday, as Linux sets a clock. */
static void set_time(const uint8_t bytes[7])
{
	static const uint8_t index[7] = {0x32, 0x09, 0x08, 0x07, 0x04, 0x02, 0x00};

	put(0x0b, get(0x0b) | 0x80);
	for (int i = 0; i < 7; i++)
		put(index[i], bytes[i]);
	put(0x0b, get(0x0b) & 0x7f);
}

TEST(shows_host_time)
{
	start();
	ck_assert_uint_eq(inb(0x70), 0xff);
	ck_assert_uint_eq(get(0x0a), 0x26);
	ck_assert_uint_eq(get(0x0b), B_24);
	ck_assert_uint_eq(get(0x0d), 0x80);
	check_bytes((uint8_t[]){0x20, 0x23, 0x11, 0x14, 0x03, 0x22, 0x13, 0x20});
	rig_advance(41 * S);
	check_bytes((uint8_t[]){0x20, 0x23, 0x11, 0x14, 0x03, 0x22, 0x14, 0x01});
	ck_assert_uint_eq(get(0x80), 0x01); /* the NMI bit is no part of the index */
}

TEST(modes)
{
	start();
	put(0x0b, 0x06); /* binary, 24 h */
	check_bytes((uint8_t[]){20, 23, 11, 14, 3, 22, 13, 20});
	put(0x0b, 0x04); /* binary, 12 h */
	check_bytes((uint8_t[]){20, 23, 11, 14, 3, 0x80 | 10, 13, 20});
	put(0x0b, 0x00); /* BCD, 12 h */
	check_bytes((uint8_t[]){0x20, 0x23, 0x11, 0x14, 0x03, 0x90, 0x13, 0x20});
	rig_advance(2 * HOUR); /* 00:13:20: twelve in the morning */
	check_bytes((uint8_t[]){0x20, 0x23, 0x11, 0x15, 0x04, 0x12, 0x13, 0x20});
	rig_advance(12 * HOUR);
	ck_assert_uint_eq(get(0x04), 0x92);
	rig_advance(HOUR);
	ck_assert_uint_eq(get(0x04), 0x81);
	set_time((uint8_t[]){0x20, 0x24, 0x02, 0x28, 0x92, 0x59, 0x59}); /* 12:59:59 pm */
	put(0x0b, B_24);
	check_bytes((uint8_t[]){0x20, 0x24, 0x02, 0x28, 0x04, 0x12, 0x59, 0x59});
}

/* Every day of 500 years against the C library. */
TEST(calendar)
{
	start();
	put(0x0b, 0x06);
	rig.realtime_ns = 0;
	for (int64_t day = 0; day < INT64_C(500) * 365; day++) {
		time_t t = day * 86400;
		struct tm tm;

		gmtime_r(&t, &tm);
		set_time((uint8_t[]){(uint8_t)((tm.tm_year + 1900) / 100),
				     (uint8_t)(tm.tm_year % 100), (uint8_t)(tm.tm_mon + 1),
				     (uint8_t)tm.tm_mday, 0, 0, 0});
		check_bytes((uint8_t[]){(uint8_t)((tm.tm_year + 1900) / 100),
					(uint8_t)(tm.tm_year % 100), (uint8_t)(tm.tm_mon + 1),
					(uint8_t)tm.tm_mday, (uint8_t)(tm.tm_wday + 1), 0, 0, 0});
	}
}

TEST(guest_sets_time)
{
	start();
	rig_advance(300 * MS);
	set_time((uint8_t[]){0x19, 0x99, 0x12, 0x31, 0x23, 0x59, 0x59});
	check_bytes((uint8_t[]){0x19, 0x99, 0x12, 0x31, 0x06, 0x23, 0x59, 0x59});
	rig_advance(699 * MS); /* SET keeps the phase of the second */
	ck_assert_uint_eq(get(0x00), 0x59);
	rig_advance(1 * MS);
	check_bytes((uint8_t[]){0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x00, 0x00});
	rig_reload(); /* the guest's offset goes along, the host's clock went on */
	rig_advance(60 * S);
	check_bytes((uint8_t[]){0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x01, 0x00});
	rtc_ops.reset(rig.dev); /* a battery keeps the clock over a reset */
	check_bytes((uint8_t[]){0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x01, 0x00});
	put(0x02, 0x30); /* without SET a byte counts at once */
	check_bytes((uint8_t[]){0x20, 0x00, 0x01, 0x01, 0x07, 0x00, 0x30, 0x00});
}

TEST(held_clock)
{
	start();
	rig_advance(300 * MS);
	put(0x0b, B_24 | 0x80);
	rig_advance(5 * S);
	ck_assert_uint_eq(get(0x00), 0x20); /* SET holds what is shown */
	rig_advance(690 * MS + 9900000);
	ck_assert_uint_eq(get(0x0a) & 0x80, 0);
	put(0x0a, 0x76); /* the divider in reset, as Linux does */
	put(0x0b, B_24);
	rig_advance(5 * S);
	ck_assert_uint_eq(get(0x00), 0x20);
	put(0x0a, 0x26); /* the first update comes half a second later */
	rig_advance(499 * MS);
	ck_assert_uint_eq(get(0x00), 0x20);
	rig_advance(1 * MS);
	ck_assert_uint_eq(get(0x00), 0x21);
}

TEST(update_in_progress)
{
	start();
	ck_assert_uint_eq(get(0x0a), 0x26);
	rig_advance(999 * MS);
	ck_assert_uint_eq(get(0x0a), 0x26);
	rig_advance(800000);
	ck_assert_uint_eq(get(0x0a), 0xa6);
	rig_advance(200000);
	ck_assert_uint_eq(get(0x0a), 0x26);
	put(0x0a, 0xa6); /* cannot be written */
	ck_assert_uint_eq(get(0x0a), 0x26);
}

TEST(update_ended)
{
	start();
	rig_advance(S);
	ck_assert(!rig.line[GSI]);
	ck_assert_uint_eq(get(0x0c) & 0x90, 0x10); /* the flag alone: no interrupt is enabled */
	ck_assert_uint_eq(get(0x0c), 0);
	put(0x0b, B_24 | 0x10);
	rig_advance(999 * MS);
	ck_assert(!rig.line[GSI]);
	rig_advance(1 * MS);
	ck_assert(rig.line[GSI]);
	rig_advance(10 * S);
	ck_assert_uint_eq(rig.rises[GSI], 1); /* nothing new before it is acknowledged */
	ck_assert_uint_eq(get(0x0c) & 0x90, 0x90);
	ck_assert(!rig.line[GSI]);
	rig_advance(S);
	ck_assert_uint_eq(rig.rises[GSI], 2);
	put(0x0b, B_24 | 0x90); /* SET clears the enable bit */
	ck_assert_uint_eq(get(0x0b), B_24 | 0x80);
	ck_assert(!rig.line[GSI]);
}

TEST(alarm_at_time)
{
	start();
	put(0x05, 0x22);
	put(0x03, 0x13);
	put(0x01, 0x25);
	put(0x0b, B_24 | 0x20);
	rig_advance(4999 * MS);
	ck_assert(!rig.line[GSI] && !rig.requests);
	rig_advance(1 * MS);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_ALARM);
	rig.requests = rig.rises[GSI] = 0;
	rtc_ops.pause(rig.dev, UINT64_MAX, NULL);
	rig_reload();
	ck_assert(rig.line[GSI] && !rig.requests); /* rings on */
	ck_assert_uint_eq(get(0x0c) & 0xa0, 0xa0);
	rig_advance(86399 * S);
	ck_assert(!rig.line[GSI]);
	rig_advance(S);
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_ALARM);
	ck_assert_uint_eq(rig.rises[GSI], 2);
}

TEST(alarm_any)
{
	start();
	put(0x05, 0xff);
	put(0x03, 0xc0);
	put(0x01, 0x00); /* each full minute */
	put(0x0b, B_24 | 0x20);
	for (uint32_t i = 1; i <= 3; i++) {
		rig_advance(60 * S);
		ck_assert_uint_eq(rig.rises[GSI], i);
		get(0x0c);
	}
	put(0x01, 0xff); /* each second */
	rig_advance(S);
	ck_assert(rig.line[GSI]);
	get(0x0c);
	put(0x01, 0x75); /* no such second */
	rig_advance(86400 * S);
	ck_assert(!rig.line[GSI]);
	put(0x0b, 0x20); /* 12 h */
	put(0x01, 0x00);
	put(0x03, 0x00);
	put(0x05, 0x91); /* 11 pm, and it is 22:16:21 */
	rig_advance((43 * 60 + 38) * S);
	ck_assert(!rig.line[GSI]);
	rig_advance(S);
	ck_assert(rig.line[GSI]);
	get(0x0c);
	put(0x05, 0x13); /* no such hour */
	rig_advance(86400 * S);
	ck_assert(!rig.line[GSI]);
}

TEST(alarm_in_the_downtime)
{
	start();
	put(0x05, 0x22);
	put(0x03, 0x13);
	put(0x01, 0x25);
	put(0x0b, B_24 | 0x20);
	rtc_ops.pause(rig.dev, UINT64_MAX, NULL);
	rig_advance(30 * S);
	ck_assert(!rig.line[GSI] && !rig.requests);
	rig_reload();
	ck_assert(rig.line[GSI]);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_ALARM);
	ck_assert_uint_eq(get(0x0c) & 0xa0, 0xa0);
	rig_reload();
	ck_assert(!rig.line[GSI]); /* once */
	check_bytes((uint8_t[]){0x20, 0x23, 0x11, 0x14, 0x03, 0x22, 0x13, 0x50});
}

TEST(host_clock_set_back)
{
	start();
	put(0x0b, B_24 | 0x10);
	rig.realtime_ns -= 3600 * S;
	get(0x0c);
	rig_advance(S);
	ck_assert(rig.line[GSI]);
	get(0x0c);
	ck_assert_uint_eq(get(0x04), 0x21);
	rig_advance(S);
	ck_assert(rig.line[GSI]);
}

TEST(periodic)
{
	start();
	put(0x0b, B_24 | 0x40); /* 1024 Hz */
	for (uint32_t i = 1; i <= 100; i++) {
		rig_advance(i == 1 ? 976563 : 976562 + (i & 1));
		ck_assert_uint_eq(rig.rises[GSI], i);
		ck_assert_uint_eq(get(0x0c) & 0xc0, 0xc0);
	}
	put(0x0a, 0x2f); /* 2 Hz */
	get(0x0c);
	for (uint32_t i = 0; i < 4; i++)
		rig_advance(500 * MS), get(0x0c);
	ck_assert_uint_eq(rig.rises[GSI], 104);
	put(0x0a, 0x21); /* 256 Hz: rates 1 and 2 are slow ones */
	rig_advance(4 * MS);
	ck_assert_uint_eq(rig.rises[GSI], 105);
	rig_advance(10 * S);
	ck_assert_uint_eq(rig.rises[GSI], 105);
	get(0x0c);
	put(0x0a, 0x20); /* off */
	rig_advance(10 * S);
	ck_assert_uint_eq(rig.rises[GSI], 105);
}

TEST(memory_size)
{
	rig.vm.ram.nregions = 2;
	rig.vm.ram.region[0] = (struct ram_region){0, 3ull << 30, NULL};
	rig.vm.ram.region[1] = (struct ram_region){4ull << 30, 5ull << 30, NULL};
	start();
	ck_assert_uint_eq(get_wide(0x15, 2), 640);
	ck_assert_uint_eq(get_wide(0x17, 2), 0xffff);
	ck_assert_uint_eq(get_wide(0x30, 2), 0xffff);
	ck_assert_uint_eq(get_wide(0x34, 2), 3056 << 4);
	ck_assert_uint_eq(get_wide(0x5b, 3), 5 << 14);
	rig.vm.ram.nregions = 1;
	rig.vm.ram.region[0].size_bytes = 8 << 20;
	rtc_ops.reset(rig.dev);
	ck_assert_uint_eq(get_wide(0x17, 2), 7168);
	ck_assert_uint_eq(get_wide(0x34, 2), 0);
	ck_assert_uint_eq(get_wide(0x5b, 3), 0);
	put(0x40, 0x77); /* CMOS RAM */
	rig_reload();
	ck_assert_uint_eq(get(0x40), 0x77);
}

/* Whatever a guest writes, its clock stays one that can be saved and loaded. */
TEST(garbage)
{
	uint32_t random = 12345;

	start();
	for (int i = 0; i < 20000; i++) {
		random = random * 1664525 + 1013904223;
		put((uint8_t)(random >> 8) & 0x3f, (uint8_t)(random >> 16));
		if (random >> 31)
			rig_in(0x70, 2);
		ck_assert_int_eq(state_check(rtc_ops.state, device_state(rig.dev), NULL), 0);
	}
	rig_reload();
}

UNIT_MAIN(rig_open, rig_close)
