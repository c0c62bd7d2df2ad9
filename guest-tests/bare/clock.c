// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * kvmclock, TSC and, where the FADT has one, the PM timer: none goes back, none stands still. Each line holds
 * the time, from which the driver tells a jump.
 */
#include "rt.h"

#define KVM_CPUID_SIGNATURE	 0x40000000
#define KVM_CPUID_FEATURES	 0x40000001
#define KVM_FEATURE_CLOCKSOURCE2 (1u << 3)
#define MSR_KVM_WALL_CLOCK_NEW	 0x4b564d00
#define MSR_KVM_SYSTEM_TIME_NEW	 0x4b564d01

/* The kernel's pvclock ABI. */
struct pvclock_time {
	uint32_t version, pad0;
	uint64_t tsc_timestamp, system_time;
	uint32_t tsc_to_system_mul;
	int8_t tsc_shift;
	uint8_t flags, pad[2];
};

struct pvclock_wall {
	uint32_t version, sec, nsec;
};

const char guest_name[] = "clock";

static volatile struct pvclock_time time_page __attribute__((aligned(64)));
static volatile struct pvclock_wall wall_page __attribute__((aligned(64)));
static struct acpi_facts acpi;

#define barrier() __asm__ volatile("" : : : "memory")

static uint64_t kvmclock_ns(uint64_t *tsc)
{
	uint32_t version;
	uint64_t ns;

	do {
		version = time_page.version & ~1u;
		barrier();
		*tsc = rdtsc();
		uint64_t delta = *tsc - time_page.tsc_timestamp;

		delta = time_page.tsc_shift < 0 ? delta >> -time_page.tsc_shift
						: delta << time_page.tsc_shift;
		ns = time_page.system_time +
		     (uint64_t)((unsigned __int128)delta * time_page.tsc_to_system_mul >> 32);
		barrier();
	} while (version != time_page.version);
	return ns;
}

static void enable_kvmclock(void)
{
	struct cpuid signature = cpuid(KVM_CPUID_SIGNATURE, 0);

	CHECK(signature.ebx == 0x4b4d564b, "CPUID has no KVM signature");
	CHECK(cpuid(KVM_CPUID_FEATURES, 0).eax & KVM_FEATURE_CLOCKSOURCE2,
	      "CPUID offers no kvmclock");
	wrmsr(MSR_KVM_WALL_CLOCK_NEW, (uint64_t)&wall_page);
	wrmsr(MSR_KVM_SYSTEM_TIME_NEW, (uint64_t)&time_page | 1);
	CHECK(time_page.tsc_to_system_mul, "KVM did not write the kvmclock page");
	CHECK(wall_page.sec, "KVM did not write the wall clock page");
}

/* 3.579545 MHz, 24 or 32 bits wide: the difference of two readings modulo the width never looks negative. */
static uint64_t pm_ticks(void)
{
	static uint32_t last;
	static uint64_t ticks;
	uint32_t mask = acpi.pm_timer_32bit ? 0xffffffff : 0xffffff, now;

	if (!acpi.pm_timer)
		return 0;
	now = inl((uint16_t)acpi.pm_timer) & mask;
	CHECK(((now - last) & mask) <= mask / 2 || !last, "PM timer went from %x to %x", last, now);
	ticks += last ? (now - last) & mask : 0;
	last = now;
	return ticks;
}

void guest_main(void)
{
	uint64_t last_ns, last_tsc, last_pm = 0;

	irq_init();
	acpi_parse(&acpi);
	enable_kvmclock();
	put("clock has pm timer at port %x\n", acpi.pm_timer);
	last_ns = kvmclock_ns(&last_tsc);
	for (;;) {
		uint64_t ns, tsc, pm;

		for (int i = 0; i < 50; i++) {
			ns = kvmclock_ns(&tsc);
			CHECK(tsc > last_tsc, "TSC went from %lu to %lu", last_tsc, tsc);
			CHECK(ns >= last_ns, "kvmclock went from %lu to %lu", last_ns, ns);
			last_ns = ns;
			last_tsc = tsc;
			shared.counter++;
		}
		pm = pm_ticks();
		CHECK(!acpi.pm_timer || pm >= last_pm, "PM timer went from %lu to %lu", last_pm,
		      pm);
		last_pm = pm;
		guest_ok("mono_ns %lu tsc %lu pm %lu boot_s %u", ns, tsc, pm, wall_page.sec);
		spin(MOMENT);
	}
}
