/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stasisctl - VMs by name, and a QMP client for people and scripts: one command, one answer. See stasisctl(1). */
#include "qmp/ctl/command.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/options.h"
#include "qmp/ctl/verbs.h"
#include "ram/ram.h"
#include "vmm/base/log.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_JOBS 64

static const char usage[] =
	"Usage: stasisctl [OPTION...] VERB [NAME] ...\n"
	"       stasisctl [OPTION...] SOCKET|NAME [COMMAND [KEY=VALUE...]]\n"
	"       stasisctl --outlives-kexec PATH\n"
	"Manages the VMs that have a file /etc/stasis/NAME.conf, by these verbs:\n\n";
static const char command_help[] =
	"\nOr sends one command to the VM whose QMP socket is SOCKET (PATH or unix:PATH) and "
	"prints "
	"what\n"
	"it returns as JSON. `stasisctl NAME query-commands' lists the commands.\n"
	"NAME is that of a VM whose socket is /run/stasis/NAME/qmp; one that is called like a verb "
	"has\n"
	"to be given by its socket.\n"
	"\n"
	"  KEY=VALUE\n        an argument; true, false and numbers are typed, all else is a "
	"string\n"
	"  KEY:=JSON\n        an argument in JSON\n";
static const char exit_help[] = "\nExit status: 0 done, 1 refused or failed, 2 timed out.\n";

/* What the command line has asked for, beside its words. */
static struct {
	bool json, all;
	size_t jobs;
	const char *of_command, *of_verb; /* an option that goes with commands, or with verbs */
} asked;

static void print_help(void)
{
	fputs(usage, stdout);
	verbs_help();
	fputs(command_help, stdout);
	puts("\nOptions may stand anywhere, but not after create:");
	for (size_t i = 0; i < CTL_OPTIONS; i++)
		printf("  --%s%s%s\n        %s\n", ctl_options[i].name,
		       ctl_options[i].value ? " " : "",
		       ctl_options[i].value ? ctl_options[i].value : "", ctl_options[i].help);
	fputs(exit_help, stdout);
}

static double parse_seconds(const char *option, const char *text)
{
	char *end;
	double seconds = strtod(text, &end);

	if (end == text || *end || !(seconds > 0) || seconds > 1e9)
		ctl_die(CTL_FAILED, "--%s %s: must be a number of seconds above 0", option, text);
	return seconds;
}

/* If the path does not exist, the nearest folder that does. */
static bool outlives_kexec(const char *path)
{
	char place[PATH_MAX], *slash;
	int fd;

	if (snprintf(place, sizeof(place), "%s", path) >= (int)sizeof(place))
		ctl_die(CTL_FAILED, "--outlives-kexec %s: the path is too long", path);
	while ((fd = open(place, O_PATH | O_CLOEXEC)) < 0 && errno == ENOENT &&
	       strcmp(place, ".") != 0) {
		slash = strrchr(place, '/');
		if (slash)
			slash[slash == place] = '\0';
		else
			strcpy(place, ".");
	}
	if (fd < 0)
		ctl_die(CTL_FAILED, "--outlives-kexec %s: %s", path, strerror(errno));
	return ram_fd_survives(fd) >= RAM_SURVIVES_KEXEC;
}

static size_t parse_jobs(const char *text)
{
	char *end;
	const unsigned long jobs = strtoul(text, &end, 10);

	if (*end || *text < '0' || *text > '9' || !jobs || jobs > MAX_JOBS)
		ctl_die(CTL_FAILED, "--jobs %s: must be 1 to %d", text, MAX_JOBS);
	return jobs;
}

/* Each says what it goes with. */
static void take_option(const struct ctl_option *option, const char *value)
{
	if (option->goes_with == WITH_COMMAND)
		asked.of_command = option->name;
	else if (option->goes_with == WITH_VERB)
		asked.of_verb = option->name;
	switch (option->code) {
	case 'a':
		command_options.conn.is_agent = true;
		break;
	case 'A':
		asked.all = true;
		break;
	case 'c':
		command_options.conn.connect.s = parse_seconds(option->name, value);
		break;
	case 'g':
		command_options.pointer = value;
		break;
	case 'h':
		print_help();
		exit(CTL_OK);
	case 'j':
		asked.json = true;
		break;
	case 'J':
		asked.jobs = parse_jobs(value);
		break;
	case 'o':
		exit(outlives_kexec(value) ? CTL_OK : CTL_FAILED);
	case 't':
		command_options.conn.total.s = parse_seconds(option->name, value);
		break;
	case 'V':
		puts("stasisctl " STASIS_VERSION);
		exit(CTL_OK);
	case 'w':
		command_options.conn.awaited = value;
		break;
	}
}

