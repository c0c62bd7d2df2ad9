/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/options.h"
#include <stddef.h>

const struct ctl_option ctl_options[CTL_OPTIONS] = {
	{"get", "POINTER", 'g', WITH_COMMAND,
	 "print only this part of the return value, such as /ram/path; strings without quotes"},
	{"wait-event", "NAME", 'w', WITH_COMMAND,
	 "after the command, if any, wait for this event and print it"},
	{"timeout", "S", 't', WITH_COMMAND, "give up after S seconds (default: never)"},
	{"connect-timeout", "S", 'c', WITH_COMMAND,
	 "give up if the VM does not take the connection within S seconds; nothing was sent then"},
	{"agent", NULL, 'a', WITH_COMMAND,
	 "SOCKET is that of stasis --agent, COMMAND one of the guest's agent"},
	{"json", NULL, 'j', WITH_VERB, "print JSON, for programs"},
	{"all", NULL, 'A', WITH_VERB, "all VMs instead of one"},
	{"jobs", "N", 'J', WITH_VERB, "so many at a time (default 1)"},
	{"outlives-kexec", "PATH", 'o', WITH_ALL,
	 "send nothing: exit status 0 if what lies at PATH, or is made there, outlives a kexec of "
	 "the "
	 "host, 1 if not"},
	{"help", NULL, 'h', WITH_ALL, "print this; -h as well"},
	{"version", NULL, 'V', WITH_ALL, "print the version; -V as well"},
};
