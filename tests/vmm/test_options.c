/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The command line: what it accepts, what it says of what it does not. */
#include "tests/rig/unit.h"
#include "vmm/base/uuid.h"
#include "vmm/option_table.h"
#include "vmm/options.h"
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define MAX_ARGS 24

static struct options opt;
static struct error err;
static char line[8192];

/* Words separated by '|'; the parser may write into them. */
static int parse(const char *words)
{
	char *argv[MAX_ARGS + 1] = {"stasis"}, *rest = line;
	int argc = 1;

	snprintf(line, sizeof(line), "%s", words);
	err.msg[0] = '\0';
	free(opt.disk);
	free(opt.net);
	free(opt.vfio);
	free(opt.given.given);
	while (rest && argc < MAX_ARGS)
		argv[argc++] = strsep(&rest, "|");
	return options_parse(&opt, argc, argv, &err);
}

static void accepts(const char *words)
{
	ck_assert_msg(!parse(words), "%s: %s", words, err.msg);
}

TEST(size)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {{"0", 0},		{"1", 1},
		    {"4096", 4096},	{"3k", 3072},
		    {"2M", 2 << 20},	{"1G", 1 << 30},
		    {"1T", 1ULL << 40}, {"16777215T", 0xffffffULL << 40}};
	static const char *const bad[] = {"",
					  "G",
					  "-1",
					  "1GB",
					  "1.5G",
					  " 1",
					  "0x10",
					  "1P",
					  "1 G",
					  "16777216T",
					  "18446744073709551616"};
	uint64_t bytes;

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		ck_assert_msg(!option_size(good[i].text, &bytes), "%s", good[i].text);
		ck_assert_uint_eq(bytes, good[i].bytes);
	}
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
		ck_assert_msg(option_size(bad[i], &bytes), "'%s'", bad[i]);
}

TEST(defaults)
{
	accepts("--kernel|k");
	ck_assert_int_eq(opt.job, JOB_RUN);
	ck_assert_str_eq(opt.name, "vm");
	ck_assert_uint_eq(opt.cpus, 1);
	ck_assert_uint_eq(opt.memory.size_bytes, 256 << 20);
	ck_assert_ptr_null(opt.memory.path);
	ck_assert_str_eq(opt.append, "");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_STDIO);
	ck_assert_int_eq(opt.on_reset, ON_RESET_RESET);
	ck_assert_int_eq(opt.update, UPDATE_SAVE);
	ck_assert(!opt.pit && opt.s3 && !opt.paused && !opt.discard_saved && !opt.clock_realtime);
}

TEST(identity)
{
	static const char *const nameless[] = {"--memory|size=1G,path=/r", "--net|fd=5",
					       "--net|stream=unix:/s"};
	uint8_t uuid[UUID_BYTES];
	char words[128];

	/* No two VMs share what nobody chose. */
	accepts("--kernel|k|--disk|path=d");
	ck_assert(!opt.has_identity);
	memcpy(uuid, opt.uuid, sizeof(uuid));
	accepts("--kernel|k");
	ck_assert_mem_ne(opt.uuid, uuid, UUID_BYTES);
	for (size_t i = 0; i < ARRAY_SIZE(nameless); i++) {
		snprintf(words, sizeof(words), "--kernel|k|%s", nameless[i]);
		ck_assert_msg(parse(words), "accepted: %s", words);
		ck_assert_ptr_nonnull(strstr(err.msg, "give --name NAME or --uuid UUID"));
		snprintf(words, sizeof(words), "--kernel|k|--name|vm|%s", nameless[i]);
		accepts(words);
		uuid_from_name("vm", uuid);
		ck_assert_mem_eq(opt.uuid, uuid, UUID_BYTES);
		ck_assert(opt.has_identity);
		snprintf(words, sizeof(words),
			 "--kernel|k|--uuid|123e4567-e89b-12d3-a456-426614174000|%s", nameless[i]);
		accepts(words);
		ck_assert(opt.has_identity);
	}
	accepts("--inspect-memory|/r");
}

