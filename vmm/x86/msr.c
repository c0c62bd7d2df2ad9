/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers: which ones exist, and how to read and write them although KVM refuses some.
 * KVM_GET_MSRS and KVM_SET_MSRS stop at the first refusal and report it by their count alone. */
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define KVM_BATCH	      256 /* MAX_IO_MSRS in KVM */
#define MSR_ARCH_CAPABILITIES 0x10a
#define MSR_MCG_CAP	      0x179
#define MSR_MC0_CTL	      0x400

struct range {
	uint32_t first, last;
};

/* Guest-visible, but in neither of KVM's lists on some kernels. */
static const struct range unlisted[] = {
	{0x200, 0x20f},						  /* variable MTRRs */
	{0x250, 0x250},						  /* fixed MTRRs */
	{0x258, 0x259},		  {0x268, 0x26f}, {0x277, 0x277}, /* PAT */
	{0x2ff, 0x2ff},						  /* MTRR default type */
	{0x6e0, 0x6e0},						  /* TSC deadline */
	{0xc0000103, 0xc0000103},				  /* TSC_AUX */
};

/* MSRs that are not loaded with the others. */
static const struct rule {
	struct range range;
	enum msr_when when;
} rules[] = {
	{{0x10, 0x10}, MSR_NEVER}, /* TSC: clock.c sets it */
	{{0x1b, 0x1b}, MSR_NEVER}, /* APIC base: part of sregs */
	/* PMU, VMX and Hyper-V: the guest cannot reach them, for CPUID does not offer them. Whether KVM lists
	 * them depends on the kernel. */
	{{0xc1, 0xc8}, MSR_NEVER},
	{{0x186, 0x18d}, MSR_NEVER},
	{{0x309, 0x30c}, MSR_NEVER},
	{{0x329, 0x329}, MSR_NEVER},
	{{0x345, 0x345}, MSR_NEVER},
	{{0x38d, 0x390}, MSR_NEVER},
	{{0x3f1, 0x3f2}, MSR_NEVER},
	{{0x480, 0x491}, MSR_NEVER},
	{{0x4c1, 0x4c8}, MSR_NEVER},
	{{0x600, 0x600}, MSR_NEVER}, /* IA32_DS_AREA */
	{{0x40000000, 0x400001ff}, MSR_NEVER},
	{{0xc0000300, 0xc0000303}, MSR_NEVER},
	{{0xc0010000, 0xc0010007}, MSR_NEVER},
	{{0xc0010200, 0xc001020b}, MSR_NEVER},
	/* In guest TSC; KVM clears it while the LAPIC is in another mode. */
	{{0x6e0, 0x6e0}, MSR_AFTER_LAPIC},
	/* kvmclock, async page faults, steal time, PV EOI: KVM writes to guest RAM when the vCPU runs with
	 * them; the wall clock it writes at once. */
	{{0x11, 0x11}, MSR_LAST},
	{{0x12, 0x12}, MSR_LATE},
	{{0x4b564d00, 0x4b564d00}, MSR_LAST},
	{{0x4b564d01, 0x4b564d0f}, MSR_LATE},
};

struct kvm_msr_batch {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[KVM_BATCH];
};

/* AMD guests do not see ARCH_CAPABILITIES, but KVM before 6.13 lists it with a value that later kernels
 * refuse. */
static bool has_arch_capabilities(const struct cpu_state *state)
{
	for (const uint32_t *c = state->cpuid; c < state->cpuid + state->ncpuid;
	     c += CPU_CPUID_CELLS)
		if (c[0] == 7 && c[1] == 0)
			return c[6] >> 29 & 1;
	return false;
}

static enum msr_when when_of(const struct cpu_state *state, uint32_t index)
{
	if (index == MSR_ARCH_CAPABILITIES && !has_arch_capabilities(state))
		return MSR_NEVER;
	for (size_t i = 0; i < ARRAY_SIZE(rules); i++)
		if (index >= rules[i].range.first && index <= rules[i].range.last)
			return rules[i].when;
	return MSR_BEFORE_LAPIC;
}

static int add(struct cpu_state *state, uint32_t index, struct error *err)
{
	if (when_of(state, index) == MSR_NEVER)
		return 0;
	for (uint32_t i = 0; i < state->nmsrs; i += 2)
		if (state->msrs[i] == index)
			return 0;
	if (state->nmsrs == 2 * CPU_MAX_MSRS)
		return error_set(err, -ENOSPC, "a vCPU has more than %d MSRs", CPU_MAX_MSRS);
	state->msrs[state->nmsrs] = index;
	state->msrs[state->nmsrs + 1] = 0;
	state->nmsrs += 2;
	return 0;
}

static int add_range(struct cpu_state *state, struct range range, struct error *err)
{
	int ret = 0;

	for (uint32_t index = range.first; index <= range.last && !ret; index++)
		ret = add(state, index, err);
	return ret;
}

/* Four registers a bank; KVM never lists them (api.rst, 4.3 KVM_GET_MSR_INDEX_LIST). */
static int add_machine_check(int vcpu_fd, struct cpu_state *state, struct error *err)
{
	uint32_t banks;
	uint64_t cap = 0;
	int ret = msr_get(vcpu_fd, MSR_MCG_CAP, &cap);

	if (ret == -ENOTSUP)
		return 0;
	if (ret)
		return error_set(err, ret, "KVM_GET_MSRS: MSR %#x: %s", MSR_MCG_CAP,
				 strerror(-ret));
	banks = cap & 0xff;
	return banks ? add_range(state, (struct range){MSR_MC0_CTL, MSR_MC0_CTL + 4 * banks - 1},
				 err)
		     : 0;
}

