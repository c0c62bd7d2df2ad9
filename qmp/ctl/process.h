/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/process.h - what the kernel says of a VM's process. Whoever may not see it knows nothing: that is no error. */
#ifndef QMP_CTL_PROCESS_H
#define QMP_CTL_PROCESS_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

enum process_binary { PROCESS_BINARY_UNKNOWN, PROCESS_BINARY_INSTALLED, PROCESS_BINARY_OLD };

/* Seconds since it started; false: unknown. */
bool process_uptime_s(pid_t pid, uint64_t *uptime_s);
/* Does it run the stasis that a start would run? Not if that file was replaced since. */
enum process_binary process_binary(pid_t pid);
/* Waits for its end. -ETIMEDOUT: it has not come within this time. */
int process_await_end(pid_t pid, double limit_s, struct error *err) must_check;
#endif
