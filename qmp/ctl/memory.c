/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Source: Linux Documentation/ABI/testing/sysfs-bus-dax. */
#include "qmp/ctl/memory.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/list.h"
#include "qmp/ctl/verbs.h"
#include "ram/ram.h"
#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define DEV "/dev/"

struct range {
	const char *path, *owner, *state;
	uint64_t offset_bytes, size_bytes;
	uint64_t end_bytes; /* of its label */
};

struct device {
	char *path;
	uint64_t size_bytes; /* 0: a file that grows */
	uint64_t align_bytes;
};

struct map {
	struct device *device; /* by path */
	struct range *range;   /* by path and offset */
	size_t ndevices, nranges;
};

/* --- devices */

/* 0: there is no such device, or it does not say */
static uint64_t dax_value(const char *device, const char *name)
{
	char *path = vms_path("/sys/bus/dax/devices/%s/%s", device, name);
	char text[32] = "";
	FILE *file = fopen(path, "re");

	if (file && !fgets(text, sizeof(text), file))
		text[0] = '\0';
	if (file)
		fclose(file);
	free(path);
	return strtoull(text, NULL, 10);
}

static struct device *find_device(const struct map *map, const char *path)
{
	for (size_t i = 0; i < map->ndevices; i++)
		if (!strcmp(map->device[i].path, path))
			return &map->device[i];
	return NULL;
}

static struct device *add_device(struct map *map, const char *path)
{
	const bool is_dax = !strncmp(path, DEV "dax", strlen(DEV "dax"));
	struct device *device = find_device(map, path);

	if (device)
		return device;
	map->device = ctl_memory(realloc(map->device, (map->ndevices + 1) * sizeof(*map->device)));
	device = &map->device[map->ndevices++];
	*device = (struct device){.path = ctl_text("%s", path)};
	device->align_bytes = is_dax ? dax_value(path + strlen(DEV), "align") : 0;
	device->size_bytes = is_dax ? dax_value(path + strlen(DEV), "size") : 0;
	return device;
}

static void add_dax_devices(struct map *map)
{
	char *folder = vms_path("/sys/bus/dax/devices"), *path;
	DIR *dir = opendir(folder);
	struct dirent *entry;

	while (dir && (entry = readdir(dir))) {
		if (*entry->d_name == '.')
			continue;
		path = ctl_text(DEV "%s", entry->d_name);
		add_device(map, path);
		free(path);
	}
	if (dir)
		closedir(dir);
	free(folder);
}

/* --- ranges */

static void add_range(struct map *map, const struct vms_vm *vm, const struct vms_ram *ram,
		      const char *state)
{
	uint64_t label_bytes;

	if (!ram->path || !ram->size_bytes)
		return;
	label_bytes = add_device(map, ram->path)->align_bytes;
	if (!label_bytes)
		label_bytes = RAM_GRAIN_BYTES;
	map->range = ctl_memory(realloc(map->range, (map->nranges + 1) * sizeof(*map->range)));
	map->range[map->nranges++] = (struct range){
		.path = ram->path,
		.owner = vm->name,
		.state = state,
		.offset_bytes = ram->offset_bytes,
		.size_bytes = ram->size_bytes,
		.end_bytes = ram->offset_bytes + ram->size_bytes + label_bytes,
	};
}

static bool is_same(const struct vms_ram *a, const struct vms_ram *b)
{
	return a->path && b->path && !strcmp(a->path, b->path) &&
	       a->offset_bytes == b->offset_bytes && a->size_bytes == b->size_bytes;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct device *)a)->path, ((const struct device *)b)->path);
}

static int by_place(const void *a, const void *b)
{
	const struct range *one = a, *other = b;
	const int path = strcmp(one->path, other->path);

	if (path)
		return path;
	if (one->offset_bytes != other->offset_bytes)
		return one->offset_bytes < other->offset_bytes ? -1 : 1;
	return strcmp(one->owner, other->owner);
}

static void draw(struct map *map, const struct vms *vms)
{
	*map = (struct map){0};
	add_dax_devices(map);
	for (size_t i = 0; i < vms->n; i++) {
		const struct vms_vm *vm = &vms->vm[i];

		add_range(map, vm, &vm->ram, vms_state(vm));
		if (!is_same(&vm->ram, &vm->file_ram))
			add_range(map, vm, &vm->file_ram, "after a start");
	}
	if (map->ndevices)
		qsort(map->device, map->ndevices, sizeof(*map->device), by_path);
	if (map->nranges)
		qsort(map->range, map->nranges, sizeof(*map->range), by_place);
}

