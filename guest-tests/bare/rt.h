/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The runtime of the bare guests: long mode with RAM mapped 1:1, serial output, interrupts, APICs, one AP.
 * Owns: the page tables, the IDT, COM1. Threads: vCPU 0 runs guest_main(), vCPU 1 what ap_start() is given.
 * Units: GPA = address, as all is mapped 1:1; times in TSC cycles.
 * Errors: guest_fail() prints a FAIL line and stops this vCPU; nothing returns an error.
 * Source: Xen's x86/HVM direct boot ABI, Intel SDM volume 3, 16550A, 8259A and 82093AA data sheets.
 *
 * No instruction here may be one that a software KVM cannot emulate in ring 0: no SSE, no cmpxchg16b,
 * no int3, and no hlt with interrupts off.
 */
#ifndef BARE_RT_H
#define BARE_RT_H

#define SEL_CODE      0x08
#define SEL_DATA      0x10
#define SEL_CODE32    0x18
#define SEL_USER_DATA 0x23
#define SEL_USER_CODE 0x2b
#define SEL_TSS	      0x30
#define SEL_LDT	      0x40

#define MSR_EFER 0xc0000080

#define AP_TRAMPOLINE_GPA 0x8000

#ifndef __ASSEMBLER__
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The page at a fixed GPA (rt.ld) that the host sees through the RAM file. */
struct shared {
	volatile uint64_t counter; /* goes up as long as the guest runs */
	volatile uint64_t mailbox; /* written by the host: "go on with what you hold back" */
};
extern struct shared shared;

struct trap_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rbp, rdi, rsi, rdx, rcx, rbx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

struct ram_range {
	uint64_t gpa, size;
};

/* Given by each guest. */
extern const char guest_name[];
void guest_main(void);

/* rt.c: output, command line, RAM. The formats are %s, %c, %u, %x, %lu, %lx and %%. */
void put(const char *format, ...) __attribute__((format(printf, 1, 2)));
extern void (*put_sink)(char c); /* where put() sends its bytes; at first COM1, polled */
/* "NAME N ok" and the text, N counting up */
void guest_ok(const char *format, ...) __attribute__((format(printf, 1, 2)));
void guest_fail(const char *format, ...) __attribute__((noreturn, format(printf, 1, 2)));
#define CHECK(condition, ...) ((condition) ? (void)0 : guest_fail(__VA_ARGS__))
bool option(const char *word);
const char *option_value(const char *key); /* "" if the command line has no key=value */
bool mailbox_take(void);
void spin(uint64_t cycles);
#define MOMENT 10000000ull /* cycles between two lines: some milliseconds */
unsigned int ram_ranges(struct ram_range *range, unsigned int max);
void rt_map_ram(uint64_t end_gpa);
uint64_t rt_rsdp_gpa(void);
void *memcpy(void *to, const void *from, size_t n);
void *memset(void *to, int byte, size_t n);
int memcmp(const void *a, const void *b, size_t n);
/* Returns the bytes; there is no NUL after them. */
uint32_t print_to(char *to, const char *format, ...) __attribute__((format(printf, 2, 3)));
uint64_t random64(void); /* the same numbers in each run */
uint32_t random_below(uint32_t n);

/* irq.c: vectors, PIC, IOAPIC, LAPIC, AP. */
typedef void (*trap_fn)(struct trap_frame *frame);
void irq_init(void); /* and both PICs masked */
void trap_set(unsigned int vector, trap_fn fn);
void trap_set_user(unsigned int vector, trap_fn fn); /* also by int from ring 3 */
bool wrmsr_safe(uint32_t msr, uint64_t value);
bool rdmsr_safe(uint32_t msr, uint64_t *value);
void pic_init(unsigned int base_vector, uint8_t mask0, uint8_t mask1);
uint64_t ioapic_entry(unsigned int pin);
void ioapic_set_entry(unsigned int pin, uint64_t entry);
void lapic_enable(void);
void lapic_ipi(uint32_t apic_id, uint32_t command);
void gdt_set_system(uint16_t selector, uint8_t type, uint64_t base, uint32_t limit);
void tss_load(void);
void ap_start(uint32_t apic_id, void (*fn)(void));
/* Code at AP_TRAMPOLINE_GPA that, entered in real mode there, calls fn in long mode on the AP's stack. */
void ap_trampoline_place(void (*fn)(void));

