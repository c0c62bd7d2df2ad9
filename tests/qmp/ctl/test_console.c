/* SPDX-License-Identifier: GPL-2.0-or-later */
/* console, agent and edit with a person at a terminal. */
#include "tests/rig/ctl_vms.h"
#include "tests/rig/unit.h"
#include <poll.h>
#include <pty.h>
#include <signal.h>
#include <termios.h>
#include <utmp.h>

struct terminal {
	int fd;
	pid_t pid;
	struct termios former;
	size_t n; /* of output, which is what it has shown so far */
};

/* Runs stasisctl with these words, up to NULL, at a terminal of its own. */
static void terminal_open(struct terminal *terminal, const char *const words[])
{
	const char *argv[8] = {"stasisctl"};
	int slave;

	for (size_t i = 0; words[i]; i++)
		argv[i + 1] = words[i];
	*terminal = (struct terminal){0};
	ck_assert_int_eq(openpty(&terminal->fd, &slave, NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(slave, &terminal->former), 0);
	terminal->pid = fork();
	if (!terminal->pid) {
		close(terminal->fd);
		login_tty(slave);
		execv(STASISCTL, (char *const *)argv);
		_exit(127);
	}
	close(slave);
	output[0] = '\0';
}

/* Waits until it has shown this. */
static void terminal_shows(struct terminal *terminal, const char *text)
{
	while (!strstr(output, text)) {
		struct pollfd pfd = {.fd = terminal->fd, .events = POLLIN};
		ssize_t n;

		ck_assert_msg(poll(&pfd, 1, FIXTURE_TIMEOUT_MS) == 1, "no '%s' in: %s", text,
			      output);
		n = read(terminal->fd, output + terminal->n, sizeof(output) - 1 - terminal->n);
		ck_assert_msg(n > 0, "no '%s' in: %s", text, output);
		terminal->n += (size_t)n;
		output[terminal->n] = '\0';
	}
}

static void terminal_type(const struct terminal *terminal, const char *text)
{
	ck_assert_int_eq(write(terminal->fd, text, strlen(text)), (ssize_t)strlen(text));
}

static bool is_raw(const struct terminal *terminal)
{
	struct termios mode;

	ck_assert_int_eq(tcgetattr(terminal->fd, &mode), 0);
	return !(mode.c_lflag & (ICANON | ECHO | ISIG));
}

/* Its wait status; the terminal is as it was. */
static int terminal_close(const struct terminal *terminal)
{
	struct termios mode;
	int status;

	ck_assert_int_eq(waitpid(terminal->pid, &status, 0), terminal->pid);
	ck_assert_int_eq(tcgetattr(terminal->fd, &mode), 0);
	ck_assert_uint_eq(mode.c_lflag, terminal->former.c_lflag);
	ck_assert_uint_eq(mode.c_iflag, terminal->former.c_iflag);
	ck_assert_uint_eq(mode.c_oflag, terminal->former.c_oflag);
	ck_assert_int_eq(mode.c_cc[VEOL], terminal->former.c_cc[VEOL]);
	close(terminal->fd);
	return status;
}

/* A console that says what it hears; *fd is its client. */
static int console_open(struct terminal *terminal, int *fd)
{
	static char conf[512];
	int listening = ctl_socket("off", "console", 1);

	snprintf(conf, sizeof(conf), "kernel /k\nconsole unix:%s\n",
		 ctl_at("/run/stasis/off/console"));
	ctl_conf("off", conf);
	terminal_open(terminal, WORDS("console", "off"));
	*fd = accept(listening, NULL, NULL);
	ck_assert_int_ge(*fd, 0);
	terminal_shows(terminal, "off: connected; Ctrl-] ends it\r\n");
	while (!is_raw(terminal))
		usleep(1000);
	return listening;
}

/* The VM is busy: its QMP socket is there, and nobody serves it. */
static void console_hears(int fd, const char *text)
{
	char have[64] = "";
	size_t n = 0;

	while (n < strlen(text)) {
		ssize_t got = read(fd, have + n, strlen(text) - n);

		ck_assert_int_gt(got, 0);
		n += (size_t)got;
	}
	ck_assert_str_eq(have, text);
}

static const struct {
	const char *typed, *heard;
	int signal; /* instead of typing */
	const char *shown;
} consoles[] = {
	{"ls\r\x03", "ls\r\x03", 0, "off: disconnected"},
	{"", "", SIGTERM, ""},
	{"", "", SIGHUP, ""},
	{"", "", SIGPIPE, ""}, /* its output goes to a program that has ended */
};

TEST_EACH(console, consoles)
{
	int qmp = ctl_listen("off", 1), listening, fd, status;
	struct terminal terminal;

	listening = console_open(&terminal, &fd);
	client_send_bytes(fd, "login: \x1b[1m", 11);
	terminal_shows(&terminal, "login: \x1b[1m");
	terminal_type(&terminal, consoles[_i].typed);
	console_hears(fd, consoles[_i].heard);
	if (consoles[_i].signal)
		kill(terminal.pid, consoles[_i].signal);
	else
		terminal_type(&terminal, "\x1d");
	if (*consoles[_i].shown)
		terminal_shows(&terminal, consoles[_i].shown);
	status = terminal_close(&terminal);
	if (consoles[_i].signal)
		ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == consoles[_i].signal);
	else
		ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	close(fd);
	close(listening);
	close(qmp);
}

