/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stasisctl check: what would stop an update, of a host with stand-ins for systemd and for the VM vm1. */
#include "qmp/ctl/check.h"
#include "qmp/ctl/ctl.h"
#include "tests/rig/ctl_fixture.h"
#include "tests/rig/unit.h"

static struct json_object *faults;
static char *argv[] = {"stasis", "--name", "vm1", "--kernel", "/k", "--cpus", "2", "--show"};
static struct options opt;

static const char busctl[] = "#!/bin/sh\n"
			     "case $* in\n"
			     "*ListInhibitors) cat \"$STASIS_ROOT/inhibitors\" ;;\n"
			     "*InhibitDelayMaxUSec) cat \"$STASIS_ROOT/delay\" ;;\n"
			     "*) exit 1 ;;\n"
			     "esac\n";

/* A host and a VM in whose way nothing is. */
static void start(void)
{
	struct error err;

	ctl_fixture_start();
	ctl_folder(ctl_at("/run/systemd/system"));
	ctl_program(ctl_at("/bin/busctl"), busctl);
	ctl_file(ctl_at("/inhibitors"), "a(ssssuu) 1 \"shutdown\" \"stasis-saver\" \"guests are "
					"saved first\" \"delay\" 0 9\n");
	ctl_file(ctl_at("/delay"), "t 900000000\n");
	ctl_file(ctl_at("/systemctl.do"),
		 "case $1 in --version) echo 'systemd 252 (252.1)' ;;\n"
		 "show) echo active ;; is-enabled) echo enabled ;; esac\n");
	ctl_conf("vm1", "kernel /k\ncpus 2\n");
	fake_cpr.takes_reboot = true;
	ck_assert_int_eq(options_parse(&opt, ARRAY_SIZE(argv), argv, &err), 0);
	f.opt.given = opt.given;
}

static void stop(void)
{
	json_object_put(faults);
	ctl_fixture_stop();
	free(opt.given.given);
}

/* The only fault: of this VM, NULL: of the host. */
static void fault_is(const char *vm, const char *text, const char *way_out)
{
	struct json_object *fault;

	json_object_put(faults);
	faults = check_faults(NULL);
	ck_assert_msg(json_object_array_length(faults) == 1, "%s",
		      json_object_to_json_string(faults));
	fault = json_object_array_get_idx(faults, 0);
	ck_assert_str_eq(ctl_string(fault, "/vm"), vm ? vm : "");
	ck_assert_msg(strstr(ctl_string(fault, "/fault"), text), "%s", ctl_string(fault, "/fault"));
	ck_assert_msg(strstr(ctl_string(fault, "/way-out"), way_out), "%s",
		      ctl_string(fault, "/way-out"));
}

static void no_faults(void)
{
	json_object_put(faults);
	faults = check_faults(NULL);
	ck_assert_msg(!json_object_array_length(faults), "%s", json_object_to_json_string(faults));
}

TEST(nothing_in_the_way)
{
	no_faults();
	ck_assert_int_eq(check(NULL, false), CTL_OK);
	ctl_conf("off", "kernel /k\ndisk paht=/x\n"); /* it does not run */
	no_faults();
}

static const struct {
	const char *file, *content, *fault, *way_out;
} of_host[] = {
	{"/inhibitors", "a(ssssuu) 0\n", "stasis-saver does not run", "enable --now stasis-saver"},
	{"/delay", "t 5000000\n", "waits only 5 s", "InhibitDelayMaxSec=900"},
	{"/systemctl.do",
	 "case $1 in --version) echo 'systemd 247 (247.3)' ;; show) echo active ;; esac\n",
	 "systemd 247", "kexec-update"},
};

TEST_EACH(faults_of_the_host, of_host)
{
	ctl_file(ctl_at("%s", of_host[_i].file), of_host[_i].content);
	fault_is(NULL, of_host[_i].fault, of_host[_i].way_out);
}

static const struct {
	const char *conf, *fault, *way_out;
} edited[] = {
	{"kernel /k\ncpus 3\n", "vm1.conf:2: --cpus 3, but the running VM has --cpus 2",
	 "change that back"},
	{"kernel /k\ncpus 2\nrng\n", "--rng, but the running VM has no --rng", "change that back"},
	{"kernel /k\ncpus 2\ndisk paht=/x\n", "vm1.conf:3: --disk: there is no key 'paht'",
	 "change that back"},
};

TEST_EACH(edited_file, edited)
{
	ctl_conf("vm1", edited[_i].conf);
	fault_is("vm1", edited[_i].fault, edited[_i].way_out);
	ck_assert_int_eq(check("vm1", true), CTL_FAILED);
}

