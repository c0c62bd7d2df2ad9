/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/ctl_fixture.h - a host for stasisctl: the folders /etc/stasis, /run/stasis and /sys below STASIS_ROOT, the VM vm1
 * of the QMP fixture among them, and programs that stand in for stasis and systemctl.
 * Owns: a folder, which goes with all that is in it.
 * Errors: what goes wrong fails the test. */
#ifndef TESTS_RIG_CTL_FIXTURE_H
#define TESTS_RIG_CTL_FIXTURE_H
#include "tests/rig/qmp_fixture.h"
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

static char ctl_root[64];

/* A path below the root; the next call but three overwrites it. */
__attribute__((format(printf, 1, 2))) static inline const char *ctl_at(const char *fmt, ...)
{
	static char paths[4][256];
	static unsigned int next;
	char *path = paths[next++ % 4];
	int n = snprintf(path, sizeof(paths[0]), "%s", ctl_root);
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(path + n, sizeof(paths[0]) - (size_t)n, fmt, ap);
	va_end(ap);
	return path;
}

static inline void ctl_folder(const char *path)
{
	char command[512];

	snprintf(command, sizeof(command), "mkdir -p '%s'", path);
	ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): the test's own words */
}

static inline void ctl_file(const char *path, const char *text)
{
	FILE *file = fopen(path, "we");

	ck_assert_msg(file, "%s", path);
	ck_assert_int_ge(fputs(text, file), 0);
	fclose(file);
}

static inline void ctl_program(const char *path, const char *text)
{
	ctl_file(path, text);
	ck_assert_int_eq(chmod(path, 0755), 0);
}

/* Writes /etc/stasis/NAME.conf. */
static inline void ctl_conf(const char *name, const char *text)
{
	ctl_file(ctl_at("/etc/stasis/%s.conf", name), text);
}

/* A listening socket /run/stasis/NAME/FILE that nobody serves yet; backlog 0: on which nobody listens. */
static inline int ctl_socket(const char *name, const char *file, int backlog)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	ctl_folder(ctl_at("/run/stasis/%s", name));
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s",
		 ctl_at("/run/stasis/%s/%s", name, file));
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	if (backlog)
		ck_assert_int_eq(listen(fd, backlog), 0);
	return fd;
}

static inline int ctl_listen(const char *name, int backlog)
{
	return ctl_socket(name, "qmp", backlog);
}

/* Everything that the real one says of files; of RAM it says what is in the file PATH.label. STASIS_REAL: build/stasis */
static const char ctl_stasis[] = "#!/bin/sh\n"
				 "case $1 in\n"
				 "--inspect-memory) cat \"${2%%,*}.label\" 2>/dev/null && exit\n"
				 "	echo \"stasis: error: $2: has no label\" >&2; exit 1 ;;\n"
				 "esac\n"
				 "exec " STASIS_REAL " \"$@\"\n";

/* Says what it was told, and does what the file systemctl.do in the root says. */
static const char ctl_systemctl[] =
	"#!/bin/sh\n"
	"echo \"$*\" >>\"$STASIS_ROOT/systemctl.log\"\n"
	"[ ! -e \"$STASIS_ROOT/systemctl.do\" ] || . \"$STASIS_ROOT/systemctl.do\"\n";

static inline void ctl_fixture_start(void)
{
	char path[512];

	fixture_start();
	snprintf(ctl_root, sizeof(ctl_root), "%s-root", f.folder);
	ctl_folder(ctl_at("/etc/stasis"));
	ctl_folder(ctl_at("/run/stasis/vm1"));
	ctl_folder(ctl_at("/bin"));
	ctl_program(ctl_at("/bin/stasis"), ctl_stasis);
	ctl_program(ctl_at("/bin/systemctl"), ctl_systemctl);
	ck_assert_int_eq(symlink(f.socket, ctl_at("/run/stasis/vm1/qmp")), 0);
	snprintf(path, sizeof(path), "%s:%s", ctl_at("/bin"), getenv("PATH"));
	setenv("PATH", path, 1);
	setenv("STASIS_ROOT", ctl_root, 1);
	setenv("STASIS", ctl_at("/bin/stasis"), 1);
}

static inline void ctl_fixture_stop(void)
{
	char command[512];

	snprintf(command, sizeof(command), "rm -rf '%s'", ctl_root);
	ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c): the test's own words */
	fixture_stop();
}
#endif