TEST(console_that_the_vm_closes)
{
	int qmp = ctl_listen("off", 1), listening, fd, status;
	struct terminal terminal;

	listening = console_open(&terminal, &fd);
	close(fd);
	terminal_shows(&terminal, "off: the VM closed the connection");
	status = terminal_close(&terminal);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
	close(listening);
	close(qmp);
}

/* The key counts although the guest reads nothing. */
TEST(console_that_is_stuck)
{
	int qmp = ctl_listen("off", 1), listening, fd, status;
	struct terminal terminal;
	char much[1024];

	listening = console_open(&terminal, &fd);
	memset(much, 'x', sizeof(much) - 1);
	much[sizeof(much) - 1] = '\0';
	for (int i = 0; i < 1024; i++)
		terminal_type(&terminal, much);
	terminal_type(&terminal, "\x1d");
	terminal_shows(&terminal, "off: disconnected");
	status = terminal_close(&terminal);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	close(fd);
	close(listening);
	close(qmp);
}

TEST(console_from_a_pipe)
{
	int qmp = ctl_listen("off", 1), listening = ctl_socket("off", "console", 1);
	char conf[512];

	snprintf(conf, sizeof(conf), "kernel /k\nconsole unix:%s\n",
		 ctl_at("/run/stasis/off/console"));
	ctl_conf("off", conf);
	ctl_file(ctl_at("/typed"), "word\n");
	gives("console off <$STASIS_ROOT/typed", 0,
	      "off: connected; Ctrl-] ends it\n\noff: disconnected\n");
	int fd = accept(listening, NULL, NULL);
	console_hears(fd, "word\n");
	close(fd);
	close(listening);
	unlink(ctl_at("/run/stasis/off/console"));
	gives("console off", 1,
	      "stasisctl: ROOT/run/stasis/off/console: no such file: no VM runs with this socket, "
	      "or it is in another folder\n");
	close(qmp);
}

/* A VM serves one client of a console, and another one may wait for its turn. */
TEST(console_that_others_use)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int qmp = ctl_listen("off", 1), listening = ctl_socket("off", "console", 1), waiting[2];
	char conf[512];

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s", ctl_at("/run/stasis/off/console"));
	for (int i = 0; i < 2; i++) {
		waiting[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
		ck_assert_int_eq(connect(waiting[i], (struct sockaddr *)&addr, sizeof(addr)), 0);
	}
	snprintf(conf, sizeof(conf), "kernel /k\nconsole unix:%s\n", addr.sun_path);
	ctl_conf("off", conf);
	gives("console off </dev/null", 2,
	      "stasisctl: ROOT/run/stasis/off/console: not served within 3 s: does another client "
	      "use it?\n");
	close(waiting[0]);
	close(waiting[1]);
	close(listening);
	close(qmp);
}

