/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/command.h - one command to a VM, or to the agent of its guest, and its answer on standard output. */
#ifndef QMP_CTL_COMMAND_H
#define QMP_CTL_COMMAND_H
#include "qmp/ctl/conn.h"

/* What the command line says of all commands; written by main() alone. */
struct command_options {
	struct conn conn;
	const char *pointer; /* --get; NULL: the whole value */
};
extern struct command_options command_options;

/* word: a socket or the name of a VM; words: [COMMAND [ARGUMENT...]]. Returns an exit status. */
int command_send(const char *word, char **words);
#endif
