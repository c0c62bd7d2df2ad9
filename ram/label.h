/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/label.h - who this RAM belongs to and whether it is saved: the one truth about it.
 * Owns: one alignment unit behind guest RAM, which no memslot maps.
 * Threads: main only.
 * Units: bytes; ids are 128 bits.
 * Errors: 0 or -errno. Two copies with sequence number and XXH3-128; the newer valid one counts,
 *	so a torn write leaves the older one. */
#ifndef RAM_LABEL_H
#define RAM_LABEL_H
#include "ram/ram.h"

enum label_state { LABEL_NONE, LABEL_RUNNING, LABEL_SAVED };

struct label {
	enum label_state state;
	uint8_t vm_id[16];
	uint8_t checkpoint_id[16]; /* LABEL_SAVED only */
	uint64_t ram_size_bytes;
};

/* LABEL_NONE if neither copy is valid: RAM that never had a VM. */
void label_read(const struct ram *ram, struct label *label);
/* On return the label is as durable as the backend's sync makes it. */
int label_write(struct ram *ram, const struct label *label, struct error *err) must_check;
/* For --inspect-memory and for the check whether an old checkpoint is spent: finds a label without
 * mapping RAM or taking its lock. size_bytes 0: from the path's end. */
int label_peek(const struct ram_config *config, struct label *label, struct error *err) must_check;
#endif
