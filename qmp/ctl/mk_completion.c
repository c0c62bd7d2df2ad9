/* SPDX-License-Identifier: GPL-2.0-or-later */
/* mk_completion - runs at build time and prints the tables of options, verbs and commands as a function of bash:
 *	_stasis_words PLACE	what may come there; 1: there is no such place
 * PLACE is "COMMAND", "COMMAND OPTION", "COMMAND OPTION KEY=", "stasisctl VERB", "qmp" or "qmp QMP-COMMAND [KEY=]". A word
 * that begins with @ stands for others: @file, @vm, @stasis (an option of stasis). scripts/completion.bash uses it.
 * Usage: mk_completion SCRIPT...	the scripts that have a table "options=(" */
#include "qmp/ctl/options.h"
#include "qmp/ctl/verbs.h"
#include "qmp/qmp.h"
#include "vmm/option_table.h"
#include "vmm/options.h"
#include <regex.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void begin(const char *command, const char *option, const char *key)
{
	printf("\t'%s%s%s%s%s') echo '", command, *option ? " " : "", option, *key ? " " : "", key);
}

static void end(void)
{
	puts("' ;;");
}

/* Of "stdio|unix:PATH|FILE" the words: "stdio unix: @file". What is in capitals is no word. */
static void put_values(const char *value)
{
	static const char *const files[] = {"FILE", "PATH", "FOLDER"};

	for (size_t n; *value && *value != ',' && *value != '['; value += n + (value[n] == '|')) {
		const size_t word = strspn(value, "abcdefghijklmnopqrstuvwxyz-:");

		n = strcspn(value, "|[,");
		for (size_t i = 0; i < sizeof(files) / sizeof(*files); i++)
			if (n == strlen(files[i]) && !strncmp(value, files[i], n))
				printf("@file ");
		if (word)
			printf("%.*s ", (int)word, value);
		if (value[n] && value[n] != '|')
			break;
	}
}

static void put_row(const struct option_row *row)
{
	const struct option_row *key;

	if (!row->value)
		return;
	begin("stasis", row->name, "");
	for (key = row->keys; key && key->name; key++)
		printf("%s= ", key->name);
	if (!row->keys)
		put_values(row->value);
	end();
	for (key = row->keys; key && key->name; key++) {
		char name[64];

		snprintf(name, sizeof(name), "%s=", key->name);
		begin("stasis", row->name, name);
		put_values(key->value);
		end();
	}
}

static void put_stasis(void)
{
	const struct option_row *row;

	begin("stasis", "", "");
	for (row = options_rows; row->name; row++)
		printf("%s ", row->name);
	end();
	for (row = options_rows; row->name; row++)
		put_row(row);
}

static void put_verb(const struct verb *verb)
{
	static const struct {
		unsigned int bit;
		const char *option;
	} options[] = {{VERB_JSON, "--json"}, {VERB_ALL, "--all"}, {VERB_JOBS, "--jobs"}};
	const char *choice = strchr(verb->arguments, '[');

	begin("stasisctl", verb->word, "");
	if (verb->takes_name != VERB_NO_NAME)
		printf("@vm ");
	for (size_t i = 0; i < sizeof(options) / sizeof(*options); i++)
		if (verb->options & options[i].bit)
			printf("%s ", options[i].option);
	end();
	begin("stasisctl", verb->word, "@vm");
	if (verb->raw)
		printf("@stasis ");
	else if (choice && verb->max_words == 1)
		for (const char *word = choice + 1; *word && *word != ']';) {
			const size_t n = strcspn(word, "|]");

			printf("%.*s ", (int)n, word);
			word += n + (word[n] == '|');
		}
	end();
}

static void put_stasisctl(void)
{
	begin("stasisctl", "", "");
	for (const struct verb *verb = verbs; verb->word; verb++)
		printf("%s ", verb->word);
	for (size_t i = 0; i < CTL_OPTIONS; i++)
		printf("--%s ", ctl_options[i].name);
	printf("@vm @file ");
	end();
	for (const struct verb *verb = verbs; verb->word; verb++)
		put_verb(verb);
	for (size_t i = 0; i < CTL_OPTIONS; i++) {
		char name[64];

		snprintf(name, sizeof(name), "--%s", ctl_options[i].name);
		if (!ctl_options[i].value)
			continue;
		begin("stasisctl", name, "");
		put_values(ctl_options[i].value);
		end();
	}
}

