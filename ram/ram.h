/* SPDX-License-Identifier: GPL-2.0-or-later */
/* ram/ram.h - guest RAM: its backend, what it survives, its label, and the one gate to guest memory.
 *
 * ram_open() takes the backend of the path, locks the range, and maps RAM with its label after
 * it; it writes nothing. The arch adds regions. A boot claims the label before it writes to
 * RAM; a load needs the label of its checkpoint. ram_close() unmaps, and the lock ends with the file.
 * Failure: ram_open() leaves nothing behind, not even a file that it made. A page that is lost later
 * (SIGBUS) is replaced by zeroes, and from then on RAM cannot be saved.
 * Locks: a range lock on the file (OFD) for as long as RAM is open: a second VM on the range is refused.
 *
 * Threads: open, close, sync, hash, zero and label: main only. ram_at(), ram_ptr(), ram_read(),
 *	ram_write(), ram_gpa_of(): any. ram_patch_hole(): signal handlers of any thread.
 * Units: bytes; _gpa guest physical, _hva host virtual; offsets are file offsets.
 * Errors: 0 or -errno with one message that names the path and the way out. */
#ifndef RAM_RAM_H
#define RAM_RAM_H
#include "vmm/base/error.h"
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define RAM_MAX_REGIONS 4
#define RAM_GRAIN_BYTES \
	(2u << 20) /* sizes and offsets are multiples, the mapping is aligned to it */
#define RAM_NO_GPA UINT64_MAX

/* What the content of RAM outlives; ordered: each includes the one before it. */
enum ram_survives { RAM_SURVIVES_NOTHING, RAM_SURVIVES_PROCESS, RAM_SURVIVES_KEXEC };

struct ram_config {
	uint64_t size_bytes;   /* a multiple of 2 MiB */
	const char *path;      /* NULL: memfd */
	uint64_t offset_bytes; /* a multiple of 2 MiB */
	bool has_offset; /* offset= was given, 0 too: the file exists, may be larger and hold other
			    VMs. Without it the file is this VM's alone and of exactly its size */
	bool only_look;	 /* others may have it meanwhile: no lock is taken, only looked for */
	bool must_exist; /* it holds a saved guest, so a file that is not there is not made */
	bool make_nothing; /* a memfd takes the place of a file that is not there */
};

/* One piece of guest physical address space; the pieces follow each other in the file. */
struct ram_region {
	uint64_t gpa, size_bytes;
	uint8_t *hva;
};

struct ram;
struct ram_place;
struct ram_watch;

/* One row per backend. */
struct ram_backend {
	const char *name; /* "devdax", "file", "tmpfs", "hugetlbfs", "memfd": in checkpoint and
			     messages */
	enum ram_survives survives;
	/* Way out for the refusal of a save that this backend does not survive. */
	const char *instead;
	bool allocates; /* all of a new file at once */
	/* Sets align_bytes (and fd, if the place has none) and sees to the size. */
	int (*open)(struct ram *ram, const struct ram_place *place, struct error *err);
	/* NULL: nothing to do. watch may be NULL, too */
	int (*sync)(struct ram *ram, const struct ram_watch *watch, struct error *err);
	/* Of pages of a label, not always this VM's own. NULL: nothing to do */
	int (*sync_label)(const struct ram *ram, void *hva, uint64_t bytes, struct error *err);
};

struct ram {
	struct ram_config config;
	const struct ram_backend *backend;
	int fd;
	bool created;	      /* the file is new: there is no label and no former content */
	uint64_t align_bytes; /* page size of the backend: alignment of mapping, offset and label */
	uint64_t label_bytes; /* label_unit_bytes() of it */
	uint8_t *hva;	      /* size_bytes of guest RAM, one mapping */
	void *label_hva;      /* one unit after it: no memslot maps it */
	void *map_hva;	      /* what is reserved around both, for ram_close() */
	uint64_t map_bytes;
	atomic_bool pages_replaced; /* a page was lost: what is here is not what is on media */
	atomic_bool
		label_replaced; /* the same of the label, until its reader or writer takes note */
	bool pinned;	 /* functions of the host have these very pages by DMA: none may be swapped
			      for another */
	bool no_overlap; /* no label of other RAM in the same bytes: label.c has looked */
	struct ram_region region[RAM_MAX_REGIONS];
	uint32_t nregions;
};

/* For messages. */
static inline const char *ram_where(const struct ram *ram)
{
	return ram->config.path ? ram->config.path : "memfd";
}

