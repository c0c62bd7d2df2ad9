/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock of a running VM: one holder, nothing left behind, in a folder that is the user's own. */
#include "vmm/identity.h"
#include "tests/unit.h"
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define NOBODY 65534

static uint8_t uuid[UUID_BYTES];
static char runtime[64], folder[96], file[160];
static struct error err;

/* As any user but root, with a runtime folder: the test may be root, and goes back to it. */
static void as_user(void)
{
	char text[UUID_TEXT];

	strcpy(runtime, "/tmp/stasis-identity.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(runtime));
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	if (!geteuid()) {
		ck_assert_int_eq(chown(runtime, NOBODY, NOBODY), 0);
		ck_assert_int_eq(seteuid(NOBODY), 0);
	}
	snprintf(folder, sizeof(folder), "%s/stasis", runtime);
	ck_assert_int_eq(uuid_random(uuid), 0);
	snprintf(file, sizeof(file), "%s/%s.lock", folder, uuid_format(uuid, text));
}

static void tidy_up(void)
{
	(void)!seteuid(getuid());
	unlink(file);
	if (rmdir(folder))
		unlink(folder);
	rmdir(runtime);
}

static bool is_there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void check_refused(void)
{
	int fd;

	ck_assert_int_eq(identity_lock(uuid, &fd, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.msg, strrchr(file, '/')));
	ck_assert_ptr_nonnull(strstr(err.msg, "another --name or --uuid"));
	ck_assert_int_eq(identity_check(uuid, &err), -EAGAIN);
}

START_TEST(one_holder)
{
	uint8_t other[UUID_BYTES];
	int fd, other_fd;

	ck_assert_int_eq(uuid_random(other), 0);
	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	ck_assert(is_there(file));
	check_refused();
	ck_assert_ptr_nonnull(strstr(err.msg, file));
	ck_assert_int_eq(identity_lock(other, &other_fd, &err), 0);
	identity_unlock(other, other_fd);
	identity_unlock(uuid, fd);
	ck_assert(!is_there(file));
	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	identity_unlock(uuid, fd);
}
END_TEST

/* Nothing was locked: as after a start that was refused. */
START_TEST(no_lock)
{
	int fd;

	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	identity_unlock(uuid, -1);
	check_refused();
	identity_unlock(uuid, fd);
}
END_TEST

START_TEST(killed)
{
	int fd, ready[2], status;
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (!child) {
		if (!identity_lock(uuid, &fd, &err))
			(void)!write(ready[1], "", 1);
		for (;;)
			pause();
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	check_refused();
	kill(child, SIGKILL);
	waitpid(child, &status, 0);
	ck_assert(is_there(file));
	ck_assert_int_eq(identity_check(uuid, &err), 0);
	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	identity_unlock(uuid, fd);
}
END_TEST

START_TEST(check_makes_nothing)
{
	int fd;

	ck_assert_int_eq(identity_check(uuid, &err), 0);
	ck_assert(!is_there(folder));
	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	identity_unlock(uuid, fd);
	ck_assert_int_eq(identity_check(uuid, &err), 0);
	ck_assert(!is_there(file));
}
END_TEST

/* Who takes the lock while its last holder removes the file has a file that nobody else finds. */
START_TEST(many)
{
	enum { PROCESSES = 4, ROUNDS = 2000 };
	atomic_int *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_int *holders = shared, *times = shared + 1, *wrong = shared + 2;
	int fd;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	for (int i = 0; i < PROCESSES; i++) {
		if (fork())
			continue;
		while (atomic_load(times) < ROUNDS && !atomic_load(wrong)) {
			int ret = identity_lock(uuid, &fd, &err);

			if (ret == -EAGAIN)
				continue;
			if (ret || atomic_fetch_add(holders, 1))
				atomic_fetch_add(wrong, 1);
			atomic_fetch_add(times, 1);
			atomic_fetch_sub(holders, 1);
			identity_unlock(uuid, fd);
		}
		_exit(0);
	}
	for (int i = 0; i < PROCESSES; i++)
		ck_assert_int_gt(wait(NULL), 0);
	ck_assert_int_eq(atomic_load(wrong), 0);
	ck_assert_int_ge(atomic_load(times), ROUNDS);
}
END_TEST

START_TEST(bad_folders)
{
	int fd;

	ck_assert_int_eq(symlink("/tmp", folder), 0);
	ck_assert_int_lt(identity_lock(uuid, &fd, &err), 0);
	ck_assert_int_lt(fd, 0);
	ck_assert_ptr_nonnull(strstr(err.msg, folder));
	ck_assert_int_eq(unlink(folder), 0);
	setenv("XDG_RUNTIME_DIR", "/proc/self", 1);
	ck_assert_int_lt(identity_lock(uuid, &fd, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, "/proc/self/stasis: No such file"));
	/* Is there, and not this user's. */
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	ck_assert_int_eq(seteuid(getuid()), 0);
	if (!getuid()) {
		ck_assert_int_eq(mkdir(folder, 0777), 0);
		ck_assert_int_eq(seteuid(NOBODY), 0);
		ck_assert_int_eq(identity_lock(uuid, &fd, &err), -EPERM);
		ck_assert_ptr_nonnull(strstr(err.msg, "belongs to another user"));
		ck_assert_int_eq(identity_check(uuid, &err), -EPERM);
	}
}
END_TEST

/* Without a runtime folder: where every process of the user looks. */
START_TEST(default_folder)
{
	char text[UUID_TEXT], login[32];
	int fd;

	(void)!seteuid(getuid());
	snprintf(login, sizeof(login), "/run/user/%u", (unsigned int)geteuid());
	unsetenv("XDG_RUNTIME_DIR");
	if (!geteuid())
		strcpy(folder, "/run/stasis");
	else if (!access(login, W_OK))
		snprintf(folder, sizeof(folder), "%s/stasis", login);
	else
		snprintf(folder, sizeof(folder), "/dev/shm/stasis-%u", (unsigned int)geteuid());
	snprintf(file, sizeof(file), "%s/%s.lock", folder, uuid_format(uuid, text));
	ck_assert_int_eq(identity_lock(uuid, &fd, &err), 0);
	ck_assert(is_there(file));
	identity_unlock(uuid, fd);
	ck_assert(!is_there(file));
	snprintf(folder, sizeof(folder), "%s/stasis", runtime); /* the other one stays */
}
END_TEST

int main(void)
{
	const TTest *const test[] = {one_holder, no_lock,     killed,	     check_makes_nothing,
				     many,	 bad_folders, default_folder};

	return unit_run_case("identity", test, sizeof(test) / sizeof(test[0]), as_user, tidy_up,
			     60);
}
