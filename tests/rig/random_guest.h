/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/random_guest.h - a guest that does whatever comes to its mind, for the rig's machine.
 * Owns: nothing.
 * Threads: one.
 * Units: none.
 * Errors: none: whatever it does is the devices' to bear. The same seed does the same. */
#ifndef TESTS_RIG_RANDOM_GUEST_H
#define TESTS_RIG_RANDOM_GUEST_H
#include <stdint.h>

uint32_t random_next(uint32_t *random);
/* Accesses of any kind, wherever a device listens, and now and then what a driver would do: BARs
 * are mapped, queues set up in RAM (which the rig has then), filled with nonsense and kicked. */
void random_guest(uint32_t *random, int times);
#endif
