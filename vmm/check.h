/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/check.h - stasis --check: would this command line start, and what would it do?
 * Threads: main; no other one is started.
 * Errors: 0 or -errno with one message. */
#ifndef VMM_CHECK_H
#define VMM_CHECK_H
#include "vmm/base/error.h"

struct options;
struct vm;

/* Builds the VM as a start does, checks the saved guest as a load does, and takes all of it down again. Files,
 * sockets, taps and locks that a start would create are only looked for: opt is changed for that. Prints what
 * a start would do. vm: VM_INIT. */
int check_start(struct vm *vm, struct options *opt, struct error *err) must_check;
/* Refuses a path that is given to two options which cannot share it. For starts as well, whose own messages
 * would blame another process. */
int check_paths(const struct options *opt, struct error *err) must_check;
#endif
