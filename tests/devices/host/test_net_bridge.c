/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The list of bridges, and a card that makes its own tap in one: with a real bridge, in a network and a mount namespace
 * of the test's. */
#include "devices/host/net_bridge.h"
#include "tests/rig/net_fixture.h"
#include "tests/rig/unit.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/sockios.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>

#define BRIDGE	   "br0"
#define MTU	   1400
#define FOLDER	   "/etc/stasis/" /* on a file system of the test's */
#define EXTRA_LIST FOLDER "extra"

static struct error err;
static uint8_t packet[60], seen[60];

/* --- the list */

static void new_etc(void)
{
	ck_assert_msg(!unshare(CLONE_NEWNS) && !mount("", "/", NULL, MS_REC | MS_PRIVATE, NULL) &&
			      !mount("none", "/etc", "tmpfs", 0, NULL),
		      "these tests mount: run them as root");
	ck_assert_int_eq(chmod("/etc", 0755), 0);
	ck_assert_int_eq(mkdir(FOLDER, 0755), 0);
}

static void write_list(const char *file, const char *text)
{
	FILE *f = fopen(file, "we");

	ck_assert_ptr_nonnull(f);
	ck_assert_int_ge(fputs(text, f), 0);
	ck_assert_int_eq(fclose(f), 0);
	ck_assert_int_eq(chmod(file, 0644), 0);
}

static void allowed(const char *bridge)
{
	ck_assert_msg(!net_bridge_allowed(NET_BRIDGE_LIST, bridge, &err), "%s", err.msg);
}

static void not_allowed(const char *bridge, int code, const char *word)
{
	err.msg[0] = '\0';
	ck_assert_int_eq(net_bridge_allowed(NET_BRIDGE_LIST, bridge, &err), code);
	ck_assert_msg(strstr(err.msg, word), "%s: not in: %s", word, err.msg);
}

TEST(nothing_is_allowed_without_a_list)
{
	new_etc();
	not_allowed("br0", -EACCES,
		    "bridge br0 is not allowed: as root, add the line 'allow br0' to "
		    "/etc/stasis/bridges");
	write_list(NET_BRIDGE_LIST, "");
	not_allowed("br0", -EACCES, "add the line 'allow br0' to /etc/stasis/bridges");
}

TEST(rules)
{
	new_etc();
	write_list(NET_BRIDGE_LIST, "# of this host\n\n \tallow\tbr0 \r\nallow br1\ndeny br3");
	allowed("br0");
	allowed("br1");
	not_allowed("br", -EACCES, "'allow br'");
	not_allowed("br2", -EACCES, "'allow br2'");
	not_allowed("br3", -EACCES, "/etc/stasis/bridges:5: denies bridge br3 by 'deny br3'");
	write_list(NET_BRIDGE_LIST, "allow all\nallow br1\ndeny br1");
	allowed("br0");
	not_allowed("br1", -EACCES, "/etc/stasis/bridges:3: denies bridge br1");
	/* Wherever it stands. */
	write_list(NET_BRIDGE_LIST, "deny all\nallow br0");
	not_allowed("br0", -EACCES, "/etc/stasis/bridges:1: denies bridge br0 by 'deny all'");
}

TEST(bad_lines)
{
	static const char *const bad[] = {"allow",     "allow br0 br1", "permit br0",
					  "allow=br0", "include",	"Allow br0"};

	new_etc();
	for (size_t i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		char text[64];

		snprintf(text, sizeof(text), "allow br0\n%s", bad[i]);
		write_list(NET_BRIDGE_LIST, text);
		not_allowed("br0", -EINVAL, "/etc/stasis/bridges:2: '");
	}
}

TEST(included_files)
{
	char text[4096] = "";

	new_etc();
	write_list(NET_BRIDGE_LIST, "include " EXTRA_LIST "\nallow br0");
	not_allowed("br0", -ENOENT, EXTRA_LIST ": No such file");
	write_list(EXTRA_LIST, "include " NET_BRIDGE_LIST "\nallow br1\ndeny br2");
	allowed("br0");
	allowed("br1");
	not_allowed("br2", -EACCES, EXTRA_LIST ":3: denies bridge br2");
	write_list(NET_BRIDGE_LIST, "include extra");
	not_allowed("br0", -EINVAL, "/etc/stasis/bridges:1: include extra: must be an absolute");
	for (int i = 0; i < 64; i++)
		snprintf(text + strlen(text), 64, "include " FOLDER "%d\n", i);
	write_list(NET_BRIDGE_LIST, text);
	not_allowed("br0", -EINVAL,
		    "/etc/stasis/bridges:64: include /etc/stasis/63: there are "
		    "more than 64 files");
}

