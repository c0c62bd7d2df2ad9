/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The container: golden files, compatibility, and what a hostile or damaged file may not do. */
#include "tests/rig/checkpoint_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* Of every release; the last one has all devices. */
static const char *const golden[] = {
	GOLDEN_DIR "/checkpoint-1.0.0",
};
#define GOLDENS	      ARRAY_SIZE(golden)
#define LAST	      golden[GOLDENS - 1]
#define GOLDEN_TABLES GOLDEN_DIR "/tables"

/* The same sections, to be loaded into. */
static struct snapshot *blank(const char *path)
{
	struct snapshot *snap = sections_load(path);

	for (uint32_t i = 0; i < snap->nsections; i++)
		memset(snap->section[i].state, 0, snap->section[i].desc->size);
	return snap;
}

/* The last golden checkpoint, and where to load one like it. */
static struct snapshot *last, *into_last;

static void setup(void)
{
	last = sections_load(LAST);
	into_last = blank(LAST);
}

static void teardown(void)
{
	snapshot_free(last);
	snapshot_free(into_last);
}

static int load_in_place(const struct checkpoint *ckpt, struct snapshot *into, struct error *err)
{
	int ret;

	err->msg[0] = '\0';
	ret = checkpoint_verify(ckpt, err);
	ret = ret ? ret : checkpoint_load(ckpt, into->section, into->nsections, true, err);
	if (ret && !*err->msg) /* ck_assert() reports each pass: too slow here */
		ck_abort_msg("refused without a word");
	return ret;
}

/* Reads with exactly as much memory as there is content: a sanitizer sees one byte too far. */
static int load_bytes(const uint8_t *data, size_t size, struct snapshot *into, struct error *err)
{
	struct checkpoint ckpt = {malloc(size ? size : 1), size, size};
	int ret;

	memcpy(ckpt.data, data, size);
	ret = load_in_place(&ckpt, into, err);
	checkpoint_free(&ckpt);
	return ret;
}

/* The same for a checkpoint that is looked at many times. */
static struct checkpoint build_exact(const struct snapshot *snap)
{
	struct checkpoint ckpt = sections_build(snap);

	ckpt.data = realloc(ckpt.data, ckpt.size_bytes);
	ckpt.buffer_bytes = ckpt.size_bytes;
	return ckpt;
}

/* --- golden files */

/* Every release's checkpoints load for ever, and nothing in them is lost. */
TEST_EACH(golden_checkpoint, golden)
{
	struct snapshot *snap = sections_load(golden[_i]), *back = blank(golden[_i]);
	struct checkpoint ckpt;
	struct error err;

	ck_assert_str_eq(snap->machine.vm_name, "vm1");
	ck_assert_str_eq(snap->root.mode, "reboot");
	ckpt = sections_build(snap);
	ck_assert_msg(!load_bytes(ckpt.data, ckpt.size_bytes, back, &err), "%s", err.msg);
	for (uint32_t i = 0; i < snap->nsections; i++)
		ck_assert_mem_eq(snap->section[i].state, back->section[i].state,
				 snap->section[i].desc->size);
	checkpoint_free(&ckpt);
	snapshot_free(snap);
	snapshot_free(back);
}

static void dump(void *ctx, const struct state_desc *desc)
{
	state_dump_table(ctx, desc);
}

static char *dump_tables(void)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);

	if (snapshot_tables(dump, out, NULL))
		abort();
	fclose(out);
	return text;
}

/* A change to a table is a change to the format: it shall be meant, and seen in review. */
TEST(golden_tables)
{
	static char text[65536];
	FILE *in = fopen(GOLDEN_TABLES, "r");
	char *now = dump_tables();

	ck_assert_msg(in, GOLDEN_TABLES ": %s", strerror(errno));
	text[fread(text, 1, sizeof(text) - 1, in)] = '\0';
	fclose(in);
	ck_assert_msg(!strcmp(text, now),
		      "the state tables are not those of " GOLDEN_TABLES
		      ": see tests/golden/README\n%s",
		      now);
	free(now);
}

