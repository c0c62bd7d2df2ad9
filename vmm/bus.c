/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/bus.h"
#include <errno.h>
#include <string.h>

void bus_init(struct bus *bus)
{
	*bus = (struct bus){0};
	pthread_rwlock_init(&bus->lock, NULL);
}

void bus_close(struct bus *bus)
{
	pthread_rwlock_destroy(&bus->lock);
}

static int add(struct bus *bus, enum bus_space space, const struct bus_region *region,
	       struct error *err)
{
	struct bus_region *table = bus->region[space], *other = NULL;
	uint32_t n = bus->nregions[space], at = 0;

	if (n == BUS_MAX_REGIONS)
		return error_set(err, -ENOSPC, "%s: no room for one more bus region", region->name);
	while (at < n && table[at].base < region->base)
		at++;
	if (at < n && region->base + region->size > table[at].base)
		other = &table[at];
	else if (at && table[at - 1].base + table[at - 1].size > region->base)
		other = &table[at - 1];
	if (other)
		return error_set(err, -EBUSY, "%s overlaps %s on the bus", region->name,
				 other->name);
	memmove(table + at + 1, table + at, (n - at) * sizeof(*table));
	table[at] = *region;
	bus->nregions[space]++;
	return 0;
}

int bus_add(struct bus *bus, enum bus_space space, const struct bus_region *region,
	    struct error *err)
{
	int ret;

	pthread_rwlock_wrlock(&bus->lock);
	ret = add(bus, space, region, err);
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

static void del(struct bus *bus, enum bus_space space, uint32_t at)
{
	struct bus_region *table = bus->region[space];

	bus->nregions[space]--;
	memmove(table + at, table + at + 1, (bus->nregions[space] - at) * sizeof(*table));
}

void bus_del(struct bus *bus, enum bus_space space, uint64_t base)
{
	uint32_t at = 0;

	pthread_rwlock_wrlock(&bus->lock);
	while (at < bus->nregions[space] && bus->region[space][at].base != base)
		at++;
	if (at < bus->nregions[space])
		del(bus, space, at);
	pthread_rwlock_unlock(&bus->lock);
}

void bus_del_all(struct bus *bus, const pthread_mutex_t *lock)
{
	pthread_rwlock_wrlock(&bus->lock);
	for (int space = 0; space < BUS_SPACES; space++)
		for (uint32_t at = bus->nregions[space]; at-- > 0;)
			if (bus->region[space][at].lock == lock)
				del(bus, (enum bus_space)space, at);
	pthread_rwlock_unlock(&bus->lock);
}

/* A copy: the table may change as soon as its lock is released. */
static bool find(struct bus *bus, enum bus_space space, uint64_t addr, struct bus_region *found)
{
	const struct bus_region *table = bus->region[space];
	uint32_t low = 0, high;
	bool ret = false;

	pthread_rwlock_rdlock(&bus->lock);
	high = bus->nregions[space];

	while (low < high && !ret) {
		uint32_t mid = (low + high) / 2;

		if (addr < table[mid].base) {
			high = mid;
		} else if (addr - table[mid].base < table[mid].size) {
			*found = table[mid];
			ret = true;
		} else {
			low = mid + 1;
		}
	}
	pthread_rwlock_unlock(&bus->lock);
	return ret;
}

static bool answers(const struct bus_region *region, uint64_t offset, uint32_t size)
{
	return region->ops->width ? size == region->ops->width : size <= region->size - offset;
}

void bus_access(struct bus *bus, enum bus_space space, uint64_t addr, void *data, uint32_t size,
		bool is_write)
{
	struct bus_region region = {0};
	uint64_t value = 0;

	if (size > sizeof(value))
		return;
	if (!find(bus, space, addr, &region) || !answers(&region, addr - region.base, size)) {
		if (!is_write)
			memset(data, 0xff, size);
		return;
	}
	if (is_write)
		memcpy(&value, data, size);
	pthread_mutex_lock(region.lock);
	if (is_write)
		region.ops->write(region.opaque, addr - region.base, size, value);
	else
		value = region.ops->read(region.opaque, addr - region.base, size);
	pthread_mutex_unlock(region.lock);
	if (!is_write)
		memcpy(data, &value, size);
}
