/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The label's format, and labels that are not in their VM's own mapping: those of other VMs, and of RAM that
 * nobody has open. */
#define XXH_INLINE_ALL
#include "ram/backend.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xxhash.h>

/* --- the format */

static const char magic[8] = {'S', 'T', 'A', 'S', 'I', 'S', 'L', 'B'};

/* On media: copies at 0 and 4096 of the unit, little-endian, 128 bytes each; what is "zero" is
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
struct record {
	char magic[8];
	uint64_t sequence;
	uint64_t ram_size_bytes;
	uint32_t state;
	uint32_t zero;
	uint8_t vm_id[16];
	uint8_t checkpoint_id[16];
	uint8_t zeroes[48];
	uint8_t hash[16];
};
_Static_assert(sizeof(struct record) == LABEL_RECORD_BYTES, "the label's layout on media");

static void hash_record(const struct record *record, uint8_t hash[16])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(record, offsetof(struct record, hash)));
	memcpy(hash, canonical.digest, sizeof(canonical.digest));
}

static bool is_valid(const struct record *record)
{
	uint64_t size_bytes = le64toh(record->ram_size_bytes);
	uint32_t state = le32toh(record->state);
	uint8_t hash[16];

	if (memcmp(record->magic, magic, sizeof(magic)))
		return false;
	hash_record(record, hash);
	return !memcmp(record->hash, hash, sizeof(hash)) &&
	       (state == LABEL_RUNNING || state == LABEL_SAVED) && size_bytes &&
	       size_bytes % RAM_GRAIN_BYTES == 0;
}

/* The place that counts, or -1. */
static int find_newest(const void *media, struct record *newest)
{
	struct record record;
	int found = -1;

	for (uint32_t i = 0; i < LABEL_COPIES; i++) {
		memcpy(&record, (const uint8_t *)media + i * LABEL_PAGE_BYTES, sizeof(record));
		if (!is_valid(&record))
			continue;
		if (found >= 0 &&
		    (int64_t)(le64toh(record.sequence) - le64toh(newest->sequence)) <= 0)
			continue;
		*newest = record;
		found = (int)i;
	}
	return found;
}

void label_decode(const void *media, struct label *label)
{
	struct record record;

	*label = (struct label){.state = LABEL_NONE};
	if (find_newest(media, &record) < 0)
		return;
	label->state = (enum label_state)le32toh(record.state);
	label->ram_size_bytes = le64toh(record.ram_size_bytes);
	memcpy(label->vm_id, record.vm_id, sizeof(label->vm_id));
	memcpy(label->checkpoint_id, record.checkpoint_id, sizeof(label->checkpoint_id));
}

uint32_t label_encode(void *media, const struct label *label)
{
	struct record newest, record = {.state = htole32((uint32_t)label->state)};
	int found = find_newest(media, &newest);
	uint32_t copy = found == 0;
	uint64_t sequence = found < 0 ? 1 : le64toh(newest.sequence) + 1;

	memcpy(record.magic, magic, sizeof(magic));
	record.sequence = htole64(sequence);
	record.ram_size_bytes = htole64(label->ram_size_bytes);
	memcpy(record.vm_id, label->vm_id, sizeof(record.vm_id));
	if (label->state == LABEL_SAVED)
		memcpy(record.checkpoint_id, label->checkpoint_id, sizeof(record.checkpoint_id));
	hash_record(&record, record.hash);
	memcpy((uint8_t *)media + copy * LABEL_PAGE_BYTES, &record, sizeof(record));
	return copy;
}

/* --- the search */

/* A path as a row of units, some of which may be labels. */
struct media {
	const char *path;
	int fd;
	bool can_read; /* else it can only be mapped */
	uint64_t size_bytes, align_bytes, unit_bytes;
	/* Offsets and sizes are multiples of RAM_GRAIN_BYTES, so labels are this far apart. */
	uint64_t step_bytes;
	/* A DAX device has no read(2), and a label can be in any unit of it, since RAM has any size. So the
	 * range to search is one mapping, in which a unit costs a page fault and no system call. A list of
	 * labels on the device would be cheaper, but a second record of who owns RAM can be wrong. */
	uint8_t *hva;
	uint64_t map_at, map_bytes;
};

/* What is mapped now, for label_patch_hole(), which knows no media. Only the main thread maps labels. */
static struct {
	uint8_t *hva;
	uint64_t bytes, align_bytes;
	atomic_bool replaced;
} window;

