/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/listen.h"
#include "vmm/base/log.h"
#include "vmm/base/file.h"
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#define BACKLOG	    8
#define LOCK_SUFFIX ".lock"

struct path_lock {
	char path[sizeof(((struct sockaddr_un *)NULL)->sun_path) + sizeof(LOCK_SUFFIX)];
	int fd;
};

static int new_socket(void)
{
	return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
}

/* The lock file of a process that was killed may still be there; it is empty and unlocked then. */
static int check_lock_file(int fd, bool *is_current, struct path_lock *lock)
{
	struct stat st;

	if (fstat(fd, &st) || !S_ISREG(st.st_mode) || st.st_size || st.st_uid != geteuid())
		return -EEXIST;
	if (flock(fd, LOCK_EX | LOCK_NB))
		return -EADDRINUSE;
	/* The previous owner may have removed the file meanwhile. */
	*is_current = file_is_named(AT_FDCWD, lock->path, &st);
	return 0;
}

/* A socket that is bound but does not listen yet looks like one that was left behind. So one process at a time
 * may use the path, from its check of the old socket until the new one listens. */
static int lock_path(struct path_lock *lock, const char *path, struct error *err)
{
	bool is_current = false;
	int ret = 0;

	snprintf(lock->path, sizeof(lock->path), "%s" LOCK_SUFFIX, path);
	while (!ret && !is_current) {
		lock->fd = open(lock->path,
				O_RDWR | O_CREAT | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC,
				0600);
		if (lock->fd < 0 && errno != ELOOP && errno != EISDIR)
			return error_set(err, -errno, "%s", error_making(errno));
		ret = lock->fd < 0 ? -EEXIST : check_lock_file(lock->fd, &is_current, lock);
		if (lock->fd >= 0 && !is_current)
			close(lock->fd);
	}
	if (ret == -EEXIST)
		error_set(err, ret,
			  "%s exists and is not a lock file of Stasis: remove it or choose another "
			  "path",
			  lock->path);
	else if (ret)
		error_set(
			err, ret,
			"another process is about to listen there: end it or choose another path");
	return ret;
}

static void unlock_path(struct path_lock *lock)
{
	struct stat st;

	if (!fstat(lock->fd, &st))
		file_unlink_named(AT_FDCWD, lock->path, &st);
	close(lock->fd);
}

/* A socket file on which nobody listens is left over from a process that was killed. */
static int check_stale(const struct sockaddr_un *addr, struct error *err)
{
	struct stat st;
	int fd, code;

	if (lstat(addr->sun_path, &st) || !S_ISSOCK(st.st_mode))
		return error_set(err, -EEXIST,
				 "exists and is not a socket: remove it or choose another path");
	fd = new_socket();
	if (fd < 0)
		return error_set(err, -errno, "socket: %s", strerror(errno));
	code = connect(fd, (const struct sockaddr *)addr, sizeof(*addr)) ? errno : 0;
	close(fd);
	if (code != ECONNREFUSED)
		return error_set(err, -EADDRINUSE,
				 "another process listens there: end it or choose another path");
	return 0;
}

static int bind_path(struct listen *listener, const struct sockaddr_un *addr, struct error *err)
{
	int ret;

	/* Before bind(2), which takes away what the umask does: never open to all, and to the group where 0007 says so. */
	ret = fchmod(listener->fd, 0660);
	if (!ret)
		ret = bind(listener->fd, (const struct sockaddr *)addr, sizeof(*addr));
	if (ret && errno == EADDRINUSE) {
		ret = check_stale(addr, err);
		if (ret)
			return ret;
		if (unlink(addr->sun_path) && errno != ENOENT)
			return error_set(err, -errno, "cannot replace the stale socket: %s",
					 strerror(errno));
		ret = bind(listener->fd, (const struct sockaddr *)addr, sizeof(*addr));
	}
	if (ret || lstat(addr->sun_path, &listener->file) || listen(listener->fd, BACKLOG))
		return error_set(err, -errno, "%s", strerror(errno));
	return 0;
}

static int set_address(struct sockaddr_un *addr, const char *path, struct error *err)
{
	const size_t max = sizeof(addr->sun_path) - 1;

	*addr = (struct sockaddr_un){.sun_family = AF_UNIX};
	if (strlen(path) > max)
		return error_set(err, -ENAMETOOLONG, "a socket's path has at most %zu bytes", max);
	strcpy(addr->sun_path, path);
	return 0;
}

static int check(const char *path, struct error *err)
{
	struct sockaddr_un addr;
	char folder[sizeof(addr.sun_path)];
	struct stat st;
	int ret = set_address(&addr, path, err);

	if (!ret && !lstat(path, &st))
		ret = check_stale(&addr, err);
	if (ret)
		return ret;
	strcpy(folder, path);
	if (access(dirname(folder), W_OK | X_OK))
		return error_set(err, -errno, "%s", error_making(errno));
	return 0;
}

static int listen_at(struct listen *listener, const char *path, struct error *err)
{
	struct path_lock lock = {.fd = -1};
	struct sockaddr_un addr;
	int ret = set_address(&addr, path, err);

	if (ret)
		return ret;
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	listener->fd = new_socket();
	if (listener->fd < 0)
		return error_set(err, -errno, "socket: %s", strerror(errno));
	ret = lock_path(&lock, path, err);
	if (ret)
		return ret;
	ret = bind_path(listener, &addr, err);
	unlock_path(&lock);
	return ret;
}

int listen_check(const char *option, const char *path, struct error *err)
{
	int ret = check(path, err);

	if (ret)
		error_prefix(err, "%s unix:%s", option, path);
	return ret;
}

int listen_open(struct listen *listener, const char *option, const char *path, struct error *err)
{
	int ret;

	*listener = LISTEN_CLOSED;
	listener->path = path;
	ret = listen_at(listener, path, err);
	if (ret) {
		error_prefix(err, "%s unix:%s", option, path);
		listen_close(listener);
	}
	return ret;
}

void listen_close(struct listen *listener)
{
	if (listener->file.st_ino)
		file_unlink_named(AT_FDCWD, listener->path, &listener->file);
	if (listener->fd >= 0)
		close(listener->fd);
	if (listener->reserve_fd >= 0)
		close(listener->reserve_fd);
	*listener = LISTEN_CLOSED;
}

int listen_accept(struct listen *listener)
{
	int fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

	if (fd >= 0 || (errno != EMFILE && errno != ENFILE))
		return fd;
	log_guest("%s: a client is disconnected: %s", listener->path, strerror(errno));
	if (listener->reserve_fd >= 0)
		close(listener->reserve_fd);
	fd = accept4(listener->fd, NULL, NULL, SOCK_CLOEXEC);
	if (fd >= 0)
		close(fd);
	listener->reserve_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	return -1;
}
