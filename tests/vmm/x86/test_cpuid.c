/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The allow-list, the topology of 1 to 64 vCPUs, and which saved CPU a host can carry on. */
#include "tests/rig/unit.h"
#include "vmm/x86/x86.h"
#include "vmm/x86/cpuid_table.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define INDEXED KVM_CPUID_FLAG_SIGNIFCANT_INDEX

static union {
	struct kvm_cpuid2 cpuid;
	uint8_t room[sizeof(struct kvm_cpuid2) +
		     CPUID_MAX_ENTRIES * sizeof(struct kvm_cpuid_entry2)];
} a, b;
static struct error err;

static struct kvm_cpuid_entry2 *entry(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

static struct kvm_cpuid_entry2 *need(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	struct kvm_cpuid_entry2 *e = entry(cpuid, function, index);

	ck_assert_msg(e != NULL, "leaf 0x%x index %u is absent", function, index);
	return e;
}

static void add(struct kvm_cpuid_entry2 e)
{
	a.cpuid.entries[a.cpuid.nent++] = e;
}

static void add_xsave(void)
{
	static const struct {
		uint32_t index, size, offset;
	} part[] = {{2, 256, 576},   {3, 64, 960}, {4, 64, 1024},  {5, 64, 1088},   {6, 512, 1152},
		    {7, 1024, 1664}, {9, 8, 2688}, {17, 64, 2752}, {18, 8192, 2816}};

	add((struct kvm_cpuid_entry2){0xd, 0, INDEXED, 0x602ff, 11008, 11008, 0, {0}});
	add((struct kvm_cpuid_entry2){0xd, 1, INDEXED, 0x1f, 11008, 0x1800, 0, {0}});
	for (size_t i = 0; i < ARRAY_SIZE(part); i++)
		add((struct kvm_cpuid_entry2){
			0xd, part[i].index, INDEXED, part[i].size, part[i].offset, 0, 0, {0}});
}

/* A KVM that offers every bit there is. */
static void offer_all(const char *vendor)
{
	struct kvm_cpuid_entry2 name = {0, 0, 0, 0x24, 0, 0, 0, {0}};

	memset(&a, 0, sizeof(a));
	memcpy(&name.ebx, vendor, 4);
	memcpy(&name.edx, vendor + 4, 4);
	memcpy(&name.ecx, vendor + 8, 4);
	add(name);
	add((struct kvm_cpuid_entry2){1, 0, 0, 0xa0f11, 0xff080800, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){4, 0, INDEXED, 0xfc004121, 0x1c0003f, 63, 0, {0}});
	add((struct kvm_cpuid_entry2){4, 2, INDEXED, 0xfc004143, 0x1c0003f, 1023, 0, {0}});
	add((struct kvm_cpuid_entry2){4, 3, INDEXED, 0xfc1fc163, 0x3c0003f, 8191, 4, {0}});
	add((struct kvm_cpuid_entry2){5, 0, 0, 64, 64, 3, 0, {0}});
	add((struct kvm_cpuid_entry2){6, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){7, 0, INDEXED, 5, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){7, 1, INDEXED, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){7, 2, INDEXED, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){7, 3, INDEXED, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0xa, 0, 0, 0x7300805, 0, 0xf, 0x8603, {0}});
	add((struct kvm_cpuid_entry2){0xb, 0, INDEXED, 1, 2, 0x100, 99, {0}});
	add_xsave();
	add((struct kvm_cpuid_entry2){0x12, 0, INDEXED, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x14, 0, INDEXED, 1, ~0U, ~0U, 0, {0}});
	add((struct kvm_cpuid_entry2){0x1d, 1, INDEXED, ~0U, ~0U, ~0U, 0, {0}});
	add((struct kvm_cpuid_entry2){0x24, 0, INDEXED, ~0U, ~0U, ~0U, 0, {0}});
	add((struct kvm_cpuid_entry2){
		0x40000000, 0, 0, 0x40000001, 0x4b4d564b, 0x564b4d56, 0x4d, {0}});
	add((struct kvm_cpuid_entry2){0x40000001, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x80000000, 0, 0, 0x80000028, 0, 0, 0, {0}});
	add((struct kvm_cpuid_entry2){0x80000001, 0, 0, 0xa0f11, 0, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x80000007, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x80000008, 0, 0, 0x3030, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x8000000a, 0, 0, 1, 8, 0, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x8000001d, 0, INDEXED, 0x4121, 0x1c0003f, 63, 0, {0}});
	add((struct kvm_cpuid_entry2){0x8000001d, 3, INDEXED, 0x3fc163, 0x3c0003f, 32767, 1, {0}});
	add((struct kvm_cpuid_entry2){0x8000001e, 0, 0, 7, 0x103, 0x101, 0, {0}});
	add((struct kvm_cpuid_entry2){0x8000001f, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x80000021, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
	add((struct kvm_cpuid_entry2){0x80000022, 0, 0, ~0U, ~0U, ~0U, ~0U, {0}});
}

static int open_kvm(void)
{
	int fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);

	ck_assert_msg(fd >= 0, "/dev/kvm: %s: load kvm_amd or kvm_intel, join the group kvm",
		      strerror(errno));
	return fd;
}

/* A row that lost or gained a word would shift all names behind it. */
TEST_EACH(rows, cpuid_feature_table)
{
	char names[1024], *word, *rest = names;
	int n = 0;

	ck_assert_uint_lt(strlen(cpuid_feature_table[_i].names), sizeof(names));
	strcpy(names, cpuid_feature_table[_i].names);
	while ((word = strsep(&rest, " "))) {
		ck_assert_msg(*word, "row %d: two blanks", _i);
		n++;
	}
	ck_assert_msg(n % 8 == 0 && n <= 32, "row %d has %d words", _i, n);
}

/* Whole masks, worked out from the manuals independently of the names. */
TEST(masks)
{
	offer_all("AuthenticAMD");
	cpuid_filter(&a.cpuid, 4, true);
	ck_assert_uint_eq(need(&a.cpuid, 1, 0)->ecx, 0xf7fa3203);
	ck_assert_uint_eq(need(&a.cpuid, 1, 0)->edx, 0x1f8bfbff);
	ck_assert_uint_eq(need(&a.cpuid, 6, 0)->eax, 1U << 2);
	ck_assert_uint_eq(need(&a.cpuid, 6, 0)->ebx | need(&a.cpuid, 6, 0)->ecx, 0);
	ck_assert_uint_eq(need(&a.cpuid, 7, 0)->eax, 2);
	ck_assert_uint_eq(need(&a.cpuid, 7, 0)->ebx, 0xfdbf2ffb);
	ck_assert_uint_eq(need(&a.cpuid, 7, 0)->ecx, 0x1a415f6f);
	ck_assert_uint_eq(need(&a.cpuid, 7, 0)->edx, 0x9c81451c);
	ck_assert_uint_eq(need(&a.cpuid, 7, 1)->eax, 0x048c1cf7);
	ck_assert_uint_eq(need(&a.cpuid, 7, 1)->edx, 0x00004430);
	ck_assert_uint_eq(need(&a.cpuid, 7, 2)->edx, 0x3f);
	ck_assert_uint_eq(need(&a.cpuid, 0xd, 1)->eax, 0xf);
	ck_assert_uint_eq(need(&a.cpuid, 0x40000001, 0)->eax, 0x01007afa);
	ck_assert_uint_eq(need(&a.cpuid, 0x40000001, 0)->edx, 0);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000001, 0)->ecx, 0x006309f3);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000001, 0)->edx, 0xefd3fbff);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000007, 0)->edx, 0x100);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000007, 0)->ebx, 0);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000008, 0)->ebx, 0x770ad205);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000021, 0)->eax, 0x78100f65);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000021, 0)->ecx, 6);
	ck_assert_uint_eq(need(&a.cpuid, 0, 0)->eax, 0x1f);
	ck_assert_uint_eq(need(&a.cpuid, 0x80000000, 0)->eax, 0x80000021);
}

