/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/text.h - text of others (a client's, a checkpoint's, a guest's), fit for log and terminal.
 * Owns: nothing.
 * Threads: any.
 * Units: bytes of UTF-8.
 * Errors: none; what is not fit becomes '?', byte by byte. */
#ifndef VMM_BASE_TEXT_H
#define VMM_BASE_TEXT_H
#include <stddef.h>

/* Of the character that text, of len > 0 bytes, begins with; 0: it is none of UTF-8, or steers what
 * shows it: a control, the end of a line, a change of direction. */
size_t text_harmless_bytes(const char *text, size_t len);
/* In place; line feeds become '?', too. */
void text_clean(char *text, size_t len);

/* For who shows nothing but ASCII. */
static inline char text_ascii(char c)
{
	return c >= ' ' && c <= '~' ? c : '?';
}
#endif
