/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Goes over to a root disk, ROOT=. With INIT= that program becomes process 1, and the payload
 * goes on beside it as a process that no service manager knows of; with ALONE= it does not. */
#include "guest.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define NEW_ROOT "/root"
#define WAIT_US	 10000

/* Waits for the disk for ever: how long is too long is for the scenario to say. */
static bool mount_root(const char *disk)
{
	while (access(disk, F_OK))
		usleep(WAIT_US);
	mkdir(NEW_ROOT, 0755);
	return !mount(disk, NEW_ROOT, "ext4", 0, NULL) &&
	       !mount("/proc", NEW_ROOT "/proc", NULL, MS_MOVE, NULL) &&
	       !mount("/sys", NEW_ROOT "/sys", NULL, MS_MOVE, NULL) &&
	       !mount("/dev", NEW_ROOT "/dev", NULL, MS_MOVE, NULL) && !chdir(NEW_ROOT) &&
	       !mount(".", "/", NULL, MS_MOVE, NULL) && !chroot(".");
}

void root_switch(void)
{
	const char *disk = getenv("ROOT"), *init = getenv("INIT");

	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	if (!disk)
		return;
	if (!mount_root(disk)) {
		bad("root disk %s: %s", disk, strerror(errno));
		return;
	}
	if (init && (getenv("ALONE") || fork() > 0)) {
		execl(init, init, NULL);
		bad("%s: %s", init, strerror(errno));
	}
}
