/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The network card with a real tap behind it, in a network namespace of the test's: whole packets
 * with their headers, offloads, queue pairs. */
#include "tests/rig/net_fixture.h"
#include "tests/rig/ram_lost.h"
#include "tests/rig/unit.h"
#include "vmm/base/log.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/rtnetlink.h>
#include <net/ethernet.h>
#include <net/if.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEADS	    (sizeof(struct ether_header) + sizeof(struct iphdr) + sizeof(struct tcphdr))
#define SEGMENT	    1000ul
#define SEGMENTS    4ul
#define LARGE_BYTES (HEADS + SEGMENTS * SEGMENT)

static int wire = -1; /* what the host's network stack sees of the tap, with the packets' headers */
static uint8_t packet[70000], seen[70000];

static void raise_tap(void)
{
	struct sockaddr_ll addr = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)};
	struct ifreq ifr = {.ifr_name = TAP};
	int on = 1;

	wire = socket(AF_PACKET, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	ck_assert_int_ge(wire, 0);
	ck_assert_int_eq(ioctl(wire, SIOCGIFFLAGS, &ifr), 0);
	ifr.ifr_flags |= IFF_UP;
	ck_assert_int_eq(ioctl(wire, SIOCSIFFLAGS, &ifr), 0);
	addr.sll_ifindex = (int)if_nametoindex(TAP);
	ck_assert_int_eq(setsockopt(wire, SOL_PACKET, PACKET_VNET_HDR, &on, sizeof(on)), 0);
	ck_assert_int_eq(setsockopt(wire, SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)), 0);
	ck_assert_int_eq(bind(wire, (struct sockaddr *)&addr, sizeof(addr)), 0);
}

static void set_up(uint32_t queues, uint64_t features)
{
	tap_options(queues);
	virtio_guest_boot();
	raise_tap();
	driver_start(&drv, "net0", features);
}

/* From the guest to the wire; 0: nothing came. */
static uint32_t on_wire(struct virtio_net_hdr *header)
{
	ssize_t n = -1;

	for (int i = 0; n < 0 && i < 100; i++) {
		n = recv(wire, seen, sizeof(seen), 0);
		if (n < 0)
			rig_spin();
	}
	if (n < 0)
		return 0;
	memcpy(header, seen, sizeof(*header));
	memmove(seen, seen + sizeof(*header), sizeof(seen) - sizeof(*header));
	return (uint32_t)n - (uint32_t)sizeof(*header);
}

/* header NULL: all zeroes */
static void to_guest(const struct virtio_net_hdr *header, const uint8_t *frame, uint32_t bytes)
{
	static const struct virtio_net_hdr none;
	const struct iovec iov[] = {{(void *)(header ? header : &none), sizeof(*header)},
				    {(void *)frame, bytes}};

	ck_assert_int_eq(writev(wire, iov, 2), (ssize_t)(sizeof(*header) + bytes));
}

/* One TCP segment, larger than any wire would take. */
static void fill_tcp(uint16_t port)
{
	const uint16_t type = htons(ETHERTYPE_IP);
	const struct iphdr ip = {.version = 4,
				 .ihl = 5,
				 .ttl = 64,
				 .protocol = IPPROTO_TCP,
				 .tot_len = htons(LARGE_BYTES - sizeof(struct ether_header)),
				 .saddr = htonl(0x0a000001),
				 .daddr = htonl(0x0a000002)};
	const struct tcphdr tcp = {.source = htons(port), .dest = htons(80), .doff = 5, .ack = 1};

	fill_frame(packet, LARGE_BYTES, "\xff\xff\xff\xff\xff\xff", 1);
	memcpy(packet + offsetof(struct ether_header, ether_type), &type, sizeof(type));
	memcpy(packet + sizeof(struct ether_header), &ip, sizeof(ip));
	memcpy(packet + sizeof(struct ether_header) + sizeof(ip), &tcp, sizeof(tcp));
}

static const struct virtio_net_hdr gso = {.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					  .gso_type = VIRTIO_NET_HDR_GSO_TCPV4,
					  .hdr_len = HEADS,
					  .gso_size = SEGMENT,
					  .csum_start = sizeof(struct ether_header) +
							sizeof(struct iphdr),
					  .csum_offset = offsetof(struct tcphdr, check)};

