/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A few processes at a time: who waits, what it says and answers meanwhile, and that no turn is lost. */
#include "ram/turn.h"
#include "tests/rig/notify_manager.h"
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static char path[] = "/tmp/stasis-turns.XXXXXX";
static struct error err;
static int manager = -1;

static void set_up(void)
{
	int fd = mkstemp(path);

	ck_assert_int_ge(fd, 0);
	close(fd);
	setenv("STASIS_LOADS_FILE", path, 1);
	setenv("STASIS_LOADS", "2", 1);
}

static void tear_down(void)
{
	unlink(path);
}

static void hear_status(void)
{
	manager = notify_manager();
}

/* A process that has a turn until it is killed. */
static pid_t holder(void)
{
	int ready[2], turn;
	char byte = 0;
	pid_t pid;

	ck_assert_int_eq(pipe(ready), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		if (!turn_take(&turn, NULL, &err) && turn >= 0)
			(void)!write(ready[1], &byte, 1);
		for (;;)
			pause();
	}
	close(ready[1]);
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	close(ready[0]);
	return pid;
}

static void end(pid_t pid)
{
	ck_assert_int_eq(kill(pid, SIGKILL), 0);
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
}

static int no(void *opaque, uint64_t done_bytes, struct error *error)
{
	return error_set(error, -ECANCELED, "enough");
}

/* Takes one, if there is one: the watch ends the wait. */
static bool is_free(int *turn)
{
	const struct ram_watch watch = {no, NULL};
	int ret = turn_take(turn, &watch, &err);

	ck_assert(!ret || ret == -ECANCELED);
	ck_assert_int_eq(!ret, *turn >= 0);
	return !ret;
}

TEST(as_many_as_allowed)
{
	pid_t first = holder(), second = holder();
	int turn;

	ck_assert(!is_free(&turn));
	end(first); /* killed: its turn falls */
	ck_assert(is_free(&turn));
	turn_give_back(&turn);
	ck_assert(is_free(&turn));
	turn_give_back(&turn);
	end(second);
}

static pid_t to_end;
static int calls;

static int end_in_third_call(void *opaque, uint64_t done_bytes, struct error *error)
{
	ck_assert_uint_eq(done_bytes, 0);
	if (++calls == 3)
		end(to_end);
	return 0;
}

TEST(waits_and_says_so)
{
	const struct ram_watch watch = {end_in_third_call, NULL};
	char text[128] = "";
	pid_t other;
	int turn;

	hear_status();
	to_end = holder();
	other = holder();
	ck_assert_int_eq(turn_take(&turn, &watch, &err), 0);
	ck_assert_int_ge(turn, 0);
	ck_assert_int_eq(calls, 3);
	ck_assert_int_gt(recv(manager, text, sizeof(text) - 1, MSG_DONTWAIT), 0);
	ck_assert_str_eq(text, "STATUS=waits for 2 other loads\nEXTEND_TIMEOUT_USEC=120000000");
	turn_give_back(&turn);
	end(other);
}

TEST(nobody_waits_without_file)
{
	pid_t first = holder(), second = holder();
	int turn;

	setenv("STASIS_LOADS_FILE", "/nowhere/loads", 1);
	ck_assert_int_eq(turn_take(&turn, NULL, &err), 0);
	ck_assert_int_eq(turn, -1);
	turn_give_back(&turn);
	unsetenv("STASIS_LOADS_FILE");
	ck_assert_int_eq(turn_take(&turn, NULL, &err), 0);
	ck_assert_int_eq(turn, -1);
	end(first);
	end(second);
}

/* What is no number is not taken for one: at least two, whatever the host has. */
TEST(count_by_environment)
{
	static const char *const bad[] = {"", "0", "-1", "1x", "99999"};
	pid_t first;
	int turn;

	setenv("STASIS_LOADS", "1", 1);
	first = holder();
	ck_assert(!is_free(&turn));
	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		setenv("STASIS_LOADS", bad[i], 1);
		ck_assert(is_free(&turn));
		turn_give_back(&turn);
	}
	unsetenv("STASIS_LOADS");
	ck_assert(is_free(&turn));
	turn_give_back(&turn);
	end(first);
}

UNIT_MAIN(set_up, tear_down)
