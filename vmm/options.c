/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/options.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/uuid.h"
#include "vmm/config.h"
#include "vmm/option_table.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define MEMBER(m)	  .offset = offsetof(struct options, m)
#define BYTES_OF(type, m) sizeof(((type *)0)->m)

static bool is_same(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

/* The same file, or, if there is none yet, the same name in the same folder. */
static bool is_same_path(const char *a, const char *b)
{
	char copy_a[PATH_MAX], copy_b[PATH_MAX];
	struct stat of_a, of_b;
	bool has_a = !stat(a, &of_a), has_b = !stat(b, &of_b);

	if (has_a || has_b)
		return has_a && has_b && is_same(&of_a, &of_b);
	if (snprintf(copy_a, PATH_MAX, "%s", a) >= PATH_MAX ||
	    snprintf(copy_b, PATH_MAX, "%s", b) >= PATH_MAX ||
	    strcmp(basename(copy_a), basename(copy_b)))
		return false;
	return !stat(dirname(copy_a), &of_a) && !stat(dirname(copy_b), &of_b) &&
	       is_same(&of_a, &of_b);
}

/* --- what may differ between the options of a save and those of its load: what the guest cannot see, and what is no
 * state of a device. cpr/load.c and the compare() of the devices have the last word; these only tell it before the
 * save. */

static const struct options *of_name(const void *name)
{
	return (const void *)((const char *)name - offsetof(struct options, name));
}

/* One VM has the same identity by its name, or by a uuid. */
static OPTION_LOADS(same_name)
{
	const struct options *a = of_name(now), *b = of_name(was);

	return a->has_uuid || b->has_uuid || (!a->has_identity && !b->has_identity) ||
	       !memcmp(a->uuid, b->uuid, sizeof(a->uuid));
}

static OPTION_LOADS(same_uuid)
{
	const struct options *a = now, *b = was;

	return (!a->has_uuid && !b->has_uuid) || !memcmp(a->uuid, b->uuid, sizeof(a->uuid));
}

/* char[]: another name of the same file will do. */
static OPTION_LOADS(same_path)
{
	return !strcmp(now, was) ||
	       (*(const char *)now && *(const char *)was && is_same_path(now, was));
}

/* const char *: the same; NULL: none */
static OPTION_LOADS(same_file)
{
	const char *const *a = now, *const *b = was;

	return *a && *b ? is_same_path(*a, *b) : *a == *b;
}

/* The port is there, wherever it leads to. */
static OPTION_LOADS(same_port)
{
	const struct chardev_config *a = now, *b = was;

	return !a->option == !b->option;
}

/* With cache=none the guest's blocks are at least as large as those of the storage. */
static OPTION_LOADS(same_blocks)
{
	const enum disk_cache *a = now, *b = was;

	return *a == DISK_CACHE_WRITEBACK || *a == *b;
}

/* A tap has all offloads, a socket none; what a descriptor has is not known. */
static OPTION_LOADS(same_offloads)
{
	const struct net_config *a = now, *b = was;

	return a->kind == NET_TAP || a->kind == b->kind;
}

static OPTION_LOADS(same_mac)
{
	return !memcmp(now, was, BYTES_OF(struct net_config, mac));
}

static OPTION_TAKES(take_name)
{
	/* It is a part of paths. */
	if (!*value || strlen(value) > 64 || !option_is_word(value, "._-+:@") ||
	    !strcmp(value, ".") || !strcmp(value, ".."))
		return -EINVAL;
	*(const char **)member = value;
	return 0;
}

static OPTION_TAKES(take_uuid)
{
	struct options *opt = member;

	opt->has_uuid = !uuid_parse(value, opt->uuid);
	return opt->has_uuid ? 0 : -EINVAL;
}

enum { MEMORY_SIZE, MEMORY_PATH, MEMORY_OFFSET };
#define KEY_SIZE                                                                     \
	{                                                                            \
		"size", "SIZE", "a multiple of 2M such as 512M or 4G", option_bytes, \
			MEMBER(memory.size_bytes), .min = RAM_GRAIN_BYTES,           \
						   .loads = option_same_bytes        \
	}
#define KEY_OFFSET                                                                            \
	{                                                                                     \
		"offset", "SIZE", "a size such as 1G: where in path guest RAM begins",        \
			option_bytes, MEMBER(memory.offset_bytes), .loads = option_same_bytes \
	}

static const struct option_row memory_keys[] = {
	[MEMORY_SIZE] = KEY_SIZE,
	[MEMORY_PATH] = {"path", "PATH", "a DAX device or a file (default: a memfd)", option_text,
			 MEMBER(memory_path), .max = BYTES_OF(struct options, memory_path),
			 .loads = same_path},
	[MEMORY_OFFSET] = KEY_OFFSET,
	{0},
};

static OPTION_TAKES(take_memory)
{
	struct options *opt = member;
	uint64_t seen;

	opt->memory = (struct ram_config){0};
	if (option_list(row->name, row->keys, opt, value, &seen, err))
		return -EINVAL;
	opt->memory.has_offset = seen & 1 << MEMORY_OFFSET;
	if (seen & 1 << MEMORY_PATH)
		opt->memory.path = opt->memory_path;
	if (!(seen & 1 << MEMORY_SIZE))
		return error_set(err, -EINVAL, "--memory: size= is missing");
	if (opt->memory.has_offset && !opt->memory.path)
		return error_set(err, -EINVAL, "--memory: offset= needs path=");
	return 0;
}

static const struct option_row machine_keys[] = {
	{"pit", "off|on", "an i8254 timer (default off)", option_switch, MEMBER(pit),
	 .loads = option_same_switch},
	{"s3", "off|on", "sleep (ACPI S3) (default on)", option_switch, MEMBER(s3),
	 .loads = option_same_switch},
	{"clock", "continue|realtime", "the guest's clock after a load (default continue)",
	 option_switch, MEMBER(clock_realtime), .loads = option_loads_always},
	{0},
};
static const struct option_row vsock_keys[] = {
	{"cid", "N", "3 to 4294967294: the guest's address", option_number, MEMBER(vsock_cid),
	 .min = 3, .max = UINT32_MAX - 1, .loads = option_same_number},
	{0},
};

/* member: struct options */
static OPTION_TAKES(take_list)
{
	return option_list(row->name, row->keys, member, value, NULL, err);
}

static OPTION_TAKES(take_chardev)
{
	static const struct {
		const char *prefix;
		enum chardev_kind kind;
		bool path;
	} kinds[] = {{"stdio", CHARDEV_STDIO, false},
		     {"none", CHARDEV_NONE, false},
		     {"unix:", CHARDEV_UNIX, true},
		     {"file:", CHARDEV_FILE, true}};
	struct chardev_config *config = member;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (strncmp(value, kinds[i].prefix, n) || !value[n] == kinds[i].path)
			continue;
		*config = (struct chardev_config){kinds[i].kind, kinds[i].path ? value + n : NULL,
						  row->name};
		return 0;
	}
	return -EINVAL;
}

