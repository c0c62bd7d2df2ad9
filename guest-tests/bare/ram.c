// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every page of RAM holds a word that says which page and which pass it is; each pass checks all of them and
 * writes the next. The word's place in the page changes from page to page. stride=big takes one page in 512.
 */
#include "rt.h"

#define FIRST_GPA    0x400000ull /* below: the guest itself, its loader's data and the shared page */
#define PAGES_A_LINE 4096

const char guest_name[] = "ram";

static struct ram_range range[16];
static unsigned int ranges;
static uint64_t step = 4096;

static volatile uint64_t *word_of(uint64_t gpa)
{
	return (volatile uint64_t *)(gpa + ((gpa >> 12) * 0x9e3779b97f4a7c15ull >> 55) * 8);
}

static uint64_t pattern(uint64_t gpa, uint64_t pass)
{
	return (gpa ^ pass << 40) * 0xd6e8feb86659fd93ull;
}

static uint64_t run_pass(uint64_t pass)
{
	uint64_t pages = 0;

	for (unsigned int i = 0; i < ranges; i++) {
		uint64_t gpa = range[i].gpa < FIRST_GPA ? FIRST_GPA : range[i].gpa;

		for (; gpa + 4096 <= range[i].gpa + range[i].size; gpa += step, pages++) {
			volatile uint64_t *word = word_of(gpa);

			if (pass)
				CHECK(*word == pattern(gpa, pass), "gpa %lx holds %lx, not %lx",
				      (uint64_t)word, *word, pattern(gpa, pass));
			*word = pattern(gpa, pass + 1);
			shared.counter++;
			if (pages % PAGES_A_LINE == 0)
				guest_ok("pass %lu gpa %lx", pass, gpa);
		}
	}
	return pages;
}

void guest_main(void)
{
	uint64_t end = 0, pages;

	if (*option_value("stride") == 'b')
		step = 512 * 4096;
	ranges = ram_ranges(range, 16);
	for (unsigned int i = 0; i < ranges; i++) {
		if (range[i].gpa + range[i].size > end)
			end = range[i].gpa + range[i].size;
		put("ram from %lx size %lx\n", range[i].gpa, range[i].size);
	}
	irq_init();
	rt_map_ram(end);
	pages = run_pass(0);
	put("ram has %lu pages of patterns\n", pages);
	for (uint64_t pass = 1;; pass++)
		CHECK(run_pass(pass) == pages, "the number of pages changed");
}
