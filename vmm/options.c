/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include "vmm/options_keys.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Index of text in a NULL-terminated list, or -1. */
static int word(const char *const *list, const char *text)
{
	for (int i = 0; list[i]; i++)
		if (!strcmp(list[i], text))
			return i;
	return -1;
}

static int name(struct options *opt, char *value, struct error *err)
{
	for (const char *c = value; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("._-+:@", *c))
			return error_set(err, -EINVAL,
					 "--name %s: letters, digits and . _ - + : @ only", value);
	if (!*value || strlen(value) > 64)
		return error_set(err, -EINVAL, "--name: 1 to 64 characters");
	opt->name = value;
	return 0;
}

static int uuid(struct options *opt, char *value, struct error *err)
{
	if (uuid_parse(value, opt->uuid))
		return error_set(err, -EINVAL,
				 "--uuid %s: must look like 123e4567-e89b-12d3-a456-426614174000",
				 value);
	opt->has_uuid = true;
	return 0;
}

static int cpus(struct options *opt, char *value, struct error *err)
{
	char *end;
	unsigned long n = strtoul(value, &end, 10);

	if (!isdigit((unsigned char)*value) || *end || n < 1 || n > OPTIONS_MAX_CPUS)
		return error_set(err, -EINVAL, "--cpus %s: 1 to %d", value, OPTIONS_MAX_CPUS);
	opt->cpus = (uint32_t)n;
	return 0;
}

enum { MEMORY_SIZE, MEMORY_PATH, MEMORY_OFFSET };
#define KEY_SIZE                                                                        \
	{                                                                               \
		"size", "SIZE", "a multiple of 2M such as 512M or 4G", key_size,        \
			offsetof(struct options, memory.size_bytes), RAM_GRAIN_BYTES, 0 \
	}
#define KEY_OFFSET                                                                               \
	{                                                                                        \
		"offset", "SIZE", "a size such as 1G: where in path guest RAM begins", key_size, \
			offsetof(struct options, memory.offset_bytes), 0, 0                      \
	}

static const struct key_row memory_keys[] = {
	[MEMORY_SIZE] = KEY_SIZE,
	[MEMORY_PATH] = {"path", "PATH", "a DAX device or a file (default: a memfd)", key_text,
			 offsetof(struct options, memory_path), 0,
			 sizeof(((struct options *)0)->memory_path)},
	[MEMORY_OFFSET] = KEY_OFFSET,
	{0},
};

static int memory(struct options *opt, char *value, struct error *err)
{
	uint32_t seen;

	opt->memory = (struct ram_config){0};
	if (options_keys("--memory", memory_keys, opt, value, &seen, err))
		return -EINVAL;
	opt->memory.has_offset = seen & 1U << MEMORY_OFFSET;
	if (seen & 1U << MEMORY_PATH)
		opt->memory.path = opt->memory_path;
	if (!(seen & 1U << MEMORY_SIZE))
		return error_set(err, -EINVAL, "--memory: size= is missing");
	if (opt->memory.has_offset && !opt->memory.path)
		return error_set(err, -EINVAL, "--memory: offset= needs path=");
	return 0;
}

static int qmp(struct options *opt, char *value, struct error *err)
{
	if (strncmp(value, "unix:", 5) || !value[5])
		return error_set(err, -EINVAL, "--qmp %s: must be unix:PATH", value);
	opt->qmp_path = value + 5;
	return 0;
}

static int incoming(struct options *opt, char *value, struct error *err)
{
	if (!*value)
		return error_set(err, -EINVAL, "--incoming: defer or the path of a checkpoint");
	opt->incoming = strcmp(value, "defer") ? INCOMING_FILE : INCOMING_DEFER;
	opt->incoming_file = opt->incoming == INCOMING_FILE ? value : NULL;
	return 0;
}

static int cpr_file(struct options *opt, char *value, struct error *err)
{
	if (!*value)
		return error_set(err, -EINVAL, "--cpr-file: the path of a checkpoint");
	opt->cpr_file = value;
	return 0;
}

