/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The verbs of stasisctl, on a host of folders with scripted VMs, and with programs that stand in for systemctl and the
 * label of RAM. */
#include "tests/rig/ctl_vms.h"
#include "tests/rig/unit.h"
#include <fcntl.h>
#include <signal.h>

#define NO_SUCH                                                                                  \
	"stasisctl: none: there is no such VM: neither none.conf in /etc/stasis nor a process; " \
	"see stasisctl list\n"
#define NAME_HELP "up to 64 letters, digits and . _ - + : @, of which . and - are not the first\n"
#define BAD	  "ROOT/etc/stasis/bad.conf:2: there is no option '--quiet'; see --help\n"

/* Nothing runs; systemctl says yes and does nothing. */
static const struct row rows[] = {
	{"status none", 1, NO_SUCH},
	{"start none", 1, NO_SUCH},
	{"stop none", 1, NO_SUCH},
	{"save none", 1, NO_SUCH},
	{"load none", 1, NO_SUCH},
	{"console none", 1, NO_SUCH},
	{"edit none", 1, NO_SUCH},
	{"delete none", 1, NO_SUCH},
	{"upgrade none", 1, NO_SUCH},
	{"status", 1, "stasisctl: status: which NAME? See stasisctl list\n"},
	{"upgrade", 1, "stasisctl: upgrade: which NAME? See stasisctl list\n"},
	{"start off now", 1, "stasisctl: start: 'now' is too much: stasisctl start NAME\n"},
	{"list off", 1, "stasisctl: list: 'off' is too much: stasisctl list\n"},
	{"--json start off", 1, "stasisctl: --json does not go with start\n"},
	{"list --all", 1, "stasisctl: --all does not go with list\n"},
	{"--jobs 2 list", 1, "stasisctl: --jobs does not go with list\n"},
	{"--get /x list", 1, "stasisctl: --get does not go with list\n"},
	{"--jobs 0 upgrade --all", 1, "stasisctl: --jobs 0: must be 1 to 64\n"},
	{"--jobs 2x upgrade --all", 1, "stasisctl: --jobs 2x: must be 1 to 64\n"},
	{"--json off query-status", 1,
	 "stasisctl: --json goes with verbs only, and 'off' is none; see --help\n"},
	{"start off", 1, "stasisctl: off: is off, not running\n"},
	{"start bad", 1, "stasisctl: bad: its configuration is faulty: " BAD},
	{"stop off", 0, "off: off\n"},
	{"stop saved", 0, "saved: saved\n"},
	{"save off", 1, "stasisctl: off: is off, not running\n"},
	{"load off", 1, "stasisctl: off: is off: its RAM holds no saved guest\n"},
	{"load saved", 1, "stasisctl: saved: is saved, not running\n"},
	{"upgrade off", 1, "stasisctl: off: is off\n"},
	{"upgrade bad", 1, "stasisctl: bad: could not start again: " BAD},
	{"upgrade --all", 0, ""},
	{"upgrade --all --json", 0, "[]\n"},
	{"console off", 1, "stasisctl: off: is off, not running\n"},
	{"console off tty", 1, "stasisctl: console: 'tty': must be console or serial\n"},
	{"status off", 0,
	 "name           off\n"
	 "state          off\n"
	 "configuration  ROOT/etc/stasis/off.conf\n"
	 "vCPUs          1\n"
	 "RAM            64M\n"
	 "RAM is at      /no/such+2M\n"},
	{"list", 0,
	 "NAME   STATE    VCPUS  RAM  AT              UP  DOWNTIME  VERSION  BINARY  UPDATE\n"
	 "bad    faulty   -      -    -               -   -         -        -       -\n"
	 "ended  off      1      64M  ROOT/ended.ram  -   -         -        -       -\n"
	 "odd    unknown  1      64M  ROOT/odd.ram    -   -         -        -       -\n"
	 "off    off      1      64M  /no/such+2M     -   -         -        -       -\n"
	 "saved  saved    1      64M  ROOT/saved.ram  -   -         -        -       -\n"
	 "stasisctl: bad: " BAD},
	{"delete saved", 1,
	 "stasisctl: saved: its RAM holds a saved guest: load it (stasisctl load saved), then stop "
	 "it\n"},
	{"delete odd", 1,
	 "stasisctl: odd: nobody knows whether its RAM holds a saved guest: its label cannot be "
	 "read\n"},
	{"delete bad", 1,
	 "stasisctl: bad: nobody knows whether its RAM holds a saved guest: ROOT/etc/stasis/"
	 "bad.conf:2: there is no option '--quiet'; see --help; see stasisctl edit bad\n"},
	{"delete off", 0,
	 "off: deleted; disks and RAM are as they were\n"
	 "off: its RAM was 64M of /no/such at 2M\n"
	 "off: its disk was /dev/vg0/off\n"
	 "off: its disk was /other\n"},
	{"create list --kernel /k", 1,
	 "stasisctl: list: is a command of stasisctl: choose another name\n"},
	{"create a/b --kernel /k", 1, "stasisctl: a/b: is no name: " NAME_HELP},
	{"create .hidden --kernel /k", 1, "stasisctl: .hidden: is no name: " NAME_HELP},
	{"create -x --kernel /k", 1, "stasisctl: -x: is no name: " NAME_HELP},
	{"create '' --kernel /k", 1, "stasisctl: : is no name: " NAME_HELP},
	{"delete ../stasis/off", 1, "stasisctl: ../stasis/off: is no name: " NAME_HELP},
	{"start ..", 1, "stasisctl: ..: is no name: " NAME_HELP},
	{"status 'a b'", 1, "stasisctl: a b: is no name: " NAME_HELP},
	{"edit /etc/x", 1, "stasisctl: /etc/x: is no name: " NAME_HELP},
	{"create off --kernel /k", 1,
	 "stasisctl: off: not created: ROOT/etc/stasis/off.conf exists already; see stasisctl edit "
	 "off\n"},
	{"create new kernel /k", 1,
	 "stasisctl: new: not created: 'kernel' is no option of stasis: see stasis --help\n"},
	{"create new --kernel", 1,
	 "stasisctl: new: not created: ROOT/etc/stasis/new.conf:1: --kernel needs a value: FILE\n"},
	{"create new --paused", 1,
	 "stasisctl: new: not created: ROOT/etc/stasis/new.conf:1: --paused can be given on the "
	 "command line only\n"},
	{"create new --kernel /k --memory size=1G,path=/dev/dax7.0", 1,
	 "stasisctl: new: not created: /dev/dax7.0: is no DAX device of this host; see stasisctl "
	 "memory and daxctl list\n"},
	{"create new --kernel /k", 0, "new: created: ROOT/etc/stasis/new.conf\n"},
	{"memory", 0,
	 "DEVICE          OFFSET  SIZE  OWNER  STATE\n"
	 "/no/such        2M      64M   off    off\n"
	 "ROOT/ended.ram  0       64M   ended  off\n"
	 "ROOT/odd.ram    0       64M   odd    unknown\n"
	 "ROOT/saved.ram  0       64M   saved  saved\n"},
};

