/* SPDX-License-Identifier: GPL-2.0-or-later */
/* console and agent: a person at a terminal. Ctrl-] ends both, as it ends telnet(1).
 * Source: termios(3). */
#include "qmp/ctl/conn.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/list.h"
#include "qmp/ctl/verbs.h"
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <termios.h>
#include <unistd.h>

#define DETACH	   '\x1d' /* Ctrl-] */
#define LIMIT_S	   3.0
#define LINE_BYTES 4096

/* --- the terminal, which is as it was however this program ends */

static struct termios former;
static volatile sig_atomic_t is_changed;

static void restore_terminal(void)
{
	if (is_changed)
		tcsetattr(STDIN_FILENO, TCSANOW, &former);
	is_changed = 0;
}

static void end_by_signal(int number)
{
	restore_terminal();
	signal(number, SIG_DFL);
	raise(number);
}

static void change_terminal(void (*change)(struct termios *mode))
{
	static const int ends[] = {SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGPIPE, SIGSEGV, SIGABRT};
	struct termios mode;

	if (tcgetattr(STDIN_FILENO, &former))
		return; /* not a terminal */
	mode = former;
	change(&mode);
	atexit(restore_terminal);
	for (size_t i = 0; i < sizeof(ends) / sizeof(*ends); i++)
		signal(ends[i], end_by_signal);
	is_changed = 1;
	tcsetattr(STDIN_FILENO, TCSANOW, &mode);
}

/* --- console */

static bool write_all(int fd, const char *data, size_t n)
{
	while (n) {
		const ssize_t done = write(fd, data, n);

		if (done < 0 && errno != EINTR)
			return false;
		if (done > 0) {
			data += done;
			n -= (size_t)done;
		}
	}
	return true;
}

/* What was typed and is not sent yet: a guest that reads nothing must not take the key away that ends this. */
struct typed {
	char data[4096];
	size_t n;
	bool ended; /* by Ctrl-], or by the end of the input */
	bool is_terminal;
};

/* What has no room is lost, as in the buffer of any terminal; from a pipe it is not read. */
static void type(struct typed *typed)
{
	char data[4096];
	const size_t room = sizeof(typed->data) - typed->n;
	const ssize_t n = read(STDIN_FILENO, data, typed->is_terminal ? sizeof(data) : room);
	const char *end = typed->is_terminal && n > 0 ? memchr(data, DETACH, (size_t)n) : NULL;
	size_t keep = n > 0 ? (size_t)n : 0;

	typed->ended = end || !n || (n < 0 && errno != EINTR);
	if (end) {
		typed->n = 0;
		return;
	}
	if (keep > room)
		keep = room;
	memcpy(typed->data + typed->n, data, keep);
	typed->n += keep;
}

/* False: the VM has gone. */
static bool send_typed(struct typed *typed, int fd)
{
	const ssize_t n = send(fd, typed->data, typed->n, MSG_DONTWAIT | MSG_NOSIGNAL);

	if (n < 0)
		return errno == EAGAIN || errno == EINTR;
	typed->n -= (size_t)n;
	memmove(typed->data, typed->data + n, typed->n);
	return true;
}

static bool show(int fd)
{
	char data[4096];
	const ssize_t n = read(fd, data, sizeof(data));

	if (n < 0)
		return errno == EINTR || errno == EAGAIN;
	return n && write_all(STDOUT_FILENO, data, (size_t)n);
}

/* True: the person has gone; false: the VM has. */
static bool talk(int fd)
{
	struct typed typed = {.is_terminal = isatty(STDIN_FILENO)};

	while (!typed.ended || typed.n) {
		const bool has_room = typed.is_terminal || typed.n < sizeof(typed.data);
		struct pollfd pfd[] = {
			{.fd = typed.ended || !has_room ? -1 : STDIN_FILENO, .events = POLLIN},
			{.fd = fd, .events = (short)(POLLIN | (typed.n ? POLLOUT : 0))}};

		if (poll(pfd, 2, -1) < 0)
			continue;
		if (pfd[1].revents & (POLLIN | POLLHUP | POLLERR) && !show(fd))
			return false;
		if (pfd[1].revents & POLLOUT && !send_typed(&typed, fd))
			return false;
		if (pfd[0].revents)
			type(&typed);
	}
	return true;
}

/* "unix:PATH": as the option has it; NULL: it is no socket. */
static char *unix_path(const char *value)
{
	return value && !strncmp(value, "unix:", 5) ? ctl_text("%s", value + 5) : NULL;
}

