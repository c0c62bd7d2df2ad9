/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The JSON stream by itself: pieces, garbage and how it comes back from it. */
#include "qmp/json.h"
#include "tests/rig/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct json_in in;
static int fds[2];

static void setup(void)
{
	json_in_reset(&in);
	ck_assert_int_eq(pipe(fds), 0);
}

static void teardown(void)
{
	close(fds[0]);
	close(fds[1]);
}

static char transcript
	[2 * JSON_IN_MAX_BYTES]; /* what came and was not asked for yet: "value;" or "!error;" */

static void feed(const char *piece, size_t len)
{
	enum json_in_result result = JSON_IN_VALUE;
	const size_t size = sizeof(transcript);
	const struct json_node *value;
	struct json_out out = {0};
	struct error err;
	size_t n;

	ck_assert_int_eq(write(fds[1], piece, len), (ssize_t)len);
	ck_assert_int_eq(json_in_read(&in, fds[0]), (ssize_t)len);
	while (result != JSON_IN_MORE) {
		result = json_in_next(&in, &value, &err);
		n = strlen(transcript);
		if (result == JSON_IN_ERROR) {
			snprintf(transcript + n, size - n, "!%s;", err.msg);
		} else if (result == JSON_IN_VALUE) {
			json_out_node(&out, value);
			snprintf(transcript + n, size - n, "%.*s;", (int)out.len, out.data);
			json_out_free(&out);
		}
	}
}

static void comes(const char *what)
{
	ck_assert_str_eq(transcript, what);
	*transcript = '\0';
}

static void comes_bytes(size_t bytes)
{
	ck_assert_uint_eq(strlen(transcript), bytes);
	*transcript = '\0';
}

#define ERR "!JSON parse error, "