/* acpi.c */
struct acpi_facts {
	uint32_t pm1a_event, pm1a_control, pm1b_control, pm_timer; /* ports, 0 = none */
	uint8_t slp_typ_s3, slp_typ_s5, reset_value;
	bool has_s3, has_s5, has_reset, pm_timer_32bit;
	uint16_t sci;
	uint64_t reset_port, facs_gpa;
};
#define PM1_SCI_EN 1u
#define PM1_PWRBTN (1u << 8)
#define PM1_RTC	   (1u << 10)
#define PM1_SLP_EN (1u << 13)
#define PM1_WAK	   (1u << 15)
bool acpi_parse(struct acpi_facts *facts);
/* Where a guest that sleeps wakes up: fn is called in long mode on the AP's stack, the APICs are as after a
 * reset. The vector is not on a 16-byte boundary, so that CS and IP both count; the code puts CS where
 * ACPI_WAKE_CS_GPA says. */
#define ACPI_WAKE_GPA	 0x7f05u /* 07f0:0005 */
#define ACPI_WAKE_CS_GPA 0x7f40u
void acpi_set_wake(const struct acpi_facts *facts, void (*fn)(void));
volatile uint32_t *acpi_wake_vector(const struct acpi_facts *facts);
/* S3. Devices stay as they are. */
void acpi_sleep(const struct acpi_facts *facts) __attribute__((noreturn));

#define LAPIC_GPA	    0xfee00000ul
#define LAPIC_ID	    0x20
#define LAPIC_TPR	    0x80
#define LAPIC_EOI	    0xb0
#define LAPIC_LDR	    0xd0
#define LAPIC_DFR	    0xe0
#define LAPIC_SPURIOUS	    0xf0
#define LAPIC_ISR	    0x100
#define LAPIC_IRR	    0x200
#define LAPIC_ICR	    0x300
#define LAPIC_ICR_HIGH	    0x310
#define LAPIC_LVT_TIMER	    0x320
#define LAPIC_LVT_THERMAL   0x330
#define LAPIC_LVT_PERF	    0x340
#define LAPIC_LVT_LINT0	    0x350
#define LAPIC_LVT_LINT1	    0x360
#define LAPIC_LVT_ERROR	    0x370
#define LAPIC_TIMER_INITIAL 0x380
#define LAPIC_TIMER_COUNT   0x390
#define LAPIC_TIMER_DIVIDE  0x3e0
#define LVT_MASKED	    0x10000
#define LVT_PERIODIC	    0x20000
#define LVT_TSC_DEADLINE    0x40000
#define LVT_EXTINT	    0x700
#define MSR_TSC_DEADLINE    0x6e0

#define COM1 0x3f8

static inline uint32_t lapic_read(unsigned int reg)
{
	return *(volatile uint32_t *)(LAPIC_GPA + reg);
}

static inline void lapic_write(unsigned int reg, uint32_t value)
{
	*(volatile uint32_t *)(LAPIC_GPA + reg) = value;
}

#define DEFINE_PORT(suffix, type)                                                     \
	static inline void out##suffix(uint16_t port, type value)                     \
	{                                                                             \
		__asm__ volatile("out" #suffix " %0, %1" : : "a"(value), "Nd"(port)); \
	}                                                                             \
	static inline type in##suffix(uint16_t port)                                  \
	{                                                                             \
		type value;                                                           \
		__asm__ volatile("in" #suffix " %1, %0" : "=a"(value) : "Nd"(port));  \
		return value;                                                         \
	}
DEFINE_PORT(b, uint8_t)
DEFINE_PORT(w, uint16_t)
DEFINE_PORT(l, uint32_t)

/* A register or a byte of the CMOS clock. */
static inline uint8_t cmos(uint8_t reg)
{
	outb(0x70, reg);
	return inb(0x71);
}

static inline void set_cmos(uint8_t reg, uint8_t value)
{
	outb(0x70, reg);
	outb(0x71, value);
}

static inline uint64_t rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

static inline uint64_t rdmsr(uint32_t msr)
{
	uint32_t low, high;

	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(msr));
	return (uint64_t)high << 32 | low;
}

static inline void wrmsr(uint32_t msr, uint64_t value)
{
	__asm__ volatile("wrmsr"
			 :
			 : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32))
			 : "memory");
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid c;

	__asm__ volatile("cpuid"
			 : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx)
			 : "a"(leaf), "c"(subleaf));
	return c;
}

/* What was written before is seen by all before anything after it is read. */
static inline void memory_barrier(void)
{
	__asm__ volatile("lock; addl $0, (%%rsp)" : : : "memory");
}

static inline void cpu_pause(void)
{
	__asm__ volatile("pause");
}

static inline void sti(void)
{
	__asm__ volatile("sti" : : : "memory");
}

static inline void cli(void)
{
	__asm__ volatile("cli" : : : "memory");
}

/* Interrupts on and wait for one: sti holds it off until hlt has begun, so none is slept over. */
static inline void wait_for_interrupt(void)
{
	__asm__ volatile("sti; hlt; cli" : : : "memory");
}
#endif
#endif