/* Opens, checks, locks and maps; writes nothing to the RAM and leaves the label alone. */
int ram_open(struct ram *ram, const struct ram_config *config, struct error *err) must_check;
/* The file that ram_open() made, if it made one, is gone. */
void ram_remove_new(const struct ram *ram);
void ram_close(struct ram *ram);
/* The arch lays RAM out: regions take the file's bytes in the order of the calls. */
int ram_add_region(struct ram *ram, uint64_t gpa, uint64_t size_bytes,
		   struct error *err) must_check;

/* The gate. HVA of gpa and how many bytes follow in its region; NULL outside RAM. */
void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t *left_bytes);
/* NULL unless [gpa, gpa + size) lies in one region. The bytes may change at any time
 * while vCPUs run: copy once, then validate. */
void *ram_ptr(const struct ram *ram, uint64_t gpa, uint64_t size_bytes);
/* -EFAULT if any byte is outside RAM; then nothing was copied. */
int ram_read(const struct ram *ram, uint64_t gpa, void *to, uint64_t size_bytes) must_check;
int ram_write(const struct ram *ram, uint64_t gpa, const void *from,
	      uint64_t size_bytes) must_check;
/* GPA of an address inside the mapping, for reports; false if it is not guest RAM. */
bool ram_gpa_of(const struct ram *ram, const void *hva, uint64_t *gpa);

/* Why guest RAM cannot be reached, if its file shows it: it was truncated, or its file system is full.
 * Otherwise returns false and leaves reason alone. */
bool ram_fault_reason(const struct ram *ram, struct error *reason);

/* Is called after every few MiB of a long walk through RAM. Not 0: the walk ends there and returns that. */
struct ram_watch {
	int (*fn)(void *opaque, uint64_t done_bytes, struct error *err);
	void *opaque;
};
/* Makes RAM's content durable as far as the backend promises; logs progress of long runs. watch may be
 * NULL. */
int ram_sync(struct ram *ram, const struct ram_watch *watch, struct error *err) must_check;
/* 0, or -EOPNOTSUPP with the backend, the path and what to use instead; -EIO if RAM has lost a
 * page, for then nothing of it is worth saving. */
int ram_check_survives(const struct ram *ram, enum ram_survives want, struct error *err) must_check;
/* What an open file, folder or block device outlives by what its bytes lie in; for checkpoints and
 * disks too. */
enum ram_survives ram_fd_survives(int fd);
/* XXH3-128 of the XXH3-128 of each 2 MiB of RAM, all in xxHash's canonical byte order. Holes of sparse files
 * stay holes. Fails only if the watch, which may be NULL, wants it to. */
int ram_hash(const struct ram *ram, const struct ram_watch *watch, uint8_t hash[16],
	     struct error *err) must_check;
/* Makes all of RAM read as zeroes, with progress in the log. */
void ram_zero(struct ram *ram);

/* SIGBUS on RAM, its label or a label that is being searched for: maps private zero pages over the broken
 * unit, so that the access goes on, and sets *gpa. From then on this RAM cannot be synced or saved.
 * RAM_NO_GPA: it was a label, whose reader or writer handles it. False: hva is none of these.
 * Async-signal-safe. */
bool ram_patch_hole(struct ram *ram, const void *hva, uint64_t *gpa);

/* The label: who this RAM belongs to and whether it is saved: the one truth about it. It takes an alignment unit after
 * guest RAM, which no memslot maps: two copies with sequence number and XXH3-128, written one after the other; the
 * newer valid one counts, so a torn write leaves the older one. Both say the same when label_write() returns, each in
 * a page of its own: one bad page takes neither the label nor, for it stays writable, the guest. label.c has the
 * format. Main thread only; ids are 128 bits. */
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
 * cleared; the label is this VM's and says running. discard: a saved guest of this VM may be lost. watch: may be NULL;
 * it can end the wait before RAM is cleared (turn.h). */
int label_claim(struct ram *ram, struct label *label, const uint8_t vm_id[16], bool discard,
		const struct ram_watch *watch, struct error *err) must_check;
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

/* Block devices: what sysfs says of one and of those that it stands on; what it does not say is not there. Linux
 * Documentation/ABI/stable/sysfs-block. */
extern const char *blockdev_sysfs; /* "/sys" */

/* The content of a file in the device's folder ("size", "dm/uuid"), without white space around it;
 * false if there is none or nothing in it. */
bool blockdev_read(dev_t dev, const char *name, char *text, size_t size);
/* A partition's disk; any other device is its own. */
dev_t blockdev_disk(dev_t dev);
#endif
