/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The way to the disk: what is never overwritten, what a killed save leaves, what is no checkpoint;
 * and the comparison of machines. */
#include "cpr/checkpoint.h"
#include "ram/ram.h"
#include "tests/rig/checkpoint_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static char folder[] = "/tmp/stasis-test.XXXXXX";
static struct options opt = {.name = "vm1", .uuid = {1, 2, 3}};
static struct vm vm = {.opt = &opt};
static struct ram ram;
static char ram_path[100];

static bool rename_reports_error, fsync_fails;
static uid_t user;

/* In place of libc's: a rename that works and reports an error all the same, as of a network file
 * system or a disk whose answer was lost. */
int renameat(int oldfd, const char *old, int newfd, const char *new)
{
	long ret = syscall(SYS_renameat2, oldfd, old, newfd, new, 0);

	if (ret || !rename_reports_error)
		return (int)ret;
	errno = EIO;
	return -1;
}

/* A disk that takes nothing more. */
int fsync(int fd)
{
	if (!fsync_fails)
		return (int)syscall(SYS_fsync, fd);
	errno = EIO;
	return -1;
}

uid_t geteuid(void)
{
	return user;
}

static void setup(void)
{
	user = getuid();

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	snprintf(ram_path, sizeof(ram_path), "%s/ram", folder);
	vm.ram.config.path = ram_path;
}

static void teardown(void)
{
	char command[100];

	snprintf(command, sizeof(command), "rm -rf %s", folder);
	ck_assert_int_eq(system(command), 0);
	memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
}

/* A checkpoint of VM `uuid` with this id, whose RAM is ram_path. */
static struct checkpoint make(const uint8_t uuid[16], uint8_t id)
{
	struct snapshot *snap = sections_new();
	struct checkpoint ckpt;

	sections_fill_head(snap);
	memset(snap->root.id, id, sizeof(snap->root.id));
	memcpy(snap->machine.uuid, uuid, 16);
	strcpy(snap->memory.path, ram_path);
	ckpt = sections_build(snap);
	snapshot_free(snap);
	return ckpt;
}

static void make_file(const char *path, const uint8_t uuid[16], uint8_t id)
{
	struct checkpoint ckpt = make(uuid, id);

	file_write(path, ckpt.data, ckpt.size_bytes);
	checkpoint_free(&ckpt);
}

static void make_ram(enum label_state state, uint8_t checkpoint_id)
{
	struct ram_config config = {.size_bytes = 2 << 20, .path = ram_path};
	struct label label = {.state = state, .ram_size_bytes = 2 << 20};
	struct error err = {""};

	memcpy(label.vm_id, opt.uuid, 16);
	memset(label.checkpoint_id, state == LABEL_SAVED ? checkpoint_id : 0, 16);
	memset(&ram, 0, sizeof(ram));
	ck_assert_msg(!ram_open(&ram, &config, &err), "%s", err.msg);
	ck_assert_msg(!label_write(&ram, &label, &err), "%s", err.msg);
	ram_close(&ram);
}

static int try_create(const char *path, struct error *err)
{
	struct checkpoint_file file;
	int ret = checkpoint_file_open(&file, path, err);

	err->msg[0] = ret ? err->msg[0] : '\0';
	ret = ret ? ret : checkpoint_file_create(&file, &vm, 8192, err);
	if (!ret)
		checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
	return ret;
}

static void create_ok(const char *path)
{
	struct error err = {""};

	ck_assert_msg(!try_create(path, &err), "%s", err.msg);
	ck_assert_int_ne(access("FILE.new", F_OK), 0);
}

static void create_refused(const char *path, const char *word)
{
	struct error err = {""};

	ck_assert_int_lt(try_create(path, &err), 0);
	ck_assert_msg(strstr(err.msg, word), "'%s' does not say '%s'", err.msg, word);
	ck_assert_msg(strstr(err.msg, path), "'%s' does not name %s", err.msg, path);
}

