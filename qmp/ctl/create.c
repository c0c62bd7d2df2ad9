/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create: a configuration file from options of stasis. */
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/draft.h"
#include "qmp/ctl/memory.h"
#include "qmp/ctl/unit.h"
#include "qmp/ctl/verbs.h"
#include "vmm/option_table.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define MEMORY "--memory"

/* "--memory" for both "--memory size=1G" and "--memory=size=1G" */
static bool is_memory(const char *word)
{
	const size_t n = strlen(MEMORY);

	return !strncmp(word, MEMORY, n) && (!word[n] || word[n] == '=');
}

/* The value of --memory with offset=, if its path is a DAX device and it has none; NULL: it is good as it is. */
static int allot(const char *memory, char **with_offset, struct error *err)
{
	char *path = vms_list_value(memory, "path"), *offset = vms_list_value(memory, "offset");
	char *size = vms_list_value(memory, "size");
	uint64_t size_bytes, offset_bytes;
	struct vms vms;
	int ret = 0;

	*with_offset = NULL;
	/* What is wrong with a size, stasis says better. */
	if (path && !offset && !strncmp(path, "/dev/dax", 8) && size &&
	    !option_size(size, &size_bytes)) {
		ret = vms_find(&vms, err);
		if (!ret) {
			vms_look_all(&vms);
			ret = memory_allot(&vms, path, size_bytes, &offset_bytes, err);
			vms_free(&vms);
		}
		if (!ret)
			*with_offset = ctl_text("%s,offset=%llu", memory,
						(unsigned long long)offset_bytes);
	}
	free(path);
	free(offset);
	free(size);
	return ret;
}

/* The words as lines: an option with the words that follow it up to the next one. */
static int write_lines(FILE *file, char **words, struct error *err)
{
	char *with_offset;
	int ret = 0;

	for (; *words && !ret; words++) {
		const char *option = *words, *value = strchr(option, '=');
		const size_t n = value ? (size_t)(value - option) : strlen(option);

		if (strncmp(option, "--", 2) != 0)
			return error_set(err, -EINVAL,
					 "'%s' is no option of stasis: see stasis --help", option);
		if (value)
			value++;
		else if (words[1] && strncmp(words[1], "--", 2) != 0)
			value = *++words;
		if (value && strpbrk(value, "\r\n"))
			return error_set(err, -EINVAL,
					 "%.*s: a value in a file is one line, and cannot have a "
					 "line end in it",
					 (int)n, option);
		with_offset = NULL;
		if (value && is_memory(option))
			ret = allot(value, &with_offset, err);
		if (ret)
			break;
		if (fprintf(file, "%.*s%s%s\n", (int)n - 2, option + 2,
			    !value   ? ""
			    : *value ? " "
				     : "=",
			    with_offset ? with_offset
			    : value	? value
					: "") < 0)
			ret = error_set(err, -EIO, "cannot be written: %s", strerror(errno));
		free(with_offset);
	}
	return ret;
}

static int write_draft(const struct draft *draft, char **words, struct error *err)
{
	FILE *file = fopen(draft->path, "we");
	int ret;

	if (!file)
		return error_set(err, -errno, "%s: %s", draft->path, strerror(errno));
	ret = write_lines(file, words, err);
	if (fclose(file) && !ret)
		ret = error_set(err, -errno, "%s: %s", draft->file, strerror(errno));
	return ret;
}

static int check_name(const char *name, struct error *err)
{
	if (!vms_is_name(name))
		return error_set(err, -EINVAL, "%s: is no name: " VMS_NAME_HELP, name);
	if (verbs_find(name))
		return error_set(err, -EINVAL, "%s: is a command of stasisctl: choose another name",
				 name);
	return 0;
}

/* With the lock of the draft, or else two that create the same VM at once would both find the name free. */
static int check_free(const char *name, struct error *err)
{
	struct vms_vm vm;
	int ret = 0;

	vms_get(&vm, name);
	if (vm.file)
		ret = error_set(err, -EEXIST, "%s exists already; see stasisctl edit %s", vm.file,
				name);
	else if (vms_exists(&vm))
		ret = error_set(err, -EEXIST, "a VM of this name runs: %s", vm.socket);
	vms_put(&vm);
	return ret;
}

int verb_create(const struct verb_call *call)
{
	struct error err;
	struct draft draft;
	int ret = check_name(call->name, &err);

	if (ret) {
		ctl_complain("%s", err.msg);
		return CTL_FAILED;
	}
	ret = draft_open(&draft, call->name, &err);
	if (!ret)
		ret = check_free(call->name, &err);
	if (!ret)
		ret = write_draft(&draft, call->words, &err);
	if (!ret)
		ret = draft_check(&draft, &err);
	if (!ret)
		ret = draft_install(&draft, &err);
	if (ret) {
		ctl_complain("%s: not created: %s", call->name, err.msg);
	} else {
		printf("%s: created: %s\n", call->name, draft.file);
		fflush(stdout);
		unit_reload();
	}
	draft_close(&draft);
	return ctl_status(ret);
}
