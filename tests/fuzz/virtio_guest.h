/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/fuzz/virtio_guest.h - a hostile driver: what its input says, it writes into rings, buffers and
 * registers of one virtio device.
 * Owns: machine and guest RAM, within the call.
 * Threads: one; the device may have its own.
 * Units: bytes.
 * Errors: a failed check aborts. */
#ifndef TESTS_FUZZ_VIRTIO_GUEST_H
#define TESTS_FUZZ_VIRTIO_GUEST_H
#include "tests/fuzz/fuzz.h"
#include "tests/rig/device_rig.h"

/* Between rig_open(), after which the caller asks for its device in rig.opt, and rig_close(). */
void fuzz_virtio(struct fuzz *in, const char *device);
#endif
