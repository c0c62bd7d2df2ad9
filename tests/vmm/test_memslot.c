/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memslots come and go in a real VM: what KVM refuses shows what it has. */
#include "tests/rig/unit.h"
#include "vmm/bus.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE 4096ul

static struct memslots slots;
static struct error err;
static int kvm = -1;
static uint8_t *memory; /* a page for each slot, and one */

static void setup(void)
{
	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	ck_assert_msg(kvm >= 0, "/dev/kvm: %s; load kvm_amd or kvm_intel, be in group kvm",
		      strerror(errno));
	memslots_init(&slots, ioctl(kvm, KVM_CREATE_VM, 0));
	ck_assert_int_ge(slots.vm_fd, 0);
	memory = mmap(NULL, (MEMSLOTS_MAX + 1) * PAGE, PROT_READ | PROT_WRITE,
		      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
}

static void teardown(void)
{
	close(slots.vm_fd);
	memslots_close(&slots);
	munmap(memory, (MEMSLOTS_MAX + 1) * PAGE);
	close(kvm);
}

static int add(uint64_t gpa, uint64_t bytes, uint32_t *slot)
{
	return memslot_add(&slots, gpa, bytes, memory, slot, &err);
}

TEST(come_and_go)
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

TEST(refused)
{
	uint32_t slot = 77;

	ck_assert_int_eq(add(0x1000, PAGE / 2, &slot), -EINVAL);
	ck_assert_int_eq(add(0x1080, PAGE, &slot), -EINVAL);
	ck_assert_uint_eq(slot, 77);
	ck_assert_int_eq(add(0x1000, PAGE, &slot), 0); /* nothing is left of those */
	ck_assert_uint_eq(slot, 0);
}

TEST(full)
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
