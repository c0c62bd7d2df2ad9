/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/devices.h"
#include "vmm/base/bytes.h"

/* One row per device. The order is that of attaching, and so of the PCI slots and BARs which a guest
 * gets that boots in a new process. A loaded guest keeps the slots that it has, over its resets too. */
/* clang-format off */
#define DEVICE_TABLE(ROW) \
	ROW(serial_ops) \
	ROW(rtc_ops) \
	ROW(i8042_ops) \
	ROW(pm_ops) \
	ROW(pvpanic_ops) \
	ROW(pci_host_ops) \
	ROW(console_ops) \
	ROW(rng_ops) \
	ROW(virtio_blk_ops) \
	ROW(virtio_net_ops) \
	ROW(virtio_vsock_ops) \
	ROW(vfio_pci_ops)
/* clang-format on */

#define ROW_EXTERN(ops)	 extern const struct device_ops ops;
#define ROW_ADDRESS(ops) &ops,
DEVICE_TABLE(ROW_EXTERN)

const struct device_ops *const device_table[] = {DEVICE_TABLE(ROW_ADDRESS)};
const uint32_t device_table_rows = ARRAY_SIZE(device_table);
