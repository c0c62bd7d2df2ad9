/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The JSON stream by itself: pieces, garbage and how it comes back from it. */
#include "qmp/json_stream.h"
#include "tests/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct json_stream stream;
static int fds[2];

static void setup(void)
{
	struct error err;

	ck_assert_int_eq(json_stream_open(&stream, &err), 0);
	ck_assert_int_eq(pipe(fds), 0);
}

static void teardown(void)
{
	json_stream_close(&stream);
	close(fds[0]);
	close(fds[1]);
}

/* Feeds one piece and appends what comes out of it to the transcript: "value;" or "!error;". */
static void feed(const char *piece, size_t len, char *transcript, size_t size)
{
	enum json_stream_result result = JSON_STREAM_VALUE;
	struct json_object *value;
	struct error err;
	size_t n;

	ck_assert_int_eq(write(fds[1], piece, len), (ssize_t)len);
	ck_assert_int_eq(json_stream_read(&stream, fds[0]), (ssize_t)len);
	while (result != JSON_STREAM_MORE) {
		result = json_stream_next(&stream, &value, &err);
		n = strlen(transcript);
		if (result == JSON_STREAM_ERROR) {
			snprintf(transcript + n, size - n, "!%s;", err.msg);
		} else if (result == JSON_STREAM_VALUE) {
			snprintf(transcript + n, size - n, "%s;",
				 json_object_to_json_string_ext(value, JSON_C_TO_STRING_PLAIN));
			json_object_put(value);
		}
	}
}

#define ERR "!JSON parse error, "

static const struct {
	const char *in, *out;
} rows[] = {
	{"{\"a\":1}", "{\"a\":1};"},
	/* What json-c takes and no reply could give back. */
	{"{\"a\":NaN}{}", ERR "number out of range;{};"},
	{"[1,[-Infinity]]{}", ERR "number out of range;{};"},
	{"{\"a\":1e999}{}", ERR "number out of range;{};"},
	{"{\"a\":18446744073709551616}{}", ERR "number out of range;{};"},
	{"{\"a\":-9223372036854775809}{}", ERR "number out of range;{};"},
	{"{\"a\":18446744073709551614,\"b\":1.50}", "{\"a\":18446744073709551614,\"b\":1.50};"},
	{"{\"a\":1,\"a\":2}{}", ERR "duplicate key;{};"},
	{"{\"a\":[{\"b\":\":\",\"c\":1,\"b\":2}]}{}", ERR "duplicate key;{};"},
	{"{\"a\":{\"a\":[{\"a\":\":\"}]}}", "{\"a\":{\"a\":[{\"a\":\":\"}]}};"},
	{"{\"a\":1}\r\n", "{\"a\":1};"},
	{"{}{}[]{\"a\":{}}", "{};{};[];{\"a\":{}};"},
	{" \t\r\n {\n\"a\"\n:\n1\n}\n\n", "{\"a\":1};"},
	{"{\"a\":\"}{]\\\"[\\\\\"}{}", "{\"a\":\"}{]\\\"[\\\\\"};{};"},
	{"{\"\303\251\":\"\342\202\254\360\237\230\200\"}{}",
	 "{\"\303\251\":\"\342\202\254\360\237\230\200\"};{};"},
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
};

START_TEST(whole)
{
	char transcript[256] = "";

	feed(rows[_i].in, strlen(rows[_i].in), transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, rows[_i].out);
}
END_TEST

/* However the bytes are cut, the same comes out. */
START_TEST(split_in_two)
{
	const size_t len = strlen(rows[_i].in);

	for (size_t cut = 1; cut < len; cut++) {
		char transcript[256] = "";

		feed(rows[_i].in, cut, transcript, sizeof(transcript));
		feed(rows[_i].in + cut, len - cut, transcript, sizeof(transcript));
		ck_assert_msg(!strcmp(transcript, rows[_i].out), "cut at %zu: %s, not %s", cut,
			      transcript, rows[_i].out);
		json_stream_reset(&stream);
	}
}
END_TEST

START_TEST(split_at_every_byte)
{
	char transcript[256] = "";

	for (size_t i = 0; i < strlen(rows[_i].in); i++)
		feed(rows[_i].in + i, 1, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, rows[_i].out);
}
END_TEST

