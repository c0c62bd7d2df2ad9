/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A guest at config space, BARs and MSI-X of three functions, one of them with a layout from elsewhere;
 * in between their device signals, they are saved and loaded, and reset. Whatever comes, the state can
 * be saved, what is mapped is where config space says, and the ways to config space stay open. */
#include "tests/fuzz/fuzz.h"
#include "tests/rig/pci_fixture.h"
#include "vmm/base/log.h"

#define FUNCS	3
#define FOREIGN 3

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
	ck_assert(!pci_fixture_add_foreign(FOREIGN, &err));
}

/* A mapped BAR is where config space says, and decoding is on. */
static void check_bar(const struct pci_bar *b, const uint8_t *config, uint32_t bar)
{
	uint32_t low;

	memcpy(&low, config + 0x10 + (size_t)bar * 4, 4);
	ck_assert(config[4] & (b->is_io ? 1 : 2));
	ck_assert_uint_eq(low & (b->is_io ? 3 : 7), b->is_io ? 1 : b->is_64bit ? 4 : 0);
	ck_assert_uint_eq((uint32_t)b->gpa, low & (b->is_io ? ~3u : ~0xfu));
	if (b->is_io)
		ck_assert_uint_le(b->gpa + b->size_bytes, 0x10000);
	else
		ck_assert_uint_ge(b->gpa, 0x8000000);
}

static void check(void)
{
	uint32_t address;

	for (uint32_t i = 1; i <= FUNCS; i++) {
		const struct pci_fake *f = &pci_fake[i];
		const uint8_t *config = f->state.config;

		ck_assert_ptr_null(pci_check(&f->state));
		ck_assert_uint_eq(config[0] | config[1] << 8, 0x1af4);
		for (uint32_t bar = 0; bar < PCI_BARS; bar++)
			if (f->func.bar[bar].mapped)
				check_bar(&f->func.bar[bar], config, bar);
	}
	/* No BAR can hide config space. */
	address = rig_in(0xcf8, 4);
	rig_out(0xcf8, 4, 0x80000000 | FOREIGN << 11);
	ck_assert_uint_eq(rig_in(0xcfc, 4), 0x10411af4);
	rig_out(0xcf8, 4, address);
	ck_assert_uint_eq(rig_mmio_read(pci_fixture_ecam(FOREIGN, 0), 4), 0x10411af4);
}

/* Mostly existing registers; else another PCI function, or the end of the 4 KiB in ECAM. */
static uint64_t config_gpa(struct fuzz *in)
{
	uint8_t where = (uint8_t)fuzz_take(in, 1), offset = (uint8_t)fuzz_take(in, 1);

	return pci_fixture_ecam(where & 3, offset) + (where >= 0xf8 ? 0x1000 : 0) +
	       (where % 32 == 31 ? 0xf00 : 0);
}

static void access_own_bar(struct pci_fake *f, struct fuzz *in, uint32_t size)
{
	uint8_t what = (uint8_t)fuzz_take(in, 1);
	const struct pci_bar *b = &f->func.bar[what % PCI_BARS];
	uint64_t gpa = b->gpa + fuzz_take(in, 2);

	if (b->is_io && what & 0x80)
		rig_out((uint16_t)gpa, size & 7, (uint32_t)fuzz_take(in, 4));
	else if (b->is_io)
		rig_in((uint16_t)gpa, size & 7);
	else if (what & 0x80)
		rig_mmio_write(gpa, size, fuzz_take(in, size));
	else
		rig_mmio_read(gpa, size);
}

/* As cprsave and cprload do it, in either order of the functions. */
static void load(bool reverse)
{
	struct error err = {""};

	ck_assert_ptr_null(pci_msix_check(pci_fake[FOREIGN].entry, 4 * FOREIGN_VECTORS));
	for (uint32_t n = 0; n < FUNCS; n++) {
		struct pci_fake *f = &pci_fake[reverse ? FUNCS - n : 1 + n];
		struct pci_state saved = f->state;

		ck_assert_msg(!pci_compare(&f->func, &saved, &err), "%s", err.msg);
		pci_reset(&f->func);
		f->state = saved;
	}
	for (uint32_t n = 0; n < FUNCS; n++)
		ck_assert(!pci_post_load(&pci_fake[reverse ? FUNCS - n : 1 + n].func, &err));
	for (uint32_t n = 0; n < FUNCS; n++)
		pci_resume(&pci_fake[1 + n].func);
}

static void step(struct fuzz *in)
{
	uint8_t op = (uint8_t)fuzz_take(in, 1);
	struct pci_fake *f = &pci_fake[op & 0x80 ? FOREIGN : 1 + (op >> 3 & 1)];
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
		if (op & 0x80)
			f->pending[size * 8 - 1] ^= true;
		else
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
	load(false);
	check();
	rig_close();
	return 0;
}
