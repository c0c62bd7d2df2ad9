// SPDX-License-Identifier: GPL-2.0-or-later
#include "rt.h"

#define IOAPIC_GPA  0xfec00000ul
#define ICR_PENDING 0x1000

struct gate {
	uint16_t offset_low, selector;
	uint8_t ist, type;
	uint16_t offset_mid;
	uint32_t offset_high, reserved;
};

static struct gate idt[256] __attribute__((aligned(16)));
static trap_fn handler[256];
static uint64_t fixup_rip; /* where an expected #GP goes on, 0 = none is expected */
static void (*volatile ap_fn)(void);

void trap(struct trap_frame *frame);
void trap(struct trap_frame *frame)
{
	if (handler[frame->vector]) {
		handler[frame->vector](frame);
	} else if (frame->vector == 13 && fixup_rip) {
		frame->rip = fixup_rip;
		frame->rax = 1;
	} else {
		guest_fail("trap %lu error %lx at %lx", frame->vector, frame->error, frame->rip);
	}
}

static void set_gate(unsigned int vector, uint8_t type)
{
	extern char trap_stubs[];
	uint64_t stub = (uint64_t)trap_stubs + vector * 16ul;

	idt[vector] = (struct gate){
		.offset_low = (uint16_t)stub,
		.selector = SEL_CODE,
		.type = type,
		.offset_mid = (uint16_t)(stub >> 16),
	};
}

void trap_set(unsigned int vector, trap_fn fn)
{
	handler[vector] = fn;
	set_gate(vector, 0x8e);
}

void trap_set_user(unsigned int vector, trap_fn fn)
{
	handler[vector] = fn;
	set_gate(vector, 0xee);
}

static void load_idt(void)
{
	struct {
		uint16_t limit;
		uint64_t base;
	} __attribute__((packed)) pointer = {sizeof(idt) - 1, (uint64_t)idt};

	__asm__ volatile("lidt %0" : : "m"(pointer));
}

/* Every vector gets its stub, so that one nobody asked for is named and is no triple fault. */
void irq_init(void)
{
	for (unsigned int vector = 0; vector < 256; vector++)
		set_gate(vector, 0x8e);
	load_idt();
	pic_init(0x20, 0xff, 0xff);
}

bool wrmsr_safe(uint32_t msr, uint64_t value)
{
	uint64_t failed;

	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "movq %%rax, %1\n\t"
			 "movl %k3, %%eax\n\t"
			 "wrmsr\n\t"
			 "xorl %%eax, %%eax\n"
			 "1:"
			 : "=&a"(failed), "=m"(fixup_rip)
			 : "c"(msr), "r"(value), "d"((uint32_t)(value >> 32))
			 : "memory");
	fixup_rip = 0;
	return !failed;
}

bool rdmsr_safe(uint32_t msr, uint64_t *value)
{
	uint64_t failed, low, high;

	__asm__ volatile("leaq 1f(%%rip), %%rax\n\t"
			 "movq %%rax, %1\n\t"
			 "rdmsr\n\t"
			 "movq %%rax, %2\n\t"
			 "xorl %%eax, %%eax\n"
			 "1:"
			 : "=&a"(failed), "=m"(fixup_rip), "=&r"(low), "=&d"(high)
			 : "c"(msr)
			 : "memory");
	fixup_rip = 0;
	if (!failed)
		*value = high << 32 | (uint32_t)low;
	return !failed;
}

/* Both 8259A: base_vector and base_vector + 8, cascade on line 2, no automatic end of interrupt. */
void pic_init(unsigned int base_vector, uint8_t mask0, uint8_t mask1)
{
	outb(0x20, 0x11);
	outb(0xa0, 0x11);
	outb(0x21, (uint8_t)base_vector);
	outb(0xa1, (uint8_t)(base_vector + 8));
	outb(0x21, 4);
	outb(0xa1, 2);
	outb(0x21, 1);
	outb(0xa1, 1);
	outb(0x21, mask0);
	outb(0xa1, mask1);
}

static uint32_t ioapic_read(unsigned int index)
{
	*(volatile uint32_t *)IOAPIC_GPA = index;
	return *(volatile uint32_t *)(IOAPIC_GPA + 0x10);
}

static void ioapic_write(unsigned int index, uint32_t value)
{
	*(volatile uint32_t *)IOAPIC_GPA = index;
	*(volatile uint32_t *)(IOAPIC_GPA + 0x10) = value;
}

uint64_t ioapic_entry(unsigned int pin)
{
	return (uint64_t)ioapic_read(0x11 + 2 * pin) << 32 | ioapic_read(0x10 + 2 * pin);
}

/* The low half holds the mask: it is written last. */
void ioapic_set_entry(unsigned int pin, uint64_t entry)
{
	ioapic_write(0x11 + 2 * pin, (uint32_t)(entry >> 32));
	ioapic_write(0x10 + 2 * pin, (uint32_t)entry);
}

void lapic_enable(void)
{
	lapic_write(LAPIC_TPR, 0);
	lapic_write(LAPIC_SPURIOUS, 0x1ff);
}

void lapic_ipi(uint32_t apic_id, uint32_t command)
{
	lapic_write(LAPIC_ICR_HIGH, apic_id << 24);
	lapic_write(LAPIC_ICR, command);
	while (lapic_read(LAPIC_ICR) & ICR_PENDING)
		;
}

void rt_ap_start(void);
void rt_ap_start(void)
{
	load_idt();
	lapic_enable();
	ap_fn();
}

void ap_trampoline_place(void (*fn)(void))
{
	extern char ap_trampoline[], ap_trampoline_end[];

	ap_fn = fn;
	memcpy((void *)AP_TRAMPOLINE_GPA, ap_trampoline,
	       (size_t)(ap_trampoline_end - ap_trampoline));
}

void ap_start(uint32_t apic_id, void (*fn)(void))
{
	ap_trampoline_place(fn);
	lapic_ipi(apic_id, 0x4500); /* INIT */
	spin(MOMENT);
	lapic_ipi(apic_id, 0x4600 | AP_TRAMPOLINE_GPA >> 12); /* SIPI */
}

/* Ring 3 needs a TSS for the way back; without one nothing here takes its 104 bytes. */
void tss_load(void)
{
	static struct {
		uint32_t reserved0;
		uint64_t rsp[3], reserved1, ist[7], reserved2;
		uint16_t reserved3, io_map;
	} __attribute__((packed)) tss;
	static uint8_t stack[8192] __attribute__((aligned(16)));

	tss.rsp[0] = (uint64_t)(stack + sizeof(stack));
	tss.io_map = sizeof(tss);
	gdt_set_system(SEL_TSS, 0x89, (uint64_t)&tss, sizeof(tss) - 1);
	__asm__ volatile("ltr %0" : : "r"((uint16_t)SEL_TSS));
}

/* A 16-byte descriptor of a TSS or an LDT. */
void gdt_set_system(uint16_t selector, uint8_t type, uint64_t base, uint32_t limit)
{
	extern uint64_t gdt[];
	uint64_t *entry = gdt + selector / 8;

	entry[0] = (limit & 0xffff) | (base & 0xffffff) << 16 | (uint64_t)type << 40 |
		   (base >> 24 & 0xff) << 56;
	entry[1] = base >> 32;
}
