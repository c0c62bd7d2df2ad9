/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What every row of the device table must do: a new device is covered without a new test, if it is
 * built in or asked for by everything_asked_for(). */
#include "devices/devices.h"
#include "tests/fakes/fake_vfio.h"
#include "tests/rig/unit.h"
#include "tests/rig/virtio_driver.h"
#include "vmm/base/loop.h"
#include <fcntl.h>
#include <libfdt.h>
#include <linux/pci_regs.h>
#include <linux/virtio_config.h>
#include <linux/virtio_pci.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define GOLDEN_CHECKPOINT GOLDEN_DIR "/checkpoint-1.0.0"

#define TREE_BYTES 65536
#define RAM_BYTES  (64u << 20)
#define DISK_BYTES (16u << 20)

static char folder[32];
/* As in the golden checkpoint. */
static struct disk_config disk = {.id = "disk0",
				  .serial = "root",
				  .cache = DISK_CACHE_WRITEBACK,
				  .queues = 2,
				  .queue_size = 256};
static struct net_config net = {.id = "net0",
				.kind = NET_STREAM,
				.mac = {0x62, 0x51, 0xb2, 0x88, 0x57, 0xf4},
				.queues = 1,
				.vhost = AUTO_OFF};

/* tests/fakes/fake_vfio.c has it. */
static struct vfio_config vfio = {.id = "vfio0", .host = "0000:01:00.0"};

