/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Configuration files: what they accept, which place counts, and what is said of what they do not accept. */
#include "tests/rig/unit.h"
#include "vmm/config.h"
#include "vmm/options.h"
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder[] = "/tmp/test-config-XXXXXX", path[64];
static struct options opt;
static struct error err;

static void make_folder(void)
{
	char drop_ins[80];

	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/vm1.conf", folder);
	snprintf(drop_ins, sizeof(drop_ins), "%s.d", path);
	ck_assert_int_eq(mkdir(drop_ins, 0700), 0);
}

static void remove_folder(void)
{
	char command[80];

	options_free(&opt);
	snprintf(command, sizeof(command), "rm -r %s", folder);
	ck_assert_int_eq(system(command), 0);
}

static void write_file(const char *file, const char *text, size_t bytes)
{
	int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, bytes), (ssize_t)bytes);
	close(fd);
}

static void put_file(const char *text)
{
	write_file(path, text, strlen(text));
}

static void put_drop_in(const char *name, const char *text)
{
	char file[128];

	snprintf(file, sizeof(file), "%s.d/%s", path, name);
	write_file(file, text, strlen(text));
}

/* "stasis --config FILE" with at most four words more, separated by spaces. */
static int parse(const char *words)
{
	static char line[256];
	char *rest = *words ? line : NULL;
	char *argv[8] = {"stasis", "--config", path};
	int argc = 3;

	snprintf(line, sizeof(line), "%s", words);
	err.msg[0] = '\0';
	while (rest && argc < 7)
		argv[argc++] = strsep(&rest, " ");
	options_free(&opt);
	return options_parse(&opt, argc, argv, &err);
}

static void accepts(const char *words)
{
	ck_assert_msg(!parse(words), "%s: %s", words, err.msg);
}

/* tail: of the message, after the name of the folder */
static void refuses(const char *words, const char *tail)
{
	ck_assert_msg(parse(words), "accepted");
	ck_assert_msg(!strncmp(err.msg, folder, strlen(folder)), "%s", err.msg);
	ck_assert_str_eq(err.msg + strlen(folder) + 1, tail);
}

TEST(lines_are_options_without_their_dashes)
{
	put_file("# a comment\n\n  cpus 4  \nmemory\tsize=1G,path=/dev/dax0.0\r\nkernel=/boot/k\n"
		 "append console=ttyS0 root=/dev/vda # x\nrng\ndisk path=/a\ndisk path=/b");
	accepts("");
	ck_assert_uint_eq(opt.cpus, 4);
	ck_assert_uint_eq(opt.memory.size_bytes, 1 << 30);
	ck_assert_str_eq(opt.memory.path, "/dev/dax0.0");
	ck_assert_str_eq(opt.kernel, "/boot/k");
	ck_assert_str_eq(opt.append, "console=ttyS0 root=/dev/vda # x");
	ck_assert(opt.rng);
	ck_assert_uint_eq(opt.ndisks, 2);
	ck_assert_str_eq(opt.disk[1].path, "/b");
}

TEST(places_follow_from_the_name)
{
	put_file("kernel k\nmemory size=1G,path=/dev/dax0.0\nagent\nconsole\n");
	accepts("");
	ck_assert_str_eq(opt.name, "vm1");
	ck_assert_str_eq(opt.qmp_path, "/run/stasis/vm1/qmp");
	ck_assert_str_eq(opt.serial.path, "/run/stasis/vm1/serial");
	ck_assert_str_eq(opt.agent.path, "/run/stasis/vm1/agent");
	ck_assert_str_eq(opt.console.path, "/run/stasis/vm1/console");
	ck_assert_str_eq(opt.cpr_file, "/var/lib/stasis/vm1/checkpoint");
	put_drop_in("name.conf", "name other\nserial none\ncpr-file /c\n");
	accepts("");
	ck_assert_str_eq(opt.name, "other");
	ck_assert_str_eq(opt.qmp_path, "/run/stasis/vm1/qmp"); /* the unit's folder */
	ck_assert_int_eq(opt.serial.kind, CHARDEV_NONE);
	ck_assert_str_eq(opt.cpr_file, "/c");
}

