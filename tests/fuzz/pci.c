/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest at config space, BARs and MSI-X of two functions; in between their device signals, they
 * are saved and loaded, and reset. Whatever comes, the state can be saved, and what is mapped is
 * where config space says. */
#include "tests/fuzz/fuzz.h"
#include "tests/pci_fixture.h"
#include "vmm/log.h"

enum op { CONFIG, ADDRESS, DATA, OWN_BAR, VECTOR, INTX, LOAD, RESET, OPS };

static void start(void)
{
	struct error err;

	rig_open();
	log_init(LOG_ERROR, "fuzz");
	rig.vm.ram.region[0] = (struct ram_region){.gpa = 0, .size_bytes = 0x8000000};
	rig.vm.ram.nregions = 1;
	rig_attach(&pci_host_ops);
	ck_assert(!pci_fixture_add(1, &err) && !pci_fixture_add(2, &err));
}

static void check(void)
{
	for (uint32_t i = 1; i <= 2; i++) {
		const struct pci_fake *f = &pci_fake[i];
		const uint8_t *config = f->state.config;

		ck_assert_ptr_null(pci_check(&f->state));
		ck_assert_uint_eq(config[0] | config[1] << 8, 0x1af4);
		for (uint32_t bar = 0; bar < PCI_BARS; bar++) {
			uint32_t low;

			if (!f->func.bar[bar].mapped)
				continue;
			memcpy(&low, config + 0x10 + (size_t)bar * 4, 4);
			ck_assert(config[4] & 2);
			ck_assert_uint_eq((uint32_t)f->func.bar[bar].gpa, low & ~0xfu);
			ck_assert_uint_ge(f->func.bar[bar].gpa, 0x8000000);
		}
	}
}

/* Mostly what is there; else another function, or the end of ECAM's 4 KiB. */
static uint64_t config_gpa(struct fuzz *in)
{
	uint8_t where = (uint8_t)fuzz_take(in, 1), offset = (uint8_t)fuzz_take(in, 1);

	return pci_fixture_ecam(where & 3, offset) + (where >= 0xf8 ? 0x1000 : 0) +
	       (where % 32 == 31 ? 0xf00 : 0);
}

static void access_own_bar(struct pci_fake *f, struct fuzz *in, uint32_t size)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	uint64_t gpa = f->func.bar[what % PCI_BARS].gpa + fuzz_take(in, 2);

	if (what & 0x80)
		rig_mmio_write(gpa, size, fuzz_take(in, size));
	else
		rig_mmio_read(gpa, size);
}

/* As cprsave and cprload do it, in either order of the functions. */
static void load(bool reverse)
{
	struct error err = {""};

	for (uint32_t n = 0; n < 2; n++) {
		struct pci_fake *f = &pci_fake[reverse ? 2 - n : 1 + n];
		struct pci_state saved = f->state;

		ck_assert_msg(!pci_compare(&f->func, &saved, &err), "%s", err.msg);
		pci_reset(&f->func);
		f->state = saved;
	}
	for (uint32_t n = 0; n < 2; n++)
		ck_assert(!pci_post_load(&pci_fake[reverse ? 2 - n : 1 + n].func, &err));
	for (uint32_t n = 0; n < 2; n++)
		pci_resume(&pci_fake[1 + n].func);
}

static void step(struct fuzz *in)
{
	uint8_t op = (uint8_t)fuzz_take(in, 1);
	struct pci_fake *f = &pci_fake[1 + (op >> 3 & 1)];
	uint32_t size = 1u << (op >> 4 & 3);
	bool is_write = op & 0x40;

	switch (op % OPS) {
	case CONFIG: {
		uint64_t gpa = config_gpa(in);

		if (is_write)
			rig_mmio_write(gpa, size, fuzz_take(in, size));
		else
			rig_mmio_read(gpa, size);
		break;
	}
	case ADDRESS:
		rig_out(0xcf8, size & 7, (uint32_t)fuzz_take(in, 4));
		break;
	case DATA:
		if (is_write)
			rig_out((uint16_t)(0xcfc + (op >> 6)), size & 7,
				(uint32_t)fuzz_take(in, 4));
		else
			rig_in((uint16_t)(0xcfc + (op >> 6)), size & 7);
		break;
	case OWN_BAR:
		access_own_bar(f, in, size);
		break;
	case VECTOR:
		pci_msix_signal(&f->func, size);
		break;
	case INTX:
		pci_intx_set(&f->func, is_write);
		break;
	case LOAD:
		load(is_write);
		break;
	case RESET:
		pci_reset(&f->func);
		break;
	default:
		break;
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct fuzz in = {data, size};

	start();
	while (in.left) {
		step(&in);
		check();
	}
	rig_close();
	return 0;
}
