/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ACPI power management and the ports that ask for a reset. */
#include "devices/platform/platform.h"
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"

#define S 1000000000ull
enum { STATUS = PM1A_EVT_PORT, ENABLE = PM1A_EVT_PORT + 2, CONTROL = PM1A_CNT_PORT };

extern const struct device_ops pm_ops, i8042_ops;

static void start(void)
{
	rig_attach(&pm_ops);
	pm_ops.resume(rig.dev);
}

TEST(power_button)
{
	start();
	pm_notify(&rig.vm, PM_BUTTON);
	ck_assert(!rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0x100);
	rig_out(ENABLE, 2, 0x100);
	ck_assert(rig.line[PM_SCI_GSI]);
	rig_reload();
	ck_assert(rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(STATUS, 4), 0x01000100);
	rig_out(STATUS, 2, 0x20); /* another bit's acknowledge */
	ck_assert(rig.line[PM_SCI_GSI]);
	outb(STATUS + 1, 0x01);
	ck_assert(!rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0);
	pm_notify(&rig.vm, PM_BUTTON);
	ck_assert(rig.line[PM_SCI_GSI]);
	pm_ops.pause(rig.dev, UINT64_MAX, NULL);
	pm_ops.reset(rig.dev);
	ck_assert(!rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(ENABLE, 2), 0);
}

TEST(enable_bits)
{
	start();
	rig_out(ENABLE, 2, 0xffff);
	ck_assert_uint_eq(rig_in(ENABLE, 2), 0x0521); /* timer, global lock, button, RTC */
	outb(ENABLE, 0);
	ck_assert_uint_eq(rig_in(ENABLE, 2), 0x0500);
}

TEST(soft_off)
{
	start();
	ck_assert_uint_eq(rig_in(CONTROL, 2), 1); /* SCI_EN: there is no other mode */
	rig_out(CONTROL, 2, PM_SLP_TYP_S5 << 10);
	ck_assert_uint_eq(rig.requests, 0);
	ck_assert_uint_eq(rig_in(CONTROL, 2), 1 | PM_SLP_TYP_S5 << 10);
	rig_out(CONTROL, 2, PM_SLP_TYP_S3 << 10 | 1 << 13); /* no such sleep: s3=off */
	rig_out(CONTROL, 2, 2 << 10 | 1 << 13);
	ck_assert_uint_eq(rig.requests, 0);
	rig_out(CONTROL, 2, PM_SLP_TYP_S5 << 10 | 1 << 13);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_SHUTDOWN);
	ck_assert_uint_eq(rig_in(CONTROL, 2) & 1 << 13, 0);
}

TEST(sleep_and_wake)
{
	rig.opt.s3 = true;
	start();
	rig_out(ENABLE, 2, 0x0521);
	rig_out(CONTROL, 2, PM_SLP_TYP_S3 << 10 | 1 << 13);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_SUSPEND);
	ck_assert(!pm_notify(&rig.vm, PM_NOTHING));
	ck_assert_uint_eq(rig_in(STATUS, 2), 0);
	rig_reload();
	ck_assert(pm_notify(&rig.vm, PM_ALARM));
	rig_reload();
	ck_assert(pm_notify(&rig.vm, PM_NOTHING));
	ck_assert_uint_eq(rig_in(STATUS, 2), 0x0400);
	pm_notify(&rig.vm, PM_WOKEN);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0x8400); /* woken, by the RTC */
	ck_assert(rig.line[PM_SCI_GSI]);
	rig_reload();
	rig_out(STATUS, 2, 0x0400);
	ck_assert(!rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0x8000);
	rig_out(STATUS, 2, 0x8000);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0);
}

