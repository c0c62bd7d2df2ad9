/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/check.h"
#include "cpr/cpr.h"
#include "vmm/base/bytes.h"
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/identity.h"
#include "vmm/vm.h"
#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

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

/* A tap that a start as root would create is replaced by a socket. */
static int check_taps(struct options *opt, bool file_waits, struct error *err)
{
	struct label label = {.state = LABEL_NONE};
	bool awaits;

	if (opt->memory.path)
		(void)!label_peek(&opt->memory, &label, NULL);
	awaits = vm_awaits_guest(opt, &label, file_waits);

	for (uint32_t i = 0; opt->net && i < opt->nnets; i++) {
		struct net_config *nic = &opt->net[i];
		int pair[2];

		if (nic->kind != NET_TAP || awaits || geteuid() || if_nametoindex(nic->path))
			continue;
		log_info("%s: there is no tap %s: a start makes one that goes with it", nic->id,
			 nic->path);
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
			return error_set(err, -errno, "socketpair: %s", strerror(errno));
		close(pair[1]);
		nic->kind = NET_FD;
		nic->fd = pair[0];
		nic->queues = 1;
		nic->vhost = AUTO_OFF;
	}
	return 0;
}

static int check_host(struct options *opt, bool file_waits, bool *is_new, struct error *err)
{
	struct chardev_config *const chardevs[] = {&opt->serial, &opt->console, &opt->agent};
	int ret = opt->has_identity ? identity_check(opt->uuid, err) : 0;

	if (!ret && opt->qmp_path)
		ret = listen_check("--qmp", opt->qmp_path, err);
	for (size_t i = 0; !ret && i < ARRAY_SIZE(chardevs); i++)
		ret = check_chardev(chardevs[i], err);
	for (uint32_t i = 0; i < opt->ndisks; i++)
		opt->disk[i].only_look = true;
	ret = ret ? ret : check_ram(opt, is_new, err);
	return ret ? ret : check_taps(opt, file_waits, err);
}

/* *would: what a start would do. loses: what is lost by that, or nothing. */
static int check_guest(struct vm *vm, const char **would, struct error *loses, struct error *err)
{
	int ret = cpr_start(vm, err);

	if (ret)
		return ret;
	switch (vm->runstate) {
	case RUNSTATE_RESTORE_VM:
		*would = "load the saved guest";
		return 0;
	case RUNSTATE_INMIGRATE:
		*would = "wait for cprload";
		/* The log says why. */
		return vm->opt->incoming == INCOMING_DEFER || !vm->opt->cpr_file
			       ? 0
			       : error_set(err, -EINVAL,
					   "a start would not load the saved guest, but wait for "
					   "cprload");
	default:
		*would = "boot";
		(void)cpr_boot_loses(vm, loses);
		return arch_boot_check(vm, err);
	}
}

int check_start(struct vm *vm, struct options *opt, struct error *err)
{
	const char *path = opt->memory.path, *would = NULL;
	struct error loses = {""};
	bool is_new;
	int ret;

	vm->file_waits = cpr_file_waits(opt);
	ret = check_host(opt, vm->file_waits, &is_new, err);
	if (ret)
		return ret;
	ret = vm_create(vm, opt, err);
	if (ret)
		return ret;
	ret = check_guest(vm, &would, &loses, err);
	if (!ret)
		printf("%s: no fault found: a start would %s%s%s%s%s\n", opt->name, would,
		       is_new ? ", in new RAM " : "", is_new ? path : "", *loses.msg ? "; " : "",
		       loses.msg);
	vm_destroy(vm);
	return ret;
}
