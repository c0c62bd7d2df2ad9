/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/options.h"
#include "vmm/log.h"
#include "vmm/uuid.h"
#include <ctype.h>
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One row an option: parsing and --help walk the same table. */
struct option_row {
	const char *name;
	const char *value; /* what --help shows for it; NULL: a switch */
	const char *help;
	/* NULL: the member at `offset` takes the text, or true for a switch. */
	int (*parse)(struct options *opt, char *value, struct error *err);
	size_t offset;
};
#define MEMBER(m) NULL, offsetof(struct options, m)

/* One row a key of a comma-separated value, "size=1G,path=FILE". */
struct key_row {
	const char *key;
	int (*parse)(struct options *opt, const char *value, struct error *err);
};

int options_size(const char *text, uint64_t *bytes)
{
	static const char suffix[] = "KMGT";
	const char *at;
	unsigned int shift = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*bytes = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		at = strchr(suffix, toupper((unsigned char)*end));
		if (!at || end[1])
			return -EINVAL;
		shift = 10 * (unsigned int)(at - suffix + 1);
	}
	if (*bytes << shift >> shift != *bytes)
		return -ERANGE;
	*bytes <<= shift;
	return 0;
}

static int parse_pair(const char *option, const struct key_row *row, struct options *opt,
		      char *pair, struct error *err)
{
	char *value = strchr(pair, '=');
	int ret;

	if (!value || !value[1])
		return error_set(err, -EINVAL, "%s: '%s' is not of the form key=value", option,
				 pair);
	*value++ = '\0';
	while (row->key && strcmp(row->key, pair))
		row++;
	if (!row->key)
		return error_set(err, -EINVAL, "%s: there is no key '%s'; see --help", option,
				 pair);
	ret = row->parse(opt, value, err);
	if (ret)
		error_prefix(err, "%s", option);
	return ret;
}

/* In a copy: argv stays what /proc/PID/cmdline shows, from which kexec-resume starts us again. */
static int parse_keys(const char *option, const struct key_row *row, struct options *opt,
		      const char *text, struct error *err)
{
	char *copy = strdup(text), *rest = copy, *pair;
	int ret = copy ? 0 : error_set(err, -ENOMEM, "%s: out of memory", option);

	while (!ret && (pair = strsep(&rest, ",")))
		ret = parse_pair(option, row, opt, pair, err);
	free(copy);
	return ret;
}

/* Index of text in a NULL-terminated list, or -1. */
static int word(const char *const *list, const char *text)
{
	for (int i = 0; list[i]; i++)
		if (!strcmp(list[i], text))
			return i;
	return -1;
}

static const char *const on_off[] = {"off", "on", NULL};

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

static int memory_size(struct options *opt, const char *value, struct error *err)
{
	if (options_size(value, &opt->memory.size_bytes) || !opt->memory.size_bytes ||
	    opt->memory.size_bytes % RAM_GRAIN_BYTES)
		return error_set(err, -EINVAL, "size=%s: a multiple of 2M such as 512M or 4G",
				 value);
	return 0;
}

static int memory_path(struct options *opt, const char *value, struct error *err)
{
	if (strlen(value) >= sizeof(opt->memory_path))
		return error_set(err, -ENAMETOOLONG, "path=: longer than %zu bytes",
				 sizeof(opt->memory_path) - 1);
	opt->memory.path = strcpy(opt->memory_path, value);
	return 0;
}

static int memory_offset(struct options *opt, const char *value, struct error *err)
{
	if (options_size(value, &opt->memory.offset_bytes))
		return error_set(err, -EINVAL, "offset=%s: a size such as 1G", value);
	opt->memory.has_offset = true;
	return 0;
}

static int memory(struct options *opt, char *value, struct error *err)
{
	static const struct key_row keys[] = {
		{"size", memory_size}, {"path", memory_path}, {"offset", memory_offset}, {0}};

	opt->memory = (struct ram_config){0};
	if (parse_keys("--memory", keys, opt, value, err))
		return -EINVAL;
	if (!opt->memory.size_bytes)
		return error_set(err, -EINVAL, "--memory: size= is missing");
	if (opt->memory.has_offset && !opt->memory.path)
		return error_set(err, -EINVAL, "--memory: offset= needs path=");
	return 0;
}

