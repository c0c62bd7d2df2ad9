// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Takes the times of one round of one VMM.
 *
 *	measure launch -- COMMAND...
 *		exec to the guest's first byte on stdout, then the VMM is killed. Prints "US".
 *	measure blackout HOW RAM GPA SOCKET FILE -- COMMAND... -- COMMAND...
 *		runs the first command until its guest counts in the 64-bit word at GPA of the file RAM, saves
 *		into FILE, waits for the end of the process, runs the second command and waits for the counter
 *		to move. HOW: signal (SIGUSR1 saves, the second command loads by itself), stasis (cprsave, the
 *		second command loads by itself) or qemu (cpr-reboot migration, both ways by QMP).
 *		Prints "TOTAL SAVE EXIT LOAD GAP" in us; GAP is how long the counter stood still.
 *	measure vm HOW RAM AT SOCKET FILE -- COMMAND...
 *		does what the lines on stdin say with one VM, so that several can be made to do it at once, and answers
 *		each with "BEGIN END COUNTER", us of the host's monotonic clock, and the word AT in the DAX device
 *		RAM. HOW: stasis or qemu.
 *		start: until QMP answers and knows of what follows. boot: until the guest counts. save: so that FILE
 *		is durable and guest RAM outlives a kexec, until the process has ended. load: until the guest counts
 *		on from where this program found the counter. quit: until the process has ended.
 *
 * The commands' stderr is this program's. Their processes end with it.
 */
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define POLL_NS	  20000
#define MANY_NS	  1000000	 /* where other VMs want the CPUs, too */
#define DAX_BYTES 0x200000ul	 /* a DAX device is mapped in units of it */
#define LIMIT_NS  60000000000ull /* whatever does not happen within it, fails */
#define SETTLE_NS 300000000ull	 /* the guest counts undisturbed for so long before the save */

#define SAVED_FOR_REBOOT 3 /* stasis(1), EXIT STATUS */

enum how { HOW_SIGNAL, HOW_STASIS, HOW_QEMU, HOWS };
static const char *const how_name[HOWS] = {"signal", "stasis", "qemu"};

struct watch {
	const volatile uint64_t *counter;
	atomic_bool over; /* the old process is gone: the next move is the new one's */
	uint64_t gap_ns;
};

static uint64_t poll_ns = POLL_NS;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(uint64_t ns)
{
	struct timespec t = {(time_t)(ns / 1000000000u), (long)(ns % 1000000000u)};

	nanosleep(&t, NULL);
}

/* stdout_fd < 0: what the command prints is thrown away. */
static pid_t start(char **command, int stdout_fd)
{
	pid_t pid = fork();

	if (pid < 0)
		err(1, "fork");
	if (pid)
		return pid;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	dup2(null, STDIN_FILENO);
	dup2(stdout_fd < 0 ? null : stdout_fd, STDOUT_FILENO);
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	execv(command[0], command);
	err(127, "%s", command[0]);
}

static void end(pid_t pid)
{
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
}

static void measure_launch(char **command)
{
	uint64_t begin;
	int out[2];
	pid_t pid;
	char byte;

	if (pipe2(out, O_CLOEXEC))
		err(1, "pipe");
	begin = now_ns();
	pid = start(command, out[1]);
	close(out[1]);
	if (read(out[0], &byte, 1) != 1)
		errx(1, "%s ended before its guest's first byte", command[0]);
	printf("%ju\n", (uintmax_t)(now_ns() - begin) / 1000);
	end(pid);
}

static void *watch_main(void *arg)
{
	struct watch *w = arg;
	uint64_t value = *w->counter, at = now_ns();

	prctl(PR_SET_TIMERSLACK, 1ul);
	for (;;) {
		uint64_t seen = *w->counter, now = now_ns();

		if (seen != value) {
			if (atomic_load(&w->over))
				break;
			value = seen;
			at = now;
		}
		nap(poll_ns);
	}
	w->gap_ns = now_ns() - at;
	return NULL;
}

static void wait_counter(const volatile uint64_t *counter, uint64_t from, pid_t pid)
{
	uint64_t begin = now_ns();

	while (*counter == from) {
		if (now_ns() - begin > LIMIT_NS)
			errx(1, "the guest's counter does not move");
		if (waitpid(pid, NULL, WNOHANG) == pid)
			errx(1, "the VMM ended before its guest's counter moved");
		nap(poll_ns);
	}
}

/* Until it counts, whatever an earlier guest has left in its place. */
static void wait_counting(const volatile uint64_t *counter, pid_t pid)
{
	uint64_t seen;

	do {
		seen = *counter;
		wait_counter(counter, seen, pid);
	} while (!seen || *counter < seen);
}

static int qmp_connect(const char *path, pid_t pid)
{
	struct sockaddr_un address = {.sun_family = AF_UNIX};
	uint64_t begin = now_ns();
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	while (connect(fd, (const struct sockaddr *)&address, sizeof(address))) {
		if (now_ns() - begin > LIMIT_NS || waitpid(pid, NULL, WNOHANG) == pid)
			errx(1, "no QMP server at %s", path);
		nap(poll_ns);
	}
	return fd;
}

