/* SPDX-License-Identifier: GPL-2.0-or-later */
/* PCI functions of the host are checked in sysfs, opened, given guest RAM, and closed, by both interfaces. */
#include "devices/vfio/vfio.h"
#include "ram/backend.h"
#include "tests/fakes/fake_vfio.h"
#include "tests/rig/unit.h"
#include "vmm/vm.h"
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>

#define A     "0000:01:00.0"
#define B     "0000:01:00.1"
#define C     "0000:02:00.0"
#define D     "0000:03:00.0" /* not bound to vfio-pci */
#define GUEST 0x100000000ull

/* PCI classes, as sysfs has them */
#define NVME   0x010802
#define BRIDGE 0x060400
#define ISA    0x060100

static struct vm vm;
static struct error err;

static void setup(void)
{
	fake_vfio_begin();
	fake_vfio_add(A, 12);
	fake_vfio_add(B, 12);
	fake_vfio_add(C, 13);
	memset(&vm, 0, sizeof(vm));
	vm.vm_fd = -1;
	vm.ram.backend = &ram_devdax;
	vm.ram.config = (struct ram_config){.size_bytes = 6 << 20, .path = "/dev/dax0.0"};
	vm.ram.region[0] = (struct ram_region){0, 4 << 20, (uint8_t *)0x10000000};
	vm.ram.region[1] = (struct ram_region){GUEST, 2 << 20, (uint8_t *)0x10400000};
	vm.ram.nregions = 2;
}

/* Many tests run once for each interface: groups, iommufd. */
static const struct {
	bool no_cdev, no_groups;
} ways[] = {{.no_cdev = true}, {.no_groups = true}};

static void take_way(int way)
{
	fake_vfio.no_cdev = ways[way].no_cdev;
	fake_vfio.no_groups = ways[way].no_groups;
}

static void nothing_is_left(void)
{
	ck_assert_ptr_null(vm.vfio);
	ck_assert_uint_eq(fake_vfio.nmaps, 0);
	ck_assert(!vm.ram.pinned);
	ck_assert_uint_eq(fake_vfio.containers, 0);
	ck_assert_uint_eq(fake_vfio.groups, 0);
	ck_assert_uint_eq(fake_vfio.kvm_devices, 0);
	ck_assert_uint_eq(fake_vfio.kvm_files, 0);
	for (uint32_t i = 0; i < fake_vfio.nfunctions; i++)
		ck_assert_uint_eq(fake_vfio.function[i].open, 0);
}

static void teardown(void)
{
	nothing_is_left();
	fake_vfio_end();
}

static int must_open(const char *address)
{
	int fd;

	err.msg[0] = 0;
	ck_assert_msg(!vfio_kernel_open(&vm, address, &fd, &err), "%s", err.msg);
	ck_assert_int_ge(fd, 0);
	return fd;
}

static void refused(const char *address, int code, const char *says)
{
	int fd = 0;

	err.msg[0] = 0;
	ck_assert_int_eq(vfio_kernel_open(&vm, address, &fd, &err), code);
	ck_assert_int_eq(fd, -1);
	ck_assert_msg(!strncmp(err.msg, address, strlen(address)) && strstr(err.msg, says),
		      "'%s' is not in: %s", says, err.msg);
}

static void expect_ram_is_mapped(void)
{
	ck_assert_uint_eq(fake_vfio.nmaps, vm.ram.nregions);
	ck_assert(vm.ram.pinned);
	for (uint32_t i = 0; i < vm.ram.nregions; i++) {
		ck_assert_uint_eq(fake_vfio.map[i].iova, vm.ram.region[i].gpa);
		ck_assert_uint_eq(fake_vfio.map[i].bytes, vm.ram.region[i].size_bytes);
		ck_assert_ptr_eq(fake_vfio.map[i].hva, vm.ram.region[i].hva);
	}
}

