/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/host/net_bridge.h - which bridges of the host a VM may use, and a tap's place in one.
 * Threads: main only.
 * Errors: -errno with one message that names the bridge or the line at fault, not the card.
 * The list has the form of QEMU's bridge.conf, see qemu-bridge-helper(1): "allow BRIDGE", "deny BRIDGE", "include FILE",
 * and "all" for every bridge. A deny wins wherever it stands; what nothing allows is refused. */
#ifndef DEVICES_HOST_NET_BRIDGE_H
#define DEVICES_HOST_NET_BRIDGE_H
#include "vmm/base/error.h"
#include <stdint.h>

#define NET_BRIDGE_LIST "/etc/stasis/bridges"

/* Does the list in that file allow the bridge? It and what it includes have to be root's and closed to others, as
 * whoever writes to it connects guests to any network. An included file that this user may not read is left out: so
 * each user can have a file. */
int net_bridge_allowed(const char *file, const char *bridge, struct error *err) must_check;
/* Puts the tap into the bridge and sets it up. mac: of the guest's card. */
int net_bridge_join(const char *bridge, const char *tap, const uint8_t mac[6],
		    struct error *err) must_check;
#endif