TEST(everything)
{
	char text[UUID_TEXT];

	accepts("--name|vm1|--cpus=64|--memory|size=1G,path=/dev/dax0.0,offset=2M|"
		"--kernel|k|--initrd|i|--append|a=b c|--serial|unix:/s|--qmp|unix:/q");
	ck_assert_str_eq(opt.name, "vm1");
	ck_assert_uint_eq(opt.cpus, 64);
	ck_assert_uint_eq(opt.memory.size_bytes, 1 << 30);
	ck_assert_str_eq(opt.memory.path, "/dev/dax0.0");
	ck_assert_uint_eq(opt.memory.offset_bytes, 2 << 20);
	ck_assert(opt.memory.has_offset);
	ck_assert_str_eq(opt.kernel, "k");
	ck_assert_str_eq(opt.initrd, "i");
	ck_assert_str_eq(opt.append, "a=b c");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_UNIX);
	ck_assert_str_eq(opt.serial.path, "/s");
	ck_assert_str_eq(opt.qmp_path, "/q");
	accepts("--kernel|k|--qmp|unix:/q|--paused|--cpr-file|f|--on-reset|exit|--update|suspend|"
		"--machine|pit=on,s3=off,clock=realtime|--log|debug|--serial|none|"
		"--name|v|--memory|size=2M,path=/r");
	ck_assert(opt.paused && opt.pit && !opt.s3 && opt.clock_realtime);
	ck_assert_str_eq(opt.cpr_file, "f");
	ck_assert_int_eq(opt.on_reset, ON_RESET_EXIT);
	ck_assert_int_eq(opt.update, UPDATE_SUSPEND);
	accepts("--incoming|defer|--qmp|unix:/q");
	ck_assert_int_eq(opt.incoming, INCOMING_DEFER);
	accepts("--incoming|/f");
	ck_assert_str_eq(opt.incoming_file, "/f");
	accepts("--kernel|k|--uuid|123E4567-e89b-12d3-a456-426614174000");
	ck_assert_str_eq(uuid_format(opt.uuid, text), "123e4567-e89b-12d3-a456-426614174000");
	accepts("--inspect|f|--json");
	ck_assert(opt.job == JOB_INSPECT && opt.json);
	accepts("--inspect-memory|/dev/dax0.0,offset=1G,size=64M");
	ck_assert_str_eq(opt.memory.path, "/dev/dax0.0");
	ck_assert_uint_eq(opt.memory.offset_bytes, 1 << 30);
	ck_assert_uint_eq(opt.memory.size_bytes, 64 << 20);
	/* Not --memory's default: the label is looked for. */
	accepts("--inspect-memory|/dev/dax0.0");
	ck_assert_uint_eq(opt.memory.size_bytes, 0);
	accepts("--help");
	ck_assert_int_eq(opt.job, JOB_HELP);
	accepts("-h");
	ck_assert_int_eq(opt.job, JOB_HELP);
	accepts("-V");
	ck_assert_int_eq(opt.job, JOB_VERSION);
}

struct refusal {
	const char *words, *says;
};

/* Every refusal names what it refuses. */
static void check_refusals(const char *before, const struct refusal *bad, size_t n)
{
	char words[512];

	for (size_t i = 0; i < n; i++) {
		snprintf(words, sizeof(words), "%s%s", before, bad[i].words);
		ck_assert_msg(parse(words), "accepted: %s", words);
		ck_assert_msg(strstr(err.msg, bad[i].says), "%s: says '%s', not '%s'", words,
			      err.msg, bad[i].says);
		ck_assert_msg(!strchr(err.msg, '\n'), "%s: more than one line", words);
	}
}

