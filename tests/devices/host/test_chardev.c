/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The host end of a character device against real pipes, sockets, files and terminals. */
#include "devices/host/chardev.h"
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <termios.h>
#include <unistd.h>

static struct chardev chr;
static struct chardev_config config;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char dir[] = "/tmp/stasis-chardev-XXXXXX";
static char path[64];

/* The device: room for `space` bytes, and what it has got. */
static char got[4096];
static uint32_t ngot, space, nwritable;

static uint32_t device_room(void *opaque)
{
	return space;
}

static void device_receive(void *opaque, const uint8_t *data, uint32_t n)
{
	ck_assert_uint_le(n, space);
	memcpy(got + ngot, data, n);
	ngot += n;
	space -= n;
}

static void device_writable(void *opaque)
{
	nwritable++;
}

static char clients[16]; /* '+' one has come, '-' it has gone */

static void device_connected(void *opaque, bool is_connected)
{
	ck_assert_int_eq(is_connected, chardev_connected(&chr));
	strcat(clients, is_connected ? "+" : "-");
}

static const struct chardev_ops ops = {device_room, device_receive, device_writable, NULL, false};
static const struct chardev_ops patient_ops = {device_room, device_receive, device_writable,
					       device_connected, true};

static void setup(enum chardev_kind kind)
{
	struct error err = {""};

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/end", dir);
	config = (struct chardev_config){kind, path, "--serial"};
	space = 16;
	ck_assert_msg(!chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), "%s",
		      err.msg);
	chardev_resume(&chr);
}

static void cleanup(void)
{
	if (*path) {
		chardev_close(&chr);
		unlink(path);
		ck_assert_int_eq(rmdir(dir), 0);
	}
	rig_close();
}

static uint32_t put(const char *text)
{
	return chardev_write(&chr, (const uint8_t *)text, (uint32_t)strlen(text));
}

static void expect_got(const char *text)
{
	RIG_WAIT_FOR(ngot >= strlen(text));
	ck_assert_uint_eq(ngot, strlen(text));
	ck_assert_int_eq(memcmp(got, text, ngot), 0);
	ngot = 0;
}

/* Reads until all of text has come. */
static void expect_out(int fd, const char *text)
{
	char data[64];
	size_t n = 0;

	for (int spins = 0; n < strlen(text) && spins < 2000; spins++) {
		struct pollfd ready = {.fd = fd, .events = POLLIN};
		ssize_t ret;

		rig_spin();
		if (poll(&ready, 1, 0) < 1)
			continue;
		ret = read(fd, data + n, sizeof(data) - n);
		ck_assert_int_gt(ret, 0);
		n += (size_t)ret;
	}
	ck_assert_uint_eq(n, strlen(text));
	ck_assert_int_eq(memcmp(data, text, n), 0);
}

static void to_host(int fd, const char *text)
{
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
}

/* Descriptors 0 and 1 become the test's; returns the outer ends. */
static void replace_stdio(int in, int out)
{
	ck_assert_int_ge(dup2(in, 0), 0);
	ck_assert_int_ge(dup2(out, 1), 0);
}

static void pipes(int *to, int *from)
{
	int in[2], out[2];

	ck_assert_int_eq(pipe(in), 0);
	ck_assert_int_eq(pipe(out), 0);
	replace_stdio(in[0], out[1]);
	close(in[0]);
	close(out[1]);
	*to = in[1];
	*from = out[0];
}

TEST(none)
{
	setup(CHARDEV_NONE);
	ck_assert_uint_eq(put("lost"), 4);
}

TEST(file_appends)
{
	char text[32] = "";
	FILE *file;
	struct stat st;
	struct error err;

	umask(0);
	setup(CHARDEV_FILE);
	ck_assert_int_eq(stat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600); /* passwords are typed at consoles */
	ck_assert_uint_eq(put("first\n"), 6);
	chardev_close(&chr);
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), 0);
	ck_assert_uint_eq(put("second\n"), 7);
	file = fopen(path, "r");
	ck_assert_uint_eq(fread(text, 1, sizeof(text), file), 13);
	fclose(file);
	ck_assert_str_eq(text, "first\nsecond\n");
}

