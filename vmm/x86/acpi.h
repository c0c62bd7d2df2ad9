/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/acpi.h - the ACPI tables at LAYOUT_ACPI_GPA: RSDP (first), XSDT, FADT, FACS, MADT and the DSDT of
 * dsdt.asl; with PCI MCFG and the SSDTs of pci.asl and pci64.asl; with S3 the SSDT of s3.asl.
 * Threads: main only, vCPUs paused.
 * Errors: 0 or -errno with one message. ACPI 6.4, chapter 5. */
#ifndef VMM_X86_ACPI_H
#define VMM_X86_ACPI_H
#include "ram/ram.h"
#include "vmm/arch.h"
#include "vmm/base/error.h"
#include <stdint.h>

/* pci: NULL if the machine has none. */
int acpi_write(const struct ram *ram, uint32_t nvcpus, const struct arch_pci_layout *pci, bool s3,
	       struct error *err) must_check;
/* GPA at which the guest wants to be entered in real mode after S3; 0: none that is possible. */
uint32_t acpi_waking_vector(const struct ram *ram);
#endif
