/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/platform/rtc.h - the real-time clock: what device and ACPI tables must agree on.
 * Owns: nothing.
 * Threads: any.
 * Units: index of a byte in CMOS RAM.
 * Errors: none. ACPI 6.5, 5.2.9 "FADT", CENTURY. */
#ifndef DEVICES_PLATFORM_RTC_H
#define DEVICES_PLATFORM_RTC_H

#define RTC_CENTURY 0x32

#endif
