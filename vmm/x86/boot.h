/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/boot.h - from --kernel, --initrd and --append to a guest that can enter its kernel.
 * Owns: struct boot_files its descriptors, from boot_check() to boot_files_close(): a reset finds the kernel
 * that the guest was booted with, even if its file has been removed.
 * Threads: main only, vCPUs paused.
 * Units: GPAs and bytes.
 * Errors: 0 or -errno with one message that names the file. Linux Documentation/arch/x86/boot.rst (64-bit
 * protocol), Xen docs/misc/pvh.pandoc (PVH). */
#ifndef VMM_X86_BOOT_H
#define VMM_X86_BOOT_H
#include "vmm/base/error.h"
#include "vmm/options.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

struct arch_pci_layout;
struct vm;

/* How the first vCPU enters the kernel. */
struct boot_entry {
	bool long_mode; /* 64-bit mode with paging; else 32-bit protected mode without */
	uint64_t rip, rsp;
	uint64_t rsi; /* bzImage: boot_params */
	uint64_t rbx; /* PVH: hvm_start_info */
};

struct boot_file {
	const char *path;
	int fd; /* -1: none */
	uint64_t size_bytes;
};
struct boot_files {
	struct boot_file kernel, initrd;
};
#define BOOT_FILES_NONE                          \
	{                                        \
		.kernel.fd = -1, .initrd.fd = -1 \
	}

/* Opens the files unless they are open, reads their headers and checks that everything fits; touches no RAM.
 * On failure files is unchanged. */
int boot_check(struct boot_files *files, const struct options *opt, uint64_t ram_size_bytes,
	       struct error *err) must_check;
/* Repeats boot_check(), then writes everything into guest RAM; for each boot and each reset. pci: NULL if the
 * machine has none. */
int boot_place(struct vm *vm, struct boot_files *files, const struct arch_pci_layout *pci,
	       struct boot_entry *entry, struct error *err) must_check;
void boot_files_close(struct boot_files *files);
/* sregs: as KVM gives them for a vCPU after power-on; regs: written in full. */
void boot_set_registers(const struct boot_entry *entry, struct kvm_sregs2 *sregs,
			struct kvm_regs *regs);
#endif
