/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/turn.h - after a boot of a host all its VMs start at once, and each may have to hash or clear its RAM. Memory is
 * not faster for many of them, so a few do it at a time, and the first guests are back early.
 *
 * Each byte of the file that STASIS_LOADS_FILE names is a turn, STASIS_LOADS of them; a turn is a lock, which falls with
 * its process. Without that variable, or a file that can be opened, nobody waits.
 * Threads: main only.
 * Errors: the watch's only: a guest is never lost for want of a turn. */
#ifndef RAM_TURN_H
#define RAM_TURN_H
#include "ram/ram.h"

/* Waits until it is this process's turn. The watch, which may be NULL, is called meanwhile, and can end that. */
int turn_take(int *turn, const struct ram_watch *watch, struct error *err) must_check;
void turn_give_back(int *turn);
#endif