static OPTION_TAKES(take_agent)
{
	struct chardev_config *config = member;

	*config = (struct chardev_config){.kind = CHARDEV_UNIX, .option = row->name};
	return option_unix(row, &config->path, value, err);
}

/* member: char[21] */
static OPTION_TAKES(take_serial)
{
	for (const char *c = value; *c; c++)
		if (*c < ' ' || *c > '~')
			return -EINVAL;
	return option_text(row, member, value, err) ? -EINVAL : 0;
}

/* There is one format; whoever names it insists on it. */
static OPTION_TAKES(take_format)
{
	*(bool *)member = !strcmp(value, row->value);
	return *(bool *)member ? 0 : -EINVAL;
}

/* An array of the options, which grows by one element for each device */
struct device_array {
	void **array;
	uint32_t *n, max;
	size_t element_bytes;
	const char *id; /* each element begins with its ID */
};

/* Appends an element, and parses the list into it. NULL: it is refused. */
static void *take_device(const struct option_row *row, const struct device_array *devices,
			 const void *defaults, const char *value, uint64_t *seen, struct error *err)
{
	char *grown, *element;

	if (*devices->n == devices->max) {
		error_set(err, -EINVAL, "%s %s: a machine takes at most %u", row->name, value,
			  devices->max);
		return NULL;
	}
	grown = realloc(*devices->array, (*devices->n + 1) * devices->element_bytes);
	if (!grown) {
		error_set(err, -ENOMEM, "%s: out of memory", row->name);
		return NULL;
	}
	*devices->array = grown;
	element = grown + *devices->n * devices->element_bytes;
	memcpy(element, defaults, devices->element_bytes);
	snprintf(element, OPTIONS_ID_BYTES, "%s%u", devices->id, (*devices->n)++);
	return option_list(row->name, row->keys, element, value, seen, err) ? NULL : element;
}

#define DISK(m) .offset = offsetof(struct disk_config, m)
enum { DISK_PATH };
static const struct option_row disk_keys[] = {
	[DISK_PATH] = {"path", "FILE", "a raw image or a block device", option_text, DISK(path),
		       .max = BYTES_OF(struct disk_config, path), .loads = same_path},
	{"id", "ID", "a letter, then letters, digits and - _ . (default disk0, disk1 ...)",
	 option_id, DISK(id), .max = OPTIONS_ID_BYTES, .loads = option_loads_always},
	{"readonly", "off|on", "whether the guest may only read it (default off)", option_switch,
	 DISK(readonly), .loads = option_same_switch},
	{"cache", "none|writeback", "past the host's page cache or through it (default none)",
	 option_word, DISK(cache), .loads = same_blocks},
	{"serial", "TEXT", "up to 20 printable characters, which the guest can read", take_serial,
	 DISK(serial), .max = BYTES_OF(struct disk_config, serial), .loads = option_same_text},
	{"queues", "N", "1 to 8 (default 1)", option_number, DISK(queues), .min = 1,
	 .max = OPTIONS_MAX_QUEUES, .loads = option_same_number},
	{"queue-size", "N", "a power of two, 16 to 1024 (default 256)", option_power_of_two,
	 DISK(queue_size), .min = 16, .max = 1024, .loads = option_same_number},
	{"format", "raw",
	 "it is raw though it begins like another format; others are not known: convert the image "
	 "with 'qemu-img convert -O raw', or serve it as a block device with qemu-nbd",
	 take_format, DISK(is_raw), .loads = option_loads_always},
	{0},
};

