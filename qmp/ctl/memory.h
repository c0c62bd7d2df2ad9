/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/memory.h - which part of a DAX device, or of a file, is whose RAM.
 * A range is the RAM of a VM and its label after it. Of a VM that runs with another place than its file says, both count.
 * Units: bytes. */
#ifndef QMP_CTL_MEMORY_H
#define QMP_CTL_MEMORY_H
#include "qmp/ctl/vms.h"

/* Where in this DAX device a new VM of this size has room; the first place that fits. */
int memory_allot(const struct vms *vms, const char *path, uint64_t size_bytes,
		 uint64_t *offset_bytes, struct error *err) must_check;
/* An array of {'path', 'size', 'ranges': [{'offset', 'size', 'owner', 'state', 'overlaps': [NAME...]}...]}, one for each
 * device and file; the caller's to put. */
struct json_object *memory_devices(const struct vms *vms);
#endif
