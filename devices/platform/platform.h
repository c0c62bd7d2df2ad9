/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/platform/platform.h - what others know of the platform's devices: numbers on which the ACPI tables
 * agree with them, and what QMP asks of the serial port. */
#ifndef DEVICES_PLATFORM_PLATFORM_H
#define DEVICES_PLATFORM_PLATFORM_H
#include <stdbool.h>
#include <stdint.h>

struct chardev_info;
struct device;
struct vm;

/* --- pm.c: ACPI power management. ACPI 6.5, 4.8.3 "PM1 Event Grouping" to 4.8.3.3 "Power Management
 * Timer". The timer counts at PM_TIMER_HZ and is PM_TIMER_BITS wide (FADT: TMR_VAL_EXT). */
#define PM_BASE	       0x600
#define PM1A_EVT_PORT  (PM_BASE + 0x0) /* status, then enable, 2 bytes each */
#define PM1A_EVT_BYTES 4
#define PM1A_CNT_PORT  (PM_BASE + 0x4)
#define PM1A_CNT_BYTES 2
#define PM_TIMER_PORT  (PM_BASE + 0x8)
#define PM_TIMER_BYTES 4
#define PM_TIMER_HZ    3579545
#define PM_TIMER_BITS  32
#define PM_BYTES       0xc

#define PM_SCI_GSI    9 /* level triggered, active high */
#define PM_SLP_TYP_S3 1 /* unless --machine s3=off */
#define PM_SLP_TYP_S5 5

/* FADT: RESET_REG and RESET_VALUE. */
#define PM_RESET_PORT  0xcf9
#define PM_RESET_VALUE 0x06

enum pm_event {
	PM_NOTHING, /* only ask */
	PM_BUTTON,  /* pressed, or whatever stands for it */
	PM_ALARM,   /* the RTC's */
	PM_WOKEN,   /* the machine wakes up from S3 */
};
/* Latches the event in the PM1 status register. Returns true if an enabled wake event is pending. The
 * guest may run or sleep. Main thread. */
bool pm_notify(struct vm *vm, enum pm_event event);

/* --- rtc.c: the index in CMOS RAM of the century. ACPI 6.5, 5.2.9 "FADT", CENTURY. */
#define RTC_CENTURY 0x32

/* --- serial.c: fills info with the host end if i is 0; false: no more. With dev->lock held. */
bool serial_query(const struct device *dev, uint32_t i, struct chardev_info *info);
#endif
