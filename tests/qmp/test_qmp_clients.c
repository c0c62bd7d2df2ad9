/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Several QMP clients at once, and clients that write much or read late. */
#include "tests/rig/qmp_fixture.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define CLIENTS	  8
#define NAME	  "{\"execute\":\"query-name\"}"
#define NAME_IS	  "{\"return\":{\"name\":\"vm1\"}}"
#define EXPECTING "Expecting capabilities negotiation with 'qmp_capabilities'"

static int client[CLIENTS];

static void open_all(void)
{
	for (int i = 0; i < CLIENTS; i++)
		client[i] = client_open();
}

static void close_all(void)
{
	for (int i = 0; i < CLIENTS; i++)
		close(client[i]);
}

TEST(all_are_served)
{
	open_all();
	for (int i = CLIENTS; i-- > 0;)
		client_send(client[i], NAME);
	for (int i = 0; i < CLIENTS; i++)
		client_expect(client[i], NAME_IS);
	close_all();
}

TEST(events_go_to_all)
{
	open_all();
	client_ask(client[3], "stop");
	for (int i = 0; i < CLIENTS; i++)
		client_expect(client[i], "{'event':'STOP'}");
	client_expect(client[3], "{'return':{}}");
	client_expect_silence(client[0]);
	close_all();
}

/* Negotiation, half an object and an error that skips to the line's end are each client's own. */
TEST(each_has_its_own_state)
{
	int first = client_open(), second = client_connect(), third = client_open();

	json_object_put(client_line(second));
	client_send(first, "{\"execute\":\"query-");
	client_send(third, "x");
	client_expect_error(third, "GenericError", "JSON parse error, expecting value");
	client_send(second, NAME);
	client_expect_error(second, "CommandNotFound", EXPECTING);
	fixture_events(1);
	client_expect(first, "{'event':'STOP'}");
	client_expect(third, "{'event':'STOP'}");
	client_expect_silence(second);
	client_send(first, "name\"}");
	client_expect(first, NAME_IS);
	client_send(third, "\n" NAME);
	client_expect(third, NAME_IS);
	close(first);
	close(second);
	close(third);
}

TEST(ninth_is_told)
{
	int ninth;

	open_all();
	for (int round = 0; round < 3; round++) {
		ninth = client_connect();
		client_expect_error(ninth, "GenericError",
				    "busy: 8 clients are connected already, and no more are "
				    "served at once: close one of them");
		ck_assert_ptr_null(client_line(ninth));
		close(ninth);
	}
	/* The others have not noticed, and whoever goes makes room. */
	client_answers(client[7], "query-name", "{'name':'vm1'}");
	for (int i = 0; i < 20; i++) {
		close(client[i % CLIENTS]);
		client[i % CLIENTS] = client_open();
	}
	close_all();
}

/* Far more than socket and queue hold, written before the first answer is read. */
TEST(much_is_asked_at_once)
{
	static char text[300 * 48];
	struct json_object *line;
	int fd = client_open();
	size_t len = 0;

	for (int i = 0; i < 300; i++)
		len += (size_t)snprintf(text + len, sizeof(text) - len,
					"{\"execute\":\"query-commands\",\"id\":%d}", i);
	client_send(fd, text);
	for (int i = 0; i < 300; i++) {
		line = client_line(fd);
		ck_assert_msg(line, "cut off behind %d answers", i);
		ck_assert_int_eq(json_object_get_int(json_object_object_get(line, "id")), i);
		json_object_put(line);
	}
	close(fd);
}

/* Writes until the server has taken nothing for a while; how many bytes of the request's copies. */
static size_t write_until_stuck(int fd, const char *request)
{
	const size_t len = strlen(request);
	struct pollfd writable = {.fd = fd, .events = POLLOUT};
	size_t sent = 0;

	while (poll(&writable, 1, 300) > 0) {
		ssize_t n = send(fd, request + sent % len, len - sent % len,
				 MSG_NOSIGNAL | MSG_DONTWAIT);

		ck_assert_msg(n > 0 || errno == EAGAIN, "cut off behind %zu bytes", sent);
		sent += n > 0 ? (size_t)n : 0;
		ck_assert_msg(sent < 64 << 20, "the server reads on without an end");
	}
	return sent;
}

/* It is not read from until it reads, the others are served, and it gets every answer in the end. */
TEST(client_that_only_writes)
{
	static const char request[] = "{\"execute\":\"query-commands\"}";
	int fd = client_open(), other;
	size_t sent = write_until_stuck(fd, request);

	other = client_open();
	client_send(other, NAME);
	client_expect(other, NAME_IS);
	close(other);
	for (size_t i = 0; i < sent / strlen(request); i++) {
		struct json_object *line = client_line(fd);

		ck_assert_msg(line, "cut off behind %zu answers", i);
		ck_assert(json_object_object_get_ex(line, "return", NULL));
		json_object_put(line);
	}
	client_send(fd, request + sent % strlen(request));
	json_object_put(client_line(fd));
	close(fd);
}

