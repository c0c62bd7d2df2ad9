/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/x86/x86.h"
#include "vmm/base/bytes.h"
#include "vmm/x86/cpuid_table.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

/* Bits that code below sets or tests, by leaf and register. */
#define L1_ECX_X2APIC	    (1U << 21)
#define L1_ECX_TSC_DEADLINE (1U << 24)
#define L1_ECX_XSAVE	    (1U << 26)
#define L1_ECX_AVX	    (1U << 28)
#define L1_ECX_HYPERVISOR   (1U << 31)
#define L1_EDX_HTT	    (1U << 28)
#define L7_EBX_AVX512F	    (1U << 16)
#define L7_ECX_PKU	    (1U << 3)
#define L7_EDX_ARCH_CAPS    (1U << 29)
#define LD1_EAX_XSAVEC	    (1U << 1)
#define L81_ECX_CMP_LEGACY  (1U << 1)
#define L81_ECX_TOPOEXT	    (1U << 22)

/* XCR0: Intel SDM volume 1, 13.1. */
#define XCR0_X87_SSE	 0x3U
#define XCR0_AVX	 0x4U
#define XCR0_AVX512	 0xe0U
#define XCR0_PKRU	 0x200U
#define XSAVE_BASE_BYTES 576 /* legacy region and header */
#define XSAVE_COMPONENTS 64

#define LEAF_KVM_LAST 0x40000001U
#define LEAF_EXT      0x80000000U
#define LEVEL_SMT     1 /* leaf 0xb: ECX bits 15:8 */
#define LEVEL_CORE    2

static struct kvm_cpuid_entry2 *find(const struct kvm_cpuid2 *cpuid, uint32_t function,
				     uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function == function &&
		    (!(e->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) || e->index == index))
			return (struct kvm_cpuid_entry2 *)e;
	}
	return NULL;
}

static uint32_t *reg_of(struct kvm_cpuid_entry2 *e, enum cpuid_reg reg)
{
	uint32_t *const regs[] = {&e->eax, &e->ebx, &e->ecx, &e->edx};

	return regs[reg];
}

static uint32_t value_of(const struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index,
			 enum cpuid_reg reg)
{
	struct kvm_cpuid_entry2 *e = find(cpuid, function, index);

	return e ? *reg_of(e, reg) : 0;
}

static const struct cpuid_leaf *leaf_of(uint32_t function, uint32_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(cpuid_leaf_table); i++) {
		const struct cpuid_leaf *leaf = &cpuid_leaf_table[i];

		if (leaf->function == function && index >= leaf->first && index <= leaf->last)
			return leaf;
	}
	return NULL;
}

/* One bit of a row. */
struct word {
	const char *name; /* not terminated */
	int length;	  /* 0: behind the last word, reserved */
	uint32_t bit;
	bool allowed;
};

static void next_word(const char **at, struct word *word)
{
	const char *p = *at + strspn(*at, " ");

	word->allowed = *p && *p != '-' && *p != '.';
	word->name = p + (*p == '-');
	*at = p + strcspn(p, " ");
	word->length = (int)(*at - word->name);
}

static uint32_t allowed_mask(const struct cpuid_features *row)
{
	const char *at = row->names;
	struct word word = {0};
	uint32_t mask = 0;

	for (; word.bit < 32; word.bit++) {
		next_word(&at, &word);
		mask |= (uint32_t)word.allowed << word.bit;
	}
	return mask;
}

static bool is_amd(const struct kvm_cpuid2 *cpuid)
{
	uint32_t ebx = value_of(cpuid, 0, 0, EBX);

	return !memcmp(&ebx, "Auth", 4) || !memcmp(&ebx, "Hygo", 4);
}

/* XCR0 components that the guest may enable: those whose instructions it is offered. */
static uint64_t allowed_xcr0(const struct kvm_cpuid2 *cpuid)
{
	uint64_t offered = value_of(cpuid, 0xd, 0, EAX);
	uint64_t allowed = XCR0_X87_SSE;

	if (!(value_of(cpuid, 1, 0, ECX) & L1_ECX_XSAVE))
		return 0;
	if (value_of(cpuid, 1, 0, ECX) & L1_ECX_AVX)
		allowed |= XCR0_AVX;
	if (value_of(cpuid, 7, 0, EBX) & L7_EBX_AVX512F)
		allowed |= XCR0_AVX512;
	if (value_of(cpuid, 7, 0, ECX) & L7_ECX_PKU)
		allowed |= XCR0_PKRU;
	return offered & allowed;
}