static void erase(struct map *map)
{
	for (size_t i = 0; i < map->ndevices; i++)
		free(map->device[i].path);
	free(map->device);
	free(map->range);
}

/* The first of this device's ranges; *n of them follow each other. */
static const struct range *ranges_of(const struct map *map, const struct device *device, size_t *n)
{
	size_t first = 0;

	while (first < map->nranges && strcmp(map->range[first].path, device->path) != 0)
		first++;
	for (*n = 0; first + *n < map->nranges; (*n)++)
		if (strcmp(map->range[first + *n].path, device->path) != 0)
			break;
	return map->range + first;
}

static uint64_t grain(const struct device *device)
{
	return device->align_bytes > RAM_GRAIN_BYTES ? device->align_bytes : RAM_GRAIN_BYTES;
}

static uint64_t round_up(uint64_t bytes, uint64_t to)
{
	return (bytes + to - 1) / to * to;
}

/* Calls fn for each piece between ranges that guest RAM can begin in. Not 0: it is enough. */
static int each_gap(const struct map *map, const struct device *device,
		    int (*fn)(void *opaque, uint64_t begin_bytes, uint64_t end_bytes), void *opaque)
{
	uint64_t begin = 0;
	size_t n;
	const struct range *range = ranges_of(map, device, &n);
	int ret = 0;

	for (size_t i = 0; i <= n && !ret; i++) {
		const uint64_t end = i < n ? range[i].offset_bytes : device->size_bytes;

		if (begin < end)
			ret = fn(opaque, begin, end);
		if (i < n && range[i].end_bytes > begin)
			begin = round_up(range[i].end_bytes, grain(device));
	}
	return ret;
}

/* --- room for a new VM */

struct wish {
	uint64_t need_bytes; /* with the label */
	uint64_t offset_bytes, largest_bytes;
};

static int fits(void *opaque, uint64_t begin_bytes, uint64_t end_bytes)
{
	struct wish *wish = opaque;

	if (end_bytes - begin_bytes > wish->largest_bytes)
		wish->largest_bytes = end_bytes - begin_bytes;
	wish->offset_bytes = begin_bytes;
	return end_bytes - begin_bytes >= wish->need_bytes;
}

/* One whose range nobody knows may be anywhere: a guest that is saved there would be lost. NULL: there is none. */
static const struct vms_vm *homeless(const struct vms *vms)
{
	for (size_t i = 0; i < vms->n; i++)
		if (!vms->vm[i].ram.size_bytes)
			return &vms->vm[i];
	return NULL;
}

int memory_allot(const struct vms *vms, const char *path, uint64_t size_bytes,
		 uint64_t *offset_bytes, struct error *err)
{
	const struct device *device;
	const struct vms_vm *unknown = homeless(vms);
	struct map map;
	struct wish wish = {0};
	char *need, *free_space;
	int ret = 0;

	draw(&map, vms);
	device = add_device(&map, path);
	wish.need_bytes = size_bytes + device->align_bytes;
	need = list_size(wish.need_bytes);
	if (!device->size_bytes || !device->align_bytes) {
		ret = error_set(err, -ENODEV,
				"%s: is no DAX device of this host; see stasisctl memory and "
				"daxctl list",
				path);
	} else if (unknown) {
		ret = error_set(err, -EBUSY,
				"%s: nobody knows which range %s has (%s): mend that, or give this "
				"VM its offset= yourself",
				path, unknown->name,
				vms_reason(unknown) ? vms_reason(unknown) : vms_state(unknown));
	} else if (!each_gap(&map, device, fits, &wish)) {
		free_space = list_size(wish.largest_bytes);
		ret = error_set(err, -ENOSPC,
				"%s: has no free %s, which RAM and its label need; the largest "
				"free range has %s: see stasisctl memory",
				path, need, free_space);
		free(free_space);
	}
	*offset_bytes = wish.offset_bytes;
	free(need);
	erase(&map);
	return ret;
}

/* --- the verb */

static struct json_object *describe_range(uint64_t offset_bytes, uint64_t size_bytes,
					  const char *owner, const char *state)
{
	struct json_object *object = ctl_made(json_object_new_object());

	ctl_add_number(object, "offset", offset_bytes);
	ctl_add_number(object, "size", size_bytes);
	if (owner)
		ctl_add_text(object, "owner", owner);
	ctl_add_text(object, "state", state);
	return object;
}

static int add_gap(void *opaque, uint64_t begin_bytes, uint64_t end_bytes)
{
	ctl_append(opaque, describe_range(begin_bytes, end_bytes - begin_bytes, NULL, "free"));
	return 0;
}

