/* SPDX-License-Identifier: GPL-2.0-or-later */
/* libdaxctl for machines without a DAX device: two regions, of which the second has one device,
 * shaped by the test. Loaded under libdaxctl's name, so that dlopen() in ram/ finds it. */
#include "tests/fakes/daxctl_stand_in.h"
#include <daxctl/libdaxctl.h>
#include <stddef.h>

struct daxctl_stand_in daxctl_stand_in;

static char the_ctx, regions[2], the_dev, the_memory;

int daxctl_new(struct daxctl_ctx **ctx)
{
	daxctl_stand_in.refs++;
	*ctx = (struct daxctl_ctx *)&the_ctx;
	return 0;
}

void daxctl_unref(struct daxctl_ctx *ctx)
{
	daxctl_stand_in.refs--;
}

struct daxctl_region *daxctl_region_get_first(struct daxctl_ctx *ctx)
{
	return (struct daxctl_region *)&regions[0];
}

struct daxctl_region *daxctl_region_get_next(struct daxctl_region *region)
{
	return (char *)region == &regions[0] ? (struct daxctl_region *)&regions[1] : NULL;
}

struct daxctl_dev *daxctl_dev_get_first(struct daxctl_region *region)
{
	return (char *)region == &regions[1] ? (struct daxctl_dev *)&the_dev : NULL;
}

struct daxctl_dev *daxctl_dev_get_next(struct daxctl_dev *dev)
{
	return NULL;
}

int daxctl_dev_get_major(struct daxctl_dev *dev)
{
	return daxctl_stand_in.major;
}

int daxctl_dev_get_minor(struct daxctl_dev *dev)
{
	return daxctl_stand_in.minor;
}

unsigned long long daxctl_dev_get_size(struct daxctl_dev *dev)
{
	return daxctl_stand_in.size_bytes;
}

unsigned long daxctl_dev_get_align(struct daxctl_dev *dev)
{
	return daxctl_stand_in.align_bytes;
}

struct daxctl_memory *daxctl_dev_get_memory(struct daxctl_dev *dev)
{
	return daxctl_stand_in.system_ram ? (struct daxctl_memory *)&the_memory : NULL;
}

int daxctl_dev_is_enabled(struct daxctl_dev *dev)
{
	return !daxctl_stand_in.disabled;
}