static void setup(void)
{
	rig_open();
	fake_vfio_begin();
	strcpy(folder, "/tmp/stasis-table-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(disk.path, sizeof(disk.path), "%s/disk", folder);
	snprintf(net.path, sizeof(net.path), "%s/net", folder);
}

static void teardown(void)
{
	devices_detach(&rig.vm);
	ck_assert_uint_eq(rig.vm.ndevices, 0);
	for (int space = 0; space < BUS_SPACES; space++)
		ck_assert_uint_eq(rig.vm.bus.nregions[space], 0);
	fake_vfio_end();
	rig_close();
	unlink(disk.path);
	unlink(net.path);
	rmdir(folder);
}

/* An NVMe disk by its looks: 16 KiB with four MSI-X vectors in the third page. */
static void make_function(void)
{
	struct fake_vfio_function *f = fake_vfio_add(vfio.host, 1);
	static const uint8_t caps[] = {PCI_CAP_ID_PM,
				       0x48,
				       3,
				       0,
				       [8] = PCI_CAP_ID_MSI,
				       0x60,
				       PCI_MSI_FLAGS_64BIT | 4,
				       1,
				       [0x20] = PCI_CAP_ID_MSIX,
				       0,
				       3,
				       0,
				       0,
				       0x20,
				       0,
				       0,
				       0x40,
				       0x20};

	f->region[0].bytes = 0x4000;
	f->region[0].flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE |
			     VFIO_REGION_INFO_FLAG_MMAP;
	f->irq[VFIO_PCI_MSI_IRQ_INDEX].count = 4;
	f->irq[VFIO_PCI_MSIX_IRQ_INDEX].count = 4;
	memcpy(f->config, (uint8_t[]){0x36, 0x1b, 0x10, 0, 0, 0, 0x10, 0, 2, 2, 8, 1}, 12);
	f->config[PCI_BASE_ADDRESS_0] = PCI_BASE_ADDRESS_MEM_TYPE_64;
	f->config[PCI_CAPABILITY_LIST] = PCI_STD_HEADER_SIZEOF;
	f->config[PCI_INTERRUPT_PIN] = 1;
	memcpy(f->config + PCI_STD_HEADER_SIZEOF, caps, sizeof(caps));
}

/* The command line that has all devices, host ends included. */
static void everything_asked_for(void)
{
	int fd = open(disk.path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	ck_assert_int_eq(ftruncate(fd, DISK_BYTES), 0);
	close(fd);
	rig_listen(net.path); /* as passt does for a real one; nobody reads */
	rig.opt.rng = true;
	rig.opt.vsock_cid = 3; /* fake_vhost.c */
	rig.opt.has_console = rig.opt.has_agent = true;
	rig.opt.disk = &disk;
	rig.opt.ndisks = 1;
	rig.opt.net = &net;
	rig.opt.nnets = 1;
	make_function();
	rig.opt.vfio = &vfio;
	rig.opt.nvfios = 1;
}

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

	everything_asked_for();
	rig_ram(RAM_BYTES);
	ck_assert_msg(!devices_attach(&rig.vm, &err), "%s", err.msg);
	for (uint32_t i = 0; i < device_table_rows; i++)
		ck_assert_msg(has_device(device_table[i]),
			      "%s: nothing here asks for it, so nothing here tests it",
			      device_table[i]->type);
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

/* Every byte of every member differs from its neighbours, as far as its rules allow; variable rows are full. */
static void fill(const struct state_desc *desc, uint8_t *state)
{
	uint8_t next = 1;

	for (uint32_t i = 0; i < desc->size; i++)
		state[i] = next = (uint8_t)(next * 5 + 17);
	for (const struct state_row *row = desc->row; row < desc->row + desc->nrows; row++) {
		if (row->kind == ST_VARIABLE)
			memcpy(state + row->len_offset, &row->count, sizeof(row->count));
		if (row->kind == ST_STRING)
			memset(state + row->offset + row->count - 1, 0, 1);
		if (row->rules & (ST_BOOL | ST_PADDING))
			memset(state + row->offset, 0, (size_t)row->count * row->width);
		for (uint32_t i = 0; row->rules & ST_BOOL && i < row->count; i++)
			state[row->offset + i * row->width] = 1; /* little endian */
	}
}

TEST(rows_are_complete)
{
	for (uint32_t i = 0; i < device_table_rows; i++) {
		const struct device_ops *ops = device_table[i];

		ck_assert_ptr_nonnull(ops->type);
		ck_assert_uint_le(strlen(ops->name ? ops->name : ops->type) + strlen("15"),
				  sizeof(((struct device *)0)->name) - 1);
		ck_assert_ptr_nonnull(ops->attach);
		ck_assert_ptr_nonnull(ops->reset);
		ck_assert_msg(!ops->state != !ops->unsaved,
			      "%s: either a state table, or the reason why there is none",
			      ops->type);
		if (ops->state) {
			ck_assert_ptr_nonnull(ops->state->check);
			ck_assert_str_eq(ops->state->type, ops->type);
			ck_assert_uint_ge(ops->state_offset, sizeof(struct device));
			ck_assert_uint_le(ops->state_offset + ops->state->size, ops->bytes);
		}
		for (uint32_t j = 0; j < i; j++)
			ck_assert_str_ne(ops->type, device_table[j]->type);
	}
}

TEST(state_round_trip)
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

/* Every fixed member is needed, whichever is missing. */
TEST(state_missing_member)
{
	attach_all();
	for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
		const struct device *dev = rig.vm.device[i];
		const struct state_desc *desc = dev->ops->state;
		uint8_t *state = malloc(desc->size);

		for (uint32_t row = 0; row < desc->nrows; row++) {
			void *fdt = save(desc, device_state(dev));
			int node = fdt_path_offset(fdt, "/device");

			if (desc->row[row].kind != ST_ADDED) {
				ck_assert_int_eq(fdt_delprop(fdt, node, desc->row[row].name), 0);
				ck_assert_int_ne(load(fdt, desc, state), 0);
			}
			free(fdt);
		}
		free(state);
	}
}

/* Pauses: what is in flight comes to its end. */
static void settle(struct device *dev)
{
	struct error err = {""};

	if (!dev->ops->pause)
		return;
	pthread_mutex_lock(&dev->lock);
	ck_assert_msg(!dev->ops->pause(dev, clock_now_ns() + 10 * CLOCK_NS_PER_S, &err), "%s: %s",
		      dev->name, err.msg);
	pthread_mutex_unlock(&dev->lock);
}

static void resume(struct device *dev)
{
	if (!dev->ops->resume)
		return;
	pthread_mutex_lock(&dev->lock);
	dev->ops->resume(dev);
	pthread_mutex_unlock(&dev->lock);
}

/* The state after power-on is one that can be loaded, and comes back the same. */
TEST(power_on_state)
{
	attach_all();
	for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
		struct device *dev = rig.vm.device[i];
		const struct device_ops *ops = dev->ops;
		void *after = malloc(ops->state->size), *fdt;

		resume(dev);
		settle(dev);
		settle(dev);
		fdt = save(ops->state, device_state(dev));
		ck_assert_int_eq(load(fdt, ops->state, after), 0);
		ck_assert_int_eq(memcmp(device_state(dev), after, ops->state->size), 0);
		free(after);
		free(fdt);
	}
	devices_reset(&rig.vm);
}