/* Every step is undone in reverse order. */
TEST_EACH(one_function, ways)
{
	static const char *const log[] = {
		"open /dev/vfio/vfio\nKVM_CREATE\nopen /dev/vfio/12\nSET_CONTAINER\nSET_IOMMU\n"
		"KVM_ADD\nGET_DEVICE_FD " A "\nMAP\nMAP\n"
		"close " A "\nUNMAP\nUNMAP\nKVM_DEL\nUNSET_CONTAINER\nclose group\n"
		"close container\nclose kvm\n",
		"open /dev/iommu\nIOAS_ALLOC\nKVM_CREATE\nopen /dev/vfio/devices/vfio0\nKVM_ADD\n"
		"BIND " A "\nATTACH " A "\nMAP\nMAP\n"
		"KVM_DEL\nclose " A "\nUNMAP\nUNMAP\nclose iommufd\nclose kvm\n"};
	int fd;

	take_way(_i);
	fd = must_open(A);
	expect_ram_is_mapped();
	ck_assert_uint_eq(fake_vfio.kvm_files, 1);
	vfio_kernel_close(&vm, A, fd);
	ck_assert_str_eq(fake_vfio.log, log[_i]);
}

TEST_EACH(three_functions, ways)
{
	int a, b, c;

	take_way(_i);
	a = must_open(A);
	b = must_open(B);
	c = must_open(C);
	/* A group can be opened once: A and B share it. */
	ck_assert_uint_eq(fake_vfio.groups, _i ? 0 : 2);
	ck_assert_uint_eq(fake_vfio.kvm_files, _i ? 3 : 2);
	ck_assert_uint_eq(fake_vfio.containers, 1);
	ck_assert_uint_eq(fake_vfio.kvm_devices, 1);
	expect_ram_is_mapped();
	/* In any order. */
	vfio_kernel_close(&vm, A, a);
	ck_assert_uint_eq(fake_vfio.groups, _i ? 0 : 2);
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, B, b);
	ck_assert_uint_eq(fake_vfio.groups, _i ? 0 : 1);
	expect_ram_is_mapped();
	a = must_open(A);
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, C, c);
	expect_ram_is_mapped();
	/* Not open: does nothing. */
	vfio_kernel_close(&vm, B, a);
	vfio_kernel_close(&vm, A, -1);
	ck_assert_uint_eq(fake_vfio.function[0].open, 1);
	vfio_kernel_close(&vm, A, a);
	nothing_is_left();
	vfio_kernel_close(&vm, A, a);
}

TEST(newer_way_first)
{
	int fd;

	fake_vfio.no_cdev = false;
	fd = must_open(A);
	ck_assert_ptr_nonnull(strstr(fake_vfio.log, "open /dev/vfio/devices/vfio0"));
	fake_vfio.log[0] = 0;
	vfio_kernel_close(&vm, A, fd);
	/* This user can open only the group. */
	fake_vfio.denied = "/dev/vfio/devices/";
	fd = must_open(A);
	ck_assert_ptr_nonnull(strstr(fake_vfio.log, "open /dev/vfio/12"));
	vfio_kernel_close(&vm, A, fd);
	/* Neither: the message is that of the newer interface. */
	fake_vfio.denied = "/dev/vfio/";
	fake_vfio.open_fails = "/dev/vfio/devices/vfio0";
	fake_vfio.fails_errno = EACCES;
	refused(A, -EACCES, "/dev/vfio/devices/vfio0: Permission denied: give this user access");
}

TEST(missing_nodes)
{
	fake_vfio.no_groups = true;
	refused(A, -ENOENT,
		"/dev/vfio/vfio: No such file or directory: the module is not loaded: "
		"modprobe vfio-pci");
}