TEST(file_full)
{
	struct chardev_config full = {CHARDEV_FILE, "/dev/full", "--serial"};
	struct error err;

	ck_assert_int_eq(chardev_open(&chr, &full, &rig.vm, &ops, NULL, &lock, &err), 0);
	ck_assert_uint_eq(put("lost"), 4); /* and the guest goes on */
	ck_assert_uint_eq(put("lost"), 4);
	chardev_close(&chr);
}

TEST(fifo_that_nobody_reads)
{
	static const uint8_t data[4096];
	struct error err;
	int fd;

	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/end", dir);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	config = (struct chardev_config){CHARDEV_FILE, path, "--serial"};
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), 0);
	chardev_resume(&chr);
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	RIG_WAIT_FOR(nwritable == 1);
	ck_assert_uint_eq(put("lost"), 4);
	close(fd);
}

TEST(file_refused)
{
	struct chardev_config bad = {CHARDEV_FILE, "/nonexistent/log", "--serial"};
	struct error err;

	ck_assert_int_eq(chardev_open(&chr, &bad, &rig.vm, &ops, NULL, &lock, &err), -ENOENT);
	ck_assert_str_eq(err.msg, "--serial file:/nonexistent/log: its folder does not exist: make "
				  "it first");
}

TEST(socket_both_ways)
{
	int fd;

	setup(CHARDEV_UNIX);
	ck_assert_uint_eq(put("nobody listens"), 14);
	fd = rig_connect(path);
	to_host(fd, "hello");
	expect_got("hello");
	ck_assert_uint_eq(put("answer"), 6);
	expect_out(fd, "answer");
	close(fd);
	RIG_WAIT_FOR(chr.in_fd < 0);
	ck_assert_uint_eq(put("lost"), 4);
	fd = rig_connect(path);
	RIG_WAIT_FOR(chr.in_fd >= 0);
	ck_assert_uint_eq(put("next"), 4);
	expect_out(fd, "next");
	close(fd);
}

TEST(socket_clients_are_told_of)
{
	struct error err;
	int fd, other;

	setup(CHARDEV_NONE);
	ck_assert(chardev_connected(&chr));
	chardev_close(&chr);
	config.kind = CHARDEV_UNIX;
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &patient_ops, NULL, &lock, &err), 0);
	fd = rig_connect(path);
	rig_spins(5);
	ck_assert_str_eq(clients, ""); /* paused: nobody is called back */
	chardev_resume(&chr);
	ck_assert_str_eq(clients, "+");
	close(fd);
	RIG_WAIT_FOR(!strcmp(clients, "+-"));
	fd = rig_connect(path);
	RIG_WAIT_FOR(!strcmp(clients, "+-+"));
	/* While paused one goes and the next one comes: that is not the same one. */
	chardev_pause(&chr);
	close(fd);
	RIG_WAIT_FOR(chr.in_fd < 0);
	other = rig_connect(path);
	RIG_WAIT_FOR(chr.nclients == 3);
	ck_assert_str_eq(clients, "+-+");
	chardev_resume(&chr);
	ck_assert_str_eq(clients, "+-+-+");
	chardev_pause(&chr);
	chardev_resume(&chr);
	ck_assert_str_eq(clients, "+-+-+");
	close(other);
}

/* No byte is lost while a patient device's client is there, however slow. */
TEST(socket_slow_reader)
{
	uint8_t data[4096], back[4096];
	uint64_t sent = 0, received = 0;
	struct error err;
	int fd;

	setup(CHARDEV_NONE);
	chardev_close(&chr);
	config.kind = CHARDEV_UNIX;
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &patient_ops, NULL, &lock, &err), 0);
	chardev_resume(&chr);
	fd = rig_connect(path);
	RIG_WAIT_FOR(chardev_connected(&chr));
	for (int round = 0; round < 3; round++) {
		uint32_t n;

		do {
			for (uint32_t i = 0; i < sizeof(data); i++)
				data[i] = (uint8_t)((sent + i) * 7);
			n = chardev_write(&chr, data, sizeof(data));
			sent += n;
		} while (n == sizeof(data));
		nwritable = 0;
		rig_spins(300);
		ck_assert_uint_eq(nwritable, 0);
		while (!nwritable) {
			ck_assert_int_eq(read(fd, back, 1024), 1024);
			for (uint64_t i = 0; i < 1024; i++)
				ck_assert_uint_eq(back[i], (uint8_t)((received + i) * 7));
			received += 1024;
			rig_spin();
		}
	}
	/* Gone in the middle: what it did not take is lost, and nobody waits. */
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	nwritable = 0;
	close(fd);
	RIG_WAIT_FOR(nwritable);
	ck_assert_uint_eq(put("lost"), 4);
}

