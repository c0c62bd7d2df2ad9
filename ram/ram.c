/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Guest RAM: opened by the backend of its path, locked, mapped once with its label, reached through the gate. */
#define XXH_INLINE_ALL
#include "ram/backend.h"
#include "ram/turn.h"
#include "vmm/base/bytes.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/uuid.h"
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

/* --- open, map and close */

static uint64_t least(uint64_t a, uint64_t b)
{
	return a < b ? a : b;
}

/* Names the process that has the range, and its range. */
static int refuse_range(int fd, const char *path, uint64_t first, uint64_t end, struct error *err)
{
	struct flock other = file_range(F_WRLCK, first, end - first);
	char who[32] = "another process";

	if (fcntl(fd, F_OFD_GETLK, &other) || other.l_type == F_UNLCK)
		return error_set(err, -EAGAIN,
				 "%s: bytes %" PRIu64 " to %" PRIu64
				 " were in use by another process just now: try again",
				 path, first, end);
	/* An OFD lock has no pid, other locks have. */
	if (other.l_pid > 0)
		snprintf(who, sizeof(who), "process %d", (int)other.l_pid);
	return error_set(err, -EAGAIN,
			 "%s: bytes %" PRIu64 " to %" PRIu64 " are wanted, but %s uses %" PRIu64
			 " to %" PRIu64 ": stop that VM or choose another offset",
			 path, first, end, who, (uint64_t)other.l_start,
			 other.l_len ? (uint64_t)(other.l_start + other.l_len) : UINT64_MAX);
}

/* One user for each byte of RAM. A second device node made by mknod(1) has locks of its own. */
static int lock_range(const struct ram *ram, struct error *err)
{
	const char *path = ram->config.path;
	uint64_t first = ram->config.offset_bytes;
	uint64_t bytes = ram->config.size_bytes + ram->label_bytes;
	int ret = file_lock(ram->fd, F_WRLCK, first, bytes, ram->config.only_look);

	if (!ret)
		return 0;
	if (ret == -EAGAIN)
		return refuse_range(ram->fd, path, first, first + bytes, err);
	return error_set(err, ret,
			 "%s: its file system cannot lock (%s): two VMs might use the same RAM",
			 path, strerror(-ret));
}

/* No offset, size or sum of them comes near where off_t ends. */
#define LIMIT_BYTES (1ull << 60)

static int check_config(const struct ram_config *config, struct error *err)
{
	if (!config->size_bytes || config->size_bytes % RAM_GRAIN_BYTES ||
	    config->size_bytes > LIMIT_BYTES)
		return error_set(err, -EINVAL,
				 "--memory size=%" PRIu64 ": must be a multiple of 2M, at least 2M",
				 config->size_bytes);
	if (!config->path && (config->has_offset || config->offset_bytes))
		return error_set(err, -EINVAL, "--memory offset=: only with path=");
	if (config->offset_bytes > LIMIT_BYTES)
		return error_set(err, -EINVAL, "--memory offset=%" PRIu64 ": too large",
				 config->offset_bytes);
	if (config->offset_bytes % RAM_GRAIN_BYTES)
		return error_set(err, -EINVAL,
				 "--memory offset=%" PRIu64 ": must be a multiple of 2M",
				 config->offset_bytes);
	return 0;
}

/* The size is not the file's. If a saved guest is there, its size is what to give. */
static int refuse_size(const struct ram *ram, struct error *err)
{
	const struct ram_config any = {
		.path = ram->config.path,
		.offset_bytes = ram->config.offset_bytes,
		.has_offset = ram->config.has_offset,
	};
	struct label label;
	char uuid[UUID_TEXT];

	if (label_peek(&any, &label, NULL) || label.state != LABEL_SAVED)
		return -EINVAL; /* err has the message */
	return error_set(err, -EINVAL,
			 "%s holds a saved guest of %" PRIu64 " MiB (uuid %s): give size=%" PRIu64
			 "M",
			 ram->config.path, label.ram_size_bytes >> 20,
			 uuid_format(label.vm_id, uuid), label.ram_size_bytes >> 20);
}

