/* SPDX-License-Identifier: GPL-2.0-or-later */
/* edit: an editor on a draft of the configuration file, until stasis accepts it. */
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/draft.h"
#include "qmp/ctl/list.h"
#include "qmp/ctl/run.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* $VISUAL, $EDITOR or sensible choices; it may have arguments of its own. */
static int run_editor(const struct draft *draft, struct error *err)
{
	const char *visual = getenv("VISUAL"), *editor = getenv("EDITOR");
	const char *program = visual && *visual ? visual : editor && *editor ? editor : "vi";
	char *command = ctl_text("exec %s \"$1\"", program);
	const char *const argv[] = {"sh", "-c", command, program, draft->path, NULL};
	int status = 0, ret = run_here(argv, &status, err);

	free(command);
	if (!ret && status)
		ret = error_set(err, -ECANCELED, "the editor '%s' has ended with status %d",
				program, status);
	return ret;
}

/* Has it another text than the file? */
static bool is_changed(const struct draft *draft)
{
	FILE *a = fopen(draft->path, "re"), *b = fopen(draft->file, "re");
	int one = a && b ? 0 : 1, other = 0;

	while (one == other && one != EOF) {
		one = getc(a);
		other = getc(b);
	}
	if (a)
		fclose(a);
	if (b)
		fclose(b);
	return one != other;
}

/* Somebody who is not there wants nothing. */
static bool wants_again(void)
{
	char answer[16];

	if (!isatty(STDIN_FILENO))
		return false;
	fputs("Edit it again? [Y/n] ", stdout);
	fflush(stdout);
	return fgets(answer, sizeof(answer), stdin) && *answer != 'n' && *answer != 'N';
}

static int edit(const struct draft *draft, struct error *err)
{
	for (;;) {
		int ret = run_editor(draft, err);

		if (ret || !is_changed(draft))
			return ret;
		ret = draft_check(draft, err);
		if (!ret)
			return draft_install(draft, err);
		ctl_complain("%s", err->msg);
		if (!wants_again())
			return error_set(err, ret, "%s is as it was", draft->file);
	}
}

int verb_edit(const struct verb_call *call)
{
	struct vms_vm vm;
	struct draft draft;
	struct error err;
	bool changes;
	int ret;

	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	if (!vm.file) {
		ctl_complain("%s: has no configuration file", vm.name);
		vms_put(&vm);
		return CTL_FAILED;
	}
	ret = draft_open(&draft, vm.name, &err);
	if (!ret)
		ret = edit(&draft, &err);
	/* The draft is gone from its place once it is installed. */
	changes = !ret && access(draft.path, F_OK);
	if (ret)
		ctl_complain("%s: %s", vm.name, err.msg);
	else
		printf("%s: %s%s\n", vm.name, changes ? "changed" : "unchanged",
		       changes && vm.reach != VMS_OFF ? "; it counts from its next start" : "");
	fflush(stdout);
	if (changes)
		unit_reload();
	draft_close(&draft);
	vms_put(&vm);
	return ctl_status(ret);
}
