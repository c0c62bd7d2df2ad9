/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/base/output.h"
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

void output_open_missing(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

int output_reopen(int fd, int flags)
{
	char path[32];
	struct stat st;
	int own = -1;

	if (!fstat(fd, &st) && (S_ISFIFO(st.st_mode) || isatty(fd))) {
		snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
		own = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	return own >= 0 ? own : fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
}

/* For a descriptor that can neither be reopened, such as another user's terminal, nor be made non-blocking.
 * When it is ready a pipe has room for PIPE_BUF bytes, a terminal for one byte; a file always has. */
static ssize_t write_when_ready(int fd, const void *data, size_t bytes)
{
	const size_t most = isatty(fd) ? 1 : PIPE_BUF;
	struct pollfd ready = {.fd = fd, .events = POLLOUT};

	if (poll(&ready, 1, 0) < 1) {
		errno = EAGAIN;
		return -1;
	}
	return write(fd, data, bytes < most ? bytes : most);
}

ssize_t output_write(int fd, const void *data, size_t bytes)
{
	ssize_t n = send(fd, data, bytes, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n >= 0 || errno != ENOTSOCK)
		return n;
	if (fcntl(fd, F_GETFL) & O_NONBLOCK)
		return write(fd, data, bytes);
	return write_when_ready(fd, data, bytes);
}
