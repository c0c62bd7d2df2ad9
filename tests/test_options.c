/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: what it accepts, what it says of what it does not. */
#include "vmm/options.h"
#include "vmm/uuid.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAX_ARGS 16

static struct options opt;
static struct error err;
static char line[512];

/* Words separated by '|'; the parser may write into them. */
static int parse(const char *words)
{
	char *argv[MAX_ARGS + 1] = {"stasis"}, *rest = line;
	int argc = 1;

	snprintf(line, sizeof(line), "%s", words);
	err.msg[0] = '\0';
	while (rest && argc < MAX_ARGS)
		argv[argc++] = strsep(&rest, "|");
	return options_parse(&opt, argc, argv, &err);
}

START_TEST(size)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},		{"1", 1},
		    {"4096", 4096},	{"3k", 3072},
		    {"2M", 2 << 20},	{"1G", 1 << 30},
		    {"1T", 1ULL << 40}, {"16777215T", 0xffffffULL << 40}};
	static const char *const bad[] = {"",
					  "G",
					  "-1",
					  "1GB",
					  "1.5G",
					  " 1",
					  "0x10",
					  "1P",
					  "1 G",
					  "16777216T",
					  "18446744073709551616"};
	uint64_t bytes;

	for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++) {
		ck_assert_msg(!options_size(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_uint_eq(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
		ck_assert_msg(options_size(bad[i], &bytes), "'%s'", bad[i]);
}
END_TEST

START_TEST(defaults)
{
	uint8_t uuid[UUID_BYTES];

	ck_assert_int_eq(parse("--kernel|k"), 0);
	ck_assert_int_eq(opt.job, JOB_RUN);
	ck_assert_str_eq(opt.name, "vm");
	ck_assert_uint_eq(opt.cpus, 1);
	ck_assert_uint_eq(opt.memory.size_bytes, 256 << 20);
	ck_assert_ptr_null(opt.memory.path);
	ck_assert_str_eq(opt.append, "");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_STDIO);
	ck_assert_int_eq(opt.on_reset, ON_RESET_RESET);
	ck_assert(!opt.pit && !opt.paused && !opt.discard_saved && !opt.clock_realtime);
	uuid_from_name("vm", uuid);
	ck_assert_mem_eq(opt.uuid, uuid, UUID_BYTES);
}
END_TEST

START_TEST(everything)
{
	char text[UUID_TEXT];

	ck_assert_int_eq(
		parse("--name|vm1|--cpus=64|--memory|size=1G,path=/dev/dax0.0,offset=2M|"
		      "--kernel|k|--initrd|i|--append|a=b c|--serial|unix:/s|--qmp|unix:/q"),
		0);
	ck_assert_str_eq(opt.name, "vm1");
	ck_assert_uint_eq(opt.cpus, 64);
	ck_assert_uint_eq(opt.memory.size_bytes, 1 << 30);
	ck_assert_str_eq(opt.memory.path, "/dev/dax0.0");
	ck_assert_uint_eq(opt.memory.offset_bytes, 2 << 20);
	ck_assert(opt.memory.has_offset);
	ck_assert_str_eq(opt.kernel, "k");
	ck_assert_str_eq(opt.initrd, "i");
	ck_assert_str_eq(opt.append, "a=b c");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_UNIX);
	ck_assert_str_eq(opt.serial.path, "/s");
	ck_assert_str_eq(opt.qmp_path, "/q");
	ck_assert_int_eq(parse("--kernel|k|--qmp|unix:/q|--paused|--cpr-file|f|--on-reset|exit|"
			       "--machine|pit=on,clock=realtime|--log|debug|--serial|none"),
			 0);
	ck_assert(opt.paused && opt.pit && opt.clock_realtime);
	ck_assert_str_eq(opt.cpr_file, "f");
	ck_assert_int_eq(opt.on_reset, ON_RESET_EXIT);
	ck_assert_int_eq(parse("--incoming|defer|--qmp|unix:/q"), 0);
	ck_assert_int_eq(opt.incoming, INCOMING_DEFER);
	ck_assert_int_eq(parse("--incoming|/f"), 0);
	ck_assert_str_eq(opt.incoming_file, "/f");
	ck_assert_int_eq(parse("--kernel|k|--uuid|123E4567-e89b-12d3-a456-426614174000"), 0);
	ck_assert_str_eq(uuid_format(opt.uuid, text), "123e4567-e89b-12d3-a456-426614174000");
	ck_assert_int_eq(parse("--inspect|f|--json"), 0);
	ck_assert(opt.job == JOB_INSPECT && opt.json);
	ck_assert_int_eq(parse("--inspect-memory|/dev/dax0.0,offset=1G,size=64M"), 0);
	ck_assert_str_eq(opt.memory.path, "/dev/dax0.0");
	ck_assert_uint_eq(opt.memory.offset_bytes, 1 << 30);
	ck_assert_uint_eq(opt.memory.size_bytes, 64 << 20);
	/* Not --memory's default: the label is looked for. */
	ck_assert_int_eq(parse("--inspect-memory|/dev/dax0.0"), 0);
	ck_assert_uint_eq(opt.memory.size_bytes, 0);
	ck_assert_int_eq(parse("--help"), 0);
	ck_assert_int_eq(opt.job, JOB_HELP);
}
END_TEST

/* Every refusal names what it refuses. */
START_TEST(refusals)
{
	static const struct {
		const char *words, *says;
	} bad[] = {
		{"--name|v", "--kernel is missing"},
		{"", "'' is no option"},
		{"kernel", "'kernel' is no option"},
		{"--colour|red", "'--colour'"},
		{"--kern|k", "'--kern'"},
		{"--kernel", "--kernel needs a value"},
		{"--paused=yes", "--paused takes no value"},
		{"--cpus|0", "--cpus 0: 1 to 64"},
		{"--cpus|65", "--cpus 65: 1 to 64"},
		{"--cpus|2x", "--cpus 2x"},
		{"--cpus|-1", "--cpus -1"},
		{"--name|a/b", "--name a/b"},
		{"--name|", "--name"},
		{"--memory|1G", "'1G' is not of the form key=value"},
		{"--memory|size=1G,colour=red", "no key 'colour'"},
		{"--memory|size=3", "--memory: size=3"},
		{"--memory|size=0", "--memory: size=0"},
		{"--memory|path=/x", "size= is missing"},
		{"--memory|size=1G,offset=1G", "offset= needs path="},
		{"--memory|size=1G,path=", "'path='"},
		{"--serial|tcp:1", "--serial tcp:1"},
		{"--serial|unix:", "--serial unix:"},
		{"--serial|stdiox", "--serial stdiox"},
		{"--qmp|/q", "--qmp /q: must be unix:PATH"},
		{"--uuid|1234", "--uuid 1234"},
		{"--uuid|123e4567-e89b-12d3-a456-42661417400g", "--uuid"},
		{"--on-reset|halt", "--on-reset halt: reset or exit"},
		{"--machine|pit=maybe", "pit=maybe: on or off"},
		{"--machine|clock=utc", "clock=utc"},
		{"--log|loud", "--log loud"},
		{"--kernel|k|--json", "--json"},
		{"--kernel|k|--paused", "--paused needs --qmp"},
		{"--incoming|defer", "--incoming defer needs --qmp"},
		{"--incoming|f|--discard-saved", "contradict"},
		{"--inspect-memory|f,offset=x", "offset=x"},
		{"--inspect-memory|f,size=3", "--inspect-memory: size=3"},
	};

	for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
		ck_assert_msg(parse(bad[i].words), "accepted: %s", bad[i].words);
		ck_assert_msg(strstr(err.msg, bad[i].says), "%s: says '%s', not '%s'", bad[i].words,
			      err.msg, bad[i].says);
		ck_assert_msg(!strchr(err.msg, '\n'), "%s: more than one line", bad[i].words);
	}
}
END_TEST

START_TEST(identities)
{
	uint8_t a[UUID_BYTES], b[UUID_BYTES];
	char text[UUID_TEXT];

	uuid_from_name("vm1", a);
	uuid_from_name("vm2", b);
	ck_assert_mem_ne(a, b, UUID_BYTES);
	uuid_from_name("vm1", b);
	ck_assert_mem_eq(a, b, UUID_BYTES);
	ck_assert_int_eq(uuid_random(b), 0);
	ck_assert_int_eq(uuid_parse(uuid_format(b, text), a), 0);
	ck_assert_mem_eq(a, b, UUID_BYTES);
	ck_assert_int_eq(text[14], '4');
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("options");
	TCase *tcase = tcase_create("options");

	tcase_add_test(tcase, size);
	tcase_add_test(tcase, defaults);
	tcase_add_test(tcase, everything);
	tcase_add_test(tcase, refusals);
	tcase_add_test(tcase, identities);
	suite_add_tcase(suite, tcase);
	return unit_run(suite);
}