TEST(query)
{
	struct chardev_info info;
	char filename[128];
	int fd;

	setup(CHARDEV_UNIX);
	chardev_query(&chr, "serial0", &info);
	ck_assert_str_eq(info.label, "serial0");
	snprintf(filename, sizeof(filename), "disconnected:unix:%s,server=on", path);
	ck_assert_str_eq(info.filename, filename);
	fd = rig_connect(path);
	RIG_WAIT_FOR(chr.in_fd >= 0);
	chardev_query(&chr, "serial0", &info);
	ck_assert_str_eq(info.filename, strchr(filename, ':') + 1);
	close(fd);
	chardev_close(&chr);
}

TEST(socket_gone_without_a_word)
{
	int fd;

	setup(CHARDEV_UNIX);
	space = 0;
	fd = rig_connect(path);
	RIG_WAIT_FOR(chr.in_fd >= 0);
	close(fd);
	RIG_WAIT_FOR(chr.in_fd < 0);
}

TEST(socket_flow_control)
{
	int fd;

	setup(CHARDEV_UNIX);
	fd = rig_connect(path);
	to_host(fd, "0123456789abcdefGHIJ");
	expect_got("0123456789abcdef");
	rig_spins(5);
	ck_assert_uint_eq(ngot, 0);
	ck_assert_uint_eq(chr.nahead, 0); /* the rest is still in the socket */
	space = 16;
	chardev_accept_input(&chr);
	expect_got("GHIJ");
	close(fd);
}

TEST(socket_short_visit)
{
	int fd, other;

	setup(CHARDEV_UNIX);
	space = 0;
	fd = rig_connect(path);
	to_host(fd, "said and gone");
	close(fd);
	rig_spins(5);
	space = 16;
	chardev_accept_input(&chr);
	expect_got("said and gone"); /* nothing of it is lost */
	RIG_WAIT_FOR(chr.in_fd < 0);
	space = 0;
	fd = rig_connect(path);
	to_host(fd, "never read");
	RIG_WAIT_FOR(chr.in_fd >= 0);
	close(fd);
	other = rig_connect(path); /* a guest that does not read does not lock others out */
	rig_spins(5);
	ck_assert_uint_eq(put("welcome"), 7);
	expect_out(other, "welcome");
	close(other);
}

TEST(socket_half_closed)
{
	int fd;

	setup(CHARDEV_UNIX);
	fd = rig_connect(path);
	to_host(fd, "last");
	shutdown(fd, SHUT_WR);
	expect_got("last");
	rig_spins(5);
	ck_assert_uint_eq(put("still here"), 10);
	expect_out(fd, "still here");
	close(fd);
	RIG_WAIT_FOR(chr.in_fd < 0);
}

TEST(socket_never_reads)
{
	static const uint8_t data[4096];
	char drain[4096];
	int fd;

	setup(CHARDEV_UNIX);
	fd = rig_connect(path);
	RIG_WAIT_FOR(chr.in_fd >= 0);
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	ck_assert(chr.blocked);
	ck_assert_uint_eq(put("x"), 0); /* a moment's patience, which the FIFO bridges */
	RIG_WAIT_FOR(nwritable == 1);
	ck_assert_uint_eq(put("lost"), 4); /* then the guest goes on */
	fcntl(fd, F_SETFL, O_NONBLOCK);
	while (read(fd, drain, sizeof(drain)) > 0)
		;
	RIG_WAIT_FOR(!chr.discard);
	ck_assert_uint_eq(put("back"), 4);
	expect_out(fd, "back");
	/* Gone while it blocks: the device hears of it at once. */
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	nwritable = 0;
	close(fd);
	RIG_WAIT_FOR(nwritable == 1);
}