static int open_backend(struct ram *ram, struct error *err)
{
	struct ram_place place = {.path = NULL};
	int ret;

	if (ram->config.path) {
		ram->fd = place_open(&place, &ram->config, &ram->created, err);
		if (ram->fd < 0)
			return ram->fd;
	}
	ram->backend = ram_backend_of(&place, err);
	if (!ram->backend)
		return -EINVAL;
	ret = ram->backend->open(ram, &place, err);
	if (ret == -ERANGE)
		return refuse_size(ram, err);
	if (ret)
		return ret;
	ram->label_bytes = label_unit_bytes(ram->align_bytes);
	return place_check_align(&ram->config, ram->align_bytes, err);
}

/* Reserves first, for only so can the alignment be chosen. What is left over stays as a guard. */
static int map(struct ram *ram, struct error *err)
{
	uint64_t align = ram->align_bytes > RAM_GRAIN_BYTES ? ram->align_bytes : RAM_GRAIN_BYTES;
	uint64_t bytes = ram->config.size_bytes + ram->label_bytes;
	uint8_t *hva;
	void *map_hva;

	map_hva = mmap(NULL, bytes + align, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
		       -1, 0);
	if (map_hva == MAP_FAILED)
		return error_set(err, -errno, "no address space for %" PRIu64 " bytes of RAM: %s",
				 bytes, strerror(errno));
	ram->map_hva = map_hva;
	ram->map_bytes = bytes + align;
	hva = (uint8_t *)map_hva + (-(uintptr_t)map_hva & (align - 1));
	if (mmap(hva, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, ram->fd,
		 (off_t)ram->config.offset_bytes) == MAP_FAILED)
		return error_set(err, -errno, "%s: cannot map %" PRIu64 " bytes: %s%s",
				 ram_where(ram), bytes, strerror(errno),
				 ram->backend == &ram_hugetlbfs
					 ? ": too few free huge pages (/proc/sys/vm/nr_hugepages)"
					 : "");
	ram->hva = hva;
	ram->label_hva = hva + ram->config.size_bytes;
	return 0;
}

/* Advice only, so a refusal is no error. RAM belongs to the guest, not into a core dump; the
 * label would cost a whole huge page, where small ones are to be had: DAX answers with SIGBUS. */
static void advise(const struct ram *ram)
{
	(void)madvise(ram->hva, ram->config.size_bytes, MADV_HUGEPAGE);
	if (ram->align_bytes < RAM_GRAIN_BYTES)
		(void)madvise(ram->label_hva, ram->label_bytes, MADV_NOHUGEPAGE);
	(void)madvise(ram->hva, ram->config.size_bytes, MADV_DONTDUMP);
}

int ram_open(struct ram *ram, const struct ram_config *config, struct error *err)
{
	int ret;

	*ram = (struct ram){.config = *config, .fd = -1};
	ram->config.has_offset |= config->offset_bytes != 0;
	ret = check_config(config, err);
	if (ret)
		return ret;
	ret = open_backend(ram, err);
	if (ret)
		goto close_ram;
	/* Nobody else can reach a memfd. */
	if (config->path) {
		ret = lock_range(ram, err);
		if (ret)
			goto close_ram;
	}
	ret = map(ram, err);
	if (ret)
		goto close_ram;
	advise(ram);
	return 0;

close_ram:
	ram_remove_new(ram);
	ram_close(ram);
	return ret;
}

void ram_remove_new(const struct ram *ram)
{
	struct stat st;

	/* Another file may have taken its name. */
	if (ram->created && ram->config.path && !fstat(ram->fd, &st))
		file_unlink_named(AT_FDCWD, ram->config.path, &st);
}

void ram_close(struct ram *ram)
{
	if (ram->map_hva)
		munmap(ram->map_hva, ram->map_bytes);
	if (ram->fd >= 0)
		close(ram->fd);
	*ram = (struct ram){.fd = -1};
}

