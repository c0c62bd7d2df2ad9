/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Walks the ACPI tables as an OS does, by the offsets of the specification, not by our structs. */
#include "devices/platform/platform.h"
#include "tests/rig/unit.h"
#include "vmm/x86/x86.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t low[0x100000];
static struct ram ram;
static size_t ntables;

static uint64_t le(const uint8_t *at, size_t size)
{
	uint64_t value = 0;

	memcpy(&value, at, size);
	return value;
}

static void check_sum(const uint8_t *table, size_t bytes)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < bytes; i++)
		sum = (uint8_t)(sum + table[i]);
	ck_assert_uint_eq(sum, 0);
}

static uint8_t *table_at(uint64_t gpa, const char *signature, uint8_t revision)
{
	uint8_t *table = low + gpa;

	ck_assert_uint_ge(gpa, LAYOUT_ACPI_GPA);
	ck_assert_uint_lt(gpa, LAYOUT_ACPI_GPA + LAYOUT_ACPI_BYTES);
	ck_assert_mem_eq(table, signature, 4);
	ck_assert_uint_le(gpa + le(table + 4, 4), LAYOUT_ACPI_GPA + LAYOUT_ACPI_BYTES);
	ck_assert_uint_eq(table[8], revision);
	check_sum(table, le(table + 4, 4));
	return table;
}

/* The BIOS area is searched on 16-byte boundaries for signature and checksum. */
static const uint8_t *find_rsdp(void)
{
	for (uint8_t *at = low + 0xe0000; at < low + sizeof(low); at += 16)
		if (!memcmp(at, "RSD PTR ", 8))
			return at;
	ck_abort_msg("no RSDP");
	return NULL;
}

/* Table number i of the XSDT. */
static const uint8_t *xsdt_table(uint32_t i, const char *signature, uint8_t revision)
{
	const uint8_t *rsdp = find_rsdp();
	uint8_t *xsdt = table_at(le(rsdp + 24, 8), "XSDT", 1);

	ck_assert_uint_eq(le(xsdt + 4, 4), 36 + ntables * 8);
	return table_at(le(xsdt + 36 + (size_t)i * 8, 8), signature, revision);
}

static void write_tables_and(uint32_t nvcpus, const struct arch_pci_layout *pci, bool s3)
{
	struct error err = {""};

	memset(low, 0xaa, sizeof(low));
	ram.region[0] = (struct ram_region){0, sizeof(low), low};
	ram.nregions = 1;
	ck_assert_msg(!acpi_write(&ram, nvcpus, pci, s3, &err), "%s", err.msg);
	ntables = (pci ? 5U - !pci->mmio64_bytes : 2U) + s3;
}

static void write_tables_with(uint32_t nvcpus, const struct arch_pci_layout *pci)
{
	write_tables_and(nvcpus, pci, false);
}

static void write_tables(uint32_t nvcpus)
{
	write_tables_with(nvcpus, NULL);
}

TEST(rsdp)
{
	const uint8_t *rsdp;

	write_tables(1);
	rsdp = find_rsdp();
	ck_assert_uint_eq((uint64_t)(rsdp - low), LAYOUT_ACPI_GPA);
	ck_assert_uint_eq(rsdp[15], 2);
	ck_assert_uint_eq(le(rsdp + 20, 4), 36);
	check_sum(rsdp, 20);
	check_sum(rsdp, 36);
}

static void check_gas(const uint8_t *gas, uint8_t bits, uint8_t access, uint64_t address)
{
	ck_assert_uint_eq(gas[0], 1); /* system I/O */
	ck_assert_uint_eq(gas[1], bits);
	ck_assert_uint_eq(gas[2], 0);
	ck_assert_uint_eq(gas[3], access);
	ck_assert_uint_eq(le(gas + 4, 8), address);
}

