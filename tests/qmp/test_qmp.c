/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The QMP server over its socket: protocol, wording, commands, events, clients that misbehave. */
#include "cpr/cpr.h"
#include "devices/virtio/virtio_blk.h"
#include "tests/rig/qmp_fixture.h"
#include "tests/rig/unit.h"
#include "vmm/version.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#define GENERIC	  "GenericError"
#define NOT_FOUND "CommandNotFound"
#define EXPECTING "Expecting capabilities negotiation with 'qmp_capabilities'"

TEST(greeting_and_negotiation)
{
	int fd = client_connect();
	char greeting[256];

	snprintf(greeting, sizeof(greeting),
		 "{\"QMP\":{\"version\":{\"qemu\":{\"major\":%d,\"minor\":%d,\"micro\":%d},"
		 "\"package\":\"stasis %s\"},\"capabilities\":[]}}",
		 STASIS_MAJOR, STASIS_MINOR, STASIS_MICRO, STASIS_VERSION);
	client_expect(fd, greeting);
	client_refuses(fd, "query-status", NOT_FOUND, EXPECTING);
	client_refuses(fd, "no-such", NOT_FOUND, EXPECTING);
	/* Events are not sent before negotiation. */
	fixture_events(3);
	client_expect_silence(fd);
	client_refuses(fd, "qmp_capabilities {'enable':['oob']}", GENERIC,
		       "Capability oob not available");
	client_refuses(fd, "qmp_capabilities {'enable':'oob'}", GENERIC,
		       "Invalid parameter type for 'enable', expected: array (stasisctl: "
		       "enable:='[\"oob\"]')");
	client_answers(fd, "qmp_capabilities {'enable':[]}", "{}");
	client_refuses(fd, "qmp_capabilities", NOT_FOUND,
		       "Capabilities negotiation is already complete, command ignored");
	close(fd);
}

/* The words are those that QEMU 10.0 answered to the same requests. */
static const struct {
	const char *request, *class, *desc;
} wording[] = {
	{"{'execute':'nosuch'}", NOT_FOUND, "The command nosuch has not been found"},
	{"{'execute':''}", NOT_FOUND, "The command  has not been found"},
	{"{'execute':'stop\\u0000'}", NOT_FOUND, "The command stop has not been found"},
	{"[1,2]", GENERIC, "QMP input must be a JSON object"},
	{"\"str\"\n", GENERIC, "QMP input must be a JSON object"},
	{"12\n", GENERIC, "QMP input must be a JSON object"},
	{"null\n", GENERIC, "QMP input must be a JSON object"},
	{"{}", GENERIC, "QMP input lacks member 'execute'"},
	{"{'a':1}", GENERIC, "QMP input member 'a' is unexpected"},
	{"{'execute':1}", GENERIC, "QMP input member 'execute' must be a string"},
	{"{'execute':null}", GENERIC, "QMP input member 'execute' must be a string"},
	{"{'execute':'stop','arguments':[]}", GENERIC,
	 "QMP input member 'arguments' must be an object"},
	{"{'execute':'stop','arguments':null}", GENERIC,
	 "QMP input member 'arguments' must be an object"},
	{"{'exec-oob':'stop'}", GENERIC, "QMP input member 'exec-oob' is unexpected"},
	{"{'execute':'stop','arguments':{'x':1}}", GENERIC, "Parameter 'x' is unexpected"},
	{"{'execute':'cprsave','arguments':{'file':'/x'}}", GENERIC,
	 "Parameter 'mode' is missing: give reboot or restart"},
	{"{'execute':'cprsave','arguments':{'file':5,'mode':'reboot'}}", GENERIC,
	 "Invalid parameter type for 'file', expected: string"},
	{"{'execute':'cprsave','arguments':{'file':null,'mode':'reboot'}}", GENERIC,
	 "Invalid parameter type for 'file', expected: string"},
	{"{'execute':'cprsave','arguments':{'file':'/x','mode':'Reboot'}}", GENERIC,
	 "Parameter 'mode' does not accept value 'Reboot': give reboot or restart"},
	{"{'execute':'cprsave','arguments':{'file':'/x','mode':'reboot','ram-check':'half'}}",
	 GENERIC, "Parameter 'ram-check' does not accept value 'half': give none or full"},
	{"{'execute':'cprsave','arguments':{'mode':'reboot','timeout-ms':'1'}}", GENERIC,
	 "Invalid parameter type for 'timeout-ms', expected: integer"},
	{"{'execute':'cprsave','arguments':{'mode':'reboot','timeout-ms':1.5}}", GENERIC,
	 "Invalid parameter type for 'timeout-ms', expected: integer"},
	{"{'execute':'cprsave','arguments':{'mode':'reboot','timeout-ms':0}}", GENERIC,
	 "Parameter 'timeout-ms' expects 1 to 86400000"},
	{"{'execute':'cprsave','arguments':{'mode':'reboot','timeout-ms':86400001}}", GENERIC,
	 "Parameter 'timeout-ms' expects 1 to 86400000"},
	{"{'execute':'cprload','arguments':{'file':'/x\\u0000y'}}", GENERIC,
	 "Parameter 'file' contains a NUL character"},
	{"{'execute':'cprload','arguments':{'file':''}}", GENERIC,
	 "Parameter 'file' is empty: give the path of a checkpoint"},
	{"{'execute':'cprload','arguments':{'accept-disks':'disk0'}}", GENERIC,
	 "Invalid parameter type for 'accept-disks', expected: array (stasisctl: "
	 "accept-disks:='[\"disk0\"]')"},
	{"{'execute':'cprload','arguments':{'accept-disks':1}}", GENERIC,
	 "Invalid parameter type for 'accept-disks', expected: array"},
	{"{'execute':'cprload'}", GENERIC,
	 "Parameter 'file' is missing, and no --cpr-file says which"},
	{"{'execute': }\n", GENERIC, "JSON parse error, expecting value"},
};