TEST(refusals)
{
	static const struct refusal bad[] = {
		{"--name|v", "--kernel is missing"},
		{"", "'' is no option"},
		{"kernel", "'kernel' is no option"},
		{"-k", "'-k' is no option"},
		{"--colour|red", "'--colour'"},
		{"--kern|k", "'--kern' (did you mean --kernel?); see --help"},
		{"--kernle=k", "'--kernle' (did you mean --kernel?)"},
		{"--ke|k", "no option '--ke'; see --help"},
		{"--kernel", "--kernel needs a value"},
		{"--paused=yes", "--paused takes no value"},
		{"--cpus|0", "--cpus 0: must be N: vCPUs, 1 to 64"},
		{"--cpus|65", "--cpus 65: must be N: vCPUs, 1 to 64"},
		{"--cpus|2x", "--cpus 2x"},
		{"--cpus|-1", "--cpus -1"},
		{"--name|a/b", "--name a/b"},
		{"--name|", "--name"},
		{"--memory|1G",
		 "--memory: '1G' is not of the form key=value: did you mean size=1G?"},
		{"--memory|1Q", "'1Q' is not of the form key=value, such as size=SIZE: a multiple"},
		{"--memory|512",
		 "'512' is not of the form key=value, such as size=SIZE: a multiple"},
		{"--memory|size", "--memory: size= needs a value, SIZE: a multiple of 2M"},
		{"--memory|size=1G,colour=red", "no key 'colour'"},
		{"--memory|size=3", "--memory: size=3"},
		{"--memory|size=0", "--memory: size=0"},
		{"--memory|path=/x", "size= is missing"},
		{"--memory|size=1G,offset=1G", "offset= needs path="},
		{"--memory|size=1G,path=", "--memory: path= needs a value, PATH: a DAX device"},
		{"--memory|size=1G,", "--memory: a KEY=VALUE is missing, such as size=SIZE"},
		{"--serial|tcp:1", "--serial tcp:1"},
		{"--serial|unix:", "--serial unix:"},
		{"--serial|stdiox", "--serial stdiox"},
		{"--qmp|/q", "--qmp /q: must be unix:PATH"},
		{"--uuid|1234", "--uuid 1234"},
		{"--uuid|123e4567-e89b-12d3-a456-42661417400g", "--uuid"},
		{"--on-reset|halt", "--on-reset halt: must be reset|exit"},
		{"--update|never", "--update never: must be save|suspend|shutdown"},
		{"--machine|pit=maybe", "--machine: pit=maybe: must be off|on: an i8254"},
		{"--machine|clock=utc", "clock=utc: must be continue|realtime: "},
		{"--machine|pit=on,pit=off", "pit= comes twice"},
		{"--machine|pit", "--machine: pit= needs a value, off|on: an i8254"},
		{"--=x", "no option '--'; see"},
		{"--log|loud", "--log loud"},
		{"--kernel|k|--json", "--json"},
		{"--inspect|f|--check", "--check and --inspect do not go together"},
		{"--inspect|f|--kernel|k", "--kernel and --inspect do not go together"},
		{"--disk|path=d|--inspect-memory|f", "--disk and --inspect-memory do not go"},
		{"--inspect|f|--inspect-memory|f", "--inspect and --inspect-memory do not go"},
		{"--inspect-memory|f|--inspect|f", "--inspect-memory and --inspect do not go"},
		{"--inspect|f|--inspect|g", "--inspect comes twice: give it once"},
		{"--name|a|--name|b|--kernel|k", "--name comes twice: give it once"},
		{"--memory|size=2M|--memory=size=4M", "--memory comes twice"},
		{"--cpr-file|f", "--cpr-file needs --memory size=...,path=...: "},
		{"--kernel|k|--paused", "--paused needs --qmp"},
		{"--incoming|defer", "--incoming defer needs --qmp"},
		{"--incoming|f|--discard-saved", "contradict"},
		{"--inspect-memory|f,offset=x", "offset=x"},
		{"--inspect-memory|f,size=3", "--inspect-memory: size=3"},
	};

	check_refusals("", bad, ARRAY_SIZE(bad));
}

