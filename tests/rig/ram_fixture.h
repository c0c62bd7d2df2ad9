/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/ram_fixture.h - real file systems for tests of ram/, gone with the test's process.
 * Owns: one folder under STASIS_TEST_DISK (default /var/tmp), which must be on a disk.
 * Threads: one test process each.
 * Units: bytes.
 * Errors: the test fails and says what it needs. */
#ifndef TESTS_RIG_RAM_FIXTURE_H
#define TESTS_RIG_RAM_FIXTURE_H
#include "ram/backend.h"
#include "tests/rig/unit.h"
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

#define MIB (1ull << 20)

static char fixture_folder[256];
static struct error fixture_err;

static inline void fixture_setup(void)
{
	const char *disk = getenv("STASIS_TEST_DISK");

	ck_assert_msg(!unshare(CLONE_NEWNS) && !mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL),
		      "these tests mount file systems of their own: run them as root");
	snprintf(fixture_folder, sizeof(fixture_folder), "%s/stasis-test-XXXXXX",
		 disk ? disk : "/var/tmp");
	ck_assert_msg(mkdtemp(fixture_folder) != NULL, "%s: %s", fixture_folder, strerror(errno));
}

static inline int fixture_remove(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
	return remove(path);
}

static inline void fixture_teardown(void)
{
	/* Mounts within first: FTW_MOUNT would leave the folders under them. */
	char path[512];
	static const char *const mounted[] = {"overlay", "under", "fs"};

	for (size_t i = 0; i < ARRAY_SIZE(mounted); i++) {
		snprintf(path, sizeof(path), "%s/%s", fixture_folder, mounted[i]);
		umount2(path, MNT_DETACH);
	}
	nftw(fixture_folder, fixture_remove, 16, FTW_DEPTH | FTW_PHYS);
}

/* "FOLDER/name"; four live at a time. */
static inline const char *fixture_path(const char *name)
{
	static char path[4][512];
	static unsigned int next;
	char *p = path[next++ % 4];

	snprintf(p, sizeof(path[0]), "%s/%s", fixture_folder, name);
	return p;
}

static inline const char *fixture_mkdir(const char *name)
{
	const char *path = fixture_path(name);

	ck_assert_msg(!mkdir(path, 0700), "%s: %s", path, strerror(errno));
	return path;
}

/* Mounts a new file system of the type on FOLDER/fs. */
static inline void fixture_mount(const char *type, const char *options)
{
	const char *path = fixture_mkdir("fs");

	ck_assert_msg(!mount("none", path, type, 0, options), "mount -t %s -o %s: %s", type,
		      options, strerror(errno));
}

static inline uint64_t fixture_size(const char *path)
{
	struct stat st;

	ck_assert_msg(!stat(path, &st), "%s: %s", path, strerror(errno));
	return (uint64_t)st.st_size;
}

static inline void fixture_make_file(const char *path, uint64_t size_bytes)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(ftruncate(fd, (off_t)size_bytes), 0);
	close(fd);
}

#define assert_ok(call)                                                            \
	do {                                                                       \
		int ret_ = (call);                                                 \
		ck_assert_msg(ret_ == 0, #call ": %d: %s", ret_, fixture_err.msg); \
	} while (0)

/* Fails with this code, and the message has all of these words, which end with NULL. */
static inline void assert_refused(int ret, int code, const char *const *word)
{
	ck_assert_msg(ret == code, "%d, not %d: %s", ret, code, fixture_err.msg);
	unit_says(fixture_err.msg, word);
}

#endif