TEST_EACH(error_wording, wording)
{
	int fd = client_open();

	client_send(fd, wording[_i].request);
	client_expect_error(fd, wording[_i].class, wording[_i].desc);
	client_answers(fd, "query-kvm", "{'enabled':true,'present':true}");
	close(fd);
}

static const struct {
	const char *command, *answer;
} queries[] = {
	{"query-status", "{\"status\":\"running\",\"running\":true}"},
	{"query-current-machine", "{\"wakeup-suspend-support\":true}"},
	{"query-name", "{\"name\":\"vm1\"}"},
	{"query-uuid", "{\"UUID\":\"00112233-4455-6677-8899-aabbccddeeff\"}"},
	{"query-kvm", "{\"enabled\":true,\"present\":true}"},
	{"query-memory-size-summary", "{\"base-memory\":1073741824,\"plugged-memory\":0}"},
	{"query-cpus-fast",
	 "[{\"cpu-index\":0,\"qom-path\":\"/machine/cpu[0]\",\"thread-id\":1001,"
	 "\"target\":\"x86_64\",\"props\":{\"socket-id\":0,\"core-id\":0,\"thread-id\":0}},"
	 "{\"cpu-index\":1,\"qom-path\":\"/machine/cpu[1]\",\"thread-id\":1002,"
	 "\"target\":\"x86_64\",\"props\":{\"socket-id\":0,\"core-id\":1,\"thread-id\":0}}]"},
	{"query-block",
	 "[{'device':'root','qdev':'/machine/peripheral/root/virtio-backend','type':'unknown',"
	 "'removable':false,'locked':false,'inserted':{'file':'/dev/vg/root','node-name':'root',"
	 "'ro':false,'drv':'raw','backing_file_depth':0,'active':true,'encrypted':false,"
	 "'detect_zeroes':'off','bps':0,'bps_rd':0,'bps_wr':0,'iops':0,'iops_rd':0,'iops_wr':0,"
	 "'write_threshold':0,'image':{'filename':'/dev/vg/root','format':'raw',"
	 "'virtual-size':1048576,'dirty-flag':false},"
	 "'cache':{'writeback':true,'direct':true,'no-flush':false}}}]"},
	{"query-blockstats",
	 "[{'device':'root','node-name':'root',"
	 "'qdev':'/machine/peripheral/root/virtio-backend','stats':{"
	 "'rd_operations':7,'rd_bytes':28672,'rd_merged':0,'rd_total_time_ns':900,"
	 "'failed_rd_operations':1,'invalid_rd_operations':2,"
	 "'wr_operations':0,'wr_bytes':0,'wr_merged':0,'wr_total_time_ns':0,"
	 "'failed_wr_operations':0,'invalid_wr_operations':0,'wr_highest_offset':8192,"
	 "'flush_operations':3,'flush_total_time_ns':100,"
	 "'failed_flush_operations':0,'invalid_flush_operations':0,"
	 "'unmap_operations':0,'unmap_bytes':0,'unmap_merged':0,'unmap_total_time_ns':0,"
	 "'failed_unmap_operations':0,'invalid_unmap_operations':0,"
	 "'zone_append_operations':0,'zone_append_bytes':0,'zone_append_merged':0,"
	 "'zone_append_total_time_ns':0,'failed_zone_append_operations':0,"
	 "'invalid_zone_append_operations':0,"
	 "'account_failed':true,'account_invalid':true,'timed_stats':[]}}]"},
	{"query-pci",
	 "[{'bus':0,'devices':["
	 "{'bus':0,'slot':0,'function':0,'class_info':{'class':1536,'desc':'Host bridge'},"
	 "'id':{'vendor':32902,'device':10688,'subsystem-vendor':0,'subsystem':0},"
	 "'irq_pin':0,'qdev_id':'pci-host0','regions':[]},"
	 "{'bus':0,'slot':3,'function':0,'class_info':{'class':256,'desc':'SCSI controller'},"
	 "'id':{'vendor':6900,'device':4162,'subsystem-vendor':6900,'subsystem':4354},"
	 "'irq_pin':1,'irq':10,'qdev_id':'disk0','regions':["
	 "{'bar':0,'type':'io','address':49216,'size':32},"
	 "{'bar':1,'type':'memory','address':-1,'size':4096,'prefetch':false,"
	 "'mem_type_64':false},"
	 "{'bar':4,'type':'memory','address':549755830272,'size':16384,'prefetch':true,"
	 "'mem_type_64':true}]}]}]"},
};

