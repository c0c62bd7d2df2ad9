/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/snapshot.h"
#include "cpr/checkpoint.h"
#include "devices/devices.h"
#include "vmm/base/uuid.h"
#include "vmm/version.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#define BOOT_ID_CHARS 36

const char *const cpr_mode_name[CPR_MODES] = {
	[CPR_REBOOT] = "reboot",
	[CPR_RESTART] = "restart",
};

#define ROOT_STATE(F, A, V, T) \
	F(T, compatible)       \
	F(T, format)           \
	F(T, id)               \
	F(T, mode)             \
	F(T, run_state)        \
	A(T, suspended, 0)

#define VMM_STATE(F, A, V, T) \
	F(T, version)         \
	F(T, host_kernel)     \
	F(T, host_boot_id)    \
	F(T, saved_at_ns)

#define MEMORY_STATE(F, A, V, T) \
	F(T, backend)            \
	F(T, path)               \
	F(T, offset_bytes)       \
	V(T, hash, nhash)

static const char *root_check(const void *st)
{
	const struct root_state *root = st;
	bool known = false;

	for (int i = 0; i < CPR_MODES; i++)
		known |= !strcmp(root->mode, cpr_mode_name[i]);
	if (strcmp(root->compatible, CHECKPOINT_COMPATIBLE) || root->format != CHECKPOINT_FORMAT)
		return "'compatible' or 'format' is not of this build";
	if (!known)
		return "'mode' is not known here";
	if (strcmp(root->run_state, runstate_name[RUNSTATE_RUNNING]) &&
	    strcmp(root->run_state, runstate_name[RUNSTATE_SUSPENDED]) &&
	    strcmp(root->run_state, runstate_name[RUNSTATE_PAUSED]))
		return "'run_state' is not running, paused or suspended";
	if (root->suspended > 1 ||
	    (root->suspended && strcmp(root->run_state, runstate_name[RUNSTATE_PAUSED])))
		return "'suspended' is neither 0 nor 1, or 1 of a guest that is not paused";
	return NULL;
}

static const char *memory_check(const void *st)
{
	const struct memory_state *memory = st;

	return memory->nhash % sizeof(memory->hash) ? "'hash' has not 16 bytes" : NULL;
}

STATE_DEFINE(root_state, ROOT_STATE, "checkpoint", root_check);
STATE_DEFINE(vmm_state, VMM_STATE, "vmm", NULL);
STATE_DEFINE(memory_state, MEMORY_STATE, "memory", memory_check);

void snapshot_head_sections(struct snapshot *snap)
{
	const struct state_section head[SNAPSHOT_HEAD_SECTIONS] = {
		{"", &root_state_desc, &snap->root},
		{"vmm", &vmm_state_desc, &snap->vmm},
		{"machine", machine_desc, &snap->machine},
		{"memory", &memory_state_desc, &snap->memory},
	};

	memcpy(snap->section, head, sizeof(head));
	snap->nsections = SNAPSHOT_HEAD_SECTIONS;
}

static int add_arch(struct snapshot *snap, const struct vm *vm, struct error *err)
{
	struct state_section *section = snap->section + snap->nsections;
	uint32_t max = SNAPSHOT_MAX_SECTIONS - snap->nsections - DEVICES_MAX, n;
	int ret = arch_state_new(&snap->arch, vm->nvcpus, err);

	if (ret)
		return ret;
	n = arch_state_sections(snap->arch, section, max);
	if (n > max)
		return error_set(err, -E2BIG, "%s has %u state sections, at most %u", arch_name, n,
				 max);
	snap->nsections += n;
	return 0;
}

static int add_devices(struct snapshot *snap, struct vm *vm, bool scratch, struct error *err)
{
	size_t scratch_bytes = 0, used = 0;

	/* Each on its own cache line: aligned for whatever a state struct has. */
	for (uint32_t i = 0; i < vm->ndevices; i++)
		if (vm->device[i]->ops->state)
			scratch_bytes += (vm->device[i]->ops->state->size + 63) & ~63UL;
	if (scratch) {
		snap->device_scratch = calloc(1, scratch_bytes + 1);
		if (!snap->device_scratch)
			return error_set(err, -ENOMEM, "checkpoint: out of memory");
	}
	snap->first_device = snap->nsections;
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		struct device *dev = vm->device[i];
		struct state_section *section = &snap->section[snap->nsections];

		if (!dev->ops->state)
			continue;
		snprintf(section->name, sizeof(section->name), "%s", dev->name);
		section->desc = dev->ops->state;
		section->state = scratch ? snap->device_scratch + used : dev->state;
		snap->saved[i] = section->state;
		used += (dev->ops->state->size + 63) & ~63UL;
		snap->nsections++;
	}
	return 0;
}

int snapshot_new(struct snapshot **out, struct vm *vm, bool scratch, struct error *err)
{
	struct snapshot *snap = calloc(1, sizeof(*snap));
	int ret;

	if (!snap)
		return error_set(err, -ENOMEM, "checkpoint: out of memory");
	snapshot_head_sections(snap);
	ret = add_arch(snap, vm, err);
	ret = ret ? ret : add_devices(snap, vm, scratch, err);
	if (ret) {
		snapshot_free(snap);
		return ret;
	}
	*out = snap;
	return 0;
}