/* The nth step of a kind fails: there is a message, and nothing is left open. */
static const struct failure {
	int way;
	unsigned long request;
	const char *open;
	uint32_t nth;
	int code;
	const char *says;
} failures[] = {
	{0, 0, "/dev/vfio/vfio", 1, EACCES, "/dev/vfio/vfio: Permission denied: give this user"},
	{0, VFIO_GET_API_VERSION, NULL, 1, EINVAL, "version -1"},
	{0, VFIO_CHECK_EXTENSION, NULL, 1, EINVAL, "modprobe vfio_iommu_type1"},
	{0, KVM_CREATE_DEVICE, NULL, 1, ENODEV, "KVM's VFIO device: No such device"},
	{0, 0, "/dev/vfio/12", 1, EBUSY, "/dev/vfio/12: Device or resource busy: another process"},
	{0, 0, "/dev/vfio/12", 1, EACCES, "/dev/vfio/12: Permission denied: give this user"},
	{0, 0, "/dev/vfio/12", 1, EPERM, "/dev/vfio/12: Operation not permitted: give this user"},
	{0, VFIO_GROUP_SET_CONTAINER, NULL, 1, EBUSY, "VFIO_GROUP_SET_CONTAINER: Device or"},
	{0, VFIO_SET_IOMMU, NULL, 1, EPERM, "vfio_iommu_type1.allow_unsafe_interrupts=1"},
	{0, KVM_SET_DEVICE_ATTR, NULL, 1, EINVAL, "KVM_DEV_VFIO_FILE_ADD: Invalid"},
	{0, VFIO_GROUP_GET_DEVICE_FD, NULL, 1, EINVAL, "another device of its group belongs to"},
	{0, VFIO_GROUP_GET_DEVICE_FD, NULL, 1, EBUSY, "another process or VM has it"},
	{0, VFIO_DEVICE_GET_INFO, NULL, 1, EIO, "VFIO_DEVICE_GET_INFO: Input/output"},
	{0, VFIO_IOMMU_MAP_DMA, NULL, 1, ENOSPC, "at GPA 0x0 for DMA by type1v2: No space"},
	{0, VFIO_IOMMU_MAP_DMA, NULL, 2, ENOSPC, "at GPA 0x100000000 for DMA by type1v2: No space"},
	{0, VFIO_IOMMU_MAP_DMA, NULL, 2, EFAULT,
	 "RAM of kind devdax at /dev/dax0.0 for DMA: Bad address: take a DAX device, or a file on"},
	{1, 0, "/dev/iommu", 1, EACCES, "/dev/iommu: Permission denied: give this user"},
	{1, IOMMU_IOAS_ALLOC, NULL, 1, ENOMEM, "IOMMU_IOAS_ALLOC: Cannot allocate"},
	{1, KVM_CREATE_DEVICE, NULL, 1, ENODEV, "KVM's VFIO device: No such device"},
	{1, 0, "/dev/vfio/devices/vfio0", 1, EPERM, "vfio0: Operation not permitted: give"},
	{1, KVM_SET_DEVICE_ATTR, NULL, 1, EINVAL, "KVM_DEV_VFIO_FILE_ADD: Invalid"},
	{1, VFIO_DEVICE_BIND_IOMMUFD, NULL, 1, EBUSY, "another process or VM has it"},
	{1, VFIO_DEVICE_BIND_IOMMUFD, NULL, 1, EINVAL, "another process or VM has it"},
	{1, VFIO_DEVICE_BIND_IOMMUFD, NULL, 1, EPERM, "iommufd.allow_unsafe_interrupts=1"},
	{1, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL, 1, EINVAL, "cannot have one address space"},
	{1, VFIO_DEVICE_GET_INFO, NULL, 1, EIO, "VFIO_DEVICE_GET_INFO: Input/output"},
	{1, IOMMU_IOAS_MAP, NULL, 1, ENOSPC, "at GPA 0x0 for DMA by iommufd: No space"},
	{1, IOMMU_IOAS_MAP, NULL, 2, EINVAL, "RAM of kind devdax at /dev/dax0.0 for DMA: Invalid"},
};

static void expect_failure(const char *address, const struct failure *f)
{
	bool unknown = f->request == VFIO_GET_API_VERSION || f->request == VFIO_CHECK_EXTENSION;

	fake_vfio.fails = f->request;
	fake_vfio.open_fails = f->open;
	fake_vfio.nth = f->nth;
	fake_vfio.fails_errno = f->code;
	refused(address, unknown ? -EOPNOTSUPP : -f->code, f->says);
	fake_vfio.fails = 0;
	fake_vfio.open_fails = NULL;
}

TEST_EACH(failure, failures)
{
	int fd;

	take_way(failures[_i].way);
	expect_failure(A, &failures[_i]);
	nothing_is_left();
	fd = must_open(A);
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, A, fd);
}

/* Devices that are open are not affected. */
static const struct failure second_failures[] = {
	{0, VFIO_GROUP_SET_CONTAINER, NULL, 1, EINVAL, "cannot have one address space"},
	{0, VFIO_GROUP_SET_CONTAINER, NULL, 1, EPERM, "allow_unsafe_interrupts=1"},
	{0, VFIO_GROUP_GET_DEVICE_FD, NULL, 1, EPERM, "another device of its group"},
	{0, KVM_SET_DEVICE_ATTR, NULL, 1, ENOMEM, "KVM_DEV_VFIO_FILE_ADD: Cannot"},
	{0, VFIO_DEVICE_GET_INFO, NULL, 1, EIO, "VFIO_DEVICE_GET_INFO: Input"},
	{1, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL, 1, EINVAL, "cannot have one address space"},
	{1, VFIO_DEVICE_ATTACH_IOMMUFD_PT, NULL, 1, EADDRINUSE, "reserves addresses"},
	{1, VFIO_DEVICE_GET_INFO, NULL, 1, EIO, "VFIO_DEVICE_GET_INFO: Input"},
};

