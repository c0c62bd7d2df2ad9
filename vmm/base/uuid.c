/* SPDX-License-Identifier: GPL-2.0-or-later */
#define XXH_INLINE_ALL
#include "vmm/base/uuid.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <xxhash.h>

static void stamp(uint8_t uuid[UUID_BYTES], uint8_t version)
{
	uuid[6] = (uint8_t)((uuid[6] & 0x0f) | version << 4);
	uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
}

int uuid_parse(const char *text, uint8_t uuid[UUID_BYTES])
{
	static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx",
			  hex[] = "0123456789abcdef";
	uint32_t digits = 0;

	if (strlen(text) != sizeof(shape) - 1)
		return -EINVAL;
	for (uint32_t i = 0; shape[i]; i++) {
		const char *digit = strchr(hex, text[i] | 0x20);

		if (shape[i] == '-' && text[i] == '-')
			continue;
		if (shape[i] == '-' || !digit || !*digit)
			return -EINVAL;
		uuid[digits / 2] = (uint8_t)(uuid[digits / 2] << 4 | (digit - hex));
		digits++;
	}
	return 0;
}

char *uuid_format(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT])
{
	char *to = text;

	for (uint32_t i = 0; i < UUID_BYTES; i++) {
		if (i == 4 || i == 6 || i == 8 || i == 10)
			*to++ = '-';
		snprintf(to, 3, "%02x", uuid[i]);
		to += 2;
	}
	return text;
}

void uuid_from_name(const char *name, uint8_t uuid[UUID_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits(name, strlen(name)));
	memcpy(uuid, canonical.digest, UUID_BYTES);
	stamp(uuid, 8);
}

int uuid_random(uint8_t uuid[UUID_BYTES])
{
	if (getrandom(uuid, UUID_BYTES, 0) != UUID_BYTES)
		return -EIO;
	stamp(uuid, 4);
	return 0;
}

void uuid_derive_mac(const uint8_t uuid[UUID_BYTES], uint32_t index, uint8_t mac[UUID_MAC_BYTES])
{
	XXH128_canonical_t canonical;

	XXH128_canonicalFromHash(&canonical, XXH3_128bits_withSeed(uuid, UUID_BYTES, index));
	memcpy(mac, canonical.digest, UUID_MAC_BYTES);
	mac[0] = (uint8_t)((mac[0] & 0xfc) | 0x02);
}