TEST(withheld_leaves)
{
	static const uint32_t gone[] = {5,    0xa,	  0x12,	      0x14,	 0x1d,
					0x24, 0x8000000a, 0x8000001f, 0x80000022};

	offer_all("GenuineIntel");
	cpuid_filter(&a.cpuid, 4, true);
	for (size_t i = 0; i < ARRAY_SIZE(gone); i++)
		for (uint32_t n = 0; n < a.cpuid.nent; n++)
			ck_assert_uint_ne(a.cpuid.entries[n].function, gone[i]);
	ck_assert_ptr_null(entry(&a.cpuid, 7, 3));
	ck_assert_uint_ne(need(&a.cpuid, 7, 0)->edx & 1U << 29, 0); /* arch_capabilities: Intel */
}

TEST(forced_bits)
{
	offer_all("AuthenticAMD");
	a.cpuid.entries[1].ecx = 1U << 26 | 1U << 21; /* neither hypervisor nor tsc_deadline */
	b = a;
	cpuid_filter(&a.cpuid, 1, true);
	ck_assert_uint_eq(need(&a.cpuid, 1, 0)->ecx, 1U << 31 | 1U << 26 | 1U << 24 | 1U << 21);
	b.cpuid.entries[1].ecx |= 1U << 24;
	cpuid_filter(&b.cpuid, 1, false);
	ck_assert_uint_eq(need(&b.cpuid, 1, 0)->ecx, 1U << 31 | 1U << 26 | 1U << 21);
}

