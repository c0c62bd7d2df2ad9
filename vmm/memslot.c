/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/bus.h"
#include "vmm/base/log.h"
#include <assert.h>
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

void memslots_init(struct memslots *slots, int vm_fd)
{
	*slots = (struct memslots){.vm_fd = vm_fd};
	pthread_mutex_init(&slots->lock, NULL);
}

void memslots_close(struct memslots *slots)
{
	pthread_mutex_destroy(&slots->lock);
}

/* bytes 0: removes the slot. */
static int set(const struct memslots *slots, uint32_t slot, uint64_t gpa, uint64_t bytes, void *hva)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = gpa,
		.memory_size = bytes,
		.userspace_addr = (uint64_t)(uintptr_t)hva,
	};

	return ioctl(slots->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) ? -errno : 0;
}

static int add(struct memslots *slots, uint64_t gpa, uint64_t bytes, void *hva, uint32_t *slot)
{
	uint32_t i = 0;
	int ret;

	while (i < MEMSLOTS_MAX && slots->slot[i].bytes)
		i++;
	if (i == MEMSLOTS_MAX)
		return -ENOSPC;
	ret = set(slots, i, gpa, bytes, hva);
	if (ret)
		return ret;
	slots->slot[i] = (struct memslot){gpa, bytes};
	*slot = i;
	return 0;
}

int memslot_add(struct memslots *slots, uint64_t gpa, uint64_t bytes, void *hva, uint32_t *slot,
		struct error *err)
{
	int ret;

	assert(bytes);
	pthread_mutex_lock(&slots->lock);
	ret = add(slots, gpa, bytes, hva, slot);
	pthread_mutex_unlock(&slots->lock);
	if (ret)
		error_set(err, ret, "memslot at GPA %#llx of %#llx bytes: %s",
			  (unsigned long long)gpa, (unsigned long long)bytes,
			  ret == -ENOSPC ? "all slots are in use" : strerror(-ret));
	return ret;
}

int memslot_del(struct memslots *slots, uint32_t slot)
{
	struct memslot *s = &slots->slot[slot];
	int ret;

	pthread_mutex_lock(&slots->lock);
	assert(s->bytes);
	ret = set(slots, slot, s->gpa, 0, NULL);
	if (ret)
		log_guest("memslot at GPA %#llx cannot be removed: %s", (unsigned long long)s->gpa,
			  strerror(-ret));
	else
		*s = (struct memslot){0};
	pthread_mutex_unlock(&slots->lock);
	return ret;
}