TEST(owner)
{
	static const mode_t open_to_others[] = {0664, 0646, 0666};

	new_etc();
	write_list(NET_BRIDGE_LIST, "allow br0");
	for (size_t i = 0; i < 3; i++) {
		ck_assert_int_eq(chmod(NET_BRIDGE_LIST, open_to_others[i]), 0);
		not_allowed("br0", -EPERM, "chmod go-w /etc/stasis/bridges");
	}
	ck_assert_int_eq(chmod(NET_BRIDGE_LIST, 0644), 0);
	ck_assert_int_eq(chown(NET_BRIDGE_LIST, 65534, 0), 0);
	not_allowed("br0", -EPERM, "/etc/stasis/bridges: must be root's");
	write_list(EXTRA_LIST, "include " NET_BRIDGE_LIST);
	ck_assert_int_eq(net_bridge_allowed(EXTRA_LIST, "br0", &err), -EPERM);
	ck_assert_int_eq(unlink(NET_BRIDGE_LIST), 0);
	ck_assert_int_eq(mkdir(NET_BRIDGE_LIST, 0755), 0);
	not_allowed("br0", -EINVAL, "is not a regular file");
}

/* A file for each user. */
TEST(unreadable)
{
	new_etc();
	write_list(EXTRA_LIST, "deny all");
	ck_assert_int_eq(chmod(EXTRA_LIST, 0600), 0);
	write_list(NET_BRIDGE_LIST, "allow br0\ninclude " EXTRA_LIST);
	ck_assert_int_eq(seteuid(65534), 0);
	allowed("br0");
	ck_assert_int_eq(seteuid(0), 0);
	not_allowed("br0", -EACCES, "deny all");
	ck_assert_int_eq(chmod(NET_BRIDGE_LIST, 0600), 0);
	ck_assert_int_eq(seteuid(65534), 0);
	not_allowed("br0", -EACCES, "/etc/stasis/bridges: Permission denied");
	ck_assert_int_eq(seteuid(0), 0);
}

/* --- the card */

static int host; /* a socket for ioctl() */

static struct ifreq ask(const char *interface, unsigned long request)
{
	struct ifreq ifr = {0};

	strcpy(ifr.ifr_name, interface);
	ck_assert_int_eq(ioctl(host, request, &ifr), 0);
	return ifr;
}

static void set_flags(const char *interface, short flags)
{
	struct ifreq ifr = {.ifr_flags = flags};

	strcpy(ifr.ifr_name, interface);
	ck_assert_int_eq(ioctl(host, SIOCSIFFLAGS, &ifr), 0);
}

static void make_bridge(void)
{
	struct ifreq ifr = {.ifr_name = BRIDGE, .ifr_mtu = MTU};

	ck_assert_msg(!ioctl(host, SIOCBRADDBR, BRIDGE), "no bridge (modprobe bridge): %s",
		      strerror(errno));
	ck_assert_int_eq(ioctl(host, SIOCSIFMTU, &ifr), 0);
	set_flags(BRIDGE, IFF_UP);
}

/* A card in BRIDGE, which is allowed, but not there yet. */
static void bridge_options(uint32_t queues)
{
	tap_options(queues);
	strcpy(card.bridge, BRIDGE);
	new_etc();
	write_list(NET_BRIDGE_LIST, "allow " BRIDGE);
	host = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	ck_assert_int_ge(host, 0);
}

/* The host's own interface of the bridge, for frames of EtherType 88b5. */
static int open_wire(void)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET,
				   .sll_protocol = htons(0x88b5),
				   .sll_ifindex = (int)if_nametoindex(BRIDGE)};
	int fd = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	return fd;
}

static bool reaches_host(int wire)
{
	send_frame(0, NULL, packet, sizeof(packet));
	driver_wait(&drv, TX);
	return recv(wire, seen, sizeof(seen), 0) == sizeof(packet) &&
	       !memcmp(seen, packet, sizeof(packet));
}

/* The host's own frames come as well, such as IGMP's: each gives its buffer back. */
static bool reaches_guest(int wire)
{
	uint32_t bytes;
	uint16_t head;

	ck_assert_int_eq(send(wire, packet, sizeof(packet), 0), sizeof(packet));
	if (!driver_get(&drv, RX, &head, &bytes))
		return false;
	if (!memcmp((uint8_t *)driver_ram(buffer_gpa(1)) + HEADER, packet, sizeof(packet)))
		return true;
	offer_rx(1, 1526);
	return false;
}

