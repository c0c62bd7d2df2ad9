/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/ranges.h"
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

static bool is_same_file(const char *a, const char *b)
{
	struct stat of_a, of_b;

	return !stat(a, &of_a) && !stat(b, &of_b) && of_a.st_dev == of_b.st_dev &&
	       of_a.st_ino == of_b.st_ino;
}

static bool overlap(const struct ram_config *a, const struct ram_config *b, uint64_t label_bytes)
{
	return a->path && b->path && is_same_file(a->path, b->path) &&
	       a->offset_bytes < b->offset_bytes + b->size_bytes + label_bytes &&
	       b->offset_bytes < a->offset_bytes + a->size_bytes + label_bytes;
}

static int check_against(const struct options *opt, const char *file, uint64_t label_bytes,
			 struct error *err)
{
	char *argv[] = {"stasis", "--config", (char *)file, "--show"};
	struct options other;
	struct error fault;
	int ret = 0;

	if (!options_parse(&other, 4, argv, &fault) &&
	    overlap(&opt->memory, &other.memory, label_bytes))
		ret = error_set(err, -EINVAL,
				"--memory: %s: the range from offset=%llu overlaps that of %s, "
				"from offset=%llu: give each VM a range of its own",
				opt->memory.path, (unsigned long long)opt->memory.offset_bytes,
				file, (unsigned long long)other.memory.offset_bytes);
	options_free(&other);
	return ret;
}

static int is_config(const struct dirent *entry)
{
	const size_t n = strlen(entry->d_name);

	return *entry->d_name != '.' && n > 5 && !strcmp(entry->d_name + n - 5, ".conf");
}

int ranges_check(const struct options *opt, uint64_t label_bytes, struct error *err)
{
	char file[PATH_MAX], *name;
	struct dirent **entry = NULL;
	int n, ret = 0;

	if (!opt->config_path || !opt->memory.path ||
	    snprintf(file, sizeof(file), "./%s", opt->config_path) >= (int)sizeof(file))
		return 0;
	if (*opt->config_path == '/')
		memmove(file, file + 2, strlen(file) - 1);
	name = strrchr(file, '/') + 1;
	*name = '\0';
	n = scandir(file, &entry, is_config, alphasort);
	for (int i = 0; i < n; i++) {
		snprintf(name, sizeof(file) - (size_t)(name - file), "%s", entry[i]->d_name);
		if (!ret && !is_same_file(file, opt->config_path))
			ret = check_against(opt, file, label_bytes, err);
		free(entry[i]);
	}
	free(entry);
	return ret;
}
