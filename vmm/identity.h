/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/identity.h - one running VM of an identity on a host: a lock that ends with its process.
 * Owns: a descriptor, from identity_lock() to identity_unlock(). The lock is UUID.lock in /run/stasis
 *	for root, else in the folder stasis of $XDG_RUNTIME_DIR or of /run/user/UID, else in
 *	/dev/shm/stasis-UID: each user has locks of its own.
 * Threads: main.
 * Units: none.
 * Errors: 0 or -errno with one message that names the lock and the way out. */
#ifndef VMM_IDENTITY_H
#define VMM_IDENTITY_H
#include "vmm/error.h"
#include "vmm/uuid.h"

int identity_lock(const uint8_t uuid[UUID_BYTES], int *fd, struct error *err) must_check;
/* Would identity_lock() succeed? Makes no file and no folder. */
int identity_check(const uint8_t uuid[UUID_BYTES], struct error *err) must_check;
/* fd: of identity_lock(), for the same uuid. */
void identity_unlock(const uint8_t uuid[UUID_BYTES], int fd);
#endif
