/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What of a text reaches log and terminal. */
#include "tests/rig/unit.h"
#include "vmm/base/text.h"
#include <stdio.h>
#include <string.h>

static const struct {
	const char *text, *clean; /* NULL: the same */
} rows[] = {
	{"", NULL},
	{"plain ~!", NULL},
	{"/srv/K\xc3\xb6ln/\xe2\x82\xac/\xf0\x9f\x90\x98", NULL},
	{"a\xc3", "a?"},		   /* cut off */
	{"\xe2\x82", "??"},		   /* the same */
	{"\xc0\xaf\xe0\x80\xaf", "?????"}, /* longer than need be */
	{"\xf0\x80\x80\x80\xf8\x88\x80\x80\x80", "?????????"},
	{"\xed\xa0\x80\xf4\x90\x80\x80", "???????"}, /* surrogate, beyond U+10FFFF */
	{"\xff\xfe\x80", "???"},
	{"\x1b[2J\x7f\n\r\t\a", "?[2J?????"},
	{"\xc2\x9b[2J\xc2\x85", "??[2J??"}, /* controls beyond ASCII */
	{"\xc2\xa0", NULL},
	{"\xe2\x80\x8fx\xd8\x9c", "???x??"},	/* from right to left */
	{"\xe2\x80\xa8\xe2\x80\xac", "??????"}, /* ends a line, a direction */
	{"\xe2\x81\xa9", "???"},
};

TEST_EACH(row, rows)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", rows[_i].text);
	text_clean(text, strlen(text));
	ck_assert_str_eq(text, rows[_i].clean ? rows[_i].clean : rows[_i].text);
}

/* It looks at no byte behind the text. */
TEST(ends_within_a_character)
{
	char text[] = "\xe2\x82\xac";

	text_clean(text, 2);
	ck_assert_str_eq(text, "??\xac");
}

TEST(ascii)
{
	for (int c = -128; c < 128; c++)
		ck_assert_int_eq(text_ascii((char)c), c >= ' ' && c < 0x7f ? c : '?');
}

UNIT_MAIN(NULL, NULL)
