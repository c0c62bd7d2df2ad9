/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/check.h"
#include "vmm/options.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

struct named {
	const char *option, *path; /* path NULL: none */
	bool is_socket;
	bool is_text;	  /* appended to: sharing does no harm */
	bool is_readonly; /* may be shared with others that only read it */
};

static struct named chardev(const struct chardev_config *config)
{
	bool is_socket = config->kind == CHARDEV_UNIX;

	if (!is_socket && config->kind != CHARDEV_FILE)
		return (struct named){.path = NULL};
	return (struct named){config->option, config->path, is_socket, !is_socket, false};
}

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The same file, or, if there is none yet, the same name in the same folder. */
static bool is_same_path(const char *a, const char *b)
{
	char copy_a[PATH_MAX], copy_b[PATH_MAX];
	struct stat of_a, of_b;
	bool has_a = !stat(a, &of_a), has_b = !stat(b, &of_b);

	if (has_a || has_b)
		return has_a && has_b && is_same(&of_a, &of_b);
	if (snprintf(copy_a, PATH_MAX, "%s", a) >= PATH_MAX ||
	    snprintf(copy_b, PATH_MAX, "%s", b) >= PATH_MAX ||
	    strcmp(basename(copy_a), basename(copy_b)))
		return false;
	return !stat(dirname(copy_a), &of_a) && !stat(dirname(copy_b), &of_b) &&
	       is_same(&of_a, &of_b);
}

static bool may_share(const struct named *a, const struct named *b)
{
	if (!a->path || !b->path)
		return true;
	if (!a->is_socket && !b->is_socket &&
	    (a->is_text || b->is_text || (a->is_readonly && b->is_readonly)))
		return true;
	return !is_same_path(a->path, b->path);
}

int check_paths(const struct options *opt, struct error *err)
{
	struct named named[5 + OPTIONS_MAX_DISKS] = {
		{.option = "--qmp", .path = opt->qmp_path, .is_socket = true},
		chardev(&opt->serial),
		chardev(&opt->console),
		chardev(&opt->agent),
		{.option = "--memory", .path = opt->memory.path},
	};
	uint32_t n = 5;

	for (uint32_t i = 0; i < opt->ndisks; i++)
		named[n++] = (struct named){.option = "--disk",
					    .path = opt->disk[i].path,
					    .is_readonly = opt->disk[i].readonly};
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			if (!may_share(&named[j], &named[i]))
				return error_set(err, -EINVAL,
						 "%s and %s are both given %s: give each a path of "
						 "its own",
						 named[j].option, named[i].option, named[i].path);
	return 0;
}
