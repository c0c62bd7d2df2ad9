/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest at a function that is passed through, whose config space may be any: that of hardware which is
 * broken, or of a function that made itself up. In between it raises interrupts, the guest sleeps, is
 * saved and loaded, and reset. Whatever comes, the state can be saved, what is mapped is the function's
 * own BAR without its MSI-X table, and no event is lost for want of an eventfd. */
#include "tests/fuzz/fuzz.h"
#include "tests/rig/vfio_fixture.h"
#include "vmm/base/log.h"

#define CHANGES_MAX 15

enum op { CONFIG, BAR, TABLE, FIRE, OWN, SLEEP, RESET, OPS };

/* Changes the function before it is opened. False: unchanged. */
static bool change(struct fuzz *in)
{
	uint32_t n = (uint32_t)fuzz_take(in, 1);

	for (uint32_t i = 0; i < (n & CHANGES_MAX); i++) {
		uint32_t offset = (uint32_t)fuzz_take(in, 1);

		function->config[offset] = (uint8_t)fuzz_take(in, 1);
	}
	if (n & 0x80)
		function->region[FUNCTION_SPARSE].area[0].offset = fuzz_take(in, 3);
	if (n & 0x40)
		function->region[FUNCTION_WIDE].bytes = 16u << (fuzz_take(in, 1) & 15);
	return n;
}

static bool in_table(const struct vfio *vfio, uint32_t bar, uint64_t at)
{
	uint64_t end = vfio->msix_offset + vfio->pci.nvectors * 16ull;

	return vfio->msix_cap && bar == vfio->msix_bar && at < end &&
	       at + 0x1000 > vfio->msix_offset;
}

static void check(void)
{
	const struct device *dev = vfio_fixture_device();
	const struct vfio *vfio = container_of(dev, struct vfio, dev);
	struct error err = {""};
	uint32_t slots = 0, mapped = 0;

	ck_assert_msg(!state_check(dev->ops->state, &vfio->s, &err), "%s", err.msg);
	for (uint32_t bar = 0; bar < PCI_BARS; bar++)
		for (uint32_t i = 0; i < vfio->bar[bar].nareas; i++) {
			const struct vfio_area *area = &vfio->bar[bar].area[i];

			ck_assert(area->offset + area->bytes <= vfio->bar[bar].bytes);
			for (uint64_t at = 0; at < area->bytes; at += 0x1000)
				ck_assert(!in_table(vfio, bar, area->offset + at));
			if (!area->mapped)
				continue;
			mapped++;
			ck_assert(vfio->pci.bar[bar].mapped && !vfio->powered_off);
			ck_assert_uint_eq(rig.slot[area->slot].gpa,
					  vfio->pci.bar[bar].gpa + area->offset);
		}
	for (uint32_t i = 0; i < RIG_SLOTS; i++)
		slots += rig.slot[i].bytes != 0;
	ck_assert_uint_eq(slots, mapped);
	for (uint32_t i = VFIO_PCI_INTX_IRQ_INDEX; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++)
		ck_assert(!function->irq[i].enabled || vfio->irq_mode == VFIO_IRQ_INTX + i);
	for (uint32_t i = 0; i < vfio->max_vectors; i++)
		ck_assert(vfio->irq_mode != VFIO_IRQ_OFF || !vfio->vector[i].gsi);
	for (uint32_t i = 0; i < vfio->max_vectors; i++)
		ck_assert(!vfio->vector[i].attached ||
			  (i < vfio->nknown && vfio->vector[i].fd >= 0 && vfio->vector[i].gsi));
}

static void access_gpa(struct fuzz *in, uint64_t gpa, uint32_t size, bool is_write)
{
	if (is_write)
		rig_mmio_write(gpa, size, fuzz_take(in, size));
	else
		rig_mmio_read(gpa, size);
}

static void sleep_and_wake(bool wakes)
{
	struct device *dev = vfio_fixture_device();
	struct error err;

	rig.vm.suspended = true;
	ck_assert(!dev->ops->pause(dev, UINT64_MAX, &err));
	if (wakes)
		rig.vm.suspended = false;
	dev->ops->resume(dev);
	rig.vm.suspended = false;
}

static void step(struct fuzz *in)
{
	uint8_t op = (uint8_t)fuzz_take(in, 1);
	uint32_t size = 1u << (op >> 4 & 3), at;
	bool is_write = op & 0x40;
	struct vfio *vfio = vfio_fixture_vfio();

	switch (op % OPS) {
	case CONFIG:
		at = (uint32_t)fuzz_take(in, 1);
		if (is_write)
			vfio_put(at, size & 7, (uint32_t)fuzz_take(in, size & 7));
		else
			vfio_get(at, size & 7);
		break;
	case BAR:
		at = (uint32_t)fuzz_take(in, 3);
		access_gpa(in, vfio_bar_gpa((at >> 21) % PCI_BARS) + (at & 0x1ffff), size,
			   is_write);
		break;
	case TABLE:
		at = (uint32_t)fuzz_take(in, 2) % 0x400;
		access_gpa(in, vfio_bar_gpa(vfio->msix_bar % PCI_BARS) + vfio->msix_offset + at,
			   size, is_write);
		break;
	case FIRE:
		fake_vfio_fire(function, op >> 4 & 3, (uint32_t)fuzz_take(in, 1));
		break;
	case OWN:
		at = (uint32_t)fuzz_take(in, 1);
		function->config[at] = (uint8_t)fuzz_take(in, 1);
		break;
	case SLEEP:
		sleep_and_wake(is_write);
		break;
	case RESET:
		vfio_fixture_reset();
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};
	uint8_t own[PCI_CONFIG_BYTES];
	struct error err;
	bool changed;

	vfio_fixture_open();
	log_init(LOG_ERROR, "fuzz");
	changed = change(&in);
	memcpy(own, function->config, sizeof(own));
	if (changed && vfio_fixture_refused(&err))
		goto close;
	vfio_fixture_boot();
	while (in.left) {
		step(&in);
		check();
	}
	fuzz_serve(&rig.vm.loop);
	/* For the load it must be the same function again. */
	memcpy(function->config, own, sizeof(own));
	vfio_fixture_reload();
	check();
close:
	vfio_fixture_close();
	return 0;
}
