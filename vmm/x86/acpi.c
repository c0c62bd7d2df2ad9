/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/x86/x86.h"
#include "devices/platform/platform.h"
#include "vmm/base/bytes.h"
#include "vmm/options.h"
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <string.h>

/* Made from the .asl files by iasl -tc: unsigned char dsdt_aml_code[] and so on. */
#include "dsdt.hex"
#include "pci.hex"
#include "pci64.hex"
#include "s3.hex"

#define PACKED __attribute__((packed))

struct header { /* 5.2.6 "System Description Table Header" */
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision;
	char creator_id[4];
	uint32_t creator_revision;
} PACKED;

struct rsdp { /* 5.2.5.3 "Root System Description Pointer" */
	char signature[8];
	uint8_t checksum; /* of the first 20 bytes */
	char oem_id[6];
	uint8_t revision;
	uint32_t rsdt;
	uint32_t length;
	uint64_t xsdt;
	uint8_t extended_checksum;
	uint8_t reserved[3];
} PACKED;

struct gas { /* 5.2.3.2 "Generic Address Structure" */
	uint8_t space, bits, bit_offset, access;
	uint64_t address;
} PACKED;
#define GAS_SYSTEM_IO 1
enum gas_access { GAS_BYTE = 1, GAS_WORD, GAS_DWORD };

struct fadt { /* 5.2.9 "Fixed ACPI Description Table" */
	struct header header;
	uint32_t facs, dsdt;
	uint8_t reserved, pm_profile;
	uint16_t sci;
	uint32_t smi_cmd;
	uint8_t acpi_enable, acpi_disable, s4bios_req, pstate_cnt;
	uint32_t pm1a_evt, pm1b_evt, pm1a_cnt, pm1b_cnt, pm2_cnt, pm_timer, gpe0, gpe1;
	uint8_t pm1_evt_len, pm1_cnt_len, pm2_cnt_len, pm_timer_len, gpe0_len, gpe1_len, gpe1_base;
	uint8_t cst_cnt;
	uint16_t c2_latency, c3_latency, flush_size, flush_stride;
	uint8_t duty_offset, duty_width, day_alarm, month_alarm, century;
	uint16_t boot_arch;
	uint8_t reserved2;
	uint32_t flags;
	struct gas reset;
	uint8_t reset_value;
	uint16_t arm_boot_arch;
	uint8_t minor_version;
	uint64_t x_facs, x_dsdt;
	struct gas x_pm1a_evt, x_pm1b_evt, x_pm1a_cnt, x_pm1b_cnt, x_pm2_cnt, x_pm_timer, x_gpe0,
		x_gpe1, sleep_control, sleep_status;
	uint64_t hypervisor_id;
} PACKED;
_Static_assert(sizeof(struct fadt) == 276, "FADT of ACPI 6");

/* 5.2.9.3 "IA-PC Boot Architecture Flags" */
#define BOOT_ARCH_LEGACY_DEVICES (1 << 0) /* and not bit 1, 8042: port 0x64 can only reset */
#define BOOT_ARCH_NO_VGA	 (1 << 2)
#define BOOT_ARCH_NO_ASPM	 (1 << 4)
/* Table 5.10 "Fixed ACPI Description Table Fixed Feature Flags". Bits 4 and 6 clear: power button and
 * RTC alarm are in PM1. */
#define FADT_WBINVD	 (1U << 0)
#define FADT_PROC_C1	 (1U << 2)
#define FADT_SLP_BUTTON	 (1U << 5) /* no fixed sleep button */
#define FADT_TMR_VAL_EXT (1U << 8) /* the PM timer has 32 bits */
#define FADT_RESET_REG	 (1U << 10)
#define C2_UNSUPPORTED	 0x65 /* 101 us: above what a C2 may take */
#define C3_UNSUPPORTED	 0x3e9