bool label_patch_hole(const void *hva)
{
	uint64_t at = (uintptr_t)hva - (uintptr_t)window.hva;

	if (!window.hva || at >= window.bytes)
		return false;
	at -= at % window.align_bytes;
	if (mmap(window.hva + at, window.align_bytes, PROT_READ,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED | MAP_NORESERVE, -1, 0) == MAP_FAILED)
		return false;
	atomic_store(&window.replaced, true);
	return true;
}

static int map_media(const struct media *media, uint64_t at, uint64_t bytes, int protection,
		     uint8_t **hva, struct error *err)
{
	void *mapped =
		mmap(NULL, bytes, protection, MAP_SHARED | MAP_NORESERVE, media->fd, (off_t)at);

	if (mapped == MAP_FAILED)
		return error_set(err, -errno, "%s: cannot map at %" PRIu64 ": %s", media->path, at,
				 strerror(errno));
	*hva = mapped;
	return 0;
}

/* Maps the range to be searched, unless it can be read. */
static int map(struct media *media, uint64_t at, uint64_t bytes, struct error *err)
{
	int ret = media->can_read ? 0 : map_media(media, at, bytes, PROT_READ, &media->hva, err);

	if (ret || media->can_read)
		return ret;
	media->map_at = at;
	media->map_bytes = bytes;
	window.bytes = bytes;
	window.align_bytes = media->align_bytes;
	atomic_store(&window.replaced, false);
	window.hva = media->hva;
	return 0;
}

static void unmap(struct media *media)
{
	if (media->hva)
		munmap(media->hva, media->map_bytes);
	media->hva = window.hva = NULL;
}

/* Where pages are large, the patch hides good pages beside the bad one: map the unit again. */
static uint32_t copy_mapped(const struct media *media, uint64_t at, uint8_t *unit)
{
	uint8_t *hva = media->hva + (at - media->map_at);
	uint32_t bad = 0;

	for (uint32_t page = 0; page < LABEL_MEDIA_BYTES; page += LABEL_PAGE_BYTES) {
		memcpy(unit + page, hva + page, LABEL_PAGE_BYTES);
		if (!atomic_exchange(&window.replaced, false))
			continue;
		memset(unit + page, 0, LABEL_PAGE_BYTES);
		bad++;
		(void)mmap(hva, media->unit_bytes, PROT_READ, MAP_SHARED | MAP_FIXED, media->fd,
			   (off_t)at);
	}
	errno = EIO;
	return bad;
}

static int read_label(const struct media *media, uint64_t at, struct label *label,
		      struct error *err)
{
	uint8_t unit[LABEL_MEDIA_BYTES] = {0};
	uint32_t bad = 0;

	if (!media->can_read)
		bad = copy_mapped(media, at, unit);
	for (uint32_t page = 0; media->can_read && page < LABEL_MEDIA_BYTES;
	     page += LABEL_PAGE_BYTES)
		bad += pread(media->fd, unit + page, LABEL_PAGE_BYTES, (off_t)(at + page)) < 0;
	if (bad == LABEL_COPIES)
		return error_set(err, -errno, "%s: cannot read at %" PRIu64 ": %s", media->path, at,
				 strerror(errno));
	label_decode(unit, label);
	return 0;
}

/* One of many units, most of which are no labels: a bad page of a device is not in the way. */
static int scan_label(const struct media *media, uint64_t at, struct label *label,
		      struct error *err)
{
	struct error why;
	int ret = read_label(media, at, label, &why);

	if (ret == -EIO && !media->can_read) {
		log_warn("%s; it is taken for no label", why.msg);
		*label = (struct label){.state = LABEL_NONE};
		return 0;
	}
	return ret ? error_set(err, ret, "%s", why.msg) : 0;
}

/* The first unit at or after `at`, in steps from there, that may hold a label: not in a hole. */
static uint64_t next_unit(const struct media *media, uint64_t at)
{
	const uint64_t step_bytes = media->step_bytes;
	off_t data;

	if (!media->can_read)
		return at;
	data = lseek(media->fd, (off_t)at, SEEK_DATA);
	if (data < 0 && errno == ENXIO)
		return media->size_bytes;
	return data > (off_t)at ? at + ((uint64_t)data - at) / step_bytes * step_bytes : at;
}

static uint64_t last_unit(const struct media *media)
{
	return media->size_bytes < media->unit_bytes ? 0 : media->size_bytes - media->unit_bytes;
}

