/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM in a DAX device (/dev/daxX.Y, mode devdax): outlives a kexec if the next kernel finds the
 * region again. There is no msync and no need of one: the caches stay coherent over a kexec.
 * libdaxctl pulls in libkmod and libcrypto, so only VMs on DAX devices load it, and not for long. */
#include "ram/backend.h"
#include <daxctl/libdaxctl.h>
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <sys/sysmacros.h>

#define LIBRARY "libdaxctl.so.1"

/* clang-format off */
#define DAXCTL_FUNCTIONS(F)                                         \
	F(new) F(unref)                                             \
	F(region_get_first) F(region_get_next)                      \
	F(dev_get_first) F(dev_get_next)                            \
	F(dev_get_major) F(dev_get_minor)                           \
	F(dev_get_size) F(dev_get_align)                            \
	F(dev_get_memory) F(dev_is_enabled)
/* clang-format on */

struct daxctl {
	void *library;
/* NOLINTNEXTLINE(bugprone-macro-parentheses): it declares */
#define MEMBER(function) __typeof__(daxctl_##function) *function;
	DAXCTL_FUNCTIONS(MEMBER)
};

static bool load(struct daxctl *daxctl, const char *path, struct error *err)
{
	const char *missing = NULL;

	daxctl->library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL);
	if (!daxctl->library) {
		error_set(err, -ENOENT, "%s: DAX devices need %s (package libdaxctl1): %s", path,
			  LIBRARY, dlerror());
		return false;
	}
#define RESOLVE(function)                                                                 \
	if (!(*(void **)&daxctl->function = dlsym(daxctl->library, "daxctl_" #function))) \
		missing = "daxctl_" #function;
	DAXCTL_FUNCTIONS(RESOLVE)
	if (!missing)
		return true;
	dlclose(daxctl->library);
	error_set(err, -ENOENT, "%s: %s has no %s: Debian 12's libdaxctl1 has it", path, LIBRARY,
		  missing);
	return false;
}

static struct daxctl_dev *find(const struct daxctl *daxctl, struct daxctl_ctx *ctx, dev_t rdev)
{
	struct daxctl_region *region;
	struct daxctl_dev *dev;

	for (region = daxctl->region_get_first(ctx); region;
	     region = daxctl->region_get_next(region))
		for (dev = daxctl->dev_get_first(region); dev; dev = daxctl->dev_get_next(dev))
			if (daxctl->dev_get_major(dev) == (int)major(rdev) &&
			    daxctl->dev_get_minor(dev) == (int)minor(rdev))
				return dev;
	return NULL;
}

static int check(const struct daxctl *daxctl, struct daxctl_dev *dev, const char *path,
		 uint64_t *size_bytes, uint64_t *align_bytes, struct error *err)
{
	if (!dev)
		return error_set(err, -ENODEV,
				 "%s: not a DAX device: 'daxctl list' shows those that exist",
				 path);
	if (!daxctl->dev_is_enabled(dev) || daxctl->dev_get_memory(dev))
		return error_set(err, -ENODEV,
				 "%s: its mode is not devdax: daxctl reconfigure-device "
				 "--mode=devdax",
				 path);
	*size_bytes = daxctl->dev_get_size(dev);
	*align_bytes = daxctl->dev_get_align(dev);
	if (*align_bytes != 2u << 20 && *align_bytes != 1u << 30)
		return error_set(err, -EINVAL,
				 "%s: aligned to %" PRIu64
				 " bytes, not to 2 MiB or 1 GiB: create the namespace with -a 2M",
				 path, *align_bytes);
	return 0;
}

int devdax_query(const struct ram_place *place, uint64_t *size_bytes, uint64_t *align_bytes,
		 struct error *err)
{
	struct daxctl daxctl = {0};
	struct daxctl_ctx *ctx;
	int ret;

	if (!load(&daxctl, place->path, err))
		return -ENOENT;
	ret = daxctl.new(&ctx);
	if (ret) {
		ret = error_set(err, ret, "%s: %s does not start", place->path, LIBRARY);
		goto close_library;
	}
	ret = check(&daxctl, find(&daxctl, ctx, place->st.st_rdev), place->path, size_bytes,
		    align_bytes, err);
	daxctl.unref(ctx);
close_library:
	dlclose(daxctl.library);
	return ret;
}

static bool devdax_claims(const struct ram_place *place)
{
	return place->path && S_ISCHR(place->st.st_mode);
}

static int devdax_open(struct ram *ram, const struct ram_place *place, struct error *err)
{
	const struct ram_config *config = &ram->config;
	uint64_t has_bytes = 0, need_bytes;
	int ret = devdax_query(place, &has_bytes, &ram->align_bytes, err);

	if (ret)
		return ret;
	need_bytes = config->offset_bytes + config->size_bytes + ram->align_bytes;
	if (has_bytes < need_bytes)
		return error_set(err, -EINVAL,
				 "%s: has %" PRIu64 " bytes, offset=%" PRIu64 ",size=%" PRIu64
				 " needs %" PRIu64 " (%" PRIu64
				 " for the label): give a smaller size",
				 config->path, has_bytes, config->offset_bytes, config->size_bytes,
				 need_bytes, ram->align_bytes);
	return 0;
}

static int devdax_sync_label(const struct ram *ram, void *hva, uint64_t bytes, struct error *err)
{
	(void)ram;
	(void)err;
	writeback_lines(hva, bytes);
	return 0;
}

const struct ram_backend ram_devdax = {
	.name = "devdax",
	.survives = RAM_SURVIVES_KEXEC,
	.claims = devdax_claims,
	.open = devdax_open,
	.sync_label = devdax_sync_label,
};
