/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/option_table.h - a command line by tables. The same rows parse "--cpus 4" and the keys of a list,
 * "size=1G,path=FILE", refuse what is wrong, and make the text of --help.
 * Errors: a negative errno with one line: "--disk: queues=9: must be N: 1 to 8 (default 1)". */
#ifndef VMM_OPTION_TABLE_H
#define VMM_OPTION_TABLE_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A table ends with a row without a name. A target has one bool or number for each row at `offset`. */
struct option_row {
	const char *name; /* "--cpus", or a key */
	const char *
		value; /* what --help shows for it; of a word or switch "a|b|c"; NULL: takes no value */
	const char *help; /* what it may be, as --help and refusals say it */
	/* Stores the value in the member. A negative errno refuses it: with the whole message in err, or else the
	 * caller says what the row allows. NULL: the member is a bool that becomes true. */
	int (*take)(const struct option_row *row, void *member, const char *value,
		    struct error *err);
	size_t offset;
	uint64_t min, max;
	/* Can a guest that was saved with `was` be loaded with `now`? Both are such members. NULL: not compared. */
	bool (*loads)(const struct option_row *row, const void *now, const void *was);
	const struct option_row *keys; /* of its list, for --help and for comparing */
	unsigned int jobs;	       /* for the caller: what else than a VM it goes with */
	bool repeats;		       /* once for each device; others are given once */
	bool line_only;		       /* not in a configuration file */
	const char *
		place; /* for the caller: the file that is meant without a value in a configuration file */
};

/* An option as it was given, before it takes effect. */
struct option_given {
	const struct option_row *row;
	const char *value; /* NULL: the row takes none */
	const char *file;  /* a configuration file; NULL: the command line */
	unsigned int line; /* of the file */
};

/* What a row can take. The member is: */
#define OPTION_TAKES(fn) \
	int fn(const struct option_row *row, void *member, const char *value, struct error *err)
OPTION_TAKES(option_string);	   /* const char *; at least min bytes */
OPTION_TAKES(option_unix);	   /* const char *; the path of "unix:PATH" */
OPTION_TAKES(option_text);	   /* char[max] */
OPTION_TAKES(option_id);	   /* char[max]; a letter, then letters, digits and -_. */
OPTION_TAKES(option_bytes);	   /* uint64_t; a multiple of min, if that is not 0: "2G" */
OPTION_TAKES(option_number);	   /* uint32_t, min to max */
OPTION_TAKES(option_power_of_two); /* the same */
OPTION_TAKES(option_word);	   /* an enum in the order of the words "a|b|c" */
OPTION_TAKES(option_switch);	   /* bool; "off|on" */
OPTION_TAKES(option_constant);	   /* an enum that becomes min; takes no value */

/* What such a member must be for a load: */
#define OPTION_LOADS(fn) bool fn(const struct option_row *row, const void *now, const void *was)
OPTION_LOADS(option_loads_always);
OPTION_LOADS(option_same_string); /* const char *; may be NULL */
OPTION_LOADS(option_same_text);	  /* char[] */
OPTION_LOADS(option_same_bytes);  /* uint64_t */
OPTION_LOADS(option_same_number); /* uint32_t */
OPTION_LOADS(option_same_switch); /* bool */

/* All that were given, in the order in which they count. */
struct option_givens {
	struct option_given *given;
	uint32_t n;
};

/* Looks up argv[*at], and takes argv[*at + 1] if that is its value; moves *at to the last one it took. */
int option_split(const struct option_row *rows, char **argv, int *at, struct option_given *given,
		 struct error *err) must_check;
/* Looks up an option by its name of `length` characters; value may be NULL. */
int option_find(const struct option_row *rows, const char *name, size_t length, const char *value,
		struct option_given *given, struct error *err) must_check;
/* Gives the options to the target, in their order. Of an option that does not repeat the last place counts: a later
 * file before an earlier one, the command line before all files. Within one place it may come once. *seen: a bit for
 * each row that was given; at most 64 rows. */
int option_apply(const struct option_row *rows, void *target, const struct option_given *given,
		 uint32_t n, uint64_t *seen, struct error *err) must_check;
/* Is it overridden by a later one of the n? */
bool option_is_overridden(const struct option_given *given, const struct option_given *all,
			  uint32_t n);
/* Parses a list into the target. *seen (may be NULL): a bit for each key that was there. */
int option_list(const char *option, const struct option_row *keys, void *target, const char *text,
		uint64_t *seen, struct error *err) must_check;
/* The next element of a list, in place; ",," is a comma within it. NULL: no more. */
char *option_next(char **rest);
/* Prints the rows. */
void option_help(const struct option_row *rows);
/* Letters, digits and these signs alone. */
bool option_is_word(const char *text, const char *signs);
/* Digits and an optional K, M, G or T (1024). */
int option_size(const char *text, uint64_t *bytes) must_check;
#endif
