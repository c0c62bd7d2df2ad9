/* SPDX-License-Identifier: GPL-2.0-or-later */
/* State tables: what is written is what is read, and everything else is refused by name. */
#include "cpr/state.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

/* One member of every width, kind and rule. */
struct full_state {
	uint64_t quad, quads[3];
	uint64_t added_quads[2];
	uint32_t word, words[2], added_word, nitems;
	uint16_t half, items[6];
	uint16_t halves[2];
	char text[9];
	uint8_t byte, bytes[4];
	uint8_t flag, flags[3];
	char serial_no[8];
	uint8_t readonly, pad[7];
	uint32_t size, sizes[3];
	uint64_t added_flag;
};
#define FULL_STATE(F, A, V, T)                  \
	F(T, quad)                              \
	F(T, quads)                             \
	A(T, added_quads, 7)                    \
	F(T, word)                              \
	F(T, words)                             \
	A(T, added_word, 0)                     \
	V(T, items, nitems)                     \
	F(T, half)                              \
	F(T, halves)                            \
	F(T, text)                              \
	F(T, byte)                              \
	F(T, bytes)                             \
	F(T, flag, ST_BOOL)                     \
	F(T, flags, ST_BOOL)                    \
	F(T, serial_no, ST_CONSTANT)            \
	F(T, readonly, (ST_BOOL | ST_CONSTANT)) \
	F(T, pad, ST_PADDING)                   \
	F(T, size, ST_CONSTANT)                 \
	F(T, sizes, ST_CONSTANT)                \
	A(T, added_flag, 1, (ST_BOOL | ST_CONSTANT))

static const char *full_check(const void *st)
{
	const struct full_state *full = st;

	return full->byte == 0xff ? "byte is 255" : NULL;
}
STATE_DEFINE(full_state, FULL_STATE, "full", full_check);

/* The table as the first release had it: no added rows. */
static struct state_desc older_desc(struct state_row rows[STATE_MAX_ROWS])
{
	struct state_desc older = full_state_desc;

	older.nrows = 0;
	older.row = rows;
	for (uint32_t i = 0; i < full_state_desc.nrows; i++)
		if (full_state_desc.row[i].kind != ST_ADDED)
			rows[older.nrows++] = full_state_desc.row[i];
	return older;
}

static struct full_state pattern(void)
{
	struct full_state full;

	for (size_t i = 0; i < sizeof(full); i++)
		((uint8_t *)&full)[i] = (uint8_t)(i * 37 + 1);
	full.nitems = 4;
	memset(full.items + 4, 0, 4); /* what a variable row does not use is not kept */
	memset(full.text, 0, sizeof(full.text));
	memcpy(full.text, "a b-c", 5);
	full.byte = 0x5a;
	full.flag = 1;
	memcpy(full.flags, "\0\1\1", sizeof(full.flags));
	memcpy(full.serial_no, "SERIAL\0", sizeof(full.serial_no));
	full.readonly = 0;
	full.added_flag = 0;
	memset(full.pad, 0, sizeof(full.pad));
	return full;
}

static char tree[8192];

static void begin_tree(size_t room)
{
	ck_assert_int_eq(fdt_create(tree, (int)room), 0);
	ck_assert_int_eq(fdt_finish_reservemap(tree), 0);
	ck_assert_int_eq(fdt_begin_node(tree, ""), 0);
}

static void end_tree(void)
{
	ck_assert_int_eq(fdt_end_node(tree), 0);
	ck_assert_int_eq(fdt_finish(tree), 0);
}

static int save(const struct state_desc *desc, const void *state, struct error *err)
{
	int ret;

	begin_tree(sizeof(tree));
	ret = state_save(tree, desc, state, err);
	if (ret)
		return ret;
	end_tree();
	ck_assert_int_eq(fdt_check_full(tree, sizeof(tree)), 0);
	return 0;
}

static void save_ok(const struct state_desc *desc, const void *state)
{
	struct error err = {""};

	ck_assert_msg(!save(desc, state, &err), "%s", err.msg);
}

