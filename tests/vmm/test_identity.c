/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The lock of a running VM: one holder, nothing left behind, in a folder that is the user's own. */
#include "tests/rig/unit.h"
#include "vmm/identity.h"
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

static uint8_t uuid[UUID_BYTES];
static char runtime[64], folder[96], file[160], login_file[160];
static struct error err;
static struct identity held, other_held;

/* As a user that nobody else is, with a runtime folder: the test may be root, and goes back to it. */
static void as_user(void)
{
	const unsigned int uid = geteuid() ? geteuid() : 1u << 24 | (unsigned int)getpid();
	char text[UUID_TEXT];

	strcpy(runtime, "/tmp/stasis-identity.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(runtime));
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	ck_assert_int_eq(chown(runtime, uid, (gid_t)-1), 0);
	ck_assert_int_eq(seteuid(uid), 0);
	ck_assert_int_eq(uuid_random(uuid), 0);
	uuid_format(uuid, text);
	snprintf(folder, sizeof(folder), "/dev/shm/stasis-%u", uid);
	snprintf(file, sizeof(file), "%s/%s.lock", folder, text);
	snprintf(login_file, sizeof(login_file), "%s/stasis/%s.lock", runtime, text);
}

static void tidy_up(void)
{
	char login_folder[96];

	(void)!seteuid(getuid());
	snprintf(login_folder, sizeof(login_folder), "%s/stasis", runtime);
	unlink(file);
	unlink(login_file);
	if (rmdir(folder))
		unlink(folder);
	rmdir(login_folder);
	rmdir(runtime);
}

static bool is_there(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void check_refused(void)
{
	ck_assert_int_eq(identity_lock(uuid, &other_held, &err), -EAGAIN);
	ck_assert_ptr_nonnull(strstr(err.msg, strrchr(file, '/')));
	ck_assert_ptr_nonnull(strstr(err.msg, "another --name or --uuid"));
	ck_assert_int_eq(identity_check(uuid, &err), -EAGAIN);
	ck_assert(other_held.fd[0] < 0 && other_held.fd[1] < 0);
}

TEST(one_holder)
{
	uint8_t other[UUID_BYTES];

	ck_assert_int_eq(uuid_random(other), 0);
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	ck_assert(is_there(file));
	ck_assert(is_there(login_file));
	check_refused();
	ck_assert_ptr_nonnull(strstr(err.msg, file));
	ck_assert_int_eq(identity_lock(other, &other_held, &err), 0);
	identity_unlock(other, &other_held);
	identity_unlock(uuid, &held);
	ck_assert(!is_there(file));
	ck_assert(!is_there(login_file));
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	identity_unlock(uuid, &held);
}

/* A user's processes meet whatever their environment is: a login's, another's, or none. */
TEST(any_environment)
{
	static const char *const environment[] = {NULL, "/tmp", "/none", "relative", ""};

	for (size_t i = 0; i < ARRAY_SIZE(environment); i++) {
		ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
		if (environment[i])
			setenv("XDG_RUNTIME_DIR", environment[i], 1);
		else
			unsetenv("XDG_RUNTIME_DIR");
		check_refused();
		setenv("XDG_RUNTIME_DIR", runtime, 1);
		identity_unlock(uuid, &held);
		ck_assert(!is_there(login_file));
	}
	/* And the other way round. */
	unsetenv("XDG_RUNTIME_DIR");
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	setenv("XDG_RUNTIME_DIR", runtime, 1);
	check_refused();
	ck_assert(!is_there(login_file));
	identity_unlock(uuid, &held);
	ck_assert(!is_there(file));
}

/* Whoever tidied up /dev/shm: the login's lock still holds, and nobody's lock but one's own is removed. */
TEST(removed_meanwhile)
{
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	ck_assert_int_eq(unlink(file), 0);
	check_refused();
	ck_assert_int_eq(unlink(login_file), 0);
	unlink(file);
	ck_assert_int_eq(identity_lock(uuid, &other_held, &err), 0);
	identity_unlock(uuid, &held);
	held = other_held;
	check_refused();
	identity_unlock(uuid, &held);
	ck_assert(!is_there(file));
	ck_assert(!is_there(login_file));
}

/* Nothing was locked: as after a start that was refused. */
TEST(no_lock)
{
	struct identity none = IDENTITY_NONE;

	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	identity_unlock(uuid, &none);
	check_refused();
	identity_unlock(uuid, &held);
}

TEST(killed)
{
	int ready[2], status;
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (!child) {
		if (!identity_lock(uuid, &held, &err))
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
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	identity_unlock(uuid, &held);
}

/* One that ends: a save was answered, and its process lets go a moment later. */
TEST(waited_for)
{
	int ready[2], status;
	pid_t child;
	char byte;

	ck_assert_int_eq(pipe(ready), 0);
	child = fork();
	if (!child) {
		int ret = identity_lock(uuid, &held, &err);

		(void)!write(ready[1], "", 1);
		usleep(200000);
		identity_unlock(uuid, &held);
		_exit(ret != 0);
	}
	ck_assert_int_eq(read(ready[0], &byte, 1), 1);
	ck_assert_int_eq(identity_check(uuid, &err), -EAGAIN); /* which only looks */
	ck_assert_msg(!identity_lock(uuid, &held, &err), "%s", err.msg);
	ck_assert_int_eq(waitpid(child, &status, 0), child);
	ck_assert_int_eq(status, 0);
	identity_unlock(uuid, &held);
	ck_assert(!is_there(file));
}

TEST(check_makes_nothing)
{
	ck_assert_int_eq(identity_check(uuid, &err), 0);
	ck_assert(!is_there(folder));
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	identity_unlock(uuid, &held);
	ck_assert_int_eq(identity_check(uuid, &err), 0);
	ck_assert(!is_there(file));
}

/* Who takes the lock while its last holder removes the file has a file that nobody else finds. */
TEST(many)
{
	enum { PROCESSES = 4, ROUNDS = 2000 };
	atomic_int *shared =
		mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	atomic_int *holders = shared, *times = shared + 1, *wrong = shared + 2;
	ck_assert_ptr_ne(shared, MAP_FAILED);
	for (int i = 0; i < PROCESSES; i++) {
		if (fork())
			continue;
		while (atomic_load(times) < ROUNDS && !atomic_load(wrong)) {
			int ret = identity_lock(uuid, &held, &err);

			if (ret == -EAGAIN)
				continue;
			if (ret || atomic_fetch_add(holders, 1))
				atomic_fetch_add(wrong, 1);
			atomic_fetch_add(times, 1);
			atomic_fetch_sub(holders, 1);
			identity_unlock(uuid, &held);
		}
		_exit(0);
	}
	for (int i = 0; i < PROCESSES; i++)
		ck_assert_int_gt(wait(NULL), 0);
	ck_assert_int_eq(atomic_load(wrong), 0);
	ck_assert_int_ge(atomic_load(times), ROUNDS);
}

TEST(bad_folders)
{
	const uid_t uid = geteuid();

	ck_assert_int_eq(symlink("/tmp", folder), 0);
	ck_assert_int_lt(identity_lock(uuid, &held, &err), 0);
	ck_assert_ptr_nonnull(strstr(err.msg, folder));
	ck_assert_int_eq(unlink(folder), 0);
	/* Others can write there, or it is theirs. */
	ck_assert_int_eq(mkdir(folder, 0700), 0);
	ck_assert_int_eq(chmod(folder, 0770), 0);
	ck_assert_int_eq(identity_lock(uuid, &held, &err), -EPERM);
	ck_assert_ptr_nonnull(strstr(err.msg, "others can write there: chown it"));
	ck_assert_int_eq(chmod(folder, 0700), 0);
	/* What is no lock file. */
	ck_assert_int_eq(mkdir(file, 0700), 0);
	ck_assert_int_eq(identity_lock(uuid, &held, &err), -EISDIR);
	ck_assert_ptr_nonnull(strstr(err.msg, "the lock of this VM: remove it"));
	ck_assert_int_eq(rmdir(file), 0);
	if (!getuid()) {
		ck_assert_int_eq(seteuid(0), 0);
		ck_assert_int_eq(chown(folder, 0, 0), 0);
		ck_assert_int_eq(chmod(folder, 0755), 0);
		ck_assert_int_eq(seteuid(uid), 0);
		ck_assert_int_eq(identity_lock(uuid, &held, &err), -EPERM);
		ck_assert_int_eq(identity_check(uuid, &err), -EPERM);
	}
	ck_assert(held.fd[0] < 0 && held.fd[1] < 0);
}

/* Root's: one folder, and no login's. */
TEST(of_root)
{
	(void)!seteuid(getuid());
	if (!geteuid())
		snprintf(file, sizeof(file), "/run/stasis%s", strrchr(login_file, '/'));
	ck_assert_int_eq(identity_lock(uuid, &held, &err), 0);
	ck_assert(is_there(file));
	ck_assert_int_eq(is_there(login_file), geteuid() != 0);
	identity_unlock(uuid, &held);
	ck_assert(!is_there(file));
}

UNIT_MAIN(as_user, tidy_up)
