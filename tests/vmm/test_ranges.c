/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM that two configuration files give away. */
#include "vmm/ranges.h"
#include "tests/rig/unit.h"
#include <stdio.h>
#include <unistd.h>

#define LABEL_BYTES (2 << 20)

static char folder[] = "/tmp/test-ranges-XXXXXX";
static struct error err;

static const char *at(const char *name)
{
	static char path[2][64];
	static unsigned int next;
	char *to = path[next++ % 2];

	snprintf(to, sizeof(path[0]), "%s/%s", folder, name);
	return to;
}

/* RAM of 64 MiB */
static void put_conf(const char *name, const char *ram, const char *offset)
{
	FILE *file = fopen(at(name), "we");

	ck_assert_ptr_nonnull(file);
	fprintf(file, "kernel /k\nmemory size=64M,path=%s%s\n", at(ram), offset);
	fclose(file);
}

static void make_folder(void)
{
	ck_assert_ptr_nonnull(mkdtemp(folder));
	fclose(fopen(at("ram"), "we"));
	fclose(fopen(at("other"), "we"));
	ck_assert_int_eq(symlink("ram", at("link")), 0);
	put_conf("a.conf", "ram", ",offset=0");
}

static void remove_folder(void)
{
	char command[64];

	snprintf(command, sizeof(command), "rm -r %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static int check(const char *name)
{
	char path[64];
	char *argv[] = {"stasis", "--config", path};
	struct options opt;
	int ret;

	snprintf(path, sizeof(path), "%s", at(name));
	ck_assert_msg(!options_parse(&opt, 3, argv, &err), "%s", err.msg);
	ret = ranges_check(&opt, LABEL_BYTES, &err);
	options_free(&opt);
	return ret;
}

static const struct {
	const char *ram, *offset;
	bool overlaps;
} others[] = {
	{"ram", ",offset=66M", false}, {"ram", ",offset=64M", true}, /* the label */
	{"ram", ",offset=32M", true},  {"ram", "", true},
	{"link", ",offset=0", true},   {"other", ",offset=0", false},
};

TEST_EACH(ranges, others)
{
	put_conf("b.conf", others[_i].ram, others[_i].offset);
	ck_assert_int_eq(check("a.conf"), others[_i].overlaps ? -EINVAL : 0);
	ck_assert_int_eq(check("b.conf"), others[_i].overlaps ? -EINVAL : 0);
	if (others[_i].overlaps)
		unit_says(err.msg, WORDS("--memory: ", "overlaps that of ", "/a.conf", "own"));
}

TEST(alone)
{
	ck_assert_int_eq(check("a.conf"), 0);
	ck_assert_int_eq(chdir(folder), 0);
	put_conf("b.conf", "ram", "");
	{
		char *argv[] = {"stasis", "--config", "a.conf"};
		struct options opt;

		ck_assert_int_eq(options_parse(&opt, 3, argv, &err), 0);
		ck_assert_int_eq(ranges_check(&opt, LABEL_BYTES, &err), -EINVAL);
		options_free(&opt);
	}
}

/* What is no file of a VM, and one that would not start. */
TEST(others_that_do_not_count)
{
	put_conf("b.off", "ram", "");
	put_conf(".c.conf", "ram", "");
	put_conf("d.conf", "ram", ",offset=x");
	ck_assert_int_eq(check("a.conf"), 0);
}

UNIT_MAIN(make_folder, remove_folder)
