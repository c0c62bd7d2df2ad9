/* SPDX-License-Identifier: GPL-2.0-or-later */
#define XXH_INLINE_ALL
#include "ram/label.h"
#include "ram/backend.h"
#include <endian.h>
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#define COPIES	   2
#define COPY_BYTES ((size_t)LABEL_MEDIA_BYTES / COPIES)

static const char magic[8] = {'S', 'T', 'A', 'S', 'I', 'S', 'L', 'B'};

/* One copy on media, little-endian; see label.h. */
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
_Static_assert(sizeof(struct record) == 128, "the label's layout on media");

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

	hash_record(record, hash);
	return !memcmp(record->hash, hash, sizeof(hash)) &&
	       !memcmp(record->magic, magic, sizeof(magic)) &&
	       (state == LABEL_RUNNING || state == LABEL_SAVED) && size_bytes &&
	       size_bytes % RAM_GRAIN_BYTES == 0;
}

/* The copy that counts, or -1. */
static int find_newest(const void *media, struct record *newest)
{
	struct record record;
	int found = -1;

	for (size_t i = 0; i < COPIES; i++) {
		memcpy(&record, (const uint8_t *)media + i * COPY_BYTES, sizeof(record));
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

/* Writes the older copy, so that the newer one stays valid until this one is. */
void label_encode(void *media, const struct label *label)
{
	struct record newest, record = {.state = htole32((uint32_t)label->state)};
	int found = find_newest(media, &newest);
	uint64_t sequence = found < 0 ? 1 : le64toh(newest.sequence) + 1;

	memcpy(record.magic, magic, sizeof(magic));
	record.sequence = htole64(sequence);
	record.ram_size_bytes = htole64(label->ram_size_bytes);
	memcpy(record.vm_id, label->vm_id, sizeof(record.vm_id));
	if (label->state == LABEL_SAVED)
		memcpy(record.checkpoint_id, label->checkpoint_id, sizeof(record.checkpoint_id));
	hash_record(&record, record.hash);
	memcpy((uint8_t *)media + (found == 0 ? COPY_BYTES : 0), &record, sizeof(record));
}

void label_read(const struct ram *ram, struct label *label)
{
	label_decode(ram->label_hva, label);
}

int label_write(struct ram *ram, const struct label *label, struct error *err)
{
	struct label sized = *label;
	int ret;

	if (label->state != LABEL_RUNNING && label->state != LABEL_SAVED)
		return error_set(err, -EINVAL, "label: no such state: %d", (int)label->state);
	sized.ram_size_bytes = ram->config.size_bytes;
	label_encode(ram->label_hva, &sized);
	ret = ram->backend->sync_label ? ram->backend->sync_label(ram, ram->label_hva, err) : 0;
	/* Had the unit been lost, the label would be in a private page that nobody ever sees. */
	return ret ? ret : ram_check_whole(ram, err);
}
