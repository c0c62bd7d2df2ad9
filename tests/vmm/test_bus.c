/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Buses find the region of an access; nothing answers outside of one. */
#include "tests/rig/unit.h"
#include "vmm/bus.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct bus bus;
static struct error err;
static struct {
	uint64_t offset, value;
	uint32_t size;
	const char *who;
} last;

static uint64_t read_one(void *opaque, uint64_t offset, uint32_t size)
{
	/* Held by the bus: a second lock from here would not be had. */
	ck_assert_int_eq(pthread_mutex_trylock(&lock), EBUSY);
	last.who = opaque;
	last.offset = offset;
	last.size = size;
	return 0x1122334455667788;
}

static void write_one(void *opaque, uint64_t offset, uint32_t size, uint64_t value)
{
	last.who = opaque;
	last.offset = offset;
	last.size = size;
	last.value = value;
}

static const struct bus_ops ops = {.read = read_one, .write = write_one};

static int add(uint64_t base, uint64_t size, const char *name)
{
	const struct bus_region region = {base, size, &ops, (void *)(uintptr_t)name, &lock, name};

	return bus_add(&bus, BUS_PIO, &region, &err);
}

static void setup(void)
{
	memset(&bus, 0, sizeof(bus));
	memset(&last, 0, sizeof(last));
}

TEST(finds)
{
	uint8_t data[8] = {0};

	ck_assert_int_eq(add(0x3f8, 8, "b"), 0);
	ck_assert_int_eq(add(0x60, 1, "a"), 0);
	ck_assert_int_eq(add(0x600, 16, "c"), 0);
	ck_assert_int_eq(add(0x400, 0x200, "between"), 0);
	bus_access(&bus, BUS_PIO, 0x3ff, data, 1, false);
	ck_assert_str_eq(last.who, "b");
	ck_assert_uint_eq(last.offset, 7);
	ck_assert_mem_eq(data, ((uint8_t[]){0x88, 0, 0, 0, 0, 0, 0, 0}), 8);
	bus_access(&bus, BUS_PIO, 0x60f, data, 1, false);
	ck_assert_str_eq(last.who, "c");
	bus_access(&bus, BUS_PIO, 0x600, data, 4, false);
	ck_assert_mem_eq(data, ((uint8_t[]){0x88, 0x77, 0x66, 0x55}), 4);
	memcpy(data, (uint8_t[]){1, 2, 3, 4}, 4);
	bus_access(&bus, BUS_PIO, 0x604, data, 2, true);
	ck_assert_uint_eq(last.value, 0x0201);
	ck_assert_uint_eq(last.offset, 4);
}

TEST(nothing_there)
{
	uint8_t data[8];

	ck_assert_int_eq(add(0x60, 2, "a"), 0);
	/* Before, behind, across the end, on the other bus. */
	static const struct {
		uint64_t addr;
		uint32_t size;
		enum bus_space space;
	} miss[] = {{0x5f, 1, BUS_PIO},
		    {0x62, 1, BUS_PIO},
		    {0x61, 2, BUS_PIO},
		    {0x60, 1, BUS_MMIO},
		    {UINT64_MAX, 8, BUS_MMIO}};

	for (size_t i = 0; i < ARRAY_SIZE(miss); i++) {
		memset(data, 0, sizeof(data));
		bus_access(&bus, miss[i].space, miss[i].addr, data, miss[i].size, false);
		for (uint32_t n = 0; n < miss[i].size; n++)
			ck_assert_uint_eq(data[n], 0xff);
		bus_access(&bus, miss[i].space, miss[i].addr, data, miss[i].size, true);
	}
	ck_assert_ptr_null(last.who);
}

/* A register of 4 bytes whose second byte is another's. */
TEST(one_width)
{
	static const struct bus_ops wide = {.width = 4, .read = read_one, .write = write_one};
	const struct bus_region region = {0xcf8, 1, &wide, "wide", &lock, "wide"};
	uint8_t data[4];

	ck_assert_int_eq(bus_add(&bus, BUS_PIO, &region, &err), 0);
	ck_assert_int_eq(add(0xcf9, 1, "narrow"), 0);
	bus_access(&bus, BUS_PIO, 0xcf8, data, 4, false);
	ck_assert_str_eq(last.who, "wide");
	ck_assert_mem_eq(data, ((uint8_t[]){0x88, 0x77, 0x66, 0x55}), 4);
	bus_access(&bus, BUS_PIO, 0xcf9, data, 1, true);
	ck_assert_str_eq(last.who, "narrow");
	last.who = NULL;
	for (uint32_t size = 1; size <= 8; size *= 2)
		if (size != 4)
			bus_access(&bus, BUS_PIO, 0xcf8, (uint8_t[8]){0}, size, true);
	bus_access(&bus, BUS_PIO, 0xcf9, data, 4, true);
	ck_assert_ptr_null(last.who);
}

TEST(overlap)
{
	ck_assert_int_eq(add(0x60, 4, "first"), 0);
	ck_assert_int_eq(add(0x64, 4, "second"), 0);
	ck_assert_int_eq(add(0x5f, 2, "third"), -EBUSY);
	ck_assert(strstr(err.msg, "third") && strstr(err.msg, "first"));
	ck_assert_int_eq(add(0x67, 1, "third"), -EBUSY);
	ck_assert(strstr(err.msg, "second"));
	ck_assert_int_eq(add(0x68, 1, "third"), 0);
}

/* What one device has, on both buses. */
TEST(del_all)
{
	static pthread_mutex_t others = PTHREAD_MUTEX_INITIALIZER;
	const struct bus_region region = {0x62, 1, &ops, NULL, &others, "other"};
	const struct bus_region mmio = {0x1000, 8, &ops, NULL, &lock, "mmio"};

	ck_assert_int_eq(add(0x60, 1, "first"), 0);
	ck_assert_int_eq(bus_add(&bus, BUS_PIO, &region, &err), 0);
	ck_assert_int_eq(add(0x64, 4, "second"), 0);
	ck_assert_int_eq(bus_add(&bus, BUS_MMIO, &mmio, &err), 0);
	bus_del_all(&bus, &lock);
	ck_assert_uint_eq(bus.nregions[BUS_MMIO], 0);
	ck_assert_uint_eq(bus.nregions[BUS_PIO], 1);
	ck_assert_str_eq(bus.region[BUS_PIO][0].name, "other");
}

UNIT_MAIN(setup, NULL)