/* Appends the indices of one of KVM's two lists. */
static int add_list(int kvm_fd, unsigned long request, struct cpu_state *state, struct error *err)
{
	struct {
		struct kvm_msr_list head;
		uint32_t index[CPU_MAX_MSRS];
	} list = {.head.nmsrs = CPU_MAX_MSRS};

	if (ioctl(kvm_fd, request, &list))
		return error_set(err, -errno, "KVM's list of MSRs: %s", strerror(errno));
	for (uint32_t i = 0; i < list.head.nmsrs; i++)
		if (add(state, list.head.indices[i], err))
			return -ENOSPC;
	return 0;
}

/* Reads values for all indices; those that KVM refuses are left out. */
static int read_all(int vcpu_fd, struct cpu_state *state, struct error *err)
{
	struct kvm_msr_batch batch;
	uint32_t kept = 0, at = 0;

	while (at < state->nmsrs) {
		uint32_t n = 0;
		int done;

		memset(&batch, 0, sizeof(batch));
		for (; n < KVM_BATCH && at + 2 * n < state->nmsrs; n++)
			batch.entry[n].index = (uint32_t)state->msrs[at + 2 * n];
		batch.head.nmsrs = n;
		done = ioctl(vcpu_fd, KVM_GET_MSRS, &batch);
		if (done < 0)
			return error_set(err, -errno, "KVM_GET_MSRS: %s", strerror(errno));
		for (int i = 0; i < done; i++) {
			state->msrs[kept++] = batch.entry[i].index;
			state->msrs[kept++] = batch.entry[i].data;
		}
		at += 2 * ((uint32_t)done + ((uint32_t)done < n));
	}
	state->nmsrs = kept;
	return 0;
}

int msr_save(int kvm_fd, int vcpu_fd, bool model, struct cpu_state *state, struct error *err)
{
	int ret = 0;

	state->nmsrs = 0;
	for (size_t i = 0; i < ARRAY_SIZE(unlisted) && !ret; i++)
		ret = add_range(state, unlisted[i], err);
	if (!ret)
		ret = add_machine_check(vcpu_fd, state, err);
	if (!ret)
		ret = add_list(kvm_fd, KVM_GET_MSR_INDEX_LIST, state, err);
	if (!ret && model)
		ret = add_list(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST, state, err);
	return ret ? ret : read_all(vcpu_fd, state, err);
}

int msr_get(int vcpu_fd, uint32_t index, uint64_t *value)
{
	struct kvm_msr_batch batch = {.head.nmsrs = 1, .entry[0].index = index};
	int done = ioctl(vcpu_fd, KVM_GET_MSRS, &batch);

	if (done != 1)
		return done < 0 ? -errno : -ENOTSUP;
	*value = batch.entry[0].data;
	return 0;
}

int msr_set(int vcpu_fd, uint32_t index, uint64_t value)
{
	struct kvm_msr_batch batch = {
		.head.nmsrs = 1,
		.entry[0] = {.index = index, .data = value},
	};

	return ioctl(vcpu_fd, KVM_SET_MSRS, &batch) == 1 ? 0 : -ENOTSUP;
}

/* KVM refused the value: accept that if the register has it anyway, or if this host lacks the register and the
 * guest never used it. */
static int check_refused(int vcpu_fd, const struct kvm_msr_entry *entry, struct error *err)
{
	uint64_t value = 0;
	int ret = msr_get(vcpu_fd, entry->index, &value);

	if (!ret && value == entry->data)
		return 0;
	if (ret == -ENOTSUP && !entry->data) {
		log_debug("MSR %#x, which is 0 in the checkpoint, is not known to this host's KVM",
			  entry->index);
		return 0;
	}
	return error_set(err, -ENOTSUP, "this host's KVM refuses the value %#llx for MSR %#x",
			 (unsigned long long)entry->data, entry->index);
}

static int write_batch(int vcpu_fd, struct kvm_msr_batch *batch, struct error *err)
{
	uint32_t n = batch->head.nmsrs, at = 0;

	while (at < n) {
		int done;

		memmove(batch->entry, batch->entry + at, (n - at) * sizeof(batch->entry[0]));
		n -= at;
		batch->head.nmsrs = n;
		done = ioctl(vcpu_fd, KVM_SET_MSRS, batch);
		if (done < 0)
			return error_set(err, -errno, "KVM_SET_MSRS: %s", strerror(errno));
		if ((uint32_t)done < n && check_refused(vcpu_fd, &batch->entry[done], err))
			return -ENOTSUP;
		at = (uint32_t)done + 1;
	}
	return 0;
}

int msr_load(int vcpu_fd, const struct cpu_state *state, enum msr_when when, struct error *err)
{
	struct kvm_msr_batch batch = {0};
	int ret = 0;

	for (uint32_t i = 0; i < state->nmsrs && !ret; i += 2) {
		if (when_of(state, (uint32_t)state->msrs[i]) != when)
			continue;
		batch.entry[batch.head.nmsrs].index = (uint32_t)state->msrs[i];
		batch.entry[batch.head.nmsrs].data = state->msrs[i + 1];
		if (++batch.head.nmsrs == KVM_BATCH) {
			ret = write_batch(vcpu_fd, &batch, err);
			batch.head.nmsrs = 0;
		}
	}
	return ret ? ret : write_batch(vcpu_fd, &batch, err);
}