static void load_ok(const struct state_desc *desc, struct full_state *state)
{
	struct error err = {""};

	memset(state, 0xee, sizeof(*state));
	ck_assert_msg(!state_load(tree, 0, desc, state, &err), "%s", err.msg);
}

static void load_refused(const struct state_desc *desc, int code, const char *word)
{
	struct full_state state;
	struct error err = {""};

	ck_assert_int_eq(state_load(tree, 0, desc, &state, &err), code);
	ck_assert_msg(strstr(err.msg, word), "'%s' does not name '%s'", err.msg, word);
}

/* Puts one more property into the tree, or changes one. */
static void setprop(const char *name, const void *value, int len)
{
	ck_assert_int_eq(fdt_open_into(tree, tree, sizeof(tree)), 0);
	ck_assert_int_eq(fdt_setprop(tree, 0, name, value, len), 0);
}

TEST(round_trip)
{
	struct full_state full = pattern(), back;

	save_ok(&full_state_desc, &full);
	load_ok(&full_state_desc, &back);
	ck_assert_mem_eq(&full, &back, sizeof(full));
}

TEST(cells_are_big_endian)
{
	struct full_state full = pattern();
	int len;
	const uint8_t *prop;

	full.word = 0x11223344;
	save_ok(&full_state_desc, &full);
	prop = fdt_getprop(tree, 0, "word", &len);
	ck_assert_int_eq(len, 4);
	ck_assert_mem_eq(prop, "\x11\x22\x33\x44", 4);
	ck_assert_uint_eq(state_cell(prop, 4, 0), 0x11223344);
	ck_assert_str_eq(fdt_getprop(tree, 0, "text", &len), "a b-c");
	ck_assert_int_eq(len, 6);
	ck_assert_str_eq(fdt_getprop(tree, 0, "type", &len), "full");
}

/* New build, old checkpoint: the default. */
TEST(added_row_defaults)
{
	struct state_row rows[STATE_MAX_ROWS];
	struct state_desc older = older_desc(rows);
	struct full_state full = pattern(), back;

	save_ok(&older, &full);
	load_ok(&full_state_desc, &back);
	full.added_quads[0] = full.added_quads[1] = 7;
	full.added_word = 0;
	full.added_flag = 1;
	ck_assert_mem_eq(&full, &back, sizeof(full));
}

/* Old build, new checkpoint: fine as long as the new state is not in use, else refused by name. */
TEST(older_build)
{
	struct state_row rows[STATE_MAX_ROWS];
	struct state_desc older = older_desc(rows);
	struct full_state full = pattern(), back;

	full.added_quads[0] = full.added_quads[1] = 7;
	full.added_word = 0;
	full.added_flag = 1;
	save_ok(&full_state_desc, &full);
	ck_assert_ptr_null(fdt_getprop(tree, 0, "added_word", NULL));
	ck_assert_ptr_null(fdt_getprop(tree, 0, "added_quads", NULL));
	load_ok(&older, &back);
	ck_assert_uint_eq(back.quad, full.quad);

	full.added_quads[1] = 8;
	save_ok(&full_state_desc, &full);
	load_refused(&older, -ENOTSUP, "added_quads");
	load_ok(&full_state_desc, &back);
	ck_assert_mem_eq(&full, &back, sizeof(full));
}

TEST(every_missing_row)
{
	struct full_state full = pattern();

	for (uint32_t i = 0; i < full_state_desc.nrows; i++) {
		const struct state_row *row = &full_state_desc.row[i];

		save_ok(&full_state_desc, &full);
		ck_assert_int_eq(fdt_open_into(tree, tree, sizeof(tree)), 0);
		ck_assert_int_eq(fdt_delprop(tree, 0, row->name), 0);
		if (row->kind != ST_ADDED)
			load_refused(&full_state_desc, -EINVAL, row->name);
	}
	save_ok(&full_state_desc, &full);
	ck_assert_int_eq(fdt_open_into(tree, tree, sizeof(tree)), 0);
	ck_assert_int_eq(fdt_delprop(tree, 0, "type"), 0);
	load_refused(&full_state_desc, -EINVAL, "type");
}