TEST_EACH(row, rows)
{
	gives(rows[_i].arguments, rows[_i].status, rows[_i].output);
}

/* --- start, stop, save, load */

static const struct script waits = {
	.state = "inmigrate", .cprinfo = "", .state_later = "running", .cprinfo_later = ""};

TEST(start)
{
	struct scripted vm;

	scripted_start(&vm, "off", &runs);
	gives("start off", 0, "off: running\n");
	ck_assert_str_eq(systemctl_log(), "start stasis@off.service\n");
	scripted_stop(&vm);
}

TEST(start_of_one_that_waits)
{
	struct scripted vm;

	scripted_start(&vm, "saved", &waits);
	gives("start saved", 0, "saved: is saved and waits to be loaded: stasisctl load saved\n");
	scripted_stop(&vm);
}

TEST(systemctl_that_fails)
{
	ctl_file(ctl_at("/systemctl.do"), "echo 'Job for x failed.' >&2; exit 1\n");
	gives("start off", 1, "Job for x failed.\n");
	gives("stop off", 1, "Job for x failed.\n");
	gives("load saved", 1, "Job for x failed.\n");
}

/* An off VM that was asked to run: list and status say why it does not, and so does a start that fails. */
TEST(trouble_of_a_unit)
{
	ctl_folder(ctl_at("/run/systemd/system"));
	ctl_program(ctl_at("/bin/journalctl"), "#!/bin/sh\ncase $* in *_SYSTEMD_INVOCATION_ID=ab*) "
					       "echo 'stasis off: error: no' ;; esac\n");
	ctl_file(ctl_at("/systemctl.do"), "case $1 in start) exit 1 ;; esac\n"
					  "printf 'ActiveState=failed\\nInvocationID=ab\\n'\n");
	gives("start off", 1, "stasisctl: off: its unit has failed: stasis off: error: no\n");
	ctl_file(ctl_at("/systemctl.do"), "printf 'InvocationID=cd\\nActiveState=failed\\n'\n");
	run("status off");
	ck_assert_msg(strstr(output, "reason         its unit has failed: systemctl status "
				     "stasis@off.service\n"),
		      "%s", output);
	ctl_file(ctl_at("/systemctl.do"),
		 "printf 'ActiveState=inactive\\nJob=426\\nInvocationID=\\n'\n");
	run("list");
	ck_assert_msg(strstr(output, "off: its unit waits: systemctl list-jobs shows for what\n"),
		      "%s", output);
	ctl_file(ctl_at("/systemctl.do"), "printf 'ActiveState=inactive\\nInvocationID=\\n'\n");
	run("list");
	ck_assert_msg(!strstr(output, "off: its unit"), "%s", output);
}