/* The devices' options, as one that is refused or accepted with a kernel. */
TEST(device_refusals)
{
	static const struct refusal bad[] = {
		{"--disk|id=d", "--disk id=d: path= is missing"},
		{"--disk|/dev/sda",
		 "'/dev/sda' is not of the form key=value: did you mean path=/dev/sda?"},
		{"--disk|a,id=d", "did you mean path=a?"},
		{"--disk|", "--disk: a KEY=VALUE is missing, such as path=FILE"},
		{"--disk|path=a,path=b", "path= comes twice"},
		{"--disk|path=a,id=1d", "id=1d: must be ID: a letter, then"},
		{"--disk|path=a,id=d/d", "id=d/d"},
		{"--disk|path=a,id=a234567890123456789012345678901x", "id=a2345678901234567890..."},
		{"--disk|path=a,readonly=yes", "readonly=yes: must be off|on"},
		{"--disk|path=a,cache=writethrough", "cache=writethrough: must be none|writeback"},
		{"--disk|path=a,cache=none|writeback", "'writeback' is no option"},
		{"--disk|path=a,serial=123456789012345678901", "up to 20 printable"},
		{"--disk|path=a,serial=a\tb", "up to 20 printable"},
		{"--disk|path=a,queues=0", "queues=0: must be N: 1 to 8"},
		{"--disk|path=a,queues=9", "queues=9: must be N: 1 to 8"},
		{"--disk|path=a,queues=1x", "queues=1x"},
		{"--disk|path=a,queues=-1", "queues=-1"},
		{"--disk|path=a,queues=4294967297", "queues=4294967297"},
		{"--disk|path=a,queues=18446744073709551617", "queues=18446744073709551617"},
		{"--disk|path=a,queue-size=8", "queue-size=8: must be N: a power of two"},
		{"--disk|path=a,queue-size=100", "queue-size=100"},
		{"--disk|path=a,queue-size=2048", "queue-size=2048"},
		{"--disk|path=a,format=qcow2", "qemu-img convert -O raw"},
		{"--disk|path=a,format=qcow2", "qemu-nbd"},
		{"--disk|path=a,if=virtio", "no key 'if'"},
		{"--disk|path=a|--disk|path=b,id=disk0", "id=disk0: two devices have it"},
		{"--disk|path=a,id=x|--net|tap=t,id=x", "id=x: two devices have it"},
		{"--vfio|id=v", "--vfio id=v: host= is missing"},
		{"--vfio|01:00.0", "did you mean host=01:00.0?"},
		{"--vfio|host=01:00.0,host=02:00.0", "host= comes twice"},
		{"--vfio|host=01:00.8",
		 "host=01:00.8: must be DDDD:BB:SS.F: the address that lspci"},
		{"--vfio|host=01:20.0", "host=01:20.0: must be"},
		{"--vfio|host=01:00", "host=01:00: must be"},
		{"--vfio|host=1:00.0", "host=1:00.0: must be"},
		{"--vfio|host=000:01:00.0", "host=000:01:00.0: must be"},
		{"--vfio|host=00000:01:00.0", "host=00000:01:00.0: must be"},
		{"--vfio|host=01:00.00", "host=01:00.00: must be"},
		{"--vfio|host=01:0g.0", "host=01:0g.0: must be"},
		{"--vfio|host=01:+1.0", "host=01:+1.0: must be"},
		{"--vfio|host=01:../.", "host=01:../.: must be"},
		{"--vfio|host=/dev/vfio/12", "host=/dev/vfio/12: must be"},
		{"--vfio|host=01:00.0,id=-", "id=-: must be ID"},
		{"--vfio|host=01:0a.0|--vfio|host=0000:01:0A.0",
		 "vfio0 and vfio1 have the same host=0000:01:0a.0"},
		{"--vfio|host=01:00.0|--disk|path=a,id=vfio0", "id=vfio0: two devices have it"},
		{"--vfio|host=01:00.0,id=x|--vfio|host=01:00.1,id=x", "id=x: two devices"},
		{"--console|tty", "--console tty: must be stdio|unix:PATH"},
		{"--console|stdio|--serial|stdio", "one of them only"},
		{"--agent|/s", "--agent /s: must be unix:PATH"},
		{"--agent|unix:", "--agent unix:"},
		{"--agent|stdio", "--agent stdio"},
		{"--rng=yes", "--rng takes no value"},
		{"--vsock|3", "did you mean cid=3?"},
		{"--vsock|cid=2", "cid=2: must be N: 3 to"},
		{"--vsock|cid=4294967295", "cid=4294967295"},
	};
	check_refusals("--kernel|k|--name|v|", bad, ARRAY_SIZE(bad));
}