/* "disconnected:unix:PATH,server=on", as query-chardev has it. */
static char *listening_path(struct json_object *chardevs, const char *label)
{
	for (size_t i = 0; i < ctl_length(chardevs); i++) {
		struct json_object *one = json_object_array_get_idx(chardevs, i);
		const char *path = strstr(ctl_string(one, "/filename"), "unix:");
		const char *end = path ? strstr(path, ",server=on") : NULL;

		if (end && !strncmp(ctl_string(one, "/label"), label, strlen(label)))
			return ctl_text("%.*s", (int)(end - path - 5), path + 5);
	}
	return NULL;
}

/* Where a VM has this port: its own word, or if it does not answer that of its file. */
static char *port_path(const struct vms_vm *vm, const char *port)
{
	if (vm->reach == VMS_SERVES)
		return listening_path(ctl_member(vm->answers, "/query-chardev"), port);
	return unix_path(vms_option(vm, port, NULL));
}

/* The one that is asked for; else the virtio console if there is one, else the serial port. */
static char *find_port(const struct vms_vm *vm, const char *port)
{
	char *path = port_path(vm, port ? port : "console");

	return path || port ? path : port_path(vm, "serial");
}

static bool is_there(const struct vms_vm *vm)
{
	if (vm->reach == VMS_OFF)
		ctl_complain("%s: is %s, not running", vm->name, vms_state(vm));
	return vm->reach != VMS_OFF;
}

static void make_raw(struct termios *mode)
{
	cfmakeraw(mode);
}

static int attach(const char *name, const char *path)
{
	static const struct conn_limit limit = {.s = LIMIT_S};
	struct error err;
	bool detached;
	int fd, ret = conn_connect(path, &limit, &fd, &err);

	if (ret == -EAGAIN)
		ret = error_set(&err, -ETIMEDOUT,
				"%s: not served within %g s: does another client use it?", path,
				LIMIT_S);
	if (ret) {
		ctl_complain("%s", err.msg);
		return ctl_status(ret);
	}
	fprintf(stderr, "%s: connected; Ctrl-] ends it\n", name);
	change_terminal(make_raw);
	detached = talk(fd);
	restore_terminal();
	close(fd);
	fprintf(stderr, "\n%s: %s\n", name,
		detached ? "disconnected" : "the VM closed the connection");
	return detached ? CTL_OK : CTL_FAILED;
}

int verb_console(const struct verb_call *call)
{
	const char *port = call->words[0];
	struct vms_vm vm;
	char *path = NULL;
	int status = CTL_FAILED;

	if (port && strcmp(port, "console") != 0 && strcmp(port, "serial") != 0) {
		ctl_complain("console: '%s': must be console or serial", port);
		return CTL_FAILED;
	}
	if (!list_get(&vm, call->name))
		return CTL_FAILED;
	if (is_there(&vm)) {
		path = find_port(&vm, port);
		if (path)
			status = attach(vm.name, path);
		else
			ctl_complain("%s: has no socket for its %s: see the options console and "
				     "serial",
				     vm.name, port ? port : "console");
	}
	free(path);
	vms_put(&vm);
	return status;
}

/* --- agent */

/* A line ends with Ctrl-], too. */
static void add_detach_key(struct termios *mode)
{
	mode->c_cc[VEOL] = DETACH;
}

/* Byte by byte, so that nothing is left in a buffer. False: the end, or Ctrl-]. */
static bool read_line(char line[LINE_BYTES])
{
	size_t n = 0;
	ssize_t got;
	char c;

	while ((got = read(STDIN_FILENO, &c, 1)) == 1 && c != '\n' && c != DETACH)
		if (n < LINE_BYTES - 1)
			line[n++] = c;
	line[n] = '\0';
	return got == 1 ? c == '\n' : got == 0 && n;
}

/* "COMMAND KEY=VALUE ..." to the agent of this VM. */
static void run_line(const struct verb_call *call, char *line)
{
	char *words[64];
	struct verb_call one = {.name = call->name, .words = words};
	size_t n = 0;

	for (char *rest = line, *word; (word = strsep(&rest, " \t")) && n < 63;)
		if (*word)
			words[n++] = word;
	words[n] = NULL;
	if (n)
		(void)verb_agent_command(&one);
	fflush(stdout);
}

int verb_agent(const struct verb_call *call)
{
	char line[LINE_BYTES];
	const bool is_terminal = isatty(STDIN_FILENO);

	if (call->words[0])
		return verb_agent_command(call);
	if (is_terminal)
		printf("%s: COMMAND [KEY=VALUE...] for the guest's agent, such as guest-info; "
		       "Ctrl-] "
		       "ends it\n",
		       call->name);
	change_terminal(add_detach_key);
	for (;;) {
		if (is_terminal)
			printf("%s> ", call->name);
		fflush(stdout);
		if (!read_line(line))
			break;
		run_line(call, line);
	}
	restore_terminal();
	if (is_terminal)
		putchar('\n');
	return CTL_OK;
}