TEST(systemctl_that_is_missing)
{
	unlink(ctl_at("/bin/systemctl"));
	setenv("PATH", ctl_at("/bin:/bin"), 1);
	if (!system("PATH=/bin command -v systemctl >/dev/null"))
		return;
	gives("start off", 1, "stasisctl: systemctl: No such file or directory\n");
}

TEST(stop_of_one_without_a_unit)
{
	struct scripted vm;

	scripted_start(&vm, "by-hand", &runs);
	gives("stop by-hand", 1,
	      "stasisctl: by-hand: still running: stasis@by-hand.service does not run it; its "
	      "guest may be asked to shut down: stasisctl ROOT/run/stasis/by-hand/qmp "
	      "system_powerdown\n");
	gives("start by-hand", 1,
	      "stasisctl: by-hand: runs without a configuration file: nothing starts it again\n");
	gives("edit by-hand", 1, "stasisctl: by-hand: has no configuration file\n");
	gives("delete by-hand", 1, "stasisctl: by-hand: has no configuration file\n");
	gives("upgrade by-hand", 1,
	      "stasisctl: by-hand: has no configuration file, so nothing starts it again\n");
	gives("create by-hand --kernel /k", 1,
	      "stasisctl: by-hand: not created: a VM of this name runs: "
	      "ROOT/run/stasis/by-hand/qmp\n");
	scripted_stop(&vm);
}

