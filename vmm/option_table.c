/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/option_table.h"
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

int option_size(const char *text, uint64_t *bytes)
{
	static const char suffix[] = "KMGT";
	const char *at;
	unsigned int shift = 0;
	char *end;

	if (!isdigit((unsigned char)*text))
		return -EINVAL;
	errno = 0;
	*bytes = strtoull(text, &end, 10);
	if (errno)
		return -ERANGE;
	if (*end) {
		at = strchr(suffix, toupper((unsigned char)*end));
		if (!at || end[1])
			return -EINVAL;
		shift = 10 * (unsigned int)(at - suffix + 1);
	}
	if (*bytes << shift >> shift != *bytes)
		return -ERANGE;
	*bytes <<= shift;
	return 0;
}

OPTION_TAKES(option_string)
{
	if (strlen(value) < row->min)
		return -EINVAL;
	*(const char **)member = value;
	return 0;
}

OPTION_TAKES(option_unix)
{
	if (strncmp(value, "unix:", 5) || !value[5])
		return -EINVAL;
	*(const char **)member = value + 5;
	return 0;
}

OPTION_TAKES(option_text)
{
	if (strlen(value) >= row->max)
		return -ENAMETOOLONG;
	strcpy(member, value);
	return 0;
}

bool option_is_word(const char *text, const char *signs)
{
	while (isalnum((unsigned char)*text) || (*text && strchr(signs, *text)))
		text++;
	return !*text;
}

OPTION_TAKES(option_id)
{
	if (!isalpha((unsigned char)*value) || !option_is_word(value, "-_."))
		return -EINVAL;
	return option_text(row, member, value, err);
}

OPTION_TAKES(option_bytes)
{
	uint64_t *bytes = member;

	if (option_size(value, bytes) || (row->min && (!*bytes || *bytes % row->min)))
		return -EINVAL;
	return 0;
}

OPTION_TAKES(option_number)
{
	char *end;
	uint64_t n;

	errno = 0;
	n = strtoull(value, &end, 10);
	if (!isdigit((unsigned char)*value) || *end || errno || n < row->min || n > row->max)
		return -EINVAL;
	*(uint32_t *)member = (uint32_t)n;
	return 0;
}

OPTION_TAKES(option_power_of_two)
{
	uint32_t n;

	if (option_number(row, &n, value, err) || (n & (n - 1)))
		return -EINVAL;
	*(uint32_t *)member = n;
	return 0;
}

OPTION_TAKES(option_word)
{
	const char *word = row->value;
	size_t n;

	for (uint32_t i = 0; *word; i++, word += n + (word[n] == '|')) {
		n = strcspn(word, "|");
		if (strlen(value) != n || strncmp(word, value, n))
			continue;
		*(uint32_t *)member = i;
		return 0;
	}
	return -EINVAL;
}

OPTION_TAKES(option_switch)
{
	uint32_t on = 0;
	int ret = option_word(row, &on, value, err);

	*(bool *)member = on;
	return ret;
}

OPTION_TAKES(option_constant)
{
	*(uint32_t *)member = (uint32_t)row->min;
	return 0;
}

OPTION_LOADS(option_loads_always)
{
	return true;
}

OPTION_LOADS(option_same_string)
{
	const char *const *a = now, *const *b = was;

	return *a && *b ? !strcmp(*a, *b) : *a == *b;
}

OPTION_LOADS(option_same_text)
{
	return !strcmp(now, was);
}

OPTION_LOADS(option_same_bytes)
{
	return !memcmp(now, was, sizeof(uint64_t));
}

OPTION_LOADS(option_same_number)
{
	return !memcmp(now, was, sizeof(uint32_t));
}

OPTION_LOADS(option_same_switch)
{
	return *(const bool *)now == *(const bool *)was;
}

char *option_next(char **rest)
{
	char *element = *rest, *from = element, *to = element;

	if (!element)
		return NULL;
	*rest = NULL;
	for (; *from; *to++ = *from++) {
		if (*from != ',' || *++from == ',')
			continue;
		*rest = from;
		break;
	}
	*to = '\0';
	return element;
}

/* NULL: there is no such row. *bit: its own in masks. */
static const struct option_row *find(const struct option_row *rows, const char *name, size_t length,
				     uint64_t *bit)
{
	*bit = 1;
	for (; rows->name; rows++, *bit <<= 1)
		if (strlen(rows->name) == length && !strncmp(rows->name, name, length))
			return rows;
	return NULL;
}

/* where: "--disk: queues=" or "--cpus ", which the value follows in messages */
static int take(const struct option_row *row, void *target, const char *where, const char *value,
		struct error *err)
{
	void *member = (char *)target + row->offset;
	int ret;

	if (!row->take) {
		*(bool *)member = true;
		return 0;
	}
	err->msg[0] = '\0';
	ret = row->take(row, member, value, err);
	if (!ret || err->msg[0])
		return ret;
	if (ret == -ENAMETOOLONG)
		return error_set(err, ret, "%s%.20s...: longer than %llu bytes", where, value,
				 (unsigned long long)row->max - 1);
	return error_set(err, ret, "%s%s: must be %s: %s", where, value, row->value, row->help);
}