TEST(net_refusals)
{
	static const struct refusal bad[] = {
		{"--net|tap0", "did you mean tap=tap0?"},
		{"--net|tap", "--net: tap= needs a value, IFNAME: an interface"},
		{"--net|user", "--net user: Stasis has no network stack of its own: run passt(1)"},
		{"--net|user,id=n", "stream=unix:PATH"},
		{"--net|user0", "did you mean tap=user0?"},
		{"--net|id=n",
		 "exactly one of tap=IFNAME, bridge=IFNAME, stream=unix:PATH and fd=N"},
		{"--net|tap=t,fd=3", "exactly one of"},
		{"--net|tap=t,stream=unix:/s", "exactly one of"},
		{"--net|tap=sixteen-letters0", "tap=sixteen-letters0: must be IFNAME"},
		{"--net|tap=a/b", "tap=a/b"},
		{"--net|bridge=br0,tap=t", "exactly one of"},
		{"--net|bridge=sixteen-letters0", "bridge=sixteen-letters0: must be IFNAME"},
		{"--net|bridge=br%d", "bridge=br%d: must be IFNAME"},
		{"--net|bridge=br0|--net|tap=v-0", "net0 and net1 have the same tap="},
		{"--net|tap=a%d", "tap=a%d: must be IFNAME"},
		{"--net|tap=a|--net|tap=b|--net|tap=a", "net0 and net2 have the same tap="},
		{"--net|fd=5|--net|fd=5", "net0 and net1 have the same fd="},
		{"--net|fd=999", "--net: fd=999: descriptor 999 is not open"},
		{"--net|stream=/s", "stream=/s: must be unix:PATH"},
		{"--net|stream=unix:", "stream=unix:"},
		{"--net|fd=2", "fd=2: must be N"},
		{"--net|fd=2147483648", "fd=2147483648"},
		{"--net|tap=t,mac=01:00:00:00:00:01", "mac=01:00:00:00:00:01: must be XX:"},
		{"--net|tap=t,mac=00:00:00:00:00:00", "mac=00"},
		{"--net|tap=t,mac=02:00:00:00:00", "mac=02"},
		{"--net|tap=t,mac=02:00:00:00:00:0g", "mac=02"},
		{"--net|tap=t,mac=02:00:00:00:00:001", "mac=02"},
		{"--net|tap=t,mac=0:20:00:00:00::01", "mac=0:"},
		{"--net|tap=t,mac=02-00-00-00-00-01", "mac=02-"},
		{"--net|tap=t,queues=9", "queues=9"},
		{"--net|stream=unix:/s,queues=2", "queues= needs tap= or bridge="},
		{"--net|stream=unix:/s,vhost=on", "vhost=on needs a tap"},
		{"--net|tap=t,vhost=maybe", "vhost=maybe: must be auto|off|on"},
		{"--net|tap=a,mac=02:00:00:00:00:01|--net|tap=b,mac=02:00:00:00:00:01",
		 "net0 and net1 have the same mac="},
	};

	check_refusals("--kernel|k|--name|v|", bad, ARRAY_SIZE(bad));
}

TEST(too_many)
{
	char words[2048] = "--kernel|k|--name|v";

	for (int i = 0; i < OPTIONS_MAX_NETS; i++)
		strcat(words, "|--net|stream=unix:/s");
	accepts(words);
	ck_assert_uint_eq(opt.nnets, OPTIONS_MAX_NETS);
	strcat(words, "|--net|fd=5");
	ck_assert_int_ne(parse(words), 0);
	ck_assert_str_eq(err.msg, "--net fd=5: a machine takes at most 8");
}

TEST(long_path)
{
	char words[5000] = "--kernel|k|--disk|path=";

	memset(words + strlen(words), 'x', 4095);
	accepts(words);
	ck_assert_uint_eq(strlen(opt.disk[0].path), 4095);
	strcat(words, "x");
	ck_assert_int_ne(parse(words), 0);
	ck_assert_str_eq(err.msg, "--disk: path=xxxxxxxxxxxxxxxxxxxx...: longer than 4095 bytes");
}