TEST(socket_paused)
{
	int fd;

	setup(CHARDEV_UNIX);
	chardev_pause(&chr);
	chardev_pause(&chr);
	fd = rig_connect(path);
	to_host(fd, "later");
	rig_spins(5);
	ck_assert_uint_eq(ngot, 0);
	chardev_resume(&chr);
	expect_got("later");
	close(fd);
}

TEST(socket_files)
{
	struct chardev second;
	struct error err;
	struct stat st;

	umask(0077);
	setup(CHARDEV_UNIX);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_uint_eq(st.st_mode & 0777, 0600); /* the console is its owner's alone */
	ck_assert_int_eq(chardev_open(&second, &config, &rig.vm, &ops, NULL, &lock, &err),
			 -EADDRINUSE);
	ck_assert_ptr_nonnull(strstr(err.msg, "another process listens there"));
	ck_assert_int_eq(lstat(path, &st), 0);
	/* As a killed process leaves it. */
	chr.listen.file.st_ino = 0;
	chardev_close(&chr);
	ck_assert_int_eq(lstat(path, &st), 0);
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), 0);
	chardev_close(&chr);
	ck_assert_int_ne(lstat(path, &st), 0);
	ck_assert_int_ge(open(path, O_CREAT | O_WRONLY, 0600), 0);
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), -EEXIST);
	ck_assert_ptr_nonnull(strstr(err.msg, "is not a socket"));
	ck_assert_int_eq(lstat(path, &st), 0);
}

/* A client that cannot be taken is hung up on, and does not keep the loop busy. */
TEST(socket_without_descriptors)
{
	struct rlimit limit, few;
	int fd, spare;
	char byte;

	setup(CHARDEV_UNIX);
	fd = rig_connect(path);
	spare = dup(fd);
	close(spare);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &limit), 0);
	few = (struct rlimit){(rlim_t)spare, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &few), 0);
	ck_assert_int_lt(listen_accept(&chr.listen), 0);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &limit), 0);
	ck_assert_int_eq(read(fd, &byte, 1), 0);
	close(fd);
	fd = rig_connect(path);
	RIG_WAIT_FOR(chr.in_fd >= 0);
	close(fd);
}

TEST(stdio_pipe)
{
	int to, from;

	signal(SIGPIPE, SIG_IGN); /* as main() does */
	pipes(&to, &from);
	setup(CHARDEV_STDIO);
	ck_assert_int_eq(fcntl(0, F_GETFL) & O_NONBLOCK, 0); /* shared with the shell */
	ck_assert_int_eq(fcntl(1, F_GETFL) & O_NONBLOCK, 0);
	to_host(to, "abc\001\001d\001q");
	expect_got("abc\001d");
	ck_assert_uint_eq(put("out"), 3);
	expect_out(from, "out");
	ck_assert_uint_eq(rig.requests, 0);
	to_host(to, "\001");
	rig_spin();
	to_host(to, "x");
	RIG_WAIT_FOR(rig.requests == VM_REQUEST_QUIT);
	close(to); /* the end of input is no reason to end */
	RIG_WAIT_FOR(chr.eof);
	ck_assert_uint_eq(put("on"), 2);
	expect_out(from, "on");
	close(from); /* nor is that of output */
	ck_assert_uint_eq(put("lost"), 4);
	ck_assert_uint_eq(put("lost"), 4);
}

TEST(stdio_pipe_full)
{
	static const uint8_t data[4096];
	char drain[4096];
	int to, from;

	pipes(&to, &from);
	setup(CHARDEV_STDIO);
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	ck_assert_uint_eq(put("x"), 0);
	RIG_WAIT_FOR(nwritable == 1);
	ck_assert_uint_eq(put("lost"), 4); /* nobody reads, and the guest goes on */
	ck_assert_int_gt(read(from, drain, sizeof(drain)), 0);
	ck_assert_int_gt(read(from, drain, sizeof(drain)), 0);
	RIG_WAIT_FOR(!chr.discard);
	while (chardev_write(&chr, data, sizeof(data)) == sizeof(data))
		;
	nwritable = 0;
	chardev_pause(&chr);
	ck_assert_int_gt(read(from, drain, sizeof(drain)), 0);
	ck_assert_int_gt(read(from, drain, sizeof(drain)), 0);
	rig_spins(5);
	ck_assert_uint_eq(nwritable, 0);
	chardev_resume(&chr);
	ck_assert_uint_eq(put("x"), 1); /* the device offers again by itself */
}

