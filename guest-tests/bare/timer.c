// SPDX-License-Identifier: GPL-2.0-or-later
/* LAPIC timer interrupts wake an idle vCPU for ever: mode=periodic (default), oneshot or deadline. */
#include "rt.h"

#define VECTOR		0x40
#define COUNT		125000 /* 2 ms with KVM's 1 GHz bus clock divided by 16 */
#define DEADLINE_CYCLES 4000000
#define TICKS_A_LINE	5

const char guest_name[] = "timer";

static uint32_t mode; /* LVT bits */
static uint64_t ticks;

static void arm(void)
{
	if (mode == LVT_TSC_DEADLINE)
		wrmsr(MSR_TSC_DEADLINE, rdtsc() + DEADLINE_CYCLES);
	else
		lapic_write(LAPIC_TIMER_INITIAL, COUNT);
}

static void on_tick(struct trap_frame *frame)
{
	(void)frame;
	ticks++;
	shared.counter++;
	lapic_write(LAPIC_EOI, 0);
	if (mode != LVT_PERIODIC)
		arm();
}

void guest_main(void)
{
	const char *name = option_value("mode");
	uint64_t told = 0;

	mode = *name == 'o' ? 0 : *name == 'd' ? LVT_TSC_DEADLINE : LVT_PERIODIC;
	if (mode == LVT_TSC_DEADLINE)
		CHECK(cpuid(1, 0).ecx & 1u << 24, "CPUID offers no TSC deadline timer");
	irq_init();
	trap_set(VECTOR, on_tick);
	lapic_enable();
	lapic_write(LAPIC_TIMER_DIVIDE, 3);
	lapic_write(LAPIC_LVT_TIMER, mode | VECTOR);
	arm();
	for (;;) {
		wait_for_interrupt();
		CHECK(lapic_read(LAPIC_LVT_TIMER) == (mode | VECTOR), "LVT timer is %x",
		      lapic_read(LAPIC_LVT_TIMER));
		if (ticks >= told + TICKS_A_LINE) {
			told = ticks;
			guest_ok("ticks %lu", ticks);
		}
	}
}