/* {leaf 1 ecx, 7 ebx, 7 ecx} withheld by the host -> XCR0 and size of the XSAVE area. */
static const struct {
	uint32_t no_1_ecx, no_7_ebx, no_7_ecx, xcr0, bytes;
} xsave_cases[] = {
	{0, 0, 0, 0x2e7, 2696},		{0, 0, 1U << 3, 0xe7, 2688},
	{0, 1U << 16, 1U << 3, 7, 832}, {1U << 28, 1U << 16, 1U << 3, 3, 576},
	{1U << 26, 0, 0, 0, 0},
};

TEST_EACH(xsave, xsave_cases)
{
	uint32_t xcr0 = xsave_cases[_i].xcr0;
	struct kvm_cpuid_entry2 *max;

	offer_all("GenuineIntel");
	need(&a.cpuid, 1, 0)->ecx &= ~xsave_cases[_i].no_1_ecx;
	need(&a.cpuid, 7, 0)->ebx &= ~xsave_cases[_i].no_7_ebx;
	need(&a.cpuid, 7, 0)->ecx &= ~xsave_cases[_i].no_7_ecx;
	cpuid_filter(&a.cpuid, 1, true);
	for (uint32_t i = 2; i < 64; i++)
		ck_assert_int_eq(entry(&a.cpuid, 0xd, i) != NULL, i < 32 && xcr0 >> i & 1);
	max = entry(&a.cpuid, 0xd, 0);
	if (!xcr0) {
		ck_assert_ptr_null(max);
		ck_assert_ptr_null(entry(&a.cpuid, 0xd, 1));
		return;
	}
	ck_assert_uint_eq(max->eax, xcr0);
	ck_assert_uint_eq(max->edx, 0);
	ck_assert_uint_eq(max->ebx, 576); /* after a reset XCR0 is 1 */
	ck_assert_uint_eq(max->ecx, xsave_cases[_i].bytes);
	ck_assert_uint_eq(need(&a.cpuid, 0xd, 1)->ecx | need(&a.cpuid, 0xd, 1)->edx, 0);
	ck_assert_uint_eq(need(&a.cpuid, 0xd, 1)->ebx, 576);
}

/* Bits that an APIC id takes, the slow way. */
static uint32_t bits_for(uint32_t n)
{
	uint32_t bits = 0, max_id = n - 1;

	for (; max_id; max_id >>= 1)
		bits++;
	return bits;
}

static void check_level(struct kvm_cpuid2 *cpuid, uint32_t leaf, uint32_t id, uint32_t n)
{
	struct kvm_cpuid_entry2 *smt = need(cpuid, leaf, 0), *core = need(cpuid, leaf, 1);
	struct kvm_cpuid_entry2 *end = need(cpuid, leaf, 2);

	ck_assert_uint_eq(smt->eax, 0);
	ck_assert_uint_eq(smt->ebx, 1);
	ck_assert_uint_eq(smt->ecx, 0x100);
	ck_assert_uint_eq(core->eax, bits_for(n));
	ck_assert_uint_eq(core->ebx, n);
	ck_assert_uint_eq(core->ecx, 0x201);
	ck_assert_uint_eq(end->eax | end->ebx, 0);
	ck_assert_uint_eq(end->ecx, 2);
	ck_assert(smt->edx == id && core->edx == id && end->edx == id);
	ck_assert_uint_eq(smt->flags & core->flags & end->flags, INDEXED);
	ck_assert_uint_eq(id >> core->eax, 0); /* one socket */
}

