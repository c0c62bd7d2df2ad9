/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every row of the device table must do: a new device is covered without a new test. */
#include "devices/devices.h"
#include "tests/device_rig.h"
#include <libfdt.h>
#include <stdlib.h>
#include <string.h>

#define TREE_BYTES 65536

static bool has_device(const struct device_ops *ops)
{
	for (uint32_t i = 0; i < rig.vm.ndevices; i++)
		if (rig.vm.device[i]->ops == ops)
			return true;
	return false;
}

static void attach_all(void)
{
	struct error err = {""};

	rig.opt.rng = true; /* what needs no host: PCI at least */
	ck_assert_msg(!devices_attach(&rig.vm, &err), "%s", err.msg);
	for (uint32_t i = 0; i < device_table_rows; i++)
		ck_assert_msg(device_table[i]->count || has_device(device_table[i]),
			      "%s is not always there", device_table[i]->type);
}

static void *save(const struct state_desc *desc, const void *state)
{
	void *fdt = calloc(1, TREE_BYTES);
	struct error err = {""};

	ck_assert_int_eq(fdt_create(fdt, TREE_BYTES), 0);
	fdt_finish_reservemap(fdt);
	fdt_begin_node(fdt, "");
	fdt_begin_node(fdt, "device");
	ck_assert_msg(!state_save(fdt, desc, state, &err), "%s", err.msg);
	fdt_end_node(fdt);
	fdt_end_node(fdt);
	ck_assert_int_eq(fdt_finish(fdt), 0);
	return fdt;
}

static int load(const void *fdt, const struct state_desc *desc, void *state)
{
	struct error err;

	memset(state, 0, desc->size);
	return state_load(fdt, fdt_path_offset(fdt, "/device"), desc, state, &err);
}

/* Every byte of every member differs from its neighbours; variable rows are full. */
static void fill(const struct state_desc *desc, uint8_t *state)
{
	uint8_t next = 1;

	for (uint32_t i = 0; i < desc->size; i++)
		state[i] = next = (uint8_t)(next * 5 + 17);
	for (const struct state_row *row = desc->row; row < desc->row + desc->nrows; row++)
		if (row->kind == ST_VARIABLE)
			memcpy(state + row->len_offset, &row->count, sizeof(row->count));
		else if (row->kind == ST_STRING)
			memset(state + row->offset + row->count - 1, 0, 1);
}

START_TEST(rows_are_complete)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		const struct device_ops *ops = device_table[i];

		ck_assert_ptr_nonnull(ops->type);
		ck_assert_ptr_nonnull(ops->attach);
		ck_assert_ptr_nonnull(ops->reset);
		ck_assert_msg(!ops->state != !ops->unsaved,
			      "%s: either a state table, or the reason why there is none",
			      ops->type);
		if (ops->state) {
			ck_assert_ptr_nonnull(ops->state->check);
			ck_assert_str_eq(ops->state->type, ops->type);
		}
		for (uint32_t j = 0; j < i; j++)
			ck_assert_str_ne(ops->type, device_table[j]->type);
	}
}
END_TEST

START_TEST(state_round_trip)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		/* Without its check(): the pattern is no state that a device could be in. */
		struct state_desc desc = *device_table[i]->state;
		uint8_t *before = malloc(desc.size), *after = malloc(desc.size);
		void *fdt;

		desc.check = NULL;
		fill(&desc, before);
		fdt = save(&desc, before);
		ck_assert_int_eq(load(fdt, &desc, after), 0);
		ck_assert_msg(!memcmp(before, after, desc.size), "%s: not what was saved",
			      desc.type);
		free(fdt);
		free(before);
		free(after);
	}
}
END_TEST

/* Every fixed member is needed, whichever is missing. */
START_TEST(state_missing_member)
{
	attach_all();
	for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
		const struct device *dev = rig.vm.device[i];
		const struct state_desc *desc = dev->ops->state;
		uint8_t *state = malloc(desc->size);

		for (uint32_t row = 0; row < desc->nrows; row++) {
			void *fdt = save(desc, dev->state);
			int node = fdt_path_offset(fdt, "/device");

			if (desc->row[row].kind != ST_ADDED) {
				ck_assert_int_eq(fdt_delprop(fdt, node, desc->row[row].name), 0);
				ck_assert_int_ne(load(fdt, desc, state), 0);
			}
			free(fdt);
		}
		free(state);
	}
	devices_detach(&rig.vm);
}
END_TEST

