/* SPDX-License-Identifier: GPL-2.0-or-later */
/* CPU caches to memory, for media that are memory: Intel SDM, "CLFLUSHOPT" and "CLWB". */
#include "ram/backend.h"
#if !defined(__x86_64__)
#error "writeback_lines() knows x86_64 only"
#endif
#include <cpuid.h>

#define LINE_BYTES	 64u
#define LEAF7_CLFLUSHOPT (1u << 23)
#define LEAF7_CLWB	 (1u << 24)

static unsigned int leaf7_ebx(void)
{
	unsigned int eax, ebx = 0, ecx, edx;

	return __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) ? ebx : 0;
}

void writeback_lines(const void *hva, size_t size_bytes)
{
	const char *line = (const char *)hva - ((uintptr_t)hva & (LINE_BYTES - 1));
	const char *end = (const char *)hva + size_bytes;
	unsigned int has = leaf7_ebx();

	for (; line < end; line += LINE_BYTES) {
		if (has & LEAF7_CLWB)
			__asm__ volatile("clwb %0" : : "m"(*line) : "memory");
		else if (has & LEAF7_CLFLUSHOPT)
			__asm__ volatile("clflushopt %0" : : "m"(*line) : "memory");
		else
			__asm__ volatile("clflush %0" : : "m"(*line) : "memory");
	}
	__asm__ volatile("sfence" : : : "memory");
}
