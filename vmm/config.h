/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/config.h - options from configuration files: FILE, then the files FILE.d/NAME.conf in the order of their names.
 * A line is an option as on the command line, without its dashes: "memory size=4G,path=/dev/dax0.0". The value goes
 * to the end of the line as it is, without quotes. Empty lines, and those that begin with #, are comments.
 * Owns: the text of the files and of default places, as long as the process lives; options point into it.
 * Errors: -errno with one line that begins with file and line number. */
#ifndef VMM_CONFIG_H
#define VMM_CONFIG_H
#include "vmm/option_table.h"

/* Where a VM with a configuration file has its sockets and its checkpoint, if it is not told other places. */
#define CONFIG_RUN_DIR	 "/run/stasis"
#define CONFIG_STATE_DIR "/var/lib/stasis"

struct config_text {
	struct config_text *next;
	char text[];
};

int config_add_given(struct option_givens *all, const struct option_given *given,
		     struct error *err) must_check;
/* Adds the options of the files. */
int config_file_read(struct config_text **texts, const struct option_row *rows, const char *path,
		     struct option_givens *all, struct error *err) must_check;
/* The name of the VM whose configuration file is path: its last component without ".conf". NULL: out of memory. */
const char *config_name(struct config_text **texts, const char *path);
/* prefix, name and file with slashes between, such as "unix:/run/stasis", "vm1", "qmp". NULL: out of memory. */
const char *config_place(struct config_text **texts, const char *prefix, const char *name,
			 const char *file);
#endif
