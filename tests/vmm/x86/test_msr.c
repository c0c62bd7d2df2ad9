/* SPDX-License-Identifier: GPL-2.0-or-later */
/* MSRs that this host's KVM does not know or refuses, at a save and at a load. */
#include "tests/rig/unit.h"
#include "vmm/base/log.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <linux/kvm.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define MSR_DS_AREA  0x600
#define MSR_SYSENTER 0x174
#define MSR_FIXED    0x175 /* any value but the one it has is refused */
#define MSR_UNKNOWN  0xdeadu

int __wrap_ioctl(int fd, unsigned long request, void *arg);

/* A KVM with these MSRs, all in its list. */
static struct {
	uint32_t index;
	uint64_t value;
} kvm[] = {{MSR_SYSENTER, 0x11}, {MSR_FIXED, 0x22}, {MSR_DS_AREA, 0x33}, {0x176, 0x44}};
#define NMSRS ARRAY_SIZE(kvm)

static struct cpu_state state;
static struct error err;
static char logged[1024];

/* In place of log.c's: all that would be shown by default. */
void log_print(enum log_level level, const char *fmt, ...)
{
	va_list ap;

	if (level > LOG_INFO)
		return;
	va_start(ap, fmt);
	vsnprintf(logged, sizeof(logged), fmt, ap);
	va_end(ap);
}

static uint64_t *find(uint32_t index)
{
	for (size_t i = 0; i < NMSRS; i++)
		if (kvm[i].index == index)
			return &kvm[i].value;
	return NULL;
}

/* KVM stops at the first that it refuses, and its count is all it says. */
static int transfer(struct kvm_msrs *msrs, bool set)
{
	for (uint32_t i = 0; i < msrs->nmsrs; i++) {
		struct kvm_msr_entry *entry = &msrs->entries[i];
		uint64_t *value = find(entry->index);

		if (!value || (set && entry->index == MSR_FIXED && entry->data != *value))
			return (int)i;
		if (set)
			*value = entry->data;
		else
			entry->data = *value;
	}
	return (int)msrs->nmsrs;
}

int __wrap_ioctl(int fd, unsigned long request, void *arg)
{
	struct kvm_msr_list *list = arg;

	if (request == KVM_GET_MSRS || request == KVM_SET_MSRS)
		return transfer(arg, request == KVM_SET_MSRS);
	ck_assert_uint_eq(request, KVM_GET_MSR_INDEX_LIST);
	list->nmsrs = NMSRS;
	for (size_t i = 0; i < NMSRS; i++)
		list->indices[i] = kvm[i].index;
	return 0;
}

static void saved(uint32_t index, uint64_t value)
{
	state.msrs[state.nmsrs++] = index;
	state.msrs[state.nmsrs++] = value;
}

static int load(void)
{
	return msr_load(0, &state, MSR_BEFORE_LAPIC, &err);
}

/* What is refused does not keep those behind it from being loaded. */
TEST(unknown_zero)
{
	saved(MSR_UNKNOWN, 0);
	saved(MSR_SYSENTER, 0x1111);
	ck_assert_int_eq(load(), 0);
	ck_assert_uint_eq(*find(MSR_SYSENTER), 0x1111);
	ck_assert_str_eq(logged, "");
}

TEST(unknown_value)
{
	saved(MSR_UNKNOWN, 1);
	ck_assert_int_eq(load(), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "value 0x1 for MSR 0xdead"));
}

TEST(refused_value)
{
	saved(MSR_FIXED, 0x22);
	ck_assert_int_eq(load(), 0);
	ck_assert_str_eq(logged, "");
	saved(MSR_FIXED, 0x23);
	ck_assert_int_eq(load(), -ENOTSUP);
	ck_assert_ptr_nonnull(strstr(err.msg, "value 0x23 for MSR 0x175"));
}

/* Of the PMU, which the guest does not have; kernels differ in whether they list it. */
TEST(ds_area)
{
	ck_assert_int_eq(msr_save(0, 0, false, &state, &err), 0);
	ck_assert_uint_gt(state.nmsrs, 0);
	for (uint32_t i = 0; i < state.nmsrs; i += 2)
		ck_assert_uint_ne(state.msrs[i], MSR_DS_AREA);
	saved(MSR_DS_AREA, 0); /* by a build that saved it */
	ck_assert_int_eq(load(), 0);
	ck_assert_uint_eq(*find(MSR_DS_AREA), 0x33);
	ck_assert_str_eq(logged, "");
}

UNIT_MAIN(NULL, NULL)