TEST(plain_frames)
{
	struct virtio_net_hdr came;

	set_up(1, EVERY);
	fill_frame(packet, 1000, MAC_TEXT, 0);
	send_frame(0, NULL, packet, 1000);
	driver_wait(&drv, TX);
	ck_assert_uint_eq(on_wire(&came), 1000);
	ck_assert_mem_eq(seen, packet, 1000);
	offer_rx(1, 1526);
	to_guest(NULL, packet, 900);
	ck_assert_uint_eq(driver_wait(&drv, RX), 900 + HEADER);
	ck_assert_mem_eq((uint8_t *)driver_ram(buffer_gpa(1)) + HEADER, packet, 900);
}

/* Segmentation is left to whoever comes next. */
TEST(large_packets_out)
{
	struct virtio_net_hdr_v1 header = {0};
	struct virtio_net_hdr came;

	set_up(1, EVERY);
	memcpy(&header, &gso, sizeof(gso));
	fill_tcp(1);
	send_frame(0, &header, packet, LARGE_BYTES);
	ck_assert_uint_eq(on_wire(&came), LARGE_BYTES);
	ck_assert_uint_eq(came.gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(came.gso_size, SEGMENT);
	ck_assert_mem_eq(seen, packet, LARGE_BYTES);
	/* A header that cannot be is the guest's loss, not the card's. */
	header.gso_type = 0x7e;
	send_frame(0, &header, packet, LARGE_BYTES);
	header = (struct virtio_net_hdr_v1){.flags = VIRTIO_NET_HDR_F_NEEDS_CSUM,
					    .csum_start = 60000};
	send_frame(1, &header, packet, LARGE_BYTES);
	driver_wait(&drv, TX);
	driver_wait(&drv, TX);
	driver_wait(&drv, TX);
	ck_assert_uint_eq(on_wire(&came), 0);
	ck_assert_uint_eq(driver_status(&drv), 15);
}

static void offer_many(void)
{
	for (uint32_t i = 0; i < 20; i++)
		offer_rx(i, 1526);
}

static void expect_large(void)
{
	const struct virtio_net_hdr_v1 *header = driver_ram(buffer_gpa(0));

	to_guest(&gso, packet, LARGE_BYTES);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1526);
	ck_assert_uint_eq(driver_wait(&drv, RX), 1526);
	ck_assert_uint_eq(driver_wait(&drv, RX), LARGE_BYTES + HEADER - 2 * 1526ul);
	ck_assert_uint_eq(header->num_buffers, 3);
	ck_assert_uint_eq(header->gso_type, VIRTIO_NET_HDR_GSO_TCPV4);
	ck_assert_uint_eq(header->gso_size, SEGMENT);
	ck_assert_uint_eq(header->flags, VIRTIO_NET_HDR_F_NEEDS_CSUM);
}

static void expect_segments(void)
{
	to_guest(&gso, packet, LARGE_BYTES);
	for (uint32_t i = 0; i < SEGMENTS; i++)
		ck_assert_uint_eq(driver_wait(&drv, RX), HEADS + SEGMENT + HEADER);
}

TEST(large_packets_in)
{
	const uint64_t none = 0, nonsense = NET_FEATURE(GUEST_TSO4),
		       both = NET_FEATURE(GUEST_CSUM) | NET_FEATURE(GUEST_TSO4);

	set_up(1, EVERY);
	fill_tcp(1);
	offer_many();
	expect_large();
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &none, 8),
			  VIRTIO_NET_OK);
	expect_segments();
	/* What was chosen is chosen after a load too. */
	close(wire);
	rig_reload();
	raise_tap();
	expect_segments();
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &both, 8),
			  VIRTIO_NET_OK);
	/* No segments without checksums: what the kernel refuses changes nothing. */
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_GUEST_OFFLOADS,
				  VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET, &nonsense, 8),
			  VIRTIO_NET_ERR);
	ck_assert_uint_eq(net_of(rig.dev)->s.offloads, both);
	driver_start(&drv, "net0", EVERY);
	offer_many();
	expect_large();
}

TEST(no_offloads_accepted)
{
	set_up(1, NET_FEATURE(MRG_RXBUF));
	fill_tcp(1);
	offer_many();
	expect_segments();
	/* Nor do those of the driver before stay, if the kernel refuses what was accepted. */
	driver_start(&drv, "net0", EVERY);
	driver_start(&drv, "net0", NET_FEATURE(MRG_RXBUF) | NET_FEATURE(GUEST_TSO4));
	offer_many();
	expect_segments();
}

static uint32_t take_received(uint32_t came[2])
{
	uint32_t bytes;
	uint16_t head;

	for (uint32_t pair = 0; pair < 2; pair++)
		while (driver_get(&drv, 2 * pair, &head, &bytes))
			came[pair]++;
	return came[0] + came[1];
}

/* Sends n packets of different connections to the guest; returns how many came by each pair. One that is lost is
 * sent again: the kernel starts the queues of an interface some time after it is up, and drops packets until then. */
