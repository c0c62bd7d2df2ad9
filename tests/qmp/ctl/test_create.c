/* SPDX-License-Identifier: GPL-2.0-or-later */
/* create, edit, delete and memory: what becomes of files. */
#include "tests/rig/ctl_vms.h"
#include "tests/rig/unit.h"
#include <fcntl.h>
#include <sys/file.h>

static void dax_device(const char *name, const char *size)
{
	ctl_folder(ctl_at("/sys/bus/dax/devices/%s", name));
	ctl_file(ctl_at("/sys/bus/dax/devices/%s/size", name), size);
	ctl_file(ctl_at("/sys/bus/dax/devices/%s/align", name), "2097152\n");
}

TEST(delete_takes_file_and_drop_ins)
{
	ctl_folder(ctl_at("/run/systemd/system"));
	ctl_folder(ctl_at("/etc/stasis/ended.conf.d"));
	ctl_file(ctl_at("/etc/stasis/ended.conf.d/more.conf"), "cpus 2\n");
	run("delete ended");
	ck_assert_int_eq(access(ctl_at("/etc/stasis/ended.conf"), F_OK), -1);
	ck_assert_int_eq(access(ctl_at("/etc/stasis/ended.conf.d"), F_OK), -1);
	ck_assert_int_eq(access(ctl_at("/ended.ram"), F_OK), 0);
	ck_assert_str_eq(systemctl_log(), "disable stasis@ended.service\ndaemon-reload\n");
}

TEST(delete_of_an_enabled_unit_that_stays)
{
	ctl_folder(ctl_at("/run/systemd/system"));
	ctl_file(ctl_at("/systemctl.do"), "exit 1\n");
	gives("delete ended", 1, "");
	ck_assert_int_eq(access(ctl_at("/etc/stasis/ended.conf"), F_OK), 0);
}

TEST(delete_that_cannot_remove_all)
{
	ctl_folder(ctl_at("/etc/stasis/ended.conf.d/folder"));
	gives("delete ended", 1, "stasisctl: ROOT/etc/stasis/ended.conf.d: Is a directory\n");
	ck_assert_int_eq(access(ctl_at("/etc/stasis/ended.conf"), F_OK), 0);
}

TEST(units_that_are_not_read_again)
{
	ctl_folder(ctl_at("/run/systemd/system"));
	ctl_file(ctl_at("/systemctl.do"), "exit 1\n");
	gives("create new --kernel /k", 0,
	      "new: created: ROOT/etc/stasis/new.conf\n"
	      "stasisctl: the unit does not know of the change yet: systemctl daemon-reload\n");
}

TEST(no_folder_to_create_in)
{
	gives("create new --kernel /k", 0, "new: created: ROOT/etc/stasis/new.conf\n");
	ck_assert_int_eq(rename(ctl_at("/etc/stasis"), ctl_at("/etc/gone")), 0);
	gives("create other --kernel /k", 1,
	      "stasisctl: other: not created: ROOT/etc/stasis: No such file or directory\n");
	ctl_file(ctl_at("/etc/stasis"), "");
	gives("list", 1, "stasisctl: ROOT/etc/stasis: Not a directory\n");
	gives("memory", 1, "stasisctl: ROOT/etc/stasis: Not a directory\n");
	gives("upgrade --all", 1, "stasisctl: ROOT/etc/stasis: Not a directory\n");
}

/* A range that is free for sure is known only if those of all others are. */
TEST(range_that_nobody_knows)
{
	static const char create[] = "create new --memory size=1G,path=/dev/dax0.0 --kernel /k";
	int fd;

	dax_device("dax0.0", "4294967296\n");
	gives(create, 1,
	      "stasisctl: new: not created: /dev/dax0.0: nobody knows which range bad has "
	      "(ROOT/etc/stasis/bad.conf:2: there is no option '--quiet'; see --help): mend that, "
	      "or give this VM its offset= yourself\n");
	unlink(ctl_at("/etc/stasis/bad.conf"));
	fd = ctl_listen("by-hand", 1);
	gives(create, 1,
	      "stasisctl: new: not created: /dev/dax0.0: nobody knows which range by-hand has "
	      "(ROOT/run/stasis/by-hand/qmp: timed out after 3 s): mend that, or give this VM its "
	      "offset= yourself\n");
	close(fd);
	unlink(ctl_at("/run/stasis/by-hand/qmp"));
	gives(create, 0, "new: created: ROOT/etc/stasis/new.conf\n");
}

