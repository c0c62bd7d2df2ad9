/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/options.h - the command line as a struct: what the operator asked for, checked.
 * Owns: strings point into argv, which stays unchanged; lives as long as the process.
 * Threads: written once by main, read by all.
 * Units: bytes.
 * Errors: 0 or -EINVAL with one line that names the option, its value and what is allowed. */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H
#include "ram/ram.h"
#include "vmm/error.h"
#include <stdbool.h>
#include <stdint.h>

#define OPTIONS_MAX_CPUS 64

/* What the process is to do. */
enum options_job { JOB_RUN, JOB_HELP, JOB_VERSION, JOB_INSPECT, JOB_INSPECT_MEMORY };
enum chardev_kind { CHARDEV_NONE, CHARDEV_STDIO, CHARDEV_UNIX, CHARDEV_FILE };
enum on_reset { ON_RESET_RESET, ON_RESET_EXIT };
enum incoming { INCOMING_NO, INCOMING_DEFER, INCOMING_FILE };

struct chardev_config {
	enum chardev_kind kind;
	const char *path;
};

struct options {
	enum options_job job;
	const char *name;
	uint8_t uuid[16]; /* --uuid, else derived from the name */
	bool has_uuid;
	uint32_t cpus;
	struct ram_config memory;
	char memory_path[4096];		      /* what memory.path points to */
	const char *kernel, *initrd, *append; /* append is never NULL */
	struct chardev_config serial;
	const char *qmp_path; /* NULL: no QMP */
	bool paused, discard_saved;
	enum incoming incoming;
	const char *incoming_file;
	const char *cpr_file;
	enum on_reset on_reset;
	bool pit;
	bool clock_realtime; /* --machine clock=realtime: kvmclock catches up after a load */
	int log_level;
	const char *inspect_path;
	bool json;
};

int options_parse(struct options *opt, int argc, char **argv, struct error *err) must_check;
/* The text of --help, made from the same table that parses. */
void options_help(void);
/* "2 GiB" spelled as people type it: digits and an optional K, M, G or T (1024). */
int options_size(const char *text, uint64_t *bytes) must_check;
#endif
