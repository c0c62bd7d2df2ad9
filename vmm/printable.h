/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/printable.h - text of others (a checkpoint's, a guest's), fit for the operator's terminal.
 * Owns: nothing.
 * Threads: any.
 * Units: bytes; what is not ASCII is not shown.
 * Errors: none. */
#ifndef VMM_PRINTABLE_H
#define VMM_PRINTABLE_H

static inline char printable(char c)
{
	return c >= ' ' && c <= '~' ? c : '?';
}
#endif
