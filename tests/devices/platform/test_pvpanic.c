/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What a guest's kernel that panics writes, and what is told of it. */
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"

#define PORT 0x505
enum { PANICKED = 1, CRASHLOADED = 2 };

extern const struct device_ops pvpanic_ops;

TEST(panic)
{
	rig_attach(&pvpanic_ops);
	ck_assert_uint_eq(inb(PORT), PANICKED | CRASHLOADED);
	outb(PORT, 0);
	outb(PORT, 0xfc); /* events that it does not have */
	ck_assert_uint_eq(rig.nevents, 0);
	outb(PORT, PANICKED);
	ck_assert_uint_eq(rig.nevents, 1);
	ck_assert_int_eq(rig.event.type, VM_EVENT_GUEST_PANICKED);
	ck_assert_str_eq(rig.event.reason, "run");
	outb(PORT, PANICKED);
	ck_assert_uint_eq(rig.nevents, 1);
	outb(PORT, PANICKED | CRASHLOADED);
	ck_assert_uint_eq(rig.nevents, 2);
	ck_assert_int_eq(rig.event.type, VM_EVENT_GUEST_CRASHLOADED);
}

TEST(told_once_across_a_load)
{
	rig_attach(&pvpanic_ops);
	outb(PORT, PANICKED);
	rig_reload();
	outb(PORT, PANICKED);
	ck_assert_uint_eq(rig.nevents, 1);
	rig.dev->ops->reset(rig.dev);
	outb(PORT, PANICKED);
	ck_assert_uint_eq(rig.nevents, 2);
}

TEST(hostile_state)
{
	const uint8_t good = 3, bad = 4;

	ck_assert_ptr_null(pvpanic_ops.state->check(&good));
	ck_assert_ptr_nonnull(pvpanic_ops.state->check(&bad));
}

UNIT_MAIN(rig_open, rig_close)
