/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/unit.h - stasis@NAME.service and systemd, by systemctl(1), whose words are shown as they are. */
#ifndef QMP_CTL_UNIT_H
#define QMP_CTL_UNIT_H
#include <stdbool.h>

/* Is systemd the host's init? */
bool unit_systemd_runs(void);
/* `systemctl VERB stasis@NAME`. False: it has failed, and said why. */
bool unit_do(const char *verb, const char *name);
/* Why its unit does not run although it was asked to: it has failed, or waits for something. NULL: nothing is known of
 * that. The caller frees it. */
char *unit_trouble(const char *name);
/* It is not started at a boot any more. True where systemd does not run. */
bool unit_disable(const char *name);
/* The generator reads the files again, so that units wait for other devices. Where systemd does not run nobody has to. */
void unit_reload(void);
#endif