/* --- compatibility */

/* So that the tests here see each table filled by a real guest. One with a function of its host is not
 * to be had by hand; the bed loads such ones. */
TEST(golden_has_all_devices)
{
	struct snapshot *all = sections_new();

	for (uint32_t i = all->first_device; i < all->nsections; i++) {
		bool found = !strcmp(all->section[i].desc->type, "vfio-pci");

		for (uint32_t k = last->first_device; k < last->nsections; k++)
			found |= !strcmp(last->section[k].name, all->section[i].name);
		ck_assert_msg(found, "%s has no %s: see tests/golden/README", LAST,
			      all->section[i].name);
	}
	snapshot_free(all);
}

#define LATER_DEFAULT 7

/* A device of a later build: one field more after those of today. */
struct later {
	struct state_row row[STATE_MAX_ROWS];
	struct state_desc desc;
	uint32_t offset;
	uint8_t *state;
};

static void make_later(struct later *later, const struct state_section *section)
{
	const struct state_desc *now = section->desc;

	ck_assert_uint_lt(now->nrows, STATE_MAX_ROWS);
	later->offset = now->size;
	later->desc = *now;
	later->desc.row = later->row;
	later->desc.size = now->size + 8;
	memcpy(later->row, now->row, now->nrows * sizeof(*now->row));
	later->row[later->desc.nrows++] = (struct state_row){.name = "of_a_release_to_come",
							     .offset = later->offset,
							     .count = 1,
							     .dflt = LATER_DEFAULT,
							     .width = 4,
							     .kind = ST_ADDED};
	later->state = calloc(1, later->desc.size);
}

static void put_later(struct snapshot *snap, uint32_t i, const struct later *later)
{
	snap->section[i].desc = &later->desc;
	snap->section[i].state = later->state;
}

/* Loads today's checkpoint in a later build, and what that one saves today, as long as the new
 * field is not in use. */
static void cross_versions(uint32_t i)
{
	struct snapshot *new = blank(LAST);
	const struct state_section *section = &last->section[i];
	struct checkpoint ckpt;
	struct later later;
	struct error err = {""};
	uint32_t value;

	make_later(&later, section);
	put_later(new, i, &later);
	ckpt = sections_build(last);
	ck_assert_msg(!load_bytes(ckpt.data, ckpt.size_bytes, new, &err), "%s", err.msg);
	ck_assert_mem_eq(later.state, section->state, section->desc->size);
	memcpy(&value, later.state + later.offset, sizeof(value));
	ck_assert_uint_eq(value, LATER_DEFAULT);
	checkpoint_free(&ckpt);

	ckpt = sections_build(new);
	ck_assert_msg(!load_bytes(ckpt.data, ckpt.size_bytes, into_last, &err), "%s", err.msg);
	ck_assert_mem_eq(into_last->section[i].state, section->state, section->desc->size);
	checkpoint_free(&ckpt);

	memset(later.state + later.offset, 1, sizeof(value));
	ckpt = sections_build(new);
	ck_assert_int_lt(load_bytes(ckpt.data, ckpt.size_bytes, into_last, &err), 0);
	ck_assert_msg(strstr(err.msg, "'of_a_release_to_come' is not known here"), "%s", err.msg);
	checkpoint_free(&ckpt);
	free(later.state);
	snapshot_free(new);
}

TEST(field_of_a_release_to_come)
{
	for (uint32_t i = last->first_device; i < last->nsections; i++)
		cross_versions(i);
}

/* --- every table there is */

struct table_list {
	const struct state_desc *desc[64];
	uint32_t n;
};

static void list(void *ctx, const struct state_desc *desc)
{
	struct table_list *tables = ctx;

	tables->desc[tables->n++] = desc;
}

