/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/checkpoint_fixture.h - the sections of a checkpoint with one vCPU and every device, no VM.
 * Owns: the state behind the sections, from sections_new() to snapshot_free().
 * Threads: one.
 * Units: bytes.
 * Errors: abort the test. */
#ifndef TESTS_RIG_CHECKPOINT_FIXTURE_H
#define TESTS_RIG_CHECKPOINT_FIXTURE_H
#include "cpr/checkpoint.h"

/* device_scratch is that of all devices in device_table[], named as one of each would be. */
struct snapshot *sections_new(void);
/* Those of a checkpoint, filled with what it says; devices that it does not have get none. */
struct snapshot *sections_load(const char *path);
/* As a valid head would be; the rest is what it is, and will be written without a check. */
void sections_fill_head(struct snapshot *snap);
/* As a save would write it, into memory and into a file. */
struct checkpoint sections_build(const struct snapshot *snap);
void sections_write(const struct snapshot *snap, const char *path);
void file_write(const char *path, const void *data, size_t bytes);
/* Makes the trailer right again after a change of the tree. */
void reseal(struct checkpoint *ckpt);
#endif