/* Leaf 0xd: sizes for the allowed components; KVM follows XCR0 in EBX while the guest runs. */
static void filter_xsave(struct kvm_cpuid2 *cpuid, uint64_t xcr0)
{
	struct kvm_cpuid_entry2 *max = find(cpuid, 0xd, 0);
	struct kvm_cpuid_entry2 *features = find(cpuid, 0xd, 1);
	uint32_t bytes = XSAVE_BASE_BYTES;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		if (e->function != 0xd || e->index < 2)
			continue;
		if (e->index >= XSAVE_COMPONENTS || !(xcr0 >> e->index & 1))
			e->eax = e->ebx = e->ecx = e->edx = 0;
		else if (e->eax + e->ebx > bytes)
			bytes = e->eax + e->ebx;
	}
	if (max) {
		max->eax = (uint32_t)xcr0;
		max->ebx = xcr0 ? XSAVE_BASE_BYTES : 0;
		max->ecx = xcr0 ? bytes : 0;
		max->edx = 0;
	}
	if (features) {
		features->eax = xcr0 ? features->eax : 0;
		features->ebx = features->eax & LD1_EAX_XSAVEC ? XSAVE_BASE_BYTES : 0;
		features->ecx = features->edx = 0; /* IA32_XSS stays 0 */
	}
}

static void filter_features(struct kvm_cpuid2 *cpuid)
{
	for (size_t i = 0; i < ARRAY_SIZE(cpuid_feature_table); i++) {
		const struct cpuid_features *row = &cpuid_feature_table[i];
		struct kvm_cpuid_entry2 *e = find(cpuid, row->function, row->index);

		if (e)
			*reg_of(e, row->reg) &= allowed_mask(row);
	}
}

/* Drops what no table allows, and all-zero leaves: a leaf that is absent reads as zero. */
static void drop_leaves(struct kvm_cpuid2 *cpuid)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const struct kvm_cpuid_entry2 e = cpuid->entries[i];
		const struct cpuid_leaf *leaf = leaf_of(e.function, e.index);

		if (leaf && leaf->kind != LEAF_TOPOLOGY && (e.eax | e.ebx | e.ecx | e.edx))
			cpuid->entries[n++] = e;
	}
	cpuid->nent = n;
}

static void clear_unlisted_regs(struct kvm_cpuid2 *cpuid)
{
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];
		const struct cpuid_leaf *leaf = leaf_of(e->function, e->index);

		for (enum cpuid_reg reg = EAX; leaf && reg <= EDX; reg++)
			if (!(leaf->regs & 1U << reg))
				*reg_of(e, reg) = 0;
	}
}

static void add_leaf(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index, uint32_t flags)
{
	if (cpuid->nent < CPUID_MAX_ENTRIES)
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = function, .index = index, .flags = flags};
}

/* Entries for cpuid_topology() to fill. Leaf 0x1f only where the CPU has it; 0xb says the same. */
static void add_topology(struct kvm_cpuid2 *cpuid, uint32_t max_basic)
{
	static const uint32_t leaves[] = {0xb, 0x1f};

	for (size_t i = 0; i < ARRAY_SIZE(leaves); i++)
		for (uint32_t index = 0; index <= LEVEL_CORE && max_basic >= leaves[i]; index++)
			add_leaf(cpuid, leaves[i], index, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
	if (value_of(cpuid, LEAF_EXT + 1, 0, ECX) & L81_ECX_TOPOEXT)
		add_leaf(cpuid, LEAF_EXT + 0x1e, 0, 0);
}

/* "Highest leaf" says what is there. */
static void set_max(struct kvm_cpuid2 *cpuid, uint32_t base)
{
	struct kvm_cpuid_entry2 *e = find(cpuid, base, 0);
	uint32_t max = base;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		uint32_t function = cpuid->entries[i].function;

		if (function >> 16 == base >> 16 && function > max)
			max = function;
	}
	if (e)
		e->eax = max;
}

void cpuid_filter(struct kvm_cpuid2 *io, uint32_t nvcpus, bool has_tsc_deadline)
{
	uint32_t max_basic = value_of(io, 0, 0, EAX);
	struct kvm_cpuid_entry2 *e;

	clear_unlisted_regs(io);
	filter_features(io);
	e = find(io, 1, 0);
	if (e) {
		e->ecx &= ~L1_ECX_TSC_DEADLINE;
		e->ecx |= L1_ECX_HYPERVISOR | (has_tsc_deadline ? L1_ECX_TSC_DEADLINE : 0);
	}
	/* Only Intel CPUs have that MSR; KVM emulates one on AMD, which no guest expects. */
	e = find(io, 7, 0);
	if (e && is_amd(io))
		e->edx &= ~L7_EDX_ARCH_CAPS;
	e = find(io, 7, 0);
	if (e && e->eax > CPUID_LEAF7_LAST)
		e->eax = CPUID_LEAF7_LAST;
	filter_xsave(io, allowed_xcr0(io));
	drop_leaves(io);
	add_topology(io, max_basic);
	set_max(io, 0);
	set_max(io, LEAF_EXT);
	e = find(io, 0x40000000, 0);
	if (e)
		e->eax = LEAF_KVM_LAST;
	cpuid_topology(io, 0, nvcpus);
}