static const struct {
	const char *line, *append;
} values[] = {
	{"append a", "a"},
	{"append=a", "a"},
	{"append = a", "a"},
	{"append\t=\ta", "a"},
	{"append a = b", "a = b"},
	{"append=", ""},
	{"append = ", ""},
	{"append ==a", "=a"},
	{"\xef\xbb\xbf"
	 "append a",
	 "a"},
};

TEST_EACH(value_follows_blanks_or_an_equals_sign, values)
{
	char text[64];

	snprintf(text, sizeof(text), "%s\nkernel k\n", values[_i].line);
	put_file(text);
	accepts("");
	ck_assert_str_eq(opt.append, values[_i].append);
}

TEST(ram_that_does_not_last_has_no_checkpoint)
{
	put_file("kernel k\nmemory size=1G\n");
	accepts("");
	ck_assert_ptr_null(opt.cpr_file);
}

TEST(later_places_replace_an_option)
{
	put_file("kernel k\ncpus 1\nmachine pit=on\ndisk path=/a\n");
	put_drop_in("20.conf", "cpus 3\nmachine s3=off\n");
	put_drop_in("10.conf", "cpus 2\ndisk path=/b\n");
	put_drop_in(".hidden.conf", "cpus x\n");
	put_drop_in("30.conf.bak", "cpus x\n");
	accepts("");
	ck_assert_uint_eq(opt.cpus, 3);
	ck_assert(!opt.pit && !opt.s3); /* as a whole, not key by key */
	accepts("--cpus 5 --disk path=/c");
	ck_assert_uint_eq(opt.cpus, 5);
	ck_assert_uint_eq(opt.ndisks, 3);
	ck_assert_str_eq(opt.disk[1].path, "/b");
	ck_assert_str_eq(opt.disk[2].path, "/c");
}

static const struct {
	const char *text, *message;
} bad[] = {
	{"cpus 1\n\ncpus 2\n", "vm1.conf:3: --cpus comes twice: give it once"},
	{"cpus 99\n", "vm1.conf:1: --cpus 99: must be N: vCPUs, 1 to 64 (default 1)"},
	{"cpus\n", "vm1.conf:1: --cpus needs a value: N"},
	{"rng on\n", "vm1.conf:1: --rng takes no value"},
	{"# x\nmemroy size=1G\n",
	 "vm1.conf:2: there is no option '--memroy' (did you mean --memory?); see --help"},
	{"disk paht=/a\n", "vm1.conf:1: --disk: there is no key 'paht'; see --help"},
	{"discard-saved\n", "vm1.conf:1: --discard-saved can be given on the command line only"},
	{"config x\n", "vm1.conf:1: --config can be given on the command line only"},
	{"append a\x1b[1m\n", "vm1.conf:1: byte 0x1b is no text"},
};

TEST_EACH(refusals_name_file_and_line, bad)
{
	put_file(bad[_i].text);
	refuses("", bad[_i].message);
}

TEST(drop_in_is_named)
{
	put_file("kernel k\n");
	put_drop_in("x.conf", "\ncpus 0\n");
	refuses("", "vm1.conf.d/x.conf:2: --cpus 0: must be N: vCPUs, 1 to 64 (default 1)");
}

TEST(command_line_is_not_blamed_on_a_file)
{
	put_file("kernel k\ncpus 1\n");
	ck_assert(parse("--cpus 0"));
	ck_assert_str_eq(err.msg, "--cpus 0: must be N: vCPUs, 1 to 64 (default 1)");
}

TEST(what_is_no_configuration_file)
{
	static char large[(64 << 10) + 1];

	ck_assert(parse(""));
	ck_assert_ptr_nonnull(strstr(err.msg, "/vm1.conf: No such file or directory"));
	write_file(path, "cpus 1\n\0x\n", 10);
	ck_assert(parse(""));
	ck_assert_ptr_nonnull(strstr(err.msg, "is not a text file"));
	memset(large, '\n', sizeof(large));
	write_file(path, large, sizeof(large));
	ck_assert(parse(""));
	ck_assert_ptr_nonnull(strstr(err.msg, "is larger than 64 KiB"));
	ck_assert_int_eq(unlink(path), 0);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert(parse(""));
	ck_assert_ptr_nonnull(strstr(err.msg, "is not a regular file"));
	strcpy(path, folder);
	ck_assert(parse(""));
	ck_assert_ptr_nonnull(strstr(err.msg, "is not a regular file"));
	accepts("--help");
}

UNIT_MAIN(make_folder, remove_folder)
