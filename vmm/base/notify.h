/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/notify.h - tells the service manager how this VM is, by the protocol of sd_notify(3). Without one that asked for it
 * (NOTIFY_SOCKET) nothing is done.
 * Threads: main, which never waits for the manager.
 * Errors: none: a guest does not depend on its supervisor. */
#ifndef VMM_BASE_NOTIFY_H
#define VMM_BASE_NOTIFY_H

/* The start is over. status: for people, such as the run state; it must stay as it is. */
void notify_ready(const char *status);
/* The same for later changes; nothing before notify_ready(). */
void notify_status(const char *status);
/* A step that takes as long as RAM is large goes on: it is no reason to end this process. */
void notify_busy(const char *status);
void notify_stopping(void);
#endif
