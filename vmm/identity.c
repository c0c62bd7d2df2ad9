/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/identity.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The same for all processes of a user, whether a login, cron or a service starts them. */
static void find_folder(char folder[PATH_MAX])
{
	const char *runtime = getenv("XDG_RUNTIME_DIR");
	unsigned int uid = geteuid();
	char of_login[32];

	snprintf(of_login, sizeof(of_login), "/run/user/%u", uid);
	if (!runtime || *runtime != '/')
		runtime = access(of_login, W_OK) ? NULL : of_login;
	if (!uid)
		snprintf(folder, PATH_MAX, "/run/stasis");
	else if (runtime)
		snprintf(folder, PATH_MAX, "%s/stasis", runtime);
	else
		snprintf(folder, PATH_MAX, "/dev/shm/stasis-%u", uid);
}

/* In /dev/shm anybody can make a folder of this name: whose it is decides who can hold the locks. */
static int open_folder(const char *folder, struct error *err)
{
	int fd = open(folder, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	struct stat st;

	if (fd >= 0 && (!geteuid() || (!fstat(fd, &st) && st.st_uid == geteuid())))
		return fd;
	if (fd < 0)
		return error_set(err, -errno,
				 "%s: %s: it holds the locks of running VMs: make it a folder "
				 "that this user can write to",
				 folder, strerror(errno));
	close(fd);
	return error_set(err, -EPERM,
			 "%s belongs to another user, but holds the locks of this user's running "
			 "VMs: remove it, or set XDG_RUNTIME_DIR to a folder of this user's",
			 folder);
}

static int lock(int fd, int command)
{
	struct flock lock = {.l_type = F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(fd, command, &lock))
		return errno == EACCES ? -EAGAIN : -errno;
	return command == F_OFD_GETLK && lock.l_type != F_UNLCK ? -EAGAIN : 0;
}

/* The last owner may have removed the file between our open and the lock: then once more. */
static int take(int folder_fd, const char *file)
{
	struct stat locked, named;

	for (;;) {
		int fd = openat(folder_fd, file, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600);
		int ret = fd < 0 ? -errno : lock(fd, F_OFD_SETLK);

		if (!ret && !fstat(fd, &locked) && !fstatat(folder_fd, file, &named, 0) &&
		    locked.st_ino == named.st_ino)
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
	ret = lock(fd, F_OFD_GETLK);
	close(fd);
	return ret;
}

static int try(const uint8_t uuid[UUID_BYTES], int (*how)(int folder_fd, const char *file),
	       struct error *err)
{
	char folder[PATH_MAX], text[UUID_TEXT], file[UUID_TEXT + 5];
	int folder_fd, ret;

	find_folder(folder);
	snprintf(file, sizeof(file), "%s.lock", uuid_format(uuid, text));
	if (how == take)
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
	return ret < 0 ? error_set(err, ret, "%s/%s: %s", folder, file, strerror(-ret)) : ret;
}

int identity_lock(const uint8_t uuid[UUID_BYTES], int *fd, struct error *err)
{
	int ret = try(uuid, take, err);

	*fd = ret;
	return ret < 0 ? ret : 0;
}

int identity_check(const uint8_t uuid[UUID_BYTES], struct error *err)
{
	return try(uuid, look, err);
}

/* While the lock is held nobody else has the file: take() looks for just this. */
void identity_unlock(const uint8_t uuid[UUID_BYTES], int fd)
{
	char folder[PATH_MAX], path[PATH_MAX + UUID_TEXT + 6], text[UUID_TEXT];

	if (fd < 0)
		return;
	find_folder(folder);
	snprintf(path, sizeof(path), "%s/%s.lock", folder, uuid_format(uuid, text));
	unlink(path);
	close(fd);
}
