/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Memory that fails, at each allocation in turn: a request gets one right answer, or its client is cut off, and
 * the server serves the next one. malloc and its kin are wrapped by the linker. */
#include "tests/rig/qmp_fixture.h"
#include "tests/rig/unit.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NAME	"{\"execute\":\"query-name\"}"
#define NAME_IS "{\"return\":{\"name\":\"vm1\"}}"

void *__real_malloc(size_t bytes);
void *__real_calloc(size_t n, size_t bytes);
void *__real_realloc(void *old, size_t bytes);
void *__wrap_malloc(size_t bytes);
void *__wrap_calloc(size_t n, size_t bytes);
void *__wrap_realloc(void *old, size_t bytes);

static atomic_int left = -1; /* allocations of the server's thread until one fails; -1: none does */
static atomic_bool has_failed;

static bool fails(void)
{
	if (atomic_load(&left) < 0 || !pthread_equal(pthread_self(), f.thread) ||
	    atomic_fetch_sub(&left, 1) > 0)
		return false;
	atomic_store(&has_failed, true);
	return true;
}

void *__wrap_malloc(size_t bytes)
{
	return fails() ? NULL : __real_malloc(bytes);
}

void *__wrap_calloc(size_t n, size_t bytes)
{
	return fails() ? NULL : __real_calloc(n, bytes);
}

void *__wrap_realloc(void *old, size_t bytes)
{
	return fails() ? NULL : __real_realloc(old, bytes);
}

static const char *const request[] = {
	"query-version\"",
	"query-status\"",
	"query-name\"",
	"query-uuid\"",
	"query-cpus-fast\"",
	"query-commands\"",
	"query-block\"",
	"query-blockstats\"",
	"query-chardev\"",
	"query-pci\"",
	"query-cpr\"",
	"cprinfo\"",
	"stop\"",
	"system_reset\"",
	"block_resize\",\"arguments\":{\"device\":\"root\",\"size\":4096}",
	"announce-self\",\"arguments\":{\"interfaces\":[\"lan\",\"net0\"]}",
	"nosuch\"",
	"stop\",\"arguments\":{\"x\":1}",
	"cprload\",\"arguments\":{\"file\":\"/d/x\"}",
	"cprsave\",\"arguments\":{\"file\":\"/d/x\",\"mode\":\"reboot\"}",
	"quit\"",
};

/* The next line that is no event; NULL: cut off. */
static struct json_object *answer(int fd)
{
	struct json_object *line = client_line(fd);

	while (line && json_object_object_get_ex(line, "event", NULL)) {
		json_object_put(line);
		line = client_line(fd);
	}
	return line;
}

/* False: cut off. */
static bool is_answered(int fd, const char *member, int id)
{
	struct json_object *line = answer(fd), *value;
	bool is_error;

	if (!line)
		return false;
	is_error = json_object_object_get_ex(line, "error", NULL);
	ck_assert_msg(is_error || json_object_object_get_ex(line, member, &value), "%s",
		      json_object_to_json_string(line));
	if (id)
		ck_assert_int_eq(json_object_get_int(json_object_object_get(line, "id")), id);
	json_object_put(line);
	return id || !is_error;
}

static void talk(const char *command)
{
	int fd = client_connect();
	char text[200];

	snprintf(text, sizeof(text), "{\"execute\":\"%s,\"id\":7}", command);
	if (is_answered(fd, "QMP", 0)) {
		client_send(fd, "{'execute':'qmp_capabilities','id':6}");
		if (is_answered(fd, "return", 6)) {
			client_send(fd, text);
			/* One answer, and then only that of the next one. */
			if (is_answered(fd, "return", 7) && fake_cpr.file[0] == '\0') {
				/* After `quit` nobody reads it. */
				(void)!send(fd, "{\"id\":8}", 8, MSG_NOSIGNAL);
				is_answered(fd, "error", 8);
			}
		}
	}
	close(fd);
}

TEST_EACH(each_allocation_fails, request)
{
	const bool ends = !strcmp(request[_i], "quit\"") || !strncmp(request[_i], "cprsave", 7);
	int n = 0, fd;

	do {
		fixture_start();
		if (!strncmp(request[_i], "cprload", 7))
			f.vm.runstate = RUNSTATE_INMIGRATE;
		atomic_store(&has_failed, false);
		atomic_store(&left, n++);
		talk(request[_i]);
		atomic_store(&left, -1);
		if (!ends) {
			fd = client_open();
			client_send(fd, NAME);
			client_expect(fd, NAME_IS);
			close(fd);
		}
		fixture_stop();
		ck_assert_int_lt(n, 1000);
	} while (atomic_load(&has_failed));
	ck_assert_int_gt(n, 3); /* some did fail */
}

/* An event that nobody can be told costs its listeners the connection: none believes to have them all. */
TEST(event_fails)
{
	int fd, deaf;

	fixture_start();
	fd = client_open();
	deaf = client_connect();
	json_object_put(client_line(deaf));
	atomic_store(&left, 0);
	fixture_events(1);
	ck_assert_ptr_null(client_line(fd));
	atomic_store(&left, -1);
	client_send(deaf, "{'execute':'qmp_capabilities'}" NAME);
	client_expect(deaf, "{'return':{}}");
	client_expect(deaf, NAME_IS);
	close(fd);
	close(deaf);
	fixture_stop();
}

UNIT_MAIN(NULL, NULL)