static OPTION_TAKES(take_disk)
{
	static const struct disk_config defaults = {.queues = 1, .queue_size = 256};
	struct options *opt = member;
	const struct device_array disks = {(void **)&opt->disk, &opt->ndisks, OPTIONS_MAX_DISKS,
					   sizeof(*opt->disk), "disk"};
	uint64_t seen;

	if (!take_device(row, &disks, &defaults, value, &seen, err))
		return -EINVAL;
	if (!(seen & 1 << DISK_PATH))
		return error_set(err, -EINVAL, "--disk %s: path= is missing", value);
	return 0;
}

/* The kernel takes a % for a pattern. */
static bool is_interface(const char *name)
{
	return strlen(name) < IFNAMSIZ && !strpbrk(name, "/%");
}

/* The member of tap, bridge, stream and fd is the config itself, for they say its kind as well. */
static OPTION_TAKES(take_tap)
{
	struct net_config *config = member;

	config->kind = NET_TAP;
	return is_interface(value) ? option_text(row, config->path, value, err) : -EINVAL;
}

/* The tap of it is named when the VM's identity is known. */
static OPTION_TAKES(take_bridge)
{
	struct net_config *config = member;

	config->kind = NET_TAP;
	return is_interface(value) ? option_text(row, config->bridge, value, err) : -EINVAL;
}

static OPTION_TAKES(take_stream)
{
	struct net_config *config = member;
	const char *path;

	if (option_unix(row, &path, value, err))
		return -EINVAL;
	config->kind = NET_STREAM;
	return option_text(row, config->path, path, err);
}

static OPTION_TAKES(take_fd)
{
	struct net_config *config = member;
	uint32_t fd;

	if (option_number(row, &fd, value, err))
		return -EINVAL;
	config->kind = NET_FD;
	config->fd = (int)fd;
	return 0;
}

static OPTION_TAKES(take_mac)
{
	static const uint8_t zero[6];
	uint8_t mac[6];

	for (int i = 0; i < 6; i++, value += 3) {
		if (!isxdigit((unsigned char)value[0]) || !isxdigit((unsigned char)value[1]) ||
		    value[2] != (i < 5 ? ':' : '\0'))
			return -EINVAL;
		mac[i] = (uint8_t)strtoul(value, NULL, 16);
	}
	if (mac[0] & 1 || !memcmp(mac, zero, sizeof(mac)))
		return -EINVAL;
	memcpy(member, mac, sizeof(mac));
	return 0;
}

#define NET(m) .offset = offsetof(struct net_config, m)
enum { NET_KEY_TAP, NET_KEY_BRIDGE, NET_KEY_STREAM, NET_KEY_FD, NET_KEY_VHOST };
static const struct option_row net_keys[] = {
	[NET_KEY_TAP] = {"tap", "IFNAME", "an interface of at most 15 characters, without / and %",
			 take_tap, .max = IFNAMSIZ, .loads = same_offloads},
	[NET_KEY_BRIDGE] =
		{"bridge", "IFNAME",
		 "a tap of the VM's own in this bridge, if /etc/stasis/bridges allows it",
		 take_bridge, .max = BYTES_OF(struct net_config, bridge),
		 .loads = option_loads_always},
	[NET_KEY_STREAM] = {"stream", "unix:PATH",
			    "a socket that speaks QEMU's '-netdev stream', such as passt's",
			    take_stream, .max = BYTES_OF(struct net_config, path),
			    .loads = option_loads_always},
	[NET_KEY_FD] = {"fd", "N", "an inherited tap or stream socket, 3 or more", take_fd,
			.min = 3, .max = INT_MAX, .loads = option_loads_always},
	[NET_KEY_VHOST] = {"vhost", "auto|off|on",
			   "vhost-net with a tap (default auto: where the host has it)",
			   option_word, NET(vhost), .loads = option_loads_always},
	{"id", "ID", "a letter, then letters, digits and - _ . (default net0, net1 ...)", option_id,
	 NET(id), .max = OPTIONS_ID_BYTES, .loads = option_loads_always},
	{"mac", "XX:XX:XX:XX:XX:XX",
	 "unicast and not zero (default: derived from the VM's identity)", take_mac, NET(mac),
	 .loads = same_mac},
	{"queues", "N", "pairs of queues, 1 to 8 (default 1); more than one with a tap only",
	 option_number, NET(queues), .min = 1, .max = OPTIONS_MAX_QUEUES,
	 .loads = option_same_number},
	{0},
};

