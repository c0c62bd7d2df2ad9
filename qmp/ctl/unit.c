/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/unit.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/run.h"
#include "qmp/ctl/vms.h"
#include <stdlib.h>
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

bool unit_disable(const char *name)
{
	return !unit_systemd_runs() || unit_do("disable", name);
}

void unit_reload(void)
{
	if (unit_systemd_runs() && !systemctl("daemon-reload", NULL))
		ctl_complain("the unit does not know of the change yet: systemctl daemon-reload");
}
