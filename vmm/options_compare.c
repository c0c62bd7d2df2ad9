/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Would a guest that runs with some options be loaded with others? Each row of the tables says what it needs. */
#include "vmm/base/bytes.h"
#include "vmm/options.h"
#include <string.h>

/* Where the devices of an option that repeats are. */
static const struct {
	const char *option;
	size_t array, n, element_bytes;
} repeats[] = {
	{"--disk", offsetof(struct options, disk), offsetof(struct options, ndisks),
	 sizeof(struct disk_config)},
	{"--net", offsetof(struct options, net), offsetof(struct options, nnets),
	 sizeof(struct net_config)},
	{"--vfio", offsetof(struct options, vfio), offsetof(struct options, nvfios),
	 sizeof(struct vfio_config)},
};

/* The i'th device of the row; NULL: no more. */
static const void *device(const struct options *opt, const struct option_row *row, uint32_t i)
{
	const char *from = (const char *)opt, *array;
	uint32_t n, which = 0;

	while (strcmp(repeats[which].option, row->name) != 0)
		which++;
	memcpy(&array, from + repeats[which].array, sizeof(array));
	memcpy(&n, from + repeats[which].n, sizeof(n));
	return i < n ? array + i * repeats[which].element_bytes : NULL;
}

/* The i'th one of the row that counts; NULL: no more. */
static const struct option_given *given(const struct options *opt, const struct option_row *row,
					uint32_t i)
{
	for (uint32_t at = 0; at < opt->given.n; at++)
		if (opt->given.given[at].row == row &&
		    !option_is_overridden(&opt->given.given[at], opt->given.given, opt->given.n) &&
		    !i--)
			return &opt->given.given[at];
	return NULL;
}

static void print_given(FILE *out, const struct option_row *row, uint32_t i,
			const struct option_given *given)
{
	if (!given && i)
		fprintf(out, "no %s number %u", row->name, i + 1);
	else if (!given)
		fprintf(out, "no %s", row->name);
	else
		fprintf(out, "%s%s%s", row->name, given->value ? " " : "",
			given->value ? given->value : "");
}

/* keys: "path, queues", or nothing */
static void print_difference(FILE *out, const struct options *now, const struct options *was,
			     const struct option_row *row, uint32_t i, const char *keys)
{
	const struct option_given *here = given(now, row, i);

	if (here && here->line)
		fprintf(out, "%s:%u: ", here->file, here->line);
	print_given(out, row, i, here);
	fputs(", but the running VM has ", out);
	print_given(out, row, i, given(was, row, i));
	if (*keys)
		fprintf(out, ": another %s", keys);
	putc('\n', out);
}

static const void *member(const struct option_row *row, const void *target)
{
	return (const char *)target + row->offset;
}

/* The names of the keys that would refuse a load. True: there are none. */
static bool keys_load(const struct option_row *row, const void *now, const void *was,
		      char names[128])
{
	size_t used = 0;

	*names = '\0';
	for (const struct option_row *key = row->keys; key->name; key++)
		if (!key->loads(key, member(key, now), member(key, was)))
			used += (size_t)snprintf(names + used, 128 - used, "%s%s", used ? ", " : "",
						 key->name);
	return !used;
}

static uint32_t compare_devices(const struct options *now, const struct options *was,
				const struct option_row *row, FILE *out)
{
	const void *a, *b;
	uint32_t n = 0;
	char names[128];

	for (uint32_t i = 0; a = device(now, row, i), b = device(was, row, i), a || b; i++) {
		*names = '\0';
		if (a && b && keys_load(row, a, b, names))
			continue;
		print_difference(out, now, was, row, i, names);
		n++;
	}
	return n;
}

uint32_t options_compare(const struct options *now, const struct options *was, FILE *out)
{
	uint32_t n = 0;
	char names[128] = "";

	for (const struct option_row *row = options_rows; row->name; row++) {
		if (row->line_only)
			continue;
		if (row->repeats) {
			n += compare_devices(now, was, row, out);
			continue;
		}
		*names = '\0';
		if (row->keys ? keys_load(row, now, was, names)
			      : row->loads(row, member(row, now), member(row, was)))
			continue;
		print_difference(out, now, was, row, 0, names);
		n++;
	}
	return n;
}
