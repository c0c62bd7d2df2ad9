/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/text.h"
#include <stdbool.h>
#include <stdint.h>

/* Controls, and what ends a line or turns the direction of writing. */
static bool is_steering(uint32_t c)
{
	return c < ' ' || (c >= 0x7f && c < 0xa0) || c == 0x61c || (c >= 0x200e && c <= 0x200f) ||
	       (c >= 0x2028 && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069);
}

/* RFC 3629 */
size_t text_harmless_bytes(const char *text, size_t len)
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
	if (c < least[n] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000) || is_steering(c))
		return 0;
	return n;
}

void text_clean(char *text, size_t len)
{
	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = text_harmless_bytes(text + i, len - i);
		if (!n)
			text[i] = '?';
	}
}