TEST_EACH(query, queries)
{
	int fd = client_open();

	client_answers(fd, queries[_i].command, queries[_i].answer);
	close(fd);
}

TEST(query_commands)
{
	static const char names[] =
		"qmp_capabilities query-version query-status query-current-machine query-name "
		"query-uuid query-kvm query-cpus-fast query-memory-size-summary query-commands "
		"query-block query-blockstats query-chardev query-pci stop cont quit "
		"system_powerdown system_wakeup system_reset set_link announce-self block_resize "
		"cprsave cprload cprinfo query-cpr cpr-cancel ";
	int fd = client_open();
	struct json_object *line, *list;
	char listed[sizeof(names) + 100] = "";

	client_ask(fd, "query-commands");
	line = client_line(fd);
	list = json_object_object_get(line, "return");
	for (size_t i = 0; i < json_object_array_length(list); i++) {
		const struct json_object *command = json_object_array_get_idx(list, i);

		strncat(listed, json_object_get_string(json_object_object_get(command, "name")),
			sizeof(listed) - strlen(listed) - 2);
		strcat(listed, " ");
	}
	ck_assert_str_eq(listed, names);
	ck_assert_ptr_nonnull(strstr(json_object_to_json_string_ext(list, JSON_C_TO_STRING_PLAIN),
				     "{\"name\":\"mode\",\"type\":\"string\",\"optional\":false,"
				     "\"values\":[\"reboot\",\"restart\"]}"));
	json_object_put(line);
	close(fd);
}

