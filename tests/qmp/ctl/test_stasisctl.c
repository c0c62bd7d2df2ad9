/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The program stasisctl (STASISCTL is its path) against the QMP server of the fixture. */
#include "tests/rig/ctl_run.h"
#include "tests/rig/unit.h"
#include "vmm/version.h"
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

TEST(help)
{
	static const char *const words[] = {
		"SOCKET",    "COMMAND",		  "KEY=VALUE", "--get",	     "--wait-event",
		"--timeout", "--connect-timeout", "--agent",   "Exit status"};

	ck_assert_int_eq(run("--help"), 0);
	for (size_t i = 0; i < ARRAY_SIZE(words); i++)
		ck_assert_msg(strstr(output, words[i]), "%s is not explained", words[i]);
}

TEST(arguments_arrive)
{
	ck_assert_int_eq(run("$SOCKET cprsave 'file=/a b/\"c\"' mode=restart ram-check=full "
			     "--wait-event SHUTDOWN"),
			 0);
	ck_assert_str_eq(fake_cpr.file, "/a b/\"c\"");
	ck_assert(fake_cpr.ram_check);
	ck_assert_msg(!strncmp(output, "{}\n{", 4) && strstr(output, "\"event\": \"SHUTDOWN\""),
		      "%s", output);
}

/* The event comes within the command, before its reply. */
TEST(event_within_command)
{
	ck_assert_int_eq(run("--wait-event STOP $SOCKET stop"), 0);
	ck_assert_msg(!strncmp(output, "{}\n{", 4) && strstr(output, "\"event\": \"STOP\""), "%s",
		      output);
}

static atomic_bool is_over;

/* Again and again: who is not connected yet gets the next one. */
static void *send_events(void *opaque)
{
	const unsigned int *after_ms = opaque;

	for (usleep(*after_ms * 1000); !atomic_load(&is_over); usleep(20000))
		fixture_events(1);
	return NULL;
}

static int run_with_events(unsigned int after_ms, const char *arguments)
{
	pthread_t thread;
	int status;

	atomic_store(&is_over, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_events, &after_ms), 0);
	status = run(arguments);
	atomic_store(&is_over, true);
	pthread_join(thread, NULL);
	return status;
}

TEST(event_alone)
{
	ck_assert_int_eq(run_with_events(300, "--wait-event STOP --timeout 15 $SOCKET"), 0);
	ck_assert_msg(strstr(output, "\"event\": \"STOP\""), "%s", output);
}

/* What runs with $SOCKET.other, served by a thread of its own; its exit status. */
static int run_with_other(void *(*serve)(void *), const char *arguments)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0), status;
	pthread_t thread;

	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s.other", f.socket);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	ck_assert_int_eq(listen(fd, 1), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, serve, &fd), 0);
	status = run(arguments);
	pthread_join(thread, NULL);
	close(fd);
	unlink(addr.sun_path);
	return status;
}

/* What is in the midst of something long, as a VM that is clearing RAM: it does not even accept. */
static void *serve_nobody(void *opaque)
{
	return NULL;
}

/* The ninth is told by the VM, and whoever has left his socket behind is no VM. */
TEST(busy_or_left_over)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	int client[8], fd;

	for (int i = 0; i < 8; i++)
		client[i] = client_open();
	ck_assert_int_eq(run("$SOCKET stop"), 1);
	ck_assert_str_eq(output, "stasisctl: SOCKET: busy: 8 clients are connected already, and no "
				 "more are served at "
				 "once: close one of them\n");
	close(client[0]);
	ck_assert_int_eq(run("$SOCKET stop"), 0);
	for (int i = 1; i < 8; i++)
		close(client[i]);
	snprintf(addr.sun_path, sizeof(addr.sun_path), "%s.old", f.socket);
	fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(fd, (struct sockaddr *)&addr, sizeof(addr)), 0);
	close(fd);
	ck_assert_int_eq(run("$SOCKET.old stop"), 1);
	ck_assert_msg(strstr(output, "left over by a VM that ended"), "%s", output);
	unlink(addr.sun_path);
}