static void put_argument(const struct qmp_command *command, const struct qmp_arg *arg)
{
	char name[64];

	snprintf(name, sizeof(name), "%s=", arg->name);
	begin("qmp", command->name, name);
	if (!strcmp(arg->name, "file"))
		printf("@file ");
	else if (arg->type == QMP_BOOLEAN)
		printf("true false ");
	for (uint32_t i = 0; i < arg->nvalues; i++)
		printf("%s ", arg->values[i]);
	end();
}

static void put_commands(void)
{
	begin("qmp", "", "");
	for (uint32_t i = 0; i < qmp_ncommands; i++)
		printf("%s ", qmp_commands[i].name);
	end();
	for (uint32_t i = 0; i < qmp_ncommands; i++) {
		const struct qmp_command *command = &qmp_commands[i];

		begin("qmp", command->name, "");
		for (uint32_t j = 0; j < QMP_MAX_ARGS && command->arg[j].name; j++)
			printf("%s= ", command->arg[j].name);
		end();
		for (uint32_t j = 0; j < QMP_MAX_ARGS && command->arg[j].name; j++)
			put_argument(command, &command->arg[j]);
	}
}

/* Calls fn for each row of a script's table: [--initrd]="initrd FILE", [--check]=check. */
static void each_row(const char *text, const char *command,
		     void (*fn)(const char *command, const char *option, const char *what))
{
	regmatch_t match[4];
	regex_t row;

	if (regcomp(&row, "\\[(--[a-z-]+)\\]=(\"[a-z_]+ ([=A-Za-z]+)\"|[a-z_]+)", REG_EXTENDED))
		exit(EXIT_FAILURE);
	for (; !regexec(&row, text, 4, match, 0); text += match[0].rm_eo) {
		char option[64], what[64] = "";

		snprintf(option, sizeof(option), "%.*s", (int)(match[1].rm_eo - match[1].rm_so),
			 text + match[1].rm_so);
		if (match[3].rm_so >= 0)
			snprintf(what, sizeof(what), "%.*s", (int)(match[3].rm_eo - match[3].rm_so),
				 text + match[3].rm_so);
		fn(command, option, what);
	}
	regfree(&row);
}

/* A switch may take a word after "=": both are shown. */
static void put_option(const char *command, const char *option, const char *what)
{
	printf("%s ", option);
	if (*what == '=')
		printf("%s%s ", option, what);
}

static void put_value(const char *command, const char *option, const char *what)
{
	if (!*what || *what == '=')
		return;
	begin(command, option, "");
	put_values(what);
	end();
}

static void put_script(const char *path)
{
	static char text[1 << 17];
	const char *command = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
	FILE *file = fopen(path, "re");
	char *table;

	if (!file) {
		perror(path);
		exit(EXIT_FAILURE);
	}
	text[fread(text, 1, sizeof(text) - 1, file)] = '\0';
	fclose(file);
	table = strstr(text, "\noptions=(");
	if (!table) {
		fprintf(stderr, "%s: has no table options=(\n", path);
		exit(EXIT_FAILURE);
	}
	begin(command, "", "");
	each_row(table, command, put_option);
	printf("--help --version %s", strstr(text, "SOCKET...\n") ? "@file " : "");
	end();
	each_row(table, command, put_value);
}

int main(int argc, char **argv)
{
	puts("# Made by the build from the tables of options, verbs and commands.\n"
	     "_stasis_words() {\n\tcase $1 in");
	put_stasis();
	put_stasisctl();
	put_commands();
	for (int i = 1; i < argc; i++)
		put_script(argv[i]);
	puts("\t*) return 1 ;;\n\tesac\n}\n");
	return fflush(stdout) || ferror(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
}
