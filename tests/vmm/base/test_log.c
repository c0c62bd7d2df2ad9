/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What reaches the operator: lines of the log, inherited descriptors, text. None of these tests comes back if a write
 * blocks. */
#include "tests/rig/unit.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

/* --- the log: what becomes of lines that nobody takes */

#define LOST(WHAT) "stasis vm1: warn: " WHAT " of this log could not be written\n"

static char lines[1 << 17];
static int reader;
static size_t filled_bytes;

/* Standard error becomes a full pipe, of which the test has both ends. */
static void log_to_full_pipe(void)
{
	static const char page[4096];
	int fd[2], own;

	ck_assert_int_eq(pipe(fd), 0);
	reader = fd[0];
	ck_assert_int_eq(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	log_init(LOG_INFO, "vm1");
	own = open("/proc/self/fd/2", O_WRONLY | O_NONBLOCK | O_CLOEXEC);
	while (write(own, page, sizeof(page)) == sizeof(page))
		filled_bytes += sizeof(page);
	ck_assert_uint_gt(filled_bytes, 0);
	close(own);
	ck_assert_int_eq(fcntl(reader, F_SETFL, O_NONBLOCK), 0);
}

/* What has come behind all that filled the pipe. */
static const char *logged(void)
{
	const char *behind = lines + filled_bytes;
	size_t n = 0;
	ssize_t ret;

	while ((ret = read(reader, lines + n, sizeof(lines) - 1 - n)) > 0)
		n += (size_t)ret;
	ck_assert_uint_ge(n, filled_bytes);
	lines[n] = '\0';
	filled_bytes = 0;
	return behind;
}

TEST(journal_learns_the_level)
{
	char stream[64], line[64] = "";
	struct stat st;
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, fd), 0);
	ck_assert_int_eq(dup2(fd[1], STDERR_FILENO), STDERR_FILENO);
	ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
	snprintf(stream, sizeof(stream), "%ju:%ju", (uintmax_t)st.st_dev, (uintmax_t)st.st_ino);
	setenv("JOURNAL_STREAM", stream, 1);
	log_init(LOG_INFO, "vm1");
	log_error("broken");
	ck_assert_int_gt(read(fd[0], line, sizeof(line) - 1), 0);
	ck_assert_str_eq(line, "<3>stasis vm1: error: broken\n");
	setenv("JOURNAL_STREAM", "1:1", 1); /* stderr was redirected since */
	log_init(LOG_INFO, "vm1");
	log_info("fine");
	line[read(fd[0], line, sizeof(line) - 1)] = '\0';
	ck_assert_str_eq(line, "stasis vm1: info: fine\n");
}

TEST(full_pipe)
{
	log_to_full_pipe();
	for (int i = 0; i < 3; i++)
		log_warn("nobody reads this");
	ck_assert_str_eq(logged(), "");
	log_warn("back");
	ck_assert_str_eq(logged(), LOST("3 lines") "stasis vm1: warn: back\n");
	log_warn("again");
	ck_assert_str_eq(logged(), "stasis vm1: warn: again\n");
}

static struct loop loop;

static void quit(void *opaque)
{
	loop_quit(&loop);
}

/* Serves what is ready by now. */
static void spin(void)
{
	loop.stop = false;
	loop_wake(&loop);
	loop_run(&loop);
}

/* It is told as soon as somebody reads, though there is no further line. */
TEST(full_pipe_watched)
{
	struct error err;

	log_to_full_pipe();
	ck_assert_int_eq(loop_init(&loop, quit, NULL, &err), 0);
	log_watch(&loop);
	log_warn("nobody reads this");
	spin();
	ck_assert_str_eq(logged(), "");
	for (int i = 0; i < 3; i++)
		spin();
	ck_assert_str_eq(logged(), LOST("1 line"));
	log_unwatch(&loop);
	ck_assert_str_eq(logged(), "");
	loop_close(&loop);
}

/* The VM ends before anybody looks. */
TEST(told_at_the_end)
{
	struct error err;

	log_to_full_pipe();
	ck_assert_int_eq(loop_init(&loop, quit, NULL, &err), 0);
	log_watch(&loop);
	log_warn("nobody reads this");
	logged();
	log_unwatch(&loop);
	ck_assert_str_eq(logged(), LOST("1 line"));
	loop_close(&loop);
}

