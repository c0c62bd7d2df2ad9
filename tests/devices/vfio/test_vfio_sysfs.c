/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What sysfs says of a function, and what is said of it. */
#include "devices/vfio/vfio_sysfs.h"
#include "tests/fakes/vfio_stand_in.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>

#define NVME   0x010802
#define BRIDGE 0x060400
#define ISA    0x060100

static struct vfio_function function;
static struct error err;

static int look(const char *address)
{
	err.msg[0] = 0;
	return vfio_sysfs_look(&function, address, &err);
}

static void expect(int code, const char *says)
{
	ck_assert_int_eq(look("0000:01:00.0"), code);
	ck_assert_msg(strstr(err.msg, says) != NULL, "'%s' is not in: %s", says, err.msg);
}

START_TEST(as_it_should_be)
{
	vfio_stand_in_sysfs("0000:01:00.0", 12, "vfio-pci", NVME);
	ck_assert_int_eq(look("0000:01:00.0"), 0);
	ck_assert_str_eq(function.address, "0000:01:00.0");
	ck_assert_uint_eq(function.group, 12);
	ck_assert(function.cdev == -1 && function.fd == -1 && function.group_fd == -1);
	/* The second function that serves VFIO in this host has its second number. */
	vfio_stand_in_add("0000:02:00.0", 3);
	vfio_stand_in_add("0000:02:00.1", 4);
	ck_assert_int_eq(look("0000:02:00.1"), 0);
	ck_assert_int_eq(function.cdev, 1);
	/* A vendor's variant of vfio-pci */
	vfio_stand_in_sysfs("0000:02:00.1", 4, "mlx5_vfio_pci", 0x020000);
	ck_assert_int_eq(look("0000:02:00.1"), 0);
}
END_TEST

START_TEST(not_there)
{
	expect(-ENODEV, "no such PCI function: lspci -D shows");
}
END_TEST

START_TEST(no_iommu)
{
	char path[256];
	FILE *f;

	vfio_stand_in_sysfs("0000:01:00.0", -1, "vfio-pci", NVME);
	expect(-ENODEV, "intel_iommu=on");
	ck_assert_ptr_nonnull(strstr(err.msg, "amd_iommu"));
	/* VFIO without an IOMMU makes a group up. */
	vfio_stand_in_sysfs("0000:01:00.0", 0, "vfio-pci", NVME);
	ck_assert_int_eq(look("0000:01:00.0"), 0);
	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/0/name", vfio_sysfs_root);
	f = fopen(path, "we");
	ck_assert(f && fputs("vfio-noiommu\n", f) >= 0 && !fclose(f));
	expect(-ENODEV, "intel_iommu=on");
}
END_TEST

START_TEST(bound_elsewhere)
{
	vfio_stand_in_sysfs("0000:01:00.0", 12, "nvme", NVME);
	expect(-EBUSY, "is bound to nvme, not to vfio-pci: modprobe vfio-pci; "
		       "echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override; "
		       "echo 0000:01:00.0 > /sys/bus/pci/devices/0000:01:00.0/driver/unbind; "
		       "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe");
	/* The file 'unbind' is not there then. */
	vfio_stand_in_sysfs("0000:01:00.0", 12, NULL, NVME);
	expect(-EBUSY, "is bound to no driver, not to vfio-pci: modprobe vfio-pci; "
		       "echo vfio-pci > /sys/bus/pci/devices/0000:01:00.0/driver_override; "
		       "echo 0000:01:00.0 > /sys/bus/pci/drivers_probe");
}
END_TEST

START_TEST(neighbours)
{
	vfio_stand_in_sysfs("0000:01:00.0", 12, "vfio-pci", NVME);
	vfio_stand_in_sysfs("0000:00:01.0", 12, "pcieport", BRIDGE);
	vfio_stand_in_sysfs("0000:00:01.1", 12, "shpchp", BRIDGE);
	vfio_stand_in_sysfs("0000:01:00.1", 12, NULL, NVME);
	vfio_stand_in_sysfs("0000:01:00.2", 12, "pci-stub", NVME);
	vfio_stand_in_sysfs("0000:01:00.3", 12, "vfio-pci", NVME);
	vfio_stand_in_sysfs("0000:02:00.0", 13, "nvme", NVME);
	ck_assert_int_eq(look("0000:01:00.0"), 0);
	vfio_stand_in_sysfs("0000:01:00.5", 12, "lpc_ich", ISA);
	expect(-EBUSY, "shares IOMMU group 12 with what belongs to the host: 0000:01:00.5 "
		       "(lpc_ich): ");
	vfio_stand_in_sysfs("0000:01:00.4", 12, "e1000e", 0x020000);
	expect(-EBUSY, ": 0000:01:00.4 (e1000e), 0000:01:00.5 (lpc_ich): ");
}
END_TEST

/* A group larger than a message */
START_TEST(many_neighbours)
{
	char address[16];

	vfio_stand_in_sysfs("0000:01:00.0", 12, "vfio-pci", NVME);
	for (int i = 0; i < 64; i++) {
		snprintf(address, sizeof(address), "0000:02:%02x.%d", i / 8, i % 8);
		vfio_stand_in_sysfs(address, 12, "a-driver-with-a-long-name", NVME);
	}
	expect(-EBUSY, "0000:02:00.0 (a-driver-with-a-long-name), 0000:02:00.1");
	ck_assert_ptr_nonnull(
		strstr(err.msg, "...: a group is passed through as a whole: bind these"));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {as_it_should_be, not_there,  no_iommu,
				      bound_elsewhere, neighbours, many_neighbours};

	return unit_run_case("vfio-sysfs", tests, sizeof(tests) / sizeof(tests[0]),
			     vfio_stand_in_begin, vfio_stand_in_end, 30);
}
