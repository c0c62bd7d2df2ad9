/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest cannot find by itself: legacy devices, their ports and IRQs, and how to switch
 * the power off. CPUs are in the MADT. The power button is the fixed one (PM1 status register).
 * Numbers as in devices/platform/platform.h, devices/platform/serial.c and devices/platform/rtc.c. */
DefinitionBlock ("dsdt.aml", "DSDT", 2, "STASIS", "STASIS", 1)
{
	/* ACPI 6.4, 7.4.2.6: SLP_TYPa and SLP_TYPb of soft-off; PM_SLP_TYP_S5. */
	Name (\_S5, Package () { 5, 5, 0, 0 })

	Scope (\_SB)
	{
		/* Ports of the PM registers, so that nobody else is put there. */
		Device (PMR)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 0)
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, 0x0600, 0x0600, 0x01, 0x0C)
			})
		}

		/* 16550A at COM1. */
		Device (COM1)
		{
			Name (_HID, EisaId ("PNP0501"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, 0x03F8, 0x03F8, 0x01, 0x08)
				IRQNoFlags () { 4 }
			})
		}

		/* MC146818. */
		Device (RTC)
		{
			Name (_HID, EisaId ("PNP0B00"))
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, 0x0070, 0x0070, 0x01, 0x02)
				IRQNoFlags () { 8 }
			})
		}

		/* pvpanic: the guest says that it has crashed. */
		Device (PEVT)
		{
			Name (_HID, "QEMU0001")
			Name (_CRS, ResourceTemplate () {
				IO (Decode16, 0x0505, 0x0505, 0x01, 0x01)
			})
		}
	}
}
