/* SPDX-License-Identifier: GPL-2.0-or-later */
/* QMP about devices: members and words are those that QEMU 10.0 has. */
#include "devices/virtio/virtio_blk.h"
#include "tests/rig/qmp_fixture.h"
#include "tests/rig/unit.h"
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const struct {
	const char *command, *answer;
} queries[] = {
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

UNIT_MAIN(fixture_start, fixture_stop)
