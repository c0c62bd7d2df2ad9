/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/text.h - text that a client, a checkpoint or a guest wrote, made safe for logs and terminals. */
#ifndef VMM_BASE_TEXT_H
#define VMM_BASE_TEXT_H
#include <stddef.h>
#include <stdint.h>

/* Bytes of the first character of text, of len > 0 bytes, and its code point; 0: not valid UTF-8 (RFC 3629). */
size_t text_utf8(const char *text, size_t len, uint32_t *code);
/* The same if the character is safe to show; 0: not UTF-8, or a control, a line end or a change of direction. */
size_t text_safe_bytes(const char *text, size_t len);
/* Replaces every byte that is not safe by '?', in place; line feeds as well. */
void text_clean(char *text, size_t len);

/* For output that must be ASCII. */
static inline char text_ascii(char c)
{
	return c >= ' ' && c <= '~' ? c : '?';
}
#endif