TEST(disks)
{
	const struct disk_config *d;

	accepts("--kernel|k|--disk|path=/dev/sda|--disk|path=b,id=data,readonly=on,"
		"cache=writeback,serial=a b~,queues=8,queue-size=1024,format=raw");
	ck_assert_uint_eq(opt.ndisks, 2);
	d = opt.disk;
	ck_assert_str_eq(d->id, "disk0");
	ck_assert_str_eq(d->path, "/dev/sda");
	ck_assert_str_eq(d->serial, "");
	ck_assert(!d->readonly && d->cache == DISK_CACHE_NONE && d->queues == 1 &&
		  d->queue_size == 256 && !d->is_raw);
	d++;
	ck_assert_str_eq(d->id, "data");
	ck_assert_str_eq(d->path, "b");
	ck_assert_str_eq(d->serial, "a b~");
	ck_assert(d->readonly && d->cache == DISK_CACHE_WRITEBACK && d->queues == 8 &&
		  d->queue_size == 1024 && d->is_raw);
	accepts("--kernel|k|--disk|path=p,readonly=off,cache=none,queue-size=16");
	ck_assert(!opt.disk->readonly && opt.disk->cache == DISK_CACHE_NONE &&
		  opt.disk->queue_size == 16);
}

TEST(vfios)
{
	accepts("--kernel|k|--name|v|--vfio|host=0001:aB:1f.7|--vfio|id=nic,host=01:00.0|"
		"--vfio|host=02:00.0|--disk|path=a|--net|tap=t");
	ck_assert_uint_eq(opt.nvfios, 3);
	ck_assert_str_eq(opt.vfio[0].host, "0001:ab:1f.7");
	ck_assert_str_eq(opt.vfio[0].id, "vfio0");
	ck_assert_str_eq(opt.vfio[1].host, "0000:01:00.0");
	ck_assert_str_eq(opt.vfio[1].id, "nic");
	ck_assert_str_eq(opt.vfio[2].id, "vfio2");
}

/* A comma in a value is written twice, in every option that is a list. */
TEST(commas)
{
	accepts("--kernel|k|--name|v|--disk|path=,,a,,,,b,,,id=x|--memory|path=m,,,size=2M");
	ck_assert_str_eq(opt.disk[0].path, ",a,,b,");
	ck_assert_str_eq(opt.disk[0].id, "x");
	ck_assert_str_eq(opt.memory.path, "m,");
	accepts("--inspect-memory|/a,,b,offset=2M");
	ck_assert_str_eq(opt.memory.path, "/a,b");
	ck_assert_uint_eq(opt.memory.offset_bytes, 2 << 20);
	ck_assert_int_ne(parse("--kernel|k|--disk|path=a,"), 0);
	ck_assert_int_ne(parse("--kernel|k|--disk|,path=a"), 0);
}

TEST(nets)
{
	const uint8_t mac[] = {0x52, 0x54, 0x00, 0xab, 0xCD, 0xef};
	const struct net_config *n;

	accepts("--kernel|k|--name|v|--net|tap=tap0,mac=52:54:00:ab:CD:ef,queues=4,vhost=on|"
		"--net|stream=unix:/run/passt,id=slirp|--net|fd=5,vhost=off");
	ck_assert_uint_eq(opt.nnets, 3);
	n = opt.net;
	ck_assert_str_eq(n->id, "net0");
	ck_assert_str_eq(n->path, "tap0");
	ck_assert_mem_eq(n->mac, mac, 6);
	ck_assert(n->kind == NET_TAP && n->queues == 4 && n->vhost == AUTO_ON);
	n++;
	ck_assert_str_eq(n->id, "slirp");
	ck_assert_str_eq(n->path, "/run/passt");
	ck_assert(n->kind == NET_STREAM && n->queues == 1 && n->vhost == AUTO_AUTO);
	n++;
	ck_assert_str_eq(n->id, "net2");
	ck_assert(n->kind == NET_FD && n->fd == 5 && n->vhost == AUTO_OFF);
}

