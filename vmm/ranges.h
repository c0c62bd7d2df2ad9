/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/ranges.h - guest RAM in configuration files: two VMs with files in one folder must not be given the same RAM. Of VMs
 * that run, the lock of ram/ knows; this is for those that do not run yet.
 * Threads: main.
 * Errors: 0 or -EINVAL with one message that names the other file. */
#ifndef VMM_RANGES_H
#define VMM_RANGES_H
#include "vmm/options.h"

/* label_bytes: what the label after this VM's RAM takes. Only looks at the files beside opt->config_path; one that has a
 * fault is none of this VM's business. */
int ranges_check(const struct options *opt, uint64_t label_bytes, struct error *err) must_check;
#endif
