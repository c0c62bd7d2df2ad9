/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/check.h - stasis --check: would this command line start, and what would it do?
 * Owns: nothing.
 * Threads: main; no other is started.
 * Units: none.
 * Errors: 0 or -errno with one message. */
#ifndef VMM_CHECK_H
#define VMM_CHECK_H
#include "vmm/base/error.h"

struct options;
struct vm;

/* Builds the VM as a start does, looks at the saved guest as a load does, and takes all of it down
 * again. What a start would make (files, sockets, taps, locks) is looked at and left out: opt is
 * changed for that. Prints what a start would do. vm: VM_INIT. */
int check_start(struct vm *vm, struct options *opt, struct error *err) must_check;
/* Is no path given twice that one use alone can have? For starts, too, whose own messages would blame
 * another process. */
int check_paths(const struct options *opt, struct error *err) must_check;
#endif
