/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Whose the path of a socket is. */
#include "tests/rig/unit.h"
#include "vmm/base/listen.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define PAIRS 500

static char dir[] = "/tmp/stasis-listen-XXXXXX";
static char path[64], lock[80];
static pthread_barrier_t both;

static void setup(void)
{
	ck_assert_ptr_nonnull(mkdtemp(dir));
	snprintf(path, sizeof(path), "%s/qmp", dir);
	snprintf(lock, sizeof(lock), "%s.lock", path);
}

/* Nothing is left behind. */
static void teardown(void)
{
	ck_assert_int_eq(rmdir(dir), 0);
}

struct starter {
	struct listen listener;
	struct error err;
	int ret;
};

static void *start(void *opaque)
{
	struct starter *self = opaque;

	pthread_barrier_wait(&both);
	self->ret = listen_open(&self->listener, "--qmp", path, &self->err);
	return NULL;
}

static void expect_clients_at(struct listen *listener)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int client = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), served;

	memcpy(addr.sun_path, path, strlen(path));
	ck_assert_int_eq(connect(client, (struct sockaddr *)&addr, sizeof(addr)), 0);
	served = listen_accept(listener);
	ck_assert_int_ge(served, 0);
	close(served);
	close(client);
}

/* As the kernel closes the socket of a process that is killed. */
static void kill_owner(struct listen *listener)
{
	listener->file.st_ino = 0;
	listen_close(listener);
}

/* Who may connect is who may write: the user, and the group if the umask leaves it that. Never all. */
TEST(umask_says_who_may_connect)
{
	static const struct {
		mode_t mask, mode;
	} rows[] = {{0077, 0600}, {0022, 0640}, {0007, 0660}, {0, 0660}};
	struct listen listener;
	struct error err;
	struct stat st;

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		umask(rows[i].mask);
		ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), 0);
		ck_assert_int_eq(stat(path, &st), 0);
		ck_assert_uint_eq(st.st_mode & 07777, rows[i].mode);
		listen_close(&listener);
	}
}

/* Two at once, on a socket that a killed process has left behind: one gets it, clients reach that
 * one, and the other one says so. */
TEST(pairs)
{
	struct starter one, two;

	pthread_barrier_init(&both, NULL, 2);
	for (int i = 0; i < PAIRS; i++) {
		struct starter *winner = &one, *loser = &two;
		pthread_t thread;

		one = two = (struct starter){.ret = 1};
		ck_assert_int_eq(pthread_create(&thread, NULL, start, &two), 0);
		start(&one);
		pthread_join(thread, NULL);
		if (one.ret) {
			winner = &two;
			loser = &one;
		}
		ck_assert_msg(!winner->ret, "pair %d: %s; %s", i, one.err.msg, two.err.msg);
		ck_assert_int_eq(loser->ret, -EADDRINUSE);
		ck_assert_msg(strstr(loser->err.msg, "--qmp unix:") &&
				      strstr(loser->err.msg, path) &&
				      strstr(loser->err.msg, "another process"),
			      "%s", loser->err.msg);
		expect_clients_at(&winner->listener);
		kill_owner(&winner->listener);
	}
	unlink(path);
}

TEST(taken_in_turn)
{
	struct listen first, second;
	struct error err;
	struct stat st;

	ck_assert_int_eq(listen_open(&first, "--qmp", path, &err), 0);
	ck_assert_int_eq(listen_open(&second, "--qmp", path, &err), -EADDRINUSE);
	expect_clients_at(&first);
	ck_assert_int_ne(lstat(lock, &st), 0);
	kill_owner(&first);
	ck_assert_int_eq(listen_open(&second, "--qmp", path, &err), 0);
	expect_clients_at(&second);
	listen_close(&second);
}

/* A process that was killed while it held the lock is no reason not to start. */
TEST(lock_left_behind)
{
	struct listen listener;
	struct error err;
	int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(flock(fd, LOCK_EX), 0);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), -EADDRINUSE);
	ck_assert_msg(strstr(err.msg, "another process is about to listen there"), "%s", err.msg);
	close(fd);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), 0);
	listen_close(&listener);
}

/* A file of that name that is not ours is neither removed nor followed. */
TEST(lock_of_others)
{
	struct listen listener;
	struct error err;
	int fd = open(lock, O_CREAT | O_RDWR | O_CLOEXEC, 0600);

	ck_assert_int_eq(write(fd, "x", 1), 1);
	close(fd);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), -EEXIST);
	ck_assert_msg(strstr(err.msg, lock) && strstr(err.msg, "remove it"), "%s", err.msg);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(symlink("/dev/null", lock), 0);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), -EEXIST);
	ck_assert_int_eq(unlink(lock), 0);
	ck_assert_int_eq(mkdir(lock, 0700), 0);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), -EEXIST);
	ck_assert_msg(strstr(err.msg, lock) && strstr(err.msg, "remove it"), "%s", err.msg);
	ck_assert_int_eq(rmdir(lock), 0);
	ck_assert_int_eq(mkfifo(lock, 0600), 0);
	ck_assert_int_eq(listen_open(&listener, "--qmp", path, &err), -EEXIST);
	ck_assert_int_eq(unlink(lock), 0);
}

TEST(no_folder)
{
	struct listen listener;
	struct error err;

	ck_assert_int_eq(listen_open(&listener, "--qmp", "/none/qmp", &err), -ENOENT);
	ck_assert_str_eq(err.msg, "--qmp unix:/none/qmp: its folder does not exist: make it first");
	ck_assert_int_eq(listen_check("--qmp", "/none/qmp", &err), -ENOENT);
	ck_assert_str_eq(err.msg, "--qmp unix:/none/qmp: its folder does not exist: make it first");
}

UNIT_MAIN(setup, teardown)
