/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "devices/host/chardev.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define ESCAPE	 0x01 /* Ctrl-A, as in QEMU */
#define STALL_NS 250000000

static const char help_text[] = "\r\nCtrl-A x   quit: switches the guest off at once\r\n"
				"Ctrl-A h   this help\r\n"
				"Ctrl-A Ctrl-A   sends Ctrl-A to the guest\r\n";

/* The terminal belongs to the process, not to a VM. */
static struct termios terminal_before;
static volatile sig_atomic_t terminal_is_raw;

void chardev_restore_terminal(void)
{
	if (!terminal_is_raw)
		return;
	terminal_is_raw = 0;
	tcsetattr(STDIN_FILENO, TCSANOW, &terminal_before);
}

static uint32_t room(const struct chardev *chr)
{
	return chr->paused ? 0 : chr->ops->room(chr->opaque);
}

static void on_listen(void *opaque, uint32_t events);
static void on_input(void *opaque, uint32_t events);
static void on_output(void *opaque, uint32_t events);

static const loop_fn role_fn[CHARDEV_ROLES] = {
	[CHARDEV_LISTEN] = on_listen,
	[CHARDEV_INPUT] = on_input,
	[CHARDEV_OUTPUT] = on_output,
};

/* fd -1: stop watching. Cheap if nothing changes. */
static void watch(struct chardev *chr, enum chardev_role role, int fd, uint32_t events)
{
	struct loop *loop = &chr->vm->loop;

	if (chr->watch[role].fd == fd && chr->watch[role].events == events)
		return;
	chr->watch[role].events = events;
	if (chr->watch[role].fd == fd) {
		loop_mod(loop, fd, events);
		return;
	}
	loop_del(loop, chr->watch[role].fd);
	chr->watch[role].fd = -1;
	if (fd < 0)
		return;
	if (loop_add(loop, fd, events, role_fn[role], chr, chr->lock))
		log_guest("%s: the event loop takes no more descriptors", chr->config->option);
	else
		chr->watch[role].fd = fd;
}

static bool can_read(const struct chardev *chr)
{
	return chr->in_fd >= 0 && !chr->eof && (chr->tty || room(chr) > chr->nahead);
}

/* The one place that decides what to wait for. A descriptor that cannot be served now is not watched:
 * epoll reports hang-ups even with no event asked for. */
static void update(struct chardev *chr)
{
	bool is_socket = chr->listen.fd >= 0;

	if (can_read(chr))
		watch(chr, CHARDEV_INPUT, chr->ready_fd >= 0 ? chr->ready_fd : chr->in_fd, EPOLLIN);
	else if (is_socket && !chr->unread)
		watch(chr, CHARDEV_INPUT, chr->in_fd, 0);
	else
		watch(chr, CHARDEV_INPUT, -1, 0);
	if ((chr->blocked || chr->discard) && !chr->hangup && !chr->paused)
		watch(chr, CHARDEV_OUTPUT, chr->out_fd, EPOLLOUT);
	else
		watch(chr, CHARDEV_OUTPUT, -1, 0);
	/* A disconnected client, with input the guest has no room for, gives way to the next. */
	if (chr->in_fd < 0 || chr->hangup)
		watch(chr, CHARDEV_LISTEN, chr->listen.fd, EPOLLIN);
	else
		watch(chr, CHARDEV_LISTEN, -1, 0);
}

/* Output is possible again, or pointless; either way the device need not wait. */
static void unblock(struct chardev *chr, bool discard)
{
	bool was_blocked = chr->blocked;

	timer_set(&chr->stall, 0);
	chr->blocked = false;
	chr->discard = discard;
	if (was_blocked && !chr->paused)
		chr->ops->writable(chr->opaque);
}

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool has_client(const struct chardev *chr)
{
	return chr->listen.fd >= 0 && chr->out_fd >= 0;
}