/* What takes long once the VM serves the client is none of its business. */
TEST(connect_timeout_ends_with_connecting)
{
	ck_assert_int_eq(run_with_events(2500, "--connect-timeout 2 --wait-event STOP $SOCKET"), 0);
}

static void *speak_garbage(void *opaque)
{
	int fd = accept(*(int *)opaque, NULL, NULL);

	client_send(fd, "SSH-2.0-OpenSSH\r\n");
	close(fd);
	return NULL;
}

/* One read(): a command is short. */
static void receive_text(int fd, char *text, size_t size)
{
	ssize_t n = read(fd, text, size - 1);

	text[n > 0 ? n : 0] = '\0';
}

/* Until the other side has enough. */
static void talk_on(int fd)
{
	static const char text[] = "{\"return\": \"";
	char much[4096];
	ssize_t n = send(fd, text, sizeof(text) - 1, MSG_NOSIGNAL);

	memset(much, 'x', sizeof(much));
	for (unsigned int i = 0; n > 0 && i < 4096; i++)
		n = send(fd, much, sizeof(much), MSG_NOSIGNAL);
	ck_assert_int_lt(n, 0);
}

/* A guest's agent with answers to those before on the way, one of them in two pieces. */
static void *serve_as_agent(void *opaque)
{
	static const char id_key[] = "\"id\":";
	static const char *const stale[] = {"\"old\"}\n\xff{\"return\": 12", "34}\n"};
	int fd = accept(*(int *)opaque, NULL, NULL);
	char text[256] = "";
	size_t n = 0;
	const char *number;
	long long id;

	while (!strchr(text, '}') && n < sizeof(text) - 1) {
		receive_text(fd, text + n, sizeof(text) - n);
		n = strlen(text);
	}
	ck_assert_msg(text[0] == '\xff' && strstr(text, "guest-sync-delimited"), "%s", text);
	number = strstr(text, id_key);
	ck_assert_ptr_nonnull(number);
	id = strtoll(number + strlen(id_key), NULL, 10);
	client_send(fd, stale[0]);
	usleep(50000);
	client_send(fd, stale[1]);
	snprintf(text, sizeof(text), "\xff{\"return\": %lld}\n", id);
	client_send(fd, text);
	receive_text(fd, text, sizeof(text));
	if (strstr(text, "guest-ping"))
		client_send(fd, "{'return': {}}\n");
	else if (strstr(text, "guest-suspend-ram"))
		client_send(fd, "{'error': {'class': 'GenericError', 'desc': 'not today'}}\n");
	else if (strstr(text, "guest-shout"))
		client_send(fd, "{'error': {'desc': '\\u001b[2J\\u009b\\u0007'}}\n");
	else if (strstr(text, "guest-fault"))
		client_send(fd, "{'error': {}}\n");
	else if (strstr(text, "guest-info"))
		client_send(fd, "{\"return\": {\"a\": \"\\u001b]0;x\\u007f\\u009b\"}}\n");
	else if (strstr(text, "guest-talk"))
		talk_on(fd);
	receive_text(fd, text, sizeof(text)); /* until it goes */
	close(fd);
	return NULL;
}

/* A VM that passes on what others say. */
static void *serve_hostile_text(void *opaque)
{
	static const char hostile[] = "K\\u00f6ln\\nstasisctl: \\u001b[2J\\u009b\\u202e\\u007f";
	int fd = accept(*(int *)opaque, NULL, NULL);
	char text[256], reply[256];

	client_send(fd, "{'QMP': {}}\n");
	receive_text(fd, text, sizeof(text));
	client_send(fd, "{'return': {}}\n");
	receive_text(fd, text, sizeof(text));
	if (strstr(text, "query-name"))
		snprintf(reply, sizeof(reply), "{\"return\": {\"name\": \"%s\"}}\n", hostile);
	else
		snprintf(reply, sizeof(reply), "{\"error\": {\"desc\": \"%s\"}}\n", hostile);
	client_send(fd, reply);
	receive_text(fd, text, sizeof(text)); /* until it goes */
	close(fd);
	return NULL;
}