/* A port that has just come up drops frames for a moment: they are sent again. */
static void frames_cross(int wire)
{
	bool out = false, in = false;

	fill_frame(packet, sizeof(packet), "\xff\xff\xff\xff\xff\xff", 0);
	RIG_WAIT_FOR(out = out || reaches_host(wire));
	offer_rx(1, 1526);
	RIG_WAIT_FOR(in = in || reaches_guest(wire));
}

TEST(tap_of_its_own)
{
	int wire;

	bridge_options(1);
	make_bridge();
	virtio_guest_boot();
	driver_start(&drv, "net0", EVERY);
	ck_assert_int_eq(ask(TAP, SIOCGIFMTU).ifr_mtu, MTU);
	ck_assert_int_eq(ask(BRIDGE, SIOCGIFMTU).ifr_mtu, MTU);
	ck_assert_mem_eq(ask(TAP, SIOCGIFHWADDR).ifr_hwaddr.sa_data, "\xfe\x54\x00\x01\x02\x03", 6);
	ck_assert(ask(TAP, SIOCGIFFLAGS).ifr_flags & IFF_UP);
	ck_assert(driver_offered(&drv) & NET_FEATURE(HOST_TSO4));
	wire = open_wire();
	frames_cross(wire);
	rig_reload(); /* the tap goes with the old process and comes with the new one */
	frames_cross(wire);
	virtio_guest_end();
	ck_assert_uint_eq(if_nametoindex(TAP), 0);
}

/* A guest's address is never that of the bridge's port. */
TEST(address_of_the_tap)
{
	bridge_options(1);
	make_bridge();
	card.mac[0] = 0xfe;
	virtio_guest_boot();
	ck_assert_mem_eq(ask(TAP, SIOCGIFHWADDR).ifr_hwaddr.sa_data, "\xfa\x54\x00\x01\x02\x03", 6);
}

TEST(queue_pairs)
{
	uint16_t pairs = 2;
	bool out = false;
	int wire;

	bridge_options(2);
	make_bridge();
	virtio_guest_boot();
	driver_start(&drv, "net0", EVERY);
	ck_assert_uint_eq(
		control_at(4, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2),
		VIRTIO_NET_OK);
	fill_frame(packet, sizeof(packet), "\xff\xff\xff\xff\xff\xff", 0);
	wire = open_wire();
	RIG_WAIT_FOR(out = out || reaches_host(wire));
}

TEST(refused)
{
	bridge_options(1);
	rig_refuses(-ENODEV,
		    WORDS("net0: there is no bridge " BRIDGE,
			  "ip link add " BRIDGE " type bridge && ip link set " BRIDGE " up",
			  "run the same command again"));
	make_bridge();
	write_list(NET_BRIDGE_LIST, "deny all");
	rig_refuses(-EACCES, WORDS("net0: bridge=" BRIDGE ": /etc/stasis/bridges:1: denies"));
	write_list(NET_BRIDGE_LIST, "allow all");
	strcpy(card.bridge, "lo");
	rig_refuses(-EINVAL, WORDS("net0: lo is not a bridge"));
	strcpy(card.bridge, BRIDGE);
	/* Whoever has a name keeps it. */
	strcpy(card.path, "lo");
	rig_refuses(-EBUSY, WORDS("net0: bridge=" BRIDGE ": there is an interface lo already"));
	ck_assert_uint_eq(if_nametoindex(TAP), 0);
}

TEST(refused_without_the_capability)
{
	bridge_options(1);
	make_bridge();
	ck_assert_int_eq(seteuid(65534), 0);
	rig_refuses(-EPERM, WORDS("net0: bridge=" BRIDGE ": this user cannot make a tap",
				  "AmbientCapabilities=CAP_NET_ADMIN"));
	ck_assert_int_eq(seteuid(0), 0);
}

/* Unlike a tap that somebody made, it is where it was. */
TEST(made_for_a_saved_guest)
{
	bridge_options(1);
	make_bridge();
	rig.vm.awaits_guest = true;
	virtio_guest_boot();
	ck_assert_uint_ne(if_nametoindex(TAP), 0);
}

TEST(only_looked_for)
{
	bridge_options(2);
	card.only_look = true;
	rig_refuses(-ENODEV, WORDS("there is no bridge " BRIDGE));
	make_bridge();
	virtio_guest_boot();
	/* It offers what it would with its tap: a saved guest is compared with that. */
	ck_assert(net_of(devices_find(&rig.vm, "net0"))->backend.ops->offloads &
		  NET_FEATURE(HOST_TSO4));
	ck_assert_uint_eq(if_nametoindex(TAP), 0);
	virtio_guest_end();
}

UNIT_MAIN(rig_open, rig_close)
