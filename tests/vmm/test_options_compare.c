/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --compare: what of two command lines refuses a load, and what does not. */
#include "tests/rig/unit.h"
#include "vmm/options.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 40

struct side {
	struct options opt;
	char line[1024];
};
static struct side now, was;
static char *text;

static void forget(struct side *side)
{
	free(side->opt.disk);
	free(side->opt.net);
	free(side->opt.vfio);
	free(side->opt.given.given);
	side->opt = (struct options){0};
}

/* Words separated by '|' */
static void parse(struct side *side, const char *words)
{
	char *argv[MAX_ARGS + 1] = {"stasis", "--name", "vm1"}, *rest = side->line;
	struct error err;
	int argc = 3;

	forget(side);
	snprintf(side->line, sizeof(side->line), "--compare|-|--kernel|k%s%s", *words ? "|" : "",
		 words);
	while (rest && argc < MAX_ARGS)
		argv[argc++] = strsep(&rest, "|");
	ck_assert_msg(!options_parse(&side->opt, argc, argv, &err), "%s: %s", words, err.msg);
}

static uint32_t compare(const char *now_words, const char *was_words)
{
	size_t bytes;
	FILE *out;
	uint32_t n;

	parse(&now, now_words);
	parse(&was, was_words);
	free(text);
	out = open_memstream(&text, &bytes);
	ck_assert_ptr_nonnull(out);
	n = options_compare(&now.opt, &was.opt, out);
	fclose(out);
	return n;
}

static void forget_all(void)
{
	forget(&now);
	forget(&was);
	free(text);
	text = NULL;
}

#define EVERYTHING                                                                                 \
	"--uuid|123e4567-e89b-12d3-a456-426614174000|--cpus|2|--memory|size=1G,path=/m,offset=2M|" \
	"--append|a|--machine|pit=on,s3=off|--serial|none|--disk|path=/a,serial=x,readonly=on|"    \
	"--net|tap=t,queues=2|--console|none|--agent|unix:/a|--rng"

TEST(every_row_says_what_it_needs)
{
	ck_assert_uint_eq(compare(EVERYTHING, EVERYTHING), 0);
	ck_assert_uint_eq(compare("--vsock|cid=3|--vfio|host=01:00.0|--cpr-file|/c|--qmp|unix:/q|"
				  "--initrd|i|--on-reset|exit|--log|debug|--memory|size=2M,path=/m",
				  "--vsock|cid=3|--vfio|host=01:00.0|--cpr-file|/c|--memory|"
				  "size=2M,path=/m"),
			  0);
	ck_assert_str_eq(text, "");
}

/* Both ways. */
static const struct {
	const char *now, *was;
} alike[] = {
	{"--cpus|1", ""},
	{"--memory|size=1G,path=/m", "--memory|path=/m,size=1024M"},
	{"--memory|size=1G,path=/", "--memory|size=1G,path=/proc/../"},
	{"--disk|path=/a,queues=1,queue-size=256,readonly=off", "--disk|path=/a,id=root"},
	{"--vfio|host=0000:01:00.0", "--vfio|host=01:00.0"},
	{"--machine|clock=realtime", ""},
	{"--console|stdio", "--console|unix:/c"},
	{"--append|x", "--append|y"},
	{"--net|tap=a,vhost=off", "--net|tap=b,vhost=on"},
	{"--rng", "--rng"},
};

TEST_EACH(what_the_guest_cannot_see_may_differ, alike)
{
	ck_assert_msg(!compare(alike[_i].now, alike[_i].was), "%s", text);
	ck_assert_msg(!compare(alike[_i].was, alike[_i].now), "%s", text);
}