/* A service's stdout is a socket, which the journal may not read for a while. What a console drops is
 * counted, and told as soon as somebody reads. */
TEST(stdio_socket_full)
{
	static uint8_t data[256 << 10], drain[256 << 10];
	char log[4096] = "", told[128];
	FILE *err_file = tmpfile();
	uint64_t sent = 0, taken = 0;
	uint32_t n;
	int out[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, out), 0);
	ck_assert_int_eq(dup2(fileno(err_file), STDERR_FILENO), STDERR_FILENO);
	replace_stdio(open("/dev/null", O_RDONLY), out[1]);
	setup(CHARDEV_STDIO);
	while ((n = chardev_write(&chr, data, sizeof(data))) == sizeof(data))
		sent += n;
	sent += n;
	RIG_WAIT_FOR(nwritable == 1);
	ck_assert_uint_eq(put("lost"), 4);
	ck_assert_uint_eq(put("and more"), 8);
	ck_assert_int_eq(fcntl(out[0], F_SETFL, O_NONBLOCK), 0);
	for (ssize_t ret; (ret = read(out[0], drain, sizeof(drain))) > 0;)
		taken += (uint64_t)ret;
	ck_assert_uint_eq(taken, sent);
	RIG_WAIT_FOR(!chr.discard);
	ck_assert_uint_eq(put("back"), 4);
	expect_out(out[0], "back");
	rewind(err_file);
	ck_assert_uint_gt(fread(log, 1, sizeof(log) - 1, err_file), 0);
	snprintf(told, sizeof(told), "--serial %s: 12 bytes of its output were dropped\n", path);
	ck_assert_msg(strstr(log, told), "%s is not in %s", told, log);
	fclose(err_file);
}

TEST(stdio_null_and_file)
{
	struct error err;
	int null = open("/dev/null", O_RDWR), fd;

	replace_stdio(null, null);
	setup(CHARDEV_STDIO);
	RIG_WAIT_FOR(chr.eof);
	ck_assert_uint_eq(put("gone"), 4);
	chardev_close(&chr);
	fd = open(path, O_CREAT | O_RDWR, 0600);
	to_host(fd, "from a file, in two pieces");
	lseek(fd, 0, SEEK_SET);
	replace_stdio(fd, null);
	ngot = 0;
	space = 16;
	ck_assert_int_eq(chardev_open(&chr, &config, &rig.vm, &ops, NULL, &lock, &err), 0);
	chardev_resume(&chr);
	expect_got("from a file, in ");
	space = 16;
	chardev_accept_input(&chr);
	expect_got("two pieces");
	RIG_WAIT_FOR(chr.eof);
}

TEST(stdio_terminal)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), tty;
	struct termios before, now;

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	tty = open(ptsname(master), O_RDWR | O_NOCTTY);
	replace_stdio(tty, tty);
	ck_assert_int_eq(tcgetattr(tty, &before), 0);
	setup(CHARDEV_STDIO);
	ck_assert_int_eq(tcgetattr(tty, &now), 0);
	ck_assert_uint_eq(now.c_lflag & (ICANON | ECHO | ISIG), 0);
	ck_assert_int_eq(fcntl(0, F_GETFL) & O_NONBLOCK, 0);
	to_host(master, "\003ls\r"); /* Ctrl-C is the guest's */
	expect_got("\003ls\r");
	ck_assert_uint_eq(put("ok"), 2);
	expect_out(master, "ok");
	/* A guest that does not read cannot keep the escapes from working. */
	space = 0;
	for (uint32_t n = 0; n < sizeof(chr.ahead) + 64; n += 16) {
		to_host(master, "0123456789abcdef");
		rig_spin();
	}
	to_host(master, "\001x");
	RIG_WAIT_FOR(rig.requests == VM_REQUEST_QUIT);
	ck_assert_uint_eq(chr.nahead, sizeof(chr.ahead));
	chardev_restore_terminal();
	ck_assert_int_eq(tcgetattr(tty, &now), 0);
	ck_assert_uint_eq(now.c_lflag, before.c_lflag);
}

UNIT_MAIN(rig_open, cleanup)