int ram_add_region(struct ram *ram, uint64_t gpa, uint64_t size_bytes, struct error *err)
{
	uint64_t used_bytes = 0, end_gpa;

	for (uint32_t i = 0; i < ram->nregions; i++)
		used_bytes += ram->region[i].size_bytes;
	if (ram->nregions == RAM_MAX_REGIONS || !size_bytes ||
	    size_bytes > ram->config.size_bytes - used_bytes ||
	    __builtin_add_overflow(gpa, size_bytes, &end_gpa))
		goto refuse;
	for (uint32_t i = 0; i < ram->nregions; i++) {
		const struct ram_region *r = &ram->region[i];

		if (gpa < r->gpa + r->size_bytes && r->gpa < end_gpa)
			goto refuse;
	}
	ram->region[ram->nregions++] = (struct ram_region){
		.gpa = gpa, .size_bytes = size_bytes, .hva = ram->hva + used_bytes};
	return 0;
refuse:
	return error_set(err, -EINVAL,
			 "RAM layout: %" PRIu64 " bytes at GPA 0x%" PRIx64
			 " overlap, wrap around or exceed the RAM there is",
			 size_bytes, gpa);
}

void *ram_at(const struct ram *ram, uint64_t gpa, uint64_t *left_bytes)
{
	for (uint32_t i = 0; i < ram->nregions; i++) {
		const struct ram_region *r = &ram->region[i];

		if (gpa - r->gpa >= r->size_bytes)
			continue;
		*left_bytes = r->size_bytes - (gpa - r->gpa);
		return r->hva + (gpa - r->gpa);
	}
	return NULL;
}

void *ram_ptr(const struct ram *ram, uint64_t gpa, uint64_t size_bytes)
{
	uint64_t left_bytes;
	uint8_t *hva = ram_at(ram, gpa, &left_bytes);

	return hva && size_bytes <= left_bytes ? hva : NULL;
}

/* Copies in the direction in which there is a buffer, once all of the range is known to be RAM. The sum may wrap
 * around, but never within RAM: no region ends there. */
static int copy(const struct ram *ram, uint64_t gpa, uint64_t size_bytes, uint8_t *to,
		const uint8_t *from)
{
	uint64_t at = 0, bytes = 0;

	for (; at < size_bytes; at += bytes)
		if (!ram_at(ram, gpa + at, &bytes))
			return -EFAULT;
	for (at = 0; at < size_bytes; at += bytes) {
		uint8_t *hva = ram_at(ram, gpa + at, &bytes);

		bytes = least(bytes, size_bytes - at);
		memcpy(to ? to + at : hva, to ? hva : from + at, bytes);
	}
	return 0;
}

int ram_read(const struct ram *ram, uint64_t gpa, void *to, uint64_t size_bytes)
{
	return copy(ram, gpa, size_bytes, to, NULL);
}

int ram_write(const struct ram *ram, uint64_t gpa, const void *from, uint64_t size_bytes)
{
	return copy(ram, gpa, size_bytes, NULL, from);
}

bool ram_gpa_of(const struct ram *ram, const void *hva, uint64_t *gpa)
{
	for (uint32_t i = 0; i < ram->nregions; i++) {
		const struct ram_region *r = &ram->region[i];

		if ((uintptr_t)hva - (uintptr_t)r->hva >= r->size_bytes)
			continue;
		*gpa = r->gpa + ((uintptr_t)hva - (uintptr_t)r->hva);
		return true;
	}
	return false;
}

bool ram_fault_reason(const struct ram *ram, struct error *reason)
{
	struct statfs fs;
	struct stat st;
	uint64_t have_bytes, gpa;

	if (!ram->config.path || fstat(ram->fd, &st) || !S_ISREG(st.st_mode) ||
	    fstatfs(ram->fd, &fs))
		return false;
	have_bytes = (uint64_t)st.st_size;
	have_bytes -= have_bytes < ram->config.offset_bytes ? have_bytes : ram->config.offset_bytes;
	if (have_bytes < ram->config.size_bytes && ram_gpa_of(ram, ram->hva + have_bytes, &gpa)) {
		error_set(reason, -EFAULT,
			  "guest RAM from GPA %#" PRIx64 " on is gone: %s was truncated", gpa,
			  ram->config.path);
		return true;
	}
	/* Other writers there may have freed some since. */
	if (place_free_bytes(&fs) >= RAM_GRAIN_BYTES)
		return false;
	error_set(reason, -ENOSPC,
		  "guest RAM cannot grow: the file system of %s is full: free some or enlarge it "
		  "(tmpfs: mount -o remount,size=) before this VM boots again",
		  ram->config.path);
	return true;
}