static const struct {
	const char *in, *out;
} rows[] = {
	{"{\"a\":1}", "{\"a\":1};"},
	/* Numbers come back as they were written, and none that JSON does not have. */
	{"{\"a\":NaN}{}", ERR "expecting value;{};"},
	{"[1,[-Infinity]]{}", ERR "invalid number;{};"},
	{"{\"a\":1e999}{}", "{\"a\":1e999};{};"},
	{"[18446744073709551616,-9223372036854775809]",
	 "[18446744073709551616,-9223372036854775809];"},
	{"[-0,0,10,1.50,-0.1e+2,1E5,2e-0]", "[-0,0,10,1.50,-0.1e+2,1E5,2e-0];"},
	{"[1.]{}", ERR "invalid number;{};"},
	{"{\"id\":1.}{}", ERR "invalid number;{};"},
	{"[01]{}", ERR "invalid number;{};"},
	{"[-01]{}", ERR "invalid number;{};"},
	{"[-]{}", ERR "invalid number;{};"},
	{"[1e]{}", ERR "invalid number;{};"},
	{"[1e+]{}", ERR "invalid number;{};"},
	{"[.5]{}", ERR "expecting value;{};"},
	{"[+1]{}", ERR "expecting value;{};"},
	{"[1.5.5]{}", ERR "invalid number;{};"},
	{"[1-1]{}", ERR "invalid number;{};"},
	{"1.\n{}", ERR "invalid number;{};"},
	{"1{}", "1;{};"},
	{"[0x10]{}", ERR "expected separator in list;{};"},
	{"truefalse\n", "true;false;"},
	{"{\"a\":18446744073709551614,\"b\":1.50}", "{\"a\":18446744073709551614,\"b\":1.50};"},
	{"{\"a\":1,\"a\":2}{}", ERR "duplicate key;{};"},
	{"{\"a\":[{\"b\":\":\",\"c\":1,\"b\":2}]}{}", ERR "duplicate key;{};"},
	{"{\"a\":{\"a\":[{\"a\":\":\"}]}}", "{\"a\":{\"a\":[{\"a\":\":\"}]}};"},
	{"{\"a\":1}\r\n", "{\"a\":1};"},
	{"{}{}[]{\"a\":{}}", "{};{};[];{\"a\":{}};"},
	{" \t\r\n {\n\"a\"\n:\n1\n}\n\n", "{\"a\":1};"},
	{"{\"a\":\"}{]\\\"[\\\\\"}{}", "{\"a\":\"}{]\\\"[\\\\\"};{};"},
	{"{\"\303\251\":\"\342\202\254\360\237\230\200\"}{}",
	 "{\"\\u00e9\":\"\\u20ac\\ud83d\\ude00\"};{};"},
	{"[\"\\u00e9\\u20AC\\ud83d\\ude00\\u0041\\u0000\\\"\\\\\\/\\b\\f\\n\\r\\t\177\"]",
	 "[\"\\u00e9\\u20ac\\ud83d\\ude00A\\u0000\\\"\\\\/\\b\\f\\n\\r\\t\\u007f\"];"},
	{"12\n\"x\"\nnull\ntrue\n", "12;\"x\";null;true;"},
	/* One error each, and the next line is served. */
	{"garbage\n{}", ERR "expecting value;{};"},
	{"garbage{}", ERR "expecting value;{};"},
	{"}\n{}", ERR "expecting value;{};"},
	{"]]]{}", ERR "expecting value;{};"},
	{"nul\n{}", ERR "invalid keyword;{};"},
	{"{\"execute\": }{}", ERR "expecting value;{};"},
	{"{\"execute\"}{}", ERR "missing : in object pair;{};"},
	{"{execute:1}{}", ERR "key is not a string in object;{};"},
	{"{\"a\":1 \"b\":2}{}", ERR "expected separator in dict;{};"},
	{"[1 2]{}", ERR "expected separator in list;{};"},
	{"[1,]{}", ERR "expecting value;{};"},
	{"{\"a\":1,}{}", ERR "expecting value;{};"},
	{"{\"a\":tru}{}", ERR "invalid keyword;{};"},
	{"{\"a\":\"\\q\"}{}", ERR "invalid escape sequence in string;{};"},
	{"{\"a\":[}\n{}", ERR "expecting value;{};"},
	{"{\"a\":x{\"b\":{}}, \"}\":[]}{}", ERR "expecting value;{};"},
	{"{\"a\":\"unclosed\n{}", ERR "stray '\\u000A';{};"},
	{"// no comments\n{}", ERR "expecting value;{};"},
	{"{\"a\":'x'}\n{}", ERR "expecting value;{};"},
	/* What forces the parser into a known state. */
	{"\001{}", ERR "stray '\\u0001';{};"},
	{"{\"a\":\"b\001{}", ERR "stray '\\u0001';{};"},
	{"{\"a\":\377{}", ERR "stray '\\u00FF';{};"},
	{"{\"a\":x \377{}", ERR "expecting value;{};"},
	{"{\"a\":\"\303(\"}{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"{\"a\":\"\200\"}{}", ERR "invalid UTF-8 sequence in string;{};"},
	/* Overlong, surrogates, beyond Unicode, cut short: in values and in names. */
	{"[\"\360\200\200\200\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\340\237\277\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\300\200\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\355\240\200\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\364\220\200\200\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\370\210\200\200\200\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\342\202\"]{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"{\"\300\257\":1}{}", ERR "invalid UTF-8 sequence in string;{};"},
	{"[\"\364\217\277\277\355\237\277\356\200\200\"]", "[\"\\udbff\\udfff\\ud7ff\\ue000\"];"},
	{"[\"\\ud800\"]{}", ERR "lone surrogate in string;{};"},
	{"[\"\\udc00\"]{}", ERR "lone surrogate in string;{};"},
	{"[\"\\ud800x\"]{}", ERR "lone surrogate in string;{};"},
	{"[\"\\ud800\\n\"]{}", ERR "lone surrogate in string;{};"},
	{"[\"\\ud800\\u0041\"]{}", ERR "lone surrogate in string;{};"},
	{"[\"\\ud800\\ud800\\udc00\"]{}", ERR "lone surrogate in string;{};"},
	{"{\"\\udfff\":1}{}", ERR "lone surrogate in string;{};"},
	{"[\"\\u12g4\"]{}", ERR "invalid escape sequence in string;{};"},
	{"[\"\\u12\"]{}", ERR "invalid escape sequence in string;{};"},
};

/* However the bytes are cut, the same comes out. */
TEST_EACH(whole_and_split_in_two, rows)
{
	const size_t len = strlen(rows[_i].in);

	for (size_t cut = 1; cut <= len; cut++) {
		feed(rows[_i].in, cut);
		if (cut < len)
			feed(rows[_i].in + cut, len - cut);
		ck_assert_msg(!strcmp(transcript, rows[_i].out), "cut at %zu: %s, not %s", cut,
			      transcript, rows[_i].out);
		*transcript = '\0';
		json_in_reset(&in);
	}
}

TEST_EACH(split_at_every_byte, rows)
{
	for (size_t i = 0; i < strlen(rows[_i].in); i++)
		feed(rows[_i].in + i, 1);
	comes(rows[_i].out);
}

TEST(nul_byte)
{
	feed("{\"a\":\"b\0c\"}\n{}", 14);
	comes(ERR "stray '\\u0000';" ERR "expecting value;{};");
}

static void feed_many(char c, size_t count)
{
	char piece[1000];

	memset(piece, c, sizeof(piece));
	for (size_t i = 0; i < count; i += sizeof(piece))
		feed(piece, sizeof(piece));
}

TEST(depth_bomb)
{
	feed_many('[', 100000);
	feed("\n{}", 3);
	comes("!JSON nesting depth limit exceeded;{};");
	/* Without a line's end: closed again is the end, too. */
	feed_many('[', 2000);
	feed_many(']', 2000);
	feed("{}", 2);
	comes("!JSON nesting depth limit exceeded;{};");
}

TEST(giant_string)
{
	feed("{\"a\":\"", 6);
	feed_many('x', 1000000);
	feed("\"}{}", 4);
	comes("!JSON token size limit exceeded;{};");
}

TEST(giant_blank)
{
	feed("{", 1);
	feed_many(' ', 200000);
	feed("}{}", 3);
	comes("!JSON token size limit exceeded;{};");
	/* Between messages it is nobody's. */
	feed_many(' ', 200000);
	feed("{}", 2);
	comes("{};");
}

TEST(giant_list)
{
	feed("[0", 2);
	for (int i = 0; i < 1022; i++)
		feed(",0", 2);
	feed("]{}", 3);
	comes_bytes(2 * 1023 + 2 + 3);
	feed("[0", 2);
	for (int i = 0; i < 30000; i++)
		feed(",0", 2);
	feed("]{}", 3);
	comes(ERR "too many values;{};");
}

/* The longest message that there may be, in each place where its text is kept. */
TEST(longest)
{
	static char text[JSON_IN_MAX_BYTES];

	memset(text, '7', sizeof(text));
	for (size_t at = 0; at < sizeof(text); at += 4096)
		feed(text + at, 4096);
	feed("\n{}", 3);
	comes("!JSON token size limit exceeded;{};");
	for (size_t at = 0; at < sizeof(text) - 4096; at += 4096)
		feed(text + at, 4096);
	feed(text, 4095);
	feed("\n{}", 3);
	comes_bytes(sizeof(text) - 1 + 4);
	text[0] = text[sizeof(text) - 1] = '"';
	for (size_t at = 0; at < sizeof(text); at += 4096)
		feed(text + at, 4096);
	comes_bytes(sizeof(text) + 1);
}

/* Any mutation: no crash, no stall, and after a control byte the next object is served. */
TEST(mutations)
{
	static const char seed[] = "{\"execute\":\"cprsave\",\"arguments\":{\"file\":\"/a\\u00e9\","
				   "\"n\":[1,-2.5e3,true,null]},\"id\":{\"x\":\"\303\251\"}}\n";
	static const char piece[] = "{}[]\":,\\u\n\0\001\377\303d8";
	uint32_t random = 12345;

	for (int round = 0; round < 20000; round++) {
		char text[sizeof(seed) - 1];
		size_t len, cut;

		memcpy(text, seed, sizeof(text));
		for (int i = 0; i < 1 + round % 4; i++) {
			random = random * 1664525 + 1013904223;
			text[(random >> 8) % sizeof(text)] = piece[(random >> 24) % sizeof(piece)];
		}
		len = round % 5 ? sizeof(text) : (size_t)(random >> 4) % sizeof(text) + 1;
		cut = (random >> 12) % len;
		if (cut)
			feed(text, cut);
		feed(text + cut, len - cut);
		*transcript = '\0';
		feed("\001", 1);
		*transcript = '\0';
		feed("{\"ok\":1}", 8);
		ck_assert_msg(!strcmp(transcript, "{\"ok\":1};"), "round %d: %s", round,
			      transcript);
		*transcript = '\0';
	}
}

UNIT_MAIN(setup, teardown)
