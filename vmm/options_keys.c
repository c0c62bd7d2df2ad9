/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/options_keys.h"
#include <ctype.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

int options_size(const char *text, uint64_t *bytes)
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

int key_text(const struct key_row *row, void *member, const char *value)
{
	if (strlen(value) >= row->max)
		return -ENAMETOOLONG;
	strcpy(member, value);
	return 0;
}

int key_id(const struct key_row *row, void *member, const char *value)
{
	if (!isalpha((unsigned char)*value))
		return -EINVAL;
	for (const char *c = value; *c; c++)
		if (!isalnum((unsigned char)*c) && !strchr("-_.", *c))
			return -EINVAL;
	return key_text(row, member, value);
}

int key_size(const struct key_row *row, void *member, const char *value)
{
	uint64_t *bytes = member;

	if (options_size(value, bytes) || (row->min && (!*bytes || *bytes % row->min)))
		return -EINVAL;
	return 0;
}

int key_number(const struct key_row *row, void *member, const char *value)
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

int key_power_of_two(const struct key_row *row, void *member, const char *value)
{
	uint32_t n;

	if (key_number(row, &n, value) || (n & (n - 1)))
		return -EINVAL;
	*(uint32_t *)member = n;
	return 0;
}

int key_word(const struct key_row *row, void *member, const char *value)
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

int key_switch(const struct key_row *row, void *member, const char *value)
{
	uint32_t on = 0;
	int ret = key_word(row, &on, value);

	*(bool *)member = on;
	return ret;
}

char *options_next(char **rest)
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

/* No key, or no value. The first key is the one that nobody leaves out: "512M" for "size=512M". */
static int refuse_form(const char *option, const struct key_row *first, const struct key_row *row,
		       void *target, const char *pair, struct error *err)
{
	if (!*pair)
		return error_set(err, -EINVAL, "%s: a KEY=VALUE is missing, such as %s=%s", option,
				 first->key, first->value);
	if (row->key)
		return error_set(err, -EINVAL, "%s: %s= needs a value, %s: %s", option, row->key,
				 row->value, row->help);
	if (!first->take(first, (char *)target + first->offset, pair))
		return error_set(err, -EINVAL,
				 "%s: '%s' is not of the form key=value: did you mean %s=%s?",
				 option, pair, first->key, pair);
	return error_set(err, -EINVAL, "%s: '%s' is not of the form key=value, such as %s=%s: %s",
			 option, pair, first->key, first->value, first->help);
}

static int take_pair(const char *option, const struct key_row *rows, void *target, char *pair,
		     uint32_t *seen, struct error *err)
{
	const struct key_row *row = rows;
	char *value = strchr(pair, '=');
	int ret;

	if (value)
		*value++ = '\0';
	while (row->key && strcmp(row->key, pair))
		row++;
	if (!value || (row->key && !*value))
		return refuse_form(option, rows, row, target, pair, err);
	if (!row->key)
		return error_set(err, -EINVAL, "%s: there is no key '%s'; see --help", option,
				 pair);
	if (*seen & 1U << (row - rows))
		return error_set(err, -EINVAL, "%s: %s= comes twice", option, pair);
	*seen |= 1U << (row - rows);
	ret = row->take(row, (char *)target + row->offset, value);
	if (ret == -ENAMETOOLONG)
		return error_set(err, ret, "%s: %s=%.20s...: longer than %llu bytes", option, pair,
				 value, (unsigned long long)row->max - 1);
	if (ret == -EBADF)
		return error_set(
			err, ret,
			"%s: %s=%s: descriptor %s is not open: have it open in the process "
			"that starts this one",
			option, pair, value, value);
	if (ret)
		return error_set(err, ret, "%s: %s=%s: must be %s: %s", option, pair, value,
				 row->value, row->help);
	return 0;
}

/* In a copy: argv stays what /proc/PID/cmdline shows, from which kexec-resume starts us again. */
int options_keys(const char *option, const struct key_row *rows, void *target, const char *text,
		 uint32_t *seen, struct error *err)
{
	char *copy = strdup(text), *rest = copy, *pair;
	int ret = copy ? 0 : error_set(err, -ENOMEM, "%s: out of memory", option);
	uint32_t mask = 0;

	while (!ret && (pair = options_next(&rest)))
		ret = take_pair(option, rows, target, pair, &mask, err);
	free(copy);
	if (seen)
		*seen = mask;
	return ret;
}