TEST(cprinfo)
{
	char *argv[] = {"stasis", "--cpus", "4", "--rng", "--append=", "--paused", "--show"};
	int fd = client_open();
	struct options opt;
	struct error err;
	char want[1100];

	ck_assert_int_eq(options_parse(&opt, ARRAY_SIZE(argv), argv, &err), 0);
	f.opt.given = opt.given;
	f.opt.cpr_file = "/var/lib/vm1.cpr";
	client_ask(fd, "cprinfo");
	/* The path's byte 0xff is no UTF-8. */
	snprintf(want, sizeof(want),
		 "{\"return\":{\"modes\":[\"restart\"],"
		 "\"refused\":[{\"mode\":\"reboot\",\"reason\":\"tmpfs is gone after a kexec\"}],"
		 "\"ram\":{\"backend\":\"tmpfs\",\"path\":\"/dev/shm/vm1-\\ufffd\","
		 "\"offset\":4096,\"size\":1073741824},"
		 "\"devices\":[{\"name\":\"pci-host0\",\"type\":\"pci-host\"},"
		 "{\"name\":\"disk0\",\"type\":\"virtio-blk\"},"
		 "{\"name\":\"console0\",\"type\":\"virtio-console\"},"
		 "{\"name\":\"net0\",\"type\":\"virtio-net\"},"
		 "{\"name\":\"net1\",\"type\":\"virtio-net\"}],\"pid\":%d,\"serial\":\"unix\","
		 "\"version\":\"" STASIS_VERSION "\","
		 "\"options\":[\"cpus 4\",\"rng\",\"append=\"],"
		 "\"cpr-file\":\"/var/lib/vm1.cpr\"}}",
		 getpid());
	client_expect(fd, want);
	free(opt.given.given);
	f.opt.given.n = 0;
	close(fd);
}

/* A part of what cprinfo returns. */
static void cprinfo_has(const char *pointer, const char *json)
{
	struct json_object *line, *part;
	int fd = client_open();

	client_ask(fd, "cprinfo");
	line = client_line(fd);
	ck_assert_int_eq(json_pointer_get(line, pointer, &part), 0);
	ck_assert_str_eq(json_object_to_json_string_ext(part, JSON_C_TO_STRING_PLAIN), json);
	json_object_put(line);
	close(fd);
}

TEST(cprinfo_loaded)
{
	for (size_t i = 0; i < sizeof(f.vm.loaded_id); i++)
		f.vm.loaded_id[i] = (uint8_t)i;
	f.vm.downtime_ns = 12345678;
	cprinfo_has("/return/loaded", "\"00010203-0405-0607-0809-0a0b0c0d0e0f\"");
	cprinfo_has("/return/downtime-ms", "12");
}

TEST(cprinfo_needs_suspend)
{
	fake_cpr.needs_suspend = true;
	cprinfo_has("/return/refused/0",
		    "{\"mode\":\"reboot\",\"reason\":\"vfio0: suspend the guest first\","
		    "\"needs-suspend\":true}");
}

static const char *const ids[] = {
	"1",
	"-1",
	"9223372036854775807",
	"9223372036854775808",
	"18446744073709551615",
	"-9223372036854775808",
	"0",
	"1.5",
	"\"x\"",
	"\"\\u0000\\u00e9\\ud83d\\ude00\"",
	"null",
	"true",
	"[1,{\"a\":[]}]",
	"{\"a\":{\"b\":null}}",
	"\"\"",
};

TEST_EACH(id_is_echoed, ids)
{
	int fd = client_open();
	char text[200];

	snprintf(text, sizeof(text), "{\"execute\":\"cont\",\"id\":%s}", ids[_i]);
	client_send(fd, text);
	snprintf(text, sizeof(text), "{\"return\":{},\"id\":%s}", ids[_i]);
	client_expect(fd, text);
	snprintf(text, sizeof(text), "{\"id\":%s}", ids[_i]);
	client_send(fd, text);
	snprintf(text, sizeof(text),
		 "{\"error\":{\"class\":\"GenericError\","
		 "\"desc\":\"QMP input lacks member 'execute'\"},\"id\":%s}",
		 ids[_i]);
	client_expect(fd, text);
	close(fd);
}

