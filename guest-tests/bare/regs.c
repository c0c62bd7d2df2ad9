// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Every register a kernel may own holds a pattern: general ones (rsp and rflags among them) while a loop spins,
 * segments, descriptor tables, control and debug registers and MSRs between the lines.
 */
#include "rt.h"

#define SPINS	     10000
#define HELD_FLAGS   0x240401 /* ID, AC, DF, CF: those the loop itself leaves alone */
#define CPUID_MTRR   (1u << 12)
#define CPUID_RDTSCP (1u << 27)
#define CPUID_AMD    0x68747541u /* EBX of leaf 0: "Auth" of AuthenticAMD */

struct msr_pattern {
	uint32_t index;
	const char *name;
	uint64_t value;
	bool needed; /* or only where the CPU has it */
};

struct table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

const char guest_name[] = "regs";

static struct msr_pattern msr_pattern[] = {
	{0x277, "PAT", 0x0007010600050401, true},
	{0xc0000081, "STAR", 0x0023001000000000, true},
	{0xc0000082, "LSTAR", 0xffffffff81234560, true},
	{0xc0000083, "CSTAR", 0xffffffff81765430, true},
	{0xc0000084, "SFMASK", 0x47700, true},
	{0xc0000100, "FS_BASE", 0x00007f1234567000, true},
	{0xc0000101, "GS_BASE", 0xffff888012345000, true},
	{0xc0000102, "KERNEL_GS_BASE", 0xffff8880deadb000, true},
	{0x174, "SYSENTER_CS", 0x10, true},
	{0x175, "SYSENTER_ESP", 0xfffffe0000004000, true},
	{0x176, "SYSENTER_EIP", 0xffffffff81aa5500, true},
	{0xc0000103, "TSC_AUX", 0x1234, false},
	{0x2ff, "MTRR_DEF_TYPE", 0xc06, false},
	{0x200, "MTRR_PHYSBASE0", 0xc0000000, false},
	{0x201, "MTRR_PHYSMASK0", 0xffc0000800, false},
	{0x20e, "MTRR_PHYSBASE7", 0xd0000001, false},
	{0x20f, "MTRR_PHYSMASK7", 0xfff0000800, false},
	{0x250, "MTRR_FIX64K_00000", 0x0606060606060606, false},
	{0x258, "MTRR_FIX16K_80000", 0x0606060605050505, false},
	{0x259, "MTRR_FIX16K_A0000", 0x0101010101010101, false},
	{0x268, "MTRR_FIX4K_C0000", 0x0404040404040405, false},
	{0x26f, "MTRR_FIX4K_F8000", 0x0505050505050506, false},
};

static const uint64_t gpr[16] = {
	0x1111111111111111, 0x2222222222222222, 0x3333333333333333, 0x4444444444444444,
	0x5555555555555555, 0x6666666666666666, 0x7777777777777777, 0x8888888888888888,
	0x9999999999999999, 0xaaaaaaaaaaaaaaaa, 0xbbbbbbbbbbbbbbbb, 0xcccccccccccccccc,
	0xdddddddddddddddd, 0xeeeeeeeeeeeeeeee, 0x0123456789abcdef, 0xfedcba9876543210,
};
static const uint64_t debug[6] = {
	0xffffffff81001001, 0x00007fff00112233, 0xffff800000445566, 0x2000, 0xffff0ff5, 0xd99a0400};
static uint64_t control[3]; /* cr0, cr3, cr4 */
static uint64_t ldt[4];
uint64_t regs_pattern[16], regs_seen[16], regs_flags, regs_rsp, regs_spins;

