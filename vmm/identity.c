/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/identity.h"
#include "vmm/base/file.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WAIT_NS (5 * CLOCK_NS_PER_S)

enum place {
	OF_USER, /* the same for all processes of a user, whatever their environment */
	OF_LOGIN,
};

/* False: this process has no such folder. */
static bool find_folder(enum place place, char folder[PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	unsigned int uid = geteuid();
	struct stat st;

	if (place == OF_USER && !uid)
		snprintf(folder, PATH_MAX, "/run/stasis");
	else if (place == OF_USER)
		snprintf(folder, PATH_MAX, "/dev/shm/stasis-%u", uid);
	else if (uid && runtime && *runtime == '/' && !stat(runtime, &st) && st.st_uid == uid)
		snprintf(folder, PATH_MAX, "%s/stasis", runtime);
	else
		return false;
	return true;
}

/* Anybody can make a folder of this name in /dev/shm: whoever can write to it can take the locks. */
static int open_folder(const char *folder, struct error *err)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return error_set(err, -errno,
				 "%s: %s: it holds the locks of running VMs: make it a folder "
				 "that this user can write to",
				 folder, strerror(errno));
	if (!geteuid() || (st.st_uid == geteuid() && !(st.st_mode & (S_IWGRP | S_IWOTH))))
		return fd;
	close(fd);
	return error_set(err, -EPERM,
			 "%s holds the locks of this user's running VMs, but others can write "
			 "there: chown it to this user and chmod it 0700, or remove it",
			 folder);
}

/* The last owner may remove the file between our open and our lock: then once more. */
static int take(int folder_fd, const char *file)
{
	struct stat st;

	for (;;) {
		int fd = openat(folder_fd, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		int ret = fd < 0 ? -errno : file_lock(fd, F_WRLCK, 0, 0, false);

		if (!ret && !fstat(fd, &st) && file_is_named(folder_fd, file, &st))
			return fd;
		if (fd >= 0)
			close(fd);
		if (ret)
			return ret;
	}
}

static int look(int folder_fd, const char *file)
{
	int fd = openat(folder_fd, file, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), ret;

	if (fd < 0)
		return errno == ENOENT ? 0 : -errno;
	ret = file_lock(fd, F_WRLCK, 0, 0, true);
	close(fd);
	return ret;
}

/* A process whose guest was saved, or that was told to quit, keeps its lock a moment longer. A start right
 * after that waits for it. */
static int wait_and_take(int folder_fd, const char *file)
{
	const struct timespec pause = {.tv_nsec = 1000000};
	const uint64_t deadline_ns = clock_now_ns() + WAIT_NS;
	int ret = take(folder_fd, file);

	if (ret == -EAGAIN)
		log_info("the lock of this VM is held: waiting up to 5 s for its process to end");
	while (ret == -EAGAIN && clock_now_ns() < deadline_ns) {
		nanosleep(&pause, NULL);
		ret = take(folder_fd, file);
	}
	return ret;
}

static int try(const char *folder, const uint8_t uuid[UUID_BYTES],
	       int (*how)(int folder_fd, const char *file), struct error *err)
{
	char text[UUID_TEXT], file[UUID_TEXT + 5];
	int folder_fd, ret;

	snprintf(file, sizeof(file), "%s.lock", uuid_format(uuid, text));
	if (how == wait_and_take)
		(void)!mkdir(folder, geteuid() ? 0700 : 0755);
	else if (access(folder, F_OK) && errno == ENOENT)
		return 0;
	folder_fd = open_folder(folder, err);
	if (folder_fd < 0)
		return folder_fd;
	ret = how(folder_fd, file);
	close(folder_fd);
	if (ret == -EAGAIN)
		return error_set(err, ret,
				 "a VM of this identity (uuid %s) runs on this host already: its "
				 "process has the lock %s/%s; end that one, or give this one "
				 "another --name or --uuid",
				 text, folder, file);
	return ret < 0 ? error_set(err, ret, "%s/%s: %s: it is the lock of this VM: remove it",
				   folder, file, strerror(-ret))
		       : ret;
}

int identity_lock(const uint8_t uuid[UUID_BYTES], struct identity *held, struct error *err)
{
	char folder[PATH_MAX];

	*held = IDENTITY_NONE;
	for (int place = 0; place < IDENTITY_PLACES; place++) {
		if (!find_folder((enum place)place, folder))
			continue;
		held->fd[place] = try(folder, uuid, wait_and_take, err);
		if (held->fd[place] < 0) {
			int ret = held->fd[place];

			identity_unlock(uuid, held);
			return ret;
		}
	}
	return 0;
}

int identity_check(const uint8_t uuid[UUID_BYTES], struct error *err)
{
	char folder[PATH_MAX];
	int ret = 0;

	for (int place = 0; !ret && place < IDENTITY_PLACES; place++)
		if (find_folder((enum place)place, folder))
			ret = try(folder, uuid, look, err);
	return ret;
}

/* Nobody else has this file while its lock is held, for take() looks for this. A file that took its place is
 * another process's. */
void identity_unlock(const uint8_t uuid[UUID_BYTES], struct identity *held)
{
	char folder[PATH_MAX], path[PATH_MAX + UUID_TEXT + 6], text[UUID_TEXT];
	struct stat st;

	for (int place = 0; place < IDENTITY_PLACES; place++) {
		int fd = held->fd[place];

		if (fd < 0)
			continue;
		if (find_folder((enum place)place, folder) && !fstat(fd, &st)) {
			snprintf(path, sizeof(path), "%s/%s.lock", folder, uuid_format(uuid, text));
			file_unlink_named(AT_FDCWD, path, &st);
		}
		close(fd);
	}
	*held = IDENTITY_NONE;
}