/* -EIO if ram_patch_hole() was needed. */
static int check_whole(const struct ram *ram, struct error *err)
{
	if (!atomic_load(&ram->pages_replaced))
		return 0;
	return error_set(err, -EIO,
			 "%s: a page of RAM was lost (see the log): this guest cannot be saved",
			 ram_where(ram));
}

int ram_sync(struct ram *ram, const struct ram_watch *watch, struct error *err)
{
	int ret = ram->backend->sync ? ram->backend->sync(ram, watch, err) : 0;

	return ret ? ret : check_whole(ram, err);
}

int ram_check_survives(const struct ram *ram, enum ram_survives want, struct error *err)
{
	if (ram->backend->survives < want)
		return error_set(err, -EOPNOTSUPP, "RAM in %s%s%s does not survive %s: %s",
				 ram->backend->name, ram->config.path ? " " : "",
				 ram->config.path ? ram->config.path : "",
				 want == RAM_SURVIVES_KEXEC ? "a kexec" : "the end of the process",
				 ram->backend->instead);
	return check_whole(ram, err);
}

bool ram_patch_hole(struct ram *ram, const void *hva, uint64_t *gpa)
{
	uint64_t at = (uintptr_t)hva - (uintptr_t)ram->hva;
	int saved_errno = errno;
	bool patched;
	void *patch;

	if (!ram->hva || at >= ram->config.size_bytes + ram->label_bytes) {
		*gpa = RAM_NO_GPA;
		patched = label_patch_hole(hva);
		errno = saved_errno;
		return patched;
	}
	patch = mmap(ram->hva + (at & ~(ram->align_bytes - 1)), ram->align_bytes,
		     PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0);
	errno = saved_errno;
	if (patch == MAP_FAILED)
		return false;
	if (!ram_gpa_of(ram, hva, gpa))
		*gpa = RAM_NO_GPA;
	atomic_store(at < ram->config.size_bytes ? &ram->pages_replaced : &ram->label_replaced,
		     true);
	return true;
}

/* True, once: an access to the label met SIGBUS; the label is mapped again. */
static bool label_hole(struct ram *ram)
{
	off_t offset = (off_t)(ram->config.offset_bytes + ram->config.size_bytes);

	if (!atomic_exchange(&ram->label_replaced, false))
		return false;
	/* Where pages are large, the patch has taken what lay beside the bad one, too. If this fails
	 * the patch stays, and its zeroes are no label. */
	(void)mmap(ram->label_hva, ram->label_bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED,
		   ram->fd, offset);
	return true;
}

/* --- walks over all of RAM: hash and zero */

#define ZERO_BYTES (64u << 20)

static const uint8_t zeroes[4096];

/* Where data (SEEK_DATA) or a hole (SEEK_HOLE) next begins, as offset in RAM. Whatever cannot tell
 * is data to its end; devices answer with an offset that makes no sense. */
static uint64_t seek(const struct ram *ram, uint64_t at, int whence)
{
	const struct ram_config *config = &ram->config;
	off_t found = lseek(ram->fd, (off_t)(config->offset_bytes + at), whence);
	uint64_t found_at = (uint64_t)found - config->offset_bytes;

	if (found < 0 && whence == SEEK_DATA && errno == ENXIO)
		return config->size_bytes;
	if (found < 0 || (uint64_t)found < config->offset_bytes + at)
		return whence == SEEK_DATA ? at : config->size_bytes;
	return found_at < config->size_bytes ? found_at : config->size_bytes;
}

/* [data, hole): the next part of RAM that has content. */
struct extent {
	uint64_t data, hole;
};

static void next_extent(const struct ram *ram, uint64_t at, struct extent *extent)
{
	const bool replaced = atomic_load(&ram->pages_replaced);

	extent->data = replaced ? at : seek(ram, at, SEEK_DATA);
	extent->hole = replaced ? ram->config.size_bytes : seek(ram, extent->data, SEEK_HOLE);
	if (extent->hole == extent->data)
		extent->hole = ram->config.size_bytes;
}