static const struct {
	struct script script;
	const char *arguments;
	int status;
	const char *output;
} with_vm[] = {
	{{.cprinfo = "\"modes\": [\"reboot\", \"restart\"]"},
	 "save off",
	 0,
	 "off: saved; the host may kexec\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]"},
	 "save off",
	 0,
	 "off: saved; it does not outlive a kexec of the host\n"},
	{{.cprinfo =
		  "\"modes\": [], \"refused\": [{\"mode\": \"restart\", \"reason\": \"a memfd\"}]"},
	 "save off",
	 1,
	 "stasisctl: off: cannot be saved: a memfd\n"},
	{{.cprinfo = "\"modes\": []"},
	 "save off",
	 1,
	 "stasisctl: off: cannot be saved: it does not say why\n"},
	{{.cprinfo = "\"modes\": [\"reboot\"]", .save_error = "no room"},
	 "save off",
	 1,
	 "stasisctl: off: cprsave: no room\n"},
	{{0}, "load off", 1, "stasisctl: off: is running: there is nothing to load\n"},
	{{.state = "inmigrate"}, "load off", 0, "off: running\n"},
	{{.state = "inmigrate", .load_error = "another disk"},
	 "load off",
	 1,
	 "stasisctl: off: cprload: another disk; its guest is safe in RAM and checkpoint\n"},
	{{.state = "inmigrate"},
	 "save off",
	 0,
	 "off: is saved and waits to be loaded: stasisctl load off\n"},
	{{0}, "delete off", 1, "stasisctl: off: is running: stop it first: stasisctl stop off\n"},
	{{0},
	 "console off",
	 1,
	 "stasisctl: off: has no socket for its console: see the options console and serial\n"},
	{{0},
	 "console off serial",
	 1,
	 "stasisctl: off: has no socket for its serial: see the options console and serial\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]",
	  .cprinfo_later = "\"loaded\": \"x\", \"downtime-ms\": 7"},
	 "upgrade off",
	 0,
	 "off: 1.0.0 -> 2.0.0, stood still for 7 ms\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]",
	  .cprinfo_later = "\"loaded\": \"x\", \"downtime-ms\": 7"},
	 "upgrade --all --json",
	 0,
	 "[\n {\n \"name\": \"off\",\n \"result\": \"upgraded\",\n \"downtime-ms\": 7\n }\n]\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]", .save_error = "no room"},
	 "upgrade off",
	 1,
	 "stasisctl: off: cannot be saved: cprsave: no room\n"},
	{{.cprinfo =
		  "\"modes\": [], \"refused\": [{\"mode\": \"restart\", \"reason\": \"a memfd\"}]"},
	 "upgrade off",
	 1,
	 "stasisctl: off: cannot be saved: a memfd\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]", .state_later = "inmigrate"},
	 "upgrade off",
	 1,
	 "stasisctl: off: is NOT back, it is inmigrate; its guest is safe in RAM and checkpoint: "
	 "stasisctl load off\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]", .cprinfo_later = ""},
	 "upgrade off",
	 1,
	 "stasisctl: off: its guest was not loaded, another one has booted\n"},
	{{.cprinfo = "\"modes\": [\"restart\"]", .state_later = "paused"},
	 "upgrade off",
	 1,
	 "stasisctl: off: is back, but was running and is paused\n"},
	{{.state = "shutdown"}, "upgrade off", 1, "stasisctl: off: is shutdown\n"},
	{{.state = "inmigrate", .state_later = "inmigrate"},
	 "upgrade off",
	 0,
	 "off: 1.0.0 -> 1.0.0, stood still for 0 ms\n"},
};

TEST_EACH(with_vm, with_vm)
{
	struct scripted vm;

	scripted_start(&vm, "off", &with_vm[_i].script);
	gives(with_vm[_i].arguments, with_vm[_i].status, with_vm[_i].output);
	scripted_stop(&vm);
}

TEST(unit_that_does_not_start_again)
{
	struct scripted vm;

	ctl_file(ctl_at("/systemctl.do"), "exit 1\n");
	scripted_start(&vm, "off", &runs);
	gives("upgrade off", 1,
	      "stasisctl: off: is NOT back: its unit does not start; its guest is safe in RAM and "
	      "checkpoint: mend what systemctl status stasis@off says, then stasisctl load off\n");
	scripted_stop(&vm);
}

/* A guest that its file or the new program would refuse runs on. */
TEST(upgrade_that_would_not_load)
{
	static const struct script script = {
		.cprinfo = "\"modes\": [\"restart\"], \"options\": [\"name off\", \"cpus 2\", "
			   "\"memory size=64M,path=/no/such,offset=2M\", "
			   "\"disk path=/dev/vg0/off,serial=x\", \"disk path=/other\"]"};
	struct scripted vm;

	scripted_start(&vm, "off", &script);
	gives("upgrade off", 1,
	      "stasisctl: off: its guest would not be loaded again: no --cpus, but the running VM "
	      "has --cpus 2: change that back, or shut the guest down first\n");
	ck_assert(!vm.is_later);
	scripted_stop(&vm);
}

/* What has become of a guest is looked at, not concluded from an answer that is missing. */
static const struct {
	const char *vm, *arguments;
	int status;
	const char *output;
} dying[] = {
	{"saved", "save saved", 0, "saved: saved; it does not outlive a kexec of the host\n"},
	{"saved", "upgrade saved", 1,
	 "stasisctl: saved: is NOT back, it is saved; its guest is safe in RAM and checkpoint: "
	 "stasisctl load saved\n"},
	{"ended", "save ended", 1,
	 "stasisctl: ended: ROOT/run/stasis/ended/qmp: the VM closed the connection; now it is "
	 "off: "
	 "stasisctl status ended\n"},
	{"ended", "upgrade ended", 1,
	 "stasisctl: ended: cannot be saved: ROOT/run/stasis/ended/qmp: the VM closed the "
	 "connection; now it is off: stasisctl status ended\n"},
};