/* As a load does. False: refused by compare(), which says why; or by post_load(), and then the
 * device is one that was reset. */
static bool load_state(struct device *dev, const void *state)
{
	const struct device_ops *ops = dev->ops;
	struct error err = {""};

	if (state_compare(ops->state, state, device_state(dev), &err) ||
	    (ops->compare && ops->compare(dev, state, &err))) {
		ck_assert_msg(*err.msg, "%s: compare() refuses without a word", dev->name);
		return false;
	}
	memcpy(device_state(dev), state, ops->state->size);
	if (!ops->post_load || !ops->post_load(dev, &err))
		return true;
	ck_assert_msg(*err.msg, "%s: post_load() refuses without a word", dev->name);
	pthread_mutex_lock(&dev->lock);
	ops->reset(dev);
	pthread_mutex_unlock(&dev->lock);
	return false;
}

/* What a release has saved its successors take: not the tables alone (test_checkpoint.c), but the
 * devices that hold it against this command line. */
TEST(golden_states_are_loadable)
{
	static const char *const accept[] = {"disk0",
					     NULL}; /* saved on another host, with another file */
	static uint8_t file[1 << 20];
	const void *saved[DEVICES_MAX] = {NULL};
	void *state[DEVICES_MAX] = {NULL};
	FILE *in = fopen(GOLDEN_CHECKPOINT, "r");
	struct error err;

	ck_assert_ptr_nonnull(in);
	ck_assert_uint_gt(fread(file, 1, sizeof(file), in), 4096);
	fclose(in);
	attach_all();
	for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
		const struct device *dev = rig.vm.device[i];
		const struct device_ops *ops = dev->ops;
		int node = fdt_subnode_offset(file, 0, dev->name);

		if (ops->may_save) /* a function passed through: no golden guest has one */
			continue;
		saved[i] = state[i] = calloc(1, ops->state->size);
		ck_assert_msg(node >= 0, GOLDEN_CHECKPOINT " has no %s", dev->name);
		ck_assert_msg(!state_load(file, node, ops->state, state[i], &err), "%s", err.msg);
	}
	err.msg[0] = '\0';
	ck_assert_msg(!devices_compare(&rig.vm, saved, false, accept, &err), "%s", err.msg);
	devices_commit(&rig.vm, saved);
	for (uint32_t i = 0; i < rig.vm.ndevices; i++)
		free(state[i]);
	ck_assert_msg(!devices_post_load(&rig.vm, &err), "%s", err.msg);
	devices_resume(&rig.vm);
	rig_spin();
	ck_assert_msg(!devices_pause(&rig.vm, clock_now_ns() + 10 * CLOCK_NS_PER_S, &err), "%s",
		      err.msg);
}

/* --- a random guest */