/* A port that no agent has open takes what is sent and stays silent. */
static void *serve_without_agent(void *opaque)
{
	int fd = accept(*(int *)opaque, NULL, NULL);
	char text[256];

	while (read(fd, text, sizeof(text)) > 0)
		;
	close(fd);
	return NULL;
}

static void gives(const struct row *row, void *(*serve)(void *))
{
	const int status = serve ? run_with_other(serve, row->arguments) : run(row->arguments);

	ck_assert_str_eq(output, row->output);
	ck_assert_int_eq(status, row->status);
}

static const struct row rows[] = {
	{"$SOCKET query-name", 0, "{\n  \"name\": \"vm1\"\n}\n"},
	{"unix:$SOCKET query-name", 0, "{\n  \"name\": \"vm1\"\n}\n"},
	{"$SOCKET stop", 0, "{}\n"},
	{"$SOCKET query-name --get /name", 0, "vm1\n"},
	{"$SOCKET query-memory-size-summary --get /base-memory", 0, "1073741824\n"},
	{"$SOCKET cprinfo --get /serial", 0, "unix\n"},
	{"$SOCKET query-name --get /nam", 1,
	 "stasisctl: --get /nam: the return value has no such part\n"},
	{"$SOCKET nosuch", 1, "stasisctl: nosuch: The command nosuch has not been found\n"},
	{"$SOCKET stop x=1", 1, "stasisctl: stop: Parameter 'x' is unexpected\n"},
	{"$SOCKET cprload file=true", 1,
	 "stasisctl: cprload: Invalid parameter type for 'file', expected: string\n"},
	{"$SOCKET cprload file:=1", 1,
	 "stasisctl: cprload: Invalid parameter type for 'file', expected: string\n"},
	{"$SOCKET cprload file:=null", 1,
	 "stasisctl: cprload: Invalid parameter type for 'file', expected: string\n"},
	{"$SOCKET cprload 'file:=\"7\"'", 0, "{}\n"},
	{"$SOCKET cprload file=7x", 0, "{}\n"},
	{"$SOCKET cprload file=NaN", 0, "{}\n"},
	{"$SOCKET cprload file=-Infinity", 0, "{}\n"},
	{"$SOCKET cprload file=99999999999999999999", 0, "{}\n"},
	{"$SOCKET cprload file:=7x", 1, "stasisctl: file:=7x: what follows := must be JSON\n"},
	{"$SOCKET cprload file", 1, "stasisctl: file: must be KEY=VALUE or KEY:=JSON\n"},
	{"$SOCKET cprload =x", 1, "stasisctl: =x: must be KEY=VALUE or KEY:=JSON\n"},
	{"$SOCKET cprload :=1", 1, "stasisctl: :=1: must be KEY=VALUE or KEY:=JSON\n"},
	{"/no/such stop", 1,
	 "stasisctl: /no/such: no such file: no VM runs with this socket, or it is in another "
	 "folder\n"},
	{"no-such-vm stop", 1,
	 "stasisctl: /run/stasis/no-such-vm/qmp: no such file: no VM runs with this socket, or it "
	 "is "
	 "in another folder\n"},
	{"--agent no-such-vm guest-ping", 1,
	 "stasisctl: /run/stasis/no-such-vm/agent: no such file: no VM runs with this socket, or "
	 "it "
	 "is in another folder\n"},
	{"/etc/passwd stop", 1, "stasisctl: /etc/passwd: not a socket\n"},
	{"", 1, "stasisctl: which SOCKET? See stasisctl --help\n"},
	{"$SOCKET", 1, "stasisctl: which COMMAND? See stasisctl --help\n"},
	{"--timeout 0 $SOCKET stop", 1,
	 "stasisctl: --timeout 0: must be a number of seconds above 0\n"},
	{"--timeout 1x $SOCKET stop", 1,
	 "stasisctl: --timeout 1x: must be a number of seconds above 0\n"},
	{"--connect-timeout x $SOCKET stop", 1,
	 "stasisctl: --connect-timeout x: must be a number of seconds above 0\n"},
	{"--connect-timeout 5 --timeout 10 $SOCKET stop", 0, "{}\n"},
	{"--agent $SOCKET --wait-event STOP", 1,
	 "stasisctl: --wait-event: an agent sends no events\n"},
	/* The machine's own places: test_ram.c has all the kinds. */
	{"--outlives-kexec /dev/shm/no/such/file", 1, ""},
	{"--outlives-kexec /proc/self/exe", 0, ""},
	{"--version", 0, "stasisctl " STASIS_VERSION "\n"},
	{"--wait-event RESET --timeout 0.2 $SOCKET", 2,
	 "stasisctl: SOCKET: timed out after 0.2 s\n"},
	/* The VM ends before the event comes. */
	{"--wait-event RESET $SOCKET quit", 1,
	 "stasisctl: SOCKET: the VM closed the connection\n{}\n"},
};