/* Guests know their interfaces by MAC: these values may never change. */
TEST(derived_macs)
{
	static const uint8_t vm_0[] = {0xe2, 0x78, 0x92, 0x47, 0xbe, 0x85};
	static const uint8_t vm_1[] = {0x4e, 0xf4, 0x90, 0x66, 0x3b, 0xd0};
	uint8_t mac[6];

	accepts("--kernel|k|--name|vm|--net|fd=5|--net|fd=6");
	ck_assert_mem_eq(opt.net[0].mac, vm_0, 6);
	ck_assert_mem_eq(opt.net[1].mac, vm_1, 6);
	memcpy(mac, opt.net[0].mac, 6);
	ck_assert_int_eq(mac[0] & 3, 2);
	/* Whatever the order of options, by name and by UUID. */
	accepts("--kernel|k|--net|fd=5|--name|other");
	ck_assert_mem_ne(opt.net[0].mac, mac, 6);
	memcpy(mac, opt.net[0].mac, 6);
	accepts("--kernel|k|--name|other|--net|fd=5");
	ck_assert_mem_eq(opt.net[0].mac, mac, 6);
	accepts("--kernel|k|--name|other|--net|fd=5|"
		"--uuid|123e4567-e89b-12d3-a456-426614174000");
	ck_assert_mem_ne(opt.net[0].mac, mac, 6);
}

/* Rules of a host's firewall know them: these names may never change. */
TEST(taps_of_bridges)
{
	accepts("--kernel|k|--name|v|--net|tap=t|--net|bridge=br0,queues=2|--net|bridge=br0");
	ck_assert_str_eq(opt.net[0].bridge, "");
	ck_assert_str_eq(opt.net[1].bridge, "br0");
	ck_assert_str_eq(opt.net[1].path, "v-1");
	ck_assert(opt.net[1].kind == NET_TAP && opt.net[1].queues == 2);
	ck_assert_str_eq(opt.net[2].path, "v-2");
	accepts("--kernel|k|--net|bridge=br0|--name|thirteen-char");
	ck_assert_str_eq(opt.net[0].path, "thirteen-char-0");
	accepts("--kernel|k|--net|bridge=br0|--name|fourteen-chars");
	ck_assert_str_eq(opt.net[0].path, "fourte-611f28-0");
	accepts("--kernel|k|--net|bridge=br0|--name|a:b");
	ck_assert_str_eq(opt.net[0].path, "a_b-f7c459-0");
	accepts("--kernel|k|--net|bridge=br0|--name|v|--uuid|123e4567-e89b-12d3-a456-426614174000");
	ck_assert_str_eq(opt.net[0].path, "v-174000-0");
}

TEST(consoles)
{
	accepts("--kernel|k");
	ck_assert(!opt.has_console && !opt.has_agent && !opt.rng && !opt.vsock_cid);
	accepts("--kernel|k|--console|stdio");
	ck_assert(opt.has_console && opt.console.kind == CHARDEV_STDIO);
	ck_assert_int_eq(opt.serial.kind, CHARDEV_NONE);
	accepts("--kernel|k|--console|stdio|--serial|none");
	accepts("--kernel|k|--serial|stdio|--console|unix:/c");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_STDIO);
	accepts("--kernel|k|--console|unix:/c");
	ck_assert_int_eq(opt.serial.kind, CHARDEV_STDIO);
	ck_assert_str_eq(opt.console.path, "/c");
	ck_assert_str_eq(opt.console.option, "--console");
	accepts("--kernel|k|--console|none|--agent|unix:/a|--rng|--vsock|cid=3");
	ck_assert(opt.has_console && opt.console.kind == CHARDEV_NONE && opt.rng);
	ck_assert(opt.has_agent && opt.agent.kind == CHARDEV_UNIX);
	ck_assert_str_eq(opt.agent.path, "/a");
	ck_assert_uint_eq(opt.vsock_cid, 3);
	accepts("--kernel|k|--vsock=cid=4294967294");
	ck_assert_uint_eq(opt.vsock_cid, 0xfffffffe);
}

