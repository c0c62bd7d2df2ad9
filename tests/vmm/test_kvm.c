/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts by eventfds and memslots in a real VM without a vCPU: the I/O APIC shows what has come, and what KVM
 * refuses shows which memslots it has. */
#include "tests/rig/unit.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define GSI  17u
#define PAGE 4096ul

static struct irq irq;
static struct memslots slots;
static struct error err;
static int kvm = -1, trigger, resample;
static uint8_t *memory; /* a page for each slot, and one */

static void setup(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ck_assert_msg(kvm >= 0, "/dev/kvm: %s; load kvm_amd or kvm_intel, be in group kvm",
		      strerror(errno));
	irq_init(&irq, ioctl(kvm, KVM_CREATE_VM, 0));
	ck_assert_int_ge(irq.vm_fd, 0);
	memslots_init(&slots, irq.vm_fd);
	memory = mmap(NULL, (MEMSLOTS_MAX + 1) * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	ck_assert_msg(!irqchip_create(&irq, false, &err), "%s", err.msg);
	ck_assert_int_eq(irq_route_commit(&irq, &err), 0);
	trigger = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	resample = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
}

static void teardown(void)
{
	close(irq.vm_fd);
	close(trigger);
	close(resample);
	memslots_close(&slots);
	irq_close(&irq);
	munmap(memory, (MEMSLOTS_MAX + 1) * PAGE);
	close(kvm);
}

/* --- interrupts */

static struct kvm_irqchip ioapic(void)
{
	struct kvm_irqchip chip = {.chip_id = KVM_IRQCHIP_IOAPIC};

	ck_assert_int_eq(ioctl(irq.vm_fd, KVM_GET_IRQCHIP, &chip), 0);
	return chip;
}

/* KVM takes an eventfd in its own time. */
static bool becomes(bool high)
{
	for (int ms = 0; ms < 5000; ms++) {
		if (!!(ioapic().chip.ioapic.irr >> GSI & 1) == high)
			return true;
		poll(NULL, 0, 1);
	}
	return false;
}

/* The pin waits for a level, masked: the guest is not there to end anything. */
static void level_triggered(void)
{
	struct kvm_irqchip chip = ioapic();

	chip.chip.ioapic.redirtbl[GSI].fields.trig_mode = 1;
	chip.chip.ioapic.redirtbl[GSI].fields.mask = 1;
	ck_assert_int_eq(ioctl(irq.vm_fd, KVM_SET_IRQCHIP, &chip), 0);
}

TEST(level)
{
	const uint64_t one = 1;

	level_triggered();
	ck_assert_msg(!irq_attach_level_fd(&irq, GSI, trigger, resample, &err), "%s", err.msg);
	ck_assert(becomes(false));
	ck_assert_int_eq(write(trigger, &one, sizeof(one)), sizeof(one));
	ck_assert(becomes(true));
	/* Another one on the same line pulls it, too; who leaves lets it go. */
	irq_set(&irq, GSI, true);
	irq_detach_fd(&irq, GSI, trigger);
	ck_assert(becomes(true));
	irq_set(&irq, GSI, false);
	ck_assert(becomes(false));
}

TEST(level_refused)
{
	ck_assert_int_eq(irq_attach_level_fd(&irq, GSI, kvm, resample, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "GSI 17: KVM_IRQFD: Invalid argument");
}

/* As many routes as there may be, KVM takes at once, and their eventfds. */
TEST(routes)
{
	const struct irq_msi msi = {.address = 0xfee00000, .data = 0x41};
	static uint32_t gsi[IRQ_MAX_ROUTES];
	uint32_t other;

	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++) {
		ck_assert_int_eq(irq_route_alloc(&irq, &gsi[i], &err), 0);
		irq_route_set(&irq, gsi[i], &msi);
	}
	ck_assert_int_eq(irq_route_alloc(&irq, &other, &err), -ENOSPC);
	ck_assert_msg(!irq_route_commit(&irq, &err), "%s", err.msg);
	ck_assert_int_eq(irq_attach_fd(&irq, gsi[IRQ_MAX_ROUTES - 1], trigger, &err), 0);
	irq_detach_fd(&irq, gsi[IRQ_MAX_ROUTES - 1], trigger);
	irq_route_free(&irq, gsi[7]);
	ck_assert_int_eq(irq_route_alloc(&irq, &other, &err), 0);
	ck_assert_uint_eq(other, gsi[7]);
}

/* --- memslots */

static int add(uint64_t gpa, uint64_t bytes, uint32_t *slot)
{
	return memslot_add(&slots, gpa, bytes, memory, slot, &err);
}

TEST(slots_come_and_go)
{
	uint32_t ram, bar, other;

	ck_assert_int_eq(add(0, 16 * PAGE, &ram), 0);
	ck_assert_int_eq(add(0xd0000000, 2 * PAGE, &bar), 0);
	ck_assert_uint_ne(ram, bar);
	ck_assert_int_eq(add(0xd0001000, PAGE, &other), -EEXIST);
	ck_assert_str_eq(err.msg, "memslot at GPA 0xd0001000 of 0x1000 bytes: File exists");
	ck_assert_int_eq(memslot_del(&slots, bar), 0);
	ck_assert_int_eq(add(0xd0001000, PAGE, &other), 0); /* the place is free */
	ck_assert_uint_eq(other, bar);			    /* and so is the number */
	ck_assert_int_eq(add(0xd0000000, 2 * PAGE, &bar), -EEXIST);
	ck_assert_int_eq(add(0xd0000000, PAGE, &bar), 0);
	ck_assert_int_eq(memslot_del(&slots, other), 0);
	ck_assert_int_eq(add(0x8000, PAGE, &other), -EEXIST); /* RAM is still there */
}

TEST(slots_refused)
{
	uint32_t slot = 77;

	ck_assert_int_eq(add(0x1000, PAGE / 2, &slot), -EINVAL);
	ck_assert_int_eq(add(0x1080, PAGE, &slot), -EINVAL);
	ck_assert_uint_eq(slot, 77);
	ck_assert_int_eq(add(0x1000, PAGE, &slot), 0); /* nothing is left of those */
	ck_assert_uint_eq(slot, 0);
}

TEST(slots_full)
{
	uint32_t slot;

	for (uint32_t i = 0; i < MEMSLOTS_MAX; i++) {
		ck_assert_int_eq(
			memslot_add(&slots, i * PAGE, PAGE, memory + i * PAGE, &slot, &err), 0);
		ck_assert_uint_eq(slot, i);
	}
	ck_assert_int_eq(add(MEMSLOTS_MAX * PAGE, PAGE, &slot), -ENOSPC);
	ck_assert_ptr_nonnull(strstr(err.msg, "all slots are in use"));
	ck_assert_int_eq(memslot_del(&slots, 100), 0);
	ck_assert_int_eq(add(MEMSLOTS_MAX * PAGE, PAGE, &slot), 0);
	ck_assert_uint_eq(slot, 100);
}

UNIT_MAIN(setup, teardown)