/* The state after power-on is one that can be loaded, and comes back the same. */
START_TEST(power_on_state)
{
	struct error err;

	attach_all();
	for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
		struct device *dev = rig.vm.device[i];
		const struct device_ops *ops = dev->ops;
		void *after = malloc(ops->state->size), *fdt;

		if (ops->resume)
			ops->resume(dev);
		for (int twice = 0; ops->pause && twice < 2; twice++)
			ck_assert_int_eq(ops->pause(dev, UINT64_MAX, &err), 0);
		fdt = save(ops->state, dev->state);
		ck_assert_int_eq(load(fdt, ops->state, after), 0);
		ck_assert_int_eq(memcmp(dev->state, after, ops->state->size), 0);
		free(after);
		free(fdt);
	}
	devices_reset(&rig.vm);
	devices_detach(&rig.vm);
	ck_assert_uint_eq(rig.vm.ndevices, 0);
}
END_TEST

static uint32_t random_next(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 8;
}

/* A guest that writes and reads whatever, wherever a device listens. */
static void poke(uint32_t *random, int times)
{
	for (int i = 0; i < times; i++) {
		uint32_t what = random_next(random), data = random_next(random);
		struct bus *bus = &rig.vm.bus;
		enum bus_space space = what >> 2 & 1 ? BUS_MMIO : BUS_PIO;
		uint32_t size = 1u << (what % 3), nregions = bus->nregions[space];
		const struct bus_region *region;

		if (!nregions)
			continue;
		region = &bus->region[space][(what >> 4) % nregions];
		bus_access(bus, space, region->base + (what >> 12) % region->size, &data, size,
			   what & 8);
	}
}

/* States nobody would save: refused, or harmless to load and run. Those that differ from a good
 * one in few bytes get past check() often. */
START_TEST(hostile_state)
{
	uint32_t random = 1, accepted = 0;

	attach_all();
	for (int round = 0; round < 4000; round++) {
		struct device *dev = rig.vm.device[round % (int)rig.vm.ndevices];
		const struct device_ops *ops = dev->ops;
		uint8_t *state = malloc(ops->state->size);
		struct error err;

		if (ops->pause)
			ck_assert_int_eq(ops->pause(dev, UINT64_MAX, &err), 0);
		memcpy(state, dev->state, ops->state->size);
		for (int i = 0; i < 1 + round % 3; i++)
			state[random_next(&random) % ops->state->size] =
				(uint8_t)random_next(&random);
		if (!ops->state->check(state)) {
			accepted++;
			memcpy(dev->state, state, ops->state->size);
			if (ops->post_load)
				ck_assert_int_eq(ops->post_load(dev, &err), 0);
		}
		free(state);
		if (ops->resume)
			ops->resume(dev);
		poke(&random, 50);
		rig.requests = 0;
	}
	ck_assert_uint_gt(accepted, 400);
	devices_detach(&rig.vm);
}
END_TEST

/* Whatever a guest does, what is saved then can be loaded. */
START_TEST(poked_state_is_loadable)
{
	uint32_t random = 2;

	attach_all();
	for (int round = 0; round < 500; round++) {
		for (uint32_t i = 0; i < rig.vm.ndevices; i++)
			if (rig.vm.device[i]->ops->resume)
				rig.vm.device[i]->ops->resume(rig.vm.device[i]);
		poke(&random, 100);
		for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
			struct device *dev = rig.vm.device[i];
			const char *why;

			if (dev->ops->pause)
				ck_assert_int_eq(dev->ops->pause(dev, UINT64_MAX, NULL), 0);
			why = dev->ops->state->check(dev->state);
			ck_assert_msg(!why, "%s: %s", dev->name, why);
		}
	}
	devices_detach(&rig.vm);
}
END_TEST

RIG_MAIN("device table", rows_are_complete, state_round_trip, state_missing_member, power_on_state,
	 hostile_state, poked_state_is_loadable)
