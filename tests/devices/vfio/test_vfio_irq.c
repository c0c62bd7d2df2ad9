/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Interrupts of a VFIO device. The rig is KVM: the guest has got what an eventfd has counted while it was attached
 * to a route or a line. */
#include "tests/rig/unit.h"
#include "tests/rig/vfio_fixture.h"
#include "vmm/arch.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define ON PCI_MSIX_FLAGS_ENABLE

static struct fake_vfio_irq *intx(void)
{
	return &function->irq[VFIO_PCI_INTX_IRQ_INDEX];
}

static struct fake_vfio_irq *msi(void)
{
	return &function->irq[VFIO_PCI_MSI_IRQ_INDEX];
}

static struct fake_vfio_irq *msix(void)
{
	return &function->irq[VFIO_PCI_MSIX_IRQ_INDEX];
}

static void start(void)
{
	vfio_fixture_boot();
	vfio_put(PCI_COMMAND, 2,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
}

static void msix_control(uint32_t flags)
{
	vfio_put(FUNCTION_MSIX + PCI_MSIX_FLAGS, 2, flags);
}

static uint64_t entry_gpa(uint32_t vector)
{
	return vfio_bar_gpa(FUNCTION_WIDE) + FUNCTION_TABLE +
	       (uint64_t)vector * PCI_MSIX_ENTRY_SIZE;
}

static void mask(uint32_t vector, bool masked)
{
	rig_mmio_write(entry_gpa(vector) + PCI_MSIX_ENTRY_VECTOR_CTRL, 4, masked);
}

/* As Linux does it: writes the message while the vector is masked. Its data has the vector. */
static void use(uint32_t vector)
{
	mask(vector, true);
	rig_mmio_write(entry_gpa(vector), 4, 0xfee00000);
	rig_mmio_write(entry_gpa(vector) + PCI_MSIX_ENTRY_DATA, 4, 0x4000 + vector);
	mask(vector, false);
}

static const struct rig_route *route_to(uint32_t data)
{
	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		if (rig.route[i].used && rig.route[i].msi.data == data)
			return &rig.route[i];
	return NULL;
}

/* How many interrupts with this data the guest has got since the last call. */
static uint64_t got(uint32_t data)
{
	const struct rig_route *route = route_to(data);
	uint64_t n = 0;

	if (!route || !route->fd)
		return 0;
	ck_assert(route->committed);
	ck_assert_uint_eq(route->msi.address, 0xfee00000);
	return read(route->fd, &n, sizeof(n)) == sizeof(n) ? n : 0;
}

static uint64_t got_vector(uint32_t vector)
{
	return got(0x4000 + vector);
}

static bool fire(uint32_t vector)
{
	return fake_vfio_fire(function, VFIO_PCI_MSIX_IRQ_INDEX, vector);
}

static uint64_t pending(void)
{
	return rig_mmio_read(vfio_bar_gpa(FUNCTION_WIDE) + FUNCTION_PBA, 8);
}

TEST(msix_on_and_off)
{
	start();
	ck_assert_uint_eq(msix()->enabled + msi()->enabled + intx()->enabled, 0);
	use(0);
	ck_assert_uint_eq(rig_routes(), 0);
	msix_control(ON);
	ck_assert_uint_eq(msix()->enabled, 1);
	ck_assert(fire(0));
	ck_assert_uint_eq(got_vector(0), 1);
	msix_control(0);
	ck_assert_uint_eq(msix()->enabled + rig_routes(), 0);
	/* Enabled also without a vector in use: some devices look at the bit. */
	mask(0, true);
	msix_control(ON | PCI_MSIX_FLAGS_MASKALL);
	ck_assert_uint_eq(msix()->enabled, 1);
	ck_assert_uint_eq(rig_routes(), 0);
}

TEST(masked_vectors_wait)
{
	start();
	msix_control(ON);
	use(2);
	ck_assert_uint_eq(pending(), 0);
	mask(2, true);
	ck_assert(fire(2) && fire(2));
	ck_assert_uint_eq(got_vector(2), 0);
	ck_assert_uint_eq(pending(), 4);
	ck_assert_uint_eq(pending(), 4); /* a read does not clear it */
	mask(2, false);
	ck_assert_uint_eq(got_vector(2), 1);
	ck_assert_uint_eq(pending(), 0);
	/* The mask of all vectors, and bus mastering off. */
	msix_control(ON | PCI_MSIX_FLAGS_MASKALL);
	ck_assert(fire(2));
	ck_assert_uint_eq(got_vector(2), 0);
	ck_assert_uint_eq(pending(), 4);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	msix_control(ON);
	ck_assert_uint_eq(got_vector(2), 0);
	vfio_put(PCI_COMMAND, 2,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(got_vector(2), 1);
}

/* To powers of two, up to what the function has. Vectors in use are raised once more. */
TEST(vectors_grow)
{
	static const struct {
		uint32_t vector, enabled;
	} row[] = {{0, 1}, {1, 2}, {5, 8}, {3, 8}, {8, 16}, {32, 33}, {20, 33}};

	start();
	msix_control(ON);
	for (size_t i = 0; i < ARRAY_SIZE(row); i++) {
		bool grows = row[i].enabled > msix()->enabled;

		if (i) /* just before vectors are disabled */
			ck_assert(fire(row[0].vector));
		use(row[i].vector);
		ck_assert_uint_eq(msix()->enabled, row[i].enabled);
		ck_assert_uint_eq(rig_routes(), i + 1);
		for (size_t j = 0; j < i; j++)
			ck_assert_uint_eq(got_vector(row[j].vector), (uint64_t)grows + !j);
		ck_assert_uint_eq(got_vector(row[i].vector), 0);
		ck_assert(fire(row[i].vector));
		ck_assert_uint_eq(got_vector(row[i].vector), 1);
	}
}

/* A vector that is masked meanwhile is raised when it is unmasked. */
TEST(grows_past_a_masked_one)
{
	start();
	msix_control(ON);
	use(0);
	mask(0, true);
	use(1);
	ck_assert_uint_eq(got_vector(0), 0);
	mask(0, false);
	ck_assert_uint_eq(got_vector(0), 1);
}

TEST(message_changes)
{
	start();
	msix_control(ON);
	use(1);
	rig_mmio_write(entry_gpa(1) + PCI_MSIX_ENTRY_DATA, 4, 0x77);
	ck_assert_uint_eq(rig_routes(), 1);
	ck_assert(fire(1));
	ck_assert_uint_eq(got(0x77), 1);
}

TEST(host_has_fewer)
{
	msix()->available = 3;
	start();
	msix_control(ON);
	use(0);
	use(2);
	ck_assert_uint_eq(msix()->enabled, 3);
	use(9);
	ck_assert_uint_eq(msix()->enabled, 3);
	ck_assert(fire(2));
	ck_assert_uint_eq(got_vector(2), 1);
}

/* The host has no memory for a moment; vectors in use are raised once more afterwards. */
TEST(host_fails)
{
	start();
	msix_control(ON);
	use(0);
	fake_vfio.fails = VFIO_DEVICE_SET_IRQS;
	fake_vfio.nth = 2; /* the first disables */
	fake_vfio.fails_errno = ENOMEM;
	use(4);
	ck_assert_uint_eq(msix()->enabled, 0);
	fake_vfio.fails = 0;
	mask(4, false);
	ck_assert_uint_eq(msix()->enabled, 8);
	ck_assert_uint_ge(got_vector(0), 1);
	ck_assert(fire(4));
	ck_assert_uint_eq(got_vector(4), 1);
}

/* Each try disables working vectors for a moment, so other writes must not cause one. */
TEST(no_try_without_cause)
{
	start();
	msix_control(ON);
	use(0);
	fake_vfio.fails = VFIO_DEVICE_SET_IRQS;
	fake_vfio.nth = 2;
	fake_vfio.fails_errno = ENOMEM;
	use(4);
	fake_vfio.fails = 0;
	vfio_put(PCI_INTERRUPT_LINE, 1, 7);
	vfio_put(PCI_CACHE_LINE_SIZE, 1, 7);
	vfio_put(PCI_COMMAND, 2,
		 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(msix()->enabled, 0);
	msix_control(ON);
	ck_assert_uint_eq(msix()->enabled, 8);
}

static uint32_t looks; /* at a vector */

bool __wrap_pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *message);
bool __real_pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *message);
bool __wrap_pci_msix_message(struct pci_func *func, uint32_t vector, struct irq_msi *message)
{
	looks++;
	return __real_pci_msix_message(func, vector, message);
}

/* There may be 2,048, and the guest writes config space as often as it likes. */
TEST(writes_look_only_at_vectors_they_concern)
{
	start();
	msix_control(ON);
	use(0);
	looks = 0;
	vfio_put(PCI_INTERRUPT_LINE, 1, 7);
	vfio_put(PCI_CACHE_LINE_SIZE, 1, 7);
	vfio_put(PCI_BASE_ADDRESS_2, 4, 0xfd000000);
	vfio_put(FUNCTION_VENDOR + 4, 4, 1);
	vfio_put(FUNCTION_EXP + PCI_EXP_DEVSTA, 2, 0xffff);
	ck_assert_uint_eq(looks, 0);
	mask(3, true);
	ck_assert_uint_eq(looks, 1);
	msix_control(ON | PCI_MSIX_FLAGS_MASKALL);
	ck_assert_uint_eq(looks, 1 + FUNCTION_VECTORS);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(looks, 1 + 2 * FUNCTION_VECTORS);
}

/* Masked or not. */
TEST(pause_loses_none)
{
	const struct device_ops *ops;
	struct device *dev;

	start();
	msix_control(ON);
	use(0);
	use(2);
	mask(2, true);
	ck_assert(fire(2));
	dev = vfio_fixture_device();
	ops = dev->ops;
	rig.vm.suspended = true;
	ck_assert_int_eq(ops->pause(dev, UINT64_MAX, NULL), 0);
	ck_assert_uint_eq(msix()->enabled, 0);
	ops->resume(dev);
	ck_assert_uint_eq(msix()->enabled, 4);
	ck_assert_uint_eq(pending(), 4);
	ck_assert_uint_ge(got_vector(0), 1);
	mask(2, false);
	ck_assert_uint_ge(got_vector(2), 1);
	ck_assert(fire(0) && fire(2));
	ck_assert_uint_ge(got_vector(0), 1);
	ck_assert_uint_ge(got_vector(2), 1);
}

/* --- MSI */

static bool fire_msi(uint32_t vector)
{
	return fake_vfio_fire(function, VFIO_PCI_MSI_IRQ_INDEX, vector);
}

static void start_msi(uint32_t log2)
{
	start();
	vfio_put(FUNCTION_MSI + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
	vfio_put(FUNCTION_MSI + PCI_MSI_DATA_64, 2, 0x4007);
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | log2 << 4);
}

TEST(msi_vectors)
{
	start_msi(2);
	ck_assert_uint_eq(msi()->enabled, 4);
	for (uint32_t i = 0; i < 4; i++) {
		ck_assert(fire_msi(i));
		ck_assert_uint_eq(got(0x4004 + i), 1);
	}
	/* More than the function has. */
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE | 7 << 4);
	ck_assert_uint_eq(msi()->enabled, FUNCTION_MSIS);
	ck_assert_uint_eq(rig_routes(), FUNCTION_MSIS);
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, 0);
	ck_assert_uint_eq(msi()->enabled + rig_routes(), 0);
}