struct facs { /* 5.2.10 "Firmware ACPI Control Structure"; holds the global lock */
	char signature[4];
	uint32_t length, hardware_signature, waking_vector, global_lock, flags;
	uint64_t x_waking_vector;
	uint8_t version, reserved[3];
	uint32_t ospm_flags;
	uint8_t reserved2[24];
} PACKED;
_Static_assert(sizeof(struct facs) == 64, "FACS");

/* 5.2.12 "Multiple APIC Description Table" and its structures. */
struct madt_lapic {
	uint8_t type, length, uid, apic_id;
	uint32_t flags;
} PACKED;
struct madt_ioapic {
	uint8_t type, length, id, reserved;
	uint32_t address, gsi_base;
} PACKED;
struct madt_override {
	uint8_t type, length, bus, irq;
	uint32_t gsi;
	uint16_t flags;
} PACKED;
struct madt_nmi {
	uint8_t type, length, uid;
	uint16_t flags;
	uint8_t lint;
} PACKED;
enum madt_type { MADT_LAPIC = 0, MADT_IOAPIC = 1, MADT_OVERRIDE = 2, MADT_NMI = 4 };
#define MADT_PCAT_COMPAT       1
#define MADT_LAPIC_ENABLED     1
#define MADT_ALL_CPUS	       0xff
#define MADT_LEVEL_ACTIVE_HIGH 0xd

struct madt {
	struct header header;
	uint32_t lapic_address, flags;
	struct madt_ioapic ioapic;
	struct madt_override timer, sci;
	struct madt_nmi nmi;
	struct madt_lapic lapic[OPTIONS_MAX_CPUS]; /* last: only nvcpus of them count */
} PACKED;

/* PCI Firmware 3.2, 4.1.2 "MCFG Table Description", with one segment. */
struct mcfg {
	struct header header;
	uint8_t reserved[8];
	uint64_t ecam;
	uint16_t segment;
	uint8_t first_bus, last_bus;
	uint8_t reserved2[4];
} PACKED;
_Static_assert(sizeof(struct mcfg) == 60, "MCFG with one allocation");

struct xsdt { /* 5.2.8 "Extended System Description Table" */
	struct header header;
	uint64_t table[6]; /* the length says how many are used */
} PACKED;

/* All tables but those that iasl makes, which follow. The RSDP is searched on 16-byte boundaries, the FACS
 * needs 64; the others start on a cache line, which reads faster. */
struct tables {
	struct rsdp rsdp;
	_Alignas(64) struct facs facs;
	_Alignas(64) struct xsdt xsdt;
	_Alignas(64) struct fadt fadt;
	_Alignas(64) struct madt madt;
	_Alignas(64) struct mcfg mcfg;
};
#define GPA_OF(member) (LAYOUT_ACPI_GPA + offsetof(struct tables, member))
#define DSDT_GPA       (LAYOUT_ACPI_GPA + sizeof(struct tables))
#define PCI_GPA	       (DSDT_GPA + sizeof(dsdt_aml_code))
#define PCI64_GPA      (PCI_GPA + sizeof(pci_aml_code))
#define S3_GPA	       (PCI64_GPA + sizeof(pci64_aml_code))
_Static_assert(S3_GPA + sizeof(s3_aml_code) <= LAYOUT_ACPI_GPA + LAYOUT_ACPI_BYTES, "room");

static uint8_t checksum(const void *table, size_t bytes)
{
	const uint8_t *byte = table;
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + byte[i]);
	return (uint8_t)-sum;
}

/* Call it last: the checksum covers the whole table. */
static void finish(struct header *header, const char *signature, uint8_t revision, size_t bytes)
{
	memcpy(header->signature, signature, 4);
	header->length = (uint32_t)bytes;
	header->revision = revision;
	memcpy(header->oem_id, "STASIS", 6);
	memcpy(header->oem_table_id, "STASIS  ", 8);
	header->oem_revision = 1;
	memcpy(header->creator_id, "STAS", 4);
	header->creator_revision = 1;
	header->checksum = checksum(header, bytes);
}

