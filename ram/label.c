/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "ram/label.h"
#include "ram/backend.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <string.h>

/* Both pages as they are; what cannot be read is zero, and counted. */
static uint32_t fetch(struct ram *ram, uint8_t media[LABEL_MEDIA_BYTES])
{
	uint32_t lost = 0;

	for (uint32_t at = 0; at < LABEL_MEDIA_BYTES; at += LABEL_PAGE_BYTES) {
		memcpy(media + at, (const uint8_t *)ram->label_hva + at, LABEL_PAGE_BYTES);
		if (!ram_label_hole(ram))
			continue;
		memset(media + at, 0, LABEL_PAGE_BYTES);
		lost++;
	}
	return lost;
}

static const char *path_of(const struct ram *ram)
{
	return ram->config.path ? ram->config.path : "memfd";
}

/* One bad page costs nothing but a line in the log. */
static int judge_lost(const struct ram *ram, uint32_t lost, const char *what, struct error *err)
{
	struct error why = {"SIGBUS"};

	if (lost == LABEL_COPIES) {
		(void)ram_fault_reason(ram, &why);
		return error_set(err, -EIO, "%s: the label after guest RAM cannot be %s: %s",
				 path_of(ram), what, why.msg);
	}
	if (lost)
		log_warn("%s: one copy of the label after guest RAM cannot be %s (SIGBUS); the "
			 "other one is good",
			 path_of(ram), what);
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
		if (ram_label_hole(ram))
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
	return ret ? ret : ram_check_whole(ram, err);
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

int label_claim(struct ram *ram, struct label *label, const uint8_t vm_id[16], bool discard,
		struct error *err)
{
	struct label own = {.state = LABEL_RUNNING};
	int ret;

	if (!label_fits(label, ram, vm_id) && !ram->created) {
		ret = label_check_overlap(ram, vm_id, discard, err);
		ret = ret ? ret : label_spend_overlap(ram, vm_id, err);
		if (ret)
			return ret;
		/* No guest reads what another one, or this host, left in memory. */
		log_info("RAM %s: clearing what was in it", path_of(ram));
		ram_zero(ram);
	}
	memcpy(own.vm_id, vm_id, sizeof(own.vm_id));
	ret = label_set(ram, &own, NULL, err);
	if (!ret)
		*label = own;
	return ret;
}
