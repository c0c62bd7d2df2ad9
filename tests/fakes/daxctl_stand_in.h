/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fakes/daxctl_stand_in.h - what the stand-in for libdaxctl says about its one device.
 * Owns: nothing. Threads: the test's. Units: bytes. Errors: none. */
#ifndef TESTS_FAKES_DAXCTL_STAND_IN_H
#define TESTS_FAKES_DAXCTL_STAND_IN_H
#include <stdbool.h>

struct daxctl_stand_in {
	int major, minor;
	unsigned long long size_bytes;
	unsigned long align_bytes;
	bool system_ram, disabled;
	int refs; /* contexts not given back */
};
extern struct daxctl_stand_in daxctl_stand_in;
#endif