TEST_RANGE(topology_intel, 1, 65)
{
	uint32_t n = (uint32_t)_i, ids = 1U << bits_for(n);

	offer_all("GenuineIntel");
	cpuid_filter(&a.cpuid, n, true);
	for (uint32_t id = 0; id < n; id++) {
		cpuid_topology(&a.cpuid, id, n);
		ck_assert_uint_eq(need(&a.cpuid, 1, 0)->ebx, id << 24 | n << 16 | 0x800);
		ck_assert_uint_eq(need(&a.cpuid, 1, 0)->edx >> 28 & 1, n > 1);
		check_level(&a.cpuid, 0xb, id, n);
		check_level(&a.cpuid, 0x1f, id, n);
		ck_assert_uint_eq(need(&a.cpuid, 4, 0)->eax, 0x121 | (ids - 1) << 26);
		ck_assert_uint_eq(need(&a.cpuid, 4, 2)->eax, 0x143 | (ids - 1) << 26);
		ck_assert_uint_eq(need(&a.cpuid, 4, 3)->eax,
				  0x163 | (ids - 1) << 14 | (ids - 1) << 26);
		ck_assert_uint_eq(need(&a.cpuid, 0x80000001, 0)->ecx & 2, 0);
		ck_assert_uint_eq(need(&a.cpuid, 0x80000008, 0)->ecx, 0);
	}
	ck_assert_uint_eq(need(&a.cpuid, 0, 0)->eax, 0x1f);
}

TEST_RANGE(topology_amd, 1, 65)
{
	uint32_t n = (uint32_t)_i;

	offer_all("AuthenticAMD");
	a.cpuid.entries[0].eax = 0x10; /* AMD has no leaf 0x1f */
	cpuid_filter(&a.cpuid, n, true);
	ck_assert_ptr_null(entry(&a.cpuid, 0x1f, 0));
	for (uint32_t id = 0; id < n; id++) {
		struct kvm_cpuid_entry2 *ext;

		cpuid_topology(&a.cpuid, id, n);
		check_level(&a.cpuid, 0xb, id, n);
		ck_assert_uint_eq(need(&a.cpuid, 0x80000001, 0)->ecx >> 1 & 1, n > 1);
		ck_assert_uint_eq(need(&a.cpuid, 0x80000008, 0)->ecx, (n - 1) | bits_for(n) << 12);
		ck_assert_uint_eq(need(&a.cpuid, 0x8000001d, 0)->eax, 0x121);
		ck_assert_uint_eq(need(&a.cpuid, 0x8000001d, 3)->eax, 0x163 | (n - 1) << 14);
		ext = need(&a.cpuid, 0x8000001e, 0);
		ck_assert(ext->eax == id && ext->ebx == id && !ext->ecx && !ext->edx);
	}
}

static void build_pair(const char *vendor)
{
	offer_all(vendor);
	cpuid_filter(&a.cpuid, 4, true);
	b = a;
	err.msg[0] = 0;
}

/* Every bit of every row: named when it is missing, unless it is not the host's. */
TEST_EACH(compare_each_bit, cpuid_feature_table)
{
	const struct cpuid_features *row = &cpuid_feature_table[_i];
	static const char *const reg[] = {"eax", "ebx", "ecx", "edx"};

	for (uint32_t bit = 0; bit < 32; bit++) {
		struct kvm_cpuid_entry2 *e;
		char where[64];
		uint32_t *value;

		build_pair("GenuineIntel");
		e = need(&b.cpuid, row->function, row->index);
		value = (uint32_t *[]){&e->eax, &e->ebx, &e->ecx, &e->edx}[row->reg];
		if (!(*value >> bit & 1))
			continue;
		*value &= ~(1U << bit);
		if (row->not_compared >> bit & 1) {
			ck_assert_msg(!cpuid_compare(&a.cpuid, &b.cpuid, &err), "%s", err.msg);
			continue;
		}
		snprintf(where, sizeof(where), "(leaf 0x%x %s bit %u)", row->function,
			 reg[row->reg], bit);
		ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
		ck_assert_msg(strstr(err.msg, where), "%s: %s", where, err.msg);
		/* The other way round a host that offers more is fine. */
		ck_assert_msg(!cpuid_compare(&b.cpuid, &a.cpuid, &err), "%s", err.msg);
	}
}

