/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/text.h"
#include <stdbool.h>
#include <stdint.h>

/* Controls, line ends and changes of the writing direction. */
static bool is_control(uint32_t c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

size_t text_utf8(const char *text, size_t len, uint32_t *code)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	const uint8_t *byte = (const uint8_t *)text;
	size_t n = byte[0] < 0x80 ? 1 : byte[0] < 0xe0 ? 2 : byte[0] < 0xf0 ? 3 : 4;
	uint32_t c = n == 1 ? byte[0] : byte[0] & (0x7fu >> n);

	if (n > len || (n > 1 && byte[0] < 0xc0) || byte[0] >= 0xf8)
		return 0;
	for (size_t i = 1; i < n; i++) {
		if ((byte[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (byte[i] & 0x3f);
	}
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	*code = c;
	return n;
}

size_t text_safe_bytes(const char *text, size_t len)
{
	uint32_t code;
	size_t n = text_utf8(text, len, &code);

	return n && !is_control(code) ? n : 0;
}

void text_clean(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = text_safe_bytes(text + i, len - i);
		if (!n)
			text[i] = '?';
	}
}