/* Any label that fits RAM at this offset, for callers that do not know its size. */
static int find_label(const struct media *media, uint64_t offset_bytes, struct label *found,
		      struct error *err)
{
	uint64_t last = last_unit(media), step = media->step_bytes, at;
	struct label label = {.state = LABEL_NONE};
	int ret;

	*found = (struct label){.state = LABEL_NONE};
	ret = read_label(media, last, &label, err);
	if (ret)
		return ret;
	if (label.state != LABEL_NONE && label.ram_size_bytes == last - offset_bytes) {
		*found = label;
		return 0;
	}
	for (at = next_unit(media, offset_bytes + step); at <= last;
	     at = next_unit(media, at + step)) {
		ret = scan_label(media, at, &label, err);
		if (ret)
			return ret;
		if (label.state == LABEL_NONE || label.ram_size_bytes != at - offset_bytes)
			continue;
		if (found->state != LABEL_NONE)
			return error_set(err, -ENOTUNIQ,
					 "%s: labels for size=%" PRIu64 " and size=%" PRIu64
					 " at offset=%" PRIu64 ": give size= to choose",
					 media->path, found->ram_size_bytes, label.ram_size_bytes,
					 offset_bytes);
		*found = label;
	}
	return 0;
}

static int describe(struct media *media, struct error *err)
{
	struct ram_place place;
	int ret = place_look(&place, media->fd, media->path, err);

	if (ret)
		return ret;
	if (S_ISCHR(place.st.st_mode)) {
		ret = devdax_query(&place, &media->size_bytes, &media->align_bytes, err);
	} else if (S_ISREG(place.st.st_mode)) {
		media->can_read = true;
		media->size_bytes = (uint64_t)place.st.st_size;
		media->align_bytes = place_file_align(&place);
	} else {
		ret = error_set(err, -EINVAL, "%s: guest RAM can be a DAX device or a regular file",
				media->path);
	}
	media->unit_bytes = label_unit_bytes(media->align_bytes);
	media->step_bytes =
		media->unit_bytes > RAM_GRAIN_BYTES ? media->unit_bytes : RAM_GRAIN_BYTES;
	return ret;
}

static int peek(struct media *media, const struct ram_config *config, struct label *label,
		struct error *err)
{
	uint64_t size_bytes = config->size_bytes, offset_bytes = config->offset_bytes;
	uint64_t last = last_unit(media), at;
	int ret;

	ret = place_check_align(config, media->align_bytes, err);
	if (ret)
		return ret;
	if (offset_bytes >= last && !size_bytes)
		return error_set(err, -EINVAL,
				 "%s: has %" PRIu64
				 " bytes: too small for guest RAM and its label at offset=%" PRIu64,
				 media->path, media->size_bytes, offset_bytes);
	if (offset_bytes >= last || size_bytes > last - offset_bytes)
		return error_set(err, -EINVAL,
				 "%s: has %" PRIu64 " bytes: no RAM of size=%" PRIu64
				 " and its label at offset=%" PRIu64,
				 media->path, media->size_bytes, size_bytes, offset_bytes);
	at = size_bytes ? offset_bytes + size_bytes : offset_bytes;
	ret = map(media, at, size_bytes ? media->unit_bytes : media->size_bytes - at, err);
	if (ret)
		return ret;
	ret = size_bytes ? read_label(media, at, label, err)
			 : find_label(media, offset_bytes, label, err);
	unmap(media);
	return ret;
}