TEST_EACH(row, rows)
{
	gives(&rows[_i], NULL);
}

/* With somebody at $SOCKET.other. */
static const struct {
	struct row row;
	void *(*serve)(void *);
} served[] = {
	{{"--timeout 0.2 $SOCKET.other stop", 2,
	  "stasisctl: SOCKET.other: timed out after 0.2 s\n"},
	 serve_nobody},
	{{"--connect-timeout 0.2 $SOCKET.other stop", 2,
	  "stasisctl: SOCKET.other: not served within 0.2 s, nothing was sent: is the VM in the "
	  "midst of something long?\n"},
	 serve_nobody},
	{{"--connect-timeout 10 --timeout 0.2 $SOCKET.other stop", 2,
	  "stasisctl: SOCKET.other: timed out after 0.2 s\n"},
	 serve_nobody},
	{{"--timeout 6 $SOCKET.other stop", 2,
	  "stasisctl: SOCKET.other: no answer yet: the VM is busy\n"
	  "stasisctl: SOCKET.other: timed out after 6 s\n"},
	 serve_nobody},
	{{"$SOCKET.other stop", 1, "stasisctl: SOCKET.other: does not speak QMP\n"}, speak_garbage},
	{{"--agent $SOCKET.other guest-ping", 0, "{}\n"}, serve_as_agent},
	{{"--agent --connect-timeout 5 $SOCKET.other guest-suspend-ram", 1,
	  "stasisctl: guest-suspend-ram: not today\n"},
	 serve_as_agent},
	{{"--agent $SOCKET.other guest-shout", 1, "stasisctl: guest-shout: ?[2J???\n"},
	 serve_as_agent},
	{{"--agent $SOCKET.other guest-fault", 1,
	  "stasisctl: guest-fault: the command failed without an error message\n"},
	 serve_as_agent},
	{{"--agent --get /a $SOCKET.other guest-info", 0, "?]0;x???\n"}, serve_as_agent},
	{{"--agent $SOCKET.other guest-info", 0, "{\n  \"a\": \"\\u001b]0;x???\"\n}\n"},
	 serve_as_agent},
	{{"--agent $SOCKET.other guest-talk", 1,
	  "stasisctl: SOCKET.other: answer too long: more than 1048576 bytes\n"},
	 serve_as_agent},
	{{"--agent --connect-timeout 2 --timeout 2.5 $SOCKET.other guest-shutdown", 2,
	  "stasisctl: SOCKET.other: timed out after 2.5 s\n"},
	 serve_as_agent},
	{{"$SOCKET.other stop", 1, "stasisctl: stop: K\xc3\xb6ln?stasisctl: ?[2J??????\n"},
	 serve_hostile_text},
	{{"--get /name $SOCKET.other query-name", 0, "K\xc3\xb6ln?stasisctl: ?[2J??????\n"},
	 serve_hostile_text},
	{{"$SOCKET.other query-name", 0,
	  "{\n  \"name\": \"K\xc3\xb6ln\\nstasisctl: \\u001b[2J??????\"\n}\n"},
	 serve_hostile_text},
	{{"--agent --connect-timeout 0.2 $SOCKET.other guest-ping", 2,
	  "stasisctl: SOCKET.other: not served within 0.2 s, nothing was sent: does the guest's "
	  "agent run?\n"},
	 serve_without_agent},
};

TEST_EACH(served, served)
{
	gives(&served[_i].row, served[_i].serve);
}

UNIT_MAIN(fixture_start, fixture_stop)