static uint32_t random_next(uint32_t *random)
{
	*random = *random * 1664525 + 1013904223;
	return *random >> 8;
}

static void any_access(uint32_t *random)
{
	uint32_t what = random_next(random), data = random_next(random);
	struct bus *bus = &rig.vm.bus;
	enum bus_space space = what >> 2 & 1 ? BUS_MMIO : BUS_PIO;
	uint32_t size = 1u << (what % 3), nregions = bus->nregions[space];
	const struct bus_region *region;

	if (!nregions)
		return;
	region = &bus->region[space][(what >> 4) % nregions];
	bus_access(bus, space, region->base + (what >> 12) % region->size, &data, size, what & 8);
}

/* NULL: this device is no virtio device. */
static struct virtio *if_virtio(const struct device *dev)
{
	return strncmp(dev->ops->type, "virtio-", 7) ? NULL : virtio_of(dev);
}

/* A descriptor, mostly of RAM that is there. */
static void scribble_desc(uint32_t *random, uint64_t gpa)
{
	uint32_t what = random_next(random);
	struct vring_desc desc = {
		.addr = random_next(random) % (uint32_t)rig.vm.ram.config.size_bytes,
		.len = random_next(random) % 4096,
		.flags = what & 3,
		.next = (uint16_t)(random_next(random) % DRIVER_QUEUE_SIZE),
	};

	if (!(what >> 4 & 15))
		desc.flags = (uint16_t)random_next(random);
	if (!(what >> 8 & 31))
		desc.addr = (uint64_t)random_next(random) << 32 | random_next(random);
	if (!(what >> 13 & 31))
		desc.len = random_next(random) << 8;
	if (ram_write(&rig.vm.ram, gpa, &desc, sizeof(desc)))
		ck_abort_msg("the rig's RAM is too small");
}

static void scribble_ring(uint32_t *random, uint32_t queue)
{
	const uint64_t gpa = driver_ring_gpa(queue);
	struct vring_avail *avail = driver_avail(queue);

	for (uint32_t i = 0; i < DRIVER_QUEUE_SIZE; i++) {
		scribble_desc(random, gpa + i * sizeof(struct vring_desc));
		avail->ring[i] = (uint16_t)(random_next(random) %
					    (DRIVER_QUEUE_SIZE + DRIVER_QUEUE_SIZE / 16));
	}
	avail->flags = random_next(random) & 1;
	avail->idx = (uint16_t)(avail->idx + random_next(random) % 8);
}

static void set_up_queue(uint32_t *random, uint64_t common, uint32_t queue)
{
	driver_set_rings(common, queue, DRIVER_QUEUE_SIZE >> random_next(random) % 3);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_MSIX, 2, random_next(random) % 4);
	if (random_next(random) % 8)
		rig_mmio_write(common + VIRTIO_PCI_COMMON_Q_ENABLE, 2, 1);
}

/* As virtio 1.2, 3.1.1 has it, but the features are a matter of luck. */
static void start_driver(uint32_t *random, uint64_t common, uint32_t nqueues)
{
	uint8_t status = VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER;

	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, 0);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status);
	for (uint32_t half = 0; half < 2; half++) {
		rig_mmio_write(common + VIRTIO_PCI_COMMON_DFSELECT, 4, half);
		rig_mmio_write(common + VIRTIO_PCI_COMMON_GFSELECT, 4, half);
		rig_mmio_write(common + VIRTIO_PCI_COMMON_GF, 4,
			       rig_mmio_read(common + VIRTIO_PCI_COMMON_DF, 4) &
				       (half ? 1 : random_next(random) | random_next(random) << 8));
	}
	status |= VIRTIO_CONFIG_S_FEATURES_OK;
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status);
	for (uint32_t i = 0; i < nqueues; i++)
		set_up_queue(random, common, i);
	rig_mmio_write(common + VIRTIO_PCI_COMMON_STATUS, 1, status | VIRTIO_CONFIG_S_DRIVER_OK);
}