START_TEST(nul_byte)
{
	char transcript[256] = "";

	feed("{\"a\":\"b\0c\"}\n{}", 14, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, ERR "stray '\\u0000';" ERR "expecting value;{};");
}
END_TEST

static void feed_many(char c, size_t count, char *transcript, size_t size)
{
	char piece[1000];

	memset(piece, c, sizeof(piece));
	for (size_t i = 0; i < count; i += sizeof(piece))
		feed(piece, sizeof(piece), transcript, size);
}

START_TEST(depth_bomb)
{
	char transcript[256] = "";

	feed_many('[', 100000, transcript, sizeof(transcript));
	feed("\n{}", 3, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, "!JSON nesting depth limit exceeded;{};");
	/* Without a line's end: closed again is the end, too. */
	*transcript = '\0';
	feed_many('[', 2000, transcript, sizeof(transcript));
	feed_many(']', 2000, transcript, sizeof(transcript));
	feed("{}", 2, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, "!JSON nesting depth limit exceeded;{};");
}
END_TEST

START_TEST(giant_string)
{
	char transcript[256] = "";

	feed("{\"a\":\"", 6, transcript, sizeof(transcript));
	feed_many('x', 1000000, transcript, sizeof(transcript));
	feed("\"}{}", 4, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, "!JSON token size limit exceeded;{};");
}
END_TEST

START_TEST(giant_blank)
{
	char transcript[256] = "";

	feed("{", 1, transcript, sizeof(transcript));
	feed_many(' ', 200000, transcript, sizeof(transcript));
	feed("}{}", 3, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, "!JSON token size limit exceeded;{};");
	/* Between messages it is nobody's. */
	*transcript = '\0';
	feed_many(' ', 200000, transcript, sizeof(transcript));
	feed("{}", 2, transcript, sizeof(transcript));
	ck_assert_str_eq(transcript, "{};");
}
END_TEST

/* Any mutation: no crash, no stall, and after a control byte the next object is served. */
START_TEST(mutations)
{
	static const char seed[] = "{\"execute\":\"cprsave\",\"arguments\":{\"file\":\"/a\\u00e9\","
				   "\"n\":[1,-2.5e3,true,null]},\"id\":{\"x\":\"\303\251\"}}\n";
	static const char piece[] = "{}[]\":,\\u\n\0\001\377\303d8";
	uint32_t random = 12345;

	for (int round = 0; round < 20000; round++) {
		char text[sizeof(seed) - 1], transcript[4096] = "";
		size_t len, cut;

		memcpy(text, seed, sizeof(text));
		for (int i = 0; i < 1 + round % 4; i++) {
			random = random * 1664525 + 1013904223;
			text[(random >> 8) % sizeof(text)] = piece[(random >> 24) % sizeof(piece)];
		}
		len = round % 5 ? sizeof(text) : (size_t)(random >> 4) % sizeof(text) + 1;
		cut = (random >> 12) % len;
		if (cut)
			feed(text, cut, transcript, sizeof(transcript));
		feed(text + cut, len - cut, transcript, sizeof(transcript));
		*transcript = '\0';
		feed("\001", 1, transcript, sizeof(transcript));
		*transcript = '\0';
		feed("{\"ok\":1}", 8, transcript, sizeof(transcript));
		ck_assert_msg(!strcmp(transcript, "{\"ok\":1};"), "round %d: %s", round,
			      transcript);
	}
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("qmp/json_stream");
	TCase *tcase = tcase_create("all");
	const int nrows = (int)(sizeof(rows) / sizeof(rows[0]));

	suite_add_tcase(suite, tcase);
	tcase_add_checked_fixture(tcase, setup, teardown);
	tcase_set_timeout(tcase, 60);
	tcase_add_loop_test(tcase, whole, 0, nrows);
	tcase_add_loop_test(tcase, split_in_two, 0, nrows);
	tcase_add_loop_test(tcase, split_at_every_byte, 0, nrows);
	tcase_add_test(tcase, nul_byte);
	tcase_add_test(tcase, depth_bomb);
	tcase_add_test(tcase, giant_string);
	tcase_add_test(tcase, giant_blank);
	tcase_add_test(tcase, mutations);
	return unit_run(suite);
}