/* A file that may not grow cuts a line off; what follows begins a new one. */
TEST(torn_line)
{
	char path[] = "/tmp/stasis-log.XXXXXX";
	struct rlimit limit, small;
	ssize_t n;

	signal(SIGXFSZ, SIG_IGN); /* as main() does */
	reader = mkstemp(path);
	unlink(path);
	ck_assert_int_eq(dup2(reader, STDERR_FILENO), STDERR_FILENO);
	log_init(LOG_INFO, "vm1");
	ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
	small = (struct rlimit){20, limit.rlim_max};
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &small), 0);
	log_warn("one");
	log_warn("two");
	ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
	log_warn("three");
	n = pread(reader, lines, sizeof(lines) - 1, 0);
	lines[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(lines,
			 "stasis vm1: warn: on\n" LOST("2 lines") "stasis vm1: warn: three\n");
}

/* What a client names a file, or a checkpoint a VM, forges no line and steers no terminal. */
TEST(hostile_text)
{
	log_to_full_pipe();
	logged();
	log_warn("%s: No such file", "/srv/K\xc3\xb6ln\nstasis vm1: error: \x1b[2J\r\xc2\x9b\xff");
	ck_assert_str_eq(logged(), "stasis vm1: warn: /srv/K\xc3\xb6ln?stasis vm1: error: "
				   "?[2J????: No such file\n");
}

/* --- each kind of descriptor that a VMM may inherit, until nothing more goes */

#define PIECE (256u << 10) /* what a virtio console may write at once */

static char data[PIECE];

/* Bytes until it would block. */
static size_t fill(int fd)
{
	size_t total = 0;
	ssize_t n;

	while ((n = output_write(fd, data, sizeof(data))) > 0)
		total += (size_t)n;
	ck_assert_int_eq(n, -1);
	ck_assert_int_eq(errno, EAGAIN);
	return total;
}

static void drain(int fd, size_t bytes)
{
	static char back[PIECE];

	for (ssize_t n; bytes; bytes -= (size_t)n) {
		n = read(fd, back, bytes < sizeof(back) ? bytes : sizeof(back));
		ck_assert_int_gt(n, 0);
	}
}

static bool blocks(int fd)
{
	return !(fcntl(fd, F_GETFL) & O_NONBLOCK);
}

/* Full, emptied, full again, through fd and through what it was reopened as. */
static void fill_both(int writer, int other_end)
{
	int own = output_reopen(writer, O_WRONLY);

	ck_assert_int_gt(own, STDERR_FILENO);
	for (int round = 0; round < 2; round++) {
		drain(other_end, fill(writer));
		drain(other_end, fill(own));
	}
	ck_assert(blocks(writer)); /* as the shell left it */
	close(own);
}

TEST(pipes)
{
	int fd[2];

	ck_assert_int_eq(pipe(fd), 0);
	fill_both(fd[1], fd[0]);
}

