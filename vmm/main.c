/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/cpr.h"
#include "devices/host/chardev.h"
#include "qmp/qmp.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/check.h"
#include "vmm/identity.h"
#include "vmm/options.h"
#include "vmm/version.h"
#include "vmm/vm.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

static struct vm vm = VM_INIT; /* the only global: signal handlers get no argument */

static void ask_to_end(int signal)
{
	(void)signal;
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

	(void)context;
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
	vm.file_waits = cpr_file_waits(opt);
	ret = vm_create(&vm, opt, err);
	if (ret)
		goto unlock;
	log_watch(&vm.loop);
	if (opt->qmp_path)
		ret = qmp_open(&qmp, &vm, err);
	if (!ret)
		ret = start(opt->paused, err);
	if (!ret) {
		uint64_t took_ns = clock_now_ns() - began_ns;

		log_info("%s, " CLOCK_MS " after the start", runstate_name[vm.runstate],
			 CLOCK_MS_OF(took_ns));
		loop_run(&vm.loop);
	}
	if (qmp)
		qmp_close(qmp);
	log_unwatch(&vm.loop);
	vm_destroy(&vm);
unlock:
	identity_unlock(opt->uuid, &held);
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
		fprintf(stderr, "stasis: %s\n", err.msg);
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
	case JOB_INSPECT:
		ret = cpr_inspect(opt.inspect_path, opt.json, &err);
		break;
	case JOB_INSPECT_MEMORY:
		ret = cpr_inspect_memory(&opt.memory, opt.json, &err);
		break;
	case JOB_RUN:
		handle_faults();
		allow_descriptors();
		ret = check_paths(&opt, &err);
		if (!ret)
			ret = opt.check ? check_start(&vm, &opt, &err) : run(&opt, &err);
		break;
	}
	if (ret) {
		log_error("%s", err.msg);
		return 1;
	}
	return opt.job == JOB_RUN && !opt.check ? vm.exit_status : 0;
}