static int on_reset(struct options *opt, char *value, struct error *err)
{
	static const char *const words[] = {"reset", "exit", NULL};
	int i = word(words, value);

	if (i < 0)
		return error_set(err, -EINVAL, "--on-reset %s: reset or exit", value);
	opt->on_reset = i ? ON_RESET_EXIT : ON_RESET_RESET;
	return 0;
}

static const struct key_row machine_keys[] = {
	{"pit", "off|on", "an i8254 timer (default off)", key_switch, offsetof(struct options, pit),
	 0, 0},
	{"s3", "off|on", "sleep (ACPI S3) (default on)", key_switch, offsetof(struct options, s3),
	 0, 0},
	{"clock", "continue|realtime", "the guest's clock after a load (default continue)",
	 key_switch, offsetof(struct options, clock_realtime), 0, 0},
	{0},
};

static int machine(struct options *opt, char *value, struct error *err)
{
	return options_keys("--machine", machine_keys, opt, value, NULL, err);
}

static int log_option(struct options *opt, char *value, struct error *err)
{
	opt->log_level = log_level_parse(value);
	if (opt->log_level < 0)
		return error_set(err, -EINVAL, "--log %s: error, warn, info or debug", value);
	return 0;
}

static int inspect(struct options *opt, char *value, struct error *err)
{
	(void)err;
	opt->job = JOB_INSPECT;
	opt->inspect_path = value;
	return 0;
}

static int inspect_memory(struct options *opt, char *value, struct error *err)
{
	static const struct key_row keys[] = {KEY_SIZE, KEY_OFFSET, {0}};

	opt->job = JOB_INSPECT_MEMORY;
	opt->memory = (struct ram_config){.path = options_next(&value)};
	return value ? options_keys("--inspect-memory", keys, opt, value, NULL, err) : 0;
}

static int help(struct options *opt, char *value, struct error *err)
{
	(void)value, (void)err;
	opt->job = JOB_HELP;
	return 0;
}

static int version(struct options *opt, char *value, struct error *err)
{
	(void)value, (void)err;
	opt->job = JOB_VERSION;
	return 0;
}

static const struct option_row machine_rows[] = {
	{"name", "NAME", "name of the VM; its identity comes from it", .parse = name},
	{"uuid", "UUID", "identity of the VM instead of the name's", .parse = uuid},
	{"cpus", "N", "vCPUs, 1 to 64 (default 1)", .parse = cpus},
	{"memory", "size=SIZE[,path=PATH[,offset=SIZE]]", "guest RAM (default size=256M)",
	 .parse = memory, .keys = memory_keys},
	{"kernel", "FILE", "bzImage, or uncompressed ELF with a PVH note", OPTION_MEMBER(kernel)},
	{"initrd", "FILE", "initial RAM disk", OPTION_MEMBER(initrd)},
	{"append", "TEXT", "kernel command line", OPTION_MEMBER(append)},
	{"machine", "KEY=VALUE,...", "properties of the machine", .parse = machine,
	 .keys = machine_keys},
	{0},
};

#define BOTH_INSPECT (1U << JOB_INSPECT | 1U << JOB_INSPECT_MEMORY)
static const struct option_row process_rows[] = {
	{"qmp", "unix:PATH", "QMP socket", .parse = qmp},
	{"paused", NULL, "do not run the guest before cont or cprload", OPTION_MEMBER(paused)},
	{"incoming", "defer|FILE", "wait for cprload, or load FILE at once", .parse = incoming},
	{"cpr-file", "FILE", "checkpoint that cprsave writes and the next start loads",
	 .parse = cpr_file},
	{"discard-saved", NULL, "boot even if this RAM holds a saved guest, which is lost",
	 OPTION_MEMBER(discard_saved)},
	{"on-reset", "reset|exit", "what a guest's reset does (default reset)", .parse = on_reset},
	{"check", NULL, "look whether this would start, and how, change nothing, and exit",
	 OPTION_MEMBER(check)},
	{"log", "LEVEL", "error, warn, info or debug (default info)", .parse = log_option,
	 .jobs = BOTH_INSPECT},
	{"inspect", "FILE", "print a checkpoint", .parse = inspect, .jobs = 1U << JOB_INSPECT},
	{"inspect-memory", "PATH[,offset=SIZE][,size=SIZE]", "print the label of guest RAM",
	 .parse = inspect_memory, .jobs = 1U << JOB_INSPECT_MEMORY},
	{"json", NULL, "with --inspect or --inspect-memory: for programs", OPTION_MEMBER(json),
	 .jobs = BOTH_INSPECT},
	{"help", NULL, "print this; -h as well", .parse = help, .jobs = BOTH_INSPECT},
	{"version", NULL, "print the version; -V as well", .parse = version, .jobs = BOTH_INSPECT},
	{0},
};
static const struct option_row *const tables[] = {machine_rows, options_device_rows, process_rows};
#define NTABLES (sizeof(tables) / sizeof(tables[0]))