static const struct {
	const char *now, *was, *text;
} unlike[] = {
	{"--cpus|2", "--cpus|4", "--cpus 2, but the running VM has --cpus 4\n"},
	{"--cpus|2", "", "--cpus 2, but the running VM has no --cpus\n"},
	{"", "--rng", "no --rng, but the running VM has --rng\n"},
	{"--uuid|123e4567-e89b-12d3-a456-426614174000", "",
	 "--uuid 123e4567-e89b-12d3-a456-426614174000, but the running VM has no --uuid\n"},
	{"--memory|size=1G,path=/m", "--memory|size=2G,path=/n",
	 "--memory size=1G,path=/m, but the running VM has --memory size=2G,path=/n: another size, "
	 "path\n"},
	{"--memory|size=1G,path=/m,offset=2M", "--memory|size=1G,path=/m",
	 "--memory size=1G,path=/m,offset=2M, but the running VM has --memory size=1G,path=/m: "
	 "another offset\n"},
	{"", "--machine|pit=on,s3=off",
	 "no --machine, but the running VM has --machine pit=on,s3=off: another pit, s3\n"},
	{"--disk|path=/a|--disk|path=/c,queues=2", "--disk|path=/a|--disk|path=/b",
	 "--disk path=/c,queues=2, but the running VM has --disk path=/b: another path, queues\n"},
	{"--disk|path=/a", "--disk|path=/a|--disk|path=/b",
	 "no --disk number 2, but the running VM has --disk path=/b\n"},
	{"--disk|path=/a,cache=none", "--disk|path=/a,cache=writeback",
	 "--disk path=/a,cache=none, but the running VM has --disk path=/a,cache=writeback: "
	 "another "
	 "cache\n"},
	{"--disk|path=/a,serial=x", "--disk|path=/a",
	 "--disk path=/a,serial=x, but the running VM has --disk path=/a: another serial\n"},
	{"--net|stream=unix:/s,mac=52:54:00:00:00:01", "--net|tap=t,mac=52:54:00:00:00:02",
	 "--net stream=unix:/s,mac=52:54:00:00:00:01, but the running VM has --net "
	 "tap=t,mac=52:54:00:00:00:02: another tap, mac\n"},
	{"--agent|unix:/a", "--console|none",
	 "no --console, but the running VM has --console none\n"
	 "--agent unix:/a, but the running VM has no --agent\n"},
	{"--vfio|host=01:00.0", "--vfio|host=02:00.0",
	 "--vfio host=01:00.0, but the running VM has --vfio host=02:00.0: another host\n"},
	{"--vsock|cid=4", "", "--vsock cid=4, but the running VM has no --vsock: another cid\n"},
	{"--memory|size=2M,path=/m|--cpr-file|/c", "--memory|size=2M,path=/m|--cpr-file|/d",
	 "--cpr-file /c, but the running VM has --cpr-file /d\n"},
};

TEST_EACH(what_a_load_refuses_is_named, unlike)
{
	uint32_t lines = 0;

	for (const char *c = unlike[_i].text; *c; c++)
		lines += *c == '\n';
	ck_assert_uint_eq(compare(unlike[_i].now, unlike[_i].was), lines);
	ck_assert_str_eq(text, unlike[_i].text);
}

TEST(another_name_is_another_vm)
{
	char *argv[] = {"stasis", "--name", "vm2", "--kernel", "k", "--compare", "-"};
	struct error err;
	FILE *out;

	ck_assert_uint_eq(compare("", ""), 0);
	forget(&now);
	ck_assert_int_eq(options_parse(&now.opt, 7, argv, &err), 0);
	out = fopen("/dev/null", "we");
	ck_assert_uint_eq(options_compare(&now.opt, &was.opt, out), 1);
	fclose(out);
}

/* Their uuids are random. */
TEST(without_a_name_there_is_nothing_to_compare)
{
	char *argv[] = {"stasis", "--kernel", "k"};
	struct error err;

	ck_assert_int_eq(options_parse(&now.opt, 3, argv, &err), 0);
	ck_assert_int_eq(options_parse(&was.opt, 3, argv, &err), 0);
	ck_assert_uint_eq(options_compare(&now.opt, &was.opt, stdout), 0);
}

UNIT_MAIN(NULL, forget_all)
