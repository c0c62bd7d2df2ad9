/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cpr/machine.h"
#include "vmm/base/uuid.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define MACHINE_STATE(F, A, V, T)     \
	F(T, arch)                    \
	F(T, vm_name)                 \
	F(T, uuid)                    \
	F(T, cpus)                    \
	F(T, pit)                     \
	A(T, s3, 1)                   \
	F(T, ram_size_bytes)          \
	V(T, ram_region, nram_region) \
	F(T, devices)                 \
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
	if (machine->s3 > 1)
		return "'s3' is neither 0 nor 1";
	return NULL;
}

STATE_DEFINE(machine_state, MACHINE_STATE, "machine", machine_check);
const struct state_desc *const machine_desc = &machine_state_desc;

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

static void compare_identity(const struct machine_state *saved, const struct machine_state *now,
			     struct error *err, int *ret)
{
	char was[STATE_SHOWN_BYTES], was_uuid[UUID_TEXT], now_uuid[UUID_TEXT];

	if (strcmp(saved->arch, now->arch))
		*ret = error_join(err, -EINVAL, "checkpoint is of a machine of arch %s, this is %s",
				  state_shown(saved->arch, was), now->arch);
	if (memcmp(saved->uuid, now->uuid, sizeof(now->uuid)))
		*ret = error_join(
			err, -EINVAL,
			"checkpoint is of VM '%s' (uuid %s), the command line gives '%s' (uuid %s)",
			state_shown(saved->vm_name, was), uuid_format(saved->uuid, was_uuid),
			now->vm_name, uuid_format(now->uuid, now_uuid));
}

/* It comes with whatever needs it, so a missing one is not worth a word beside that. */
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
				  had_pci ? "PCI" : "no PCI", had_pci ? "no PCI device" : "one");
}

int machine_compare(const struct machine_state *saved, bool sleeps, const struct vm *vm,
		    struct error *err)
{
	struct machine_state machine, *now = &machine;
	struct error local = {.msg = ""};
	int ret = 0;

	machine_describe(now, vm);
	err = err ? err : &local;
	err->msg[0] = '\0';
	compare_identity(saved, now, err, &ret);
	if (saved->cpus != now->cpus)
		ret = error_join(err, -EINVAL,
				 "checkpoint has %u vCPU%s, the command line gives %u", saved->cpus,
				 saved->cpus == 1 ? "" : "s", now->cpus);
	if (saved->ram_size_bytes != now->ram_size_bytes)
		ret = error_join(err, -EINVAL,
				 "checkpoint has %" PRIu64
				 " MiB of RAM, the command line gives %" PRIu64 " MiB",
				 saved->ram_size_bytes >> 20, now->ram_size_bytes >> 20);
	else if (saved->nram_region != now->nram_region ||
		 memcmp(saved->ram_region, now->ram_region, sizeof(now->ram_region)))
		ret = error_join(err, -EINVAL, "checkpoint has its RAM at other guest addresses");
	if (!saved->pit != !now->pit)
		ret = error_join(err, -EINVAL,
				 "checkpoint has %s, the command line gives --machine pit=%s",
				 saved->pit ? "a PIT" : "no PIT", now->pit ? "on" : "off");
	if (!saved->s3 != !now->s3)
		ret = error_join(
			err, -EINVAL,
			"checkpoint is of a machine with --machine s3=%s, the command line "
			"gives s3=%s",
			saved->s3 ? "on" : "off", now->s3 ? "on" : "off");
	if (sleeps && !saved->s3)
		ret = error_join(err, -EINVAL,
				 "checkpoint has a guest that sleeps in a machine with --machine "
				 "s3=off, which cannot be woken");
	compare_devices(saved, now, err, &ret);
	return ret;
}