/* Each client is reported by itself, so that the device never takes the next one for the last. */
static void tell_clients(struct chardev *chr)
{
	uint32_t client = has_client(chr) ? chr->nclients : 0;
	bool was = chr->told;

	if (chr->paused || chr->told == client)
		return;
	chr->told = 0;
	if (was && chr->ops->connected)
		chr->ops->connected(chr->opaque, false);
	chr->told = client;
	if (client && chr->ops->connected)
		chr->ops->connected(chr->opaque, true);
}

static void drop_client(struct chardev *chr)
{
	watch(chr, CHARDEV_INPUT, -1, 0);
	watch(chr, CHARDEV_OUTPUT, -1, 0);
	close_fd(&chr->in_fd);
	close_fd(&chr->out_fd);
	chr->nahead = 0;
	chr->eof = chr->hangup = chr->unread = false;
	unblock(chr, false);
	tell_clients(chr);
}

static void on_listen(void *opaque, uint32_t events)
{
	struct chardev *chr = opaque;
	int fd = listen_accept(&chr->listen);

	if (fd < 0)
		return;
	drop_client(chr);
	/* Two descriptors: each direction is watched on its own. */
	chr->out_fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (chr->out_fd < 0)
		close(fd);
	else
		chr->in_fd = fd;
	chr->nclients += chr->out_fd >= 0;
	tell_clients(chr);
	update(chr);
}

/* Gives the device what it has room for. */
static void deliver(struct chardev *chr)
{
	uint32_t n = room(chr);

	if (n > chr->nahead)
		n = chr->nahead;
	if (!n)
		return;
	chr->ops->receive(chr->opaque, chr->ahead, n);
	chr->nahead -= n;
	memmove(chr->ahead, chr->ahead + n, chr->nahead);
}

/* True if the byte is for the guest. */
static bool filter_escape(struct chardev *chr, uint8_t byte)
{
	if (chr->config->kind != CHARDEV_STDIO)
		return true;
	if (!chr->escape) {
		chr->escape = byte == ESCAPE;
		return !chr->escape;
	}
	chr->escape = false;
	if (byte == 'x' || byte == 'X')
		vm_request(chr->vm, VM_REQUEST_QUIT);
	else if (byte == 'h' || byte == 'H' || byte == '?')
		chardev_write(chr, (const uint8_t *)help_text, sizeof(help_text) - 1);
	return byte == ESCAPE;
}

