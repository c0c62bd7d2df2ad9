/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fail_nth.h - what fail_nth.c, preloaded into a VMM, and fail_each.c, which tells it what to fail, have in common.
 * Owns: nothing. The page is a file that both map; the environment variable FAIL_NTH_PAGE names it.
 * Threads: calls of the VMM's main thread alone count, which saves and loads. fail_each writes while nothing is armed.
 */
#ifndef BARE_FAIL_NTH_H
#define BARE_FAIL_NTH_H
#include <stdint.h>

/* Kinds of calls: each is counted by itself. */
#define FAIL_KINDS(KIND) \
	KIND(none)       \
	KIND(open)       \
	KIND(read)       \
	KIND(write)      \
	KIND(send)       \
	KIND(stat)       \
	KIND(path)       \
	KIND(sync)       \
	KIND(rename)     \
	KIND(unlink)     \
	KIND(truncate)   \
	KIND(allocate)   \
	KIND(lock)       \
	KIND(map)        \
	KIND(ioctl)      \
	KIND(memory)     \
	KIND(random)     \
	KIND(socket)     \
	KIND(event)      \
	KIND(thread)
#define FAIL_KIND_ENUM(name) FAIL_##name,
enum fail_kind { FAIL_KINDS(FAIL_KIND_ENUM) };

#define FAIL_WHAT_BYTES 128

struct fail_page {
	_Atomic uint32_t armed;	 /* an enum fail_kind; FAIL_none: nothing is counted */
	_Atomic uint32_t calls;	 /* of that kind since it was armed */
	_Atomic uint32_t struck; /* 1: the nth came, and `what` is complete */
	uint32_t nth;
	int32_t error;	     /* errno of the nth */
	uint32_t done_first; /* it is done and reported as failed all the same */
	char what[FAIL_WHAT_BYTES];
};
#endif