/* Order in the tables: rax rbx rcx rdx rsi rdi rbp rsp r8..r15. Nothing may touch the stack in between. */
void regs_hold(void);
__asm__(".macro LOAD reg, offset\n\tmovq regs_pattern+\\offset(%rip), %\\reg\n\t.endm\n"
	".macro STORE reg, offset\n\tmovq %\\reg, regs_seen+\\offset(%rip)\n\t.endm\n"
	".macro ALL op\n\t"
	"\\op rax, 0\n\t\\op rbx, 8\n\t\\op rcx, 16\n\t\\op rdx, 24\n\t"
	"\\op rsi, 32\n\t\\op rdi, 40\n\t\\op rbp, 48\n\t\\op rsp, 56\n\t"
	"\\op r8, 64\n\t\\op r9, 72\n\t\\op r10, 80\n\t\\op r11, 88\n\t"
	"\\op r12, 96\n\t\\op r13, 104\n\t\\op r14, 112\n\t\\op r15, 120\n\t"
	".endm\n"
	"regs_hold:\n\t"
	"pushq %rbx; pushq %rbp; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n\t"
	"movq %rsp, regs_rsp(%rip)\n\t"
	"pushq $0x240cd7\n\t" /* all but IF and TF */
	"popfq\n\t"
	"ALL LOAD\n\t"
	"stc\n"
	"1:\tdecq regs_spins(%rip)\n\t"
	"jnz 1b\n\t"
	"ALL STORE\n\t"
	"movq regs_rsp(%rip), %rsp\n\t"
	"pushfq\n\t"
	"popq regs_flags(%rip)\n\t"
	"pushq $2\n\t"
	"popfq\n\t"
	"popq %r15; popq %r14; popq %r13; popq %r12; popq %rbp; popq %rbx\n\t"
	"ret\n");

#define READ(what, variable) __asm__ volatile("movq %%" what ", %0" : "=r"(variable))
#define WRITE(what, value) \
	__asm__ volatile("movq %0, %%" what : : "r"((uint64_t)(value)) : "memory")
#define SEGMENT(what, variable) __asm__ volatile("movl %%" what ", %0" : "=r"(variable))
#define SET_SEGMENT(what, selector) \
	__asm__ volatile("movl %0, %%" what : : "r"(selector) : "memory")

static void set_tables(void)
{
	tss_load();
	ldt[1] = 0x00cf93000000ffff;
	ldt[2] = 0x004093000000ffff | 0x1234ull << 16; /* data, byte-granular, another base */
	gdt_set_system(SEL_LDT, 0x82, (uint64_t)ldt, sizeof(ldt) - 1);
	__asm__ volatile("lldt %0" : : "r"((uint16_t)SEL_LDT));
	SET_SEGMENT("ds", SEL_USER_DATA);
	SET_SEGMENT("es", 0x0c); /* LDT entry 1 */
	SET_SEGMENT("fs", 0x14); /* LDT entry 2 */
	SET_SEGMENT("gs", SEL_DATA);
}

static void check_tables(void)
{
	const uint32_t expected[4] = {SEL_USER_DATA, 0x0c, 0x14, SEL_DATA};
	extern char gdt[], gdt_end[];
	struct table_pointer gdtr, idtr;
	uint32_t segment[4];
	uint16_t tr, ldtr;

	SEGMENT("ds", segment[0]);
	SEGMENT("es", segment[1]);
	SEGMENT("fs", segment[2]);
	SEGMENT("gs", segment[3]);
	for (int i = 0; i < 4; i++)
		CHECK(segment[i] == expected[i], "segment %u holds %x", i, segment[i]);
	__asm__ volatile("str %0; sldt %1" : "=r"(tr), "=r"(ldtr));
	CHECK(tr == SEL_TSS && ldtr == SEL_LDT, "tr is %x, ldtr %x", tr, ldtr);
	__asm__ volatile("sgdt %0" : "=m"(gdtr));
	__asm__ volatile("sidt %0" : "=m"(idtr));
	CHECK(gdtr.base == (uint64_t)gdt && gdtr.limit == gdt_end - gdt - 1, "gdtr is %lx:%x",
	      gdtr.base, gdtr.limit);
	CHECK(idtr.limit == 4095, "idtr has limit %x", idtr.limit);
}

/* cr0, cr3, cr4 */
static void read_control(uint64_t at[3])
{
	READ("cr0", at[0]);
	READ("cr3", at[1]);
	READ("cr4", at[2]);
}

