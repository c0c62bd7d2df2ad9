/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/config.h"
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MAX_BYTES	(64 << 10)     /* of a file */
#define BYTE_ORDER_MARK "\xef\xbb\xbf" /* that some editors put before UTF-8 */

/* `bytes` of text that live as long as the process. */
static char *new_text(struct config_text **texts, size_t bytes)
{
	struct config_text *text = malloc(sizeof(*text) + bytes);

	if (!text)
		return NULL;
	text->next = *texts;
	*texts = text;
	return text->text;
}

int config_add_given(struct option_givens *all, const struct option_given *given, struct error *err)
{
	struct option_given *grown = realloc(all->given, (all->n + 1) * sizeof(*grown));

	if (!grown)
		return error_set(err, -ENOMEM, "out of memory");
	grown[all->n++] = *given;
	all->given = grown;
	return 0;
}

/* The text of the file, with a NUL at its end. */
static int read_file(struct config_text **texts, const char *path, char **text, struct error *err)
{
	int fd = open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC), ret = 0;
	struct stat st;
	ssize_t n = 0;

	if (fd < 0)
		return error_set(err, -errno, "--config %s: %s", path, strerror(errno));
	*text = new_text(texts, MAX_BYTES + 1);
	if (!*text)
		ret = error_set(err, -ENOMEM, "--config %s: out of memory", path);
	else if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		ret = error_set(err, -EINVAL, "--config %s: is not a regular file", path);
	else
		n = read(fd, *text, MAX_BYTES + 1);
	if (!ret && n < 0)
		ret = error_set(err, -errno, "--config %s: %s", path, strerror(errno));
	if (!ret && n > MAX_BYTES)
		ret = error_set(err, -EFBIG, "--config %s: is larger than 64 KiB", path);
	if (!ret && memchr(*text, '\0', (size_t)n))
		ret = error_set(err, -EINVAL, "--config %s: is not a text file", path);
	if (!ret)
		(*text)[n] = '\0';
	if (!ret && !strncmp(*text, BYTE_ORDER_MARK, strlen(BYTE_ORDER_MARK)))
		*text += strlen(BYTE_ORDER_MARK);
	close(fd);
	return ret;
}

/* Without white space around it, in place. */
static char *trim(char *text)
{
	char *end = text + strlen(text);

	while (isspace((unsigned char)*text))
		text++;
	while (end > text && isspace((unsigned char)end[-1]))
		end--;
	*end = '\0';
	return text;
}

/* The value after an option's name: "4" of " 4", "=4" and " = 4", "" of "="; NULL: there is none. */
static const char *value_of(const char *text)
{
	const char *value = text + strspn(text, " \t");

	if (*value == '=')
		return value + 1 + strspn(value + 1, " \t");
	return *value ? value : NULL;
}

/* given: has file and line. text: "cpus 4", "cpus=4" or "rng" */
static int read_line(const struct option_row *rows, const char *text, struct option_given *given,
		     struct error *err)
{
	const struct option_given from = *given;
	size_t n = strcspn(text, "= \t");
	char name[64];

	for (const char *c = text; *c; c++)
		if (iscntrl((unsigned char)*c) && *c != '\t')
			return error_set(err, -EINVAL, "byte 0x%02x is no text", (unsigned char)*c);
	snprintf(name, sizeof(name), "--%.*s", (int)n, text);
	if (option_find(rows, name, strlen(name), value_of(text + n), given, err))
		return -EINVAL;
	if (given->row->line_only)
		return error_set(err, -EINVAL, "%s can be given on the command line only",
				 given->row->name);
	if (given->row->value && !given->value && !given->row->place)
		return error_set(err, -EINVAL, "%s needs a value: %s", given->row->name,
				 given->row->value);
	given->file = from.file;
	given->line = from.line;
	return 0;
}

static int read_options(struct config_text **texts, const struct option_row *rows, const char *path,
			struct option_givens *all, struct error *err)
{
	struct option_given given;
	char *rest = NULL, *line;
	int ret = read_file(texts, path, &rest, err);

	for (unsigned int n = 1; !ret && (line = strsep(&rest, "\n")); n++) {
		line = trim(line);
		if (!*line || *line == '#')
			continue;
		given = (struct option_given){.file = path, .line = n};
		ret = read_line(rows, line, &given, err);
		if (ret)
			error_prefix(err, "%s:%u", path, n);
		else
			ret = config_add_given(all, &given, err);
	}
	return ret;
}

/* Bytes of a file's name without ".conf"; all of them if it does not end so. */
static size_t stem_bytes(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && !strcmp(name + n - 5, ".conf") ? n - 5 : n;
}

static int is_drop_in(const struct dirent *entry)
{
	return *entry->d_name != '.' && entry->d_name[stem_bytes(entry->d_name)];
}

/* By bytes: the locale has no say. */
static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

int config_file_read(struct config_text **texts, const struct option_row *rows, const char *path,
		     struct option_givens *all, struct error *err)
{
	size_t bytes = strlen(path) + sizeof(".d/") + NAME_MAX;
	char *folder = new_text(texts, bytes), *file;
	struct dirent **entry = NULL;
	int ret, n = 0;

	if (!folder)
		return error_set(err, -ENOMEM, "--config %s: out of memory", path);
	snprintf(folder, bytes, "%s.d", path);
	ret = read_options(texts, rows, path, all, err);
	if (!ret)
		n = scandir(folder, &entry, is_drop_in, by_name);
	if (n < 0 && errno != ENOENT)
		ret = error_set(err, -errno, "--config: %s: %s", folder, strerror(errno));
	for (int i = 0; i < n; i++) {
		file = ret ? NULL : new_text(texts, bytes);
		if (file) {
			snprintf(file, bytes, "%s/%s", folder, entry[i]->d_name);
			ret = read_options(texts, rows, file, all, err);
		} else if (!ret) {
			ret = error_set(err, -ENOMEM, "--config %s: out of memory", path);
		}
		free(entry[i]);
	}
	free(entry);
	return ret;
}

const char *config_name(struct config_text **texts, const char *path)
{
	const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	size_t n = stem_bytes(base);
	char *name = new_text(texts, n + 1);

	if (!name)
		return NULL;
	memcpy(name, base, n);
	name[n] = '\0';
	return name;
}

const char *config_place(struct config_text **texts, const char *prefix, const char *name,
			 const char *file)
{
	size_t bytes = strlen(prefix) + strlen(name) + strlen(file) + 3;
	char *place = new_text(texts, bytes);

	if (place)
		snprintf(place, bytes, "%s/%s/%s", prefix, name, file);
	return place;
}
