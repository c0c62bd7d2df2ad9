/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "tests/rig/checkpoint_fixture.h"
#include "devices/devices.h"
#include "vmm/arch.h"
#include <fcntl.h>
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#define XXH_INLINE_ALL
#include <xxhash.h>

struct snapshot *sections_new(void)
{
	struct snapshot *snap = calloc(1, sizeof(*snap));
	size_t used = 0, bytes = 0;

	if (!snap)
		abort();
	snapshot_head_sections(snap);
	if (arch_state_new(&snap->arch, 1, NULL))
		abort();
	snap->nsections += arch_state_sections(snap->arch, snap->section + snap->nsections, 16);
	for (uint32_t i = 0; i < device_table_rows; i++)
		bytes += device_table[i]->state ? device_table[i]->state->size + 64 : 0;
	snap->device_scratch = calloc(1, bytes + 1);
	snap->first_device = snap->nsections;
	for (uint32_t i = 0; i < device_table_rows; i++) {
		const struct device_ops *ops = device_table[i];
		struct state_section *section = &snap->section[snap->nsections];

		if (!ops->state)
			continue;
		snprintf(section->name, sizeof(section->name), "%s0",
			 ops->name ? ops->name : ops->type);
		section->desc = ops->state;
		section->state = snap->device_scratch + used;
		used += (ops->state->size + 63) & ~63UL;
		snap->nsections++;
	}
	return snap;
}

/* No golden guest has a function passed through. */
static void drop_missing(struct snapshot *snap, const void *fdt)
{
	uint32_t kept = snap->first_device;

	for (uint32_t i = kept; i < snap->nsections; i++)
		if (fdt_subnode_offset(fdt, 0, snap->section[i].name) >= 0)
			snap->section[kept++] = snap->section[i];
	snap->nsections = kept;
}

struct snapshot *sections_load(const char *path)
{
	struct snapshot *snap = sections_new();
	struct checkpoint ckpt;
	struct error err = {""};
	int ret = checkpoint_read(&ckpt, AT_FDCWD, path, false, &err);

	if (!ret) {
		drop_missing(snap, ckpt.data);
		ret = checkpoint_load(&ckpt, snap->section, snap->nsections, true, &err);
		checkpoint_free(&ckpt);
	}
	if (!ret)
		return snap;
	fprintf(stderr, "%s: %s\n", path, err.msg);
	abort();
}

void sections_fill_head(struct snapshot *snap)
{
	static struct state_desc careless[SNAPSHOT_MAX_SECTIONS];

	for (uint32_t i = SNAPSHOT_HEAD_SECTIONS; i < snap->nsections; i++) {
		careless[i] = *snap->section[i].desc;
		careless[i].check = NULL;
		snap->section[i].desc = &careless[i];
	}
	memset(snap->root.id, 0x1d, sizeof(snap->root.id));
	strcpy(snap->root.compatible, CHECKPOINT_COMPATIBLE);
	strcpy(snap->root.mode, "reboot");
	strcpy(snap->root.run_state, "running");
	snap->root.format = CHECKPOINT_FORMAT;
	snap->machine.cpus = 1;
	snap->machine.ram_size_bytes = 2 << 20;
	memset(snap->machine.uuid, 0x55, sizeof(snap->machine.uuid));
	strcpy(snap->machine.vm_name, "vm1");
	strcpy(snap->machine.arch, arch_name);
	strcpy(snap->machine.devices, "serial0 rtc0");
	snap->machine.device_gsi[0] = 4;
	snap->machine.device_gsi[1] = 8;
	snap->machine.ndevice_gsi = 2;
}

struct checkpoint sections_build(const struct snapshot *snap)
{
	struct checkpoint ckpt;
	struct error err = {""};

	if (!checkpoint_reserve(&ckpt, snap->section, snap->nsections, &err) &&
	    !checkpoint_build(&ckpt, snap->section, snap->nsections, &err))
		return ckpt;
	fprintf(stderr, "%s\n", err.msg);
	abort();
}

void file_write(const char *path, const void *data, size_t bytes)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write(fd, data, bytes) != (ssize_t)bytes) {
		perror(path);
		abort();
	}
	close(fd);
}

void sections_write(const struct snapshot *snap, const char *path)
{
	struct checkpoint ckpt = sections_build(snap);

	file_write(path, ckpt.data, ckpt.size_bytes);
	checkpoint_free(&ckpt);
}

void reseal(struct checkpoint *ckpt)
{
	XXH128_canonical_t hash;
	size_t covered = ckpt->size_bytes - sizeof(hash);

	XXH128_canonicalFromHash(&hash, XXH3_128bits(ckpt->data, covered));
	memcpy(ckpt->data + covered, &hash, sizeof(hash));
}
