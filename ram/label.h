/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/label.h - who this RAM belongs to and whether it is saved: the one truth about it.
 * Owns: one alignment unit after guest RAM, which no memslot maps.
 * Threads: main only.
 * Units: bytes; ids are 128 bits.
 * Errors: 0 or -errno. Two copies with sequence number and XXH3-128, written one after the other;
 *	the newer valid one counts, so a torn write leaves the older one. Both say the same when
 *	label_write() returns, each in a page of its own: one bad page takes neither the label
 *	nor, for it stays writable, the guest.
 *
 * On media: copies at 0 and 4096 of the unit, little-endian, 128 bytes each; what is "zero" is
 * hashed but not looked at, so that later versions may use it.
 *	0	8	"STASISLB"
 *	8	8	sequence; the newer of two valid copies is the one ahead, modulo 2^64
 *	16	8	size of RAM: RAM lies this far before the unit
 *	24	4	state: 1 running, 2 saved
 *	28	4	zero
 *	32	16	VM id
 *	48	16	checkpoint id, zero while running
 *	64	48	zero
 *	112	16	XXH3-128 of bytes 0 to 111, in xxHash's canonical byte order */
#ifndef RAM_LABEL_H
#define RAM_LABEL_H
#include "ram/ram.h"

enum label_state { LABEL_NONE, LABEL_RUNNING, LABEL_SAVED };

struct label {
	enum label_state state;
	uint8_t vm_id[16];
	uint8_t checkpoint_id[16]; /* LABEL_SAVED only */
	/* As it was when written: another one than ram->config's is that of RAM which began
	 * elsewhere and ends here. label_write() takes ram->config's. */
	uint64_t ram_size_bytes;
};

/* LABEL_NONE if neither copy is valid: RAM that never had a VM. -EIO if neither can be read. */
int label_read(struct ram *ram, struct label *label, struct error *err) must_check;
/* On return the label is as durable as the backend's sync makes it. */
int label_write(struct ram *ram, const struct label *label, struct error *err) must_check;
/* Is it a label of this VM, saved or running? */
bool label_is_of(const struct label *label, const uint8_t vm_id[16]);
/* And of RAM that begins and ends where this does, so that all in it is this VM's own? */
bool label_fits(const struct label *label, const struct ram *ram, const uint8_t vm_id[16]);
/* Writes the label of the VM that has this RAM, and *label becomes that. checkpoint_id NULL: running, else
 * saved. If it fails the label may be half written: set it to what it was. */
int label_set(struct ram *ram, struct label *label, const uint8_t *checkpoint_id,
	      struct error *err) must_check;
/* For a boot, before guest RAM is first written: RAM that had another owner, or an unknown one, is
 * cleared; the label is this VM's and says running. discard: a saved guest of this VM may be lost. */
int label_claim(struct ram *ram, struct label *label, const uint8_t vm_id[16], bool discard,
		struct error *err) must_check;
/* For the first boot in RAM that has no label of this VM: another size= or offset= may have left a
 * saved guest in the same bytes, whose label lies elsewhere: all of a shared path after offset= is
 * searched. Refuses another VM's with -EPERM, and this VM's with -EBUSY unless discard. A
 * guest can forge a label, so what runs in another process now does not count. */
int label_check_overlap(struct ram *ram, const uint8_t vm_id[16], bool discard,
			struct error *err) must_check;
/* Spends those of this VM, with a line in the log each. */
int label_spend_overlap(struct ram *ram, const uint8_t vm_id[16], struct error *err) must_check;
/* For --inspect-memory and for the check whether an old checkpoint is spent: finds a label without
 * mapping RAM or taking its lock. size_bytes 0: the path's last unit if its label fits offset,
 * else the only one that does. A guest can write what looks like a label into its RAM, but neither
 * after it nor into the last unit: where only the scan finds more than one, it refuses to choose
 * (-ENOTUNIQ) and size= decides. */
int label_peek(const struct ram_config *config, struct label *label, struct error *err) must_check;
#endif
