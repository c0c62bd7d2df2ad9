/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/bus.h"
#include <errno.h>
#include <string.h>

int bus_add(struct bus *bus, enum bus_space space, const struct bus_region *region,
	    struct error *err)
{
	struct bus_region *table = bus->region[space];
	uint32_t n = bus->nregions[space], at = 0;

	if (n == BUS_MAX_REGIONS)
		return error_set(err, -ENOSPC, "%s: no room for one more bus region", region->name);
	while (at < n && table[at].base < region->base)
		at++;
	if (at < n && region->base + region->size > table[at].base)
		return error_set(err, -EBUSY, "%s overlaps %s on the bus", region->name,
				 table[at].name);
	if (at && table[at - 1].base + table[at - 1].size > region->base)
		return error_set(err, -EBUSY, "%s overlaps %s on the bus", region->name,
				 table[at - 1].name);
	memmove(table + at + 1, table + at, (n - at) * sizeof(*table));
	table[at] = *region;
	bus->nregions[space]++;
	return 0;
}

static const struct bus_region *find(const struct bus *bus, enum bus_space space, uint64_t addr)
{
	const struct bus_region *table = bus->region[space];
	uint32_t low = 0, high = bus->nregions[space];

	while (low < high) {
		uint32_t mid = (low + high) / 2;

		if (addr < table[mid].base)
			high = mid;
		else if (addr - table[mid].base < table[mid].size)
			return &table[mid];
		else
			low = mid + 1;
	}
	return NULL;
}

void bus_access(const struct bus *bus, enum bus_space space, uint64_t addr, void *data,
		uint32_t size, bool is_write)
{
	const struct bus_region *region = find(bus, space, addr);
	uint64_t value = 0;

	if (size > sizeof(value))
		return;
	if (!region || size > region->size - (addr - region->base)) {
		if (!is_write)
			memset(data, 0xff, size);
		return;
	}
	if (is_write)
		memcpy(&value, data, size);
	pthread_mutex_lock(region->lock);
	if (is_write)
		region->ops->write(region->opaque, addr - region->base, size, value);
	else
		value = region->ops->read(region->opaque, addr - region->base, size);
	pthread_mutex_unlock(region->lock);
	if (!is_write)
		memcpy(data, &value, size);
}
