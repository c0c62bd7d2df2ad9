/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts by eventfds, in a real VM without a vCPU: the I/O APIC shows what has come. */
#include "tests/rig/unit.h"
#include "vmm/irq.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define GSI 17u

static struct irq irq;
static struct error err;
static int kvm = -1, trigger, resample;

static void setup(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ck_assert_msg(kvm >= 0, "/dev/kvm: %s; load kvm_amd or kvm_intel, be in group kvm",
		      strerror(errno));
	irq_init(&irq, ioctl(kvm, KVM_CREATE_VM, 0));
	ck_assert_int_ge(irq.vm_fd, 0);
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
	irq_close(&irq);
	close(kvm);
}

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

UNIT_MAIN(setup, teardown)