static void make_rsdp(struct rsdp *rsdp)
{
	memcpy(rsdp->signature, "RSD PTR ", 8);
	memcpy(rsdp->oem_id, "STASIS", 6);
	rsdp->revision = 2;
	rsdp->length = sizeof(*rsdp);
	rsdp->xsdt = GPA_OF(xsdt);
	rsdp->checksum = checksum(rsdp, 20);
	rsdp->extended_checksum = checksum(rsdp, sizeof(*rsdp));
}

static struct gas port(uint16_t address, uint8_t bytes, enum gas_access access)
{
	return (struct gas){GAS_SYSTEM_IO, (uint8_t)(bytes * 8), 0, (uint8_t)access, address};
}

/* 32-bit and 64-bit fields are the same: OSes differ in which ones they use. */
static void make_fadt(struct fadt *fadt)
{
	fadt->facs = GPA_OF(facs);
	fadt->x_facs = 0; /* 5.2.9: for a FACS above 4 GiB; a second address is a second FACS */
	fadt->dsdt = (uint32_t)DSDT_GPA;
	fadt->x_dsdt = DSDT_GPA;
	fadt->sci = PM_SCI_GSI;
	fadt->smi_cmd = 0; /* no SMM: ACPI mode is always on */
	fadt->pm1a_evt = PM1A_EVT_PORT;
	fadt->pm1_evt_len = PM1A_EVT_BYTES;
	fadt->x_pm1a_evt = port(PM1A_EVT_PORT, PM1A_EVT_BYTES, GAS_WORD);
	fadt->pm1a_cnt = PM1A_CNT_PORT;
	fadt->pm1_cnt_len = PM1A_CNT_BYTES;
	fadt->x_pm1a_cnt = port(PM1A_CNT_PORT, PM1A_CNT_BYTES, GAS_WORD);
	fadt->pm_timer = PM_TIMER_PORT;
	fadt->pm_timer_len = PM_TIMER_BYTES;
	fadt->x_pm_timer = port(PM_TIMER_PORT, PM_TIMER_BYTES, GAS_DWORD);
	fadt->c2_latency = C2_UNSUPPORTED;
	fadt->c3_latency = C3_UNSUPPORTED;
	fadt->century = RTC_CENTURY;
	fadt->boot_arch = BOOT_ARCH_LEGACY_DEVICES | BOOT_ARCH_NO_VGA | BOOT_ARCH_NO_ASPM;
	fadt->flags = FADT_WBINVD | FADT_PROC_C1 | FADT_SLP_BUTTON | FADT_RESET_REG |
		      (PM_TIMER_BITS == 32 ? FADT_TMR_VAL_EXT : 0);
	fadt->reset = port(PM_RESET_PORT, 1, GAS_BYTE);
	fadt->reset_value = PM_RESET_VALUE;
	memcpy(&fadt->hypervisor_id, "STASIS", 6);
	finish(&fadt->header, "FACP", 6, sizeof(*fadt));
}

static void make_madt(struct madt *madt, uint32_t nvcpus)
{
	size_t bytes = offsetof(struct madt, lapic) + nvcpus * sizeof(struct madt_lapic);

	madt->lapic_address = LAYOUT_LAPIC_GPA;
	madt->flags = MADT_PCAT_COMPAT;
	madt->ioapic = (struct madt_ioapic){.type = MADT_IOAPIC,
					    .length = sizeof(struct madt_ioapic),
					    .id = 0, /* as KVM's IOAPIC has them after a reset */
					    .address = LAYOUT_IOAPIC_GPA};
	madt->timer = (struct madt_override){
		.type = MADT_OVERRIDE, .length = sizeof(struct madt_override), .irq = 0, .gsi = 2};
	madt->sci = (struct madt_override){.type = MADT_OVERRIDE,
					   .length = sizeof(struct madt_override),
					   .irq = PM_SCI_GSI,
					   .gsi = PM_SCI_GSI,
					   .flags = MADT_LEVEL_ACTIVE_HIGH};
	madt->nmi = (struct madt_nmi){.type = MADT_NMI,
				      .length = sizeof(struct madt_nmi),
				      .uid = MADT_ALL_CPUS,
				      .lint = 1};
	for (uint32_t i = 0; i < nvcpus; i++)
		madt->lapic[i] = (struct madt_lapic){MADT_LAPIC, sizeof(struct madt_lapic),
						     (uint8_t)i, (uint8_t)i, MADT_LAPIC_ENABLED};
	finish(&madt->header, "APIC", 5, bytes);
}