static void spread(uint32_t n, uint32_t came[2])
{
	struct driver_buffer buffer = {.bytes = 1526};

	came[0] = came[1] = 0;
	for (uint32_t i = 0, spins = 0; i < n; i++) {
		for (uint32_t pair = 0; pair < 2; pair++) {
			buffer.gpa = buffer_gpa(pair * 16 + i % 16);
			driver_add(&drv, 2 * pair, &buffer, 0, 1);
			driver_kick(&drv, 2 * pair);
		}
		fill_tcp((uint16_t)(1000 + i));
		for (; take_received(came) == i && spins < 3000; spins++) {
			if (spins % 100 == 0)
				to_guest(NULL, packet, 100);
			rig_spin();
		}
		spins -= spins % 100;
	}
	ck_assert_uint_eq(came[0] + came[1], n);
}

static uint8_t set_pairs(uint16_t pairs)
{
	return control_at(4, VIRTIO_NET_CTRL_MQ, VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET, &pairs, 2);
}

TEST(queue_pairs)
{
	const struct driver_buffer out = {buffer_gpa(50), HEADER + 60};
	struct virtio_net_hdr header;
	struct net_state bad;
	uint32_t came[2];

	set_up(2, EVERY);
	ck_assert_uint_eq(driver_config(&drv, 8, 2), 2);
	spread(30, came);
	ck_assert_uint_eq(came[0], 30);
	ck_assert_uint_eq(set_pairs(0), VIRTIO_NET_ERR);
	ck_assert_uint_eq(set_pairs(3), VIRTIO_NET_ERR);
	ck_assert_uint_eq(set_pairs(2), VIRTIO_NET_OK);
	bad = net_of(rig.dev)->s;
	ck_assert_ptr_null(rig.dev->ops->state->check(&bad));
	bad.virtio.status = 11; /* and yet nobody can have asked for the second pair */
	ck_assert_ptr_nonnull(rig.dev->ops->state->check(&bad));
	spread(30, came);
	ck_assert_uint_gt(came[0], 0);
	ck_assert_uint_gt(came[1], 0);
	fill_frame((uint8_t *)driver_ram(buffer_gpa(50)) + HEADER, 60, MAC_TEXT, 0);
	driver_add(&drv, 3, &out, 1, 0);
	driver_kick(&drv, 3);
	ck_assert_uint_eq(on_wire(&header), 60);
	close(wire);
	rig_reload();
	raise_tap();
	spread(20, came);
	ck_assert_uint_gt(came[0], 0);
	ck_assert_uint_gt(came[1], 0);
	ck_assert_uint_eq(set_pairs(1), VIRTIO_NET_OK);
	/* Who knows no queue pairs has the first one and the control queue behind it. */
	driver_start(&drv, "net0", EVERY & ~NET_FEATURE(MQ));
	ck_assert_uint_eq(control(VIRTIO_NET_CTRL_MAC, VIRTIO_NET_CTRL_MAC_ADDR_SET, MAC_TEXT, 6),
			  VIRTIO_NET_OK);
	offer_rx(0, 1526);
	to_guest(NULL, packet, 100);
	ck_assert_uint_eq(driver_wait(&drv, RX), 100 + HEADER);
}

/* An interface that is removed under the card costs the guest its network, and nobody time. */
TEST(interface_goes)
{
	struct {
		struct nlmsghdr head;
		struct ifinfomsg info;
	} message = {{.nlmsg_len = sizeof(message),
		      .nlmsg_type = RTM_DELLINK,
		      .nlmsg_flags = NLM_F_REQUEST},
		     {.ifi_index = 0}};
	int fd;

	set_up(1, EVERY);
	offer_rx(0, 1526);
	message.info.ifi_index = (int)if_nametoindex(TAP);
	fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
	ck_assert_int_eq(send(fd, &message, sizeof(message), 0), sizeof(message));
	RIG_WAIT_FOR(net_of(rig.dev)->backend.fd[0] < 0);
	fill_frame(packet, 60, MAC_TEXT, 0);
	send_frame(1, NULL, packet, 60);
	driver_wait(&drv, TX);
	set_link(false);
	set_link(true);
	send_frame(1, NULL, packet, 60);
	driver_wait(&drv, TX);
}

static int open_tap(short flags)
{
	struct ifreq ifr = {.ifr_name = TAP, .ifr_flags = flags};
	int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

	ck_assert_int_eq(ioctl(fd, TUNSETIFF, &ifr), 0);
	return fd;
}

