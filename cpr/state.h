/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/state.h - one table per device drives save, load, check, compare and print: they cannot disagree.
 * Threads: any; the caller owns the state struct.
 * Units: bytes.
 * Errors: 0 or -errno with one line. Load leaves the struct undefined when it fails: pass a
 *	scratch copy. Devicetree Specification 0.4, chapter 5 (the container). */
#ifndef CPR_STATE_H
#define CPR_STATE_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define STATE_MAX_ROWS 64

struct state_row {
	const char *name;    /* property name: the member's, with '-' for '_' in print only */
	uint32_t offset;     /* of the member in the state struct */
	uint32_t count;	     /* elements; for variable rows and strings the most it may hold */
	uint32_t len_offset; /* variable rows: where the uint32_t element count lives */
	uint64_t dflt;	     /* rows added later: every element's value where it is absent */
	uint8_t width;	     /* bytes an element: 1, 2, 4, 8 */
	uint8_t kind;	     /* enum state_kind: when it is there, and how long */
	uint8_t rules;	     /* enum state_rule: which values it may have */
};
enum state_kind { ST_REQUIRED, ST_ADDED, ST_VARIABLE, ST_STRING };
enum state_rule {
	ST_BOOL = 1,	 /* each element is 0 or 1 */
	ST_PADDING = 2,	 /* all zeroes */
	ST_CONSTANT = 4, /* of the machine: state_compare() refuses a difference */
};

struct state_desc {
	const char *type;
	const struct state_row *row;
	uint32_t nrows, size;
	/* May be NULL. NULL or the reason; pure. Run when saving and when loading, before anything
	 * is committed, for what the rules of the rows do not say. */
	const char *(*check)(const void *st);
};

/* Width by type without a default: an int, enum, bool, pointer or struct does not build. */
#define ST_DIV(m, n) (sizeof(m) / (n) + !(sizeof(m) / (n)))
#define ST_WIDTH(m)                                                                            \
	_Generic(&(m), uint8_t * : 1, uint8_t(*)[ST_DIV(m, 1)] : 1, uint16_t * : 2,            \
		 uint16_t(*)[ST_DIV(m, 2)] : 2, uint32_t * : 4, uint32_t(*)[ST_DIV(m, 4)] : 4, \
		 uint64_t * : 8, uint64_t(*)[ST_DIV(m, 8)] : 8, char(*)[ST_DIV(m, 1)] : 1)
#define ST_M(T, m) (((T *)0)->m)
#define ST_N(T, m) (sizeof(ST_M(T, m)) / ST_WIDTH(ST_M(T, m)))
#define ST_IS_STRING(T, m) \
	_Generic(&ST_M(T, m), char(*)[ST_DIV(ST_M(T, m), 1)] : true, default : false)
/* Only F takes a string: what A and V would mean for one is not defined, so it does not build. */
#define ST_NO_STRING(T, m) (0 / !ST_IS_STRING(T, m))

/* A list is #define FOO(F, A, V, T) and names every member once:
 *   F(T, m)      in every checkpoint; a char array is a string, zeroes after its end
 *   A(T, m, d)   may be missing, and is d then: for members that tables get after their first
 *                release; not written while all elements equal d
 *   V(T, m, n)   array m with its element count in the uint32_t member n
 * F and A take rules as one more argument: F(T, readonly, (ST_BOOL | ST_CONSTANT)). */
#define ST_RULES(...) (__VA_ARGS__ + 0) /* none: 0 */
#define ST_ROW(T, m, len, dflt, kind, rules) \
#m, offsetof(T, m), ST_N(T, m), len, dflt, ST_WIDTH(ST_M(T, m)), kind, rules
#define ST_ROW_F(T, m, ...) \
	{ST_ROW(T, m, 0, 0, ST_IS_STRING(T, m) ? ST_STRING : ST_REQUIRED, ST_RULES(__VA_ARGS__))},
#define ST_ROW_A(T, m, d, ...) \
	{ST_ROW(T, m, ST_NO_STRING(T, m), d, ST_ADDED, ST_RULES(__VA_ARGS__))},
#define ST_ROW_V(T, m, n)      {ST_ROW(T, m, offsetof(T, n) + ST_NO_STRING(T, m), 0, ST_VARIABLE, 0)},
#define ST_SUM_F(T, m, ...)    +sizeof(ST_M(T, m))
#define ST_SUM_A(T, m, d, ...) +sizeof(ST_M(T, m))
#define ST_SUM_V(T, m, n)      +sizeof(ST_M(T, m)) + sizeof(ST_M(T, n))

#define STATE_DEFINE(T, LIST, TYPE, CHECK)                                                         \
	_Static_assert(sizeof(struct T) == 0 LIST(ST_SUM_F, ST_SUM_A, ST_SUM_V, struct T),         \
		       #T ": a member is missing from " #LIST ", or there is padding");            \
	static const struct state_row T##_rows[] = {LIST(ST_ROW_F, ST_ROW_A, ST_ROW_V, struct T)}; \
	_Static_assert(sizeof(T##_rows) / sizeof(T##_rows[0]) <= STATE_MAX_ROWS,                   \
		       #T ": more than STATE_MAX_ROWS rows");                                      \
	static const struct state_desc T##_desc = {                                                \
		TYPE, T##_rows, sizeof(T##_rows) / sizeof(T##_rows[0]), sizeof(struct T), CHECK}

/* One node of a checkpoint: a device, a vCPU, the clock. All walk it: save, load, check, print. */
struct state_section {
	char name[16]; /* node name: "serial0", "cpu@0"; "" is the root */
	const struct state_desc *desc;
	void *state;
};

/* Writes the properties of one node, its type first; fdt is in libfdt's sequential-write mode,
 * inside that node. Refuses what state_check() refuses: no load would take it. */
int state_save(void *fdt, const struct state_desc *desc, const void *state,
	       struct error *err) must_check;
/* Reads the node `node` of a tree that passed fdt_check_full(). Refuses by name: a node of another
 * type, a required property that is absent, a wrong length, a property no row knows or that comes
 * twice, what state_check() refuses. */
int state_load(const void *fdt, int node, const struct state_desc *desc, void *state,
	       struct error *err) must_check;
/* Refuses a value that breaks the rules of its row, and what desc->check() refuses. */
int state_check(const struct state_desc *desc, const void *state, struct error *err) must_check;
/* Joins each constant of the machine that differs between what was saved and this VM. */
int state_compare(const struct state_desc *desc, const void *saved, const void *here,
		  struct error *err) must_check;

/* The most bytes that state_save() of this table can add to a tree. */
size_t state_max_bytes(const struct state_desc *desc);
/* NULL if no row has this name. */
const struct state_row *state_row_find(const struct state_desc *desc, const char *name);
/* Element i of a property: cells are big-endian, as the devicetree specification wants them. */
uint64_t state_cell(const void *prop, uint32_t width, uint32_t i);
/* A name out of a checkpoint, fit to be shown: unprintable bytes are '?'. Returns text. */
#define STATE_SHOWN_BYTES 48
const char *state_shown(const char *name, char text[STATE_SHOWN_BYTES]);
/* One line per row: what golden files keep, so that no change to a format goes unseen. */
void state_dump_table(FILE *out, const struct state_desc *desc);
#endif