TEST(sockets)
{
	static const int type[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
	int fd[2];

	ck_assert_int_eq(socketpair(AF_UNIX, type[0], 0, fd), 0);
	fill_both(fd[1], fd[0]);
	for (size_t i = 1; i < ARRAY_SIZE(type); i++) {
		ck_assert_int_eq(socketpair(AF_UNIX, type[i], 0, fd), 0);
		while (output_write(fd[1], data, 1000) == 1000)
			;
		ck_assert_int_eq(errno, EAGAIN);
	}
}

TEST(terminals)
{
	int master = posix_openpt(O_RDWR | O_NOCTTY), tty, own;

	ck_assert_int_ge(master, 0);
	ck_assert_int_eq(grantpt(master) | unlockpt(master), 0);
	tty = open(ptsname(master), O_RDWR | O_NOCTTY);
	ck_assert_int_ge(tty, 0);
	memset(data, 'x', sizeof(data));
	own = output_reopen(tty, O_WRONLY);
	ck_assert(blocks(tty) && !blocks(own));
	ck_assert_uint_gt(fill(own), 0);
	while (fill(tty)) /* the kernel moves it on to the reader's buffer meanwhile */
		;
	ck_assert_int_eq(tcflush(tty, TCIOFLUSH), 0);
	ck_assert_uint_gt(fill(tty), 0);
	ck_assert_int_eq(tcflush(tty, TCIOFLUSH), 0);
	ck_assert_int_eq(tcflow(tty, TCOOFF), 0); /* Ctrl-S */
	ck_assert_uint_eq(fill(tty), 0);
}

TEST(files)
{
	char path[] = "/tmp/stasis-output.XXXXXX";
	int fd = mkstemp(path), own = output_reopen(fd, O_WRONLY);
	struct stat st;

	ck_assert_int_gt(output_write(fd, data, 100), 0);
	ck_assert_int_gt(output_write(own, data, 100), 0); /* goes on behind */
	ck_assert_int_eq(fstat(fd, &st), 0);
	ck_assert_int_eq(st.st_size, 200);
	unlink(path);
}

TEST(nobody_reads)
{
	int fd[2];

	signal(SIGPIPE, SIG_IGN); /* as main() does */
	ck_assert_int_eq(pipe(fd), 0);
	close(fd[0]);
	ck_assert_int_eq(output_write(fd[1], data, 1), -1);
	ck_assert_int_eq(errno, EPIPE);
}

/* What is opened next must not become the standard output. */
TEST(missing)
{
	struct stat null, st;

	ck_assert_int_eq(stat("/dev/null", &null), 0);
	for (int keep = 0; keep <= STDERR_FILENO + 1; keep++) {
		pid_t child = fork();
		int status, next;

		if (child) {
			ck_assert_int_eq(waitpid(child, &status, 0), child);
			ck_assert_int_eq(status, 0);
			continue;
		}
		for (int fd = 0; fd <= STDERR_FILENO; fd++)
			if (fd != keep)
				close(fd);
		output_open_missing();
		for (int fd = 0; fd <= STDERR_FILENO; fd++)
			if (fd != keep && (fstat(fd, &st) || st.st_rdev != null.st_rdev ||
					   (fcntl(fd, F_GETFL) & O_ACCMODE) != O_RDWR))
				_exit(1);
		next = open("/", O_RDONLY | O_CLOEXEC);
		_exit(next <= STDERR_FILENO);
	}
}

/* --- what of a text reaches log and terminal */

static const struct {
	const char *text, *clean; /* NULL: the same */
} rows[] = {
	{"", NULL},
	{"plain ~!", NULL},
	{"/srv/K\xc3\xb6ln/\xe2\x82\xac/\xf0\x9f\x90\x98", NULL},
	{"a\xc3", "a?"},		   /* cut off */
	{"\xe2\x82", "??"},		   /* the same */
	{"\xc0\xaf\xe0\x80\xaf", "?????"}, /* longer than need be */
	{"\xf0\x80\x80\x80\xf8\x88\x80\x80\x80", "?????????"},
	{"\xed\xa0\x80\xf4\x90\x80\x80", "???????"}, /* surrogate, beyond U+10FFFF */
	{"\xff\xfe\x80", "???"},
	{"\x1b[2J\x7f\n\r\t\a", "?[2J?????"},
	{"\xc2\x9b[2J\xc2\x85", "??[2J??"}, /* controls beyond ASCII */
	{"\xc2\xa0", NULL},
	{"\xe2\x80\x8fx\xd8\x9c", "???x??"},	/* from right to left */
	{"\xe2\x80\xa8\xe2\x80\xac", "??????"}, /* ends a line, a direction */
	{"\xe2\x81\xa9", "???"},
};

TEST_EACH(row, rows)
{
	char text[64];

	snprintf(text, sizeof(text), "%s", rows[_i].text);
	text_clean(text, strlen(text));
	ck_assert_str_eq(text, rows[_i].clean ? rows[_i].clean : rows[_i].text);
}

/* It looks at no byte behind the text. */
TEST(ends_within_a_character)
{
	char text[] = "\xe2\x82\xac";

	text_clean(text, 2);
	ck_assert_str_eq(text, "??\xac");
}

TEST(ascii)
{
	for (int c = -128; c < 128; c++)
		ck_assert_int_eq(text_ascii((char)c), c >= ' ' && c < 0x7f ? c : '?');
}

UNIT_MAIN(NULL, NULL)
