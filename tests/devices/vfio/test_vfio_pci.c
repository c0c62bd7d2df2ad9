/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A VFIO device over resets, pauses, saves and loads. */
#include "tests/rig/unit.h"
#include "tests/rig/vfio_fixture.h"
#include <errno.h>
#include <string.h>

#define AWAKE (PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER)

static const struct device_ops *ops(void)
{
	return vfio_fixture_device()->ops;
}

static struct vfio_state *state(void)
{
	return &vfio_fixture_vfio()->s;
}

static bool masters(void)
{
	return function_get(PCI_COMMAND, 2) & PCI_COMMAND_MASTER;
}

static uint32_t nenabled(void)
{
	return function->irq[VFIO_PCI_INTX_IRQ_INDEX].enabled +
	       function->irq[VFIO_PCI_MSI_IRQ_INDEX].enabled +
	       function->irq[VFIO_PCI_MSIX_IRQ_INDEX].enabled;
}

/* A guest that uses BARs, bus mastering and MSI-X. */
static void start(void)
{
	uint64_t table;

	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2, AWAKE);
	vfio_put(PCI_INTERRUPT_LINE, 1, 11);
	table = vfio_bar_gpa(FUNCTION_WIDE) + FUNCTION_TABLE;
	rig_mmio_write(table + 32, 4, 0xfee00000);
	rig_mmio_write(table + 32 + 8, 8, 0x41);
	vfio_put(FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(nenabled(), 4);
}

TEST(reset)
{
	uint64_t gpa;

	start();
	gpa = vfio_bar_gpa(FUNCTION_WIDE);
	ck_assert_uint_eq(function->resets, 0);
	vfio_fixture_reset();
	ck_assert_uint_eq(function->resets, 1);
	ck_assert(!masters());
	ck_assert_uint_eq(nenabled(), 0);
	ck_assert_ptr_null(vfio_slot_hva(gpa));
	ck_assert_uint_eq(vfio_get(PCI_COMMAND, 2) | vfio_get(PCI_INTERRUPT_LINE, 1), 0);
	ck_assert_uint_eq(vfio_get(FUNCTION_MSIX + PCI_MSIX_FLAGS, 2), FUNCTION_VECTORS - 1);
	vfio_put(PCI_COMMAND, 2, AWAKE);
	ck_assert_uint_eq(rig_mmio_read(gpa + FUNCTION_TABLE + 32, 4), 0);
	ck_assert_uint_eq(rig_mmio_read(gpa + FUNCTION_TABLE + 32 + 12, 4), 1);
	/* Not used since: no second reset. */
	vfio_fixture_reset();
	ck_assert_uint_eq(function->resets, 1);
}

/* The function may still execute commands of the former guest, so it gets no bus mastering. */
TEST(reset_fails)
{
	start();
	fake_vfio.fails = VFIO_DEVICE_RESET;
	fake_vfio.fails_errno = EAGAIN;
	vfio_fixture_reset();
	ck_assert(!masters());
	ops()->resume(vfio_fixture_device());
	vfio_put(PCI_COMMAND, 2, AWAKE);
	ck_assert(!masters());
	fake_vfio.fails = 0;
	vfio_fixture_reset();
	ck_assert_uint_eq(function->resets, 1);
	vfio_put(PCI_COMMAND, 2, AWAKE);
	ck_assert(masters());
}

/* A driver that enables no interrupts after a reset gets none. */
TEST(reset_leaves_no_vectors)
{
	start();
	vfio_fixture_reset();
	vfio_put(PCI_COMMAND, 2, AWAKE | PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(nenabled(), 0);
	ck_assert_uint_eq(rig_routes(), 0);
}

TEST(reset_from_d3)
{
	start();
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	function_put(FUNCTION_PM + PCI_PM_CTRL, 2, 0); /* as after a reset */
	vfio_fixture_reset();
	vfio_put(PCI_COMMAND, 2, AWAKE);
	ck_assert_ptr_nonnull(vfio_slot_hva(vfio_bar_gpa(FUNCTION_WIDE)));
}

/* Only while the guest sleeps. */
TEST(may_save)
{
	struct error err = {""};

	start();
	ck_assert_int_eq(ops()->may_save(vfio_fixture_device(), &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.msg, "nvme (0000:01:00.0) is passed through"));
	ck_assert_ptr_nonnull(strstr(err.msg, "sleeps: let its agent guest-suspend-ram"));
	rig.vm.runstate = RUNSTATE_PAUSED;
	ck_assert_int_eq(ops()->may_save(vfio_fixture_device(), &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.msg, "sleeps: cont it first, let its agent"));
	rig.opt.s3 = false;
	ck_assert_int_eq(ops()->may_save(vfio_fixture_device(), &err), -EOPNOTSUPP);
	ck_assert_ptr_nonnull(strstr(err.msg, "--machine s3=on"));
	rig.vm.suspended = true;
	ck_assert_int_eq(ops()->may_save(vfio_fixture_device(), &err), 0);
}

/* With a sleeping guest the function stops; with a paused one it goes on. */
TEST(pause)
{
	struct device *dev;
	struct error err;

	start();
	dev = vfio_fixture_device();
	ck_assert_int_eq(ops()->pause(dev, UINT64_MAX, &err), 0);
	ck_assert(masters());
	ck_assert_uint_eq(nenabled(), 4);
	ops()->resume(dev);
	rig.vm.suspended = true;
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(ops()->pause(dev, UINT64_MAX, &err), 0);
		ck_assert(!masters());
		ck_assert_uint_eq(nenabled(), 0);
	}
	ck_assert_uint_eq(vfio_get(PCI_COMMAND, 2), AWAKE);
	ops()->resume(dev);
	ck_assert(masters());
	ck_assert_uint_eq(nenabled(), 4);
}

