/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/x86/cpuid.h - the CPU the guest sees: what KVM offers, as far as its state can be saved.
 * Owns: nothing.
 * Threads: any.
 * Units: none.
 * Errors: 0 or -errno with one message that names the feature. Intel SDM volume 2A "CPUID", AMD
 *	APM volume 3 appendix E, Documentation/virt/kvm/x86/cpuid.rst. */
#ifndef VMM_X86_CPUID_H
#define VMM_X86_CPUID_H
#include "vmm/base/error.h"
#include <linux/kvm.h>
#include <stdbool.h>
#include <stdint.h>

#define CPUID_MAX_ENTRIES 256

/* out: room for CPUID_MAX_ENTRIES. Complete for vCPU 0; cpuid_topology() makes it another's. */
int cpuid_build(int kvm_fd, uint32_t nvcpus, struct kvm_cpuid2 *out, bool has_tsc_deadline,
		struct error *err) must_check;
/* The part of cpuid_build() behind the ioctl: io holds what KVM supports, then what we offer. */
void cpuid_filter(struct kvm_cpuid2 *io, uint32_t nvcpus, bool has_tsc_deadline);
/* One socket, nvcpus cores, one thread each; APIC id = vcpu_id. May be applied again and again. */
void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t vcpu_id, uint32_t nvcpus);
/* Can this host go on with a saved CPU? host: from cpuid_build(). Topology and what KVM computes
 * while the guest runs are not compared; more on the host's side is fine. */
int cpuid_compare(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host,
		  struct error *err) must_check;
#endif
