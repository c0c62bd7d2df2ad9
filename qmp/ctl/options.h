/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/options.h - the options of stasisctl: for its command line, the text of --help and the completion of shells. */
#ifndef QMP_CTL_OPTIONS_H
#define QMP_CTL_OPTIONS_H

enum { WITH_ALL, WITH_COMMAND, WITH_VERB };

struct ctl_option {
	const char *name, *value; /* value NULL: it takes none */
	int code;
	int goes_with;
	const char *help;
};

#define CTL_OPTIONS 11
extern const struct ctl_option ctl_options[CTL_OPTIONS];
#endif
