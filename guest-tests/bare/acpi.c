// SPDX-License-Identifier: GPL-2.0-or-later
/* Finds the FADT and packages of the DSDT, and sleeps: just what the guests use, by the ACPI specification 5.2. */
#include "rt.h"

struct table {
	char signature[4];
	uint32_t length;
	uint8_t revision, checksum;
	char oem_id[6], oem_table_id[8];
	uint32_t oem_revision, creator_id, creator_revision;
} __attribute__((packed));

#define FADT_FACS	    36
#define FADT_DSDT	    40
#define FADT_SCI_INT	    46
#define FADT_PM1A_EVENT	    56
#define FADT_PM1A_CONTROL   64
#define FADT_PM1B_CONTROL   68
#define FADT_PM_TIMER	    76
#define FADT_FLAGS	    112
#define FADT_RESET_REG	    116
#define FADT_RESET_VALUE    128
#define FADT_X_DSDT	    140
#define FADT_X_PM1A_EVENT   148
#define FADT_X_PM1A_CONTROL 172
#define FADT_X_PM_TIMER	    208
#define FACS_WAKING_VECTOR  12

/* Tables need not be aligned: read by bytes. */
static uint64_t field(const struct table *t, unsigned int offset, unsigned int bytes)
{
	uint64_t value = 0;

	if (offset + bytes <= t->length)
		memcpy(&value, (const uint8_t *)t + offset, bytes);
	return value;
}

static const struct table *check_table(uint64_t gpa)
{
	const struct table *t = (const struct table *)gpa;
	uint8_t sum = 0;

	for (uint32_t i = 0; i < t->length; i++)
		sum = (uint8_t)(sum + ((const uint8_t *)t)[i]);
	CHECK(sum == 0, "ACPI table at %lx has a wrong checksum", gpa);
	return t;
}

/* Number i of those with this signature. */
static const struct table *find_table(uint64_t rsdp_gpa, const char *signature, unsigned int number)
{
	const uint8_t *rsdp = (const uint8_t *)rsdp_gpa;
	const struct table *xsdt;
	uint64_t gpa;

	CHECK(!memcmp(rsdp, "RSD PTR ", 8), "no RSDP at %lx", rsdp_gpa);
	memcpy(&gpa, rsdp + 24, 8);
	if (rsdp[15] < 2 || !gpa)
		return NULL;
	xsdt = check_table(gpa);
	for (unsigned int i = sizeof(*xsdt); i + 8 <= xsdt->length; i += 8) {
		const struct table *t = (const struct table *)field(xsdt, i, 8);

		if (!memcmp(t->signature, signature, 4) && !number--)
			return check_table((uint64_t)t);
	}
	return NULL;
}

/* name in AML: a package op, its length, the element count, then SLP_TYPa as a byte or as Zero or One. */
static bool find_sleep(const struct table *definitions, const char *name, uint8_t *slp_typ)
{
	const uint8_t *aml = (const uint8_t *)definitions;

	for (uint32_t i = sizeof(*definitions); i + 9 < definitions->length; i++) {
		const uint8_t *p = aml + i;

		if (memcmp(p, name, 4) || p[4] != 0x12)
			continue;
		p += 5;
		p += (*p >> 6) + 2; /* package length, element count */
		*slp_typ = *p == 0x0a ? p[1] : *p;
		return true;
	}
	return false;
}

static uint32_t port(const struct table *fadt, unsigned int legacy, unsigned int extended)
{
	uint64_t gas = field(fadt, extended + 4, 8);

	return gas ? (uint32_t)gas : (uint32_t)field(fadt, legacy, 4);
}

bool acpi_parse(struct acpi_facts *facts)
{
	const struct table *fadt = rt_rsdp_gpa() ? find_table(rt_rsdp_gpa(), "FACP", 0) : NULL;
	const struct table *ssdt;
	uint64_t dsdt_gpa;
	uint32_t flags;

	*facts = (struct acpi_facts){0};
	if (!fadt)
		return false;
	flags = (uint32_t)field(fadt, FADT_FLAGS, 4);
	facts->sci = (uint16_t)field(fadt, FADT_SCI_INT, 2);
	facts->pm1a_event = port(fadt, FADT_PM1A_EVENT, FADT_X_PM1A_EVENT);
	facts->pm1a_control = port(fadt, FADT_PM1A_CONTROL, FADT_X_PM1A_CONTROL);
	facts->pm1b_control = (uint32_t)field(fadt, FADT_PM1B_CONTROL, 4);
	facts->pm_timer = port(fadt, FADT_PM_TIMER, FADT_X_PM_TIMER);
	facts->pm_timer_32bit = flags & 1u << 8;
	facts->has_reset = flags & 1u << 10;
	facts->reset_port = field(fadt, FADT_RESET_REG + 4, 8);
	facts->reset_value = (uint8_t)field(fadt, FADT_RESET_VALUE, 1);
	dsdt_gpa = field(fadt, FADT_X_DSDT, 8);
	if (!dsdt_gpa)
		dsdt_gpa = field(fadt, FADT_DSDT, 4);
	if (dsdt_gpa)
		facts->has_s5 = find_sleep(check_table(dsdt_gpa), "_S5_", &facts->slp_typ_s5);
	for (unsigned int i = 0; !facts->has_s3 && (ssdt = find_table(rt_rsdp_gpa(), "SSDT", i));
	     i++)
		facts->has_s3 = find_sleep(ssdt, "_S3_", &facts->slp_typ_s3);
	facts->facs_gpa = field(fadt, FADT_FACS, 4);
	return true;
}

/* mov %cs, %ax; mov %ax, %cs:0x40; ljmp $0x800, $0: on to the trampoline */
static const uint8_t wake_code[] = {0x8c, 0xc8, 0x2e, 0xa3, 0x40, 0x00,
				    0xea, 0x00, 0x00, 0x00, 0x08};
_Static_assert(AP_TRAMPOLINE_GPA == 0x800 << 4, "where wake_code jumps to");

volatile uint32_t *acpi_wake_vector(const struct acpi_facts *facts)
{
	return (volatile uint32_t *)(facts->facs_gpa + FACS_WAKING_VECTOR);
}

void acpi_set_wake(const struct acpi_facts *facts, void (*fn)(void))
{
	memcpy((void *)(uint64_t)ACPI_WAKE_GPA, wake_code, sizeof(wake_code));
	*(volatile uint16_t *)ACPI_WAKE_CS_GPA = 0;
	ap_trampoline_place(fn);
	*acpi_wake_vector(facts) = ACPI_WAKE_GPA;
}

void acpi_sleep(const struct acpi_facts *facts)
{
	uint16_t port = (uint16_t)facts->pm1a_control;
	uint16_t control = (uint16_t)((uint32_t)facts->slp_typ_s3 << 10);

	outw(port, control);
	outw(port, control | PM1_SLP_EN);
	spin(MOMENT * 1000);
	guest_fail("still running after SLP_EN, PM1 status %x", inw((uint16_t)facts->pm1a_event));
}
