/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What feature bits are called, for messages. */
#include "devices/virtio/virtio_pci.h"
#include <linux/virtio_blk.h>
#include <linux/virtio_config.h>
#include <linux/virtio_console.h>
#include <linux/virtio_ids.h>
#include <linux/virtio_net.h>
#include <linux/virtio_ring.h>
#include <linux/virtio_vsock.h>

#define ANY 0
#define ROW(id, feature)              \
	{                             \
		id, feature, #feature \
	}

static const struct {
	uint16_t id; /* of the device */
	uint8_t bit;
	const char *name;
} features[] = {
	ROW(ANY, VIRTIO_RING_F_INDIRECT_DESC),
	ROW(ANY, VIRTIO_RING_F_EVENT_IDX),
	ROW(ANY, VIRTIO_F_VERSION_1),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_SEG_MAX),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_RO),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_BLK_SIZE),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_FLUSH),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_TOPOLOGY),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_CONFIG_WCE),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_MQ),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_DISCARD),
	ROW(VIRTIO_ID_BLOCK, VIRTIO_BLK_F_WRITE_ZEROES),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_CSUM),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_CSUM),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_MAC),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_TSO4),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_TSO6),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_ECN),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_TSO4),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_TSO6),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_HOST_ECN),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_MRG_RXBUF),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_STATUS),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_VQ),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_GUEST_ANNOUNCE),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_MQ),
	ROW(VIRTIO_ID_NET, VIRTIO_NET_F_CTRL_MAC_ADDR),
	ROW(VIRTIO_ID_CONSOLE, VIRTIO_CONSOLE_F_MULTIPORT),
	ROW(VIRTIO_ID_CONSOLE, VIRTIO_CONSOLE_F_EMERG_WRITE),
	ROW(VIRTIO_ID_VSOCK, VIRTIO_VSOCK_F_SEQPACKET),
};

const char *virtio_feature_name(uint16_t id, uint32_t bit)
{
	for (uint32_t i = 0; i < sizeof(features) / sizeof(features[0]); i++)
		if (features[i].bit == bit && (features[i].id == id || features[i].id == ANY))
			return features[i].name;
	return "unknown";
}