TEST_EACH(second_device_fails, second_failures)
{
	const struct failure *f = &second_failures[_i];
	int fd;

	take_way(f->way);
	fd = must_open(A);
	expect_failure(C, f);
	ck_assert_uint_eq(fake_vfio.groups, !f->way);
	ck_assert_uint_eq(fake_vfio.kvm_files, 1);
	ck_assert_uint_eq(fake_vfio.function[2].open, 0);
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, C, must_open(C));
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, A, fd);
}

TEST_EACH(function_that_cannot_be_reset, ways)
{
	take_way(_i);
	fake_vfio.function[0].flags = VFIO_DEVICE_FLAGS_PCI;
	refused(A, -EOPNOTSUPP, "cannot be reset by itself");
	fake_vfio.function[0].flags = VFIO_DEVICE_FLAGS_PLATFORM | VFIO_DEVICE_FLAGS_RESET;
	refused(A, -EINVAL, "not that of a PCI function");
	/* Found before RAM is mapped, which takes long. */
	ck_assert_ptr_null(strstr(fake_vfio.log, "MAP"));
}

/* --- what sysfs says: the kernel is not asked before */

static void refused_by_sysfs(int code, const char *says)
{
	refused(A, code, says);
	ck_assert_str_eq(fake_vfio.log, "");
}

TEST(no_such_function)
{
	refused("0000:09:00.0", -ENODEV, "no such PCI function: lspci -D shows");
}

TEST(variant_drivers)
{
	take_way(1);
	fake_vfio_sysfs(C, 13, "mlx5_vfio_pci", 0x020000);
	vfio_kernel_close(&vm, C, must_open(C));
	/* The third device of this host that VFIO serves. */
	ck_assert_ptr_nonnull(strstr(fake_vfio.log, "open /dev/vfio/devices/vfio2"));
}

TEST(no_iommu)
{
	char path[256];
	FILE *f;

	/* VFIO without an IOMMU makes up a group. */
	snprintf(path, sizeof(path), "%s/kernel/iommu_groups/12/name", vfio_kernel_sysfs_root);
	f = fopen(path, "we");
	ck_assert(f && fputs("vfio-noiommu\n", f) >= 0 && !fclose(f));
	refused_by_sysfs(-ENODEV, "intel_iommu=on");
	fake_vfio_sysfs(A, -1, "vfio-pci", NVME);
	refused_by_sysfs(-ENODEV, "intel_iommu=on");
	ck_assert_ptr_nonnull(strstr(err.msg, "amd_iommu"));
}

TEST(bound_to_another_driver)
{
	fake_vfio_sysfs(D, 14, "nvme", NVME);
	refused(D, -EBUSY,
		"is bound to nvme, not to vfio-pci: modprobe vfio-pci; "
		"echo vfio-pci > /sys/bus/pci/devices/" D "/driver_override; "
		"echo " D " > /sys/bus/pci/devices/" D "/driver/unbind; "
		"echo " D " > /sys/bus/pci/drivers_probe");
	/* Without a driver there is no file 'unbind'. */
	fake_vfio_sysfs(D, 14, NULL, NVME);
	refused(D, -EBUSY,
		"is bound to no driver, not to vfio-pci: modprobe vfio-pci; "
		"echo vfio-pci > /sys/bus/pci/devices/" D "/driver_override; "
		"echo " D " > /sys/bus/pci/drivers_probe");
}

TEST(group_shared_with_the_host)
{
	fake_vfio_sysfs("0000:00:01.0", 12, "pcieport", BRIDGE);
	fake_vfio_sysfs("0000:00:01.1", 12, "shpchp", BRIDGE);
	fake_vfio_sysfs("0000:01:00.2", 12, "pci-stub", NVME);
	fake_vfio_sysfs("0000:01:00.3", 12, NULL, NVME);
	fake_vfio_sysfs("0000:02:00.1", 13, "nvme", NVME);
	vfio_kernel_close(&vm, A, must_open(A));
	fake_vfio.log[0] = 0;
	fake_vfio_sysfs("0000:01:00.5", 12, "lpc_ich", ISA);
	refused_by_sysfs(-EBUSY,
			 "shares IOMMU group 12 with what belongs to the host: 0000:01:00.5 "
			 "(lpc_ich): ");
	fake_vfio_sysfs("0000:01:00.4", 12, "e1000e", 0x020000);
	refused_by_sysfs(-EBUSY, ": 0000:01:00.4 (e1000e), 0000:01:00.5 (lpc_ich): ");
}