/* Every length but the right one; for variable rows every one that is no whole number or too long.
 */
TEST(every_length)
{
	static const uint8_t zero[128];
	struct full_state full = pattern(), back;
	struct error err;

	for (uint32_t i = 0; i < full_state_desc.nrows; i++) {
		const struct state_row *row = &full_state_desc.row[i];

		if (row->kind == ST_STRING)
			continue;
		for (uint32_t len = 0; len < sizeof(zero); len++) {
			bool fits =
				row->kind == ST_VARIABLE
					? len % row->width == 0 && len <= row->count * row->width
					: len == row->count * row->width;

			save_ok(&full_state_desc, &full);
			setprop(row->name, zero, (int)len);
			if (fits)
				ck_assert_int_eq(state_load(tree, 0, &full_state_desc, &back, &err),
						 0);
			else
				load_refused(&full_state_desc, -EINVAL, row->name);
		}
	}
}

TEST(strings)
{
	struct full_state full = pattern(), back;

	memcpy(full.text, "12345678", 9); /* as long as it may be */
	save_ok(&full_state_desc, &full);
	load_ok(&full_state_desc, &back);
	ck_assert_str_eq(back.text, "12345678");
	setprop("text", "123456789", 10);
	load_refused(&full_state_desc, -EINVAL, "text");
	setprop("text", "1234", 4); /* without its end */
	load_refused(&full_state_desc, -EINVAL, "text");
	setprop("text",
		"12\0"
		"4",
		5); /* two ends */
	load_refused(&full_state_desc, -EINVAL, "text");
	setprop("text", "", 0);
	load_refused(&full_state_desc, -EINVAL, "text");
	setprop("text", "", 1);
	load_ok(&full_state_desc, &back);
	ck_assert_str_eq(back.text, "");
	memset(full.text, 'x', sizeof(full.text)); /* ours may not lack it either */
	ck_assert_int_eq(save(&full_state_desc, &full, NULL), -EINVAL);
}