void options_help(void)
{
	puts("usage: stasis [OPTION...]\n\n"
	     "A virtual machine whose guest outlives the host kernel. SIZE takes K, M, G, T.\n"
	     "A comma in a list's value is written twice.\n");
	for (size_t table = 0; table < NTABLES; table++)
		for (const struct option_row *row = tables[table]; row->name; row++) {
			printf("  --%s%s%s\n        %s\n", row->name, row->value ? " " : "",
			       row->value ? row->value : "", row->help);
			for (const struct key_row *key = row->keys; key && key->key; key++)
				printf("        %s=%s  %s\n", key->key, key->value, key->help);
		}
	puts("\nExit status: 0 after power-off, quit, cprsave mode=restart and a check that finds "
	     "no fault,\n3 after cprsave mode=reboot, 1 otherwise.");
}

/* text: a name of `length` characters, and whatever follows. NULL: there is no such option.
 * *bit: its own in masks of options. */
static const struct option_row *find(const char *text, size_t length, uint64_t *bit)
{
	*bit = 1;
	for (size_t table = 0; table < NTABLES; table++)
		for (const struct option_row *row = tables[table]; row->name; row++, *bit <<= 1)
			if (strlen(row->name) == length && !strncmp(row->name, text, length))
				return row;
	return NULL;
}

/* text: a name of `length` characters that is no option's. */
static int refuse_unknown(const char *text, size_t length, struct error *err)
{
	const char *best = NULL;
	size_t most = 2, n; /* fewer letters than three are chance */

	for (size_t table = 0; table < NTABLES; table++)
		for (const struct option_row *row = tables[table]; row->name; row++) {
			for (n = 0; n < length && text[n] == row->name[n];)
				n++;
			if (n <= most)
				continue;
			best = row->name;
			most = n;
		}
	return error_set(err, -EINVAL, "there is no option '--%.*s'%s%s%s; see --help", (int)length,
			 text, best ? " (did you mean --" : "", best ? best : "", best ? "?)" : "");
}

/* The options that every tool has. */
static const struct {
	const char *letter;
	char *option;
} letters[] = {{"-h", "--help"}, {"-V", "--version"}};

static int parse_one(struct options *opt, char **argv, int *i, uint64_t *seen, struct error *err)
{
	char *text = argv[*i], *value;
	const struct option_row *row;
	uint64_t bit;
	size_t n;

	for (n = 0; n < sizeof(letters) / sizeof(letters[0]); n++)
		if (!strcmp(text, letters[n].letter))
			text = letters[n].option;
	if (strncmp(text, "--", 2))
		return error_set(err, -EINVAL, "'%s' is no option; see --help", text);
	text += 2;
	n = strcspn(text, "=");
	value = text[n] ? text + n + 1 : NULL;
	row = find(text, n, &bit);
	if (!row)
		return refuse_unknown(text, n, err);
	if (row->value && !row->repeats && *seen & bit)
		return error_set(err, -EINVAL, "--%s comes twice: give it once", row->name);
	*seen |= bit;
	if (!row->value && value)
		return error_set(err, -EINVAL, "--%s takes no value", row->name);
	if (row->value && !value) {
		value = argv[*i + 1];
		if (!value)
			return error_set(err, -EINVAL, "--%s needs a value: %s", row->name,
					 row->value);
		(*i)++;
	}
	if (row->parse)
		return row->parse(opt, value, err);
	if (row->value)
		*(const char **)((char *)opt + row->offset) = value;
	else
		*(bool *)((char *)opt + row->offset) = true;
	return 0;
}

