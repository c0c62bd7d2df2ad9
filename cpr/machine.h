/* SPDX-License-Identifier: GPL-2.0-or-later */
/* cpr/machine.h - the machine as the guest sees it: what a load must find again.
 * Owns: nothing.
 * Threads: main only.
 * Units: bytes.
 * Errors: -EINVAL with every difference in one message. */
#ifndef CPR_MACHINE_H
#define CPR_MACHINE_H
#include "cpr/state.h"
#include "vmm/vm.h"

struct machine_state {
	uint64_t ram_size_bytes;
	uint64_t s3;				  /* 0 or 1 */
	uint64_t ram_region[2 * RAM_MAX_REGIONS]; /* GPA and size of each */
	uint8_t uuid[16];
	uint32_t nram_region;
	uint32_t cpus;
	uint32_t pit;
	uint32_t device_gsi[DEVICES_MAX]; /* one for each name in devices; 0: has none */
	uint32_t ndevice_gsi;
	char arch[16];
	char vm_name[256];  /* not "name": a device tree reserves that property */
	char devices[1024]; /* "serial0 rtc0 pm0" */
};
extern const struct state_desc *const machine_desc;

void machine_describe(struct machine_state *machine, const struct vm *vm);
/* vm: the machine of the command line. The name is not compared, the uuid is. sleeps: its guest, when it
 * was saved. */
int machine_compare(const struct machine_state *saved, bool sleeps, const struct vm *vm,
		    struct error *err) must_check;
#endif