/* FILE.new, with what a save has written so far. */
static struct checkpoint_file begun(const char *text)
{
	struct checkpoint_file file;
	struct error err = {""};

	ck_assert_msg(!checkpoint_file_open(&file, "FILE", &err), "%s", err.msg);
	ck_assert_msg(!checkpoint_file_create(&file, &vm, 65536, &err), "%s", err.msg);
	ck_assert_int_eq(checkpoint_file_write(&file, text, strlen(text), &err), 0);
	return file;
}

TEST(protocol)
{
	struct checkpoint ckpt = make(opt.uuid, 9), back;
	struct checkpoint_file file = begun("");
	struct error err = {""};
	struct stat st;

	ck_assert_int_eq(stat("FILE.new", &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
	ck_assert_int_eq(st.st_size, 0); /* room is kept, not shown */
	ck_assert_int_eq(checkpoint_file_write(&file, ckpt.data, ckpt.size_bytes, &err), 0);
	ck_assert_int_eq(checkpoint_file_sync(&file, &err), 0);
	ck_assert_int_ne(access("FILE", F_OK), 0);
	ck_assert_int_eq(checkpoint_file_publish(&file, &err), 0);
	ck_assert_int_eq(checkpoint_file_sync_folder(&file, &err), 0);
	checkpoint_file_close(&file);
	ck_assert_int_ne(access("FILE.new", F_OK), 0);
	ck_assert_int_eq(stat("FILE", &st), 0);
	ck_assert_int_eq(st.st_size, (off_t)ckpt.size_bytes);
	ck_assert_msg(!checkpoint_read(&back, AT_FDCWD, "FILE", false, &err), "%s", err.msg);
	ck_assert_mem_eq(back.data, ckpt.data, ckpt.size_bytes);
	checkpoint_free(&ckpt);
	checkpoint_free(&back);
}

TEST(undo)
{
	struct checkpoint_file file = begun("x");
	struct error err = {""};
	struct stat st;

	checkpoint_file_void(&file);
	ck_assert_int_eq(stat("FILE.new", &st), 0);
	ck_assert_int_eq(st.st_size, 0);
	ck_assert_int_eq(checkpoint_file_publish(&file, &err), 0);
	checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
	ck_assert_int_ne(access("FILE", F_OK), 0);
}

TEST(wrong_paths)
{
	create_refused("no/such/folder/FILE", "no/such/folder");
	create_refused("/", "is a folder");
	create_refused("./", "is a folder");
	create_refused("..", "is a folder");
	file_write("plain", "x", 1);
	create_refused("plain/FILE", "Not a directory");
	ck_assert_int_eq(mkdir("inner", 0700), 0);
	create_refused("inner", "not a regular file");
	create_ok("./inner/FILE");
}

/* FILE may be replaced only if nobody can still need it. */
TEST(existing_file)
{
	const uint8_t other[16] = {9, 9};

	file_write("FILE", "a letter", 8);
	create_refused("FILE", "exists and is not replaced");
	file_write("FILE", "", 0); /* mktemp */
	create_ok("FILE");
	ck_assert_int_eq(unlink("FILE"), 0);
	ck_assert_int_eq(symlink("elsewhere", "FILE"), 0);
	create_refused("FILE", "symbolic link");
	ck_assert_int_eq(unlink("FILE"), 0);
	ck_assert_int_eq(mkfifo("FILE", 0600), 0);
	create_refused("FILE", "not a regular file");
	ck_assert_int_eq(unlink("FILE"), 0);

	make_file("FILE", other, 5);
	create_refused("FILE", "holds VM 'vm1' (uuid 09090000-");
	make_file("FILE", opt.uuid, 5);
	create_refused("FILE", "cannot be looked at"); /* no RAM there */
	make_ram(LABEL_SAVED, 5);
	create_refused("FILE", "not been loaded yet");
	make_ram(LABEL_SAVED, 6); /* a newer checkpoint is the good one */
	create_ok("FILE");
	make_ram(LABEL_RUNNING, 0);
	create_ok("FILE");
	ck_assert_int_eq(access("FILE", F_OK), 0);
}

static void opens_nothing_of(const char *path)
{
	char event[1000];
	int fd = inotify_init1(IN_NONBLOCK);

	ck_assert_int_ge(inotify_add_watch(fd, path, IN_OPEN), 0);
	create_refused("FILE", path);
	ck_assert_int_eq(read(fd, event, sizeof(event)), -1);
	ck_assert_int_eq(errno, EAGAIN);
	close(fd);
}

/* What a file names as its VM's RAM may be anything: a device, somebody's FIFO. */
TEST(ram_of_another_path)
{
	char elsewhere[120];

	make_ram(LABEL_RUNNING, 0);
	make_file("FILE", opt.uuid, 5);
	create_ok("FILE");
	snprintf(elsewhere, sizeof(elsewhere), "%s/elsewhere", folder);
	ck_assert_int_eq(rename(ram_path, elsewhere), 0);
	vm.ram.config.path = elsewhere;
	opens_nothing_of(elsewhere); /* FILE names the other one */
	vm.ram.config.path = NULL;   /* a memfd */
	ck_assert_int_eq(rename(elsewhere, ram_path), 0);
	opens_nothing_of(ram_path);
	/* The same place by another name. */
	vm.ram.config.path = "./ram";
	create_ok("FILE");
}

static void make_file_or_empty(const char *path, bool whole)
{
	file_write(path, "", 0);
	if (whole)
		make_file(path, opt.uuid, 5);
}

/* Neither to be replaced nor, as FILE.new, to be removed. */
TEST(owner)
{
	const char *const path[] = {"FILE", "FILE.new"};
	struct error err;
	struct checkpoint ckpt;

	make_ram(LABEL_RUNNING, 0);
	for (int i = 0; i < 2; i++) {
		for (int whole = 0; whole < 2; whole++) {
			make_file_or_empty(path[i], whole);
			create_ok("FILE");
			make_file_or_empty(path[i], whole);
			if (!getuid())
				ck_assert_int_eq(chown(path[i], 12345, 0), 0);
			else
				user = 12345;
			create_refused("FILE", "neither to root nor to user");
			ck_assert_int_eq(checkpoint_read(&ckpt, AT_FDCWD, path[i], false, &err),
					 -EPERM);
			ck_assert_int_eq(access(path[i], F_OK), 0);
			user = getuid();
			ck_assert_int_eq(unlink(path[i]), 0);
		}
	}
}

/* Nothing is left behind that would be in the way of the next save. */
TEST(rename_that_reports_an_error)
{
	struct checkpoint_file file = begun("x");
	struct error err = {""};

	rename_reports_error = true;
	ck_assert_int_eq(checkpoint_file_publish(&file, &err), -EIO);
	ck_assert_int_eq(access("FILE", F_OK), 0);
	checkpoint_file_void(&file);
	checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
	ck_assert_int_ne(access("FILE", F_OK), 0);
	ck_assert_int_ne(access("FILE.new", F_OK), 0);
	rename_reports_error = false;
	create_ok("FILE");
}

/* What checkpoint_file_void() logs when it fails. */
static void void_logs(struct checkpoint_file *file, const char *want)
{
	char line[200] = "";
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	ck_assert_int_eq(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	fsync_fails = true;
	checkpoint_file_void(file);
	fsync_fails = false;
	ck_assert_int_gt(read(fd[0], line, sizeof(line) - 1), 0);
	ck_assert_msg(strstr(line, want), "'%s' does not say '%s'", line, want);
}

/* An older FILE beside FILE.new may be good: nobody must be told to remove it. */
TEST(undo_that_fails_names_the_file)
{
	struct checkpoint_file file = begun("x");
	struct error err = {""};

	void_logs(&file, "error: FILE.new: cannot be emptied (Input/output error): remove it");
	ck_assert_int_eq(checkpoint_file_publish(&file, &err), 0);
	void_logs(&file, "error: FILE: cannot be emptied (Input/output error): remove it");
	checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
}

/* Of what it has made itself, and of nothing else by that name. */
TEST(remove)
{
	struct checkpoint_file file;

	file_write("FILE", "", 0);
	file = begun("");
	checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
	ck_assert_int_eq(access("FILE", F_OK), 0);
	ck_assert_int_ne(access("FILE.new", F_OK), 0);
}

static void found(enum checkpoint_found want)
{
	ck_assert_int_eq(checkpoint_file_find("FILE"), want);
}

/* FILE becomes FILE.loaded, in place of an earlier one of this VM and of nothing else. */
TEST(retire)
{
	const uint8_t other[16] = {9, 9};

	found(CHECKPOINT_NONE);
	file_write("FILE", "", 0);
	found(CHECKPOINT_NONE);
	for (uint8_t id = 1; id < 3; id++) {
		make_file("FILE", opt.uuid, id);
		found(CHECKPOINT_WAITS);
		checkpoint_file_retire("FILE", &vm);
		ck_assert_int_ne(access("FILE", F_OK), 0);
		ck_assert_int_eq(access("FILE.loaded", F_OK), 0);
		found(CHECKPOINT_LOADED);
	}
	make_file("FILE", opt.uuid, 3);
	found(CHECKPOINT_WAITS);
	make_file("FILE.loaded", other, 5);
	checkpoint_file_retire("FILE", &vm);
	ck_assert_int_eq(access("FILE", F_OK), 0);
	file_write("FILE.loaded", "a letter", 8);
	checkpoint_file_retire("FILE", &vm);
	ck_assert_int_eq(access("FILE", F_OK), 0);
	ck_assert_int_eq(unlink("FILE.loaded"), 0);
	ck_assert_int_eq(mkdir("FILE.loaded", 0700), 0);
	checkpoint_file_retire("FILE", &vm);
	ck_assert_int_eq(access("FILE", F_OK), 0);
	ck_assert_int_eq(rmdir("FILE.loaded"), 0);
	/* What is retired already stays what it is. */
	ck_assert_int_eq(rename("FILE", "FILE.loaded"), 0);
	checkpoint_file_retire("FILE.loaded", &vm);
	ck_assert_int_eq(access("FILE.loaded", F_OK), 0);
}

/* What a start looks at. As root no mode of a folder is in the way, so it is another kind that is. */
TEST(check)
{
	struct error err;

	ck_assert_int_eq(checkpoint_file_check("FILE", &vm, &err), 0);
	ck_assert_int_eq(checkpoint_file_check("FILE", NULL, &err), 0);
	ck_assert_int_eq(checkpoint_file_check("no/FILE", NULL, &err), -ENOENT);
	ck_assert_ptr_nonnull(strstr(err.msg, "no/FILE: folder no: "));
	ck_assert_int_ne(checkpoint_file_check("/proc/self/FILE", NULL, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "/proc/self/FILE: its folder cannot be written to"));
	file_write("FILE", "a letter", 8);
	ck_assert_int_lt(checkpoint_file_check("FILE", &vm, &err), 0);
	ck_assert_int_eq(checkpoint_file_check("FILE", NULL, &err), 0);
	make_file("FILE", opt.uuid, 5);
	make_ram(LABEL_SAVED, 5);
	ck_assert_int_eq(checkpoint_file_check("FILE", &vm, &err), -EEXIST);
	make_ram(LABEL_RUNNING, 0);
	ck_assert_int_eq(checkpoint_file_check("FILE", &vm, &err), 0);
	ck_assert_int_ne(access("FILE.new", F_OK), 0);
}

/* rev1: what 0.2.0 has left as FILE.loaded */
TEST(retire_over_loaded_of_0_2_0)
{
	struct checkpoint ckpt = make(opt.uuid, 4);

	ckpt.data[ckpt.size_bytes - 64 + 11] = 1;
	reseal(&ckpt);
	file_write("FILE.loaded", ckpt.data, ckpt.size_bytes);
	checkpoint_free(&ckpt);
	make_file("FILE", opt.uuid, 5);
	checkpoint_file_retire("FILE", &vm);
	ck_assert_int_eq(checkpoint_file_find("FILE"), CHECKPOINT_LOADED);
}

/* FILE.new is what a killed save leaves. No label ever names it, so no guest can be loaded from it. */
TEST(leftover)
{
	struct checkpoint ckpt = make(opt.uuid, 5);
	const uint8_t other[16] = {9, 9};

	file_write("FILE.new", "", 0);
	create_ok("FILE");
	file_write("FILE.new", ckpt.data, 1000);
	create_ok("FILE");
	file_write("FILE.new", "a letter", 8);
	create_refused("FILE", "FILE.new: is in the way");
	ck_assert_int_eq(unlink("FILE.new"), 0);
	ck_assert_int_eq(symlink("elsewhere", "FILE.new"), 0);
	create_refused("FILE", "FILE.new: is not a regular file: remove it");
	ck_assert_int_eq(unlink("FILE.new"), 0);
	ck_assert_int_eq(mkdir("FILE.new", 0700), 0);
	create_refused("FILE", "FILE.new: is not a regular file: remove it");
	ck_assert_int_eq(rmdir("FILE.new"), 0);

	make_ram(LABEL_RUNNING, 0);
	file_write("FILE.new", ckpt.data, ckpt.size_bytes);
	create_ok("FILE");
	make_file("FILE.new", other, 5);
	create_ok("FILE");
	checkpoint_free(&ckpt);
}

TEST(two_at_a_time)
{
	struct checkpoint_file file = begun("");

	create_refused("FILE", "another cprsave");
	ck_assert_int_eq(access("FILE.new", F_OK), 0);
	checkpoint_file_remove(&file);
	checkpoint_file_close(&file);
	create_ok("FILE");
}

static void read_refused(const char *path, const char *word)
{
	struct checkpoint ckpt;
	struct error err = {""};

	ck_assert_int_lt(checkpoint_read(&ckpt, AT_FDCWD, path, false, &err), 0);
	ck_assert_msg(strstr(err.msg, word), "'%s' does not say '%s'", err.msg, word);
	ck_assert_ptr_null(ckpt.data);
}

TEST(read_refuses)
{
	int fd;

	read_refused("none", "none: No such file");
	read_refused(".", "not a regular file");
	read_refused("/dev/null", "not a regular file");
	ck_assert_int_eq(mkfifo("fifo", 0600), 0);
	read_refused("fifo", "not a regular file");
	file_write("empty", "", 0);
	read_refused("empty", "only 0 bytes");
	ck_assert_int_eq(symlink("empty", "link"), 0);
	read_refused("link", "symbolic link");
	fd = open("huge", O_WRONLY | O_CREAT, 0600);
	ck_assert_int_eq(ftruncate(fd, 1L << 40), 0);
	close(fd);
	read_refused("huge", "at most");
}

/* The machine of the command line: serial0 is built in, rtc0 was asked for. */
static uint32_t one(const struct options *unused)
{
	return 1;
}
static const struct device_ops serial_ops = {.guest_gsi = 4},
			       rtc_ops = {.guest_gsi = 8, .count = one};
static struct device serial = {.ops = &serial_ops, .name = "serial0"},
		     rtc = {.ops = &rtc_ops, .name = "rtc0"};
static const struct options machine_opt = {.name = "vm1"};
static const struct vm machine_vm = {
	.opt = &machine_opt,
	.nvcpus = 2,
	.ram = {.config.size_bytes = 1 << 30, .region = {{0, 1 << 30, NULL}}, .nregions = 1},
	.device = {&serial, &rtc},
	.ndevices = 2,
};

static struct machine_state machine(void)
{
	struct machine_state m = {
		.ram_size_bytes = 1 << 30,
		.ram_region = {0, 1 << 30},
		.nram_region = 2,
		.cpus = 2,
		.device_gsi = {4, 8},
		.ndevice_gsi = 2,
		.arch = "x86_64",
		.vm_name = "vm1",
		.devices = "serial0 rtc0",
	};

	return m;
}

static void differs(const struct machine_state *saved, const char *message)
{
	struct error err = {""};

	ck_assert_int_eq(machine_compare(saved, false, &machine_vm, &err), -EINVAL);
	ck_assert_str_eq(err.msg, message);
}

TEST(machine)
{
	struct machine_state m = machine();
	struct error err;

	ck_assert_int_eq(machine_compare(&m, false, &machine_vm, &err), 0);
	strcpy(m.vm_name, "another name of the same VM");
	ck_assert_int_eq(machine_compare(&m, false, &machine_vm, &err), 0);
	m = machine();
	m.cpus = 4;
	differs(&m, "checkpoint has cpus=4, this VM has 2");
	m.ram_size_bytes = 512 << 20;
	m.pit = 1;
	differs(&m, "checkpoint has cpus=4, this VM has 2; checkpoint has pit=on, this VM has off; "
		    "checkpoint has ram-size-bytes=536870912, this VM has 1073741824");
	m = machine();
	m.s3 = 1;
	differs(&m, "checkpoint has s3=on, this VM has off");
	m = machine();
	ck_assert_int_eq(machine_compare(&m, true, &machine_vm, &err), -EINVAL);
	ck_assert_str_eq(err.msg, "checkpoint has a guest that sleeps in a machine with --machine "
				  "s3=off, which cannot be woken");
	m = machine();
	m.ram_region[0] = 1 << 20;
	differs(&m, "checkpoint has its RAM at other guest addresses");
	m = machine();
	m.device_gsi[1] = 9;
	differs(&m, "checkpoint has rtc0 on GSI 9, here it is on GSI 8");
	strcpy(m.devices, "serial0 disk0");
	differs(&m,
		"checkpoint has device disk0, the command line does not: give its option back; the "
		"command line gives device rtc0, the checkpoint has none: leave its option out");
	strcpy(m.devices, "pci0 serial0 rtc0");
	m.ndevice_gsi = 3;
	m.device_gsi[1] = 4;
	m.device_gsi[2] = 8;
	differs(&m, "checkpoint has PCI, the command line gives no PCI device");
	/* The order of the device table is not the guest's business. */
	m = machine();
	strcpy(m.devices, "rtc0 serial0");
	m.device_gsi[0] = 8;
	m.device_gsi[1] = 4;
	ck_assert_int_eq(machine_compare(&m, false, &machine_vm, &err), 0);
	m = machine();
	m.uuid[0] = 0xab;
	strcpy(m.vm_name, "other\n");
	differs(&m, "checkpoint is of VM 'other?' (uuid ab000000-0000-0000-0000-000000000000), the "
		    "command line gives 'vm1' (uuid 00000000-0000-0000-0000-000000000000)");
	m = machine();
	strcpy(m.arch, "riscv64");
	differs(&m, "checkpoint has arch=riscv64, this VM has x86_64");
}

/* More differences than a message holds: cut, which it says, never past its end. */
TEST(machine_many)
{
	struct machine_state m = machine();
	struct error err;
	size_t used = 0;

	for (m.ndevice_gsi = 0; m.ndevice_gsi < DEVICES_MAX; m.ndevice_gsi++)
		used += (size_t)snprintf(m.devices + used, sizeof(m.devices) - used, "device%u ",
					 m.ndevice_gsi);
	ck_assert_int_eq(machine_compare(&m, false, &machine_vm, &err), -EINVAL);
	ck_assert_uint_eq(strlen(err.msg), sizeof(err.msg) - 1);
	ck_assert_str_eq(err.msg + strlen(err.msg) - 3, "...");
}

UNIT_MAIN(setup, teardown)
