/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/cpr.h"
#include "devices/host/chardev.h"
#include "qmp/qmp.h"
#include "vmm/base/bytes.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/notify.h"
#include "vmm/identity.h"
#include "vmm/options.h"
#include "vmm/ranges.h"
#include "vmm/version.h"
#include "vmm/vm.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static struct vm vm = VM_INIT; /* the only global: signal handlers get no argument */

static void ask_to_end(int signal)
{
	vm_request(&vm, VM_REQUEST_SIGNAL);
}

/* A crash or a kill: the default action follows, but the terminal does not stay raw. */
static void die_tidily(int signal_number)
{
	chardev_restore_terminal();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

/* Broken RAM (media error, truncated file, full tmpfs) ends the guest, never the VMM. */
static void ram_broke(int signal_number, siginfo_t *info, void *context)
{
	uint64_t gpa;

	/* Before the guest reads the zeroes that replace its data. */
	vcpu_stop_here(&vm);
	if (!ram_patch_hole(&vm.ram, info->si_addr, &gpa)) {
		die_tidily(signal_number);
		return;
	}
	if (gpa == RAM_NO_GPA)
		return; /* the page of the label, which the guest does not use: the code that reads it handles that */
	(void)!vm_ram_broke(&vm, info->si_addr);
}

/* For everything that opens guest RAM, --check included. */
static void handle_faults(void)
{
	const int fatal[] = {SIGSEGV, SIGABRT, SIGILL, SIGFPE, SIGQUIT};
	struct sigaction die = {.sa_handler = die_tidily};
	struct sigaction broke = {.sa_sigaction = ram_broke, .sa_flags = SA_SIGINFO};

	for (size_t i = 0; i < ARRAY_SIZE(fatal); i++)
		sigaction(fatal[i], &die, NULL);
	sigaction(SIGBUS, &broke, NULL);
	/* A closed reader and a file size limit are errors of that write alone. */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
}

static void handle_ends(void)
{
	const int ending[] = {SIGTERM, SIGINT, SIGHUP};
	struct sigaction end = {.sa_handler = ask_to_end, .sa_flags = SA_RESTART};

	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		sigaction(ending[i], &end, NULL);
}

/* Each vector of a passed-through PCI function is a descriptor, and it may have thousands. */
static void allow_descriptors(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	(void)setrlimit(RLIMIT_NOFILE, &limit);
}

static int start(bool paused, struct error *err)
{
	int ret = cpr_start(&vm, err);
	bool boots = !ret && vm.runstate == RUNSTATE_PRELAUNCH;

	/* A guest that is loaded is in its RAM already: whoever has written the other file must not keep it from it. */
	if (boots)
		ret = ranges_check(vm.opt, vm.ram.label_bytes, err);
	if (ret)
		return ret;
	ret = arch_boot_check(&vm, err);
	if (boots)
		return ret || paused ? ret : vm_cont(&vm, err);
	/* A load does not need the files, but a reset of its guest does. */
	if (ret)
		log_warn("a guest that is loaded here could not be reset: %s", err->msg);
	return 0;
}

static int run(const struct options *opt, struct error *err)
{
	uint64_t began_ns = clock_now_ns();
	struct qmp *qmp = NULL;
	struct identity held = IDENTITY_NONE;
	int ret = 0;

	handle_ends();
	if (opt->has_identity)
		ret = identity_lock(opt->uuid, &held, err);
	if (ret)
		return ret;
	ret = vm_create(&vm, opt, cpr_file_waits(opt), err);
	if (ret)
		goto unlock;
	log_watch(&vm.loop);
	if (opt->qmp_path)
		ret = qmp_open(&qmp, &vm, err);
	if (!ret)
		ret = start(opt->paused, err);
	if (!ret) {
		uint64_t took_ns = clock_now_ns() - began_ns;

		notify_ready(runstate_name[vm.runstate]);
		log_info("%s, " CLOCK_MS " after the start", runstate_name[vm.runstate],
			 CLOCK_MS_OF(took_ns));
		loop_run(&vm.loop);
	}
	notify_stopping();
	if (qmp)
		qmp_close(qmp);
	log_unwatch(&vm.loop);
	vm_destroy(&vm);
unlock:
	identity_unlock(opt->uuid, &held);
	return ret;
}

/* Can the file be created or written there? */
static int check_file(const char *option, const char *path, struct error *err)
{
	char folder[PATH_MAX];
	int ret = -ENAMETOOLONG;

	if (snprintf(folder, sizeof(folder), "%s", path) < (int)sizeof(folder)) {
		ret = access(path, W_OK) ? -errno : 0;
		if (ret == -ENOENT)
			ret = access(dirname(folder), W_OK | X_OK) ? -errno : 0;
	}
	return ret ? error_set(err, ret, "%s %s: %s", option, path, error_making(-ret)) : 0;
}

static int check_chardev(struct chardev_config *config, struct error *err)
{
	int ret = 0;

	if (config->kind == CHARDEV_UNIX)
		ret = listen_check(config->option, config->path, err);
	else if (config->kind == CHARDEV_FILE)
		ret = check_file(config->option, config->path, err);
	config->kind = CHARDEV_NONE;
	return ret;
}

static int check_ram(struct options *opt, bool *is_new, struct error *err)
{
	struct ram_config *memory = &opt->memory;
	struct stat st;

	memory->only_look = memory->make_nothing = true;
	*is_new = memory->path && lstat(memory->path, &st) && errno == ENOENT;
	if (!*is_new || memory->has_offset || memory->must_exist ||
	    !strncmp(memory->path, "/dev/dax", 8))
		return 0; /* ram_open() has the messages */
	return check_file("--memory path:", memory->path, err);
}

static int check_host(struct options *opt, bool *is_new, struct error *err)
{
	struct chardev_config *const chardevs[] = {&opt->serial, &opt->console, &opt->agent};
	int ret = opt->has_identity ? identity_check(opt->uuid, err) : 0;

	if (!ret && opt->qmp_path)
		ret = listen_check("--qmp", opt->qmp_path, err);
	for (size_t i = 0; !ret && i < ARRAY_SIZE(chardevs); i++)
		ret = check_chardev(chardevs[i], err);
	for (uint32_t i = 0; i < opt->ndisks; i++)
		opt->disk[i].only_look = true;
	for (uint32_t i = 0; i < opt->nnets; i++)
		opt->net[i].only_look = true;
	return ret ? ret : check_ram(opt, is_new, err);
}

/* *would: what a start would do. loses: what is lost by that, or nothing. */
static int check_guest(const char **would, struct error *loses, struct error *err)
{
	int ret = cpr_start(&vm, err);

	if (ret)
		return ret;
	switch (vm.runstate) {
	case RUNSTATE_RESTORE_VM:
		*would = "load the saved guest";
		return 0;
	case RUNSTATE_INMIGRATE:
		*would = "wait for cprload";
		/* The log says why. */
		return vm.opt->incoming == INCOMING_DEFER || !vm.opt->cpr_file
			       ? 0
			       : error_set(err, -EINVAL,
					   "a start would not load the saved guest, but wait for "
					   "cprload");
	default:
		*would = "boot";
		(void)cpr_boot_loses(&vm, loses);
		return arch_boot_check(&vm, err);
	}
}

/* --check: would this command line start, and what would it do? Builds the VM as a start does, checks the saved guest
 * as a load does, and takes all of it down again. Files, sockets, taps and locks that a start would create are only
 * looked for: opt is changed for that. */
static int check(struct options *opt, struct error *err)
{
	const char *path = opt->memory.path, *would = NULL;
	struct error loses = {""};
	bool is_new;
	int ret = check_host(opt, &is_new, err);

	if (ret)
		return ret;
	ret = vm_create(&vm, opt, cpr_file_waits(opt), err);
	if (ret)
		return ret;
	ret = check_guest(&would, &loses, err);
	if (!ret)
		printf("%s: no fault found: a start would %s%s%s%s%s\n", opt->name, would,
		       is_new ? ", in new RAM " : "", is_new ? path : "", *loses.msg ? "; " : "",
		       loses.msg);
	vm_destroy(&vm);
	return ret;
}

int main(int argc, char **argv)
{
	static struct options
		opt; /* lives as long as the process, with everything it has allocated */
	struct error err = {.msg = ""};
	int ret;

	output_open_missing();
	if (cpr_list_steps_if_asked())
		return 0;
	ret = options_parse(&opt, argc, argv, &err);
	if (ret) {
		text_clean(err.msg, strlen(err.msg));
		fprintf(stderr, "%sstasis: %s\n", log_priority(LOG_ERROR), err.msg);
		return 1;
	}
	log_init((enum log_level)opt.log_level, opt.name);
	switch (opt.job) {
	case JOB_HELP:
		options_help();
		return 0;
	case JOB_VERSION:
		puts("stasis " STASIS_VERSION);
		return 0;
	case JOB_SHOW:
		options_show(&opt);
		return 0;
	case JOB_COMPARE:
		ret = cpr_compare(&opt, opt.compare_path, stdout, &err);
		if (ret >= 0)
			return ret != 0;
		break;
	case JOB_INSPECT:
		ret = cpr_inspect(opt.inspect_path, opt.json, &err);
		break;
	case JOB_INSPECT_MEMORY:
		ret = cpr_inspect_memory(&opt.memory, opt.json, &err);
		break;
	case JOB_RUN:
		handle_faults();
		allow_descriptors();
		ret = options_check_paths(&opt, &err);
		if (!ret)
			ret = opt.check ? check(&opt, &err) : run(&opt, &err);
		break;
	}
	if (ret) {
		log_error("%s", err.msg);
		return 1;
	}
	return opt.job == JOB_RUN && !opt.check ? vm.exit_status : 0;
}