TEST(inherited)
{
	struct virtio_net_hdr header;

	tap_options(1);
	card_options(NET_FD, 1);
	card.fd = open_tap(IFF_TAP | IFF_NO_PI);
	rig_refuses(-EINVAL, WORDS("IFF_VNET_HDR"));
	ck_assert_int_lt(fcntl(card.fd, F_GETFD), 0); /* it was the card's */
	card.fd = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	virtio_guest_boot();
	raise_tap();
	driver_start(&drv, "net0", EVERY);
	ck_assert(driver_offered(&drv) & NET_FEATURE(HOST_TSO4));
	fill_frame(packet, 60, MAC_TEXT, 0);
	send_frame(1, NULL, packet, 60);
	ck_assert_uint_eq(on_wire(&header), 60);
	ck_assert_int_eq(fcntl(card.fd, F_GETFD), FD_CLOEXEC);
	virtio_guest_end();
	ck_assert_int_lt(fcntl(card.fd, F_GETFD), 0);
}

TEST(refused)
{
	int fd;

	tap_options(2);
	fd = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	rig_refuses(-EINVAL,
		    WORDS("without multi_queue", "ip link del " TAP " && ip tuntap add dev " TAP,
			  " multi_queue && "));
	card.queues = 1;
	rig_refuses(-EBUSY, WORDS(TAP " is another process's"));
	close(fd);
	fd = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE);
	rig_refuses(-EINVAL, WORDS("is one with multi_queue"));
	close(fd);
	/* Nobody is told to delete an interface that is no tap. */
	strcpy(card.path, "lo");
	ck_assert_ptr_null(strstr(
		rig_refuses(-EINVAL, WORDS("net0: lo is not a tap: give tap= the name of one")),
		"del"));
	card_options(NET_FD, 1);
	card.fd = open("/dev/null", O_RDWR | O_CLOEXEC);
	rig_refuses(-EINVAL, WORDS("neither a tap nor a stream socket"));
}

/* Neither the node nor the interface is for everybody. */
TEST(refused_to_users)
{
	const char *way_out = "give this user access to it";
	struct error err = {""};

	tap_options(1);
	ck_assert_int_eq(seteuid(65534), 0);
	if (!eaccess("/dev/net/tun", R_OK | W_OK))
		way_out = "this user cannot make one (Operation not permitted): as root, ip tuntap";
	ck_assert_int_lt(devices_attach(&rig.vm, &err), 0);
	ck_assert_msg(strstr(err.msg, way_out), "%s", err.msg);
	ck_assert_int_eq(seteuid(0), 0);
}

/* One that root makes by the way is gone with the process: that is said. */
TEST(made_here)
{
	char text[4096] = "";
	FILE *log = tmpfile();

	tap_options(1);
	dup2(fileno(log), STDERR_FILENO);
	log_init(LOG_INFO, NULL);
	virtio_guest_boot();
	rewind(log);
	ck_assert_uint_gt(fread(text, 1, sizeof(text) - 1, log), 0);
	ck_assert_msg(strstr(text, "made tap " TAP ", which goes with this process"), "%s", text);
	ck_assert_ptr_nonnull(strstr(text, "ip tuntap add dev " TAP " mode tap user 0 && "));
	virtio_guest_end();
	fclose(log);
}

/* For a guest that comes back none is made: it would be in no bridge, and the guest without a network. */
TEST(not_made_for_a_saved_guest)
{
	int fd;

	tap_options(1);
	rig.vm.awaits_guest = true;
	rig_refuses(-ENODEV, WORDS("net0: there is no tap " TAP,
				   "ip tuntap add dev " TAP " mode tap user 0 && ",
				   "run the same command again"));
	ck_assert_uint_eq(if_nametoindex(TAP), 0);
	fd = open_tap(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR);
	ck_assert_int_eq(ioctl(fd, TUNSETPERSIST, 1), 0);
	close(fd);
	virtio_guest_boot();
}

/* Where guest RAM is not there, the VM stops; until then the network loses frames. */
TEST(ram_lost)
{
	struct virtio_net_hdr came;

	set_up(1, EVERY);
	fill_frame(packet, 1000, MAC_TEXT, 0);
	offer_rx(1, 1526);
	ram_lost_begin(buffer_gpa(1));
	to_guest(NULL, packet, 900);
	ram_lost_end(buffer_gpa(1));
	put_frame(2, NULL, packet, 1000);
	ram_lost_begin(buffer_gpa(2));
	driver_kick(&drv, TX);
	ram_lost_end(buffer_gpa(2));
	ck_assert_uint_eq(on_wire(&came), 0);
}

UNIT_MAIN(rig_open, rig_close)
