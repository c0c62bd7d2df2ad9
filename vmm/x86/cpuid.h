/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/cpuid.h - the CPU that the guest sees: what KVM supports, as far as its state can be saved.
 * Threads: any.
 * Errors: 0 or -errno with one message that names the feature. Intel SDM volume 2A "CPUID", AMD APM volume 3
 * appendix E, Documentation/virt/kvm/x86/cpuid.rst. */
#ifndef VMM_X86_CPUID_H
#define VMM_X86_CPUID_H
#include "vmm/base/error.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define CPUID_MAX_ENTRIES 256

/* out: room for CPUID_MAX_ENTRIES. The result is vCPU 0's; cpuid_topology() adapts it to another vCPU. */
int cpuid_build(int kvm_fd, uint32_t nvcpus, struct kvm_cpuid2 *out, bool has_tsc_deadline,
		struct error *err) must_check;
/* cpuid_build() without the ioctl. io: in what KVM supports, out what the guest gets. */
void cpuid_filter(struct kvm_cpuid2 *io, uint32_t nvcpus, bool has_tsc_deadline);
/* One socket, nvcpus cores, one thread each; APIC id = vcpu_id. May be applied again. */
void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t vcpu_id, uint32_t nvcpus);
/* Can a saved CPU run on this host? host: from cpuid_build(). Topology, and what KVM computes while the guest
 * runs, are not compared; the host may offer more. */
int cpuid_compare(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host,
		  struct error *err) must_check;
#endif