TEST(fadt)
{
	const uint8_t *fadt, *facs;
	uint64_t flags;

	write_tables(1);
	fadt = xsdt_table(0, "FACP", 6);
	ck_assert_uint_eq(le(fadt + 4, 4), 276);
	ck_assert_uint_eq(le(fadt + 46, 2), 9);	    /* SCI_INT */
	ck_assert_uint_eq(le(fadt + 48, 4), 0);	    /* SMI_CMD */
	ck_assert_uint_eq(le(fadt + 56, 4), 0x600); /* PM1a_EVT_BLK */
	ck_assert_uint_eq(le(fadt + 64, 4), 0x604); /* PM1a_CNT_BLK */
	ck_assert_uint_eq(le(fadt + 76, 4), 0x608); /* PM_TMR_BLK */
	ck_assert_uint_eq(fadt[88], 4);
	ck_assert_uint_eq(fadt[89], 2);
	ck_assert_uint_eq(fadt[91], 4);
	ck_assert_uint_eq(fadt[92], 0);		   /* no GPE0 */
	ck_assert_uint_gt(le(fadt + 96, 2), 100);  /* no C2 */
	ck_assert_uint_gt(le(fadt + 98, 2), 1000); /* no C3 */
	ck_assert_uint_eq(fadt[108], 0x32);	   /* the RTC's century */
	ck_assert_uint_eq(le(fadt + 109, 2), 1 | 4 | 16);
	flags = le(fadt + 112, 4);
	ck_assert_uint_eq(flags & 1 << 0, 1);	   /* WBINVD */
	ck_assert_uint_eq(flags & 1 << 4, 0);	   /* fixed power button */
	ck_assert_uint_eq(flags & 1 << 5, 1 << 5); /* no sleep button */
	ck_assert_uint_eq(flags & 1 << 6, 0);	   /* RTC status in PM1 */
	ck_assert_uint_eq(flags >> 8 & 1, PM_TIMER_BITS == 32);
	ck_assert_uint_eq(flags & 1 << 10, 1 << 10); /* RESET_REG_SUP */
	ck_assert_uint_eq(flags & 1 << 20, 0);	     /* not hardware-reduced */
	check_gas(fadt + 116, 8, 1, 0xcf9);
	ck_assert_uint_eq(fadt[128], 6);
	check_gas(fadt + 148, 32, 2, 0x600);
	check_gas(fadt + 172, 16, 2, 0x604);
	check_gas(fadt + 208, 32, 3, 0x608);

	facs = low + le(fadt + 36, 4);
	ck_assert_uint_eq(le(fadt + 36, 4) % 64, 0);
	ck_assert_mem_eq(facs, "FACS", 4);
	ck_assert_uint_eq(le(facs + 4, 4), 64);
	ck_assert_uint_eq(le(facs + 16, 4), 0); /* global lock is free */
}

TEST(dsdt)
{
	const uint8_t *fadt, *dsdt, s5[] = {'_', 'S', '5', '_', 0x12, 0x08, 4, 0x0a, 5, 0x0a, 5};
	size_t bytes;

	write_tables(1);
	fadt = xsdt_table(0, "FACP", 6);
	ck_assert_uint_eq(le(fadt + 40, 4), le(fadt + 140, 8));
	dsdt = table_at(le(fadt + 140, 8), "DSDT", 2);
	bytes = le(dsdt + 4, 4);
	ck_assert_ptr_nonnull(memmem(dsdt, bytes, s5, sizeof(s5)));
	ck_assert_uint_eq(PM_SLP_TYP_S5, 5);
	/* IO (Decode16, PM_BASE, PM_BASE, 1, PM_BYTES): 6.4.2.5 */
	ck_assert_ptr_nonnull(memmem(dsdt, bytes,
				     (uint8_t[]){0x47, 1, PM_BASE & 0xff, PM_BASE >> 8,
						 PM_BASE & 0xff, PM_BASE >> 8, 1, PM_BYTES},
				     8));
	/* COM1 and RTC: ports and IRQs 4 and 8 (6.4.2.1). */
	ck_assert_ptr_nonnull(
		memmem(dsdt, bytes, "\x47\x01\xf8\x03\xf8\x03\x01\x08\x22\x10\x00", 11));
	ck_assert_ptr_nonnull(
		memmem(dsdt, bytes, "\x47\x01\x70\x00\x70\x00\x01\x02\x22\x00\x01", 11));
	/* pvpanic */
	ck_assert_ptr_nonnull(memmem(dsdt, bytes, "QEMU0001", 9));
	ck_assert_ptr_nonnull(memmem(dsdt, bytes, "\x47\x01\x05\x05\x05\x05\x01\x01", 8));
}