TEST(edit_that_harms_nobody)
{
	ctl_conf("vm1", "kernel /other\nappend x\ncpus 2\nupdate save\n");
	no_faults();
}

TEST(save_that_would_be_refused)
{
	fake_cpr.takes_reboot = false;
	fault_is("vm1", "tmpfs is gone after a kexec", "update=shutdown");
	ctl_conf("vm1", "kernel /k\ncpus 2\nupdate shutdown\n");
	no_faults();
}

TEST(guest_that_has_to_sleep)
{
	fake_cpr.needs_suspend = true;
	fault_is("vm1", "vfio0: suspend the guest first", "update=suspend");
	ctl_conf("vm1", "kernel /k\ncpus 2\nupdate suspend\n");
	fault_is("vm1", "has no agent", "qemu-guest-agent");
}

TEST(unit_of_the_vm)
{
	ctl_file(ctl_at("/systemctl.do"),
		 "case $1 in --version) echo 'systemd 257 (257.1)' ;;\n"
		 "show) echo inactive ;; is-enabled) echo enabled ;; esac\n");
	fault_is("vm1", "runs, but not as stasis@vm1.service", "start it as that unit");
	ctl_file(ctl_at("/systemctl.do"), "case $1 in --version) echo 'systemd 257 (257.1)' ;;\n"
					  "show) echo active ;; is-enabled) exit 1 ;; esac\n");
	fault_is("vm1", "is not enabled", "systemctl enable stasis@vm1.service");
}

TEST(ranges_that_overlap)
{
	ctl_file(ctl_at("/ram"), "");
	for (int i = 0; i < 2; i++) {
		char text[512];

		snprintf(text, sizeof(text), "kernel /k\nmemory size=64M,path=%s,offset=%dM\n",
			 ctl_at("/ram"), i * 66);
		ctl_conf(i ? "b" : "a", text);
	}
	no_faults();
	ctl_conf("vm1", "kernel /k\ncpus 2\n");
	for (int i = 0; i < 2; i++) {
		char text[512];

		snprintf(text, sizeof(text), "kernel /k\nmemory size=64M,path=%s,offset=%dM\n",
			 ctl_at("/ram"), i * 64);
		ctl_conf(i ? "b" : "a", text);
	}
	json_object_put(faults);
	faults = check_faults("b");
	ck_assert_uint_eq(json_object_array_length(faults), 1);
	ck_assert_msg(strstr(json_object_to_json_string_ext(faults, JSON_C_TO_STRING_PLAIN),
			     "offset 64 M, size 64 M and label, overlaps that of a"),
		      "%s", json_object_to_json_string(faults));
}

/* What lies there is gone after the boot. */
TEST(disk_on_tmpfs)
{
	char path[] = "/dev/shm/test-check-XXXXXX", line[64], conf[96];
	char *words[] = {"stasis", "--name", "vm1", "--kernel", "/k", "--disk", line, "--show"};
	int fd = mkstemp(path);
	struct options other;
	struct error err;

	ck_assert_int_ge(fd, 0);
	close(fd);
	snprintf(line, sizeof(line), "path=%s", path);
	snprintf(conf, sizeof(conf), "kernel /k\ndisk %s\n", line);
	ctl_conf("vm1", conf);
	ck_assert_int_eq(options_parse(&other, ARRAY_SIZE(words), words, &err), 0);
	f.opt.given = other.given;
	fault_is("vm1", "its disk /dev/shm/test-check-", "copy it to a disk");
	f.opt.given = opt.given;
	unlink(path);
	free(other.given.given);
	free(other.disk);
}

TEST(vm_without_a_file)
{
	unlink(ctl_at("/etc/stasis/vm1.conf"));
	fault_is("vm1", "has no configuration file", "/etc/stasis");
}

TEST(vm_that_does_not_answer)
{
	int client[8];

	for (int i = 0; i < 8; i++)
		client[i] = client_open();
	fault_is("vm1", "busy", "find out who");
	for (int i = 0; i < 8; i++)
		close(client[i]);
}

TEST(name_that_is_none)
{
	json_object_put(faults);
	faults = check_faults("none");
	ck_assert_uint_eq(json_object_array_length(faults), 1);
}

/* What cannot be found out is a fault. */
TEST(systemd_that_tells_no_state)
{
	ctl_file(ctl_at("/systemctl.do"), "case $1 in --version) echo 'systemd 252 (252.1)' ;;\n"
					  "show) exit 1 ;; esac\n");
	fault_is("vm1", "runs, but not as stasis@vm1.service", "shut it down");
}

UNIT_MAIN(start, stop)
