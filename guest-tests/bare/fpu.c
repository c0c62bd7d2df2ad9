// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Ring 3 keeps patterns in the x87, SSE and, if the CPU has it, AVX registers while it spins, then has ring 0
 * compare what it stored. Ring 0 itself never touches them. int3 is the gate back: it works from ring 3 even
 * where the software KVM refuses it in ring 0.
 */
#include "rt.h"

#define CPUID_XSAVE   (1u << 26)
#define CPUID_AVX     (1u << 28)
#define X87_REGISTERS 28 /* in the image fnsave writes; before it: control, status, tag, pointers */

const char guest_name[] = "fpu";

uint8_t fpu_pattern[16][32] __attribute__((aligned(32)));
uint8_t fpu_seen[16][32] __attribute__((aligned(32)));
uint8_t fpu_x87[108], fpu_stack[4096];
uint16_t fpu_control = 0x0b7f;		     /* round up, 64-bit mantissa */
uint32_t fpu_mxcsr = 0x7f80, fpu_mxcsr_seen; /* round to zero */
uint64_t fpu_has_avx;

/* Both loops never end: int3 is answered by ring 0, which returns behind it. */
void fpu_ring3(void);
__asm__(".macro EACH op, prefix, from\n\t"
	".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"\\op \\from+32*\\i(%rip), %\\prefix\\i\n\t"
	".endr\n\t"
	".endm\n"
	".macro STORE_EACH op, prefix, to\n\t"
	".irp i, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15\n\t"
	"\\op %\\prefix\\i, \\to+32*\\i(%rip)\n\t"
	".endr\n\t"
	".endm\n"
	".macro HOLD\n\t"
	"movl $2000000, %ecx\n"
	"1:\tdecl %ecx\n\t"
	"jnz 1b\n\t"
	"fnsave fpu_x87(%rip)\n\t"
	"frstor fpu_x87(%rip)\n\t"
	"stmxcsr fpu_mxcsr_seen(%rip)\n\t"
	".endm\n"
	"fpu_ring3:\n\t"
	"fninit\n\t"
	"fldcw fpu_control(%rip)\n\t"
	"ldmxcsr fpu_mxcsr(%rip)\n\t"
	"fldpi; fldl2e; fldl2t; fldlg2; fldln2; fld1\n\t"
	"cmpq $0, fpu_has_avx(%rip)\n\t"
	"jne 3f\n\t"
	"EACH movups, xmm, fpu_pattern\n"
	"2:\tHOLD\n\t"
	"STORE_EACH movups, xmm, fpu_seen\n\t"
	"int3\n\t"
	"jmp 2b\n"
	"3:\tEACH vmovups, ymm, fpu_pattern\n"
	"4:\tHOLD\n\t"
	"STORE_EACH vmovups, ymm, fpu_seen\n\t"
	"int3\n\t"
	"jmp 4b\n");

static void on_int3(struct trap_frame *frame)
{
	static uint8_t first[sizeof(fpu_x87)];
	static bool have_first;
	size_t width = fpu_has_avx ? 32 : 16;

	(void)frame;
	for (uint64_t i = 0; i < 16; i++)
		CHECK(!memcmp(fpu_seen[i], fpu_pattern[i], width),
		      "register %cmm%lu lost its pattern", fpu_has_avx ? 'y' : 'x', i);
	CHECK(fpu_mxcsr_seen == fpu_mxcsr, "mxcsr is %x", fpu_mxcsr_seen);
	if (!have_first)
		memcpy(first, fpu_x87, sizeof(first));
	have_first = true;
	CHECK(!memcmp(fpu_x87, first, 10), "x87 control, status or tags changed");
	CHECK(!memcmp(fpu_x87 + X87_REGISTERS, first + X87_REGISTERS,
		      sizeof(first) - X87_REGISTERS),
	      "x87 registers changed");
	shared.counter++;
	guest_ok("avx %lu", fpu_has_avx);
}

static void enable_fpu(void)
{
	uint32_t ecx = cpuid(1, 0).ecx;
	uint64_t cr4;

	__asm__ volatile("movq %%cr4, %0" : "=r"(cr4));
	cr4 |= 0x600; /* OSFXSR, OSXMMEXCPT */
	if (ecx & CPUID_XSAVE && ecx & CPUID_AVX)
		cr4 |= 1 << 18; /* OSXSAVE */
	__asm__ volatile("movq %0, %%cr4" : : "r"(cr4));
	if (cr4 & 1 << 18) {
		__asm__ volatile("xsetbv" : : "c"(0), "a"(7), "d"(0));
		fpu_has_avx = 1;
	}
}

void guest_main(void)
{
	irq_init();
	tss_load();
	enable_fpu();
	for (unsigned int i = 0; i < sizeof(fpu_pattern); i++)
		fpu_pattern[i / 32][i % 32] = (uint8_t)(i * 37 + 11);
	trap_set_user(3, on_int3);
	__asm__ volatile("pushq %0; pushq %1; pushq $2; pushq %2; pushq %3; iretq"
			 :
			 : "i"(SEL_USER_DATA), "r"(fpu_stack + sizeof(fpu_stack)),
			   "i"(SEL_USER_CODE), "r"(fpu_ring3)
			 : "memory");
	__builtin_unreachable();
}