TEST(s3)
{
	static const uint8_t s3[] = {'_', 'S', '3', '_', 0x12, 0x06, 4, 0x01, 0x01, 0, 0};
	const struct arch_pci_layout pci = {.ecam_bytes = 1 << 20, .mmio64_bytes = 1};
	const uint8_t *table;

	write_tables_and(1, NULL, true);
	table = xsdt_table(2, "SSDT", 2);
	ck_assert_ptr_nonnull(memmem(table, le(table + 4, 4), s3, sizeof(s3)));
	write_tables_and(1, &pci, true);
	table = xsdt_table(5, "SSDT", 2);
	ck_assert_ptr_nonnull(memmem(table, le(table + 4, 4), s3, sizeof(s3)));
	ck_assert_uint_eq(PM_SLP_TYP_S3, 1);
	write_tables(1);
	xsdt_table(0, "FACP", 6); /* there are no more than it and the MADT */
}

/* A guest writes what it likes into its FACS. */
TEST(waking_vector)
{
	static const struct {
		uint32_t vector, entry;
	} table[] = {{0, 0},
		     {1, 1},
		     {0x9a000, 0x9a000},
		     {0x12345, 0x12345},
		     {0xfffff, 0xfffff},
		     {0x100000, 0},
		     {0xffffffff, 0}};
	uint8_t *facs;

	write_tables_and(1, NULL, true);
	facs = low + le(xsdt_table(0, "FACP", 6) + 36, 4);
	for (size_t i = 0; i < ARRAY_SIZE(table); i++) {
		memcpy(facs + 12, &table[i].vector, 4);
		ck_assert_uint_eq(acpi_waking_vector(&ram), table[i].entry);
	}
	memcpy(facs + 12, &table[2].vector, 4);
	ram.region[0].size_bytes = 0x99000;
	ck_assert_uint_eq(acpi_waking_vector(&ram), 0); /* no FACS either */
	ram.region[0].size_bytes = sizeof(low);
	facs[0] = 'f';
	ck_assert_uint_eq(acpi_waking_vector(&ram), 0);
}

/* What acpiexec, ACPICA's interpreter, makes of the tables. */
static char *evaluate(const char *command)
{
	static const char file[][12] = {"dsdt", "pci", "pci64"};
	static char output[65536];
	char dir[] = "/tmp/stasis-acpi.XXXXXX", text[512], path[64];
	const uint8_t *table[3] = {low + le(xsdt_table(0, "FACP", 6) + 140, 8)};
	FILE *pipe;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	for (uint32_t i = 0; i < ntables - 2; i++) {
		FILE *out;

		if (i)
			table[i] = xsdt_table(2 + i, "SSDT", 2);
		snprintf(path, sizeof(path), "%s/%s", dir, file[i]);
		out = fopen(path, "w");
		ck_assert_ptr_nonnull(out);
		ck_assert_uint_eq(fwrite(table[i], le(table[i] + 4, 4), 1, out), 1);
		fclose(out);
	}
	snprintf(text, sizeof(text), "cd %s && acpiexec -b '%s' dsdt pci* 2>&1; rm -r %s", dir,
		 command, dir);
	pipe = popen(text, "r");
	ck_assert_ptr_nonnull(pipe);
	output[fread(output, 1, sizeof(output) - 1, pipe)] = '\0';
	pclose(pipe);
	return output;
}

static void contains(const char *output, const char *text)
{
	ck_assert_msg(strstr(output, text), "no '%s' in: %s", text, output);
}

static const struct arch_pci_layout layout = {
	.ecam_gpa = 0xc0000000,
	.ecam_bytes = 0x100000,
	.mmio64_bytes = 1,
};

TEST(mcfg)
{
	const uint8_t *mcfg;

	write_tables_with(2, &layout);
	mcfg = xsdt_table(2, "MCFG", 1);
	ck_assert_uint_eq(le(mcfg + 4, 4), 60);
	ck_assert_uint_eq(le(mcfg + 44, 8), LAYOUT_PCI_ECAM_GPA);
	ck_assert_uint_eq(le(mcfg + 52, 8), 0); /* segment 0, buses 0 to 0 */
	contains(evaluate("resources \\_SB.ECAM"), "Address : C0000000");
	contains(evaluate("resources \\_SB.ECAM"), "Address Length : 00100000");
}