/* If bus mastering cannot be disabled, the pause fails and the guest goes on without loss. */
TEST_RANGE(pause_fails, 0, 2)
{
	uint64_t offset;
	struct device *dev;
	struct error err = {""};

	start();
	dev = vfio_fixture_device();
	offset = vfio_fixture_vfio()->config_offset;
	rig.vm.suspended = true;
	function->deaf = _i;
	if (!_i)
		vfio_fixture_vfio()->config_offset = fake_vfio_offset(VFIO_PCI_NUM_REGIONS);
	ck_assert_int_eq(ops()->pause(dev, UINT64_MAX, &err), -EIO);
	ck_assert_msg(strstr(err.msg, "nvme (0000:01:00.0)") && strstr(err.msg, "bus master"), "%s",
		      err.msg);
	vfio_fixture_vfio()->config_offset = offset;
	ck_assert(masters());
	ck_assert_uint_eq(nenabled(), 4);
	function->deaf = false;
	ck_assert_int_eq(ops()->pause(dev, UINT64_MAX, &err), 0);
	ck_assert(!masters());
}

/* In D3 the host's kernel enables no vectors; they follow when the driver wakes the function. */
TEST(pause_in_d3)
{
	struct device *dev;
	struct error err;

	start();
	dev = vfio_fixture_device();
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 3);
	rig.vm.suspended = true;
	ck_assert_int_eq(ops()->pause(dev, UINT64_MAX, &err), 0);
	rig.vm.suspended = false;
	ops()->resume(dev);
	ck_assert_uint_eq(nenabled(), 0);
	ck_assert_ptr_null(vfio_slot_hva(vfio_bar_gpa(FUNCTION_WIDE)));
	vfio_put(FUNCTION_PM + PCI_PM_CTRL, 2, 0);
	ck_assert_uint_eq(nenabled(), 4);
	ck_assert_ptr_nonnull(vfio_slot_hva(vfio_bar_gpa(FUNCTION_WIDE)));
}

/* Passed bits are saved as they are then, but registers whose read has a side effect are not read. */
TEST(pause_reads)
{
	struct error err;

	start();
	rig.vm.suspended = true;
	function_put(FUNCTION_EXP + PCI_EXP_DEVCTL, 2, 0x1234);
	function_put(FUNCTION_VENDOR + 4, 4, 0x5678);
	ck_assert_int_eq(ops()->pause(vfio_fixture_device(), UINT64_MAX, &err), 0);
	ck_assert_uint_eq(state()->pci.config[FUNCTION_EXP + PCI_EXP_DEVCTL], 0x34);
	ck_assert_uint_eq(state()->pci.config[FUNCTION_VENDOR + 4], 0xff);
}

/* The guest sees the same config space, wherever the host has the BARs now. */
TEST(reload)
{
	struct vfio_state *before = malloc(sizeof(*before));
	uint64_t gpa;

	start();
	vfio_put(PCI_COMMAND, 2, 0);
	vfio_put(PCI_BASE_ADDRESS_1, 4, (RIG_MMIO64 >> 32) + 1);
	vfio_put(PCI_COMMAND, 2, AWAKE);
	gpa = vfio_bar_gpa(FUNCTION_WIDE);
	memcpy(before, state(), sizeof(*before));
	function_put(PCI_BASE_ADDRESS_2, 4, 0xfb000000);
	function_put(PCI_COMMAND, 2, 0);
	vfio_fixture_reload();
	ck_assert_uint_eq(vfio_bar_gpa(FUNCTION_WIDE), gpa);
	ck_assert_ptr_nonnull(vfio_slot_hva(gpa));
	ck_assert_mem_eq(state(), before, sizeof(*before));
	ck_assert_uint_eq(rig_mmio_read(gpa + FUNCTION_TABLE + 32 + 8, 4), 0x41);
	ck_assert(masters());
	ck_assert_uint_eq(nenabled(), 4);
	free(before);
}