static OPTION_TAKES(take_net)
{
	static const struct net_config defaults = {.queues = 1};
	const uint64_t ends =
		1 << NET_KEY_TAP | 1 << NET_KEY_BRIDGE | 1 << NET_KEY_STREAM | 1 << NET_KEY_FD;
	struct options *opt = member;
	const struct device_array nets = {(void **)&opt->net, &opt->nnets, OPTIONS_MAX_NETS,
					  sizeof(*opt->net), "net"};
	const struct net_config *config;
	uint64_t seen;

	if (!strncmp(value, "user", 4) && (!value[4] || value[4] == ','))
		return error_set(err, -EINVAL,
				 "--net %s: Stasis has no network stack of its own: run passt(1), "
				 "which needs no privileges, and give its socket: --net "
				 "stream=unix:PATH",
				 value);
	config = take_device(row, &nets, &defaults, value, &seen, err);
	if (!config)
		return -EINVAL;
	if (__builtin_popcountll(seen & ends) != 1)
		return error_set(err, -EINVAL,
				 "--net %s: exactly one of tap=IFNAME, bridge=IFNAME, "
				 "stream=unix:PATH and fd=N",
				 value);
	if (config->queues > 1 && config->kind != NET_TAP)
		return error_set(err, -EINVAL, "--net %s: queues= needs tap= or bridge=", value);
	if (config->vhost == AUTO_ON && config->kind == NET_STREAM)
		return error_set(err, -EINVAL, "--net %s: vhost=on needs a tap", value);
	return 0;
}

/* "01:00.0", which is in domain 0000, or the whole address, as sysfs writes it */
static OPTION_TAKES(take_host)
{
	static const char form[] = "xxxx:xx:xx.f";
	char host[sizeof(form)];

	if (snprintf(host, sizeof(host), "%s%s", strchr(value, ':') == value + 2 ? "0000:" : "",
		     value) != sizeof(form) - 1)
		return -EINVAL;
	for (size_t i = 0; form[i]; i++) {
		host[i] = (char)tolower((unsigned char)host[i]);
		if (form[i] == 'x'   ? !isxdigit((unsigned char)host[i])
		    : form[i] == 'f' ? host[i] < '0' || host[i] > '7'
				     : host[i] != form[i])
			return -EINVAL;
	}
	if (strtoul(host + 8, NULL, 16) > 0x1f)
		return -EINVAL;
	strcpy(member, host);
	return 0;
}

#define VFIO(m) .offset = offsetof(struct vfio_config, m)
enum { VFIO_KEY_HOST };
static const struct option_row vfio_keys[] = {
	[VFIO_KEY_HOST] = {"host", "DDDD:BB:SS.F",
			   "the address that lspci -D shows; domain 0000 may be left out",
			   take_host, VFIO(host), .loads = option_same_text},
	{"id", "ID", "a letter, then letters, digits and - _ . (default vfio0, vfio1 ...)",
	 option_id, VFIO(id), .max = OPTIONS_ID_BYTES, .loads = option_loads_always},
	{0},
};

static OPTION_TAKES(take_vfio)
{
	static const struct vfio_config defaults;
	struct options *opt = member;
	const struct device_array vfios = {(void **)&opt->vfio, &opt->nvfios, OPTIONS_MAX_VFIOS,
					   sizeof(*opt->vfio), "vfio"};
	const struct vfio_config *config;
	uint64_t seen;

	config = take_device(row, &vfios, &defaults, value, &seen, err);
	if (!config)
		return -EINVAL;
	if (!(seen & 1 << VFIO_KEY_HOST))
		return error_set(err, -EINVAL, "--vfio %s: host= is missing", value);
	for (const struct vfio_config *other = opt->vfio; other < config; other++)
		if (!strcmp(other->host, config->host))
			return error_set(err, -EINVAL, "--vfio: %s and %s have the same host=%s",
					 other->id, config->id, config->host);
	return 0;
}

static OPTION_TAKES(take_incoming)
{
	struct options *opt = member;

	opt->incoming = strcmp(value, "defer") ? INCOMING_FILE : INCOMING_DEFER;
	return opt->incoming == INCOMING_FILE ? option_string(row, &opt->incoming_file, value, err)
					      : 0;
}

static OPTION_TAKES(take_compare)
{
	struct options *opt = member;

	opt->job = JOB_COMPARE;
	return option_string(row, &opt->compare_path, value, err);
}

static OPTION_TAKES(take_inspect)
{
	struct options *opt = member;

	opt->job = JOB_INSPECT;
	opt->inspect_path = value;
	return 0;
}

static OPTION_TAKES(take_inspect_memory)
{
	static const struct option_row keys[] = {KEY_SIZE, KEY_OFFSET, {0}};
	struct options *opt = member;
	char *rest = opt->memory_path;

	if (strlen(value) >= sizeof(opt->memory_path))
		return -EINVAL;
	strcpy(opt->memory_path, value);
	opt->job = JOB_INSPECT_MEMORY;
	opt->memory = (struct ram_config){.path = option_next(&rest)};
	return rest ? option_list(row->name, keys, opt, rest, NULL, err) : 0;
}

