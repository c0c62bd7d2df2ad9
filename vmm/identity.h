/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/identity.h - one running VM of an identity on a host: locks that end with their process.
 * Owns: descriptors, from identity_lock() to identity_unlock().
 * The lock is UUID.lock in /run/stasis for root, else in /dev/shm/stasis-UID, which is the same for all of a
 * user's processes, and in the folder stasis of $XDG_RUNTIME_DIR if that is this user's. Each user has
 * separate locks.
 * Threads: main.
 * Errors: 0 or -errno with one message that names the lock and the way out. */
#ifndef VMM_IDENTITY_H
#define VMM_IDENTITY_H
#include "vmm/base/error.h"
#include "vmm/base/uuid.h"

#define IDENTITY_PLACES 2
struct identity {
	int fd[IDENTITY_PLACES]; /* -1: none */
};
#define IDENTITY_NONE ((struct identity){{-1, -1}})

/* Waits up to 5 s for a holder that may be about to end. On failure nothing is held. */
int identity_lock(const uint8_t uuid[UUID_BYTES], struct identity *held,
		  struct error *err) must_check;
/* Would identity_lock() succeed at once? Makes no file and no folder. */
int identity_check(const uint8_t uuid[UUID_BYTES], struct error *err) must_check;
/* held: of identity_lock() for the same uuid, or IDENTITY_NONE. */
void identity_unlock(const uint8_t uuid[UUID_BYTES], struct identity *held);
#endif