TEST(identities)
{
	uint8_t a[UUID_BYTES], b[UUID_BYTES];
	char text[UUID_TEXT];

	uuid_from_name("vm1", a);
	uuid_from_name("vm2", b);
	ck_assert_mem_ne(a, b, UUID_BYTES);
	uuid_from_name("vm1", b);
	ck_assert_mem_eq(a, b, UUID_BYTES);
	ck_assert_int_eq(uuid_random(b), 0);
	ck_assert_int_eq(uuid_parse(uuid_format(b, text), a), 0);
	ck_assert_mem_eq(a, b, UUID_BYTES);
	ck_assert_int_eq(text[14], '4');
}

/* Two options with a path each. The names in a refusal are the rows' own. */
static const struct {
	const char *a, *b;
	bool may_share;
} sharing[] = {
	{"--qmp|unix:", "--agent|unix:", false},
	{"--qmp|unix:", "--serial|file:", false},
	{"--serial|unix:", "--agent|unix:", false},
	{"--serial|unix:", "--console|file:", false},
	{"--qmp|unix:", "--memory|size=2M,path=", false},
	{"--agent|unix:", "--disk|path=", false},
	{"--memory|size=2M,path=", "--disk|path=", false},
	{"--memory|size=2M,path=", "--disk|readonly=on,path=", false},
	{"--disk|path=", "--disk|path=", false},
	{"--disk|path=", "--disk|readonly=on,path=", false},
	{"--disk|readonly=on,path=", "--disk|readonly=on,path=", true},
	{"--serial|file:", "--console|file:", true},
	{"--serial|file:", "--memory|size=2M,path=", true},
};

static int check_paths(int row, const char *a, const char *b)
{
	char words[256];

	snprintf(words, sizeof(words), "--kernel|k|--name|v|%s%s|%s%s", sharing[row].a, a,
		 sharing[row].b, b);
	accepts(words);
	return options_check_paths(&opt, &err);
}

TEST_EACH(shared_paths, sharing)
{
	static const char *const apart[][2] = {
		{"file", "none"}, {"none", "other"}, {"/none", "none"}};
	const char *a = sharing[_i].a, *b = sharing[_i].b;
	char folder[] = "/tmp/stasis-paths.XXXXXX", whole[64], says[64];
	const char *const same[][2] = {
		{"file", "file"}, {"file", "link"}, {"none", "./none"}, {"none", whole}};
	FILE *file;

	ck_assert_ptr_nonnull(mkdtemp(folder));
	ck_assert_int_eq(chdir(folder), 0);
	file = fopen("file", "w");
	ck_assert_ptr_nonnull(file);
	fclose(file);
	ck_assert_int_eq(link("file", "link"), 0);
	snprintf(whole, sizeof(whole), "%s/none", folder);
	snprintf(says, sizeof(says), "%.*s and %.*s are both given ", (int)strcspn(a, "|"), a,
		 (int)strcspn(b, "|"), b);
	for (size_t i = 0; i < ARRAY_SIZE(same); i++) {
		ck_assert_int_eq(check_paths(_i, same[i][0], same[i][1]),
				 sharing[_i].may_share ? 0 : -EINVAL);
		ck_assert_msg(sharing[_i].may_share || (!strncmp(err.msg, says, strlen(says)) &&
							strstr(err.msg, same[i][1])),
			      "%s", err.msg);
	}
	for (size_t i = 0; i < ARRAY_SIZE(apart); i++)
		ck_assert_msg(!check_paths(_i, apart[i][0], apart[i][1]), "%s", err.msg);
	unlink("file");
	unlink("link");
	ck_assert_int_eq(rmdir(folder), 0);
}

TEST(no_paths)
{
	accepts("--kernel|k|--serial|none");
	ck_assert_int_eq(options_check_paths(&opt, &err), 0);
	accepts("--kernel|k|--serial|stdio|--console|none");
	ck_assert_int_eq(options_check_paths(&opt, &err), 0);
}

/* Descriptors as if they had been inherited. */
static void setup(void)
{
	dup2(STDERR_FILENO, 5);
	dup2(STDERR_FILENO, 6);
}

UNIT_MAIN(setup, NULL)
