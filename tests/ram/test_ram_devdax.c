/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM in a DAX device as far as it goes without one: /dev/zero is the device (each mapping is memory
 * of its own that begins at offset 0), a stand-in for libdaxctl describes it. The real one is tested with a real kexec in guest-tests/linux. */
#include "tests/fakes/daxctl_stand_in.h"
#include "tests/rig/ram_fixture.h"
#include <sys/sysmacros.h>
#include <sys/wait.h>

#define DEVICE "/dev/zero"
#define GIB    (1ull << 30)

static struct ram ram;

static void set_device(uint64_t size_bytes, unsigned long align_bytes)
{
	struct stat st;

	ck_assert_int_eq(stat(DEVICE, &st), 0);
	daxctl_stand_in = (struct daxctl_stand_in){.major = (int)major(st.st_rdev),
						   .minor = (int)minor(st.st_rdev),
						   .size_bytes = size_bytes,
						   .align_bytes = align_bytes};
}

static int open_at(const char *path, uint64_t offset_bytes, uint64_t size_bytes)
{
	struct ram_config config = {
		.path = path, .size_bytes = size_bytes, .offset_bytes = offset_bytes};

	return ram_open(&ram, &config, &fixture_err);
}

static void check_open(unsigned long align_bytes)
{
	struct label label = {.state = LABEL_RUNNING}, found;

	set_device(4 * GIB, align_bytes);
	assert_ok(open_at(DEVICE, 0, 2 * GIB));
	ck_assert_str_eq(ram.backend->name, "devdax");
	ck_assert(!ram.created);
	ck_assert_uint_eq(ram.align_bytes, align_bytes);
	ck_assert_uint_eq((uintptr_t)ram.hva % align_bytes, 0);
	ck_assert_ptr_eq(ram.label_hva, ram.hva + 2 * GIB);
	assert_ok(ram_check_survives(&ram, RAM_SURVIVES_KEXEC, &fixture_err));
	assert_ok(ram_sync(&ram, NULL, &fixture_err));
	assert_ok(label_write(&ram, &label, &fixture_err));
	assert_ok(label_read(&ram, &found, &fixture_err));
	ck_assert_int_eq(found.state, LABEL_RUNNING);
	ram.hva[2 * GIB - 1] = 1;
	ram_close(&ram);
	ck_assert_int_eq(daxctl_stand_in.refs, 0);
}

START_TEST(opens)
{
	check_open(2 * MIB);
	check_open(GIB);
}
END_TEST

START_TEST(device_refused)
{
	set_device(GIB, 2 * MIB);
	assert_refused(open_at("/dev/null", 0, 2 * MIB), -ENODEV,
		       WORDS("/dev/null", "not a DAX device", "daxctl list"));
	daxctl_stand_in.system_ram = true;
	assert_refused(open_at(DEVICE, 0, 2 * MIB), -ENODEV,
		       WORDS(DEVICE, "mode", "devdax", "reconfigure-device"));
	set_device(GIB, 2 * MIB);
	daxctl_stand_in.disabled = true;
	assert_refused(open_at(DEVICE, 0, 2 * MIB), -ENODEV, WORDS(DEVICE, "mode", "devdax"));
	set_device(GIB, 4096);
	assert_refused(open_at(DEVICE, 0, 2 * MIB), -EINVAL, WORDS(DEVICE, "4096", "-a 2M"));
	ck_assert_int_eq(daxctl_stand_in.refs, 0);
}
END_TEST

START_TEST(sizes_refused)
{
	set_device(64 * MIB, 2 * MIB);
	assert_refused(open_at(DEVICE, 0, 64 * MIB), -EINVAL,
		       WORDS(DEVICE, "67108864", "69206016", "label"));
	assert_refused(open_at(DEVICE, 32 * MIB, 32 * MIB), -EINVAL, WORDS(DEVICE, "69206016"));
	assert_refused(open_at(DEVICE, MIB, 2 * MIB), -EINVAL, WORDS("1048576", "multiple of 2M"));
	assert_ok(open_at(DEVICE, 0, 62 * MIB));
	ram_close(&ram);
	set_device(4 * GIB, GIB);
	assert_refused(open_at(DEVICE, 0, 2 * MIB), -EINVAL, WORDS(DEVICE, "multiples"));
}
END_TEST

/* File locks work on character devices. */
START_TEST(locks)
{
	int status;
	pid_t pid;

	set_device(64 * MIB, 2 * MIB);
	assert_ok(open_at(DEVICE, 0, 16 * MIB));
	pid = fork();
	if (!pid) {
		struct ram_config config = {.path = DEVICE, .size_bytes = 16 * MIB};
		struct ram other;

		config.offset_bytes = 16 * MIB; /* RAM on the first one's label */
		if (ram_open(&other, &config, NULL) != -EAGAIN)
			_exit(1);
		config.offset_bytes = 18 * MIB;
		_exit(ram_open(&other, &config, NULL) ? 2 : 0);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ram_close(&ram);
}
END_TEST

/* Devices answer lseek() with whatever they like, and cannot punch holes. */
/* Devices answer lseek() with whatever they like, and cannot punch holes. */
START_TEST(hash_and_zero)
{
	uint8_t before[16], after[16];

	set_device(64 * MIB, 2 * MIB);
	assert_ok(open_at(DEVICE, 0, 16 * MIB));
	assert_ok(ram_hash(&ram, NULL, before, &fixture_err));
	ram.hva[16 * MIB - 1] = 1;
	assert_ok(ram_hash(&ram, NULL, after, &fixture_err));
	ck_assert_mem_ne(before, after, 16);
	ram_zero(&ram);
	ck_assert_int_eq(ram.hva[16 * MIB - 1], 0);
	assert_ok(ram_hash(&ram, NULL, after, &fixture_err));
	ck_assert_mem_eq(before, after, 16);
	ram_close(&ram);
}
END_TEST

START_TEST(peek_refused)
{
	struct ram_config config = {
		.path = DEVICE, .size_bytes = 62 * MIB, .offset_bytes = 2 * MIB};
	struct label label;

	set_device(64 * MIB, 2 * MIB);
	assert_refused(label_peek(&config, &label, &fixture_err), -EINVAL,
		       WORDS(DEVICE, "67108864", "65011712"));
	config.path = "/dev/null";
	assert_refused(label_peek(&config, &label, &fixture_err), -ENODEV,
		       WORDS("/dev/null", "not a DAX device"));
	ck_assert_int_eq(daxctl_stand_in.refs, 0);
}
END_TEST

int main(void)
{
	const TTest *const test[] = {opens, device_refused, sizes_refused,
				     locks, hash_and_zero,  peek_refused};

	return fixture_main("ram_devdax", test, sizeof(test) / sizeof(test[0]));
}