/* Between its look and its lock another one could create the same VM. */
TEST(create_looks_with_its_lock)
{
	int fd = open(ctl_at("/etc/stasis"), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	gives("create off --kernel /k", 1,
	      "stasisctl: off: not created: ROOT/etc/stasis: another stasisctl edits or creates a "
	      "VM: wait for its end\n");
	close(fd);
}

TEST(value_of_two_lines)
{
	gives("create new --kernel /k --append 'a\ndisk path=/x'", 1,
	      "stasisctl: new: not created: --append: a value in a file is one line, and cannot "
	      "have a line end in it\n");
	gives("create new --kernel /k --append='a\ndisk path=/x'", 1,
	      "stasisctl: new: not created: --append: a value in a file is one line, and cannot "
	      "have a line end in it\n");
}

TEST(created_file)
{
	dax_device("dax0.0", "4294967296\n");
	unlink(ctl_at("/etc/stasis/bad.conf"));
	gives("create new --cpus 2 --memory size=1G,path=/dev/dax0.0 --kernel=/k --rng --console "
	      "--append=",
	      0, "new: created: ROOT/etc/stasis/new.conf\n");
	file_is(ctl_at("/etc/stasis/new.conf"),
		"cpus 2\nmemory size=1G,path=/dev/dax0.0,offset=0\nkernel /k\nrng\nconsole\n"
		"append=\n");
	gives("create other --memory size=1G,path=/dev/dax0.0 --kernel /k", 0,
	      "other: created: ROOT/etc/stasis/other.conf\n");
	file_is(ctl_at("/etc/stasis/other.conf"),
		"memory size=1G,path=/dev/dax0.0,offset=1075838976\nkernel /k\n");
	gives("create third --memory size=2G,path=/dev/dax0.0 --kernel /k", 1,
	      "stasisctl: third: not created: /dev/dax0.0: has no free 2050M, which RAM and its "
	      "label need; the largest free range has 2044M: see stasisctl memory\n");
	gives("create third --memory size=512M,path=/dev/dax0.0,offset=0 --kernel /k", 0,
	      "third: created: ROOT/etc/stasis/third.conf\n");
	gives("memory | grep dax", 0,
	      "/dev/dax0.0 0 1G new off, OVERLAPS third\n"
	      "/dev/dax0.0 0 512M third off, OVERLAPS new\n"
	      "/dev/dax0.0 1026M 1G other off\n"
	      "/dev/dax0.0 2052M 2044M - free\n");
}

/* A range between two others is used; one that a VM runs in is not, whatever its file says. */
TEST(room_that_is_found)
{
	struct scripted vm;

	dax_device("dax0.0", "4294967296\n");
	unlink(ctl_at("/etc/stasis/bad.conf"));
	ctl_conf("off", "memory size=1G,path=/dev/dax0.0,offset=3G\nkernel /k\n");
	ctl_conf("low", "memory size=64M,path=/dev/dax0.0,offset=1538M\nkernel /k\n");
	scripted_start(&vm, "off", &runs); /* 1G at 2M */
	gives("create new --memory size=256M,path=/dev/dax0.0 --kernel /k", 0,
	      "new: created: ROOT/etc/stasis/new.conf\n");
	gives("memory | grep dax", 0,
	      "/dev/dax0.0 0 2M - free\n"
	      "/dev/dax0.0 2M 1G off running\n"
	      "/dev/dax0.0 1028M 256M new off\n"
	      "/dev/dax0.0 1286M 252M - free\n"
	      "/dev/dax0.0 1538M 64M low off\n"
	      "/dev/dax0.0 1604M 1468M - free\n"
	      "/dev/dax0.0 3G 1G off after a start\n");
	scripted_stop(&vm);
}

TEST(memory_for_programs)
{
	for (size_t i = 0; i < 5; i++)
		unlink(ctl_at("/etc/stasis/%s.conf",
			      WORDS("bad", "ended", "odd", "off", "saved")[i]));
	dax_device("dax0.0", "1073741824\n");
	gives("memory --json", 0,
	      "[\n {\n \"path\": \"/dev/dax0.0\",\n \"size\": 1073741824,\n \"ranges\": [\n {\n"
	      " \"offset\": 0,\n \"size\": 1073741824,\n \"state\": \"free\"\n }\n ]\n }\n]\n");
}

TEST(edit_that_changes)
{
	setenv("VISUAL", "sed -i s,/k,/kernel,", 1);
	ctl_folder(ctl_at("/run/systemd/system"));
	ck_assert_int_eq(chmod(ctl_at("/etc/stasis/ended.conf"), 0600), 0);
	gives("edit ended", 0, "ended: changed\n");
	ck_assert_str_eq(systemctl_log(), "daemon-reload\n");
	ck_assert_int_eq(run("status ended"), 0);
	ck_assert_msg(!strstr(output, "faulty"), "%s", output);
	struct stat st;
	ck_assert_int_eq(stat(ctl_at("/etc/stasis/ended.conf"), &st), 0);
	ck_assert_uint_eq(st.st_mode & 07777, 0600);
}

TEST(edit_of_one_that_runs)
{
	struct scripted vm;

	setenv("VISUAL", "sed -i s,/k,/kernel,", 1);
	scripted_start(&vm, "off", &runs);
	gives("edit off", 0, "off: changed; it counts from its next start\n");
	scripted_stop(&vm);
}

/* Without a terminal nobody can be asked. */
TEST(edit_that_is_faulty)
{
	setenv("VISUAL", "sed -i s,kernel,kernl,", 1);
	ctl_folder(ctl_at("/etc/stasis/ended.conf.d"));
	ctl_file(ctl_at("/etc/stasis/ended.conf.d/more.conf"), "cpus 2\n");
	gives("edit ended </dev/null", 1,
	      "stasisctl: ROOT/etc/stasis/ended.conf:2: there is no option '--kernl' (did you mean "
	      "--kernel?); see --help\n"
	      "stasisctl: ended: ROOT/etc/stasis/ended.conf is as it was\n");
	setenv("VISUAL", "sed -i 1icpus=99", 1);
	gives("edit ended", 0, "ended: changed\n"); /* a drop-in says otherwise */
}

TEST(edit_that_changes_nothing)
{
	setenv("VISUAL", "", 1);
	setenv("EDITOR", "true", 1);
	gives("edit ended", 0, "ended: unchanged\n");
	setenv("EDITOR", "false", 1);
	gives("edit ended", 1, "stasisctl: ended: the editor 'false' has ended with status 1\n");
}

TEST(edit_beside_another)
{
	char editor[256];

	snprintf(editor, sizeof(editor), "#!/bin/sh\n%s edit ended; exit 3\n", STASISCTL);
	ctl_program(ctl_at("/bin/two"), editor);
	setenv("VISUAL", "two", 1);
	setenv("EDITOR", "true", 1);
	gives("edit ended", 1,
	      "stasisctl: ended: ROOT/etc/stasis: another stasisctl edits or creates a VM: wait "
	      "for "
	      "its end\n"
	      "stasisctl: ended: the editor 'two' has ended with status 3\n");
}

TEST(edit_of_a_file_that_changes_meanwhile)
{
	ctl_program(ctl_at("/bin/both"),
		    "#!/bin/sh\necho 'cpus 2' >>\"$CONF\"; sed -i s,/k,/kernel, "
		    "\"$1\"\n");
	setenv("CONF", ctl_at("/etc/stasis/ended.conf"), 1);
	setenv("VISUAL", "both", 1);
	gives("edit ended", 1,
	      "stasisctl: ended: ROOT/etc/stasis/ended.conf: was changed by somebody else "
	      "meanwhile\n");
}

TEST(drafts_leave_nothing)
{
	setenv("VISUAL", "false", 1);
	run("edit ended");
	run("create new --paused");
	run("create more --kernel /k");
	setenv("VISUAL", "touch \"$1~\"; : ", 1); /* as an editor's copy of what was */
	gives("edit ended", 0, "ended: unchanged\n");
	ctl_folder(ctl_at("/etc/stasis/.draft-killed"));
	ctl_file(ctl_at("/etc/stasis/.draft-killed/ended.conf"), "");
	run("edit ended");
	ck_assert_int_eq(system("ls -A $STASIS_ROOT/etc/stasis | grep -q draft"), 256);
}

UNIT_MAIN(ctl_vms_start, ctl_fixture_stop)