TEST_EACH(vm_that_dies_in_its_save, dying)
{
	static const struct script dies = {.cprinfo = "\"modes\": [\"restart\"]", .dies = true};
	struct scripted vm;

	scripted_start(&vm, dying[_i].vm, &dies);
	gives(dying[_i].arguments, dying[_i].status, dying[_i].output);
	scripted_stop(&vm);
}

/* A process has its socket, and does not answer. */
TEST(busy)
{
	int fd = ctl_listen("off", 1);

	gives("save off", 1,
	      "stasisctl: off: busy: ROOT/run/stasis/off/qmp: timed out after 3 s\n");
	gives("upgrade off", 1,
	      "stasisctl: off: is busy: ROOT/run/stasis/off/qmp: timed out after 3 s\n");
	gives("delete off", 1,
	      "stasisctl: off: busy: ROOT/run/stasis/off/qmp: timed out after 3 s\n");
	close(fd);
}

/* The one that fails is named, and the others go on. */
TEST(upgrade_of_all)
{
	static const struct script fails = {.state = "running", .cprinfo = "\"modes\": []"};
	struct scripted off, ended;

	scripted_start(&off, "off", &runs);
	scripted_start(&ended, "ended", &fails);
	gives("upgrade --all --jobs 1", 1,
	      "stasisctl: ended: cannot be saved: it does not say why\n"
	      "off: 1.0.0 -> 2.0.0, stood still for 12 ms\n");
	ck_assert_str_eq(systemctl_log(), "start stasis@off.service\n");
	scripted_stop(&off);
	scripted_stop(&ended);
}

/* What is begun ends well, and nothing else begins. */
TEST(upgrade_that_is_interrupted)
{
	struct scripted off, ended;

	ctl_file(ctl_at("/systemctl.do"), "kill -INT $PPID\n");
	scripted_start(&off, "off", &runs);
	scripted_start(&ended, "ended", &runs);
	run("upgrade --all --jobs 1; echo status $?");
	ck_assert_str_eq(output, "ended: 1.0.0 -> 2.0.0, stood still for 12 ms\nstatus 130\n");
	ck_assert_str_eq(systemctl_log(), "start stasis@ended.service\n");
	ck_assert(!off.is_later);
	scripted_stop(&off);
	scripted_stop(&ended);
}

/* A process of the real stasis: it prints its help into a pipe that has no room for it. */
static pid_t run_binary(const char *path, int pipe_fd[2])
{
	pid_t pid;

	ck_assert_int_eq(pipe2(pipe_fd, O_CLOEXEC), 0);
	ck_assert_int_ge(fcntl(pipe_fd[1], F_SETPIPE_SZ, 4096), 4096);
	ck_assert_int_eq(write(pipe_fd[1], (char[4096]){0}, 4096), 4096);
	pid = fork();
	if (!pid) {
		dup2(pipe_fd[1], STDOUT_FILENO);
		execl(path, "stasis", "--help", NULL);
		_exit(127);
	}
	ck_assert_int_gt(pid, 0);
	return pid;
}

static void await_exec(pid_t pid)
{
	char path[64], self[256], exe[256];
	ssize_t n = readlink("/proc/self/exe", self, sizeof(self)), m;

	snprintf(path, sizeof(path), "/proc/%d/exe", pid);
	do {
		usleep(1000);
		m = readlink(path, exe, sizeof(exe));
	} while (m == n && !memcmp(exe, self, (size_t)n));
}

static const struct {
	const char *copy; /* what runs; NULL: the installed binary itself */
	const char *list, *upgrade;
} binaries[] = {
	{NULL, "installed\n", "off: runs the installed binary already\n"},
	{"/bin/stasis-of-yesterday", "old\n", NULL},
};