TEST(compare_names)
{
	build_pair("GenuineIntel");
	need(&b.cpuid, 7, 0)->ebx &= ~(1U << 5 | 1U << 16);
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_str_eq(err.msg, "this host's CPU or KVM lacks avx2 (leaf 0x7 ebx bit 5), "
				  "avx512f (leaf 0x7 ebx bit 16)");
	/* A bit that only a later version knows has no name here. */
	build_pair("GenuineIntel");
	need(&a.cpuid, 7, 0)->ecx |= 1U << 15;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "a feature (leaf 0x7 ecx bit 15)"));
	/* So many that the message cannot hold them. */
	build_pair("GenuineIntel");
	need(&b.cpuid, 7, 0)->ebx = 0;
	need(&b.cpuid, 1, 0)->ecx = 0;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_str_eq(err.msg + strlen(err.msg) - 5, ", ...");
}

TEST(compare_rest)
{
	build_pair("GenuineIntel");
	cpuid_topology(&b.cpuid, 3, 4); /* topology is not the host's affair */
	need(&b.cpuid, 4, 3)->ebx++;
	need(&b.cpuid, 0xd, 0)->ebx = 832; /* follows XCR0 */
	ck_assert_msg(!cpuid_compare(&a.cpuid, &b.cpuid, &err), "%s", err.msg);

	build_pair("GenuineIntel");
	need(&b.cpuid, 0, 0)->ebx++;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "vendor"));

	build_pair("GenuineIntel");
	need(&b.cpuid, 0xd, 0)->eax &= ~0x200U;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "XSAVE components 0x200"));

	build_pair("GenuineIntel");
	need(&b.cpuid, 0xd, 9)->ebx = 2432;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "XSAVE component 9"));

	build_pair("GenuineIntel");
	need(&b.cpuid, 0x80000008, 0)->eax = 0x3027;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "39 physical"));
}

TEST(compare_hostile)
{
	build_pair("GenuineIntel");
	a.cpuid.nent = 0;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	a.cpuid.nent = CPUID_MAX_ENTRIES + 1;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	build_pair("GenuineIntel");
	need(&a.cpuid, 6, 0)->function = 0x24;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "leaf 0x24"));
	/* Twice the same leaf: the second could say what the first hides. */
	build_pair("GenuineIntel");
	a.cpuid.entries[a.cpuid.nent++] = *need(&a.cpuid, 7, 0);
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "twice"));
	/* A register that we always leave at zero. */
	build_pair("GenuineIntel");
	need(&a.cpuid, 6, 0)->ecx = 1;
	ck_assert_int_lt(cpuid_compare(&a.cpuid, &b.cpuid, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "leaf 0x6"));
}

/* This machine's KVM: accepted for each vCPU, and a CPU saved here is at home here. */
TEST(kvm)
{
	int kvm = open_kvm(), vm, vcpu;

	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	ck_assert_int_ge(vm, 0);
	ck_assert_int_ge(ioctl(vm, KVM_CREATE_IRQCHIP), 0);
	ck_assert_msg(!cpuid_build(kvm, 4, &a.cpuid, true, &err), "%s", err.msg);
	ck_assert_msg(!cpuid_build(kvm, 4, &b.cpuid, true, &err), "%s", err.msg);
	ck_assert_msg(!cpuid_compare(&a.cpuid, &b.cpuid, &err), "%s", err.msg);
	for (uint32_t id = 0; id < 4; id++) {
		vcpu = ioctl(vm, KVM_CREATE_VCPU, (unsigned long)id);
		ck_assert_int_ge(vcpu, 0);
		cpuid_topology(&a.cpuid, id, 4);
		ck_assert_int_eq(ioctl(vcpu, KVM_SET_CPUID2, &a.cpuid), 0);
		memset(&b, 0, sizeof(b));
		b.cpuid.nent = CPUID_MAX_ENTRIES;
		ck_assert_int_eq(ioctl(vcpu, KVM_GET_CPUID2, &b.cpuid), 0);
		ck_assert_uint_eq(need(&b.cpuid, 1, 0)->ebx >> 24, id);
		ck_assert_uint_eq(need(&b.cpuid, 0xb, 1)->ebx, 4);
		/* KVM may add what follows from control registers, but takes nothing away. */
		ck_assert_msg(!cpuid_compare(&a.cpuid, &b.cpuid, &err), "%s", err.msg);
		close(vcpu);
	}
	close(vm);
	close(kvm);
}

UNIT_MAIN(NULL, NULL)