static void make_mcfg(struct mcfg *mcfg, const struct arch_pci_layout *pci)
{
	mcfg->ecam = pci->ecam_gpa;
	mcfg->last_bus = (uint8_t)((pci->ecam_bytes >> 20) - 1);
	finish(&mcfg->header, "MCFG", 1, sizeof(*mcfg));
}

static void make_xsdt(struct xsdt *xsdt, const struct arch_pci_layout *pci, bool s3)
{
	uint32_t n = 0;

	xsdt->table[n++] = GPA_OF(fadt);
	xsdt->table[n++] = GPA_OF(madt);
	if (pci) {
		xsdt->table[n++] = GPA_OF(mcfg);
		xsdt->table[n++] = PCI_GPA;
	}
	if (pci && pci->mmio64_bytes)
		xsdt->table[n++] = PCI64_GPA;
	if (s3)
		xsdt->table[n++] = S3_GPA;
	finish(&xsdt->header, "XSDT", 1, offsetof(struct xsdt, table) + n * sizeof(*xsdt->table));
}

int acpi_write(const struct ram *ram, uint32_t nvcpus, const struct arch_pci_layout *pci, bool s3,
	       struct error *err)
{
	const struct {
		uint64_t gpa;
		const void *code;
		size_t bytes;
	} aml[] = {
		{DSDT_GPA, dsdt_aml_code, sizeof(dsdt_aml_code)},
		{PCI_GPA, pci_aml_code, sizeof(pci_aml_code)},
		{PCI64_GPA, pci64_aml_code, sizeof(pci64_aml_code)},
		{S3_GPA, s3_aml_code, sizeof(s3_aml_code)},
	};
	struct tables tables;
	int ret;

	if (!nvcpus || nvcpus > OPTIONS_MAX_CPUS)
		return error_set(err, -EINVAL, "ACPI tables for %u vCPUs: 1 to %d", nvcpus,
				 OPTIONS_MAX_CPUS);
	memset(&tables, 0, sizeof(tables)); /* padding included: it is guest-visible */
	make_rsdp(&tables.rsdp);
	memcpy(tables.facs.signature, "FACS", 4);
	tables.facs.length = sizeof(tables.facs);
	tables.facs.version = 2;
	make_fadt(&tables.fadt);
	make_madt(&tables.madt, nvcpus);
	if (pci)
		make_mcfg(&tables.mcfg, pci);
	make_xsdt(&tables.xsdt, pci, s3);

	ret = ram_write(ram, LAYOUT_ACPI_GPA, &tables, sizeof(tables));
	for (size_t i = 0; !ret && i < ARRAY_SIZE(aml); i++)
		ret = ram_write(ram, aml[i].gpa, aml[i].code, aml[i].bytes);
	return ret ? error_set(err, ret, "no RAM at GPA 0x%lx for the ACPI tables", LAYOUT_ACPI_GPA)
		   : 0;
}

uint32_t acpi_waking_vector(const struct ram *ram)
{
	struct facs facs;

	/* The 64-bit vector is for firmware that enters protected mode; an OS that sets it sets this one as
	 * well. */
	if (ram_read(ram, GPA_OF(facs), &facs, sizeof(facs)) || memcmp(facs.signature, "FACS", 4))
		return 0;
	if (facs.waking_vector >= 1 << 20 || !ram_ptr(ram, facs.waking_vector, 1))
		return 0;
	return facs.waking_vector;
}