/* Reading a hole through the mapping would fill a tmpfs with pages of zeroes. */
static void hash_piece(const struct ram *ram, uint64_t at, struct extent *extent,
		       XXH128_canonical_t *hash)
{
	const uint64_t end = at + RAM_GRAIN_BYTES;
	XXH3_state_t state;
	uint64_t bytes;

	XXH3_128bits_reset(&state);
	for (; at < end; at += bytes) {
		if (at >= extent->hole)
			next_extent(ram, at, extent);
		if (at < extent->data) {
			bytes = least(least(extent->data, end) - at, sizeof(zeroes));
			XXH3_128bits_update(&state, zeroes, bytes);
		} else {
			bytes = least(extent->hole, end) - at;
			XXH3_128bits_update(&state, ram->hva + at, bytes);
		}
	}
	XXH128_canonicalFromHash(hash, XXH3_128bits_digest(&state));
}

int ram_hash(const struct ram *ram, const struct ram_watch *watch, uint8_t hash[16],
	     struct error *err)
{
	struct ram_progress progress = progress_start("hashed", ram, watch);
	struct extent extent = {0, 0};
	XXH128_canonical_t piece, root;
	XXH3_state_t state;
	int ret = 0;

	XXH3_128bits_reset(&state);
	for (uint64_t at = 0; !ret && at < ram->config.size_bytes; at += RAM_GRAIN_BYTES) {
		hash_piece(ram, at, &extent, &piece);
		XXH3_128bits_update(&state, &piece, sizeof(piece));
		ret = progress_report(&progress, at + RAM_GRAIN_BYTES, err);
	}
	XXH128_canonicalFromHash(&root, XXH3_128bits_digest(&state));
	memcpy(hash, root.digest, sizeof(root.digest));
	return ret;
}

/* Without a write, where the file system can and nobody needs these very pages; an allocated file stays
 * allocated if it may. */
static bool zero_in_file(const struct ram *ram, uint64_t at, uint64_t bytes)
{
	off_t offset = (off_t)(ram->config.offset_bytes + at);

	if (atomic_load(&ram->pages_replaced) || ram->pinned)
		return false;
	return !fallocate(ram->fd, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE, offset,
			  (off_t)bytes) ||
	       !fallocate(ram->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
			  (off_t)bytes);
}

void ram_zero(struct ram *ram)
{
	struct ram_progress progress = progress_start("zeroed", ram, NULL);
	uint64_t size_bytes = ram->config.size_bytes, at, bytes;

	for (at = 0; at < size_bytes; at += bytes) {
		bytes = least(size_bytes - at, ZERO_BYTES);
		if (!zero_in_file(ram, at, bytes))
			memset(ram->hva + at, 0, bytes);
		(void)progress_report(&progress, at + bytes, NULL);
	}
}

/* --- its label */

/* Both pages as they are; what cannot be read is zero, and counted. */
static uint32_t fetch(struct ram *ram, uint8_t media[LABEL_MEDIA_BYTES])
{
	uint32_t lost = 0;

	for (uint32_t at = 0; at < LABEL_MEDIA_BYTES; at += LABEL_PAGE_BYTES) {
		memcpy(media + at, (const uint8_t *)ram->label_hva + at, LABEL_PAGE_BYTES);
		if (!label_hole(ram))
			continue;
		memset(media + at, 0, LABEL_PAGE_BYTES);
		lost++;
	}
	return lost;
}

/* One bad page costs nothing but a line in the log. */
static int judge_lost(const struct ram *ram, uint32_t lost, const char *what, struct error *err)
{
	struct error why = {"SIGBUS"};

	if (lost == LABEL_COPIES) {
		(void)ram_fault_reason(ram, &why);
		return error_set(err, -EIO, "%s: the label after guest RAM cannot be %s: %s",
				 ram_where(ram), what, why.msg);
	}
	if (lost)
		log_warn("%s: one copy of the label after guest RAM cannot be %s (SIGBUS); the "
			 "other one is good",
			 ram_where(ram), what);
	return 0;
}

