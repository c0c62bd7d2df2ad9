/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/random_guest.h - a guest that makes random accesses to the rig's machine. The same seed makes the
 * same ones. */
#ifndef TESTS_RIG_RANDOM_GUEST_H
#define TESTS_RIG_RANDOM_GUEST_H
#include <stdint.h>

uint32_t random_next(uint32_t *random);
/* Accesses of any kind, wherever a device listens, and now and then what a driver would do: BARs
 * are mapped, queues set up in RAM (which the rig has then), filled with nonsense and kicked. */
void random_guest(uint32_t *random, int times);
#endif
