/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM without a path: gone with the process. */
#include "ram/backend.h"
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096u

static bool memfd_claims(const struct ram_place *place)
{
	return !place->path;
}

static int memfd_open(struct ram *ram, const struct ram_place *place, struct error *err)
{
	uint64_t need_bytes = ram->config.size_bytes + label_unit_bytes(PAGE_BYTES);

	(void)place;
	ram->align_bytes = PAGE_BYTES;
	ram->fd = memfd_create("guest-ram", MFD_CLOEXEC);
	if (ram->fd < 0 || ftruncate(ram->fd, (off_t)need_bytes))
		return error_set(err, -errno, "memfd of %" PRIu64 " bytes for guest RAM: %s",
				 need_bytes, strerror(errno));
	ram->created = true;
	return 0;
}

const struct ram_backend ram_memfd = {
	.name = "memfd",
	.survives = RAM_SURVIVES_NOTHING,
	.instead = "start with --memory size=...,path=... on a DAX device or a file on a disk",
	.claims = memfd_claims,
	.open = memfd_open,
};