TEST(split_and_joined)
{
	static const char joined[] = "{\"execute\":\"query-kvm\",\"id\":1}"
				     "{\"execute\":\"query-kvm\",\"id\":2}\n\n"
				     "{\"execute\":\"query-kvm\",\"id\":3}";
	int fd = client_open();
	char want[100];

	for (int round = 0; round < 2; round++) {
		if (round)
			client_send(fd, joined);
		else
			for (size_t i = 0; i < strlen(joined); i++)
				client_send_bytes(fd, joined + i, 1);
		for (int id = 1; id <= 3; id++) {
			snprintf(want, sizeof(want),
				 "{\"return\":{\"enabled\":true,\"present\":true},\"id\":%d}", id);
			client_expect(fd, want);
		}
	}
	close(fd);
}

/* What an event is made of, and that it comes before the reply that it belongs to. */
TEST(events)
{
	int fd = client_open();
	const time_t before = time(NULL);
	struct json_object *line, *timestamp;

	client_ask(fd, "stop");
	line = client_line(fd);
	ck_assert_str_eq(json_object_get_string(json_object_object_get(line, "event")), "STOP");
	timestamp = json_object_object_get(line, "timestamp");
	ck_assert_int_ge(json_object_get_int64(json_object_object_get(timestamp, "seconds")),
			 before);
	ck_assert_int_lt(json_object_get_int64(json_object_object_get(timestamp, "microseconds")),
			 1000000);
	ck_assert(json_object_object_get_ex(timestamp, "microseconds", NULL));
	json_object_put(line);
	client_expect(fd, "{'return':{}}");
	client_send(fd, "{'execute':'stop'}{'execute':'query-status'}");
	client_expect(fd, "{'return':{}}");
	client_expect(fd, "{'return':{'status':'paused','running':false}}");
	client_ask(fd, "cont");
	client_expect(fd, "{'event':'RESUME'}");
	client_expect(fd, "{'return':{}}");
	client_ask(fd, "system_reset");
	client_expect(fd,
		      "{'event':'RESET','data':{'guest':false,'reason':'host-qmp-system-reset'}}");
	client_expect(fd, "{'return':{}}");
	client_ask(fd, "system_powerdown");
	client_expect(fd, "{'event':'POWERDOWN'}");
	client_expect(fd, "{'return':{}}");
	client_refuses(fd, "system_wakeup", GENERIC,
		       "Unable to wake up: guest is not in suspended state");
	f.vm.runstate = RUNSTATE_SUSPENDED;
	vm_event(&f.vm, &(struct vm_event){.type = VM_EVENT_SUSPEND});
	client_expect(fd, "{'event':'SUSPEND'}");
	client_answers(fd, "query-status", "{'status':'suspended','running':false}");
	client_ask(fd, "system_wakeup");
	client_expect(fd, "{'event':'WAKEUP'}");
	client_expect(fd, "{'return':{}}");
	fixture_events(2);
	client_expect(fd, "{'event':'STOP'}");
	client_expect(fd, "{'event':'STOP'}");
	close(fd);
}

TEST(quit)
{
	int fd = client_open();

	/* What comes behind it is not executed any more. */
	client_send(fd, "{'execute':'quit'}{'execute':'stop'}");
	client_expect(fd, "{'event':'SHUTDOWN','data':{'guest':false,'reason':'host-qmp-quit'}}");
	client_expect(fd, "{'return':{}}");
	ck_assert_ptr_null(client_line(fd));
	close(fd);
}

TEST(cprsave)
{
	int fd = client_open();

	fake_cpr.save_fails = true;
	client_refuses(fd, "cprsave {'file':'/d/x','mode':'reboot'}", GENERIC,
		       "cprsave: /d/x: No space left on device");
	client_answers(fd, "query-status", "{'status':'running','running':true}");

	fake_cpr.save_fails = false;
	client_send(fd, "{'execute':'cprsave','arguments':{'file':'/d/\\u00e9','mode':'restart',"
			"'ram-check':'full','timeout-ms':2500},'id':7}");
	client_expect(fd, "{'return':{},'id':7}");
	client_expect(fd, "{'event':'SHUTDOWN','data':{'guest':false,'reason':'host-qmp-quit'}}");
	ck_assert_ptr_null(client_line(fd));
	close(fd);
	ck_assert_str_eq(fake_cpr.file, "/d/\303\251");
	ck_assert_int_eq(fake_cpr.mode, CPR_RESTART);
	ck_assert(fake_cpr.ram_check);
	ck_assert_uint_eq(fake_cpr.timeout_ns, 2500000000);
	ck_assert_int_eq(f.vm.exit_status, 0);
}