TEST(pci_windows)
{
	struct arch_pci_layout no_high = layout;
	char *output;

	write_tables_with(1, &layout);
	output = evaluate("resources \\_SB.PCI0");
	contains(output, "Address Maximum : FEBFFFFF");
	contains(output, "Address Minimum : C000");
	contains(output, "Address Maximum : FFFF\n");
	contains(output, "Address Minimum : 0000008000000000");
	contains(output, "Address Maximum : 000000FFFFFFFFFF");
	no_high.mmio64_bytes = 0;
	write_tables_with(1, &no_high);
	output = evaluate("resources \\_SB.PCI0");
	contains(output, "Address Minimum : D0000000");
	ck_assert_ptr_null(strstr(output, "8000000000"));
}

/* For each number of vCPUs: every LAPIC once, the IOAPIC, the overrides, the NMI. */
TEST_RANGE(madt, 1, 65)
{
	const uint8_t *madt, *at;
	uint32_t nlapics = 0, others = 0;

	write_tables((uint32_t)_i);
	madt = xsdt_table(1, "APIC", 5);
	ck_assert_uint_eq(le(madt + 36, 4), 0xfee00000);
	ck_assert_uint_eq(le(madt + 40, 4), 1);
	for (at = madt + 44; at < madt + le(madt + 4, 4); at += at[1]) {
		ck_assert_uint_ge(at[1], 6);
		if (at[0] == 0) {
			ck_assert_uint_eq(at[1], 8);
			ck_assert_uint_eq(at[2], nlapics);
			ck_assert_uint_eq(at[3], nlapics);
			ck_assert_uint_eq(le(at + 4, 4), 1);
			nlapics++;
		} else if (at[0] == 1) {
			ck_assert_uint_eq(at[1], 12);
			ck_assert_uint_eq(le(at + 4, 4), 0xfec00000);
			ck_assert_uint_eq(le(at + 8, 4), 0);
			others |= 1;
		} else if (at[0] == 2 && at[3] == 0) {
			ck_assert_uint_eq(le(at + 4, 4), 2);
			ck_assert_uint_eq(le(at + 8, 2), 0);
			others |= 2;
		} else if (at[0] == 2 && at[3] == 9) {
			ck_assert_uint_eq(le(at + 4, 4), 9);
			ck_assert_uint_eq(le(at + 8, 2), 0xd);
			others |= 4;
		} else {
			ck_assert_mem_eq(at, "\x04\x06\xff\x00\x00\x01", 6);
			others |= 8;
		}
	}
	ck_assert_ptr_eq(at, madt + le(madt + 4, 4));
	ck_assert_uint_eq(nlapics, (uint32_t)_i);
	ck_assert_uint_eq(others, 15);
}

/* Every pin of every slot, on the line that pci.c gives pin A. */
TEST(prt)
{
	const char *at;
	uint32_t n = 0;

	write_tables_with(1, &layout);
	at = evaluate("evaluate \\_SB.PCI0._PRT");
	while ((at = strstr(at, "Contains 4 Elements"))) {
		const uint64_t want[] = {n / 4 << 16 | 0xffff, n % 4, 0, 16 + n / 4 % 8};

		for (uint32_t i = 0; i < 4; i++) {
			at = strstr(at, "[Integer] = ");
			ck_assert_ptr_nonnull(at);
			at += 12;
			ck_assert_uint_eq(strtoull(at, NULL, 16), want[i]);
		}
		n++;
	}
	ck_assert_uint_eq(n, 128);
}

TEST(refused)
{
	struct error err = {""};

	write_tables(1);
	ck_assert_int_lt(acpi_write(&ram, 0, NULL, false, &err), 0);
	ck_assert_int_lt(acpi_write(&ram, 65, NULL, false, &err), 0);
	ram.nregions = 0;
	ck_assert_int_lt(acpi_write(&ram, 1, NULL, false, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "no RAM"));
}

UNIT_MAIN(NULL, NULL)