#define INSPECT	       (1U << JOB_INSPECT)
#define INSPECT_MEMORY (1U << JOB_INSPECT_MEMORY)
const struct option_row options_rows[] = {
	{"--config", "FILE", "options from FILE and FILE.d/*.conf, one a line, without the dashes",
	 option_string, MEMBER(config_path), .min = 1, .line_only = true},
	{"--name", "NAME",
	 "the VM's name, from which its identity comes: up to 64 letters, digits "
	 "and . _ - + : @",
	 take_name, MEMBER(name), .loads = same_name},
	{"--uuid", "UUID",
	 "identity of the VM instead of the name's, such as "
	 "123e4567-e89b-12d3-a456-426614174000",
	 .take = take_uuid, .loads = same_uuid},
	{"--cpus", "N", "vCPUs, 1 to 64 (default 1)", option_number, MEMBER(cpus), .min = 1,
	 .max = OPTIONS_MAX_CPUS, .loads = option_same_number},
	{"--memory", "size=SIZE[,path=PATH[,offset=SIZE]]", "guest RAM (default size=256M)",
	 take_memory, .keys = memory_keys},
	{"--kernel", "FILE", "bzImage, or uncompressed ELF with a PVH note", option_string,
	 MEMBER(kernel), .loads = option_loads_always},
	{"--initrd", "FILE", "initial RAM disk", option_string, MEMBER(initrd),
	 .loads = option_loads_always},
	{"--append", "TEXT", "kernel command line", option_string, MEMBER(append),
	 .loads = option_loads_always},
	{"--machine", "KEY=VALUE,...", "properties of the machine", take_list,
	 .keys = machine_keys},
	{"--serial", "stdio|unix:PATH|file:PATH|none", "COM1 (default stdio); Ctrl-A X ends",
	 take_chardev, MEMBER(serial), .place = "serial", .loads = option_loads_always},
	{"--disk", "path=FILE[,KEY=VALUE...]", "a virtio disk; once for each", take_disk,
	 .keys = disk_keys, .repeats = true},
	{"--net", "tap=IFNAME|bridge=IFNAME|stream=unix:PATH|fd=N[,KEY=VALUE...]",
	 "a virtio network interface; once for each", take_net, .keys = net_keys, .repeats = true},
	{"--console", "stdio|unix:PATH|file:PATH|none",
	 "virtio console hvc0; on stdio it takes the place of COM1", take_chardev, MEMBER(console),
	 .place = "console", .loads = same_port},
	{"--agent", "unix:PATH", "where the guest's agent (org.qemu.guest_agent.0) is served",
	 take_agent, MEMBER(agent), .place = "agent", .loads = same_port},
	{"--rng", NULL, "a virtio entropy source", NULL, MEMBER(rng), .loads = option_same_switch},
	{"--vsock", "cid=N", "a virtio socket device", take_list, .keys = vsock_keys},
	{"--vfio", "host=ADDRESS[,id=ID]",
	 "a PCI function of the host, bound to vfio-pci; once for each", take_vfio,
	 .keys = vfio_keys, .repeats = true},
	{"--qmp", "unix:PATH", "QMP socket", option_unix, MEMBER(qmp_path), .place = "qmp",
	 .loads = option_loads_always},
	{"--paused", NULL, "do not run the guest before cont or cprload", NULL, MEMBER(paused),
	 .line_only = true},
	{"--incoming", "defer|FILE", "wait for cprload, or load FILE at once", take_incoming,
	 .min = 1, .line_only = true},
	{"--cpr-file", "FILE", "checkpoint that cprsave writes and the next start loads",
	 option_string, MEMBER(cpr_file), .min = 1, .loads = same_file},
	{"--discard-saved", NULL, "boot even if this RAM holds a saved guest, which is lost", NULL,
	 MEMBER(discard_saved), .line_only = true},
	{"--on-reset", "reset|exit", "what a guest's reset does (default reset)", option_word,
	 MEMBER(on_reset), .loads = option_loads_always},
	{"--update", "save|suspend|shutdown",
	 "what an update of the host does to the guest: see stasis.conf(5) (default save)",
	 option_word, MEMBER(update), .loads = option_loads_always},
	{"--check", NULL, "look whether this would start, and how, change nothing, and exit", NULL,
	 MEMBER(check), .line_only = true},
	{"--show", NULL, "print the options that count, one a line, and exit", option_constant,
	 MEMBER(job), .min = JOB_SHOW, .line_only = true},
	{"--compare", "FILE",
	 "say what would refuse to load the guest of a running VM, whose cprinfo is in FILE (-: "
	 "standard input), and exit",
	 take_compare, .min = 1, .line_only = true},
	{"--log", "error|warn|info|debug", "what is logged (default info)", option_word,
	 MEMBER(log_level), .loads = option_loads_always, .jobs = INSPECT | INSPECT_MEMORY},
	{"--inspect", "FILE", "print a checkpoint", take_inspect, .jobs = INSPECT,
	 .line_only = true},
	{"--inspect-memory", "PATH[,offset=SIZE][,size=SIZE]", "print the label of guest RAM",
	 take_inspect_memory, .jobs = INSPECT_MEMORY, .line_only = true},
	{"--json", NULL, "with --inspect or --inspect-memory: for programs", NULL, MEMBER(json),
	 .jobs = INSPECT | INSPECT_MEMORY, .line_only = true},
	{"--help", NULL, "print this; -h as well", option_constant, MEMBER(job), .min = JOB_HELP,
	 .jobs = INSPECT | INSPECT_MEMORY, .line_only = true},
	{"--version", NULL, "print the version; -V as well", option_constant, MEMBER(job),
	 .min = JOB_VERSION, .jobs = INSPECT | INSPECT_MEMORY, .line_only = true},
	{0},
};