void snapshot_free(struct snapshot *snap)
{
	if (!snap)
		return;
	arch_state_free(snap->arch);
	free(snap->device_scratch);
	free(snap);
}

int snapshot_boot_id(char id[40], struct error *err)
{
	static const char path[] = "/proc/sys/kernel/random/boot_id";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, id, BOOT_ID_CHARS);
	int ret = 0;

	if (n != BOOT_ID_CHARS)
		ret = error_set(err, n < 0 ? -errno : -EIO, "%s: %s", path,
				n < 0 ? strerror(errno) : "is shorter than an id");
	if (fd >= 0)
		close(fd);
	id[ret ? 0 : BOOT_ID_CHARS] = '\0';
	return ret;
}

/* A file that is not there yet is named by its folder. */
static bool real_path_of_missing(const char *missing, char path[PATH_MAX])
{
	char folder[PATH_MAX], name[PATH_MAX];
	size_t used;

	snprintf(folder, sizeof(folder), "%s", missing);
	snprintf(name, sizeof(name), "%s", missing);
	if (!realpath(dirname(folder), path))
		return false;
	used = strlen(path);
	return snprintf(path + used, PATH_MAX - used, "/%s", basename(name)) <
	       (int)(PATH_MAX - used);
}

void snapshot_real_ram_path(const struct ram *ram, char path[PATH_MAX])
{
	const char *given = ram->config.path;
	bool is_missing = ram->created && ram->config.make_nothing;

	if (!given ||
	    !(is_missing ? real_path_of_missing(given, path) : realpath(given, path) != NULL))
		path[0] = '\0';
}

static int describe_memory(struct memory_state *memory, const struct ram *ram, struct error *err)
{
	char path[PATH_MAX];

	snapshot_real_ram_path(ram, path);
	if (ram->config.path && !path[0])
		return error_set(err, -errno, "RAM %s: %s", ram->config.path, strerror(errno));
	memset(memory, 0, sizeof(*memory));
	snprintf(memory->backend, sizeof(memory->backend), "%s", ram->backend->name);
	snprintf(memory->path, sizeof(memory->path), "%s", path);
	memory->offset_bytes = ram->config.offset_bytes;
	return 0;
}

int snapshot_describe(struct snapshot *snap, struct vm *vm, enum cpr_mode mode, struct error *err)
{
	struct timespec now;
	struct utsname host;
	int ret;

	snprintf(snap->root.compatible, sizeof(snap->root.compatible), CHECKPOINT_COMPATIBLE);
	snprintf(snap->root.mode, sizeof(snap->root.mode), "%s", cpr_mode_name[mode]);
	snprintf(snap->root.run_state, sizeof(snap->root.run_state), "%s",
		 runstate_name[vm->runstate]);
	snap->root.suspended = vm->suspended && vm->runstate == RUNSTATE_PAUSED;
	snap->root.format = CHECKPOINT_FORMAT;
	if (uuid_random(snap->root.id))
		return error_set(err, -EIO, "no random bytes for the checkpoint's id");
	uname(&host);
	clock_gettime(CLOCK_REALTIME, &now);
	snap->vmm.saved_at_ns = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
	snprintf(snap->vmm.version, sizeof(snap->vmm.version), STASIS_VERSION);
	snprintf(snap->vmm.host_kernel, sizeof(snap->vmm.host_kernel), "%s", host.release);
	machine_describe(&snap->machine, vm);
	ret = snapshot_boot_id(snap->vmm.host_boot_id, err);
	return ret ? ret : describe_memory(&snap->memory, &vm->ram, err);
}

int snapshot_read_head(struct snapshot **out, int dir_fd, const char *path, struct error *err)
{
	struct snapshot *head = calloc(1, sizeof(*head));
	struct checkpoint ckpt;
	int ret;

	if (!head)
		return error_set(err, -ENOMEM, "out of memory");
	snapshot_head_sections(head);
	ret = checkpoint_read(&ckpt, dir_fd, path, err);
	if (!ret)
		ret = checkpoint_load(&ckpt, head->section, head->nsections, false, err);
	checkpoint_free(&ckpt);
	if (ret)
		snapshot_free(head);
	else
		*out = head;
	return ret;
}

int snapshot_tables(void (*fn)(void *ctx, const struct state_desc *desc), void *ctx,
		    struct error *err)
{
	struct state_section section[32];
	struct arch_state *arch;
	struct snapshot *head;
	uint32_t n;
	int ret = arch_state_new(&arch, 1, err);

	if (ret)
		return ret;
	head = calloc(1, sizeof(*head));
	if (!head) {
		arch_state_free(arch);
		return error_set(err, -ENOMEM, "checkpoint: out of memory");
	}
	snapshot_head_sections(head);
	for (uint32_t i = 0; i < head->nsections; i++)
		fn(ctx, head->section[i].desc);
	n = arch_state_sections(arch, section, 32);
	for (uint32_t i = 0; i < n && i < 32; i++)
		fn(ctx, section[i].desc);
	for (uint32_t i = 0; i < device_table_rows; i++)
		if (device_table[i]->state)
			fn(ctx, device_table[i]->state);
	free(head);
	arch_state_free(arch);
	return 0;
}
