/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * PVH entry, AP entry and interrupt stubs. PVH (Xen's x86/HVM direct boot ABI): 32-bit protected mode,
 * paging off, flat segments, ebx = struct hvm_start_info. The page tables are data, not code: every
 * instruction of ring 0 costs on a software KVM, and the first output byte is measured.
 */
#include "rt.h"

	.section .note.Xen, "a", @note
	.balign 4
	.long 4, 8, 18			/* name and descriptor size, XEN_ELFNOTE_PHYS32_ENTRY */
	.asciz "Xen"
	.quad pvh_start

/* Paging and long mode on, then \target in 64-bit code. Clobbers eax, ecx and edx. */
	.macro LONG_MODE target
	movl $pml4, %eax
	movl %eax, %cr3
	movl $0x20, %eax		/* PAE */
	movl %eax, %cr4
	movl $MSR_EFER, %ecx
	rdmsr
	orl $0x100, %eax		/* LME */
	wrmsr
	movl $0x80010033, %eax		/* PG, WP, NE, ET, MP, PE */
	movl %eax, %cr0
	lgdt gdt_pointer
	ljmp $SEL_CODE, $\target
	.endm

	.text
	.code32
	.globl pvh_start
pvh_start:
	cld
	movl %ebx, %edi
	LONG_MODE bsp_start64
ap_start32:
	movw $SEL_DATA, %ax
	movw %ax, %ds
	LONG_MODE ap_start64

	.code64
	.macro DATA_SEGMENTS
	movl $SEL_DATA, %eax
	movl %eax, %ds
	movl %eax, %es
	movl %eax, %ss
	xorl %eax, %eax
	movl %eax, %fs
	movl %eax, %gs
	.endm
bsp_start64:
	DATA_SEGMENTS
	leaq bsp_stack_end(%rip), %rsp
	call rt_start
1:	pause
	jmp 1b
ap_start64:
	DATA_SEGMENTS
	leaq ap_stack_end(%rip), %rsp
	call rt_ap_start
1:	pause
	jmp 1b

/* What the SIPI starts: copied to AP_TRAMPOLINE_GPA, cs = that address >> 4, real mode. */
	.section .rodata
	.globl ap_trampoline, ap_trampoline_end
	.code16
ap_trampoline:
	cli
	movw %cs, %ax
	movw %ax, %ds
	lgdtl trampoline_gdt - ap_trampoline
	movl %cr0, %eax
	orl $1, %eax
	movl %eax, %cr0
	ljmpl $SEL_CODE32, $ap_start32
trampoline_gdt:
	.word gdt_end - gdt - 1
	.long gdt
ap_trampoline_end:

/* One stub of 16 bytes per vector; the frame is struct trap_frame. */
	.text
	.code64
	.balign 16
	.globl trap_stubs
trap_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21)
	pushq $0
	.endif
	pushq $vector
	jmp trap_common
	.set vector, vector + 1
	.endr

	.balign 16
trap_common:
	pushq %rax
	pushq %rbx
	pushq %rcx
	pushq %rdx
	pushq %rsi
	pushq %rdi
	pushq %rbp
	pushq %r8
	pushq %r9
	pushq %r10
	pushq %r11
	pushq %r12
	pushq %r13
	pushq %r14
	pushq %r15
	cld
	movq %rsp, %rdi
	call trap
	popq %r15
	popq %r14
	popq %r13
	popq %r12
	popq %r11
	popq %r10
	popq %r9
	popq %r8
	popq %rbp
	popq %rdi
	popq %rsi
	popq %rdx
	popq %rcx
	popq %rbx
	popq %rax
	addq $16, %rsp
	iretq

	.data
	.balign 16
	.globl gdt, gdt_end
gdt:
	.quad 0
	.quad 0x00af9b000000ffff	/* SEL_CODE */
	.quad 0x00cf93000000ffff	/* SEL_DATA */
	.quad 0x00cf9b000000ffff	/* SEL_CODE32 */
	.quad 0x00cff3000000ffff	/* SEL_USER_DATA */
	.quad 0x00affb000000ffff	/* SEL_USER_CODE */
	.quad 0, 0			/* SEL_TSS, SEL_LDT: made by those that want them */
	.quad 0, 0
gdt_end:
gdt_pointer:
	.word gdt_end - gdt - 1
	.quad gdt

/* Identity map: the first 4 GiB here (the last one uncached: APICs), above it by rt_map_ram(). */
	.balign 4096
	.globl pml4, pdpt
pml4:
	.quad pdpt + 7
	.fill 511, 8, 0
pdpt:
	.set i, 0
	.rept 4
	.quad low_pd + 4096 * i + 7
	.set i, i + 1
	.endr
	.fill 508, 8, 0
low_pd:
	.set i, 0
	.rept 2048
	.if i < 1536
	.quad (i << 21) + 0x87
	.else
	.quad (i << 21) + 0x9f
	.endif
	.set i, i + 1
	.endr

	.bss
	.balign 16
	.skip 16384
bsp_stack_end:
	.skip 16384
ap_stack_end:

	.section .note.GNU-stack, "", @progbits
