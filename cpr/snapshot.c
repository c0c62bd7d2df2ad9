/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/checkpoint.h"
#include "devices/devices.h"
#include "vmm/base/bytes.h"
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

/* --- the machine: what a load must find again */

#define MACHINE_STATE(F, A, V, T)            \
	F(T, arch, ST_CONSTANT)              \
	F(T, vm_name)                        \
	F(T, uuid)                           \
	F(T, cpus, ST_CONSTANT)              \
	F(T, pit, (ST_BOOL | ST_CONSTANT))   \
	A(T, s3, 1, (ST_BOOL | ST_CONSTANT)) \
	F(T, ram_size_bytes, ST_CONSTANT)    \
	V(T, ram_region, nram_region)        \
	F(T, devices)                        \
	V(T, device_gsi, ndevice_gsi)

/* A walk through the names: serial0, rtc0, ... */
struct name_walk {
	const char *rest;
	char name[16];
	uint32_t index;
};

static bool next_name(struct name_walk *walk)
{
	size_t n;

	walk->rest += strspn(walk->rest, " ");
	n = strcspn(walk->rest, " ");
	if (!n || n >= sizeof(walk->name))
		return false;
	memcpy(walk->name, walk->rest, n);
	walk->name[n] = '\0';
	walk->rest += n;
	walk->index++;
	return true;
}

static bool find_name(const char *names, const char *name, uint32_t *index)
{
	struct name_walk walk = {.rest = names};

	while (next_name(&walk)) {
		if (strcmp(walk.name, name))
			continue;
		*index = walk.index - 1;
		return true;
	}
	return false;
}

static const char *machine_check(const void *st)
{
	const struct machine_state *machine = st;
	struct name_walk walk = {.rest = machine->devices};

	while (next_name(&walk))
		;
	if (*walk.rest || walk.index != machine->ndevice_gsi)
		return "'devices' and 'device_gsi' do not fit together";
	if (machine->nram_region % 2)
		return "'ram_region' has a GPA without a size";
	if (!machine->cpus || machine->cpus > OPTIONS_MAX_CPUS)
		return "'cpus' is not 1 to 64";
	return NULL;
}

STATE_DEFINE(machine_state, MACHINE_STATE, "machine", machine_check);

_Static_assert(sizeof(((struct machine_state *)0)->devices) >=
		       DEVICES_MAX * sizeof(((struct device *)0)->name),
	       "'devices' has no room for all names");

void machine_describe(struct machine_state *machine, const struct vm *vm)
{
	size_t used = 0;

	memset(machine, 0, sizeof(*machine));
	snprintf(machine->arch, sizeof(machine->arch), "%s", arch_name);
	snprintf(machine->vm_name, sizeof(machine->vm_name), "%s", vm->opt->name);
	memcpy(machine->uuid, vm->opt->uuid, sizeof(machine->uuid));
	machine->cpus = vm->nvcpus;
	machine->pit = vm->opt->pit;
	machine->s3 = vm->opt->s3;
	machine->ram_size_bytes = vm->ram.config.size_bytes;
	for (uint32_t i = 0; i < vm->ram.nregions; i++) {
		machine->ram_region[machine->nram_region++] = vm->ram.region[i].gpa;
		machine->ram_region[machine->nram_region++] = vm->ram.region[i].size_bytes;
	}
	for (uint32_t i = 0; i < vm->ndevices; i++) {
		used += (size_t)snprintf(machine->devices + used, sizeof(machine->devices) - used,
					 "%s%s", i ? " " : "", vm->device[i]->name);
		machine->device_gsi[machine->ndevice_gsi++] = vm->device[i]->ops->guest_gsi;
	}
}

/* The PCI host comes with the PCI devices: a message about these is enough. */
#define PCI_HOST "pci0"

static void compare_devices(const struct machine_state *saved, const struct machine_state *now,
			    struct error *err, int *ret)
{
	struct name_walk walk = {.rest = saved->devices};
	char shown[STATE_SHOWN_BYTES];
	bool had_pci;
	uint32_t i;

	while (next_name(&walk)) {
		uint32_t gsi = saved->device_gsi[walk.index - 1];

		if (!strcmp(walk.name, PCI_HOST))
			continue;
		if (!find_name(now->devices, walk.name, &i))
			*ret = error_join(err, -EINVAL,
					  "checkpoint has device %s, the command line does not: "
					  "give its option back",
					  state_shown(walk.name, shown));
		else if (now->device_gsi[i] != gsi)
			*ret = error_join(err, -EINVAL,
					  "checkpoint has %s on GSI %u, here it is on GSI %u",
					  walk.name, gsi, now->device_gsi[i]);
	}
	walk = (struct name_walk){.rest = now->devices};
	while (next_name(&walk))
		if (strcmp(walk.name, PCI_HOST) && !find_name(saved->devices, walk.name, &i))
			*ret = error_join(err, -EINVAL,
					  "the command line gives device %s, the checkpoint has "
					  "none: leave its option out",
					  walk.name);
	had_pci = find_name(saved->devices, PCI_HOST, &i);
	if (!*ret && had_pci != find_name(now->devices, PCI_HOST, &i))
		*ret = error_join(err, -EINVAL, "checkpoint has %s, the command line gives %s",
				  had_pci ? "PCI" : "no PCI",
				  had_pci ? "no PCI device" : "a PCI device");
}