/* Returns the index of the first word that is no option; with how = "", all others come after it. */
static int parse_options(int argc, char **argv, const char *how)
{
	struct option long_options[CTL_OPTIONS + 1] = {0};
	char letters[8];
	int code;

	for (size_t i = 0; i < CTL_OPTIONS; i++)
		long_options[i] = (struct option){
			ctl_options[i].name, ctl_options[i].value ? required_argument : no_argument,
			NULL, ctl_options[i].code};
	snprintf(letters, sizeof(letters), "%shV", how);
	optind = 0;
	while ((code = getopt_long(argc, argv, letters, long_options, NULL)) != -1) {
		if (code == '?')
			exit(CTL_FAILED); /* getopt has printed it */
		for (size_t i = 0; i < CTL_OPTIONS; i++)
			if (ctl_options[i].code == code)
				take_option(&ctl_options[i], optarg);
	}
	return optind;
}

/* --- a command */

static int run_command(char **words)
{
	if (asked.of_verb)
		ctl_die(CTL_FAILED, "--%s goes with verbs only, and '%s' is none; see --help",
			asked.of_verb, *words);
	if (!words[1] && !command_options.conn.awaited)
		ctl_die(CTL_FAILED, "which COMMAND? See stasisctl --help");
	if (command_options.conn.is_agent && command_options.conn.awaited)
		ctl_die(CTL_FAILED, "--wait-event: an agent sends no events");
	return command_send(*words, words + 1);
}

/* --- a verb */

static int run_verb(const struct verb *verb, char **words)
{
	struct verb_call call = {.json = asked.json, .all = asked.all};
	size_t n = 0;

	if (asked.of_command && verb->run != verb_agent)
		ctl_die(CTL_FAILED, "--%s does not go with %s", asked.of_command, verb->word);
	if ((asked.json && !(verb->options & VERB_JSON)) ||
	    (asked.all && !(verb->options & VERB_ALL)) ||
	    (asked.jobs && !(verb->options & VERB_JOBS)))
		ctl_die(CTL_FAILED, "--%s does not go with %s", asked.of_verb, verb->word);
	if (verb->takes_name == VERB_NAME || (verb->takes_name == VERB_NAME_OR_ALL && !asked.all)) {
		call.name = *words;
		if (!call.name)
			ctl_die(CTL_FAILED, "%s: which NAME? See stasisctl list", verb->word);
		words++;
	}
	while (words[n])
		n++;
	if (n > verb->max_words)
		ctl_die(CTL_FAILED, "%s: '%s' is too much: stasisctl %s%s%s", verb->word,
			words[verb->max_words], verb->word, *verb->arguments ? " " : "",
			verb->arguments);
	call.words = words;
	call.jobs = asked.jobs ? asked.jobs : 1;
	return verb->run(&call);
}

int main(int argc, char **argv)
{
	const struct verb *verb;
	char *word;
	int status, first;

	output_open_missing();
	first = parse_options(argc, argv, "+");
	if (first == argc)
		ctl_die(CTL_FAILED, "which SOCKET? See stasisctl --help");
	word = argv[first];
	verb = verbs_find(word);
	argv[first] = argv[0]; /* for the messages of getopt */
	argv += first;
	if (!verb || !verb->raw)
		argv += parse_options(argc - first, argv, "");
	else
		argv++;
	if (verb) {
		status = run_verb(verb, argv);
	} else {
		*--argv = word;
		status = run_command(argv);
	}
	if (fflush(stdout) || ferror(stdout))
		ctl_die(CTL_FAILED, "standard output: %s", strerror(errno));
	return status;
}
