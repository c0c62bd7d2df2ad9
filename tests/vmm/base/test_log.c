/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What becomes of lines that nobody takes: none of these tests comes back if the log blocks. */
#include "tests/rig/unit.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#define LOST(WHAT) "stasis vm1: warn: " WHAT " of this log could not be written\n"

static char text[1 << 17];
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
	const char *behind = text + filled_bytes;
	size_t n = 0;
	ssize_t ret;

	while ((ret = read(reader, text + n, sizeof(text) - 1 - n)) > 0)
		n += (size_t)ret;
	ck_assert_uint_ge(n, filled_bytes);
	text[n] = '\0';
	filled_bytes = 0;
	return behind;
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
	(void)opaque;
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
	n = pread(reader, text, sizeof(text) - 1, 0);
	text[n > 0 ? n : 0] = '\0';
	ck_assert_str_eq(text,
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

UNIT_MAIN(NULL, NULL)
