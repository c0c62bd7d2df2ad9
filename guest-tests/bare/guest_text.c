/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * guest-text REGEX FILE...: prints how many lines of a guest's text match the basic regular expression. The files are
 * what it printed to one process of its VMM after another: one stream, in which a line may be cut in two. A boot
 * begins on a line of its own, whatever was cut off before it. A last line without its end is still to come and does
 * not count. With REGEX "" it prints the text.
 * Exit status: 0, 1 if the guest says FAIL, 2 for a wrong call. Files that are not there yet are empty.
 * One small process in place of a pipeline: tests ask this many times a second on machines that are slow.
 */
#include <regex.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const char boot[] = "BOOT ";

static char *text;
static size_t len;

static void append(char c)
{
	if (!(len & 0xffff)) {
		text = realloc(text, len + 0x10000);
		if (!text)
			exit(2);
	}
	text[len++] = c;
}

/* A boot in the middle of a line: the rest of that line was cut off. */
static bool is_boot_in_line(void)
{
	const size_t word = sizeof(boot) - 1;

	return len > word && !memcmp(text + len - word, boot, word) && text[len - word - 1] != '\n';
}

static void append_file(const char *path)
{
	FILE *file = fopen(path, "r");
	int c;

	while (file && (c = getc_unlocked(file)) != EOF) {
		if (!c)
			continue;
		append((char)c);
		if (!is_boot_in_line())
			continue;
		len -= sizeof(boot) - 1;
		append('\n');
		for (const char *p = boot; *p; p++)
			append(*p);
	}
	if (file)
		fclose(file);
}

int main(int argc, char **argv)
{
	bool failed = false;
	size_t count = 0;
	regex_t regex;

	if (argc < 2 || regcomp(&regex, argv[1], REG_NOSUB))
		return 2;
	for (int i = 2; i < argc; i++)
		append_file(argv[i]);
	while (len && text[len - 1] != '\n')
		len--;
	append('\0');
	for (char *line = strtok(text, "\n"); line; line = strtok(NULL, "\n")) {
		failed |= !strncmp(line, "FAIL", 4);
		count += !regexec(&regex, line, 0, NULL, 0);
		if (!*argv[1])
			puts(line);
	}
	if (*argv[1])
		printf("%zu\n", count);
	regfree(&regex);
	free(text);
	return failed;
}