static void read_input(struct chardev *chr)
{
	uint8_t data[CHARDEV_AHEAD_BYTES];
	size_t max = sizeof(data);
	ssize_t n;

	if (!chr->tty && room(chr) - chr->nahead < max)
		max = room(chr) - chr->nahead;
	n = read(chr->in_fd, data, max);
	if (n < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	if (n <= 0)
		chr->eof = true;
	if (n < 0 && chr->listen.fd >= 0)
		chr->hangup = true;
	/* Type-ahead that the buffer has no room for is lost, as with any terminal. */
	for (ssize_t i = 0; i < n; i++)
		if (filter_escape(chr, data[i]) && chr->nahead < sizeof(chr->ahead))
			chr->ahead[chr->nahead++] = data[i];
	deliver(chr);
}

static void on_input(void *opaque, uint32_t events)
{
	struct chardev *chr = opaque;
	uint8_t byte;

	if (chr->listen.fd >= 0 && (events & (EPOLLHUP | EPOLLERR)))
		chr->hangup = true;
	if (can_read(chr))
		read_input(chr);
	if (chr->hangup && !chr->eof && !can_read(chr)) {
		chr->unread = recv(chr->in_fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) > 0;
		chr->eof = !chr->unread;
	}
	if (chr->listen.fd >= 0 && chr->hangup && chr->eof)
		drop_client(chr);
	else if (chr->listen.fd >= 0 && chr->hangup)
		unblock(chr, false);
	update(chr);
}

static const char *where(const struct chardev *chr)
{
	return chr->config->path ? chr->config->path : "stdio";
}

/* Logged once there is room again; at most once a second, as a guest can provoke it. */
static void tell_dropped(struct chardev *chr)
{
	if (!chr->dropped_bytes || !log_ratelimit(&chr->told_ns))
		return;
	log_warn("%s %s: %llu bytes of its output were dropped", chr->config->option, where(chr),
		 (unsigned long long)chr->dropped_bytes);
	chr->dropped_bytes = 0;
}

static void on_output(void *opaque, uint32_t events)
{
	struct chardev *chr = opaque;

	tell_dropped(chr);
	unblock(chr, false);
	update(chr);
}

static void on_stall(void *opaque, uint32_t events)
{
	struct chardev *chr = opaque;

	if (!timer_take(&chr->stall) || !chr->blocked)
		return;
	unblock(chr, true);
	update(chr);
}

/* Output failed, and not because it would block. */
static void write_failed(struct chardev *chr, int error)
{
	if (chr->listen.fd >= 0) {
		chr->hangup = true;
		update(chr);
		return;
	}
	log_guest("%s %s: %s: its output is lost", chr->config->option, where(chr),
		  strerror(error));
	/* A pipe's reader or a terminal does not come back; a full disk may have room again. */
	if (error == EPIPE || error == EIO) {
		watch(chr, CHARDEV_OUTPUT, -1, 0);
		close_fd(&chr->out_fd);
	}
}

uint32_t chardev_write(struct chardev *chr, const uint8_t *data, uint32_t n)
{
	uint32_t done = 0;

	if (chr->out_fd < 0 || chr->hangup)
		return n;
	if (chr->discard) {
		chr->dropped_bytes += n;
		return n;
	}
	while (done < n && !chr->blocked) {
		ssize_t ret = output_write(chr->out_fd, data + done, n - done);

		if (ret >= 0) {
			done += (uint32_t)ret;
			tell_dropped(chr);
		} else if (errno == EAGAIN) {
			chr->blocked = true;
			if (!chr->ops->patient)
				timer_set(&chr->stall, STALL_NS);
			update(chr);
		} else if (errno == EFAULT && vm_ram_broke(chr->vm, data + done)) {
			return n;
		} else if (errno != EINTR) {
			chr->dropped_bytes += n - done;
			write_failed(chr, errno);
			return n;
		}
	}
	return done;
}

void chardev_accept_input(struct chardev *chr)
{
	deliver(chr);
	update(chr);
}

void chardev_pause(struct chardev *chr)
{
	chr->paused = true;
	timer_set(&chr->stall, 0);
	update(chr);
}

void chardev_resume(struct chardev *chr)
{
	chr->paused = false;
	chr->blocked = chr->discard = false;
	tell_clients(chr);
	deliver(chr);
	update(chr);
}

bool chardev_connected(const struct chardev *chr)
{
	return chr->config->kind != CHARDEV_UNIX || chr->told;
}

void chardev_query(const struct chardev *chr, const char *label, struct chardev_info *info)
{
	static const char *const filename[] = {
		[CHARDEV_NONE] = "null",
		[CHARDEV_STDIO] = "stdio",
		[CHARDEV_FILE] = "file",
	};
	const struct chardev_config *config = chr->config;

	*info = (struct chardev_info){.label = ""};
	snprintf(info->label, sizeof(info->label), "%s", label);
	if (config->kind == CHARDEV_UNIX)
		snprintf(info->filename, sizeof(info->filename), "%sunix:%s,server=on",
			 has_client(chr) ? "" : "disconnected:", config->path);
	else
		snprintf(info->filename, sizeof(info->filename), "%s", filename[config->kind]);
}

static void make_raw(struct chardev *chr)
{
	static bool registered;
	struct termios raw;
	pid_t foreground = tcgetpgrp(STDIN_FILENO);

	chr->tty = true;
	if (foreground >= 0 && foreground != getpgrp()) {
		/* In the background: setting the terminal would stop the process. */
		chr->eof = true;
		return;
	}
	if (tcgetattr(STDIN_FILENO, &terminal_before))
		return;
	raw = terminal_before;
	cfmakeraw(&raw);
	raw.c_oflag |= OPOST; /* newlines of the VMM's own output stay */
	terminal_is_raw = 1;
	if (!registered)
		atexit(chardev_restore_terminal);
	registered = true;
	tcsetattr(STDIN_FILENO, TCSANOW, &raw);
}

static int open_stdio(struct chardev *chr, struct error *err)
{
	chr->in_fd = output_reopen(STDIN_FILENO, O_RDONLY);
	if (chr->in_fd < 0)
		return error_set(err, -errno, "%s stdio: standard input: %s", chr->config->option,
				 strerror(errno));
	chr->out_fd = output_reopen(STDOUT_FILENO, O_WRONLY);
	if (chr->out_fd < 0)
		return error_set(err, -errno, "%s stdio: standard output: %s", chr->config->option,
				 strerror(errno));
	if (isatty(STDIN_FILENO))
		make_raw(chr);
	/* Files and /dev/null are always ready, so epoll refuses them: watch an eventfd that
	 * is never read instead. */
	if (loop_add(&chr->vm->loop, chr->in_fd, 0, on_input, chr, chr->lock) == -EPERM) {
		chr->ready_fd = eventfd(1, EFD_CLOEXEC);
		if (chr->ready_fd < 0)
			return error_set(err, -errno, "eventfd: %s", strerror(errno));
	}
	loop_del(&chr->vm->loop, chr->in_fd);
	return 0;
}

static int open_file(struct chardev *chr, struct error *err)
{
	const char *path = chr->config->path;

	/* Appends: a VMM that loads the guest with the same arguments continues its log. Only the owner
	 * may read a guest's output. */
	chr->out_fd =
		open(path, O_WRONLY | O_CREAT | O_APPEND | O_NONBLOCK | O_NOCTTY | O_CLOEXEC, 0600);
	if (chr->out_fd < 0)
		return error_set(err, -errno, "%s file:%s: %s", chr->config->option, path,
				 errno == ENXIO ? "a FIFO that nobody reads" : error_making(errno));
	return 0;
}

static int open_unix(struct chardev *chr, struct error *err)
{
	return listen_open(&chr->listen, chr->config->option, chr->config->path, err);
}

int chardev_open(struct chardev *chr, const struct chardev_config *config, struct vm *vm,
		 const struct chardev_ops *ops, void *opaque, pthread_mutex_t *lock,
		 struct error *err)
{
	static int (*const open_kind[])(struct chardev * chr, struct error * err) = {
		[CHARDEV_STDIO] = open_stdio,
		[CHARDEV_UNIX] = open_unix,
		[CHARDEV_FILE] = open_file,
	};
	int ret;

	*chr = (struct chardev){
		.config = config,
		.ops = ops,
		.opaque = opaque,
		.vm = vm,
		.lock = lock,
		.listen = LISTEN_CLOSED,
		.in_fd = -1,
		.out_fd = -1,
		.ready_fd = -1,
		.paused = true,
	};
	for (int role = 0; role < CHARDEV_ROLES; role++)
		chr->watch[role].fd = -1;
	ret = timer_open(&chr->stall, CLOCK_MONOTONIC, &vm->loop, on_stall, chr, lock, err);
	if (!ret && config->kind != CHARDEV_NONE)
		ret = open_kind[config->kind](chr, err);
	if (ret)
		chardev_close(chr);
	else
		update(chr);
	return ret;
}

void chardev_close(struct chardev *chr)
{
	for (int role = 0; role < CHARDEV_ROLES; role++)
		watch(chr, (enum chardev_role)role, -1, 0);
	if (chr->config->kind == CHARDEV_STDIO)
		chardev_restore_terminal();
	chr->told_ns = 0;
	tell_dropped(chr);
	listen_close(&chr->listen);
	close_fd(&chr->in_fd);
	close_fd(&chr->out_fd);
	close_fd(&chr->ready_fd);
	timer_close(&chr->stall);
}