/* The owners of all others that reach into this one, if there are any. */
static void add_overlaps(struct json_object *object, const struct range *range, size_t n, size_t i)
{
	struct json_object *names = ctl_made(json_object_new_array());

	for (size_t j = 0; j < n; j++)
		if (j != i && strcmp(range[j].owner, range[i].owner) != 0 &&
		    range[j].offset_bytes < range[i].end_bytes &&
		    range[i].offset_bytes < range[j].end_bytes)
			ctl_append(names, ctl_made(json_object_new_string(range[j].owner)));
	if (json_object_array_length(names))
		ctl_add(object, "overlaps", names);
	else
		json_object_put(names);
}

static int by_offset(const void *a, const void *b)
{
	const uint64_t one =
		json_object_get_uint64(ctl_member(*(struct json_object *const *)a, "/offset"));
	const uint64_t other =
		json_object_get_uint64(ctl_member(*(struct json_object *const *)b, "/offset"));

	return one < other ? -1 : one > other;
}

static struct json_object *describe_device(const struct map *map, const struct device *device)
{
	struct json_object *object = ctl_made(json_object_new_object());
	struct json_object *ranges = ctl_made(json_object_new_array()), *one;
	size_t n;
	const struct range *range = ranges_of(map, device, &n);

	ctl_add_text(object, "path", device->path);
	if (device->size_bytes)
		ctl_add_number(object, "size", device->size_bytes);
	for (size_t i = 0; i < n; i++) {
		one = describe_range(range[i].offset_bytes, range[i].size_bytes, range[i].owner,
				     range[i].state);
		add_overlaps(one, range, n, i);
		ctl_append(ranges, one);
	}
	if (device->size_bytes)
		each_gap(map, device, add_gap, ranges);
	json_object_array_sort(ranges, by_offset);
	ctl_add(object, "ranges", ranges);
	return object;
}

enum { PATH, OFFSET, SIZE, OWNER, STATE, COLUMNS };

static void fill_row(char **cells, const char *path, struct json_object *range)
{
	struct json_object *overlaps = ctl_member(range, "/overlaps");
	const char *owner = ctl_string(range, "/owner");
	char *text;

	cells[PATH] = ctl_text("%s", path);
	cells[OFFSET] = list_size(json_object_get_uint64(ctl_member(range, "/offset")));
	cells[SIZE] = list_size(json_object_get_uint64(ctl_member(range, "/size")));
	cells[OWNER] = ctl_text("%s", *owner ? owner : "-");
	cells[STATE] = ctl_text("%s", ctl_string(range, "/state"));
	for (size_t i = 0; overlaps && i < json_object_array_length(overlaps); i++) {
		text = ctl_text("%s%s%s", cells[STATE], i ? ", " : ", OVERLAPS ",
				json_object_get_string(json_object_array_get_idx(overlaps, i)));
		free(cells[STATE]);
		cells[STATE] = text;
	}
}

static void print_map(struct json_object *devices)
{
	static const char *const heads[] = {"DEVICE", "OFFSET", "SIZE", "OWNER", "STATE"};
	size_t rows = 1;
	char **cells = ctl_memory(calloc(COLUMNS, sizeof(*cells)));

	for (size_t i = 0; i < COLUMNS; i++)
		cells[i] = ctl_text("%s", heads[i]);
	for (size_t i = 0; i < json_object_array_length(devices); i++) {
		struct json_object *device = json_object_array_get_idx(devices, i);
		struct json_object *ranges = ctl_member(device, "/ranges");

		for (size_t j = 0; j < json_object_array_length(ranges); j++) {
			cells = ctl_memory(realloc(cells, (rows + 1) * COLUMNS * sizeof(*cells)));
			fill_row(cells + rows++ * COLUMNS, ctl_string(device, "/path"),
				 json_object_array_get_idx(ranges, j));
		}
	}
	list_table(cells, rows, COLUMNS);
	free(cells);
}

struct json_object *memory_devices(const struct vms *vms)
{
	struct json_object *devices = ctl_made(json_object_new_array());
	struct map map;

	draw(&map, vms);
	for (size_t i = 0; i < map.ndevices; i++)
		ctl_append(devices, describe_device(&map, &map.device[i]));
	erase(&map);
	return devices;
}

int verb_memory(const struct verb_call *call)
{
	struct json_object *devices;
	struct vms vms;

	if (!list_get_all(&vms))
		return CTL_FAILED;
	devices = memory_devices(&vms);
	if (call->json)
		ctl_print(devices, false);
	else
		print_map(devices);
	json_object_put(devices);
	vms_free(&vms);
	return CTL_OK;
}
