/* SPDX-License-Identifier: GPL-2.0-or-later */
/* --inspect: what a person and a program read, and that no file makes it fall. */
#include "ram/ram.h"
#include "tests/rig/checkpoint_fixture.h"
#include "tests/rig/unit.h"
#include <fcntl.h>
#include <json-c/json.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN_CHECKPOINT GOLDEN_DIR "/checkpoint-1.0.0"

static char output[256 << 10];

/* Runs within the test's own process, whose stdout goes to a file. */
static int inspect(const char *path, bool json, struct error *err)
{
	FILE *out = tmpfile();
	int saved = dup(STDOUT_FILENO), ret;
	size_t n;

	fflush(stdout);
	dup2(fileno(out), STDOUT_FILENO);
	ret = cpr_inspect(path, json, err);
	fflush(stdout);
	dup2(saved, STDOUT_FILENO);
	close(saved);
	rewind(out);
	n = fread(output, 1, sizeof(output) - 1, out);
	output[n] = '\0';
	fclose(out);
	return ret;
}

static void says(const char *text)
{
	ck_assert_msg(strstr(output, text), "'%s' is not in:\n%s", text, output);
}

TEST(person)
{
	struct error err;

	ck_assert_int_eq(inspect(GOLDEN_CHECKPOINT, false, &err), 0);
	says("VM          vm1 (uuid ");
	says("for mode=reboot; the guest was running");
	says("by          stasis 1.0.0 on Linux 6.1.0-50-cloud-amd64");
	says("1 vCPU, 64 MiB of RAM, with a PIT; serial0 (GSI 4) rtc0 (GSI 8)");
	says("RAM         devdax /dev/dax0.0, offset 0; not hashed");
	says("\ncpu@0\n");
	says("    ram-size-bytes       67108864 (0x4000000)");
}

static struct json_object *member(struct json_object *object, const char *name)
{
	struct json_object *value = NULL;

	ck_assert_msg(json_object_object_get_ex(object, name, &value), "no %s", name);
	return value;
}

TEST(program)
{
	struct json_object *tree;
	struct error err;

	ck_assert_int_eq(inspect(GOLDEN_CHECKPOINT, true, &err), 0);
	tree = json_tokener_parse(output);
	ck_assert_ptr_nonnull(tree);
	ck_assert_str_eq(json_object_get_string(member(member(tree, "checkpoint"), "mode")),
			 "reboot");
	ck_assert_int_eq(json_object_get_int(member(member(tree, "machine"), "cpus")), 1);
	ck_assert_uint_eq(json_object_array_length(member(member(tree, "machine"), "device-gsi")),
			  11);
	ck_assert_int_eq(json_object_get_string_len(member(member(tree, "cpu@0"), "regs")), 288);
	ck_assert_int_gt(json_object_get_int64(member(member(tree, "vmm"), "saved-at-ns")), 0);
	json_object_put(tree);
}

/* Names of files and VMs are in UTF-8: programs get them as they are, terminals what is harmless. */
TEST(utf8)
{
	static const struct {
		const char *text, *json;
	} sample[] = {
		{"/srv/K\xc3\xb6ln/\xe2\x82\xac/\xf0\x9f\x90\x98", NULL},
		{"a\xc3", "a?"},			     /* cut off */
		{"\xc0\xaf\xe0\x80\xaf", "?????"},	     /* longer than need be */
		{"\xed\xa0\x80\xf4\x90\x80\x80", "???????"}, /* surrogate, beyond U+10FFFF */
		{"\x1b[2J\x7f\n", "?[2J??"},
		{"\xc2\x9b[2J", "??[2J"},		/* a control beyond ASCII */
		{"\xe2\x80\x8fx", "???x"},		/* from right to left */
		{"\xe2\x80\xa8\xe2\x80\xac", "??????"}, /* ends a line, a direction */
	};
	char path[] = "/tmp/stasis\r-inspect.XXXXXX";

	close(mkstemp(path));
	for (size_t i = 0; i < ARRAY_SIZE(sample); i++) {
		struct snapshot *snap = sections_new();
		struct json_object *tree;
		struct error err;

		sections_fill_head(snap);
		strcpy(snap->memory.path, sample[i].text);
		sections_write(snap, path);
		ck_assert_int_eq(inspect(path, true, &err), 0);
		tree = json_tokener_parse(output);
		ck_assert_str_eq(json_object_get_string(member(member(tree, "memory"), "path")),
				 sample[i].json ? sample[i].json : sample[i].text);
		json_object_put(tree);
		ck_assert_int_eq(inspect(path, false, &err), 0);
		for (const char *c = output; *c; c++)
			ck_assert(*c == '\n' || *c >= ' ');
		snapshot_free(snap);
	}
	unlink(path);
}

/* What a newer build wrote is shown as far as it is understood. */
TEST(newer)
{
	struct snapshot *snap = sections_new();
	struct state_row row = {"colour", 0, 4, 0, 0, 1, ST_REQUIRED, 0};
	struct state_desc desc = {"lamp", &row, 1, 4, NULL};
	struct error err;
	char path[] = "/tmp/stasis-inspect.XXXXXX";

	close(mkstemp(path));
	sections_fill_head(snap);
	snap->section[snap->nsections++] =
		(struct state_section){"lamp0", &desc, (uint8_t[]){1, 2, 3, 255}};
	sections_write(snap, path);
	ck_assert_int_eq(inspect(path, false, &err), 0);
	says("\nlamp0\n    type                 lamp\n    colour               010203ff\n");
	unlink(path);
	snapshot_free(snap);
}

/* A sample of all flipped bits, made to pass the checksum. */
TEST(hostile)
{
	char path[] = "/tmp/stasis-inspect.XXXXXX";
	struct checkpoint ckpt;
	struct error err;
	size_t shown = 0;
	char harmless[100] = "\n";

	close(mkstemp(path));
	for (int c = ' '; c <= '~'; c++)
		harmless[strlen(harmless)] = (char)c;
	ck_assert_int_eq(checkpoint_read(&ckpt, AT_FDCWD, GOLDEN_CHECKPOINT, false, &err), 0);
	for (size_t bit = 0; bit < 8 * ckpt.size_bytes; bit += 151) {
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
		reseal(&ckpt);
		file_write(path, ckpt.data, ckpt.size_bytes);
		shown += !inspect(path, bit & 1, &err);
		ck_assert_msg(output[strspn(output, harmless)] == '\0',
			      "byte %#x reaches the terminal",
			      (unsigned char)output[strspn(output, harmless)]);
		ckpt.data[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_uint_gt(shown, 700);
	unlink(path);
	checkpoint_free(&ckpt);
}

TEST(refused)
{
	struct error err = {""};

	ck_assert_int_lt(inspect("/none", false, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "/none: No such file"));
	ck_assert_int_lt(inspect("/etc/passwd", true, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "not a checkpoint"));
	ck_assert_str_eq(output, "");
}

UNIT_MAIN(NULL, NULL)
