/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pauses QMP_SOCKET RAM_FILE COUNTER_GPA N: stops a guest and lets it go on, N times, and sees each time that its
 * counter in RAM moves. One process: a client of its own for each command takes a hundred times as long.
 * Exit status 1 and a line that says what went wrong, also when the counter stands still for STALL_S or the VMM has ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul
#define STALL_S	   300 /* as in progress.sh */
#define LOOK_US	   100

static FILE *qmp;

static void die(const char *what)
{
	printf("pauses: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
	exit(1);
}

/* Connects and reads the greeting. */
static void connect_to(const char *path)
{
	struct sockaddr_un addr = {.sun_family = AF_UNIX};
	char line[4096];
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	strncpy(addr.sun_path, path, sizeof(addr.sun_path) - 1);
	if (fd < 0 || connect(fd, (struct sockaddr *)&addr, sizeof(addr)))
		die(path);
	qmp = fdopen(fd, "r+");
	if (!qmp || !fgets(line, sizeof(line), qmp))
		die(path);
}

/* The answer is one line; events that come before it are others. */
static void execute(const char *command)
{
	char line[4096];

	errno = 0;
	fseek(qmp, 0, SEEK_CUR);
	fprintf(qmp, "{\"execute\": \"%s\"}\n", command);
	fflush(qmp);
	do {
		if (!fgets(line, sizeof(line), qmp) || strstr(line, "\"error\""))
			die(command);
	} while (!strstr(line, "\"return\""));
}

static const volatile uint64_t *map_counter(const char *path, uint64_t gpa)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const char *page;

	if (fd < 0)
		die(path);
	page = mmap(NULL, PAGE_BYTES, PROT_READ, MAP_SHARED, fd, (off_t)(gpa & ~(PAGE_BYTES - 1)));
	if (page == MAP_FAILED)
		die(path);
	return (const volatile uint64_t *)(page + gpa % PAGE_BYTES);
}

static void await_move(const volatile uint64_t *counter, uint64_t before)
{
	char byte;

	for (uint64_t us = 0; *counter == before; us += LOOK_US) {
		errno = 0;
		if (us > STALL_S * 1000000ull)
			die("the guest's counter stands still");
		if (!recv(fileno(qmp), &byte, 1, MSG_PEEK | MSG_DONTWAIT))
			die("the VMM has ended");
		usleep(LOOK_US);
	}
}

int main(int argc, char **argv)
{
	const volatile uint64_t *counter;

	if (argc != 5)
		return 2;
	counter = map_counter(argv[2], strtoull(argv[3], NULL, 0));
	connect_to(argv[1]);
	execute("qmp_capabilities");
	for (long n = strtol(argv[4], NULL, 10); n > 0; n--) {
		uint64_t before;

		execute("stop");
		before = *counter;
		execute("cont");
		await_move(counter, before);
	}
	fclose(qmp);
	return 0;
}
