// SPDX-License-Identifier: GPL-2.0-or-later
#include "rt.h"

#include <stdarg.h>

struct hvm_start_info {
	uint32_t magic, version, flags, nr_modules;
	uint64_t modlist_gpa, cmdline_gpa, rsdp_gpa;
	uint64_t memmap_gpa; /* from version 1 on */
	uint32_t memmap_entries, reserved;
};

struct hvm_memmap_entry {
	uint64_t addr, size;
	uint32_t type, reserved;
};

#define START_MAGIC 0x336ec578
#define LSR_THRE    0x20
#define MAX_PD	    64 /* page directories of 1 GiB for RAM above 4 GiB */

static const struct hvm_start_info *start_info;
static char cmdline[256];
static uint64_t ok_lines;

void *memcpy(void *to, const void *from, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	return ret;
}

void *memset(void *to, int byte, size_t n)
{
	void *ret = to;

	__asm__ volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(byte) : "memory");
	return ret;
}

int memcmp(const void *a, const void *b, size_t n)
{
	const uint8_t *x = a, *y = b;

	for (; n; n--, x++, y++)
		if (*x != *y)
			return *x - *y;
	return 0;
}

static void polled_char(char c)
{
	while (!(inb(COM1 + 5) & LSR_THRE))
		;
	outb(COM1, (uint8_t)c);
}

void (*put_sink)(char c) = polled_char;

static void put_char(char c)
{
	put_sink(c);
}

static void put_number(uint64_t n, unsigned int base)
{
	char digits[24];
	unsigned int i = 0;

	do
		digits[i++] = "0123456789abcdef"[n % base];
	while (n /= base);
	while (i)
		put_char(digits[--i]);
}

static void put_list(const char *format, va_list list)
{
	bool is_long;

	for (const char *p = format; *p; p++) {
		if (*p != '%') {
			put_char(*p);
			continue;
		}
		is_long = *++p == 'l';
		switch (*(p += is_long)) {
		case 's':
			for (const char *s = va_arg(list, const char *); *s; s++)
				put_char(*s);
			break;
		case 'c':
			put_char((char)va_arg(list, int));
			break;
		case 'u':
			put_number(is_long ? va_arg(list, uint64_t) : va_arg(list, uint32_t), 10);
			break;
		case 'x':
			put_number(is_long ? va_arg(list, uint64_t) : va_arg(list, uint32_t), 16);
			break;
		default:
			put_char('%');
		}
	}
}

void put(const char *format, ...)
{
	va_list list;

	va_start(list, format);
	put_list(format, list);
	va_end(list);
}

static char *print_end;

static void print_char(char c)
{
	*print_end++ = c;
}

uint32_t print_to(char *to, const char *format, ...)
{
	void (*sink)(char c) = put_sink;
	va_list list;

	print_end = to;
	put_sink = print_char;
	va_start(list, format);
	put_list(format, list);
	va_end(list);
	put_sink = sink;
	return (uint32_t)(print_end - to);
}

uint64_t random64(void)
{
	static uint64_t seed = 0x2545f4914f6cdd1d;

	seed ^= seed << 13;
	seed ^= seed >> 7;
	seed ^= seed << 17;
	return seed;
}

uint32_t random_below(uint32_t n)
{
	return (uint32_t)(random64() >> 16) % n;
}

void guest_ok(const char *format, ...)
{
	va_list list;

	put("%s %lu ok", guest_name, ++ok_lines);
	va_start(list, format);
	if (*format)
		put_char(' ');
	put_list(format, list);
	va_end(list);
	put_char('\n');
}

void guest_fail(const char *format, ...)
{
	va_list list;

	cli();
	put_sink = polled_char;
	put("\nFAIL %s: ", guest_name);
	va_start(list, format);
	put_list(format, list);
	va_end(list);
	put_char('\n');
	for (;;)
		cpu_pause();
}

/* The value of the word that begins with key, or NULL. */
static const char *find_word(const char *key, size_t len)
{
	for (const char *p = cmdline; *p; p++) {
		if ((p == cmdline || p[-1] == ' ') && !memcmp(p, key, len))
			return p + len;
	}
	return NULL;
}

static size_t length(const char *s)
{
	size_t n = 0;

	while (s[n])
		n++;
	return n;
}

bool option(const char *word)
{
	const char *p = find_word(word, length(word));

	return p && (*p == ' ' || *p == '\0');
}

const char *option_value(const char *key)
{
	static char value[64];
	const char *p = find_word(key, length(key));
	size_t i = 0;

	if (p && *p == '=')
		for (p++; *p && *p != ' ' && i < sizeof(value) - 1; p++)
			value[i++] = *p;
	value[i] = '\0';
	return value;
}

bool mailbox_take(void)
{
	if (!shared.mailbox)
		return false;
	shared.mailbox = 0;
	return true;
}

void spin(uint64_t cycles)
{
	uint64_t start = rdtsc();

	while (rdtsc() - start < cycles)
		cpu_pause();
}

uint64_t rt_rsdp_gpa(void)
{
	return start_info->rsdp_gpa;
}

unsigned int ram_ranges(struct ram_range *range, unsigned int max)
{
	const struct hvm_memmap_entry *entry = (const void *)start_info->memmap_gpa;
	unsigned int n = 0;

	CHECK(start_info->version >= 1 && entry, "hvm_start_info has no memory map");
	for (uint32_t i = 0; i < start_info->memmap_entries && n < max; i++) {
		if (entry[i].type != 1)
			continue;
		range[n].gpa = entry[i].addr;
		range[n++].size = entry[i].size;
	}
	return n;
}

/* Maps [4 GiB, end_gpa) 1:1 with 2 MiB pages: 1 GiB ones are not on every CPU. */
void rt_map_ram(uint64_t end_gpa)
{
	extern uint64_t pdpt[512];
	static uint64_t pd[MAX_PD][512] __attribute__((aligned(4096)));

	CHECK(end_gpa <= (MAX_PD + 4ull) << 30, "RAM ends at %lx, more than is mapped", end_gpa);
	for (uint64_t gib = 4; gib << 30 < end_gpa; gib++) {
		for (uint64_t i = 0; i < 512; i++)
			pd[gib - 4][i] = (gib << 30) + (i << 21) + 0x87;
		pdpt[gib] = (uint64_t)pd[gib - 4] + 7;
	}
}

void rt_start(const struct hvm_start_info *info);
void rt_start(const struct hvm_start_info *info)
{
	put("BOOT %s\n", guest_name);
	CHECK(info->magic == START_MAGIC, "hvm_start_info has magic %x", info->magic);
	start_info = info;
	if (info->cmdline_gpa) {
		const char *from = (const char *)info->cmdline_gpa;

		for (size_t i = 0; from[i] && i < sizeof(cmdline) - 1; i++)
			cmdline[i] = from[i];
	}
	guest_main();
}