static int serial(struct options *opt, char *value, struct error *err)
{
	static const struct {
		const char *prefix;
		enum chardev_kind kind;
		bool path;
	} kinds[] = {{"stdio", CHARDEV_STDIO, false},
		     {"none", CHARDEV_NONE, false},
		     {"unix:", CHARDEV_UNIX, true},
		     {"file:", CHARDEV_FILE, true}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (strncmp(value, kinds[i].prefix, n) || !value[n] == kinds[i].path)
			continue;
		opt->serial.kind = kinds[i].kind;
		opt->serial.path = kinds[i].path ? value + n : NULL;
		return 0;
	}
	return error_set(err, -EINVAL, "--serial %s: stdio, unix:PATH, file:PATH or none", value);
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

static int machine_pit(struct options *opt, const char *value, struct error *err)
{
	int i = word(on_off, value);

	if (i < 0)
		return error_set(err, -EINVAL, "pit=%s: on or off", value);
	opt->pit = i;
	return 0;
}

static int machine_clock(struct options *opt, const char *value, struct error *err)
{
	static const char *const words[] = {"continue", "realtime", NULL};
	int i = word(words, value);

	if (i < 0)
		return error_set(err, -EINVAL, "clock=%s: continue or realtime", value);
	opt->clock_realtime = i;
	return 0;
}

static int machine(struct options *opt, char *value, struct error *err)
{
	static const struct key_row keys[] = {{"pit", machine_pit}, {"clock", machine_clock}, {0}};

	return parse_keys("--machine", keys, opt, value, err);
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
	static const struct key_row keys[] = {
		{"size", memory_size}, {"offset", memory_offset}, {0}};

	opt->job = JOB_INSPECT_MEMORY;
	opt->memory = (struct ram_config){.path = strsep(&value, ",")};
	return value ? parse_keys("--inspect-memory", keys, opt, value, err) : 0;
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

static const struct option_row rows[] = {
	{"name", "NAME", "name of the VM; its identity comes from it (default vm)", name, 0},
	{"uuid", "UUID", "identity of the VM instead of the name's", uuid, 0},
	{"cpus", "N", "vCPUs, 1 to 64 (default 1)", cpus, 0},
	{"memory", "size=SIZE[,path=PATH[,offset=SIZE]]",
	 "guest RAM: a DAX device or a file; without path a memfd (default 256M)", memory, 0},
	{"kernel", "FILE", "bzImage, or uncompressed ELF with a PVH note", MEMBER(kernel)},
	{"initrd", "FILE", "initial RAM disk", MEMBER(initrd)},
	{"append", "TEXT", "kernel command line", MEMBER(append)},
	{"serial", "stdio|unix:PATH|file:PATH|none", "COM1 (default stdio); Ctrl-A X ends", serial,
	 0},
	{"qmp", "unix:PATH", "QMP socket", qmp, 0},
	{"paused", NULL, "do not run the guest before cont or cprload", MEMBER(paused)},
	{"incoming", "defer|FILE", "wait for cprload, or load FILE at once", incoming, 0},
	{"cpr-file", "FILE", "checkpoint that cprsave writes and the next start loads", cpr_file,
	 0},
	{"discard-saved", NULL, "boot even if this RAM holds a saved guest, which is lost",
	 MEMBER(discard_saved)},
	{"on-reset", "reset|exit", "what a guest's reset does (default reset)", on_reset, 0},
	{"machine", "KEY=VALUE,...",
	 "pit=on|off: i8254 timer (default off); clock=continue|realtime: guest clock after a load",
	 machine, 0},
	{"log", "LEVEL", "error, warn, info or debug (default info)", log_option, 0},
	{"inspect", "FILE", "print a checkpoint", inspect, 0},
	{"inspect-memory", "PATH[,offset=SIZE][,size=SIZE]", "print the label of guest RAM",
	 inspect_memory, 0},
	{"json", NULL, "with --inspect or --inspect-memory: for programs", MEMBER(json)},
	{"help", NULL, "print this", help, 0},
	{"version", NULL, "print the version", version, 0},
};
#define NROWS (sizeof(rows) / sizeof(rows[0]))

void options_help(void)
{
	puts("usage: stasis [OPTION...]\n\n"
	     "A virtual machine whose guest outlives the host kernel. SIZE takes K, M, G, T.\n");
	for (size_t i = 0; i < NROWS; i++)
		printf("  --%s%s%s\n        %s\n", rows[i].name, rows[i].value ? " " : "",
		       rows[i].value ? rows[i].value : "", rows[i].help);
	puts("\nExit status: 0 after power-off, quit or a durable cprsave, 1 otherwise.");
}

static int parse_one(struct options *opt, char **argv, int *i, struct error *err)
{
	char *text = argv[*i], *value;
	const struct option_row *row = rows;
	size_t n;

	if (strncmp(text, "--", 2))
		return error_set(err, -EINVAL, "'%s' is no option; see --help", text);
	n = strcspn(text, "=");
	value = text[n] ? text + n + 1 : NULL;
	while (row < rows + NROWS &&
	       (strlen(row->name) + 2 != n || strncmp(row->name, text + 2, n - 2)))
		row++;
	if (row == rows + NROWS)
		return error_set(err, -EINVAL, "there is no option '%.*s'; see --help", (int)n,
				 text);
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
	if (!opt->kernel && opt->incoming == INCOMING_NO && !opt->cpr_file)
		return error_set(err, -EINVAL, "--kernel is missing: a bzImage or a PVH ELF");
	return 0;
}

int options_parse(struct options *opt, int argc, char **argv, struct error *err)
{
	*opt = (struct options){
		.name = "vm",
		.cpus = 1,
		.memory.size_bytes = 256 << 20,
		.append = "",
		.serial.kind = CHARDEV_STDIO,
		.log_level = LOG_INFO,
	};
	for (int i = 1; i < argc; i++)
		if (parse_one(opt, argv, &i, err))
			return -EINVAL;
	if (!opt->has_uuid)
		uuid_from_name(opt->name, opt->uuid);
	return check(opt, err);
}
