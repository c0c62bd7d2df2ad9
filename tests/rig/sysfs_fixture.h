/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/sysfs_fixture.h - block devices in a sysfs of the test's own, in place of the host's.
 * Owns: FOLDER/sys in the fixture's folder.
 * Threads: one test process each.
 * Units: none.
 * Errors: a failed step fails the test. */
#ifndef TESTS_RIG_SYSFS_FIXTURE_H
#define TESTS_RIG_SYSFS_FIXTURE_H
#include "ram/ram.h"
#include "tests/rig/ram_fixture.h"
#include <sys/sysmacros.h>

/* From here on this process sees no other block devices. */
static inline void sys_begin(void)
{
	static char sys[512];

	snprintf(sys, sizeof(sys), "%s", fixture_mkdir("sys"));
	blockdev_sysfs = sys;
}

static inline void sys_folder(const char *name)
{
	char path[200];

	for (const char *slash = strchr(name, '/'); slash; slash = strchr(slash + 1, '/')) {
		snprintf(path, sizeof(path), "sys/%.*s", (int)(slash - name), name);
		(void)mkdir(fixture_path(path), 0700);
	}
}

static inline void sys_file(const char *name, const char *content)
{
	char path[200];
	FILE *f;

	snprintf(path, sizeof(path), "sys/%s", name);
	sys_folder(name);
	f = fopen(fixture_path(path), "w");
	ck_assert_msg(f && fprintf(f, "%s\n", content) > 0 && !fclose(f), "%s", path);
}

/* NAME under /sys/block, or NAME/PART, with a number. */
static inline void sys_device(const char *name, const char *number)
{
	char path[200], link[200];

	snprintf(path, sizeof(path), "block/%s/dev", name);
	sys_file(path, number);
	snprintf(link, sizeof(link), "dev/block/%s", number);
	sys_folder(link);
	snprintf(path, sizeof(path), "../../block/%s", name);
	snprintf(link, sizeof(link), "sys/dev/block/%s", number);
	ck_assert_msg(!symlink(path, fixture_path(link)), "%s: %s", link, strerror(errno));
}
#endif
