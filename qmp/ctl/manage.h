/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/manage.h - saving a VM by name. */
#ifndef QMP_CTL_MANAGE_H
#define QMP_CTL_MANAGE_H
#include "qmp/ctl/vms.h"

#define MANAGE_LIMIT_S 120.0 /* for a save or a load */

/* What it says of a mode that it refuses: {'mode', 'reason', 'needs-suspend'}; NULL: nothing. */
struct json_object *manage_refusal(const struct vms_vm *vm, const char *mode);
/* Why a VM that serves cannot be saved in this mode; NULL: it can. */
const char *manage_why_not(const struct vms_vm *vm, const char *mode);
/* It is saved, and its process waits for cprload. */
bool manage_waits(const struct vms_vm *vm);
/* Saves it and waits until its process has ended. If it fails the guest goes on, or the message says what is instead. 0 also
 * if the answer is missing, and it is saved. */
int manage_save(const struct vms_vm *vm, const char *mode, struct error *err) must_check;
#endif