/* seen: the options that were given, all at least once. */
static int check_together(const struct options *opt, uint64_t seen, struct error *err)
{
	uint64_t bit = 1;

	if (opt->job != JOB_INSPECT && opt->job != JOB_INSPECT_MEMORY)
		return 0;
	for (size_t table = 0; table < NTABLES; table++)
		for (const struct option_row *row = tables[table]; row->name; row++, bit <<= 1)
			if (seen & bit && !(row->jobs & 1U << opt->job))
				return error_set(err, -EINVAL,
						 "--%s and --inspect%s do not go together: leave "
						 "one of them out",
						 row->name,
						 opt->job == JOB_INSPECT ? "" : "-memory");
	return 0;
}

/* What no option alone can tell. */
static int check(const struct options *opt, struct error *err)
{
	if (opt->json && opt->job == JOB_RUN)
		return error_set(err, -EINVAL, "--json goes with --inspect or --inspect-memory");
	if (opt->job != JOB_RUN)
		return 0;
	if (opt->incoming == INCOMING_DEFER && !opt->qmp_path)
		return error_set(err, -EINVAL, "--incoming defer needs --qmp to receive cprload");
	if (opt->paused && !opt->qmp_path)
		return error_set(err, -EINVAL, "--paused needs --qmp to receive cont");
	if (opt->incoming != INCOMING_NO && opt->discard_saved)
		return error_set(err, -EINVAL,
				 "--incoming and --discard-saved contradict each other");
	if (opt->cpr_file && !opt->memory.path)
		return error_set(
			err, -EINVAL,
			"--cpr-file needs --memory size=...,path=...: RAM without a file or "
			"DAX device is gone with this process, so this guest cannot be "
			"saved");
	if (!opt->kernel && opt->incoming == INCOMING_NO && !opt->cpr_file)
		return error_set(err, -EINVAL, "--kernel is missing: a bzImage or a PVH ELF");
	return 0;
}

/* A VM that nothing outlives and nobody else meets needs no identity that somebody chose. */
static int identify(struct options *opt, struct error *err)
{
	const char *what = opt->memory.path ? "--memory path=" : opt->nnets ? "--net" : NULL;

	opt->has_identity = opt->name || opt->has_uuid;
	if (!opt->has_identity && what && opt->job == JOB_RUN)
		return error_set(err, -EINVAL,
				 "%s wants to know which VM this is: give --name NAME or --uuid "
				 "UUID, another one for each VM",
				 what);
	if (!opt->has_identity && uuid_random(opt->uuid))
		return error_set(err, -EIO, "getrandom: no identity for this VM: give --name NAME");
	if (opt->name && !opt->has_uuid)
		uuid_from_name(opt->name, opt->uuid);
	if (!opt->name)
		opt->name = "vm";
	return 0;
}

int options_parse(struct options *opt, int argc, char **argv, struct error *err)
{
	uint64_t seen = 0;

	*opt = (struct options){
		.cpus = 1,
		.memory.size_bytes = 256 << 20,
		.append = "",
		.serial = {CHARDEV_STDIO, NULL, "--serial"},
		.s3 = true,
		.log_level = LOG_INFO,
	};
	for (int i = 1; i < argc; i++)
		if (parse_one(opt, argv, &i, &seen, err))
			return -EINVAL;
	if (check_together(opt, seen, err))
		return -EINVAL;
	if (identify(opt, err))
		return -EINVAL;
	if (options_devices_finish(opt, err))
		return -EINVAL;
	opt->memory.must_exist = opt->incoming != INCOMING_NO;
	return check(opt, err);
}
