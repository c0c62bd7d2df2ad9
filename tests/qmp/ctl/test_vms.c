/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/vms.h"
#include "tests/rig/ctl_fixture.h"
#include "tests/rig/unit.h"

static struct vms_vm vm;

/* The VM is looked at, and it is in this state for this reason; NULL: for none. */
static void is(const char *name, const char *state, const char *reason)
{
	vms_get(&vm, name);
	ck_assert_str_eq(vms_state(&vm), state);
	if (reason)
		ck_assert_msg(vms_reason(&vm) && strstr(vms_reason(&vm), reason), "%s",
			      vms_reason(&vm) ? vms_reason(&vm) : "no reason");
	else
		ck_assert_msg(!vms_reason(&vm), "%s", vms_reason(&vm));
}

/* A file that gives the VM this RAM, and what its label says; NULL: there is no RAM yet. */
static void conf_with_ram(const char *name, const char *label)
{
	char text[512];

	if (label) {
		ctl_file(ctl_at("/%s.ram", name), "");
		ctl_file(ctl_at("/%s.ram.label", name), label);
	}
	snprintf(text, sizeof(text), "cpus 3\nmemory size=64M,path=%s,offset=4M\nkernel /k\n",
		 ctl_at("/%s.ram", name));
	ctl_conf(name, text);
}

TEST(finds_files_and_sockets)
{
	struct error err;
	struct vms vms;
	int fd = ctl_listen("by-hand", 1);

	ctl_conf("zoe", "kernel /k\n");
	ctl_conf(".hidden", "kernel /k\n");
	ctl_file(ctl_at("/etc/stasis/bridges"), "br0\n");
	ctl_folder(ctl_at("/etc/stasis/zoe.conf.d"));
	ctl_folder(ctl_at("/run/stasis/remains"));
	ck_assert_msg(!vms_find(&vms, &err), "%s", err.msg);
	ck_assert_uint_eq(vms.n, 3);
	ck_assert_str_eq(vms.vm[0].name, "by-hand");
	ck_assert_ptr_null(vms.vm[0].file);
	ck_assert_str_eq(vms.vm[1].name, "vm1");
	ck_assert_str_eq(vms.vm[2].name, "zoe");
	ck_assert_str_eq(vms.vm[2].file, ctl_at("/etc/stasis/zoe.conf"));
	vms_free(&vms);
	close(fd);
}

TEST(finds_none_without_folders)
{
	struct error err;
	struct vms vms;

	setenv("STASIS_ROOT", "/no/such", 1);
	ck_assert_int_eq(vms_find(&vms, &err), 0);
	ck_assert_uint_eq(vms.n, 0);
	setenv("STASIS_ROOT", ctl_root, 1);
}

TEST(unreadable_folder_is_named)
{
	struct error err;
	struct vms vms;

	ctl_file(ctl_at("/etc/stasis.conf"), "");
	ck_assert_int_eq(rmdir(ctl_at("/etc/stasis")), 0);
	ctl_file(ctl_at("/etc/stasis"), "");
	ck_assert_int_eq(vms_find(&vms, &err), -ENOTDIR);
	unit_says(err.msg, WORDS("/etc/stasis: Not a directory"));
}

/* Its own word counts, and not that of its file. */
TEST(one_that_runs)
{
	ctl_conf("vm1", "cpus 7\nmemory size=64M,path=/other\nkernel /k\n");
	is("vm1", "running", NULL);
	ck_assert_int_eq(vm.reach, VMS_SERVES);
	ck_assert_uint_eq(vm.cpus, 2);
	ck_assert_str_eq(vms_option(&vm, "cpus", NULL), "7");
	ck_assert_uint_eq(vm.ram.size_bytes, 1 << 30);
	ck_assert_uint_eq(vm.ram.offset_bytes, 4096);
	ck_assert_msg(!strncmp(vm.ram.path, "/dev/shm/vm1", 12), "%s", vm.ram.path);
	ck_assert_str_eq(vm.file_ram.path, "/other");
	ck_assert_uint_eq(vm.file_ram.size_bytes, 64 << 20);
	vms_put(&vm);
}

static const struct {
	const char *label, *state, *reason;
} labels[] = {
	{NULL, "off", NULL},
	{"{\"state\": \"none\"}", "off", NULL},
	{"{\"state\": \"running\"}", "off", NULL},
	{"{\"state\": \"saved\", \"checkpoint\": \"x\"}", "saved", NULL},
	{"{\"state\": \"of a later version\"}", "unknown", NULL},
};