/* Reads until `wanted` has come by; an error answer ends the run. */
static void qmp_wait(int fd, const char *wanted)
{
	static char text[65536];
	size_t used = 0;

	while (used < sizeof(text) - 1) {
		ssize_t n = read(fd, text + used, sizeof(text) - 1 - used);

		if (n <= 0)
			errx(1, "QMP: the connection ended; waited for %s", wanted);
		used += (size_t)n;
		text[used] = '\0';
		if (strstr(text, "\"error\""))
			errx(1, "QMP: %s", text);
		if (strstr(text, wanted))
			return;
	}
	errx(1, "QMP: no %s in 64 KiB", wanted);
}

static void qmp(int fd, const char *command)
{
	if (write(fd, command, strlen(command)) != (ssize_t)strlen(command))
		err(1, "QMP: %s", command);
	qmp_wait(fd, "\"return\"");
}

static int qmp_open(enum how how, const char *path, pid_t pid)
{
	int fd = qmp_connect(path, pid);

	qmp_wait(fd, "\"QMP\"");
	qmp(fd, "{\"execute\":\"qmp_capabilities\"}\n");
	if (how != HOW_QEMU)
		return fd;
	qmp(fd, "{\"execute\":\"migrate-set-capabilities\",\"arguments\":{\"capabilities\":["
		"{\"capability\":\"x-ignore-shared\",\"state\":true},"
		"{\"capability\":\"events\",\"state\":true}]}}\n");
	qmp(fd,
	    "{\"execute\":\"migrate-set-parameters\",\"arguments\":{\"mode\":\"cpr-reboot\"}}\n");
	return fd;
}

static void qemu_migrate(int fd, const char *command, const char *file)
{
	char text[512];

	snprintf(text, sizeof(text), "{\"execute\":\"%s\",\"arguments\":{\"uri\":\"file:%s\"}}\n",
		 command, file);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		err(1, "QMP: %s", command);
	qmp_wait(fd, "\"completed\"");
}

/* QEMU leaves that to its user. */
static void make_durable(const char *file)
{
	int fd = open(file, O_RDWR | O_CLOEXEC);

	if (fd < 0 || fsync(fd))
		err(1, "fsync of %s", file);
	close(fd);
}

/* mode: the process or the kernel that the saved guest outlives, "restart" or "reboot" */
static void save(enum how how, const char *mode, int fd, const char *file, pid_t pid)
{
	char text[512];

	switch (how) {
	case HOW_SIGNAL:
		kill(pid, SIGUSR1);
		break;
	case HOW_STASIS:
		snprintf(text, sizeof(text),
			 "{\"execute\":\"cprsave\",\"arguments\":{\"file\":\"%s\",\"mode\":"
			 "\"%s\"}}\n",
			 file, mode);
		qmp(fd, text);
		break;
	default:
		qemu_migrate(fd, "migrate", file);
		if (!strcmp(mode, "reboot"))
			make_durable(file);
		qmp(fd, "{\"execute\":\"quit\"}\n");
	}
}

static void load(enum how how, int fd, const char *file)
{
	char text[512];

	if (how == HOW_QEMU) {
		qemu_migrate(fd, "migrate-incoming", file);
		qmp(fd, "{\"execute\":\"cont\"}\n");
		return;
	}
	snprintf(text, sizeof(text), "{\"execute\":\"cprload\",\"arguments\":{\"file\":\"%s\"}}\n",
		 file);
	qmp(fd, text);
}

static const volatile uint64_t *map_counter(const char *ram, uint64_t gpa)
{
	uint64_t begin = now_ns(), unit = 4096;
	struct stat st;
	char *unit_hva;
	int fd;

	/* the VMM makes the file */
	while ((fd = open(ram, O_RDWR | O_CLOEXEC)) < 0 || fstat(fd, &st) ||
	       (!S_ISCHR(st.st_mode) && st.st_size < (off_t)(gpa + unit))) {
		if (now_ns() - begin > LIMIT_NS)
			errx(1, "no RAM file %s", ram);
		if (fd >= 0)
			close(fd);
		nap(poll_ns);
	}
	if (S_ISCHR(st.st_mode))
		unit = DAX_BYTES;
	unit_hva = mmap(NULL, unit, PROT_READ, MAP_SHARED, fd, (off_t)(gpa & ~(unit - 1)));
	if (unit_hva == MAP_FAILED)
		err(1, "mmap of %s", ram);
	close(fd);
	return (const volatile uint64_t *)(unit_hva + (gpa & (unit - 1)));
}

static enum how how_of(const char *name)
{
	enum how how = HOW_SIGNAL;

