// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Two vCPUs: the AP counts, IPIs go to it and come back; in every other round it sleeps in hlt.
 * start=late: the AP is not started before the host writes the mailbox. start=init: until then it has had
 * its INIT only.
 */
#include "rt.h"

#define VECTOR_PING 0x50
#define VECTOR_PONG 0x51
#define AP_APIC_ID  1
#define MOMENTS	    10000 /* to wait for the other vCPU before that is a failure */

const char guest_name[] = "smp";

static volatile uint64_t ap_count, pings, pongs;
static volatile bool ap_may_sleep;

static void on_ping(struct trap_frame *frame)
{
	(void)frame;
	pings++;
	lapic_write(LAPIC_EOI, 0);
	lapic_ipi(0, VECTOR_PONG);
}

static void on_pong(struct trap_frame *frame)
{
	(void)frame;
	pongs++;
	lapic_write(LAPIC_EOI, 0);
}

static void ap_main(void)
{
	CHECK(lapic_read(LAPIC_ID) >> 24 == AP_APIC_ID, "the AP's APIC id is %u",
	      lapic_read(LAPIC_ID) >> 24);
	for (;;) {
		uint64_t before = ap_count;

		if (ap_may_sleep)
			wait_for_interrupt();
		else
			sti();
		CHECK(ap_count == before, "somebody else counted");
		ap_count = before + 1;
	}
}

static void wait_for(volatile uint64_t *value, uint64_t wanted, const char *what)
{
	for (int i = 0; *value < wanted; i++) {
		CHECK(i < MOMENTS, "%s is %lu, waited for %lu", what, *value, wanted);
		spin(MOMENT / 10);
	}
}

static void start_ap(void)
{
	const char *start = option_value("start");

	if (*start == 'i')
		lapic_ipi(AP_APIC_ID, 0x4500);
	if (*start == 'l' || *start == 'i') {
		while (!mailbox_take()) {
			guest_ok("AP not started");
			spin(MOMENT);
		}
		CHECK(!ap_count, "the AP ran before it was started");
	}
	ap_start(AP_APIC_ID, ap_main);
	wait_for(&ap_count, 1, "the AP's counter");
	put("smp AP started\n");
}

void guest_main(void)
{
	irq_init();
	trap_set(VECTOR_PING, on_ping);
	trap_set(VECTOR_PONG, on_pong);
	lapic_enable();
	start_ap();
	sti();
	for (uint64_t round = 1;; round++) {
		uint64_t before = ap_count;

		ap_may_sleep = round & 1;
		lapic_ipi(AP_APIC_ID, VECTOR_PING);
		wait_for(&pongs, round, "the number of answers");
		CHECK(pings == round, "%lu IPIs arrived, %lu were sent", pings, round);
		if (!ap_may_sleep)
			wait_for(&ap_count, before + 2, "the AP's counter");
		shared.counter++;
		guest_ok("ap count %lu ipis %lu", ap_count, pongs);
		spin(MOMENT);
	}
}