TEST(cprload_accepts_disks)
{
	int fd = client_open();

	client_refuses(fd, "cprload {'file':'/d/c','accept-disks':['disk0',7]}", GENERIC,
		       "Invalid parameter type for 'accept-disks', expected: array of strings");
	client_refuses(fd,
		       "cprload {'file':'/d/c','accept-disks':['a','a','a','a','a','a',"
		       "'a','a','a','a','a','a','a','a','a','a','a']}",
		       GENERIC, "Parameter 'accept-disks' has more than 16 names");
	ck_assert_str_eq(fake_cpr.accepted, "");
	client_ask(fd, "cprload {'file':'/d/c','accept-disks':['disk0','disk1']}");
	json_object_put(client_line(fd));
	close(fd);
	ck_assert_str_eq(fake_cpr.accepted, "disk0 disk1 ");
	ck_assert_str_eq(fake_cpr.file, "/d/c");
}

TEST(cprsave_defaults)
{
	int fd = client_open();

	f.opt.cpr_file = "/var/lib/vm1.cpr";
	client_answers(fd, "cprsave {'mode':'reboot'}", "{}");
	json_object_put(client_line(fd));
	ck_assert_ptr_null(client_line(fd));
	close(fd);
	ck_assert_str_eq(fake_cpr.file, "/var/lib/vm1.cpr");
	ck_assert_int_eq(fake_cpr.mode, CPR_REBOOT);
	ck_assert(!fake_cpr.ram_check);
	ck_assert_uint_eq(fake_cpr.timeout_ns, 10000000000);
	ck_assert_int_eq(f.vm.exit_status, CPR_EXIT_REBOOT);
}

TEST(cprload)
{
	int fd = client_open();

	f.vm.runstate = RUNSTATE_INMIGRATE;
	client_refuses(fd, "cont", GENERIC, "the guest waits for cprload");
	client_ask(fd, "cprload {'file':'/d/x'}");
	client_expect(fd, "{'event':'RESUME'}");
	client_expect(fd, "{'return':{}}");
	ck_assert_str_eq(fake_cpr.file, "/d/x");
	f.vm.has_run = true;
	client_refuses(fd, "cprload {'file':'/d/x'}", GENERIC,
		       "cprload: the guest has run in this process");
	close(fd);
}

/* Commands and a hang-up in one go: all are answered. */
TEST(half_closed_client)
{
	int fd = client_connect();

	client_send(fd, "{'execute':'qmp_capabilities'}{'execute':'query-name'}");
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	json_object_put(client_line(fd));
	client_expect(fd, "{'return':{}}");
	client_expect(fd, "{'return':{'name':'vm1'}}");
	ck_assert_ptr_null(client_line(fd));
	close(fd);
}

/* A client that reads late, yet does read, gets every byte. */
TEST(slow_reader_gets_all)
{
	int fd = client_open();

	fixture_events(2500);
	usleep(50000);
	for (int i = 0; i < 2500; i++)
		client_expect(fd, "{'event':'STOP'}");
	close(fd);
}

TEST(garbage)
{
	int fd = client_open();

	client_send(fd, "garbage\n");
	client_expect_error(fd, GENERIC, "JSON parse error, expecting value");
	client_send_bytes(fd, "\0", 1);
	client_expect_error(fd, GENERIC, "JSON parse error, stray '\\u0000'");
	/* 0xff starts afresh wherever it comes: here, within a string. */
	client_send(fd, "{'execute':'\377{'execute':'query-name'}");
	client_expect_error(fd, GENERIC, "JSON parse error, stray '\\u00FF'");
	client_answers(fd, "query-name", "{'name':'vm1'}");
	close(fd);
}

