/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The window for 64-bit BARs, where arch_pci_layout() gives one. */
DefinitionBlock ("pci64.aml", "SSDT", 2, "STASIS", "PCI64", 1)
{
	External (\_SB.PCI0, DeviceObj)
	Scope (\_SB.PCI0)
	{
		Name (HIGH, ResourceTemplate () {
			QWordMemory (ResourceProducer, PosDecode, MinFixed, MaxFixed,
				NonCacheable, ReadWrite,
				0, 0x8000000000, 0xFFFFFFFFFF, 0, 0x8000000000)
		})
	}
}