int machine_compare(const struct machine_state *saved, bool sleeps, const struct vm *vm,
		    struct error *err)
{
	char was[STATE_SHOWN_BYTES], was_uuid[UUID_TEXT], now_uuid[UUID_TEXT];
	struct machine_state machine, *now = &machine;
	struct error local = {.msg = ""};
	int ret = 0;

	machine_describe(now, vm);
	err = err ? err : &local;
	err->msg[0] = '\0';
	if (memcmp(saved->uuid, now->uuid, sizeof(now->uuid)))
		ret = error_join(
			err, -EINVAL,
			"checkpoint is of VM '%s' (uuid %s), the command line gives '%s' (uuid %s)",
			state_shown(saved->vm_name, was), uuid_format(saved->uuid, was_uuid),
			now->vm_name, uuid_format(now->uuid, now_uuid));
	ret = state_compare(&machine_state_desc, saved, now, err) ? -EINVAL : ret;
	if (saved->ram_size_bytes == now->ram_size_bytes &&
	    (saved->nram_region != now->nram_region ||
	     memcmp(saved->ram_region, now->ram_region, sizeof(now->ram_region))))
		ret = error_join(err, -EINVAL, "checkpoint has its RAM at other guest addresses");
	if (sleeps && !saved->s3)
		ret = error_join(err, -EINVAL,
				 "checkpoint has a guest that sleeps in a machine with --machine "
				 "s3=off, which cannot be woken");
	compare_devices(saved, now, err, &ret);
	return ret;
}

/* --- the head and the list of sections */

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
	A(T, suspended, 0, ST_BOOL)

#define VMM_STATE(F, A, V, T) \
	F(T, version)         \
	F(T, host_kernel)     \
	F(T, host_boot_id)    \
	F(T, saved_at_ns)

#define MEMORY_STATE(F, A, V, T) \
	F(T, backend)            \
	F(T, path)               \
	F(T, offset_bytes)       \
	V(T, hash, nhash)        \
	A(T, kept_fd, 0)         \
	A(T, session, 0)         \
	A(T, token, 0)

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
	if (root->suspended && strcmp(root->run_state, runstate_name[RUNSTATE_PAUSED]))
		return "'suspended' is 1, but the guest is not paused";
	return NULL;
}

/* A name ends within its row, with zeroes after it. */
static bool is_name(const uint8_t name[MEMORY_NAME_BYTES])
{
	size_t n = strnlen((const char *)name, MEMORY_NAME_BYTES);

	for (size_t i = n; i < MEMORY_NAME_BYTES; i++)
		if (name[i])
			return false;
	return n < MEMORY_NAME_BYTES;
}

static const char *memory_check(const void *st)
{
	const struct memory_state *memory = st;

	if (memory->nhash % sizeof(memory->hash))
		return "'hash' is not 16 bytes long";
	if (!is_name(memory->kept_fd) || !is_name(memory->session))
		return "'kept_fd' or 'session' is not a name";
	if (memory->token && !*memory->session)
		return "'token' without 'session'";
	return NULL;
}

STATE_DEFINE(root_state, ROOT_STATE, "checkpoint", root_check);
STATE_DEFINE(vmm_state, VMM_STATE, "vmm", NULL);
STATE_DEFINE(memory_state, MEMORY_STATE, "memory", memory_check);

void snapshot_head_sections(struct snapshot *snap)
{
	const struct state_section head[SNAPSHOT_HEAD_SECTIONS] = {
		{"", &root_state_desc, &snap->root},
		{"vmm", &vmm_state_desc, &snap->vmm},
		{"machine", &machine_state_desc, &snap->machine},
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
		section->state = scratch ? snap->device_scratch + used : device_state(dev);
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

int snapshot_tables(void (*fn)(void *ctx, const struct state_desc *desc), void *ctx,
		    struct error *err)
{
	static const struct state_desc *const head[] = {&root_state_desc, &vmm_state_desc,
							&machine_state_desc, &memory_state_desc};
	struct state_section section[32];
	struct arch_state *arch;
	uint32_t n;
	int ret = arch_state_new(&arch, 1, err);

	if (ret)
		return ret;
	for (uint32_t i = 0; i < ARRAY_SIZE(head); i++)
		fn(ctx, head[i]);
	n = arch_state_sections(arch, section, 32);
	for (uint32_t i = 0; i < n && i < 32; i++)
		fn(ctx, section[i].desc);
	for (uint32_t i = 0; i < device_table_rows; i++)
		if (device_table[i]->state)
			fn(ctx, device_table[i]->state);
	arch_state_free(arch);
	return 0;
}