/* A group larger than a message */
TEST(many_neighbours)
{
	char address[16];

	for (int i = 0; i < 64; i++) {
		snprintf(address, sizeof(address), "0000:02:%02x.%d", 1 + i / 8, i % 8);
		fake_vfio_sysfs(address, 12, "a-driver-with-a-long-name", NVME);
	}
	refused_by_sysfs(-EBUSY, "0000:02:01.0 (a-driver-with-a-long-name), 0000:02:01.1");
	ck_assert_ptr_nonnull(
		strstr(err.msg, "...: a group is passed through as a whole: bind these"));
}

TEST(ram_that_cannot_be_mapped)
{
	int fd;

	vm.ram.backend = &ram_file;
	vm.ram.config.path = "/var/lib/vm1.ram";
	refused(A, -EOPNOTSUPP,
		"RAM in a file on a disk (/var/lib/vm1.ram) cannot be given to a function");
	ck_assert_ptr_nonnull(strstr(err.msg, "a DAX device, or a file on hugetlbfs or tmpfs"));
	ck_assert_str_eq(fake_vfio.log, "");
	vm.ram.backend = &ram_memfd;
	vm.ram.config.path = NULL;
	fake_vfio.fails = VFIO_IOMMU_MAP_DMA;
	fake_vfio.fails_errno = EFAULT;
	refused(A, -EFAULT, "RAM of kind memfd for DMA: Bad address");
	fake_vfio.fails = 0;
	fd = must_open(A);
	vfio_kernel_close(&vm, A, fd);
}

TEST_EACH(locked_memory, ways)
{
	take_way(_i);
	fake_vfio.memlock_bytes = 64 << 10;
	fake_vfio.fails = _i ? IOMMU_IOAS_MAP : VFIO_IOMMU_MAP_DMA;
	fake_vfio.fails_errno = ENOMEM;
	refused(A, -ENOMEM, "6144 KiB, and the limit is 64 KiB: raise it by ulimit -l");
	ck_assert_ptr_nonnull(strstr(err.msg, "CAP_IPC_LOCK"));
	/* Not because of the limit */
	fake_vfio.memlock_bytes = RLIM_INFINITY;
	refused(A, -ENOMEM, "at GPA 0x0 for DMA by");
}

TEST_EACH(aperture, ways)
{
	int fd;

	take_way(_i);
	/* As on x86: all except the MSI window. */
	fake_vfio.nranges = 2;
	fake_vfio.range[0].last = 0xfedfffff;
	fake_vfio.range[1].start = 0xfef00000;
	fake_vfio.range[1].last = (1ull << 39) - 1;
	fd = must_open(A);
	expect_ram_is_mapped();
	vfio_kernel_close(&vm, A, fd);
	/* Adjacent ranges count as one, in any order. */
	fake_vfio.nranges = 3;
	fake_vfio.range[2].last = GUEST + 0x1fffff;
	fake_vfio.range[2].start = GUEST + 4096;
	fake_vfio.range[1].last = GUEST + 4095;
	fake_vfio.fails = _i ? IOMMU_IOAS_MAP : VFIO_IOMMU_MAP_DMA;
	fake_vfio.fails_errno = EXDEV;
	refused(A, -EXDEV, "at GPA 0x0");
	fake_vfio.fails = 0;
	/* One page too small; then a hole in the first MiB, as some firmware reserves. */
	fake_vfio.range[2].last -= 4096;
	refused(A, -ERANGE, "cannot map GPA 0x1001ff000 of guest RAM");
	ck_assert_ptr_nonnull(strstr(err.msg, "less --memory"));
	fake_vfio.range[0].last = 0xeffff;
	refused(A, -ERANGE, "cannot map GPA 0xf0000 of guest RAM");
	fake_vfio.range[0].start = 4096;
	refused(A, -ERANGE, "cannot map GPA 0x0 of guest RAM");
}

UNIT_MAIN(setup, teardown)
