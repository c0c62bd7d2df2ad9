/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/unit.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/run.h"
#include "qmp/ctl/vms.h"
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static bool systemctl(const char *verb, const char *unit)
{
	const char *const argv[] = {"systemctl", verb, unit, NULL};
	struct error err;
	int status = 0;

	if (!run_here(argv, &status, &err))
		return !status;
	ctl_complain("%s", err.msg);
	return false;
}

bool unit_do(const char *verb, const char *name)
{
	char *unit = ctl_text("stasis@%s.service", name);
	const bool ok = systemctl(verb, unit);

	free(unit);
	return ok;
}

bool unit_systemd_runs(void)
{
	char *folder = vms_path("/run/systemd/system");
	const bool runs = !access(folder, F_OK);

	free(folder);
	return runs;
}

/* The line "KEY=VALUE" of what systemctl shows; NULL: it is not there, or empty. The caller frees it. */
static char *property(const char *shown, const char *key)
{
	const size_t n = strlen(key);

	for (; shown; shown = strchr(shown, '\n') ? strchr(shown, '\n') + 1 : NULL)
		if (!strncmp(shown, key, n) && shown[n] == '=')
			return shown[n + 1] && shown[n + 1] != '\n'
				       ? ctl_text("%.*s", (int)strcspn(shown + n + 1, "\n"),
						  shown + n + 1)
				       : NULL;
	return NULL;
}

/* The last error that its process has logged; NULL: there is none, or this user may not read it. The caller frees it. */
static char *last_error(const char *invocation)
{
	char *match = ctl_text("_SYSTEMD_INVOCATION_ID=%s", invocation);
	char *text = run_printed((const char *const[]){"journalctl", "-q", "--no-pager", "-o",
						       "cat", "-p", "err", "-n", "1", match, NULL},
				 VMS_LIMIT_S);

	free(match);
	if (text)
		text[strcspn(text, "\n")] = '\0';
	if (text && *text)
		return text;
	free(text);
	return NULL;
}

char *unit_trouble(const char *name)
{
	char *unit = ctl_text("stasis@%s.service", name), *trouble = NULL, *error = NULL;
	char *shown = unit_systemd_runs()
			      ? run_printed((const char *const[]){"systemctl", "show", "-p",
								  "ActiveState", "-p", "Job", "-p",
								  "InvocationID", unit, NULL},
					    VMS_LIMIT_S)
			      : NULL;
	char *state = property(shown, "ActiveState"), *job = property(shown, "Job");
	char *invocation = property(shown, "InvocationID");

	if (state && !strcmp(state, "failed") && invocation)
		error = last_error(invocation);
	if (error)
		trouble = ctl_text("its unit has failed: %s", error);
	else if (state && !strcmp(state, "failed"))
		trouble = ctl_text("its unit has failed: systemctl status %s", unit);
	else if (state && !strcmp(state, "inactive") && job)
		trouble = ctl_text("its unit waits: systemctl list-jobs shows for what");
	free(invocation);
	free(job);
	free(state);
	free(error);
	free(shown);
	free(unit);
	return trouble;
}

bool unit_disable(const char *name)
{
	return !unit_systemd_runs() || unit_do("disable", name);
}

void unit_reload(void)
{
	if (unit_systemd_runs() && !systemctl("daemon-reload", NULL))
		ctl_complain("the unit does not know of the change yet: systemctl daemon-reload");
}
