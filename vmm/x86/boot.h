/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/boot.h - from --kernel, --initrd and --append to a guest that can enter its kernel.
 * Owns: nothing between calls: files are opened, read into guest RAM and closed again.
 * Threads: main only, vCPUs paused.
 * Units: GPAs and bytes.
 * Errors: 0 or -errno with one message that names the file. Linux
 *	Documentation/arch/x86/boot.rst (64-bit protocol), Xen docs/misc/pvh.pandoc (PVH). */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H
#include "vmm/error.h"
#include "vmm/options.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct vm;

/* How the first vCPU enters the kernel. */
struct boot_entry {
	bool long_mode; /* 64-bit mode with paging; else 32-bit protected mode without */
	uint64_t rip, rsp;
	uint64_t rsi; /* bzImage: boot_params */
	uint64_t rbx; /* PVH: hvm_start_info */
};

/* Opens the files, reads their headers and checks that all fits; touches no RAM. */
int boot_check(const struct options *opt, uint64_t ram_size_bytes, struct error *err) must_check;
/* The same once more, then writes everything into guest RAM; for each boot and each reset. */
int boot_place(struct vm *vm, struct boot_entry *entry, struct error *err) must_check;
/* sregs: as KVM gives them for a vCPU after power-on; regs: written in full. */
void boot_set_registers(const struct boot_entry *entry, struct kvm_sregs2 *sregs,
			struct kvm_regs *regs);
#endif
