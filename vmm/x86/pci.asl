/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI, for machines that have it. Numbers as in x86.h, arch_pci_layout() and pci.c. */
DefinitionBlock ("pci.aml", "SSDT", 2, "STASIS", "PCI", 1)
{
	Scope (\_SB)
	{
		Device (PCI0)
		{
			Name (_HID, EisaId ("PNP0A08"))
			Name (_CID, EisaId ("PNP0A03"))
			Name (_UID, 0)
			Name (_SEG, 0)
			Name (_BBN, 0)
			Name (LOW, ResourceTemplate () {
				WordBusNumber (ResourceProducer, MinFixed, MaxFixed, PosDecode,
					0, 0, 0, 0, 1)
				IO (Decode16, 0x0CF8, 0x0CF8, 0x01, 0x08)
				WordIO (ResourceProducer, MinFixed, MaxFixed, PosDecode, EntireRange,
					0, 0xC000, 0xFFFF, 0, 0x4000)
				DWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
					NonCacheable, ReadWrite,
					0, 0xD0000000, 0xFEBFFFFF, 0, 0x2EC00000)
			})

			/* HIGH is in pci64.asl: not every host has room there. */
			External (HIGH, BuffObj)
			Method (_CRS, 0, Serialized)
			{
				If (CondRefOf (HIGH))
				{
					Return (ConcatenateResTemplate (LOW, HIGH))
				}
				Return (LOW)
			}

			/* Pin A of slot n is on GSI 16 + n % 8, and so are the other pins, which no
			 * function has. An entry without a link device is level-triggered and active low
			 * to an OS, as on the PCI bus; KVM's lines have no polarity (since Linux 3.15). */
			Method (_PRT, 0, Serialized)
			{
				Local0 = Package (128) {}
				For (Local1 = 0, Local1 < 128, Local1++)
				{
					Local2 = Package (4) { 0, 0, 0, 0 }
					Local2[0] = ((Local1 >> 2) << 16) | 0xFFFF
					Local2[1] = Local1 & 3
					Local2[3] = 16 + ((Local1 >> 2) & 7)
					Local0[Local1] = Local2
				}
				Return (Local0)
			}
		}

		/* Config space (ECAM) is behind no bridge: PCI Firmware 3.2, 4.1.2. */
		Device (ECAM)
		{
			Name (_HID, EisaId ("PNP0C02"))
			Name (_UID, 1)
			Name (_CRS, ResourceTemplate () {
				Memory32Fixed (ReadWrite, 0xC0000000, 0x00100000)
			})
		}
	}
}
