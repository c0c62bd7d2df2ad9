/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * pauses QMP_SOCKET RAM_FILE COUNTER_GPA N: stops a guest and lets it go on, N times, and sees each time that its
 * counter in RAM moves. One process: a client of its own for each command takes a hundred times as long.
 * Exit status 1 and a line that says what went wrong, also when the counter stands still or the VMM has ended.
 */
#include "qmp_client.h"
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define PAGE_BYTES 4096ul
#define LOOK_US	   100

static struct qmp_client qmp;

static void die(const char *what)
{
	printf("pauses: %s: %s\n", what, errno ? strerror(errno) : "not as it should be");
	exit(1);
}

static void execute(const char *command)
{
	errno = 0;
	if (qmp_client_execute(&qmp, command) != QMP_RETURN)
		die(command);
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
	for (uint64_t us = 0; *counter == before; us += LOOK_US) {
		errno = 0;
		if (us > QMP_CLIENT_STALL_S * 1000000ull)
			die("the guest's counter stands still");
		if (qmp_client_is_gone(&qmp))
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
	if (!qmp_client_open(&qmp, argv[1]))
		die(argv[1]);
	for (long n = strtol(argv[4], NULL, 10); n > 0; n--) {
		uint64_t before;

		execute("{\"execute\": \"stop\"}");
		before = *counter;
		execute("{\"execute\": \"cont\"}");
		await_move(counter, before);
	}
	qmp_client_close(&qmp);
	return 0;
}
