/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Writing to each kind of descriptor that a VMM may inherit until nothing more goes: none of these
 * tests comes back if a write blocks. */
#include "tests/rig/unit.h"
#include "vmm/base/output.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

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
static void fill_both(int writer, int reader)
{
	int own = output_reopen(writer, O_WRONLY);

	ck_assert_int_gt(own, STDERR_FILENO);
	for (int round = 0; round < 2; round++) {
		drain(reader, fill(writer));
		drain(reader, fill(own));
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

UNIT_MAIN(NULL, NULL)