static void drive(uint32_t *random)
{
	struct virtio *v = if_virtio(rig.vm.device[random_next(random) % rig.vm.ndevices]);
	uint64_t common, notify;
	uint32_t unused, step, queue;

	if (!v)
		return;
	driver_enable_function(v); /* as no random access does */
	common = driver_structure(v, VIRTIO_PCI_CAP_COMMON_CFG, &unused);
	notify = driver_structure(v, VIRTIO_PCI_CAP_NOTIFY_CFG, &step);
	if (!common || !notify)
		return;
	if (!(random_next(random) % 8) || !v->started || atomic_load(&v->broken))
		start_driver(random, common, v->nqueues);
	queue = random_next(random) % v->nqueues;
	scribble_ring(random, queue);
	rig_mmio_write(notify + (uint64_t)queue * step, 2, queue);
}

/* Accesses of any kind, wherever a device listens, and now and then what a driver would do: BARs are mapped,
 * queues set up in RAM, filled with nonsense and kicked. The same seed makes the same ones. */
static void random_guest(uint32_t *random, int times)
{
	for (int i = 0; i < times; i++)
		if (random_next(random) % 16)
			any_access(random);
		else
			drive(random);
}

/* States nobody would save: refused, or harmless to load and run. Those that differ from a good
 * one in few bytes get past check() often. */
TEST(hostile_state)
{
	uint32_t random = 1, accepted = 0;

	attach_all();
	for (int round = 0; round < 4000; round++) {
		struct device *dev = rig.vm.device[round % (int)rig.vm.ndevices];
		const struct state_desc *desc = dev->ops->state;
		uint8_t *state = malloc(desc->size);

		settle(dev);
		memcpy(state, device_state(dev), desc->size);
		for (int i = 0; i < 1 + round % 3; i++)
			state[random_next(&random) % desc->size] = (uint8_t)random_next(&random);
		accepted += !state_check(desc, state, NULL) && load_state(dev, state);
		free(state);
		resume(dev);
		random_guest(&random, 50);
		if (!(round % 16))
			rig_spin();
		rig.requests = 0;
	}
	ck_assert_uint_gt(accepted, 400);
}

/* Whatever a guest does, what is saved then can be loaded. */
TEST(poked_state_is_loadable)
{
	uint32_t random = 2;

	attach_all();
	for (int round = 0; round < 500; round++) {
		devices_resume(&rig.vm);
		random_guest(&random, 100);
		rig_spin();
		for (uint32_t i = 0; i < rig.vm.ndevices; i++)
			settle(rig.vm.device[i]);
		for (uint32_t i = 0; i < rig.vm.ndevices; i++) {
			struct device *dev = rig.vm.device[i];
			const struct state_desc *desc = dev->ops->state;
			struct error err = {""};
			void *state = malloc(desc->size);

			ck_assert_msg(!state_check(desc, device_state(dev), &err), "%s", err.msg);
			memcpy(state, device_state(dev), desc->size);
			ck_assert_msg(load_state(dev, state), "%s is not what it was", dev->name);
			ck_assert_msg(!state_check(desc, device_state(dev), &err), "loaded: %s",
				      err.msg);
			free(state);
		}
		rig.requests = 0;
	}
}

/* The PCI bus is there if a device needs it. */
TEST(bus_comes_with_its_devices)
{
	struct error err = {""};

	rig_ram(RAM_BYTES);
	for (int rng = 0; rng < 2; rng++) {
		rig.opt.rng = rng;
		ck_assert_msg(!devices_attach(&rig.vm, &err), "%s", err.msg);
		ck_assert_int_eq(!!devices_find(&rig.vm, "rng0"), rng);
		ck_assert_int_eq(!!devices_find(&rig.vm, "pci0"), rng);
		devices_detach(&rig.vm);
	}
}

UNIT_MAIN(setup, teardown)
