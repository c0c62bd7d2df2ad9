// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Sleeps (ACPI S3) again and again, with what it must find again in RAM. wake=alarm: the RTC wakes it, one or
 * two seconds later, the third time four or five; wake=rung: it has rung before the guest sleeps; else the
 * host wakes it. vector=none, vector=high: leaves no place to wake up at.
 */
#include "rt.h"

const char guest_name[] = "sleep";

static struct acpi_facts acpi;
static uint8_t wake_stack[8192] __attribute__((aligned(16)));
static volatile uint64_t asleep_tsc, ap_counter;
static uint64_t pattern[512];
static unsigned int round;
static bool has_ap;

static void go_round(void);

/* By the seconds alone: the clock may be about to count. */
static void set_alarm(unsigned int seconds)
{
	uint8_t second;

	set_cmos(0x0b, 0x06); /* binary, 24 h */
	second = (uint8_t)((cmos(0) + seconds) % 60);
	set_cmos(1, second);
	set_cmos(3, 0xff);
	set_cmos(5, 0xff);
	cmos(0x0c);
	set_cmos(0x0b, 0x26);
}

static void run_ap(void)
{
	for (;;)
		ap_counter++;
}

static void try_ap(void)
{
	uint64_t before = ap_counter;

	spin(MOMENT);
	CHECK(!round || ap_counter == before, "the AP runs without a SIPI after the wake-up");
	lapic_enable();
	ap_start(1, run_ap);
	for (unsigned int i = 0; i < 1000 && ap_counter == before; i++)
		spin(MOMENT);
	CHECK(ap_counter != before, "the AP does not start");
}

static void check_power_on(void)
{
	uint64_t efer = rdmsr(MSR_EFER), apic_base = rdmsr(0x1b);

	CHECK(*(volatile uint16_t *)ACPI_WAKE_CS_GPA == ACPI_WAKE_GPA >> 4, "woken with CS %x",
	      *(volatile uint16_t *)ACPI_WAKE_CS_GPA);
	CHECK(apic_base == 0xfee00900, "the APIC base is %lx", apic_base);
	CHECK(!(efer & 1), "EFER is %lx: SCE is still on", efer);
	CHECK(lapic_read(LAPIC_LVT_TIMER) == LVT_MASKED, "the LAPIC's timer is %x",
	      lapic_read(LAPIC_LVT_TIMER));
	CHECK(ioapic_entry(acpi.sci) & LVT_MASKED, "the IOAPIC's pin %u is %lx", acpi.sci,
	      ioapic_entry(acpi.sci));
}

static void check_kept(void)
{
	uint16_t status = inw((uint16_t)acpi.pm1a_event), want = PM1_WAK | PM1_PWRBTN;

	if (*option_value("wake"))
		want = PM1_WAK | PM1_RTC;
	CHECK((status & ~1u) == want, "PM1 status is %x, not %x", status, want);
	CHECK(inw((uint16_t)(acpi.pm1a_event + 2)) == PM1_RTC, "PM1 enable is %x",
	      inw((uint16_t)(acpi.pm1a_event + 2)));
	for (unsigned int i = 0; i < 512; i++)
		CHECK(pattern[i] == i * 0x9e3779b97f4a7c15ull + round, "RAM has changed");
	CHECK(rdtsc() > asleep_tsc, "the TSC went back");
}

static void woken(void)
{
	round++;
	check_power_on();
	check_kept();
	irq_init();
	put("woken\n");
	go_round();
}

/* The AP's stack is the AP's. */
static void leave_stack(void)
{
	__asm__ volatile("mov %0, %%rsp; call *%1"
			 :
			 : "r"(wake_stack + sizeof(wake_stack)), "r"(woken)
			 : "memory");
}

static void leave_vector(void)
{
	acpi_set_wake(&acpi, leave_stack);
	if (option("vector=none") || option("vector=high"))
		*acpi_wake_vector(&acpi) = option("vector=none") ? 0 : 0x100000;
}

/* Both PM1's status and the RTC's own flag stay. */
static void wait_alarm(void)
{
	unsigned int i;

	for (i = 0; i < 1000 && !(inw((uint16_t)acpi.pm1a_event) & PM1_RTC); i++)
		spin(MOMENT);
	CHECK(i < 1000, "the alarm does not ring in PM1's status");
}

static void sleep_now(void)
{
	for (unsigned int i = 0; i < 512; i++)
		pattern[i] = i * 0x9e3779b97f4a7c15ull + round + 1;
	wrmsr(MSR_EFER, rdmsr(MSR_EFER) | 1);
	lapic_write(LAPIC_LVT_TIMER, LVT_MASKED | 0x77);
	ioapic_set_entry(acpi.sci, 0x59);
	outw((uint16_t)acpi.pm1a_event, 0xffff);
	outw((uint16_t)(acpi.pm1a_event + 2), PM1_RTC);
	if (*option_value("wake"))
		set_alarm(round < 2 ? 2 : 5);
	if (option("wake=rung"))
		wait_alarm();
	asleep_tsc = rdtsc();
	acpi_sleep(&acpi);
}

static void go_round(void)
{
	if (has_ap)
		try_ap();
	for (unsigned int i = 0; i < 3 || (option("hold") && !mailbox_take()); i++) {
		shared.counter++;
		guest_ok("");
		spin(MOMENT);
	}
	put("sleeps\n");
	leave_vector();
	sleep_now();
}

void guest_main(void)
{
	irq_init();
	CHECK(acpi_parse(&acpi), "no FADT");
	has_ap = option("ap");
	if (!acpi.has_s3) {
		put("no S3\n");
		for (;;)
			guest_ok("");
	}
	go_round();
}
