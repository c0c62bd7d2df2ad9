/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/layout.h - every guest physical address that the VMM chooses. Ports and IRQs of devices are in their
 * headers.
 * Units: GPAs and bytes. ACPI 6.4, 15 "System Address Map Interfaces". */
#ifndef VMM_X86_LAYOUT_H
#define VMM_X86_LAYOUT_H

/* Below 640 KiB: structures that the kernel reads once at its entry; ordinary RAM afterwards. */
#define LAYOUT_GDT_GPA	       0x500UL
#define LAYOUT_START_INFO_GPA  0x6000UL /* PVH: hvm_start_info, module list, memory map */
#define LAYOUT_BOOT_PARAMS_GPA 0x7000UL /* bzImage: the "zero page" */
#define LAYOUT_BOOT_STACK_GPA  0x8ff0UL /* grows down; neither protocol requires a stack */
#define LAYOUT_PAGE_TABLES_GPA 0x9000UL /* PML4, PDPT and four page directories: 4 GiB */
#define LAYOUT_CMDLINE_GPA     0x20000UL
#define LAYOUT_CMDLINE_BYTES   0x10000UL

/* 640 KiB to 1 MiB. */
#define LAYOUT_EBDA_GPA	      0x9fc00UL
#define LAYOUT_VGA_GPA	      0xa0000UL
#define LAYOUT_BIOS_GPA	      0xe0000UL /* where the RSDP is searched: ACPI 6.4, 5.2.5.1 */
#define LAYOUT_ACPI_GPA	      LAYOUT_BIOS_GPA
#define LAYOUT_ACPI_BYTES     0x10000UL
#define LAYOUT_KERNEL_MIN_GPA 0x100000UL /* neither kernel nor initrd is lower */

/* RAM: from 0 to the PCI hole, and the rest from 4 GiB. The hole has room for ECAM and 32-bit BARs below the
 * interrupt controllers. */
#define LAYOUT_LOW_RAM_END_GPA 0xc0000000UL
#define LAYOUT_HIGH_RAM_GPA    0x100000000UL
#define LAYOUT_PCI_ECAM_GPA    0xc0000000UL
#define LAYOUT_PCI_ECAM_BYTES  0x100000UL /* bus 0 alone */
#define LAYOUT_PCI_MMIO32_GPA  0xd0000000UL
#define LAYOUT_IOAPIC_GPA      0xfec00000UL
#define LAYOUT_LAPIC_GPA       0xfee00000UL
#define LAYOUT_PCI_PIO_PORT    0xc000UL /* ports; all above are I/O BARs' */
#define LAYOUT_PCI_PIO_BYTES   0x4000UL
/* KVM_SET_IDENTITY_MAP_ADDR takes one page, KVM_SET_TSS_ADDR three: only Intel CPUs without
 * unrestricted guests use them. */
#define LAYOUT_IDENTITY_MAP_GPA 0xfffbc000UL
#define LAYOUT_TSS_GPA		0xfffbd000UL
#define LAYOUT_KVM_END_GPA	0xfffc0000UL
#endif