bool options_line(const struct options *opt, uint32_t *at, struct options_line *line)
{
	for (; *at < opt->given.n; ++*at) {
		const struct option_given *given = &opt->given.given[*at];

		if (given->row->line_only ||
		    option_is_overridden(given, opt->given.given, opt->given.n))
			continue;
		*line = (struct options_line){given->row->name + 2, "", ""};
		if (given->value) {
			line->separator = *given->value ? " " : "=";
			line->value = given->value;
		}
		++*at;
		return true;
	}
	if (*at > opt->given.n || !opt->default_cpr_file)
		return false;
	*line = (struct options_line){"cpr-file", " ", opt->cpr_file};
	++*at;
	return true;
}

void options_show(const struct options *opt)
{
	struct options_line line;
	uint32_t at = 0;

	while (options_line(opt, &at, &line))
		printf("%s%s%s\n", line.name, line.separator, line.value);
}

void options_help(void)
{
	puts("usage: stasis [OPTION...]\n\n"
	     "A virtual machine whose guest outlives the host kernel. SIZE takes K, M, G, T.\n"
	     "A comma in a list's value is written twice.\n");
	option_help(options_rows);
	puts("\nExit status: 0 after power-off, quit, cprsave mode=restart and a check that finds "
	     "no fault,\n3 after cprsave mode=reboot, 1 otherwise.");
}

/* The i'th ID of disks, then networks, then PCI functions of the host; NULL: no more. */
static const char *id(const struct options *opt, uint32_t i)
{
	if (i < opt->ndisks)
		return opt->disk[i].id;
	i -= opt->ndisks;
	if (i < opt->nnets)
		return opt->net[i].id;
	i -= opt->nnets;
	return i < opt->nvfios ? opt->vfio[i].id : NULL;
}

static int check_ids(const struct options *opt, struct error *err)
{
	for (uint32_t i = 0; id(opt, i); i++)
		for (uint32_t j = 0; j < i; j++)
			if (!strcmp(id(opt, i), id(opt, j)))
				return error_set(
					err, -EINVAL,
					"id=%s: two devices have it: choose another for one",
					id(opt, i));
	return 0;
}

/* Two network interfaces cannot both have the same MAC address, descriptor or tap. */
static int check_pair(const struct net_config *a, const struct net_config *b, struct error *err)
{
	const char *same = NULL;

	if (!memcmp(a->mac, b->mac, sizeof(a->mac)))
		same = "mac";
	else if (a->kind == NET_FD && b->kind == NET_FD && a->fd == b->fd)
		same = "fd";
	else if (a->kind == NET_TAP && b->kind == NET_TAP && !strcmp(a->path, b->path))
		same = "tap";
	return same ? error_set(err, -EINVAL, "--net: %s and %s have the same %s=", a->id, b->id,
				same)
		    : 0;
}

/* NAME-INDEX, the same after every update, so that the host's rules and counters find it. Where an interface cannot
 * have that name, or the VM has a UUID of its own, digits of the UUID tell it from others. */
static void name_tap(const struct options *opt, uint32_t i, struct net_config *nic)
{
	const uint8_t *end = opt->uuid + sizeof(opt->uuid);

	if (!opt->has_uuid && strlen(opt->name) <= IFNAMSIZ - 1 - 2 && !strpbrk(opt->name, ":@"))
		snprintf(nic->path, sizeof(nic->path), "%s-%u", opt->name, i);
	else
		snprintf(nic->path, sizeof(nic->path), "%.6s-%02x%02x%02x-%u", opt->name, end[-3],
			 end[-2], end[-1], i);
	for (char *c = nic->path; *c; c++)
		if (*c == ':' || *c == '@')
			*c = '_';
}