/* Differences by which another function at the same address is recognized. */
static const struct {
	uint32_t offset, bytes, value;
	const char *why;
} others[] = {
	{PCI_VENDOR_ID, 2, 0x8086, "vendor ID: saved with 0x144d, here it is 0x8086"},
	{PCI_DEVICE_ID, 2, 0x5845, "device ID: saved with 0xa808, here it is 0x5845"},
	{PCI_REVISION_ID, 1, 9, "revision: saved with 0x3, here it is 0x9"},
	{PCI_CLASS_PROG, 3, 0x020000, "class code: saved with 0x10802, here it is 0x20000"},
	{PCI_SUBSYSTEM_VENDOR_ID, 2, 1, "subsystem vendor ID: saved with 0x144d, here it is 0x1"},
	{PCI_SUBSYSTEM_ID, 2, 1, "subsystem ID: saved with 0xa801, here it is 0x1"},
	{FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, 7, "saved with 33 MSI-X vectors, here are 8"},
	{PCI_BASE_ADDRESS_2, 4, 8, "PCI config space at 0x18"},
	{FUNCTION_MSI + PCI_MSI_FLAGS, 2, 0x184, "PCI config space at 0x52"},
	{FUNCTION_EXP + PCI_EXP_DEVCAP, 4, 0, "PCI config space at 0x84"},
	{FUNCTION_VENDOR + 1, 1, 0, NULL}, /* hidden from the guest */
	{FUNCTION_MSIX + 1, 1, 0, "PCI config space at 0x6d"},
};

TEST_EACH(compare, others)
{
	struct vfio_state *saved = malloc(sizeof(*saved));
	struct error err = {""};
	int ret;

	start();
	memcpy(saved, state(), sizeof(*saved));
	vfio_fixture_shutdown();
	function_put(others[_i].offset, others[_i].bytes, others[_i].value);
	vfio_fixture_boot();
	ret = ops()->compare(vfio_fixture_device(), saved, &err);
	if (others[_i].why)
		ck_assert_msg(
			ret == -EINVAL && strstr(err.msg, others[_i].why) &&
				strstr(err.msg, "0000:01:00.0 is not the function that was saved"),
			"%s", err.msg);
	else
		ck_assert_msg(!ret, "%s", err.msg);
	free(saved);
}

TEST(compare_bars)
{
	struct vfio_state *saved = malloc(sizeof(*saved));
	struct error err = {""};

	start();
	memcpy(saved, state(), sizeof(*saved));
	vfio_fixture_shutdown();
	function->region[FUNCTION_WIDE].bytes *= 2;
	function->region[FUNCTION_PORTS].bytes = 0;
	vfio_fixture_boot();
	ck_assert_int_eq(ops()->compare(vfio_fixture_device(), saved, &err), -EINVAL);
	ck_assert_msg(strstr(err.msg, "BAR 0: saved with 2^15 bytes, here it has 2^16") &&
			      strstr(err.msg, "BAR 3: saved with 2^5 bytes, here it has 2^0"),
		      "%s", err.msg);
	free(saved);
}

#define HOSTILE(change)                                                   \
	do {                                                              \
		memcpy(s, state(), sizeof(*s));                           \
		change;                                                   \
		ck_assert_msg(ops()->state->check(s), "taken: " #change); \
	} while (0)

TEST(hostile)
{
	struct vfio_state *s = malloc(sizeof(*s));

	start();
	ck_assert_ptr_null(ops()->state->check(state()));
	HOSTILE(s->nvector_words--);
	HOSTILE(s->nvector_words = 4 * VFIO_VECTORS_MAX + 4);
	HOSTILE(s->vector[28] = 1);
	HOSTILE(s->vector[31] = 2);
	HOSTILE(s->pci.msix_pending = 1);
	HOSTILE(s->pci.intx = 1);
	free(s);
}

/* A shorter table would leave the other vectors undefined. */
TEST(hostile_table)
{
	struct vfio_state *s = malloc(sizeof(*s));
	struct error err = {""};

	start();
	memcpy(s, state(), sizeof(*s));
	s->nvector_words -= 4;
	ck_assert_int_eq(state_check(ops()->state, s, NULL), 0);
	ck_assert_int_eq(ops()->compare(vfio_fixture_device(), s, &err), -EINVAL);
	ck_assert_ptr_nonnull(strstr(err.msg, "saved with a table of 32 MSI-X vectors"));
	free(s);
}

UNIT_MAIN(vfio_fixture_open, vfio_fixture_close)
