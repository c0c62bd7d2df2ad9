/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/run.h - other programs: stasis, systemctl, an editor.
 * Threads: any.
 * Units: seconds.
 * Errors: 0 or -errno with one message that names the program. */
#ifndef QMP_CTL_RUN_H
#define QMP_CTL_RUN_H
#include "vmm/base/error.h"

struct run_output {
	int status;	 /* exit status; 255: a signal has ended it */
	char *out, *err; /* what it has printed, as text; never NULL after a run */
};

/* Runs a program to its end and keeps what it prints. -ETIMEDOUT: it took longer, and was killed. 0: it ran. */
int run_capture(const char *const argv[], double limit_s, struct run_output *output,
		struct error *err) must_check;
/* Its output, the caller frees it; NULL: it did not run, took longer, or its exit status is not 0. */
char *run_printed(const char *const argv[], double limit_s);
void run_free(struct run_output *output);
/* The same with this program's own terminal and output, without a limit. */
int run_here(const char *const argv[], int *status, struct error *err) must_check;
/* What it said when it failed: the last line of its standard error without "PROGRAM: "; or its exit status. Sets the
 * message and returns -EREMOTEIO. */
int run_refused(const char *program, const struct run_output *output, struct error *err);
/* The program stasis: that of the environment variable STASIS, else the one in PATH. */
const char *run_stasis(void);
#endif
