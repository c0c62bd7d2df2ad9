/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/draft.h - a configuration file before it is one: /etc/stasis/NAME.conf changes at once or not at all.
 * draft_open(); write draft->path; draft_check(); draft_install(); draft_close(), which drops what was not installed.
 * It is in a folder of its own beside the file, with the same name and the same drop-ins, so that stasis reads it as it
 * will read the file.
 * Errors: 0 or -errno with one message, which names the file as it will be. */
#ifndef QMP_CTL_DRAFT_H
#define QMP_CTL_DRAFT_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <sys/stat.h>

struct draft {
	char *path;	 /* of the draft */
	char *file;	 /* what it becomes */
	char *folder;	 /* its own */
	char *drop_ins;	 /* a link to the file's */
	int lock_fd;	 /* one draft at a time */
	bool is_new;	 /* there was no such file */
	struct stat was; /* else: how it was */
};

int draft_open(struct draft *draft, const char *name, struct error *err) must_check;
/* Does stasis accept it? */
int draft_check(const struct draft *draft, struct error *err) must_check;
/* Durably, if the file is still as it was. */
int draft_install(const struct draft *draft, struct error *err) must_check;
void draft_close(struct draft *draft);
#endif