/* A pair without a key or a value. The first key is the one that is always there: "512M" for "size=512M". */
static int refuse_form(const char *option, const struct option_row *first,
		       const struct option_row *row, void *target, const char *pair,
		       struct error *err)
{
	if (!*pair)
		return error_set(err, -EINVAL, "%s: a KEY=VALUE is missing, such as %s=%s", option,
				 first->name, first->value);
	if (row)
		return error_set(err, -EINVAL, "%s: %s= needs a value, %s: %s", option, row->name,
				 row->value, row->help);
	if (!first->take(first, (char *)target + first->offset, pair, NULL))
		return error_set(err, -EINVAL,
				 "%s: '%s' is not of the form key=value: did you mean %s=%s?",
				 option, pair, first->name, pair);
	return error_set(err, -EINVAL, "%s: '%s' is not of the form key=value, such as %s=%s: %s",
			 option, pair, first->name, first->value, first->help);
}

static int take_pair(const char *option, const struct option_row *keys, void *target, char *pair,
		     uint64_t *seen, struct error *err)
{
	char *value = strchr(pair, '='), where[64];
	const struct option_row *row;
	uint64_t bit;

	if (value)
		*value++ = '\0';
	row = find(keys, pair, strlen(pair), &bit);
	if (!value || (row && !*value))
		return refuse_form(option, keys, row, target, pair, err);
	if (!row)
		return error_set(err, -EINVAL, "%s: there is no key '%s'; see --help", option,
				 pair);
	if (*seen & bit)
		return error_set(err, -EINVAL, "%s: %s= comes twice", option, pair);
	*seen |= bit;
	snprintf(where, sizeof(where), "%s: %s=", option, pair);
	return take(row, target, where, value, err);
}

/* In a copy: argv stays what /proc/PID/cmdline shows, from which kexec-resume starts the VM again. */
int option_list(const char *option, const struct option_row *keys, void *target, const char *text,
		uint64_t *seen, struct error *err)
{
	char *copy = strdup(text), *rest = copy, *pair;
	int ret = copy ? 0 : error_set(err, -ENOMEM, "%s: out of memory", option);
	uint64_t mask = 0;

	while (!ret && (pair = option_next(&rest)))
		ret = take_pair(option, keys, target, pair, &mask, err);
	free(copy);
	if (seen)
		*seen = mask;
	return ret;
}

/* text: a name of `length` characters that no option has */
static int refuse_unknown(const struct option_row *rows, const char *text, size_t length,
			  struct error *err)
{
	const char *best = NULL;
	size_t most = strlen("--xx"), n; /* two equal letters or fewer are chance */

	for (; rows->name; rows++) {
		for (n = 0; n < length && text[n] == rows->name[n];)
			n++;
		if (n <= most)
			continue;
		best = rows->name;
		most = n;
	}
	return error_set(err, -EINVAL, "there is no option '%.*s'%s%s%s; see --help", (int)length,
			 text, best ? " (did you mean " : "", best ? best : "", best ? "?)" : "");
}

int option_find(const struct option_row *rows, const char *name, size_t length, const char *value,
		struct option_given *given, struct error *err)
{
	uint64_t bit;

	*given = (struct option_given){.row = find(rows, name, length, &bit), .value = value};
	if (!given->row)
		return refuse_unknown(rows, name, length, err);
	if (!given->row->value && value)
		return error_set(err, -EINVAL, "%s takes no value", given->row->name);
	return 0;
}

int option_split(const struct option_row *rows, char **argv, int *at, struct option_given *given,
		 struct error *err)
{
	const char *text = argv[*at];
	size_t n;

	/* The two letters that every tool has. */
	if (!strcmp(text, "-h") || !strcmp(text, "-V"))
		text = text[1] == 'h' ? "--help" : "--version";
	if (strncmp(text, "--", 2))
		return error_set(err, -EINVAL, "'%s' is no option; see --help", text);
	n = strcspn(text, "=");
	if (option_find(rows, text, n, text[n] ? text + n + 1 : NULL, given, err))
		return -EINVAL;
	if (!given->row->value || given->value)
		return 0;
	given->value = argv[*at + 1];
	if (!given->value)
		return error_set(err, -EINVAL, "%s needs a value: %s", given->row->name,
				 given->row->value);
	(*at)++;
	return 0;
}

/* The one that counts instead of *given; NULL: none does. */
static const struct option_given *overriding(const struct option_given *given,
					     const struct option_given *end)
{
	for (const struct option_given *later = given + 1; later < end; later++)
		if (later->row == given->row && !given->row->repeats)
			return later;
	return NULL;
}

bool option_is_overridden(const struct option_given *given, const struct option_given *all,
			  uint32_t n)
{
	return overriding(given, all + n);
}

int option_apply(const struct option_row *rows, void *target, const struct option_given *given,
		 uint32_t n, uint64_t *seen, struct error *err)
{
	*seen = 0;
	for (const struct option_given *end = given + n; given < end; given++) {
		const struct option_given *later = overriding(given, end);
		char where[64];
		int ret = 0;

		*seen |= 1ULL << (given->row - rows);
		snprintf(where, sizeof(where), "%s ", given->row->name);
		if (later && later->file == given->file && given->value) {
			given = later;
			ret = error_set(err, -EINVAL, "%s comes twice: give it once",
					given->row->name);
		} else if (!later) {
			ret = take(given->row, target, where, given->value, err);
		}
		if (ret && given->line)
			error_prefix(err, "%s:%u", given->file, given->line);
		else if (ret && given->file)
			error_prefix(err, "%s", given->file);
		if (ret)
			return ret;
	}
	return 0;
}

void option_help(const struct option_row *rows)
{
	for (; rows->name; rows++) {
		printf("  %s%s%s\n        %s\n", rows->name, rows->value ? " " : "",
		       rows->value ? rows->value : "", rows->help);
		for (const struct option_row *key = rows->keys; key && key->name; key++)
			printf("        %s=%s  %s\n", key->name, key->value, key->help);
	}
}
