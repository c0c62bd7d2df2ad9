/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/verbs.h - what stasisctl does with the VMs of a host, by name. The table of verbs.c makes the command line, the text
 * of --help and the completion of shells.
 * A verb returns an exit status and has said why it is not 0. */
#ifndef QMP_CTL_VERBS_H
#define QMP_CTL_VERBS_H
#include <stdbool.h>
#include <stddef.h>

struct verb_call {
	const char *name; /* of the VM; NULL: the verb is about all */
	char **words;	  /* what follows it, up to NULL */
	bool json, all;
	size_t jobs;
};

enum verb_option { VERB_JSON = 1, VERB_ALL = 2, VERB_JOBS = 4 };
enum verb_name { VERB_NO_NAME, VERB_NAME, VERB_NAME_OR_ALL };

struct verb {
	const char *word;
	const char *arguments; /* as --help shows them */
	const char *help;
	int (*run)(const struct verb_call *call);
	enum verb_name takes_name;
	unsigned int options; /* of enum verb_option */
	size_t max_words;     /* after the name; SIZE_MAX: any number */
	bool raw;	      /* its words may begin with dashes */
};

extern const struct verb verbs[]; /* ends with one without a word */

const struct verb *verbs_find(const char *word);
void verbs_help(void);

/* list.c */
int verb_list(const struct verb_call *call);
int verb_status(const struct verb_call *call);
/* check.c */
int verb_check(const struct verb_call *call);
/* memory.c */
int verb_memory(const struct verb_call *call);
/* manage.c */
int verb_start(const struct verb_call *call);
int verb_stop(const struct verb_call *call);
int verb_save(const struct verb_call *call);
int verb_load(const struct verb_call *call);
int verb_delete(const struct verb_call *call);
/* create.c */
int verb_create(const struct verb_call *call);
/* edit.c */
int verb_edit(const struct verb_call *call);
/* upgrade.c */
int verb_upgrade(const struct verb_call *call);
/* console.c */
int verb_console(const struct verb_call *call);
int verb_agent(const struct verb_call *call);
/* command.c */
int verb_agent_command(const struct verb_call *call);
#endif
