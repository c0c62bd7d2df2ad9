/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/tables.h - the two procedures of CPR as step tables, and what start.c needs of a load.
 * Owns: nothing; tables are const.
 * Threads: main only.
 * Units: none.
 * Errors: see steps.h. */
#ifndef CPR_TABLES_H
#define CPR_TABLES_H
#include "cpr/steps.h"

struct vm;

extern const struct step_table cpr_save_table, cpr_load_table;

/* cpr_load() for main's start: stay_paused leaves a guest that ran when saved stopped. */
int load_at_start(struct vm *vm, const char *path, bool stay_paused, struct error *err) must_check;
#endif
