/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Preloaded into a VMM: the nth call of one kind that its main thread makes fails, as the page says that FAIL_NTH_PAGE
 * names (fail_nth.h). Everything else goes through. KVM_RUN never fails.
 */
#include "fail_nth.h"
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <unistd.h>

static struct fail_page *page;
/* Initial exec: without an allocation at its first use. */
static __thread bool is_main_thread __attribute__((tls_model("initial-exec")));

static void *real(const char *name)
{
	void *function = dlsym(RTLD_NEXT, name);

	if (!function)
		abort();
	return function;
}

__attribute__((constructor)) static void map_page(void)
{
	const char *path = getenv("FAIL_NTH_PAGE");
	int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED)
		abort();
	is_main_thread = true;
}

/* The kernel's own objects, such as eventfds and timers, have no media that could fail. A log line that fails is nothing
 * that anybody could see: it would only hide the nth call that matters. */
static bool is_file(int fd)
{
	static int (*next)(int, struct stat *);
	struct stat st;

	if (!next)
		next = (__typeof__(next))real("fstat");
	return fd != STDERR_FILENO && !next(fd, &st) && (st.st_mode & S_IFMT);
}

enum strike { GOES_THROUGH, FAILS, FAILS_AFTERWARDS };

/* Counts a call of that kind. what: a path, or NULL; number: what else tells one such call from others. */
static enum strike strike(enum fail_kind kind, const char *name, const char *what,
			  unsigned long number)
{
	if (!is_main_thread || !page || atomic_load(&page->armed) != kind ||
	    atomic_fetch_add(&page->calls, 1) + 1 != page->nth)
		return GOES_THROUGH;
	/* snprintf() may allocate, which then is not the nth any more. */
	if (what)
		snprintf(page->what, sizeof(page->what), "%s(%s)", name, what);
	else
		snprintf(page->what, sizeof(page->what), "%s(%#lx)", name, number);
	atomic_store(&page->struck, 1);
	errno = page->error;
	return page->done_first ? FAILS_AFTERWARDS : FAILS;
}