static void set_control(void)
{
	read_control(control);
	WRITE("cr0", control[0] | 1u << 18);		      /* AM */
	WRITE("cr3", control[1] | 0x18);		      /* PWT, PCD */
	WRITE("cr4", control[2] | 0x8 | 0x40 | 0x80 | 0x600); /* DE, MCE, PGE, OSFXSR, OSXMMEXCPT */
	WRITE("cr2", 0xffffdeadbeef1238);
	WRITE("cr8", 9ul);
	read_control(control);
	WRITE("db0", debug[0]);
	WRITE("db1", debug[1]);
	WRITE("db2", debug[2]);
	WRITE("db3", debug[3]);
	WRITE("db6", debug[4]);
	WRITE("db7", debug[5]); /* conditions, none enabled */
}

static void check_control(void)
{
	uint64_t seen[6], cr2, cr8;

	read_control(seen);
	READ("cr2", cr2);
	READ("cr8", cr8);
	for (uint64_t i = 0; i < 3; i++)
		CHECK(seen[i] == control[i], "control register %lu of 0, 3, 4 is %lx, not %lx", i,
		      seen[i], control[i]);
	CHECK(cr2 == 0xffffdeadbeef1238 && cr8 == 9, "cr2 is %lx, cr8 %lx", cr2, cr8);
	READ("db0", seen[0]);
	READ("db1", seen[1]);
	READ("db2", seen[2]);
	READ("db3", seen[3]);
	READ("db6", seen[4]);
	READ("db7", seen[5]);
	for (uint64_t i = 0; i < 6; i++)
		CHECK(seen[i] == debug[i], "debug register %lu of 0-3, 6, 7 is %lx, not %lx", i,
		      seen[i], debug[i]);
}

/* AMD's CPUs have no SYSENTER in long mode, so the upper half of its MSRs means nothing: KVM drops it for a guest whose
 * CPUID says AMD (svm_set_msr() in arch/x86/kvm/svm/svm.c). */
static void set_msrs(void)
{
	bool is_amd = cpuid(0, 0).ebx == CPUID_AMD;
	bool mtrr = cpuid(1, 0).edx & CPUID_MTRR, aux = cpuid(0x80000001, 0).edx & CPUID_RDTSCP;

	for (size_t i = 0; i < sizeof(msr_pattern) / sizeof(*msr_pattern); i++) {
		struct msr_pattern *m = msr_pattern + i;
		bool needed = m->needed || (m->index < 0x300 ? mtrr : aux);

		if (is_amd && (m->index == 0x175 || m->index == 0x176))
			m->value = (uint32_t)m->value;
		if (!wrmsr_safe(m->index, m->value)) {
			CHECK(!needed, "MSR %s cannot be written", m->name);
			m->name = NULL;
			continue;
		}
		CHECK(rdmsr(m->index) == m->value, "MSR %s reads %lx after a write of %lx", m->name,
		      rdmsr(m->index), m->value);
	}
}

static uint64_t check_msrs(void)
{
	uint64_t checked = 0;

	for (size_t i = 0; i < sizeof(msr_pattern) / sizeof(*msr_pattern); i++) {
		const struct msr_pattern *m = msr_pattern + i;

		if (!m->name)
			continue;
		CHECK(rdmsr(m->index) == m->value, "MSR %s is %lx, not %lx", m->name,
		      rdmsr(m->index), m->value);
		checked++;
	}
	return checked;
}

void guest_main(void)
{
	uint64_t msrs;

	irq_init();
	for (int i = 0; i < 16; i++)
		regs_pattern[i] = gpr[i];
	set_tables();
	set_control();
	set_msrs();
	for (uint64_t round = 1;; round++) {
		regs_spins = SPINS;
		regs_hold();
		shared.counter++;
		for (uint64_t i = 0; i < 16; i++)
			CHECK(regs_seen[i] == gpr[i], "general register %lu is %lx", i,
			      regs_seen[i]);
		CHECK((regs_flags & HELD_FLAGS) == HELD_FLAGS, "rflags is %lx", regs_flags);
		check_tables();
		check_control();
		msrs = check_msrs();
		guest_ok("round %lu msrs %lu", round, msrs);
	}
}