static int finish_nets(struct options *opt, struct error *err)
{
	static const uint8_t zero[6];

	for (uint32_t i = 0; opt->net && i < opt->nnets; i++) {
		struct net_config *nic = &opt->net[i];

		/* Stasis has opened nothing yet: an open descriptor was inherited. */
		if (opt->job == JOB_RUN && nic->kind == NET_FD && fcntl(nic->fd, F_GETFD) < 0)
			return error_set(err, -EBADF,
					 "--net: fd=%d: descriptor %d is not open: have it open in "
					 "the process that starts this one",
					 nic->fd, nic->fd);
		if (!memcmp(nic->mac, zero, sizeof(zero)))
			uuid_derive_mac(opt->uuid, i, nic->mac);
		if (*nic->bridge)
			name_tap(opt, i, nic);
		for (uint32_t j = 0; j < i; j++)
			if (check_pair(&opt->net[j], nic, err))
				return -EINVAL;
	}
	return 0;
}

static int check_devices(struct options *opt, struct error *err)
{
	opt->has_console = opt->console.option;
	opt->has_agent = opt->agent.option;
	if (opt->console.kind == CHARDEV_STDIO && opt->serial.option &&
	    opt->serial.kind == CHARDEV_STDIO)
		return error_set(err, -EINVAL,
				 "--serial stdio and --console stdio: one of them only");
	if (!opt->serial.option)
		opt->serial = (struct chardev_config){
			opt->console.kind == CHARDEV_STDIO ? CHARDEV_NONE : CHARDEV_STDIO, NULL,
			"--serial"};
	if (check_ids(opt, err))
		return -EINVAL;
	return finish_nets(opt, err);
}

/* seen: the options that were given, all at least once. */
static int check_together(const struct options *opt, uint64_t seen, struct error *err)
{
	if (opt->job != JOB_INSPECT && opt->job != JOB_INSPECT_MEMORY)
		return 0;
	for (const struct option_row *row = options_rows; row->name; row++, seen >>= 1)
		if (seen & 1 && !(row->jobs & 1U << opt->job))
			return error_set(err, -EINVAL,
					 "%s and --inspect%s do not go together: leave one of them "
					 "out",
					 row->name, opt->job == JOB_INSPECT ? "" : "-memory");
	return 0;
}

/* Rules about more than one option. */
static int check(const struct options *opt, struct error *err)
{
	if (opt->json && opt->job != JOB_INSPECT && opt->job != JOB_INSPECT_MEMORY)
		return error_set(err, -EINVAL, "--json goes with --inspect or --inspect-memory");
	if (opt->job != JOB_RUN && opt->job != JOB_COMPARE)
		return 0;
	if (opt->incoming == INCOMING_DEFER && !opt->qmp_path)
		return error_set(err, -EINVAL, "--incoming defer needs --qmp to receive cprload");
	if (opt->paused && !opt->qmp_path)
		return error_set(err, -EINVAL, "--paused needs --qmp to receive cont");
	if (opt->incoming != INCOMING_NO && opt->discard_saved)
		return error_set(err, -EINVAL,
				 "--incoming and --discard-saved contradict each other");
	if (opt->cpr_file && !opt->memory.path)
		return error_set(
			err, -EINVAL,
			"--cpr-file needs --memory size=...,path=...: RAM without a file or "
			"DAX device is gone with this process, so this guest cannot be "
			"saved");
	if (!opt->kernel && opt->incoming == INCOMING_NO && !opt->cpr_file)
		return error_set(err, -EINVAL, "--kernel is missing: a bzImage or a PVH ELF");
	return 0;
}

/* A VM without lasting RAM and without network needs no identity that somebody chose. */
static int identify(struct options *opt, struct error *err)
{
	const char *what = opt->memory.path ? "--memory path=" : opt->nnets ? "--net" : NULL;

	opt->has_identity = opt->name || opt->has_uuid;
	if (!opt->has_identity && what && opt->job == JOB_RUN)
		return error_set(err, -EINVAL,
				 "%s needs to know which VM this is: give --name NAME or --uuid "
				 "UUID, another one for each VM",
				 what);
	if (!opt->has_identity && uuid_random(opt->uuid))
		return error_set(err, -EIO, "getrandom: no identity for this VM: give --name NAME");
	if (opt->name && !opt->has_uuid)
		uuid_from_name(opt->name, opt->uuid);
	if (!opt->name)
		opt->name = "vm";
	return 0;
}

static int add(struct option_givens *all, const char *name, const char *value, struct error *err)
{
	struct option_given given;

	if (option_find(options_rows, name, strlen(name), value, &given, err))
		return -EINVAL;
	given.file = "default of --config";
	return config_add_given(all, &given, err);
}

/* What a configuration file leaves to defaults comes first, so that everything else overrides it. */
static int add_config(struct options *opt, struct option_givens *all, const char *path,
		      struct error *err)
{
	opt->config_name = config_name(&opt->config, path);
	if (!opt->config_name)
		return error_set(err, -ENOMEM, "--config %s: out of memory", path);
	if (add(all, "--name", opt->config_name, err) || add(all, "--qmp", NULL, err) ||
	    add(all, "--serial", NULL, err))
		return -EINVAL;
	return config_file_read(&opt->config, options_rows, path, all, err);
}