int label_peek(const struct ram_config *config, struct label *label, struct error *err)
{
	struct media media = {.path = config->path, .align_bytes = 1};
	int ret;

	media.fd = open(config->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (media.fd < 0)
		return error_set(err, -errno, "%s: cannot open for reading: %s", config->path,
				 strerror(errno));
	ret = describe(&media, err);
	if (!ret)
		ret = peek(&media, config, label, err);
	close(media.fd);
	return ret;
}

/* One label that says [offset_bytes, at) is RAM of a saved guest. */
struct finding {
	const struct media *media;
	uint64_t at, offset_bytes;
	struct label label;
	bool is_ours;
};

/* What to do about it. */
enum overlap { OVERLAP_REFUSE, OVERLAP_REFUSE_STRANGERS, OVERLAP_SPEND_OURS };

static int spend(struct ram *ram, const struct finding *found, struct error *err)
{
	const struct media *media = found->media;
	uint8_t *hva = NULL;
	int ret = map_media(media, found->at, media->unit_bytes, PROT_READ | PROT_WRITE, &hva, err);

	if (!hva)
		return ret;
	log_warn("%s: discards this VM's saved guest of offset=%" PRIu64 ",size=%" PRIu64,
		 media->path, found->offset_bytes, found->label.ram_size_bytes);
	memset(hva, 0, LABEL_MEDIA_BYTES);
	if (ram->backend->sync_label)
		ret = ram->backend->sync_label(ram, hva, LABEL_MEDIA_BYTES, err);
	munmap(hva, media->unit_bytes);
	return ret;
}

static int judge(struct ram *ram, const struct finding *found, enum overlap what, struct error *err)
{
	const char *path = found->media->path;
	const uint64_t size_bytes = found->label.ram_size_bytes;
	char uuid[UUID_TEXT];

	if (what == OVERLAP_SPEND_OURS)
		return found->is_ours ? spend(ram, found, err) : 0;
	if (!found->is_ours)
		return error_set(
			err, -EPERM,
			"%s: offset=%" PRIu64 ",size=%" PRIu64
			" in the same bytes is another VM, saved (uuid %s): choose another "
			"offset, or discard that VM with --uuid %s --discard-saved",
			path, found->offset_bytes, size_bytes,
			uuid_format(found->label.vm_id, uuid), uuid);
	if (what == OVERLAP_REFUSE)
		return error_set(
			err, -EBUSY,
			"%s: holds this VM, saved with offset=%" PRIu64 ",size=%" PRIu64
			" in the same bytes: load it with these, or give --discard-saved to "
			"lose it",
			path, found->offset_bytes, size_bytes);
	return 0;
}

static bool overlaps(const struct ram *ram, uint64_t at, const struct label *label)
{
	const struct ram_config *config = &ram->config;
	uint64_t own_label = config->offset_bytes + config->size_bytes;

	return label->state == LABEL_SAVED && label->ram_size_bytes <= at &&
	       (at != own_label || label->ram_size_bytes != config->size_bytes) &&
	       at - label->ram_size_bytes < own_label + ram->label_bytes;
}

static int walk_overlaps(struct ram *ram, const uint8_t vm_id[16], const struct media *media,
			 enum overlap what, struct error *err)
{
	struct finding found = {.media = media};
	bool any = false;

	for (found.at = next_unit(media, ram->config.offset_bytes); found.at <= last_unit(media);
	     found.at = next_unit(media, found.at + media->step_bytes)) {
		int ret = scan_label(media, found.at, &found.label, err);

		if (ret)
			return ret;
		if (!overlaps(ram, found.at, &found.label))
			continue;
		any = true;
		/* Where another process has locked, a VM runs: what is there is that guest's. A
		 * label that tells the truth would be in the range that we have locked. */
		if (file_lock(media->fd, F_WRLCK, found.at, media->unit_bytes, true))
			continue;
		found.offset_bytes = found.at - found.label.ram_size_bytes;
		found.is_ours = !memcmp(found.label.vm_id, vm_id, sizeof(found.label.vm_id));
		ret = judge(ram, &found, what, err);
		if (ret)
			return ret;
	}
	ram->no_overlap = !any;
	return 0;
}

static int for_each_overlap(struct ram *ram, const uint8_t vm_id[16], enum overlap what,
			    struct error *err)
{
	struct media media = {.path = ram->config.path, .fd = ram->fd};
	int ret;

	/* A file of exactly this size cannot have had RAM of another size in it. And with our lock on
	 * RAM and label nobody adds a label of the same bytes: one look that finds none is enough. */
	if (!media.path || ram->created || ram->no_overlap ||
	    (!ram->config.has_offset && ram->backend != &ram_devdax))
		return 0;
	ret = describe(&media, err);
	if (!ret)
		ret = map(&media, ram->config.offset_bytes,
			  media.size_bytes - ram->config.offset_bytes, err);
	if (ret)
		return ret;
	ret = walk_overlaps(ram, vm_id, &media, what, err);
	unmap(&media);
	return ret;
}

int label_check_overlap(struct ram *ram, const uint8_t vm_id[16], bool discard, struct error *err)
{
	return for_each_overlap(ram, vm_id, discard ? OVERLAP_REFUSE_STRANGERS : OVERLAP_REFUSE,
				err);
}

int label_spend_overlap(struct ram *ram, const uint8_t vm_id[16], struct error *err)
{
	return for_each_overlap(ram, vm_id, OVERLAP_SPEND_OURS, err);
}
