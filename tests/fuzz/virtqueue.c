/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Virtqueues and the registers of the virtio core, with the entropy device behind them. */
#include "tests/fuzz/virtio_guest.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};

	rig_open();
	rig.opt.rng = true;
	fuzz_virtio(&in, "rng0");
	rig_close();
	return 0;
}