/* Each is an error, as from QEMU, and nothing else comes of them. */
TEST(five_thousand_strays)
{
	char strays[5000];
	int fd = client_open();

	memset(strays, 0xff, sizeof(strays));
	client_send_bytes(fd, strays, sizeof(strays));
	client_send(fd, NAME);
	for (size_t i = 0; i < sizeof(strays); i++)
		client_expect_error(fd, "GenericError", "JSON parse error, stray '\\u00FF'");
	client_expect(fd, NAME_IS);
	close(fd);
}

/* Answers that are still to be sent when the client has nothing more to say are sent. */
TEST(half_closed_with_much_to_come)
{
	int fd = client_open();

	for (int i = 0; i < 150; i++)
		client_ask(fd, "query-commands");
	ck_assert_int_eq(shutdown(fd, SHUT_WR), 0);
	for (int i = 0; i < 150; i++) {
		struct json_object *line = client_line(fd);

		ck_assert_msg(line, "cut off behind %d answers", i);
		json_object_put(line);
	}
	ck_assert_ptr_null(client_line(fd));
	close(fd);
}

/* Events cannot wait: who reads none of them for long is cut off, the others get them all. */
TEST(client_that_reads_no_events)
{
	int deaf = client_open(), other = client_open();
	char buf[65536];

	for (int round = 0; round < 15; round++) {
		fixture_events(1000);
		for (int i = 0; i < 1000; i++)
			client_expect(other, "{'event':'STOP'}");
	}
	while (read(deaf, buf, sizeof(buf)) > 0)
		;
	close(deaf);
	close(other);
}

/* The reply tells all of them, and the end does not wait for ever for the one that does not read. */
TEST(quit_with_all)
{
	open_all();
	fixture_events(2500);
	for (int i = 0; i < 2500; i++)
		client_expect(client[1], "{'event':'STOP'}");
	client_ask(client[1], "quit");
	client_expect(client[1],
		      "{'event':'SHUTDOWN','data':{'guest':false,'reason':'host-qmp-quit'}}");
	client_expect(client[1], "{'return':{}}");
	ck_assert_ptr_null(client_line(client[1]));
	fixture_join();
	close_all();
}

/* One client's long cprsave: the others may ask, not change, and one of them ends it. */
TEST(save_is_watched_and_cancelled)
{
	struct json_object *line;
	int saver = client_open(), other = client_open(), late;

	client_send(other, "{'execute':'query-cpr'}{'execute':'cpr-cancel'}");
	client_expect(other, "{'return':{'operation':'none'}}");
	client_expect_error(other, "GenericError", "nothing is under way");
	atomic_store(&fake_cpr.save_is_long, true);
	client_send(
		saver,
		"{'execute':'cprsave','arguments':{'file':'/d/x','mode':'reboot'},'id':1}" NAME);
	client_expect_silence(saver);
	late = client_open();
	client_answers(
		late, "query-cpr",
		"{'operation':'cprsave','step':'presync','done':3145728,'total':1073741824}");
	for (size_t i = 0; i < 2; i++) {
		client_send(
			other,
			i ? "{'execute':'quit'}"
			  : "{'execute':'cprsave','arguments':{'file':'/d/y','mode':'reboot'}}");
		line = client_line(other);
		ck_assert_msg(strstr(json_object_to_json_string(line), "\"a cprsave is under way"),
			      "%s", json_object_to_json_string(line));
		json_object_put(line);
	}
	client_send(other, NAME);
	client_expect(other, NAME_IS);
	close(late); /* within the step, too */
	late = client_open();
	client_expect_silence(saver);
	client_answers(other, "cpr-cancel", "{}");
	client_expect(saver,
		      "{'error':{'class':'GenericError','desc':'cprsave was cancelled'},'id':1}");
	client_expect(saver, NAME_IS);
	client_answers(late, "query-cpr", "{'operation':'none'}");
	close(saver);
	close(other);
	close(late);
}

/* Who asked for it has gone, and all places are taken: it is carried out nevertheless, once. */
TEST(saver_hangs_up)
{
	open_all();
	atomic_store(&fake_cpr.save_is_long, true);
	client_ask(client[0], "cprsave {'file':'/d/x','mode':'reboot'}");
	close(client[0]);
	client_ask(client[1], "query-cpr");
	json_object_put(client_line(client[1]));
	atomic_store(&fake_cpr.save_is_long, false);
	for (int i = 1; i < CLIENTS; i++) {
		client_expect(
			client[i],
			"{'event':'SHUTDOWN','data':{'guest':false,'reason':'host-qmp-quit'}}");
		ck_assert_ptr_null(client_line(client[i]));
		close(client[i]);
	}
	fixture_join();
	ck_assert_str_eq(fake_cpr.file, "/d/x");
}

UNIT_MAIN(fixture_start, fixture_stop)