/* A different value in each byte, as far as its rules allow; variable rows half full, strings with text. */
static void fill(const struct state_desc *desc, uint8_t *state)
{
	for (uint32_t i = 0; i < desc->size; i++)
		state[i] = (uint8_t)(i * 151 + 3);
	for (uint32_t i = 0; i < desc->nrows; i++) {
		const struct state_row *row = &desc->row[i];
		uint8_t *member = state + row->offset;
		uint32_t n = row->count / 2;

		if (row->kind == ST_STRING) {
			memset(member, 0, row->count);
			memcpy(member, row->name, row->count > 4 ? 3 : 1);
		} else if (row->kind == ST_VARIABLE) {
			memcpy(state + row->len_offset, &n, sizeof(n));
			memset(member + (size_t)n * row->width, 0,
			       (size_t)(row->count - n) * row->width);
		} else if (row->rules & (ST_BOOL | ST_PADDING)) {
			memset(member, 0, (size_t)row->count * row->width);
			for (uint32_t e = 0; row->rules & ST_BOOL && e < row->count; e++)
				member[(size_t)e * row->width] = (i + e) & 1; /* little endian */
		}
	}
}

static void round_trip(const struct state_desc *table)
{
	struct state_desc desc = *table;
	size_t room = state_max_bytes(table) + 256;
	uint8_t *state = malloc(desc.size), *back = malloc(desc.size);
	void *tree = malloc(room);
	struct error err = {""};

	desc.check = NULL; /* a pattern is not a sensible state */
	fill(&desc, state);
	ck_assert(!fdt_create(tree, (int)room) && !fdt_finish_reservemap(tree) &&
		  !fdt_begin_node(tree, ""));
	ck_assert_msg(!state_save(tree, &desc, state, &err), "%s", err.msg);
	ck_assert(!fdt_end_node(tree) && !fdt_finish(tree));
	ck_assert_msg(!state_load(tree, 0, &desc, back, &err), "%s", err.msg);
	ck_assert_msg(!memcmp(state, back, desc.size), "%s does not come back", desc.type);
	for (uint32_t i = 0; i < desc.nrows; i++)
		ck_assert_msg(strcmp(desc.row[i].name, "type"), "%s: no row may be called 'type'",
			      desc.type);
	free(state);
	free(back);
	free(tree);
}

TEST(every_table)
{
	struct table_list tables = {.n = 0};

	ck_assert_int_eq(snapshot_tables(list, &tables, NULL), 0);
	ck_assert_uint_gt(tables.n, SNAPSHOT_HEAD_SECTIONS + 4);
	for (uint32_t i = 0; i < tables.n; i++) {
		round_trip(tables.desc[i]);
		for (uint32_t k = 0; k < i; k++)
			ck_assert_msg(strcmp(tables.desc[i]->type, tables.desc[k]->type),
				      "two tables of type %s", tables.desc[i]->type);
	}
}

/* --- damage */

TEST(truncated)
{
	struct snapshot *snap = sections_load(golden[0]), *into = blank(golden[0]);
	struct checkpoint ckpt;
	struct error err;

	ckpt = sections_build(snap);
	for (size_t size = 0; size < ckpt.size_bytes; size++)
		ck_assert_int_lt(load_bytes(ckpt.data, size, into, &err), 0);
	ck_assert_int_eq(load_bytes(ckpt.data, ckpt.size_bytes, into, &err), 0);
	checkpoint_free(&ckpt);
	snapshot_free(snap);
	snapshot_free(into);
}