/* An error message is cut at its limit, even inside a character: the line stays valid JSON. */
TEST(long_names)
{
	int fd = client_open();
	struct json_object *line;

	for (int offset = 0; offset < 2; offset++) {
		client_send(fd, offset ? "{'execute':'a" : "{'execute':'");
		for (int i = 0; i < 5000; i++)
			client_send(fd, "\303\251");
		client_send(fd, "\"}");
		line = client_line(fd);
		ck_assert(json_object_object_get_ex(line, "error", NULL));
		json_object_put(line);
	}
	close(fd);
}

/* --- devices: members and words are those that QEMU 10.0 has */

TEST(set_link)
{
	int fd = client_open();

	client_answers(fd, "set_link {'name':'lan','up':false}", "{}");
	ck_assert(fake_devices.link_up[0] && !fake_devices.link_up[1]);
	client_answers(fd, "set_link {'name':'lan','up':true}", "{}");
	ck_assert(fake_devices.link_up[1]);
	client_refuses(fd, "set_link {'name':'wan','up':false}", "DeviceNotFound",
		       "Device 'wan' not found");
	client_refuses(fd, "set_link {'name':'lan','up':1}", "GenericError",
		       "Invalid parameter type for 'up', expected: boolean");
	client_refuses(fd, "set_link {'name':'lan'}", "GenericError", "Parameter 'up' is missing");
	close(fd);
}

TEST(announce_self)
{
	int fd = client_open();

	client_answers(fd, "announce-self", "{}");
	ck_assert(fake_devices.announced[0] == 1 && fake_devices.announced[1] == 1);
	/* As QEMU's clients have to ask. */
	client_answers(fd,
		       "announce-self "
		       "{'initial':50,'max':550,'rounds':5,'step':50,'interfaces':['lan','x',null],"
		       "'id':'a'}",
		       "{}");
	ck_assert(fake_devices.announced[0] == 1 && fake_devices.announced[1] == 2);
	client_answers(fd, "announce-self {'interfaces':[]}", "{}");
	ck_assert(fake_devices.announced[0] == 1 && fake_devices.announced[1] == 2);
	close(fd);
}

static const struct {
	const char *arguments, *desc;
} resizes[] = {
	{"{'device':'root','size':2097152}", NULL},
	{"{'node-name':'root','size':2097152}", NULL},
	{"{'device':'disk0','size':2097152}", "Cannot find device='disk0' nor node-name=''"},
	{"{'node-name':'disk0','size':2097152}", "Cannot find device='' nor node-name='disk0'"},
	{"{'size':2097152}", "Cannot find device='' nor node-name=''"},
	{"{'device':'root','node-name':'root','size':2097152}",
	 "Either 'device' or 'node-name', not both"},
	{"{'device':'root','size':-1}", "Parameter 'size' expects a >0 size"},
	{"{'device':'root','size':513}", "root: not a multiple of 512"},
	{"{'device':'root'}", "Parameter 'size' is missing"},
};

TEST_EACH(block_resize, resizes)
{
	int fd = client_open();
	char text[200];

	snprintf(text, sizeof(text), "{'execute':'block_resize','arguments':%s}",
		 resizes[_i].arguments);
	client_send(fd, text);
	if (resizes[_i].desc)
		client_expect_error(fd, "GenericError", resizes[_i].desc);
	else
		client_expect(fd, "{'return':{}}");
	ck_assert_uint_eq(fake_devices.disk_bytes, resizes[_i].desc ? 1 << 20 : 2 << 20);
	close(fd);
}

TEST(query_chardev)
{
	int fd = client_open();
	char text[400];

	client_ask(fd, "query-chardev");
	snprintf(text, sizeof(text),
		 "{'return':[{'label':'console0','filename':'stdio','frontend-open':true},"
		 "{'label':'agent','filename':'unix:/run/ga,server=on','frontend-open':false},"
		 "{'label':'qmp','filename':'unix:%s,server=on','frontend-open':true}]}",
		 f.socket);
	client_expect(fd, text);
	close(fd);
}

