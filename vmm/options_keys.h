/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/options_keys.h - the tables behind the command line; for vmm/options*.c alone.
 * Owns: nothing; tables are const.
 * Threads: main, before any other is started.
 * Units: bytes.
 * Errors: 0 or -EINVAL with one line: "--disk: queues=9: must be N: 1 to 8 (default 1)". */
#ifndef VMM_OPTIONS_KEYS_H
#define VMM_OPTIONS_KEYS_H
#include "vmm/options.h"
#include <stddef.h>

/* One row a key of a comma-separated value, "size=1G,path=FILE": parsing, refusals and --help walk
 * the same table, which ends with a row without a key. */
struct key_row {
	const char *key;
	const char *value; /* what --help shows for it; of key_word() and key_switch() the words */
	const char *help;  /* what it may be, as --help and refusals say it */
	/* 0, -EINVAL, -ENAMETOOLONG, or -EBADF: a descriptor that is not open. row->key tells whose
	 * value it is. */
	int (*take)(const struct key_row *row, void *member, const char *value);
	size_t offset; /* of the member in the target */
	uint64_t min, max;
};

/* The target's member takes the value: */
int key_text(const struct key_row *row, void *member, const char *value); /* char[max] */
int key_id(const struct key_row *row, void *member, const char *value);	  /* char[max] */
int key_size(const struct key_row *row, void *member, const char *value); /* uint64_t; a multiple of
									     min, if that is not 0 */
int key_number(const struct key_row *row, void *member,
	       const char *value); /* uint32_t, min to max */
int key_power_of_two(const struct key_row *row, void *member, const char *value); /* the same */
int key_word(const struct key_row *row, void *member,
	     const char *value); /* an enum in the order of the words "a|b|c" */
int key_switch(const struct key_row *row, void *member, const char *value); /* bool; "off|on" */

/* The next element of a list, in place; ",," is a comma within it. NULL: no more. */
char *options_next(char **rest);
/* Fills target. *seen (may be NULL): a bit for each row whose key was there. */
int options_keys(const char *option, const struct key_row *rows, void *target, const char *text,
		 uint32_t *seen, struct error *err) must_check;

/* One row an option: parsing and --help walk the same table. */
struct option_row {
	const char *name;
	const char *value; /* what --help shows for it; NULL: a switch */
	const char *help;
	/* NULL: the member at `offset` takes the text, or true for a switch. */
	int (*parse)(struct options *opt, char *value, struct error *err);
	size_t offset;
	const struct key_row *keys; /* for --help */
	unsigned int jobs;	    /* bits of those other than JOB_RUN that it goes with */
	bool repeats;		    /* once for each device; others are given once */
};
#define OPTION_MEMBER(m) .offset = offsetof(struct options, m)

/* options_devices.c: the devices' options; ends with a row without a name. */
extern const struct option_row options_device_rows[];
/* What is only known after the last option: default names and MACs, and what contradicts. */
int options_devices_finish(struct options *opt, struct error *err) must_check;
#endif
