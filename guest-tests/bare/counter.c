// SPDX-License-Identifier: GPL-2.0-or-later
/* Counts in the shared page for as long as it runs: what bench watches, and the plainest save and load. */
#include "rt.h"

const char guest_name[] = "counter";

void guest_main(void)
{
	bool quiet = option("quiet"); /* bench: no exits, only the counter */
	uint64_t expected = 0;

	shared.counter = 0;
	put("counter at gpa %x\n", (uint64_t)&shared.counter);
	for (;;) {
		for (int i = 0; i < 2000; i++) {
			CHECK(shared.counter == expected, "counter is %u, not %u", shared.counter,
			      expected);
			shared.counter = ++expected;
		}
		if (!quiet)
			guest_ok("count %u", expected);
	}
}
