/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/list.h - what is known of VMs, for people and programs. */
#ifndef QMP_CTL_LIST_H
#define QMP_CTL_LIST_H
#include "qmp/ctl/vms.h"

/* All that `stasisctl status NAME --json` prints; the caller's to put. */
struct json_object *list_facts(const struct vms_vm *vm);
/* Looks at a VM that has to exist. False: it does not, as was said; then there is nothing to vms_put(). */
bool list_get(struct vms_vm *vm, const char *name);
/* Looks at all. False: their folders cannot be read, as was said; then there is nothing to vms_free(). */
bool list_get_all(struct vms *vms);
/* Of its program, such as "1.2.0"; "": unknown. */
const char *list_version(const struct vms_vm *vm);
/* "4G", "512M": as an option takes it. The caller frees it. */
char *list_size(uint64_t bytes);
/* Prints and frees the cells, row after row. */
void list_table(char **cells, size_t rows, size_t columns);
#endif