int cpuid_build(int kvm_fd, uint32_t nvcpus, struct kvm_cpuid2 *out, bool has_tsc_deadline,
		struct error *err)
{
	memset(out, 0, sizeof(*out) + CPUID_MAX_ENTRIES * sizeof(out->entries[0]));
	out->nent = CPUID_MAX_ENTRIES;
	if (ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, out))
		return error_set(err, -errno, "KVM_GET_SUPPORTED_CPUID: %s", strerror(errno));
	cpuid_filter(out, nvcpus, has_tsc_deadline);
	if (!(value_of(out, 1, 0, ECX) & L1_ECX_X2APIC))
		return error_set(err, -ENOTSUP, "this host's KVM offers no x2APIC");
	return 0;
}

/* Bits of an APIC id: ceil(log2(nvcpus)). */
static uint32_t id_bits(uint32_t nvcpus)
{
	uint32_t bits = 0;

	while (1U << bits < nvcpus)
		bits++;
	return bits;
}

/* Leaf 4 and AMD's 0x8000001d: which cores share a cache. Each core has its own levels 1 and 2. */
static void set_cache(struct kvm_cpuid_entry2 *e, uint32_t sharing, uint32_t cores)
{
	uint32_t level = e->eax >> 5 & 7;

	e->eax &= 0x3fff;
	e->eax |= (level >= 3 ? sharing - 1 : 0) << 14 | (cores - 1) << 26;
}

/* Leaves 0xb and 0x1f; subleaf 0: threads of a core, 1: cores of the socket, 2: the end. */
static void set_level(struct kvm_cpuid_entry2 *e, uint32_t vcpu_id, uint32_t nvcpus)
{
	static const uint32_t type[] = {LEVEL_SMT, LEVEL_CORE, 0};
	const uint32_t shift[] = {0, id_bits(nvcpus), 0}, count[] = {1, nvcpus, 0};
	uint32_t i = e->index < 2 ? e->index : 2;

	e->eax = shift[i];
	e->ebx = count[i];
	e->ecx = type[i] << 8 | e->index;
	e->edx = vcpu_id;
}

void cpuid_topology(struct kvm_cpuid2 *cpuid, uint32_t vcpu_id, uint32_t nvcpus)
{
	uint32_t ids = 1U << id_bits(nvcpus);
	bool amd = is_amd(cpuid);

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *e = &cpuid->entries[i];

		switch (e->function) {
		case 1:
			e->ebx = (e->ebx & 0xff00) | nvcpus << 16 | vcpu_id << 24;
			e->edx = (e->edx & ~L1_EDX_HTT) | (nvcpus > 1 ? L1_EDX_HTT : 0);
			break;
		case 4:
			if (e->eax & 0x1f) /* type 0 ends the list */
				set_cache(e, ids, ids);
			break;
		case 0xb:
		case 0x1f:
			set_level(e, vcpu_id, nvcpus);
			break;
		case LEAF_EXT + 1:
			e->ecx &= ~L81_ECX_CMP_LEGACY;
			e->ecx |= amd && nvcpus > 1 ? L81_ECX_CMP_LEGACY : 0;
			break;
		case LEAF_EXT + 8:
			e->ecx = amd ? (nvcpus - 1) | id_bits(nvcpus) << 12 : 0;
			break;
		case LEAF_EXT + 0x1d:
			if (e->eax & 0x1f)
				set_cache(e, nvcpus, 1);
			break;
		case LEAF_EXT + 0x1e:
			e->eax = vcpu_id;
			e->ebx = vcpu_id & 0xff; /* core id; threads per core - 1 = 0 */
			e->ecx = e->edx = 0;	 /* one node, node 0 */
			break;
		}
	}
}

/* Appends "avx2 (leaf 7 ebx bit 5)", as far as there is room. */
static void add_missing(char *list, size_t size, const struct cpuid_features *row,
			const struct word *word)
{
	static const char *const reg_name[] = {"eax", "ebx", "ecx", "edx"};
	size_t used = strlen(list);
	bool named = word->length > 1 || (word->length && *word->name != '.');

	if (size - used < 80) {
		if (used && list[used - 1] != '.')
			snprintf(list + used, size - used, ", ...");
		return;
	}
	snprintf(list + used, size - used, "%s%.*s (leaf 0x%x %s bit %u)", used ? ", " : "",
		 named ? word->length : 9, named ? word->name : "a feature", row->function,
		 reg_name[row->reg], word->bit);
}

