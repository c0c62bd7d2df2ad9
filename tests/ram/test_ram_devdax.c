/* SPDX-License-Identifier: GPL-2.0-or-later */
/* RAM in a DAX device as far as it goes without one: /dev/zero is the device (each mapping is memory
 * of its own that begins at offset 0), a stand-in for libdaxctl describes it. The real one is tested with a real kexec in guest-tests/linux. */
#include "tests/fakes/daxctl_stand_in.h"
#include "tests/rig/ram_fixture.h"
#include <signal.h>
#include <sys/mman.h>
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

TEST(opens)
{
	check_open(2 * MIB);
	check_open(GIB);
}

TEST(device_refused)
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

TEST(sizes_refused)
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

/* File locks work on character devices. */
TEST(locks)
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

/* Devices answer lseek() with whatever they like, and cannot punch holes. */
TEST(hash_and_zero)
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

TEST(peek_refused)
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

/* --- labels of other RAM on the device: in place of /dev/zero a file is mapped to be looked through */

static int media_fd = -1;
static uint32_t nmaps;

void *__real_mmap(void *hva, size_t bytes, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *hva, size_t bytes, int prot, int flags, int fd, off_t at);
void *__wrap_mmap(void *hva, size_t bytes, int prot, int flags, int fd, off_t at)
{
	if (media_fd < 0 || fd < 0 || prot != PROT_READ)
		return __real_mmap(hva, bytes, prot, flags, fd, at);
	nmaps++;
	return __real_mmap(hva, bytes, prot, flags, media_fd, at);
}

static uint32_t npatched;

static void on_sigbus(int number, siginfo_t *info, void *context)
{
	uint64_t gpa = 0;

	npatched++;
	if (!ram_patch_hole(&ram, info->si_addr, &gpa) || gpa != RAM_NO_GPA)
		signal(number, SIG_DFL);
}

static void put_label(uint64_t at, uint64_t ram_bytes, uint32_t copies)
{
	struct label label = {.state = LABEL_SAVED,
			      .vm_id = {9},
			      .checkpoint_id = {1},
			      .ram_size_bytes = ram_bytes};
	uint8_t unit[LABEL_MEDIA_BYTES] = {0};

	for (uint32_t i = 0; i < copies; i++)
		label_encode(unit, &label);
	ck_assert_int_eq(pwrite(media_fd, unit, sizeof(unit), (off_t)at), sizeof(unit));
}

static void open_media(void)
{
	const struct sigaction action = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO};

	set_device(256 * MIB, 2 * MIB);
	media_fd = open(fixture_path("media"), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_ge(media_fd, 0);
	ck_assert_int_eq(ftruncate(media_fd, 256 * MIB), 0);
	ck_assert_int_eq(sigaction(SIGBUS, &action, NULL), 0);
	nmaps = npatched = 0;
	assert_ok(open_at(DEVICE, 16 * MIB, 16 * MIB));
}

static void close_media(void)
{
	ram_close(&ram);
	close(media_fd);
	media_fd = -1;
}

TEST(scan_is_one_mapping)
{
	const uint8_t id[16] = {1};

	open_media();
	assert_ok(label_check_overlap(&ram, id, false, &fixture_err));
	ck_assert_uint_eq(nmaps, 1);
	/* Nobody can add one while RAM is locked. */
	assert_ok(label_spend_overlap(&ram, id, &fixture_err));
	ck_assert_uint_eq(nmaps, 1);
	close_media();
	open_media();
	put_label(64 * MIB, 48 * MIB, 1);
	assert_refused(label_check_overlap(&ram, id, false, &fixture_err), -EPERM,
		       WORDS(DEVICE, "offset=16777216,size=50331648"));
	ck_assert_uint_eq(nmaps, 1);
	close_media();
}

/* A bad page is in nobody's way, and does not hide the labels after it; nor does one of two copies. */
TEST(scan_meets_bad_pages)
{
	struct ram_config config = {.path = DEVICE, .size_bytes = 48 * MIB};
	const uint8_t id[16] = {1};
	struct label label;

	open_media();
	ck_assert_int_eq(ftruncate(media_fd, 128 * MIB), 0);
	assert_ok(label_check_overlap(&ram, id, false, &fixture_err));
	ck_assert_uint_ge(npatched, 2 * (256 - 128) / 2);
	put_label(126 * MIB, 110 * MIB, 2);
	ck_assert_int_eq(ftruncate(media_fd, 126 * MIB + 4096), 0);
	npatched = 0;
	ram.no_overlap = false;
	assert_refused(label_check_overlap(&ram, id, false, &fixture_err), -EPERM,
		       WORDS(DEVICE, "offset=16777216,size=115343360"));
	ck_assert_uint_eq(npatched, 1);
	config.size_bytes = 200 * MIB; /* the very label that is asked for */
	assert_refused(label_peek(&config, &label, &fixture_err), -EIO, WORDS(DEVICE, "read"));
	close_media();
}

UNIT_MAIN(fixture_setup, fixture_teardown)
