/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --compare: what it takes from the cprinfo of a running VM. vmm/test_options_compare.c has the options. */
#include "cpr/cpr.h"
#include "tests/rig/unit.h"
#include "vmm/options.h"
#include "vmm/version.h"
#include <stdio.h>
#include <unistd.h>

static char path[] = "/tmp/test-compare-XXXXXX", *text;
static struct error err;

static void make_file(void)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
}

static void remove_file(void)
{
	unlink(path);
	free(text);
	text = NULL;
}

/* Of a VM with 2 CPUs */
static int compare(const char *info)
{
	char *argv[] = {"stasis", "--name", "vm1", "--kernel", "k", "--cpus", "2"};
	FILE *file = fopen(path, "we"), *out;
	static struct options opt;
	size_t bytes;
	int ret;

	ck_assert_ptr_nonnull(file);
	ck_assert_int_ge(fputs(info, file), 0);
	fclose(file);
	ck_assert_int_eq(options_parse(&opt, ARRAY_SIZE(argv), argv, &err), 0);
	free(text);
	out = open_memstream(&text, &bytes);
	ck_assert_ptr_nonnull(out);
	ret = cpr_compare(&opt, path, out, &err);
	fclose(out);
	free(opt.given.given);
	return ret;
}

TEST(options_are_compared)
{
	ck_assert_int_eq(compare("{\"version\":\"" STASIS_VERSION "\",\"options\":[\"name vm1\","
				 "\"kernel k\",\"cpus 2\",\"append=\"]}"),
			 0);
	ck_assert_str_eq(text, "");
	ck_assert_int_eq(compare("{\"version\":\"0.2.0\",\"options\":[\"name vm1\",\"kernel=k\","
				 "\"cpus 4\",\"rng\"]}"),
			 2);
	ck_assert_str_eq(text, "--cpus 2, but the running VM has --cpus 4\n"
			       "no --rng, but the running VM has --rng\n");
}

TEST(a_newer_vm_is_not_trusted_to_an_older_program)
{
	ck_assert_int_eq(compare("{\"version\":\"99.0.0\",\"options\":[\"name vm1\",\"cpus 2\"]}"),
			 1);
	unit_says(strtok(text, "\n"),
		  WORDS("stasis is " STASIS_VERSION, "the VM runs with 99.0.0", "install"));
}

/* An option that this program does not know is one of a newer VM. */
TEST(unknown_options_are_an_error)
{
	ck_assert_int_lt(compare("{\"version\":\"99.0.0\",\"options\":[\"name vm1\",\"warp 9\"]}"),
			 0);
	unit_says(err.msg, WORDS("--compare: the running VM", "--warp"));
}

/* The VM was started before the update that brought --compare. */
TEST(a_vm_that_tells_nothing_is_not_compared)
{
	ck_assert_int_eq(compare("{\"pid\":1}"), 0);
}

static const char *const no_info[] = {"",
				      "[]",
				      "{",
				      "null",
				      "3",
				      "{\"options\":[null]}",
				      "{\"options\":[3]}",
				      "{\"options\":[\"cpus 2\\u001b[2J\"]}",
				      "{\"options\":[\"cpus 2\\u0000x\"]}",
				      "{\"version\":null,\"options\":[]}",
				      "{\"version\":\"99.0.0\\n\",\"options\":[]}"};

TEST_EACH(what_is_no_cprinfo, no_info)
{
	ck_assert_int_lt(compare(no_info[_i]), 0);
	unit_says(err.msg, WORDS("--compare", "is not what cprinfo"));
}

UNIT_MAIN(make_file, remove_file)