TEST(msi_masks)
{
	start_msi(1);
	vfio_put(FUNCTION_MSI + PCI_MSI_MASK_64, 4, 2);
	ck_assert(fire_msi(0) && fire_msi(1));
	ck_assert_uint_eq(got(0x4006), 1);
	ck_assert_uint_eq(got(0x4007), 0);
	ck_assert_uint_eq(vfio_get(FUNCTION_MSI + PCI_MSI_PENDING_64, 4), 2);
	ck_assert_uint_eq(vfio_get(FUNCTION_MSI + PCI_MSI_PENDING_64, 1), 2);
	vfio_put(FUNCTION_MSI + PCI_MSI_MASK_64, 4, 0);
	ck_assert_uint_eq(got(0x4007), 1);
	ck_assert_uint_eq(vfio_get(FUNCTION_MSI + PCI_MSI_PENDING_64, 4), 0);
}

TEST(msi_of_32_bits)
{
	function_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, 0);
	msi()->count = 1;
	start();
	vfio_put(FUNCTION_MSI + PCI_MSI_ADDRESS_LO, 4, 0xfee00000);
	vfio_put(FUNCTION_MSI + PCI_MSI_DATA_32, 2, 0x4321);
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	ck_assert(fire_msi(0));
	ck_assert_uint_eq(got(0x4321), 1);
}