/* Options without the value that they need have their default place, in the folders that the unit of the file makes. */
static int set_places(struct options *opt, const struct option_givens *all, struct error *err)
{
	for (uint32_t i = 0; i < all->n; i++) {
		struct option_given *given = &all->given[i];

		if (!given->row->value || given->value)
			continue;
		given->value = config_place(&opt->config, "unix:" CONFIG_RUN_DIR, opt->config_name,
					    given->row->place);
		if (!given->value)
			return error_set(err, -ENOMEM, "%s: out of memory", given->row->name);
	}
	return 0;
}

/* The options of the files, then those of the command line. */
static int read_all(struct options *opt, struct option_givens *all, int argc, char **argv,
		    struct error *err)
{
	struct option_given *line = calloc((size_t)argc, sizeof(*line));
	const char *config = NULL;
	bool helps = false;
	uint32_t n = 0;
	int ret = line ? 0 : error_set(err, -ENOMEM, "out of memory");

	for (int i = 1; i < argc && !ret; i++, n++) {
		ret = option_split(options_rows, argv, &i, &line[n], err);
		if (!ret && line[n].row->take == option_constant)
			helps |= line[n].row->min != JOB_SHOW;
		if (ret || strcmp(line[n].row->name, "--config") != 0)
			continue;
		if (config)
			ret = error_set(err, -EINVAL, "--config comes twice: give it once");
		config = line[n].value;
	}
	/* Whoever asks for help may not have the file right. */
	if (!ret && config && !helps)
		ret = add_config(opt, all, config, err);
	for (uint32_t i = 0; i < n && !ret; i++)
		ret = config_add_given(all, &line[i], err);
	free(line);
	return ret ? ret : set_places(opt, all, err);
}

/* A guest whose RAM lasts can be saved at any time. */
static int add_checkpoint(struct options *opt, struct error *err)
{
	if (!opt->config_path || opt->cpr_file || !opt->memory.path)
		return 0;
	opt->default_cpr_file = true;
	opt->cpr_file =
		config_place(&opt->config, CONFIG_STATE_DIR, opt->config_name, "checkpoint");
	return opt->cpr_file ? 0 : error_set(err, -ENOMEM, "--cpr-file: out of memory");
}

int options_parse(struct options *opt, int argc, char **argv, struct error *err)
{
	uint64_t seen = 0;
	int ret;

	*opt = (struct options){
		.cpus = 1,
		.memory.size_bytes = 256 << 20,
		.append = "",
		.s3 = true,
		.log_level = LOG_INFO,
	};
	ret = read_all(opt, &opt->given, argc, argv, err);
	if (!ret)
		ret = option_apply(options_rows, opt, opt->given.given, opt->given.n, &seen, err);
	if (ret)
		return ret;
	if (check_together(opt, seen, err))
		return -EINVAL;
	if (identify(opt, err))
		return -EINVAL;
	if (check_devices(opt, err) || add_checkpoint(opt, err))
		return -EINVAL;
	opt->memory.must_exist = opt->incoming != INCOMING_NO;
	return check(opt, err);
}

void options_free(struct options *opt)
{
	struct config_text *next;

	for (struct config_text *text = opt->config; text; text = next) {
		next = text->next;
		free(text);
	}
	free(opt->given.given);
	free(opt->disk);
	free(opt->net);
	free(opt->vfio);
	*opt = (struct options){0};
}

/* --- paths that two options share */

struct named {
	const char *option, *path; /* path NULL: none */
	bool is_socket;
	bool is_text;	  /* appended to: sharing does no harm */
	bool is_readonly; /* may be shared with others that only read it */
};

static struct named named_by(const struct chardev_config *config)
{
	bool is_socket = config->kind == CHARDEV_UNIX;

	if (!is_socket && config->kind != CHARDEV_FILE)
		return (struct named){.path = NULL};
	return (struct named){config->option, config->path, is_socket, !is_socket, false};
}

static bool may_share(const struct named *a, const struct named *b)
{
	if (!a->path || !b->path)
		return true;
	if (!a->is_socket && !b->is_socket &&
	    (a->is_text || b->is_text || (a->is_readonly && b->is_readonly)))
		return true;
	return !is_same_path(a->path, b->path);
}

int options_check_paths(const struct options *opt, struct error *err)
{
	struct named named[5 + OPTIONS_MAX_DISKS] = {
		{.option = "--qmp", .path = opt->qmp_path, .is_socket = true},
		named_by(&opt->serial),
		named_by(&opt->console),
		named_by(&opt->agent),
		{.option = "--memory", .path = opt->memory.path},
	};
	uint32_t n = 5;

	for (uint32_t i = 0; i < opt->ndisks; i++)
		named[n++] = (struct named){.option = "--disk",
					    .path = opt->disk[i].path,
					    .is_readonly = opt->disk[i].readonly};
	for (uint32_t i = 1; i < n; i++)
		for (uint32_t j = 0; j < i; j++)
			if (!may_share(&named[j], &named[i]))
				return error_set(err, -EINVAL,
						 "%s and %s are both given %s: give each a path of "
						 "its own",
						 named[j].option, named[i].option, named[i].path);
	return 0;
}