static void compare_row(const struct cpuid_features *row, uint32_t missing, char *list, size_t size)
{
	const char *at = row->names;
	struct word word = {0};

	for (; word.bit < 32; word.bit++) {
		next_word(&at, &word);
		if (missing & ~row->not_compared & 1U << word.bit)
			add_missing(list, size, row, &word);
	}
}

static bool has_unlisted_regs(const struct kvm_cpuid_entry2 *e, const struct cpuid_leaf *leaf)
{
	struct kvm_cpuid_entry2 rest = *e;

	for (enum cpuid_reg reg = EAX; reg <= EDX; reg++)
		if (!(leaf->regs & 1U << reg) && *reg_of(&rest, reg))
			return true;
	return false;
}

static int check_known(const struct kvm_cpuid2 *saved, struct error *err)
{
	if (!saved->nent || saved->nent > CPUID_MAX_ENTRIES)
		return error_set(err, -EINVAL, "the saved CPU has %u CPUID entries, not 1 to %d",
				 saved->nent, CPUID_MAX_ENTRIES);
	for (uint32_t i = 0; i < saved->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &saved->entries[i];

		const struct cpuid_leaf *leaf = leaf_of(e->function, e->index);

		if (!leaf || has_unlisted_regs(e, leaf))
			return error_set(err, -ENOTSUP,
					 "the saved CPU has CPUID leaf 0x%x index %u with content "
					 "that this version does not know",
					 e->function, e->index);
		if (find(saved, e->function, e->index) != e)
			return error_set(err, -EINVAL,
					 "the saved CPU has CPUID leaf 0x%x index %u twice",
					 e->function, e->index);
	}
	return 0;
}

static int compare_vendor(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host,
			  struct error *err)
{
	const struct kvm_cpuid_entry2 *s = find(saved, 0, 0), *h = find(host, 0, 0);

	if (s && h && s->ebx == h->ebx && s->ecx == h->ecx && s->edx == h->edx)
		return 0;
	return error_set(err, -ENOTSUP, "the saved CPU and this host's are from different vendors");
}

/* XSAVE components must keep their place in the saved area; addresses must not become shorter. */
static int compare_sizes(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host,
			 struct error *err)
{
	uint64_t xcr0 = value_of(saved, 0xd, 0, EAX);
	uint64_t lost = xcr0 & ~(uint64_t)value_of(host, 0xd, 0, EAX);
	uint32_t s_bits = value_of(saved, LEAF_EXT + 8, 0, EAX);
	uint32_t h_bits = value_of(host, LEAF_EXT + 8, 0, EAX);

	if (lost)
		return error_set(err, -ENOTSUP, "this host lacks XSAVE components 0x%llx",
				 (unsigned long long)lost);
	for (uint32_t i = 2; i < 32; i++)
		if (xcr0 >> i & 1 && (value_of(saved, 0xd, i, EAX) != value_of(host, 0xd, i, EAX) ||
				      value_of(saved, 0xd, i, EBX) != value_of(host, 0xd, i, EBX)))
			return error_set(err, -ENOTSUP,
					 "this host keeps XSAVE component %u at another place", i);
	if ((s_bits & 0xff) > (h_bits & 0xff) || (s_bits >> 8 & 0xff) > (h_bits >> 8 & 0xff))
		return error_set(err, -ENOTSUP,
				 "this host has %u physical and %u virtual address bits, the saved "
				 "CPU %u and %u",
				 h_bits & 0xff, h_bits >> 8 & 0xff, s_bits & 0xff,
				 s_bits >> 8 & 0xff);
	return 0;
}

int cpuid_compare(const struct kvm_cpuid2 *saved, const struct kvm_cpuid2 *host, struct error *err)
{
	char list[400] = "";
	int ret = check_known(saved, err);

	if (!ret)
		ret = compare_vendor(saved, host, err);
	if (ret)
		return ret;
	for (size_t i = 0; i < ARRAY_SIZE(cpuid_feature_table); i++) {
		const struct cpuid_features *row = &cpuid_feature_table[i];
		uint32_t missing = value_of(saved, row->function, row->index, row->reg) &
				   ~value_of(host, row->function, row->index, row->reg);

		compare_row(row, missing, list, sizeof(list));
	}
	if (*list)
		return error_set(err, -ENOTSUP, "this host's CPU or KVM lacks %s", list);
	return compare_sizes(saved, host, err);
}