/* --- INTx */

static void enable_intx(void)
{
	vfio_fixture_boot();
	ck_assert_uint_eq(intx()->enabled, 0);
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static bool level(void)
{
	const struct rig_level *l = &rig.level[0];

	return l->gsi == pci_intx_gsi(&vfio_fixture_vfio()->pci) && l->fd == intx()->fd[0] &&
	       l->resample_fd == intx()->unmask_fd;
}

TEST(intx_line)
{
	const uint64_t one = 1;

	enable_intx();
	ck_assert(level());
	ck_assert(fake_vfio_fire(function, VFIO_PCI_INTX_IRQ_INDEX, 0));
	ck_assert(!fake_vfio_fire(function, VFIO_PCI_INTX_IRQ_INDEX, 0));
	/* KVM does this at the end of interrupt. */
	ck_assert_int_eq(write(rig.level[0].resample_fd, &one, sizeof(one)), sizeof(one));
	ck_assert(fake_vfio_resample(function));
	vfio_put(PCI_COMMAND, 2, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	ck_assert_uint_eq(intx()->enabled + rig.level[0].gsi, 0);
}

/* One mode at a time: VFIO refuses a second one before the first is disabled. */
TEST(one_mode_at_a_time)
{
	enable_intx();
	use(0);
	msix_control(ON);
	ck_assert_uint_eq(intx()->enabled + rig.level[0].gsi, 0);
	ck_assert(fire(0));
	ck_assert_uint_eq(got_vector(0), 1);
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, PCI_MSI_FLAGS_ENABLE);
	ck_assert_uint_eq(msi()->enabled, 0); /* the guest's mistake: MSI-X is on */
	msix_control(0);
	ck_assert_uint_eq(msix()->enabled, 0);
	ck_assert_uint_eq(msi()->enabled, 1);
	vfio_put(FUNCTION_MSI + PCI_MSI_FLAGS, 2, 0);
	ck_assert_uint_eq(msi()->enabled + rig_routes(), 0);
	ck_assert_uint_eq(intx()->enabled, 1);
	ck_assert(level());
}

/* After a load the irqchip has lost the level, so no end of interrupt would unmask it. */
TEST(line_after_a_pause)
{
	const struct device *dev;

	enable_intx();
	ck_assert(fake_vfio_fire(function, VFIO_PCI_INTX_IRQ_INDEX, 0));
	dev = vfio_fixture_device();
	dev->ops->resume(vfio_fixture_device());
	ck_assert(level());
	ck_assert(fake_vfio_fire(function, VFIO_PCI_INTX_IRQ_INDEX, 0));
}

/* --- errors and release requests */

TEST(errors_and_requests_become_events)
{
	static const struct {
		uint32_t index;
		const char *reason;
	} row[] = {{VFIO_PCI_ERR_IRQ_INDEX, "error"},
		   {VFIO_PCI_REQ_IRQ_INDEX, "release-requested"}};

	vfio_fixture_boot();
	for (uint32_t i = 0; i < 2; i++) {
		ck_assert(fake_vfio_fire(function, row[i].index, 0));
		RIG_WAIT_FOR(rig.nevents > i);
		ck_assert_uint_eq(rig.nevents, i + 1);
		ck_assert_int_eq(rig.event.type, VM_EVENT_VFIO_DEVICE_ERROR);
		ck_assert_str_eq(rig.event.id, "nvme");
		ck_assert_str_eq(rig.event.reason, row[i].reason);
	}
}

/* Older kernels and conventional PCI. */
TEST(host_without_errors_and_requests)
{
	function->irq[VFIO_PCI_ERR_IRQ_INDEX].count = 0;
	function->irq[VFIO_PCI_REQ_IRQ_INDEX].count = 0;
	vfio_fixture_boot();
	ck_assert_uint_eq(function->irq[VFIO_PCI_ERR_IRQ_INDEX].enabled, 0);
}

TEST(watch_fails)
{
	struct error err = {""};

	fake_vfio.fails = VFIO_DEVICE_SET_IRQS;
	fake_vfio.nth = 2;
	fake_vfio.fails_errno = ENOMEM;
	ck_assert_int_eq(vfio_fixture_refused(&err), -ENOMEM);
	ck_assert_ptr_nonnull(strstr(err.msg, "nvme (0000:01:00.0): VFIO_DEVICE_SET_IRQS"));
}

static bool calloc_fails;

void *__wrap_calloc(size_t n, size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes)
{
	return calloc_fails && bytes == sizeof(struct irq_vector) ? NULL : __real_calloc(n, bytes);
}

TEST(no_memory_for_vectors)
{
	struct error err = {""};

	calloc_fails = true;
	ck_assert_int_eq(vfio_fixture_refused(&err), -ENOMEM);
	calloc_fails = false;
}

UNIT_MAIN(vfio_fixture_open, vfio_fixture_close)
