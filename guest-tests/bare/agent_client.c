/* SPDX-License-Identifier: GPL-2.0-or-later */
/* agent-client SOCKET - reads what the guest "console" sends and pings it, over as many connections as VMMs come and go.
 * Each record must be the one behind the last, across all connections; it reads slowly, so that some are always on their
 * way. Ends by SIGTERM with "RECORDS records PONGS pongs CONNECTIONS connections", or with status 1 and why. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static volatile sig_atomic_t is_over;
static uint64_t next_record, ping, pongs, connections;

static void on_term(int signal)
{
	(void)signal;
	is_over = 1;
}

static void fail(const char *what, const char *line)
{
	printf("%s: '%s' behind record %" PRIu64 " on connection %" PRIu64 "\n", what, line,
	       next_record, connections);
	exit(EXIT_FAILURE);
}

static void send_ping(int fd)
{
	char text[32];
	int n = snprintf(text, sizeof(text), "ping %" PRIu64 "\n", ping);

	(void)!send(fd, text, (size_t)n, MSG_NOSIGNAL);
}

/* One answer to each, also to a ping that was sent again. */
static void on_pong(int fd, const char *line)
{
	if (strtoull(line + 5, NULL, 10) != ping)
		fail("a pong that nobody waits for", line);
	pongs++;
	ping++;
	send_ping(fd);
}

static void on_line(int fd, const char *line)
{
	const size_t dots = 240;
	char *end;

	if (!strncmp(line, "pong ", 5)) {
		on_pong(fd, line);
		return;
	}
	if (*line != 'r' || strtoull(line + 1, &end, 16) != next_record || end != line + 9 ||
	    strspn(end, ".") != dots || end[dots])
		fail("not the next record", line);
	next_record++;
}

/* A line that is cut by the end of a connection goes on in the next one. */
static void serve(int fd)
{
	static char line[512];
	static size_t length;
	char data[2048];
	ssize_t n;

	send_ping(fd);
	while (!is_over && (n = read(fd, data, sizeof(data))) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (length == sizeof(line) - 1)
				fail("too long", line);
			line[length++] = data[i] == '\n' ? '\0' : data[i];
			if (data[i] != '\n')
				continue;
			on_line(fd, line);
			length = 0;
		}
		poll(NULL, 0, 2);
	}
}

int main(int argc, char **argv)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	const struct sigaction action = {.sa_handler = on_term};

	if (argc != 2 || strlen(argv[1]) >= sizeof(addr.sun_path))
		return EXIT_FAILURE;
	strcpy(addr.sun_path, argv[1]);
	sigaction(SIGTERM, &action, NULL);
	ping = 1;
	while (!is_over) {
		int fd = socket(AF_UNIX, SOCK_STREAM, 0);

		if (fd < 0)
			return EXIT_FAILURE;
		if (!connect(fd, (struct sockaddr *)&addr, sizeof(addr))) {
			connections++;
			serve(fd);
		}
		close(fd);
		poll(NULL, 0, 5);
	}
	printf("%" PRIu64 " records %" PRIu64 " pongs %" PRIu64 " connections\n", next_record,
	       pongs, connections);
	return EXIT_SUCCESS;
}
