/* SPDX-License-Identifier: GPL-2.0-or-later */
/* devices/virtio/net.h - what QMP asks of a network card: set_link, announce-self.
 * Threads: main only, with dev->lock held. */
#ifndef DEVICES_VIRTIO_NET_H
#define DEVICES_VIRTIO_NET_H
#include "devices/device.h"
#include "vmm/options.h"
#include <stdbool.h>

#define NET_MAC_BYTES 6

/* Is it a network card? What follows takes no other device. */
bool net_is(const struct device *dev);
/* Its id= of the command line: "net0" by default. */
const char *net_id(const struct device *dev);
/* Down: the driver sees no carrier, frames are dropped both ways. It stays so over resets and
 * saves. */
void net_set_link(struct device *dev, bool up);
/* Tells the network where the card is now, in some rounds within a second: by RARP, and by the
 * driver's own announcement if it can make one. */
void net_announce(struct device *dev);
#endif