TEST_EACH(binary, binaries)
{
	char cprinfo[64], command[1024];
	const struct script script = {.cprinfo = cprinfo};
	const char *path = STASIS_REAL;
	struct scripted vm;
	int pipe_fd[2];
	pid_t pid;

	if (binaries[_i].copy) {
		path = ctl_at("%s", binaries[_i].copy);
		snprintf(command, sizeof(command), "cp %s %s", STASIS_REAL, path);
		ck_assert_int_eq(system(command), 0); /* NOLINT(cert-env33-c) */
	}
	setenv("STASIS", STASIS_REAL, 1);
	pid = run_binary(path, pipe_fd);
	await_exec(pid);
	snprintf(cprinfo, sizeof(cprinfo), "\"modes\": [\"restart\"], \"pid\": %d", pid);
	scripted_start(&vm, "off", &script);
	gives("status off | sed -n 's/^binary *//p'", 0, binaries[_i].list);
	gives("status off --json | grep -c uptime-s", 0, "1\n");
	if (binaries[_i].upgrade)
		gives("upgrade off", 0, binaries[_i].upgrade);
	ck_assert_str_eq(systemctl_log(), "");
	scripted_stop(&vm);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	close(pipe_fd[0]);
	close(pipe_fd[1]);
}

TEST(list_of_one_that_runs)
{
	struct scripted vm;

	scripted_start(&vm, "off", &runs);
	gives("list | grep ^off", 0, "off running 2 1G /dev/dax0.0+2M - - 1.0.0 - save\n");
	gives("status off --json", 0,
	      "{\n \"name\": \"off\",\n \"state\": \"running\",\n"
	      " \"file\": \"ROOT/etc/stasis/off.conf\",\n \"vcpus\": 2,\n \"ram\": {\n"
	      " \"path\": \"/dev/dax0.0\",\n \"offset\": 2097152,\n \"size\": 1073741824\n },\n"
	      " \"version\": \"1.0.0\",\n \"update\": \"save\"\n}\n");
	gives("stop off", 1,
	      "stasisctl: off: still running: stasis@off.service does not run it; its guest may be "
	      "asked to shut down: stasisctl ROOT/run/stasis/off/qmp system_powerdown\n");
	scripted_stop(&vm);
}

TEST(list_of_one_whose_update_is_refused)
{
	static const struct script refuses = {
		.cprinfo = "\"modes\": [], \"refused\": [{\"mode\": \"reboot\", \"reason\": "
			   "\"a memfd\"}]"};
	struct scripted vm;

	scripted_start(&vm, "off", &refuses);
	gives("list | grep ^off", 0, "off running 2 64M /no/such+2M - - 1.0.0 - refused\n");
	gives("status off --json | grep -A 4 update-faults", 0,
	      " \"update-faults\": [\n {\n \"vm\": \"off\",\n"
	      " \"fault\": \"cannot be saved: a memfd\",\n"
	      " \"way-out\": \"give it update=shutdown if it may be shut down\"\n");
	scripted_stop(&vm);
}

/* A VM that a guest has taken over says what it likes: this is no end of the others. */
static const struct {
	const char *cpus, *chardevs, *cprinfo;
} hostile[] = {
	{"3", "3", "\"modes\": 3, \"refused\": 3, \"ram\": 3, \"pid\": {}"},
	{"{}", "{}", "\"modes\": {}, \"refused\": {}, \"ram\": [], \"pid\": []"},
	{"[null]", "[null, 3]",
	 "\"modes\": [null, 3], \"refused\": [null, 3, {\"mode\": null}], \"pid\": null"},
	{"null", "null", "\"modes\": null, \"ram\": {\"path\": 3, \"size\": -1, \"offset\": 1e99}"},
};

TEST_EACH(answers_of_other_types, hostile)
{
	const struct script script = {.cpus = hostile[_i].cpus,
				      .chardevs = hostile[_i].chardevs,
				      .cprinfo = hostile[_i].cprinfo};
	static const char *const verbs[] = {"list",	   "status off",  "check off", "memory",
					    "upgrade off", "console off", "save off"};
	struct scripted vm;

	scripted_start(&vm, "off", &script);
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		ck_assert_msg(run(verbs[i]) <= 1, "%s: %s", verbs[i], output);
	scripted_stop(&vm);
}

UNIT_MAIN(ctl_vms_start, ctl_fixture_stop)
