/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/verbs.h"
#include <stdint.h>
#include <stdio.h>
#include <string.h>

const struct verb verbs[] = {
	{"list", "", "all VMs of this host: state, vCPUs, RAM, downtime, version", verb_list,
	 .options = VERB_JSON},
	{"status", "NAME", "all that is known of one", verb_status, .takes_name = VERB_NAME,
	 .options = VERB_JSON},
	{"check", "[NAME]", "what would stop an update of the host, or of one VM, and the way out",
	 verb_check, .max_words = 1, .options = VERB_JSON},
	{"start", "NAME", "start its unit, stasis@NAME.service", verb_start,
	 .takes_name = VERB_NAME},
	{"stop", "NAME", "stop its unit: the guest is shut down", verb_stop,
	 .takes_name = VERB_NAME},
	{"save", "NAME", "save its guest and end its process", verb_save, .takes_name = VERB_NAME},
	{"load", "NAME", "bring a saved guest back", verb_load, .takes_name = VERB_NAME},
	{"console", "NAME [console|serial]", "its console at this terminal, until Ctrl-]",
	 verb_console, .takes_name = VERB_NAME, .max_words = 1},
	{"agent", "NAME [COMMAND [KEY=VALUE...]]",
	 "one command for the guest's agent, or all that are typed until Ctrl-]", verb_agent,
	 .takes_name = VERB_NAME, .max_words = SIZE_MAX},
	{"create", "NAME OPTION...",
	 "write its configuration file from options of stasis; RAM on a DAX device gets a free "
	 "range",
	 verb_create, .takes_name = VERB_NAME, .max_words = SIZE_MAX, .raw = true},
	{"edit", "NAME", "edit its configuration file, which changes only if it is good", verb_edit,
	 .takes_name = VERB_NAME},
	{"delete", "NAME", "remove its configuration file; disks and RAM stay", verb_delete,
	 .takes_name = VERB_NAME},
	{"memory", "", "whose RAM is where on DAX devices and in files, and what is free",
	 verb_memory, .options = VERB_JSON},
	{"upgrade", "NAME|--all [--jobs N]",
	 "put the installed binary under running guests (save and load)", verb_upgrade,
	 .takes_name = VERB_NAME_OR_ALL, .options = VERB_JSON | VERB_ALL | VERB_JOBS},
	{0},
};

const struct verb *verbs_find(const char *word)
{
	for (const struct verb *verb = verbs; verb->word; verb++)
		if (!strcmp(verb->word, word))
			return verb;
	return NULL;
}

void verbs_help(void)
{
	for (const struct verb *verb = verbs; verb->word; verb++)
		printf("  %s%s%s%s\n        %s\n", verb->word, *verb->arguments ? " " : "",
		       verb->arguments, verb->options & VERB_JSON ? " [--json]" : "", verb->help);
}