/* What devices raise. */
static const struct {
	struct vm_event event;
	const char *json;
} events[] = {
	{{.type = VM_EVENT_BLOCK_IO_ERROR,
	  .on = true,
	  .reason = "No space left on device",
	  .operation = "write",
	  .id = "root"},
	 "{'event':'BLOCK_IO_ERROR','data':{'device':'root',"
	 "'qom-path':'/machine/peripheral/root/"
	 "virtio-backend','node-name':'root','operation':'write',"
	 "'action':'report','nospace':true,'reason':'No space left on device'}}"},
	{{.type = VM_EVENT_GUEST_PANICKED, .reason = "run"},
	 "{'event':'GUEST_PANICKED','data':{'action':'run'}}"},
	{{.type = VM_EVENT_VSERPORT_CHANGE, .on = true, .id = "agent"},
	 "{'event':'VSERPORT_CHANGE','data':{'id':'agent','open':true}}"},
	{{.type = VM_EVENT_VFIO_DEVICE_ERROR, .id = "nvme", .reason = "release-requested"},
	 "{'event':'VFIO_DEVICE_ERROR','data':{'id':'nvme','reason':'release-requested'}}"},
};

TEST_EACH(event, events)
{
	int fd = client_open();

	fixture_event(&events[_i].event);
	client_expect(fd, events[_i].json);
	close(fd);
}

/* --- sockets in the way */

/* A second server on a path of its own. */
static struct vm other_vm;
static struct options other_opt;
static char other_path[80];

static void nothing(void *opaque)
{
}

static int open_other(struct qmp **qmp, struct error *err)
{
	memset(&other_vm, 0, sizeof(other_vm));
	snprintf(other_path, sizeof(other_path), "%s/other", f.folder);
	other_opt.qmp_path = other_path;
	other_vm.opt = &other_opt;
	ck_assert_int_eq(loop_init(&other_vm.loop, nothing, NULL, err), 0);
	return qmp_open(qmp, &other_vm, err);
}

static int bind_other(void)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s/other", f.folder);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

TEST(stale_socket_is_replaced)
{
	struct qmp *qmp;
	struct error err;
	struct stat st;

	close(bind_other());
	ck_assert_msg(!open_other(&qmp, &err), "%s", err.msg);
	ck_assert_int_eq(lstat(other_path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0117, 0); /* tests/vmm/base/test_listen.c */
	qmp_close(qmp);
	loop_close(&other_vm.loop);
	ck_assert_int_ne(access(other_path, F_OK), 0);
}

/* What is in the way stays. */
static void other_refused(const char *why)
{
	struct error err = {""};
	struct qmp *qmp;

	ck_assert_int_lt(open_other(&qmp, &err), 0);
	ck_assert_msg(strstr(err.msg, why), "%s", err.msg);
	ck_assert_int_eq(unlink(other_path), 0);
	loop_close(&other_vm.loop);
}

TEST(live_socket_is_refused)
{
	int fd = bind_other();

	ck_assert_int_eq(listen(fd, 1), 0);
	other_refused("another process listens");
	close(fd);
}

TEST(file_in_the_way_is_refused)
{
	char path[80];

	snprintf(path, sizeof(path), "%s/other", f.folder);
	fclose(fopen(path, "w"));
	other_refused("not a socket");
}

TEST(successor_keeps_its_socket)
{
	struct qmp *qmp;
	struct error err;
	char kept[90];
	int fd;

	ck_assert_int_eq(open_other(&qmp, &err), 0);
	/* Renamed and kept, so that the inode's number is not given to the next one. */
	snprintf(kept, sizeof(kept), "%s.kept", other_path);
	ck_assert_int_eq(rename(other_path, kept), 0);
	fd = bind_other();
	qmp_close(qmp);
	loop_close(&other_vm.loop);
	ck_assert_int_eq(access(other_path, F_OK), 0);
	close(fd);
	unlink(other_path);
	unlink(kept);
}

TEST(path_too_long)
{
	char path[200];
	struct qmp *qmp;
	struct error err = {""};

	memset(path, 'x', sizeof(path) - 1);
	path[sizeof(path) - 1] = '\0';
	other_opt.qmp_path = path;
	other_vm.opt = &other_opt;
	ck_assert_int_lt(qmp_open(&qmp, &other_vm, &err), 0);
	ck_assert_msg(strstr(err.msg, "at most 107 bytes"), "%s", err.msg);
}

UNIT_MAIN(fixture_start, fixture_stop)
