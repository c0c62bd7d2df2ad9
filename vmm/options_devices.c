/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/uuid.h"
#include "vmm/options_keys.h"
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int chardev(struct chardev_config *config, const char *option, char *value,
		   struct error *err)
{
	static const struct {
		const char *prefix;
		enum chardev_kind kind;
		bool path;
	} kinds[] = {{"stdio", CHARDEV_STDIO, false},
		     {"none", CHARDEV_NONE, false},
		     {"unix:", CHARDEV_UNIX, true},
		     {"file:", CHARDEV_FILE, true}};

	for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
		size_t n = strlen(kinds[i].prefix);

		if (strncmp(value, kinds[i].prefix, n) || !value[n] == kinds[i].path)
			continue;
		*config = (struct chardev_config){kinds[i].kind, kinds[i].path ? value + n : NULL,
						  option};
		return 0;
	}
	return error_set(err, -EINVAL, "%s %s: stdio, unix:PATH, file:PATH or none", option, value);
}

static int serial(struct options *opt, char *value, struct error *err)
{
	opt->has_serial = true;
	return chardev(&opt->serial, "--serial", value, err);
}

static int console(struct options *opt, char *value, struct error *err)
{
	opt->has_console = true;
	return chardev(&opt->console, "--console", value, err);
}

static int agent(struct options *opt, char *value, struct error *err)
{
	if (strncmp(value, "unix:", 5) || !value[5])
		return error_set(err, -EINVAL, "--agent %s: must be unix:PATH", value);
	opt->has_agent = true;
	return chardev(&opt->agent, "--agent", value, err);
}

/* member: char[OPTIONS_SERIAL_BYTES + 1] */
static int take_serial(const struct key_row *row, void *member, const char *value)
{
	for (const char *c = value; *c; c++)
		if (*c < ' ' || *c > '~')
			return -EINVAL;
	return key_text(row, member, value) ? -EINVAL : 0;
}

/* There is one format; who names it insists. */
static int take_format(const struct key_row *row, void *member, const char *value)
{
	if (strcmp(value, row->value))
		return -EINVAL;
	*(bool *)member = true;
	return 0;
}

/* Room for one row more behind the n there are; NULL: there is none. */
static void *make_room(const char *option, const char *value, void *rows, uint32_t n, uint32_t max,
		       size_t row_bytes, struct error *err)
{
	void *grown = n < max ? realloc(rows, (n + 1) * row_bytes) : NULL;

	if (n == max)
		error_set(err, -EINVAL, "%s %s: a machine takes at most %u", option, value, max);
	else if (!grown)
		error_set(err, -ENOMEM, "%s: out of memory", option);
	else
		memset((char *)grown + n * row_bytes, 0, row_bytes);
	return grown;
}

#define DISK(m) offsetof(struct disk_config, m)
enum { DISK_PATH };
static const struct key_row disk_keys[] = {
	[DISK_PATH] = {"path", "FILE", "a raw image or a block device", key_text, DISK(path), 0,
		       sizeof(((struct disk_config *)0)->path)},
	{"id", "ID", "a letter, then letters, digits and - _ . (default disk0, disk1 ...)", key_id,
	 DISK(id), 0, OPTIONS_ID_BYTES},
	{"readonly", "off|on", "whether the guest may only read it (default off)", key_switch,
	 DISK(readonly), 0, 0},
	{"cache", "none|writeback", "past the host's page cache or through it (default none)",
	 key_word, DISK(cache), 0, 0},
	{"serial", "TEXT", "up to 20 printable characters, which the guest can read", take_serial,
	 DISK(serial), 0, sizeof(((struct disk_config *)0)->serial)},
	{"queues", "N", "1 to 8 (default 1)", key_number, DISK(queues), 1, OPTIONS_MAX_QUEUES},
	{"queue-size", "N", "a power of two, 16 to 1024 (default 256)", key_power_of_two,
	 DISK(queue_size), 16, 1024},
	{"format", "raw",
	 "it is raw though it begins like another format; others are not known: convert the image "
	 "with 'qemu-img convert -O raw', or serve it as a block device with qemu-nbd",
	 take_format, DISK(is_raw), 0, 0},
	{0},
};

static int disk(struct options *opt, char *value, struct error *err)
{
	struct disk_config *disks = make_room("--disk", value, opt->disk, opt->ndisks,
					      OPTIONS_MAX_DISKS, sizeof(*disks), err);
	struct disk_config *config;
	uint32_t seen;

	if (!disks)
		return -EINVAL;
	opt->disk = disks;
	config = &disks[opt->ndisks];
	config->queues = 1;
	config->queue_size = 256;
	snprintf(config->id, sizeof(config->id), "disk%u", opt->ndisks++);
	if (options_keys("--disk", disk_keys, config, value, &seen, err))
		return -EINVAL;
	if (!(seen & 1U << DISK_PATH))
		return error_set(err, -EINVAL, "--disk %s: path= is missing", value);
	return 0;
}