TEST_EACH(one_that_is_off, labels)
{
	conf_with_ram("off", labels[_i].label);
	is("off", labels[_i].state, labels[_i].reason);
	ck_assert_uint_eq(vm.cpus, 3);
	ck_assert_uint_eq(vm.ram.size_bytes, 64 << 20);
	ck_assert_uint_eq(vm.ram.offset_bytes, 4 << 20);
	ck_assert_str_eq(vm.ram.path, ctl_at("/off.ram"));
	vms_put(&vm);
}

TEST(label_that_cannot_be_read)
{
	conf_with_ram("off", "");
	unlink(ctl_at("/off.ram.label"));
	is("off", "unknown", "has no label");
	vms_put(&vm);
}

TEST(faulty_file)
{
	ctl_conf("bad", "kernel /k\ndisk paht=/x\n");
	is("bad", "faulty", "bad.conf:2: --disk: there is no key 'paht'; see --help");
	vms_put(&vm);
}

TEST(no_such_vm)
{
	is("none", "off", NULL);
	ck_assert(!vms_exists(&vm));
	vms_put(&vm);
	setenv("STASIS", "/no/such/stasis", 1);
	ctl_conf("some", "kernel /k\n");
	is("some", "faulty", "/no/such/stasis: No such file or directory");
	ck_assert(vms_exists(&vm));
	vms_put(&vm);
}

/* A VM that serves eight others, and one that does not even accept. */
TEST(busy)
{
	int client[8], fd = ctl_listen("deaf", 1);

	for (int i = 0; i < 8; i++)
		client[i] = client_open();
	is("vm1", "busy", "8 clients are connected already");
	for (int i = 0; i < 8; i++)
		close(client[i]);
	vms_put(&vm);
	is("deaf", "busy", "timed out after 3 s");
	close(fd);
	vms_put(&vm);
}

TEST(socket_that_was_left)
{
	close(ctl_listen("old", 0));
	is("old", "off", NULL);
	vms_put(&vm);
}

TEST(unreachable)
{
	ctl_folder(ctl_at("/run/stasis/odd"));
	ctl_file(ctl_at("/run/stasis/odd/qmp"), "");
	is("odd", "unreachable", "not a socket");
	vms_put(&vm);
}

/* One that does not answer is in nobody's way. */
TEST(all_at_the_same_time)
{
	int fd = ctl_listen("deaf", 1);
	struct error err;
	struct vms vms;

	conf_with_ram("off", NULL);
	ck_assert_msg(!vms_find(&vms, &err), "%s", err.msg);
	vms_look_all(&vms);
	ck_assert_uint_eq(vms.n, 3);
	ck_assert_str_eq(vms_state(&vms.vm[0]), "busy");
	ck_assert_str_eq(vms_state(&vms.vm[1]), "off");
	ck_assert_str_eq(vms_state(&vms.vm[2]), "running");
	vms_free(&vms);
	close(fd);
}

TEST(options_that_come_more_than_once)
{
	const char *at = NULL;

	ctl_conf("disks", "kernel /k\ndisk path=/a\nrng\ndisk path=/b\nappend=\n");
	vms_get(&vm, "disks");
	ck_assert_str_eq(vms_option(&vm, "disk", &at), "path=/a");
	ck_assert_str_eq(vms_option(&vm, "disk", &at), "path=/b");
	ck_assert_ptr_null(vms_option(&vm, "disk", &at));
	ck_assert_str_eq(vms_option(&vm, "rng", NULL), "");
	ck_assert_str_eq(vms_option(&vm, "append", NULL), "");
	ck_assert_ptr_null(vms_option(&vm, "dis", NULL));
	vms_put(&vm);
}

TEST(lists)
{
	char *value = vms_list_value("size=1G,path=/a,,b=c,offset=2M", "path");

	ck_assert_str_eq(value, "/a,b=c");
	free(value);
	ck_assert_ptr_null(vms_list_value("size=1G", "path"));
}

static const struct {
	const char *name;
	bool good;
} names[] = {{"vm1", true}, {"a.b_c-d+e:f@g", true}, {"", false},    {".", false},  {"..", false},
	     {".a", false}, {"-a", false},	     {"a/b", false}, {"a b", false}};

TEST_EACH(name, names)
{
	ck_assert_int_eq(vms_is_name(names[_i].name), names[_i].good);
}

UNIT_MAIN(ctl_fixture_start, ctl_fixture_stop)
