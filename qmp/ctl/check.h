/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/check.h - what would stop an update of the host, and the way out of each. On a host without systemd
 * `kexec-update --check` knows more.
 * Errors: a fault of one VM holds up no other check; what cannot be found out is a fault. */
#ifndef QMP_CTL_CHECK_H
#define QMP_CTL_CHECK_H
#include "qmp/ctl/vms.h"

/* An array of {'vm', 'fault', 'way-out'}, without 'vm' for faults of the host; the caller's to put. name: that VM
 * alone, and not the host; NULL: all. */
struct json_object *check_faults(const char *name);
/* The same for one VM that was looked at, without what another VM has to do with it. */
struct json_object *check_one(const struct vms_vm *vm);
/* Only what would refuse to load its guest. */
struct json_object *check_compared(const struct vms_vm *vm);
/* What an update does to its guest: "save", "suspend" or "shutdown", as its option says. */
const char *check_policy(const struct vms_vm *vm);
/* Prints them. Returns an exit status: 0 if there are none. */
int check(const char *name, bool json);
#endif