TEST(refused)
{
	struct state_desc careless = full_state_desc;
	struct full_state full = pattern();
	struct error err = {""};

	save_ok(&full_state_desc, &full);
	setprop("colour", "red", 4);
	load_refused(&full_state_desc, -ENOTSUP, "colour");

	save_ok(&full_state_desc, &full);
	setprop("co\nlour\x1b[2J", "red", 4); /* nothing in a name steers a terminal */
	load_refused(&full_state_desc, -ENOTSUP, "'co?lour?[2J'");

	save_ok(&full_state_desc, &full);
	setprop("type", "fool", 5);
	load_refused(&full_state_desc, -EINVAL, "'fool'");
	setprop("type", "full", 4);
	load_refused(&full_state_desc, -EINVAL, "type");

	/* What no load would take is not written, and not taken from who writes it. */
	full.byte = 0xff;
	ck_assert_int_eq(save(&full_state_desc, &full, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "full: byte is 255");
	careless.check = NULL;
	save_ok(&careless, &full);
	load_refused(&full_state_desc, -EINVAL, "byte is 255");

	full = pattern();
	full.nitems = 7;
	ck_assert_int_eq(save(&full_state_desc, &full, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "items"));
}

/* A value that breaks the rules of its row is neither written nor taken. */
static void breaks_rules(const struct full_state *full, const char *message)
{
	struct state_row rows[STATE_MAX_ROWS];
	struct state_desc careless = full_state_desc;
	struct error err = {""};

	ck_assert_int_eq(state_check(&full_state_desc, full, &err), -EINVAL);
	ck_assert_str_eq(err.msg, message);
	ck_assert_int_eq(save(&full_state_desc, full, &err), -EINVAL);
	ck_assert_str_eq(err.msg, message);
	for (uint32_t i = 0; i < careless.nrows; i++) {
		rows[i] = full_state_desc.row[i];
		rows[i].rules = 0;
	}
	careless.row = rows;
	save_ok(&careless, full);
	load_refused(&full_state_desc, -EINVAL, message);
}

TEST(bool_and_padding)
{
	struct full_state full = pattern();

	ck_assert_int_eq(state_check(&full_state_desc, &full, NULL), 0);
	full.flag = 2;
	breaks_rules(&full, "full: 'flag' is neither 0 nor 1");
	full = pattern();
	full.flags[2] = 0xff;
	breaks_rules(&full, "full: 'flags' is neither 0 nor 1");
	full = pattern();
	full.readonly = 3;
	breaks_rules(&full, "full: 'readonly' is neither 0 nor 1");
	full = pattern();
	full.added_flag = 1ull << 32;
	breaks_rules(&full, "full: 'added_flag' is neither 0 nor 1");
	full = pattern();
	full.pad[6] = 1;
	breaks_rules(&full, "full: 'pad' is padding and not zero");
}

/* Each constant that differs is in the message; other rows may differ. */
TEST(constants)
{
	struct full_state saved = pattern(), here = pattern();
	struct error err = {""};

	here.quad++;
	here.flag = 0;
	strcpy(here.text, "other");
	ck_assert_int_eq(state_compare(&full_state_desc, &saved, &here, &err), 0);
	ck_assert_str_eq(err.msg, "");
	here.readonly = 1;
	ck_assert_int_eq(state_compare(&full_state_desc, &saved, &here, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "checkpoint has readonly=off, this VM has on");
	err.msg[0] = '\0';
	strcpy(saved.serial_no, "\x1bother");
	saved.size = 512;
	here.size = 4000000000;
	saved.sizes[1] = 1;
	here.sizes[1] = 2;
	saved.added_flag = 1;
	ck_assert_int_eq(state_compare(&full_state_desc, &saved, &here, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "checkpoint has serial-no=?other, this VM has SERIAL; "
				  "checkpoint has readonly=off, this VM has on; "
				  "checkpoint has size=512, this VM has 4000000000; "
				  "checkpoint has sizes=1, this VM has 2; "
				  "checkpoint has added-flag=on, this VM has off");
	ck_assert_int_eq(state_compare(&full_state_desc, &saved, &here, NULL), -EINVAL);
}

TEST(twice)
{
	begin_tree(sizeof(tree));
	ck_assert_int_eq(fdt_property_u64(tree, "quad", 1), 0);
	ck_assert_int_eq(fdt_property_u64(tree, "quad", 2), 0);
	end_tree();
	load_refused(&full_state_desc, -EINVAL, "'quad' comes twice");
}

/* A tree too small for the state: an error, whatever the size. state_max_bytes() is enough. */
TEST(room)
{
	struct full_state full = pattern();
	struct error err;
	size_t room = state_max_bytes(&full_state_desc) + 128; /* header, root, end */

	for (size_t i = sizeof(struct fdt_header) + 32; i < 500; i++) {
		char *small = malloc(i);

		if (!fdt_create(small, (int)i) && !fdt_finish_reservemap(small) &&
		    !fdt_begin_node(small, "") && state_save(small, &full_state_desc, &full, &err))
			ck_assert_ptr_nonnull(strstr(err.msg, "full"));
		free(small);
	}
	begin_tree(room);
	ck_assert_int_eq(state_save(tree, &full_state_desc, &full, &err), 0);
	end_tree();
}

TEST(dump)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	state_dump_table(out, &full_state_desc);
	fclose(out);
	ck_assert_ptr_nonnull(strstr(text, "full.quads u64 x3 required\n"));
	ck_assert_ptr_nonnull(strstr(text, "full.added_quads u64 x2 added default 0x7\n"));
	ck_assert_ptr_nonnull(strstr(text, "full.items u16 x6 variable\n"));
	ck_assert_ptr_nonnull(strstr(text, "full.text u8 x9 string\n"));
	ck_assert_ptr_nonnull(strstr(text, "full.pad u8 x7 required padding\n"));
	ck_assert_ptr_nonnull(strstr(text, "full.serial_no u8 x8 string constant\n"));
	ck_assert_ptr_nonnull(
		strstr(text, "full.added_flag u64 x1 added default 0x1 bool constant\n"));
	free(text);
}

UNIT_MAIN(NULL, NULL)