/* A VM that answers says itself where its console is. */
TEST(console_of_a_vm_that_answers)
{
	char chardevs[512];
	const struct script script = {.chardevs = chardevs};
	struct scripted vm;
	int listening = ctl_socket("vm2", "serial,1", 1);

	snprintf(chardevs, sizeof(chardevs),
		 "[{\"label\": \"serial0\", \"filename\": \"disconnected:unix:%s,server=on\"}]",
		 ctl_at("/run/stasis/vm2/serial,1"));
	scripted_start(&vm, "vm2", &script);
	for (int i = 0; i < 2; i++) {
		gives(i ? "console vm2 </dev/null" : "console vm2 serial </dev/null", 0,
		      "vm2: connected; Ctrl-] ends it\n\nvm2: disconnected\n");
		close(accept(listening, NULL, NULL));
	}
	gives("console vm2 console", 1,
	      "stasisctl: vm2: has no socket for its console: see the options console and "
	      "serial\n");
	scripted_stop(&vm);
	close(listening);
}

static void *serve_agent(void *opaque)
{
	const int listening = *(int *)opaque;
	char text[512];
	int fd;
	ssize_t n;

	while ((fd = accept(listening, NULL, NULL)) >= 0) {
		while ((n = read(fd, text, sizeof(text) - 1)) > 0) {
			text[n] = '\0';
			const char *id = strstr(text, "\"id\":");
			char reply[128];

			if (id) {
				snprintf(reply, sizeof(reply), "\xff{\"return\": %lld}\n",
					 strtoll(id + 5, NULL, 10));
				client_send_bytes(fd, reply, strlen(reply));
			}
			if (strstr(text, "guest-ping"))
				client_send_bytes(fd, "{\"return\": {}}\n", 15);
		}
		close(fd);
	}
	return NULL;
}

TEST(agent)
{
	int listening = ctl_socket("off", "agent", 4), status;
	struct terminal terminal;
	pthread_t thread;

	ck_assert_int_eq(pthread_create(&thread, NULL, serve_agent, &listening), 0);
	gives("agent off guest-ping", 0, "{}\n");
	gives("--timeout 10 agent off guest-ping", 0, "{}\n");
	gives("agent off guest-ping x", 1, "stasisctl: x: must be KEY=VALUE or KEY:=JSON\n");
	ctl_file(ctl_at("/typed"), "guest-ping x\n\n  guest-ping\t");
	gives("agent off <$STASIS_ROOT/typed", 0,
	      "stasisctl: x: must be KEY=VALUE or KEY:=JSON\n{}\n");
	terminal_open(&terminal, WORDS("agent", "off"));
	terminal_shows(&terminal, "Ctrl-] ends it\r\noff> ");
	terminal_type(&terminal, "guest-ping\n");
	terminal_shows(&terminal, "{}\r\noff> ");
	terminal_type(&terminal, "\x1d");
	status = terminal_close(&terminal);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	shutdown(listening, SHUT_RDWR);
	pthread_join(thread, NULL);
	close(listening);
}

/* A faulty text is offered again, and is never installed. */
TEST(edit_that_is_offered_again)
{
	struct terminal terminal;
	int status;

	ctl_program(ctl_at("/bin/ed1"),
		    "#!/bin/sh\nif grep -q kernl \"$1\"; then sed -i s,kernl,initrd, "
		    "\"$1\"; else sed -i s,kernel,kernl, \"$1\"; fi\n");
	setenv("VISUAL", "ed1", 1);
	terminal_open(&terminal, WORDS("edit", "ended"));
	terminal_shows(&terminal, "there is no option '--kernl'");
	terminal_shows(&terminal, "Edit it again? [Y/n] ");
	terminal_type(&terminal, "\n");
	terminal_shows(&terminal, "ended: changed");
	status = terminal_close(&terminal);
	ck_assert(WIFEXITED(status) && !WEXITSTATUS(status));
	setenv("VISUAL", "sed -i s,initrd,kernl,", 1);
	terminal_open(&terminal, WORDS("edit", "ended"));
	terminal_shows(&terminal, "Edit it again? [Y/n] ");
	terminal_type(&terminal, "n\n");
	terminal_shows(&terminal, "is as it was");
	status = terminal_close(&terminal);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 1);
}

UNIT_MAIN(ctl_vms_start, ctl_fixture_stop)