TEST(every_bit)
{
	struct snapshot *snap = sections_load(golden[0]), *into = blank(golden[0]);
	struct checkpoint ckpt;
	struct error err;

	ckpt = build_exact(snap);
	for (size_t bit = 0; bit < 8 * ckpt.size_bytes; bit++) {
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		if (!load_in_place(&ckpt, into, &err))
			ck_abort_msg("bit %zu of byte %zu is not seen", bit % 8, bit / 8);
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	checkpoint_free(&ckpt);
	snapshot_free(snap);
	snapshot_free(into);
}

/* Someone who can make the checksum right again: refused by name, or loaded as what it says. Then
 * saving gives the same bytes, or those from before if the bit was one of padding. */
TEST(every_bit_resealed)
{
	struct checkpoint base, ckpt, again;
	struct error err;
	size_t loaded = 0, refused = 0;

	base = sections_build(last);
	ckpt = build_exact(last);
	again = sections_build(last);
	/* Every third: over the bytes that are all of their bits, in a third of the time. */
	for (size_t bit = 0; bit < 8 * (ckpt.size_bytes - 16); bit += 3) {
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		reseal(&ckpt);
		if (load_in_place(&ckpt, into_last, &err)) {
			refused++;
		} else {
			if (checkpoint_build(&again, into_last->section, into_last->nsections,
					     &err) ||
			    again.size_bytes != ckpt.size_bytes ||
			    (memcmp(again.data, ckpt.data, ckpt.size_bytes) &&
			     memcmp(again.data, base.data, base.size_bytes)))
				ck_abort_msg("bit %zu of byte %zu loads as something else", bit % 8,
					     bit / 8);
			loaded++;
		}
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	/* Both ways were taken, or this test has tested nothing. */
	ck_assert_uint_gt(loaded, 1000);
	ck_assert_uint_gt(refused, 1000);
	checkpoint_free(&base);
	checkpoint_free(&ckpt);
	checkpoint_free(&again);
}

/* --- nodes */

/* Changes the tree with libfdt's editing functions and seals it anew. */
static struct checkpoint edited(const struct snapshot *snap, const char *what, const char *node)
{
	struct checkpoint base, ckpt = {calloc(1, 65536), 0, 65536};
	size_t tree_bytes;
	void *fdt = ckpt.data;

	base = sections_build(snap);
	ck_assert_int_eq(fdt_open_into(base.data, fdt, 60000), 0);
	if (!strcmp(what, "drop"))
		ck_assert_int_eq(fdt_del_node(fdt, fdt_subnode_offset(fdt, 0, node)), 0);
	else if (!strcmp(what, "add"))
		ck_assert_int_ge(fdt_add_subnode(fdt, 0, node), 0);
	else if (!strcmp(what, "nest"))
		ck_assert_int_ge(fdt_add_subnode(fdt, fdt_subnode_offset(fdt, 0, node), "x"), 0);
	else
		ck_assert_int_eq(fdt_setprop(fdt, 0, what, node, (int)strlen(node) + 1), 0);
	ck_assert_int_eq(fdt_pack(fdt), 0);
	tree_bytes = fdt_totalsize(fdt);
	memcpy(ckpt.data + tree_bytes, base.data + base.size_bytes - CHECKPOINT_TRAILER_BYTES,
	       CHECKPOINT_TRAILER_BYTES);
	ckpt.size_bytes = tree_bytes + CHECKPOINT_TRAILER_BYTES;
	/* length, big-endian, at byte 16 of the trailer */
	for (int i = 0; i < 8; i++)
		ckpt.data[tree_bytes + 16 + (size_t)i] = (uint8_t)(tree_bytes >> (56 - 8 * i));
	reseal(&ckpt);
	checkpoint_free(&base);
	return ckpt;
}

static void refused(const char *what, const char *node, const char *word)
{
	struct checkpoint ckpt = edited(last, what, node);
	struct error err;

	ck_assert_int_lt(load_bytes(ckpt.data, ckpt.size_bytes, into_last, &err), 0);
	ck_assert_msg(strstr(err.msg, word), "'%s' does not say '%s'", err.msg, word);
	checkpoint_free(&ckpt);
}

TEST(nodes)
{
	for (uint32_t i = 1; i < last->nsections; i++) {
		char word[40];

		snprintf(word, sizeof(word), "no '%s'", last->section[i].name);
		refused("drop", last->section[i].name, word);
	}
	refused("add", "disk7", "'disk7', which is not known here");
	refused("nest", "serial0", "serial0: a node within it");
	refused("compatible", "linux,dummy-virt", "not compatible");
	refused("mode", "forever", "'mode' is not known");
	refused("run_state", "internal-error", "'run_state'");
	refused("suspended", "\1\1\1", "'suspended' is neither 0 nor 1");
	refused("size", "10", "'size' is not known here");
}

TEST(not_a_checkpoint)
{
	struct checkpoint ckpt;
	uint8_t text[200] = "just some text";
	struct error err;

	ck_assert_int_lt(load_bytes(text, sizeof(text), into_last, &err), 0);
	ck_assert_str_eq(err.msg, "not a checkpoint");
	ckpt = sections_build(last);
	ck_assert_int_lt(load_bytes(ckpt.data, ckpt.size_bytes - 64, into_last, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "truncated"));
	ckpt.data[ckpt.size_bytes - 64 + 11] = 3; /* of a format to come */
	reseal(&ckpt);
	ck_assert_int_eq(load_bytes(ckpt.data, ckpt.size_bytes, into_last, &err), -ENOTSUP);
	ck_assert_str_eq(err.msg, "format 3, this build reads format 2");
	checkpoint_free(&ckpt);
}

/* No machine of this version is the one that it was saved from. */
TEST(before_the_first_release)
{
	struct checkpoint ckpt;
	struct error err;

	ck_assert_int_eq(
		checkpoint_read(&ckpt, AT_FDCWD, GOLDEN_DIR "/checkpoint-0.2.0", false, &err),
		-ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "checkpoint-0.2.0: was saved by stasis 0.2.0: "
					      "only the version that saved it can load a"));
}

/* --- the tools that people read device trees with */

static void tool_takes(const char *command, const char *path)
{
	char line[600], said[2000];
	FILE *out;
	size_t n;

	snprintf(line, sizeof(line), "%s '%s' 2>&1 >/dev/null", command, path);
	out = popen(line, "r");
	ck_assert_ptr_nonnull(out);
	n = fread(said, 1, sizeof(said) - 1, out);
	said[n] = '\0';
	ck_assert_msg(!pclose(out), "%s (package device-tree-compiler): %s", line, said);
}

static void tools_take(const char *path)
{
	tool_takes("dtc -I dtb -O dts", path);
	tool_takes("fdtdump", path);
}

TEST(device_tree_tools)
{
	char path[] = "/tmp/stasis-test.XXXXXX";
	struct snapshot *snap = sections_new();

	for (size_t i = 0; i < GOLDENS; i++)
		tools_take(golden[i]);
	/* With each table, those that no golden file has too. */
	sections_fill_head(snap);
	close(mkstemp(path));
	sections_write(snap, path);
	tools_take(path);
	unlink(path);
	snapshot_free(snap);
}

/* For tests/golden/README: a real checkpoint without the names of the host it was made on. */
static int write_neutral(const char *from, const char *to)
{
	struct snapshot *snap = sections_load(from);

	memset(snap->vmm.host_kernel, 0, sizeof(snap->vmm.host_kernel));
	memset(snap->vmm.host_boot_id, 0, sizeof(snap->vmm.host_boot_id));
	memset(snap->memory.path, 0, sizeof(snap->memory.path));
	memset(snap->memory.backend, 0, sizeof(snap->memory.backend));
	strcpy(snap->vmm.host_kernel, "6.1.0-50-cloud-amd64");
	strcpy(snap->memory.path, "/dev/dax0.0");
	strcpy(snap->memory.backend, "devdax");
	sections_write(snap, to);
	return EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
	if (argc == 4 && !strcmp(argv[1], "--neutral"))
		return write_neutral(argv[2], argv[3]);
	if (argc == 2 && !strcmp(argv[1], "--tables"))
		return fputs(dump_tables(), stdout) < 0;
	return unit_main(setup, teardown);
}