	while (how < HOWS && strcmp(name, how_name[how]))
		how++;
	if (how == HOWS)
		errx(2, "HOW is signal, stasis or qemu, not %s", name);
	return how;
}

/* argument: HOW RAM GPA SOCKET FILE */
static void measure_blackout(char **argument, char **first, char **second)
{
	uint64_t begin, saved, exited, moved, value;
	struct watch watch = {0};
	const char *socket_path = argument[3], *file = argument[4];
	enum how how = how_of(argument[0]);
	pthread_t thread;
	int fd = -1, status;
	pid_t pid;

	pid = start(first, -1);
	watch.counter = map_counter(argument[1], strtoull(argument[2], NULL, 0));
	wait_counter(watch.counter, *watch.counter, pid);
	if (how != HOW_SIGNAL)
		fd = qmp_open(how, socket_path, pid);
	nap(SETTLE_NS);
	if (pthread_create(&thread, NULL, watch_main, &watch))
		errx(1, "no thread");
	nap(SETTLE_NS / 10);

	begin = now_ns();
	save(how, "restart", fd, file, pid);
	saved = now_ns();
	waitpid(pid, &status, 0);
	exited = now_ns();
	atomic_store(&watch.over, true);
	if (status)
		errx(1, "%s ended with wait status %x", first[0], (unsigned int)status);
	value = *watch.counter;
	pid = start(second, -1);
	if (how == HOW_QEMU) {
		fd = qmp_open(how, socket_path, pid);
		load(how, fd, file);
	}
	wait_counter(watch.counter, value, pid);
	moved = now_ns();

	pthread_join(thread, NULL);
	printf("%ju %ju %ju %ju %ju\n", (uintmax_t)(moved - begin) / 1000,
	       (uintmax_t)(saved - begin) / 1000, (uintmax_t)(exited - saved) / 1000,
	       (uintmax_t)(moved - exited) / 1000, (uintmax_t)watch.gap_ns / 1000);
	end(pid);
}

static void await_end(pid_t pid, const char *name, int exit_status)
{
	int status;

	waitpid(pid, &status, 0);
	if (status != W_EXITCODE(exit_status, 0))
		errx(1, "%s ended with wait status %x", name, (unsigned int)status);
}

/* argument: HOW RAM AT SOCKET FILE */
static void measure_vm(char **argument, char **command)
{
	const volatile uint64_t *counter = map_counter(argument[1], strtoull(argument[2], NULL, 0));
	enum how how = how_of(argument[0]);
	uint64_t from = *counter, begin;
	char line[16];
	pid_t pid = 0;
	int fd = -1;

	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\n")] = '\0';
		begin = now_ns();
		if (!strcmp(line, "start")) {
			pid = start(command, -1);
			fd = qmp_open(how, argument[3], pid);
		} else if (!strcmp(line, "boot")) {
			wait_counting(counter, pid);
		} else if (!strcmp(line, "load")) {
			load(how, fd, argument[4]);
			wait_counter(counter, from, pid);
			if (*counter < from)
				errx(1, "the guest does not go on, it began anew");
		} else if (!strcmp(line, "save")) {
			save(how, "reboot", fd, argument[4], pid);
			await_end(pid, command[0], how == HOW_STASIS ? SAVED_FOR_REBOOT : 0);
		} else if (!strcmp(line, "quit")) {
			qmp(fd, "{\"execute\":\"quit\"}\n");
			await_end(pid, command[0], 0);
		} else {
			errx(2, "start, boot, load, save or quit, not '%s'", line);
		}
		printf("%ju %ju %ju\n", (uintmax_t)begin / 1000, (uintmax_t)now_ns() / 1000,
		       (uintmax_t)*counter);
		fflush(stdout);
	}
}

/* Cuts argv at the next "--"; returns what follows it, or NULL. */
static char **cut(char **argv)
{
	while (*argv && strcmp(*argv, "--"))
		argv++;
	if (!*argv)
		return NULL;
	*argv = NULL;
	return argv + 1;
}

int main(int argc, char **argv)
{
	char **first = cut(argv), **second = first ? cut(first) : NULL;

	(void)argc;
	prctl(PR_SET_TIMERSLACK, 1ul);
	if (argv[1] && !strcmp(argv[1], "launch") && first && *first) {
		measure_launch(first);
		return 0;
	}
	if (argv[1] && !strcmp(argv[1], "blackout") && second && first == argv + 8 && *first &&
	    *second) {
		measure_blackout(argv + 2, first, second);
		return 0;
	}
	poll_ns = MANY_NS;
	if (argv[1] && !strcmp(argv[1], "vm") && first == argv + 8 && *first) {
		measure_vm(argv + 2, first);
		return 0;
	}
	fprintf(stderr,
		"use: measure launch -- COMMAND...\n"
		"     measure blackout HOW RAM GPA SOCKET FILE -- COMMAND... -- COMMAND...\n"
		"     measure vm HOW RAM AT SOCKET FILE -- COMMAND...\n");
	return 2;
}
