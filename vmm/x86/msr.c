/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Model-specific registers: which there are, and how to read and write them although KVM refuses
 * some. KVM_GET_MSRS and KVM_SET_MSRS stop at the first they refuse and say so only by their count. */
#include "vmm/log.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#define KVM_BATCH 256 /* MAX_IO_MSRS in KVM */

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

/* Not the guest's: it cannot reach them, for CPUID does not offer what they belong to; or they are
 * kept elsewhere. Whether KVM lists them differs from kernel to kernel. */
static const struct range skipped[] = {
	{0x10, 0x10}, /* TSC: the clock's, see clock.c */
	{0x1b, 0x1b}, /* APIC base: in sregs */
	{0xc1, 0xc8}, /* PMU, to the next comment */
	{0x186, 0x18d},
	{0x309, 0x30c},
	{0x329, 0x329},
	{0x345, 0x345},
	{0x38d, 0x390},
	{0x3f1, 0x3f2},
	{0x4c1, 0x4c8},
	{0xc0000300, 0xc0000303},
	{0xc0010000, 0xc0010007},
	{0xc0010200, 0xc001020b},
	{0x480, 0x491},		  /* VMX capabilities */
	{0x40000000, 0x400001ff}, /* Hyper-V */
};

/* KVM writes to guest RAM when these are set: only once the label says that it may. */
static const struct range late[] = {
	{0x11, 0x12},		  /* kvmclock, old numbers */
	{0x4b564d00, 0x4b564d0f}, /* kvmclock, async page faults, steal time, PV EOI */
};

/* In guest TSC and cleared by a LAPIC that is in another mode: after TSC and LAPIC. */
static const struct range after_lapic[] = {{0x6e0, 0x6e0}};

struct kvm_msr_batch {
	struct kvm_msrs head;
	struct kvm_msr_entry entry[KVM_BATCH];
};

static bool in(const struct range *range, size_t n, uint32_t index)
{
	for (size_t i = 0; i < n; i++)
		if (index >= range[i].first && index <= range[i].last)
			return true;
	return false;
}
#define IN(ranges, index) in(ranges, sizeof(ranges) / sizeof((ranges)[0]), index)

static void add(struct cpu_state *state, uint32_t index)
{
	for (uint32_t i = 0; i < state->nmsrs; i += 2)
		if (state->msrs[i] == index)
			return;
	if (IN(skipped, index) || state->nmsrs == 2 * CPU_MAX_MSRS)
		return;
	state->msrs[state->nmsrs] = index;
	state->msrs[state->nmsrs + 1] = 0;
	state->nmsrs += 2;
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
		add(state, list.head.indices[i]);
	return 0;
}

/* Reads values for all indices; those that KVM refuses to read drop out. */
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

int msr_save(int kvm_fd, int vcpu_fd, struct cpu_state *state, struct error *err)
{
	state->nmsrs = 0;
	for (size_t i = 0; i < sizeof(unlisted) / sizeof(unlisted[0]); i++)
		for (uint32_t index = unlisted[i].first; index <= unlisted[i].last; index++)
			add(state, index);
	if (add_list(kvm_fd, KVM_GET_MSR_INDEX_LIST, state, err) ||
	    add_list(kvm_fd, KVM_GET_MSR_FEATURE_INDEX_LIST, state, err))
		return -EIO;
	return read_all(vcpu_fd, state, err);
}

int msr_get(int vcpu_fd, uint32_t index, uint64_t *value)
{
	struct kvm_msr_batch batch = {.head.nmsrs = 1, .entry[0].index = index};

	if (ioctl(vcpu_fd, KVM_GET_MSRS, &batch) != 1)
		return -ENOTSUP;
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

static enum msr_when when_of(uint32_t index)
{
	if (IN(late, index))
		return MSR_LATE;
	return IN(after_lapic, index) ? MSR_AFTER_LAPIC : MSR_BEFORE_LAPIC;
}

/* KVM has refused the value: fine if the register has it all the same, or if it is one that this
 * host does not have and in which the guest has left nothing. */
static int check_refused(int vcpu_fd, const struct kvm_msr_entry *entry, struct error *err)
{
	uint64_t value;
	int ret = msr_get(vcpu_fd, entry->index, &value);

	if (!ret && value == entry->data)
		return 0;
	if (ret && !entry->data) {
		log_warn("MSR %#x, which is 0 in the checkpoint, is not known to this host's KVM",
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
		if (when_of((uint32_t)state->msrs[i]) != when)
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
