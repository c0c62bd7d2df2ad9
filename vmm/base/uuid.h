/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/base/uuid.h - 128-bit identities of VMs and checkpoints, 16 bytes in the order of the text (RFC 9562).
 * Errors: 0 or -EINVAL. */
#ifndef VMM_BASE_UUID_H
#define VMM_BASE_UUID_H
#include "vmm/base/error.h"
#include <stdint.h>

#define UUID_BYTES     16
#define UUID_MAC_BYTES 6
#define UUID_TEXT      37 /* with the terminating zero */

int uuid_parse(const char *text, uint8_t uuid[UUID_BYTES]) must_check;
/* Returns text. */
char *uuid_format(const uint8_t uuid[UUID_BYTES], char text[UUID_TEXT]);
/* The same name always gives the same identity (version 8, from XXH3-128). */
void uuid_from_name(const char *name, uint8_t uuid[UUID_BYTES]);
/* The MAC address of the VM's network interface `index`: locally administered, unicast, and always the same
 * (XXH3-128 of the identity with the index as seed). */
void uuid_derive_mac(const uint8_t uuid[UUID_BYTES], uint32_t index, uint8_t mac[UUID_MAC_BYTES]);
int uuid_random(uint8_t uuid[UUID_BYTES]) must_check;
#endif