int label_read(struct ram *ram, struct label *label, struct error *err)
{
	uint8_t media[LABEL_MEDIA_BYTES];
	uint32_t lost = fetch(ram, media);

	label_decode(media, label);
	return judge_lost(ram, lost, "read", err);
}

/* The copies that could not be stored. One that was stored but not synced is an error: the reason may
 * be a page of guest RAM. */
static int put_copies(struct ram *ram, const uint8_t *media, uint32_t first, uint32_t *lost,
		      struct error *err)
{
	for (uint32_t i = 0; i < LABEL_COPIES; i++) {
		uint8_t *hva =
			(uint8_t *)ram->label_hva + (first + i) % LABEL_COPIES * LABEL_PAGE_BYTES;
		int ret = 0;

		memcpy(hva, media + first * LABEL_PAGE_BYTES, LABEL_RECORD_BYTES);
		if (label_hole(ram))
			++*lost;
		else if (ram->backend->sync_label)
			ret = ram->backend->sync_label(ram, hva, LABEL_PAGE_BYTES, err);
		if (ret)
			return ret;
	}
	return 0;
}

int label_write(struct ram *ram, const struct label *label, struct error *err)
{
	struct label sized = *label;
	uint8_t media[LABEL_MEDIA_BYTES];
	uint32_t lost = 0;
	int ret;

	if (label->state != LABEL_RUNNING && label->state != LABEL_SAVED)
		return error_set(err, -EINVAL, "label: no such state: %d", (int)label->state);
	sized.ram_size_bytes = ram->config.size_bytes;
	(void)fetch(ram, media);
	ret = put_copies(ram, media, label_encode(media, &sized), &lost, err);
	ret = ret ? ret : judge_lost(ram, lost, "written", err);
	return ret ? ret : check_whole(ram, err);
}

bool label_is_of(const struct label *label, const uint8_t vm_id[16])
{
	return label->state != LABEL_NONE && !memcmp(label->vm_id, vm_id, sizeof(label->vm_id));
}

bool label_fits(const struct label *label, const struct ram *ram, const uint8_t vm_id[16])
{
	return label_is_of(label, vm_id) && label->ram_size_bytes == ram->config.size_bytes;
}

int label_set(struct ram *ram, struct label *label, const uint8_t *checkpoint_id, struct error *err)
{
	struct label next = *label;
	int ret;

	next.state = checkpoint_id ? LABEL_SAVED : LABEL_RUNNING;
	memset(next.checkpoint_id, 0, sizeof(next.checkpoint_id));
	if (checkpoint_id)
		memcpy(next.checkpoint_id, checkpoint_id, sizeof(next.checkpoint_id));
	next.ram_size_bytes = ram->config.size_bytes;
	ret = label_write(ram, &next, err);
	if (!ret)
		*label = next;
	return ret;
}

/* No guest reads what another one, or this host, left in memory. */
static int clear(struct ram *ram, const uint8_t vm_id[16], bool discard,
		 const struct ram_watch *watch, struct error *err)
{
	int turn, ret = label_check_overlap(ram, vm_id, discard, err);

	ret = ret ? ret : turn_take(&turn, watch, err);
	if (ret)
		return ret;
	ret = label_spend_overlap(ram, vm_id, err);
	if (!ret) {
		log_info("RAM %s: clearing what was in it", ram_where(ram));
		ram_zero(ram);
	}
	turn_give_back(&turn);
	return ret;
}

int label_claim(struct ram *ram, struct label *label, const uint8_t vm_id[16], bool discard,
		const struct ram_watch *watch, struct error *err)
{
	struct label own = {.state = LABEL_RUNNING};
	int ret = 0;

	if (!label_fits(label, ram, vm_id) && !ram->created)
		ret = clear(ram, vm_id, discard, watch, err);
	if (ret)
		return ret;
	memcpy(own.vm_id, vm_id, sizeof(own.vm_id));
	ret = label_set(ram, &own, NULL, err);
	if (!ret)
		*label = own;
	return ret;
}
