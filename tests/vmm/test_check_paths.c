/* SPDX-License-Identifier: GPL-2.0-or-later */
/* One path for two options: who may share it, and who not. */
#include "tests/rig/unit.h"
#include "vmm/check.h"
#include "vmm/options.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static char folder[64];
static struct options opt;
static struct disk_config disks[2];
static struct error err;

static void setup(void)
{
	FILE *file;

	strcpy(folder, "/tmp/stasis-paths.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	file = fopen("file", "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);
	ck_assert_int_eq(link("file", "link"), 0);
	opt = (struct options){.disk = disks};
	memset(disks, 0, sizeof(disks));
}

static void teardown(void)
{
	unlink("file");
	unlink("link");
	ck_assert_int_eq(rmdir(folder), 0);
}

enum use { QMP, SERIAL_SOCKET, SERIAL_FILE, AGENT_SOCKET, AGENT_FILE, MEMORY, DISK, READER };

static void use(enum use use, const char *path)
{
	const bool is_file = use == SERIAL_FILE || use == AGENT_FILE;
	const struct chardev_config chardev = {is_file ? CHARDEV_FILE : CHARDEV_UNIX, path,
					       use < AGENT_SOCKET ? "--serial" : "--agent"};

	switch (use) {
	case QMP:
		opt.qmp_path = path;
		break;
	case SERIAL_SOCKET:
	case SERIAL_FILE:
		opt.serial = chardev;
		break;
	case AGENT_SOCKET:
	case AGENT_FILE:
		opt.agent = chardev;
		break;
	case MEMORY:
		opt.memory.path = path;
		break;
	case DISK:
	case READER:
		disks[opt.ndisks].readonly = use == READER;
		strcpy(disks[opt.ndisks++].path, path);
		break;
	}
}

static const struct {
	enum use a, b;
	const char *refused; /* NULL: they may share it */
} rows[] = {
	{QMP, AGENT_SOCKET, "--qmp and --agent are both given "},
	{QMP, SERIAL_FILE, "--qmp and --serial are both given "},
	{SERIAL_SOCKET, AGENT_SOCKET, "--serial and --agent are both given "},
	{SERIAL_SOCKET, AGENT_FILE, "--serial and --agent are both given "},
	{QMP, MEMORY, "--qmp and --memory are both given "},
	{AGENT_SOCKET, DISK, "--agent and --disk are both given "},
	{MEMORY, DISK, "--memory and --disk are both given "},
	{MEMORY, READER, "--memory and --disk are both given "},
	{DISK, DISK, "--disk and --disk are both given "},
	{DISK, READER, "--disk and --disk are both given "},
	{READER, READER, NULL},
	{SERIAL_FILE, AGENT_FILE, NULL},
	{SERIAL_FILE, MEMORY, NULL},
};

TEST_EACH(row, rows)
{
	static const char *const same[][2] = {
		{"file", "file"}, {"file", "link"}, {"none", "./none"}, {"none", NULL /* whole */}};
	static const char *const apart[][2] = {
		{"file", "none"}, {"none", "other"}, {"/none", "none"}};
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		opt = (struct options){.disk = disks};
		snprintf(path, sizeof(path), "%s%s", same[i][1] ? "" : folder,
			 same[i][1] ? same[i][1] : "/none");
		use(rows[_i].a, same[i][0]);
		use(rows[_i].b, path);
		ck_assert_int_eq(check_paths(&opt, &err), rows[_i].refused ? -EINVAL : 0);
		if (rows[_i].refused)
			ck_assert_msg(
				!strncmp(err.msg, rows[_i].refused, strlen(rows[_i].refused)) &&
					strstr(err.msg, path),
				"%s", err.msg);
	}
	for (size_t i = 0; i < ARRAY_SIZE(apart); i++) {
		opt = (struct options){.disk = disks};
		use(rows[_i].a, apart[i][0]);
		use(rows[_i].b, apart[i][1]);
		ck_assert_msg(!check_paths(&opt, &err), "%s", err.msg);
	}
}

/* Options that have no path, as by default. */
TEST(no_paths)
{
	ck_assert_int_eq(check_paths(&opt, &err), 0);
	opt.serial.kind = CHARDEV_STDIO;
	ck_assert_int_eq(check_paths(&opt, &err), 0);
}

UNIT_MAIN(setup, teardown)