/* Rings or is pressed between the guest's last look and its sleep; what is not enabled wakes nobody. */
TEST(before_sleep)
{
	static const struct {
		enum pm_event what;
		uint32_t bit;
	} rows[] = {{PM_BUTTON, 0x0100}, {PM_ALARM, 0x0400}};

	start();
	for (uint32_t i = 0; i < 2; i++) {
		rig_out(ENABLE, 2, 0x0500 & ~rows[i].bit);
		ck_assert(!pm_notify(&rig.vm, rows[i].what));
		ck_assert(!rig.line[PM_SCI_GSI]);
		ck_assert(!pm_notify(&rig.vm, PM_NOTHING));
		rig_out(ENABLE, 2, rows[i].bit);
		ck_assert(rig.line[PM_SCI_GSI]);
		ck_assert(pm_notify(&rig.vm, PM_NOTHING));
		ck_assert_uint_eq(rig_in(STATUS, 2), rows[i].bit);
		rig_out(STATUS, 2, rows[i].bit);
		ck_assert(!rig.line[PM_SCI_GSI]);
	}
}

TEST(timer)
{
	uint32_t before;

	start();
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), 0);
	rig_advance(S);
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), PM_TIMER_HZ);
	rig_advance(999 * S);
	before = rig_in(PM_TIMER_PORT, 4);
	ck_assert_uint_eq(before, 3579545000u);
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 2), before & 0xffff);
	ck_assert_uint_eq(inb(PM_TIMER_PORT + 3), before >> 24);
	rig_out(PM_TIMER_PORT, 4, 0); /* read-only */
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), before);
	pm_ops.pause(rig.dev, UINT64_MAX, NULL);
	rig_advance(100 * S); /* guest time stands still */
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), before);
	pm_ops.pause(rig.dev, UINT64_MAX, NULL);
	rig.monotonic_ns = 5 * S; /* the host has a new kernel */
	rig_reload();
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), before);
	rig_advance(200 * S);
	ck_assert_uint_eq(rig_in(PM_TIMER_PORT, 4), (uint32_t)(1200ull * PM_TIMER_HZ));
}

TEST(timer_carry)
{
	uint64_t half_ns = (1ull << 31) * S / PM_TIMER_HZ + 1;

	start();
	rig_advance(half_ns - 1000);
	ck_assert_uint_eq(rig_in(STATUS, 2), 0);
	rig_advance(1000);
	ck_assert_uint_eq(rig_in(STATUS, 2), 1);
	ck_assert(!rig.line[PM_SCI_GSI]);
	rig_out(STATUS, 2, 1);
	rig_out(ENABLE, 2, 1);
	rig_advance(half_ns / 2);
	rig_reload();
	rig_advance(half_ns / 2 - 2000);
	ck_assert(!rig.line[PM_SCI_GSI]);
	rig_advance(4000);
	ck_assert(rig.line[PM_SCI_GSI]);
	ck_assert_uint_eq(rig_in(STATUS, 2), 1);
	rig_advance(10 * half_ns);
	ck_assert_uint_eq(rig.rises[PM_SCI_GSI], 1);
	rig_out(STATUS, 2, 1);
	ck_assert(!rig.line[PM_SCI_GSI]);
	rig_advance(half_ns);
	ck_assert(rig.line[PM_SCI_GSI]);
}

TEST(reset_port)
{
	start();
	outb(PM_RESET_PORT, 0x02);
	ck_assert_uint_eq(rig.requests, 0);
	rig_reload();
	ck_assert_uint_eq(inb(PM_RESET_PORT), 0x02);
	outb(PM_RESET_PORT, PM_RESET_VALUE);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_RESET);
}

TEST(keyboard_controller)
{
	int reads = 0;

	rig_attach(&i8042_ops);
	while (inb(0x64) & 0x01 && reads < 17) { /* Linux's flush: gives up after 16 */
		inb(0x60);
		reads++;
	}
	ck_assert_int_eq(reads, 17);
	ck_assert_uint_eq(inb(0x64) & 0x02, 0); /* Linux's wait before the reset */
	outb(0x64, 0xff);
	ck_assert_uint_eq(rig.requests, 0);
	outb(0x64, 0xfe);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_RESET);
	rig.requests = 0;
	outb(0x64, 0xd1);
	rig_reload();
	outb(0x60, 0x03);
	ck_assert_uint_eq(rig.requests, 0);
	outb(0x60, 0xfe); /* no data of a command any more */
	ck_assert_uint_eq(rig.requests, 0);
	outb(0x64, 0xd1);
	outb(0x60, 0xfe);
	ck_assert_uint_eq(rig.requests, VM_REQUEST_RESET);
}

UNIT_MAIN(rig_open, rig_close)