/* path: of the interface or the socket; member is the config itself, for these say its kind too. */
static int take_tap(const struct key_row *row, void *member, const char *value)
{
	struct net_config *config = member;

	/* The kernel takes a % for a pattern. */
	if (strlen(value) >= IFNAMSIZ || strpbrk(value, "/%"))
		return -EINVAL;
	config->kind = NET_TAP;
	return key_text(row, config->path, value);
}

static int take_stream(const struct key_row *row, void *member, const char *value)
{
	struct net_config *config = member;

	if (strncmp(value, "unix:", 5) || !value[5])
		return -EINVAL;
	config->kind = NET_STREAM;
	return key_text(row, config->path, value + 5);
}

static int take_fd(const struct key_row *row, void *member, const char *value)
{
	struct net_config *config = member;
	uint32_t fd;

	/* Nothing of ours is open yet: what is there was inherited. */
	if (key_number(row, &fd, value))
		return -EINVAL;
	if (fcntl((int)fd, F_GETFD) < 0)
		return -EBADF;
	config->kind = NET_FD;
	config->fd = (int)fd;
	return 0;
}

static int take_mac(const struct key_row *row, void *member, const char *value)
{
	static const uint8_t zero[6];
	uint8_t mac[6];

	(void)row;
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

#define NET(m) offsetof(struct net_config, m)
enum { NET_KEY_TAP, NET_KEY_STREAM, NET_KEY_FD, NET_KEY_VHOST };
static const struct key_row net_keys[] = {
	[NET_KEY_TAP] = {"tap", "IFNAME", "an interface of at most 15 characters, without / and %",
			 take_tap, 0, 0, IFNAMSIZ},
	[NET_KEY_STREAM] = {"stream", "unix:PATH",
			    "a socket that speaks QEMU's '-netdev stream', such as passt's",
			    take_stream, 0, 0, sizeof(((struct net_config *)0)->path)},
	[NET_KEY_FD] = {"fd", "N", "an inherited tap or stream socket, 3 or more", take_fd, 0, 3,
			INT_MAX},
	[NET_KEY_VHOST] = {"vhost", "auto|off|on",
			   "vhost-net with a tap (default auto: where the host has it)", key_word,
			   NET(vhost), 0, 0},
	{"id", "ID", "a letter, then letters, digits and - _ . (default net0, net1 ...)", key_id,
	 NET(id), 0, OPTIONS_ID_BYTES},
	{"mac", "XX:XX:XX:XX:XX:XX",
	 "unicast and not zero (default: derived from the VM's identity)", take_mac, NET(mac), 0,
	 0},
	{"queues", "N", "pairs of queues, 1 to 8 (default 1); more than one with tap alone",
	 key_number, NET(queues), 1, OPTIONS_MAX_QUEUES},
	{0},
};

static int net(struct options *opt, char *value, struct error *err)
{
	const uint32_t ends = 1U << NET_KEY_TAP | 1U << NET_KEY_STREAM | 1U << NET_KEY_FD;
	struct net_config *nets = make_room("--net", value, opt->net, opt->nnets, OPTIONS_MAX_NETS,
					    sizeof(*nets), err);
	struct net_config *config;
	uint32_t seen;

	if (!nets)
		return -EINVAL;
	opt->net = nets;
	if (!strncmp(value, "user", 4) && (!value[4] || value[4] == ','))
		return error_set(err, -EINVAL,
				 "--net %s: Stasis has no network stack of its own: run passt(1), "
				 "which wants no privileges, and give its socket: --net "
				 "stream=unix:PATH",
				 value);
	config = &nets[opt->nnets];
	config->queues = 1;
	snprintf(config->id, sizeof(config->id), "net%u", opt->nnets++);
	if (options_keys("--net", net_keys, config, value, &seen, err))
		return -EINVAL;
	if (__builtin_popcount(seen & ends) != 1)
		return error_set(err, -EINVAL,
				 "--net %s: exactly one of tap=IFNAME, stream=unix:PATH and fd=N",
				 value);
	if (config->queues > 1 && config->kind != NET_TAP)
		return error_set(err, -EINVAL, "--net %s: queues= needs tap=", value);
	if (config->vhost == AUTO_ON && config->kind == NET_STREAM)
		return error_set(err, -EINVAL, "--net %s: vhost=on needs a tap", value);
	return 0;
}

static const struct key_row vsock_keys[] = {
	{"cid", "N", "3 to 4294967294: the guest's address", key_number,
	 offsetof(struct options, vsock_cid), 3, UINT32_MAX - 1},
	{0},
};

static int vsock(struct options *opt, char *value, struct error *err)
{
	return options_keys("--vsock", vsock_keys, opt, value, NULL, err);
}

/* "01:00.0", which is in domain 0000, or the whole of it; as sysfs writes it */
static int take_host(const struct key_row *row, void *member, const char *value)
{
	static const char form[] = "xxxx:xx:xx.f";
	char host[sizeof(form)];

	(void)row;
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

#define VFIO(m) offsetof(struct vfio_config, m)
enum { VFIO_KEY_HOST };
static const struct key_row vfio_keys[] = {
	[VFIO_KEY_HOST] = {"host", "DDDD:BB:SS.F",
			   "the address that lspci -D shows; domain 0000 may be left out",
			   take_host, VFIO(host), 0, 0},
	{"id", "ID", "a letter, then letters, digits and - _ . (default vfio0, vfio1 ...)", key_id,
	 VFIO(id), 0, OPTIONS_ID_BYTES},
	{0},
};

static int vfio(struct options *opt, char *value, struct error *err)
{
	struct vfio_config *vfios = make_room("--vfio", value, opt->vfio, opt->nvfios,
					      OPTIONS_MAX_VFIOS, sizeof(*vfios), err);
	struct vfio_config *config;
	uint32_t seen;

	if (!vfios)
		return -EINVAL;
	opt->vfio = vfios;
	config = &vfios[opt->nvfios];
	snprintf(config->id, sizeof(config->id), "vfio%u", opt->nvfios++);
	if (options_keys("--vfio", vfio_keys, config, value, &seen, err))
		return -EINVAL;
	if (!(seen & 1U << VFIO_KEY_HOST))
		return error_set(err, -EINVAL, "--vfio %s: host= is missing", value);
	for (uint32_t i = 0; vfios + i < config; i++)
		if (!strcmp(vfios[i].host, config->host))
			return error_set(err, -EINVAL, "--vfio: %s and %s have the same host=%s",
					 vfios[i].id, config->id, config->host);
	return 0;
}

const struct option_row options_device_rows[] = {
	{"serial", "stdio|unix:PATH|file:PATH|none", "COM1 (default stdio); Ctrl-A X ends",
	 .parse = serial},
	{"disk", "path=FILE[,KEY=VALUE...]", "a virtio disk; once for each", .parse = disk,
	 .keys = disk_keys, .repeats = true},
	{"net", "tap=IFNAME|stream=unix:PATH|fd=N[,KEY=VALUE...]",
	 "a virtio network interface; once for each", .parse = net, .keys = net_keys,
	 .repeats = true},
	{"console", "stdio|unix:PATH|file:PATH|none",
	 "virtio console hvc0; on stdio it takes the place of COM1", .parse = console},
	{"agent", "unix:PATH", "where the guest's agent (org.qemu.guest_agent.0) is served",
	 .parse = agent},
	{"rng", NULL, "a virtio entropy source", OPTION_MEMBER(rng)},
	{"vsock", "cid=N", "a virtio socket device", .parse = vsock, .keys = vsock_keys},
	{"vfio", "host=ADDRESS[,id=ID]",
	 "a PCI function of the host, bound to vfio-pci; once for each", .parse = vfio,
	 .keys = vfio_keys, .repeats = true},
	{0},
};

/* The i'th ID of disks, then networks, then functions of the host; NULL: no more. */
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

/* What two cards cannot both have. */
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

static int finish_nets(struct options *opt, struct error *err)
{
	static const uint8_t zero[6];

	for (uint32_t i = 0; opt->net && i < opt->nnets; i++) {
		struct net_config *nic = &opt->net[i];

		if (!memcmp(nic->mac, zero, sizeof(zero)))
			uuid_derive_mac(opt->uuid, i, nic->mac);
		for (uint32_t j = 0; j < i; j++)
			if (check_pair(&opt->net[j], nic, err))
				return -EINVAL;
	}
	return 0;
}

int options_devices_finish(struct options *opt, struct error *err)
{
	if (opt->console.kind == CHARDEV_STDIO) {
		if (opt->has_serial && opt->serial.kind == CHARDEV_STDIO)
			return error_set(err, -EINVAL,
					 "--serial stdio and --console stdio: one of them only");
		if (!opt->has_serial)
			opt->serial.kind = CHARDEV_NONE;
	}
	if (check_ids(opt, err))
		return -EINVAL;
	return finish_nets(opt, err);
}
