/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --compare: options and program as they are now, and a VM that runs. */
#include "cpr/cpr.h"
#include "vmm/base/bytes.h"
#include "vmm/options.h"
#include "vmm/version.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <json-c/json.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a VM says is passed on to a terminal and to scripts, so nothing but text in one line is taken. */
static bool is_text(struct json_object *value)
{
	const char *text = json_object_get_string(value);

	if (!json_object_is_type(value, json_type_string))
		return false;
	for (int i = 0; i < json_object_get_string_len(value); i++)
		if (iscntrl((unsigned char)text[i]))
			return false;
	return true;
}

/* An object, and what is used of it is as it should be. */
static bool is_info(struct json_object *info)
{
	struct json_object *lines, *version;

	if (!json_object_is_type(info, json_type_object))
		return false;
	if (json_object_object_get_ex(info, "version", &version) && !is_text(version))
		return false;
	lines = json_object_object_get(info, "options");
	if (!json_object_is_type(lines, json_type_array))
		return true;
	for (size_t i = 0; i < json_object_array_length(lines); i++)
		if (!is_text(json_object_array_get_idx(lines, i)))
			return false;
	return true;
}

static struct json_object *read_info(const char *path, struct error *err)
{
	bool is_stdin = !strcmp(path, "-");
	int fd = is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC);
	struct json_object *info = fd < 0 ? NULL : json_object_from_fd(fd);

	if (fd < 0)
		error_set(err, -errno, "--compare %s: %s", path, strerror(errno));
	else if (!is_info(info))
		error_set(err, -EINVAL, "--compare %s: is not what cprinfo of a running VM returns",
			  path);
	if (fd >= 0 && !is_stdin)
		close(fd);
	if (is_info(info))
		return info;
	json_object_put(info);
	return NULL;
}

/* "cpus 4" becomes "--cpus=4", "append=" "--append=". NULL: out of memory. */
static char *word_of(const char *line)
{
	size_t name_bytes = strcspn(line, " =");
	char *word = malloc(strlen(line) + 3);

	if (word) {
		sprintf(word, "--%s", line);
		if (line[name_bytes])
			word[2 + name_bytes] = '=';
	}
	return word;
}

static void free_words(char **argv)
{
	for (char **word = argv; word && *word; word++)
		free(*word);
	free(argv);
}

/* The command line with these options, which ends with a NULL; the caller frees it and its words. NULL: out of memory. */
static char **words_of(struct json_object *lines)
{
	size_t n = json_object_array_length(lines);
	char **argv = calloc(n + 3, sizeof(*argv));
	bool ok = argv;

	for (size_t i = 0; ok && i < n + 2; i++) {
		if (i && i <= n)
			argv[i] = word_of(
				json_object_get_string(json_object_array_get_idx(lines, i - 1)));
		else
			argv[i] = strdup(i ? "--show"
					   : "stasis"); /* what it lacks for a start is not asked */
		ok = argv[i];
	}
	if (ok)
		return argv;
	free_words(argv);
	return NULL;
}

/* Of another version, they may not all be known here. Returns how many differ. */
static int compare_options(const struct options *now, struct json_object *lines, FILE *out,
			   struct error *err)
{
	char **argv = words_of(lines);
	struct options was;
	int ret;

	if (!argv)
		return error_set(err, -ENOMEM, "--compare: out of memory");
	ret = options_parse(&was, (int)json_object_array_length(lines) + 2, argv, err);
	if (ret)
		error_prefix(err, "--compare: the running VM");
	else
		ret = (int)options_compare(now, &was, out);
	options_free(&was);
	free_words(argv);
	return ret;
}

/* An older program may not know all that a newer one saves. */
static bool is_older(const char *version)
{
	const unsigned long here[] = {STASIS_MAJOR, STASIS_MINOR, STASIS_MICRO};
	char *end;

	for (size_t i = 0; i < ARRAY_SIZE(here); i++) {
		const unsigned long running = strtoul(version, &end, 10);

		if (end == version)
			return false;
		if (here[i] != running)
			return here[i] < running;
		version = end + (*end == '.');
	}
	return false;
}

int cpr_compare(const struct options *now, const char *path, FILE *out, struct error *err)
{
	struct json_object *info = read_info(path, err), *lines, *version;
	int ret = 0, n = 0;

	if (!info)
		return -EINVAL;
	version = json_object_object_get(info, "version");
	lines = json_object_object_get(info, "options");
	if (version && is_older(json_object_get_string(version))) {
		fprintf(out,
			"stasis is " STASIS_VERSION ", but the VM runs with %s, and an older one "
			"may not load its guest: install that one again\n",
			json_object_get_string(version));
		n++;
	}
	if (json_object_is_type(lines, json_type_array))
		ret = compare_options(now, lines, out, err);
	else
		fputs("stasis: the running VM is of a version that does not tell its options: "
		      "they are not compared\n",
		      stderr);
	json_object_put(info);
	return ret < 0 ? ret : n + ret;
}