/* The body of a function that is passed on with the same arguments. */
#define PASS_ON(kind, type, failed, name, args, what, number)            \
	static __typeof__(&(name)) next;                                 \
	enum strike hit;                                                 \
                                                                         \
	if (!next)                                                       \
		next = (__typeof__(next))real(#name);                    \
	hit = strike(FAIL_##kind, #name, what, (unsigned long)(number)); \
	if (hit == FAILS_AFTERWARDS) {                                   \
		(void)!next args;                                        \
		errno = page->error;                                     \
	}                                                                \
	if (hit != GOES_THROUGH)                                         \
		return (type)(failed);                                   \
	return next args
#define FAILING(kind, type, failed, name, params, args, what, number)  \
	type name params                                               \
	{                                                              \
		PASS_ON(kind, type, failed, name, args, what, number); \
	}
/* The body of a function that reads from or writes to a descriptor. */
#define ON_FILE(kind, name, params, args)                           \
	ssize_t name params                                         \
	{                                                           \
		static __typeof__(&(name)) next_of;                 \
                                                                    \
		if (!next_of)                                       \
			next_of = (__typeof__(next_of))real(#name); \
		if (!is_file(fd))                                   \
			return next_of args;                        \
		PASS_ON(kind, ssize_t, -1, name, args, NULL, fd);   \
	}
#define BY_PATH(kind, name, params, args, path) FAILING(kind, int, -1, name, params, args, path, 0)
#define BY_NUMBER(kind, type, name, params, args, number) \
	FAILING(kind, type, -1, name, params, args, NULL, number)

/* NOLINTBEGIN(readability-inconsistent-declaration-parameter-name): libc's names are reserved ones */
/* clang-format off */
BY_PATH(stat, stat, (const char *path, struct stat *st), (path, st), path)
BY_PATH(stat, lstat, (const char *path, struct stat *st), (path, st), path)
BY_PATH(stat, fstatat, (int fd, const char *path, struct stat *st, int flags), (fd, path, st, flags), path)
BY_PATH(stat, statx, (int fd, const char *path, int flags, unsigned int mask, struct statx *st),
	(fd, path, flags, mask, st), path)
BY_NUMBER(stat, int, fstat, (int fd, struct stat *st), (fd, st), fd)
BY_NUMBER(stat, int, fstatfs, (int fd, struct statfs *st), (fd, st), fd)
BY_PATH(path, access, (const char *path, int mode), (path, mode), path)
FAILING(path, ssize_t, -1, readlinkat, (int fd, const char *path, char *to, size_t n), (fd, path, to, n), path, 0)
FAILING(path, char *, NULL, realpath, (const char *path, char *to), (path, to), path, 0)

ON_FILE(read, read, (int fd, void *to, size_t n), (fd, to, n))
ON_FILE(read, pread, (int fd, void *to, size_t n, off_t at), (fd, to, n, at))
ON_FILE(read, readv, (int fd, const struct iovec *to, int n), (fd, to, n))
ON_FILE(read, recv, (int fd, void *to, size_t n, int flags), (fd, to, n, flags))
ON_FILE(write, write, (int fd, const void *from, size_t n), (fd, from, n))
ON_FILE(write, pwrite, (int fd, const void *from, size_t n, off_t at), (fd, from, n, at))
ON_FILE(write, writev, (int fd, const struct iovec *from, int n), (fd, from, n))
ON_FILE(write, pwritev, (int fd, const struct iovec *from, int n, off_t at), (fd, from, n, at))
BY_NUMBER(send, ssize_t, send, (int fd, const void *from, size_t n, int flags), (fd, from, n, flags), fd)
BY_NUMBER(send, ssize_t, sendmsg, (int fd, const struct msghdr *msg, int flags), (fd, msg, flags), fd)

BY_NUMBER(sync, int, fsync, (int fd), (fd), fd)
BY_NUMBER(sync, int, fdatasync, (int fd), (fd), fd)
BY_NUMBER(sync, int, syncfs, (int fd), (fd), fd)
BY_NUMBER(sync, int, sync_file_range, (int fd, off_t at, off_t n, unsigned int flags), (fd, at, n, flags), fd)
BY_NUMBER(sync, int, msync, (void *at, size_t n, int flags), (at, n, flags), n)
BY_PATH(rename, rename, (const char *from, const char *to), (from, to), from)
BY_PATH(rename, renameat, (int fd, const char *from, int to_fd, const char *to), (fd, from, to_fd, to), from)
BY_PATH(rename, renameat2, (int fd, const char *from, int to_fd, const char *to, unsigned int flags),
	(fd, from, to_fd, to, flags), from)
BY_PATH(rename, linkat, (int fd, const char *from, int to_fd, const char *to, int flags),
	(fd, from, to_fd, to, flags), from)
BY_PATH(unlink, unlink, (const char *path), (path), path)
BY_PATH(unlink, unlinkat, (int fd, const char *path, int flags), (fd, path, flags), path)
BY_NUMBER(truncate, int, ftruncate, (int fd, off_t n), (fd, n), fd)
BY_NUMBER(allocate, int, fallocate, (int fd, int mode, off_t at, off_t n), (fd, mode, at, n), fd)
BY_NUMBER(lock, int, flock, (int fd, int how), (fd, how), fd)

FAILING(map, void *, MAP_FAILED, mmap, (void *at, size_t n, int prot, int flags, int fd, off_t offset),
	(at, n, prot, flags, fd, offset), NULL, n)
BY_NUMBER(map, int, madvise, (void *at, size_t n, int advice), (at, n, advice), n)
FAILING(memory, void *, NULL, malloc, (size_t n), (n), NULL, n)
FAILING(memory, void *, NULL, calloc, (size_t n, size_t size), (n, size), NULL, n * size)
FAILING(memory, void *, NULL, realloc, (void *at, size_t n), (at, n), NULL, n)
FAILING(memory, void *, NULL, aligned_alloc, (size_t align, size_t n), (align, n), NULL, n)
BY_NUMBER(random, ssize_t, getrandom, (void *to, size_t n, unsigned int flags), (to, n, flags), n)
BY_NUMBER(socket, int, socket, (int domain, int type, int protocol), (domain, type, protocol), domain)
BY_NUMBER(socket, int, connect, (int fd, const struct sockaddr *to, socklen_t n), (fd, to, n), fd)
BY_NUMBER(socket, int, accept4, (int fd, struct sockaddr *from, socklen_t *n, int flags), (fd, from, n, flags), fd)
BY_NUMBER(event, int, eventfd, (unsigned int count, int flags), (count, flags), count)
BY_NUMBER(event, int, timerfd_create, (clockid_t clock, int flags), (clock, flags), clock)
BY_NUMBER(event, int, epoll_ctl, (int fd, int what, int of, struct epoll_event *event), (fd, what, of, event), what)
/* clang-format on */

/* Its result is the error. */
int pthread_create(pthread_t *thread, const pthread_attr_t *attr, void *(*fn)(void *), void *arg)
{
	PASS_ON(thread, int, page->error, pthread_create, (thread, attr, fn, arg), NULL, 0);
}

static mode_t mode_of(int flags, va_list *args)
{
	return flags & (O_CREAT | O_TMPFILE) ? va_arg(*args, mode_t) : 0;
}

int open(const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, &args);
	va_end(args);
	PASS_ON(open, int, -1, open, (path, flags, mode), path, 0);
}

int openat(int fd, const char *path, int flags, ...)
{
	va_list args;
	mode_t mode;

	va_start(args, flags);
	mode = mode_of(flags, &args);
	va_end(args);
	PASS_ON(open, int, -1, openat, (fd, path, flags, mode), path, 0);
}

FAILING(open, FILE *, NULL, fopen, (const char *path, const char *mode), (path, mode), path, 0)

int fcntl(int fd, int what, ...)
{
	va_list args;
	void *arg;

	va_start(args, what);
	arg = va_arg(args, void *);
	va_end(args);
	PASS_ON(lock, int, -1, fcntl, (fd, what, arg), NULL, what);
}

static int pass_ioctl(int fd, unsigned long request, void *arg)
{
	PASS_ON(ioctl, int, -1, ioctl, (fd, request, arg), NULL, request);
}

int ioctl(int fd, unsigned long request, ...)
{
	static int (*next)(int, unsigned long, ...);
	va_list args;
	void *arg;

	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (request != KVM_RUN)
		return pass_ioctl(fd, request, arg);
	if (!next)
		next = (__typeof__(next))real("ioctl");
	return next(fd, request, arg);
}
/* NOLINTEND(readability-inconsistent-declaration-parameter-name) */
