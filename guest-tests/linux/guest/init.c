/* SPDX-License-Identifier: GPL-2.0-or-later */
/* /init: mounts, modules, and the tick loop. Settings come from the kernel command line through
 * the environment: MEM_MIB= size of the checked block, TICK_MS= time between two ticks; ROOT= and
 * INIT= see root_switch(); FIO= a disk, JOURNAL= disks with commas between; NET= the peer's port and
 * NET_MS= time between two frames; ECHO=1, VSOCK= the host's port. */
#include "guest.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <unistd.h>

#define MODULES	 "/modules"
#define NEW_ROOT "/root"
#define WAIT_US	 10000

static pthread_mutex_t output_lock = PTHREAD_MUTEX_INITIALIZER;
static atomic_ulong bad_count;
static atomic_bool told_to_finish;

/* One write() a line: threads do not mix within a line. */
static void print_line(const char *prefix, const char *format, va_list args)
{
	static char line[1024];
	int length, more;

	pthread_mutex_lock(&output_lock);
	length = snprintf(line, sizeof(line), "%s", prefix);
	more = vsnprintf(line + length, sizeof(line) - (size_t)length - 1, format, args);
	length += more;
	if (length > (int)sizeof(line) - 2)
		length = (int)sizeof(line) - 2;
	line[length++] = '\n';
	if (write(STDOUT_FILENO, line, (size_t)length) != length)
		atomic_fetch_add(&bad_count, 1);
	pthread_mutex_unlock(&output_lock);
}

void print(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	print_line("", format, args);
	va_end(args);
}

void bad(const char *format, ...)
{
	va_list args;

	atomic_fetch_add(&bad_count, 1);
	va_start(args, format);
	print_line("BAD ", format, args);
	va_end(args);
}

long setting(const char *name, long otherwise)
{
	const char *value = getenv(name);

	return value && *value ? strtol(value, NULL, 0) : otherwise;
}

bool read_line(const char *path, char *line, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = -1;

	if (fd >= 0) {
		n = read(fd, line, size - 1);
		close(fd);
	}
	line[n > 0 ? n : 0] = '\0';
	line[strcspn(line, "\n")] = '\0';
	return n > 0;
}

void thread_start(void *(*run)(void *), void *argument)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, run, argument))
		bad("no thread");
	else
		pthread_detach(thread);
}

void finish(void)
{
	atomic_store(&told_to_finish, true);
}

bool finishing(void)
{
	return atomic_load(&told_to_finish);
}

/* A root disk is left clean, if nobody writes to it any more. */
void power_off(void)
{
	print("GUEST power-off");
	net_stop();
	sync();
	if (getenv("ROOT") && mount(NULL, "/", NULL, MS_REMOUNT | MS_RDONLY, NULL))
		bad("root disk stays writable: %s", strerror(errno));
	reboot(RB_POWER_OFF);
	bad("power-off: %s", strerror(errno));
}

static void mount_all(void)
{
	static const struct {
		const char *type, *path;
	} table[] = {{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}};
	int fd;

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++) {
		mkdir(table[i].path, 0755);
		mount(table[i].type, table[i].path, table[i].type, 0, NULL);
	}
	fd = open("/dev/console", O_RDWR);
	if (fd < 0)
		return;
	for (int i = 0; i < 3; i++)
		dup2(fd, i);
}

/* Their names begin with their place in the order. */
static void load_modules(void)
{
	struct dirent **list;
	int n = scandir(MODULES, &list, NULL, alphasort);

	for (int i = 0; i < n; i++) {
		char path[512];
		int fd;

		if (list[i]->d_name[0] == '.')
			continue;
		snprintf(path, sizeof(path), MODULES "/%s", list[i]->d_name);
		fd = open(path, O_RDONLY | O_CLOEXEC);
		if (fd < 0 || syscall(SYS_finit_module, fd, "", 0))
			bad("module %s: %s", list[i]->d_name, strerror(errno));
		close(fd);
	}
}

/* Waits for the disk for ever: how long is too long is for the scenario to say. */
static bool mount_root(const char *disk)
{
	while (access(disk, F_OK))
		usleep(WAIT_US);
	mkdir(NEW_ROOT, 0755);
	return !mount(disk, NEW_ROOT, "ext4", 0, NULL) &&
	       !mount("/proc", NEW_ROOT "/proc", NULL, MS_MOVE, NULL) &&
	       !mount("/sys", NEW_ROOT "/sys", NULL, MS_MOVE, NULL) &&
	       !mount("/dev", NEW_ROOT "/dev", NULL, MS_MOVE, NULL) && !chdir(NEW_ROOT) &&
	       !mount(".", "/", NULL, MS_MOVE, NULL) && !chroot(".");
}

/* Goes over to a root disk, ROOT=. With INIT= that program becomes process 1, and the payload
 * goes on beside it as a process that no service manager knows of; with ALONE= it does not. */
static void root_switch(void)
{
	const char *disk = getenv("ROOT"), *init = getenv("INIT");

	setenv("PATH", "/usr/sbin:/usr/bin:/sbin:/bin", 1);
	if (!disk)
		return;
	if (!mount_root(disk)) {
		bad("root disk %s: %s", disk, strerror(errno));
		return;
	}
	if (init && (getenv("ALONE") || fork() > 0)) {
		execl(init, init, NULL);
		bad("%s: %s", init, strerror(errno));
	}
}

static void print_machine(unsigned int cpus)
{
	char clocksource[64], command_line[256];
	struct utsname name;

	uname(&name);
	read_line("/sys/devices/system/clocksource/clocksource0/current_clocksource", clocksource,
		  sizeof(clocksource));
	read_line("/proc/cmdline", command_line, sizeof(command_line));
	print("GUEST up: kernel=%s cpus=%u ram=%ldMiB clocksource=%s", name.release, cpus,
	      sysconf(_SC_PHYS_PAGES) / 256, clocksource);
	print("GUEST command line: %s", command_line);
}

static void print_io(void)
{
	char text[256];
	size_t n = net_poll(text, sizeof(text));

	n += fio_poll(text + n, sizeof(text) - n);
	n += journal_poll(text + n, sizeof(text) - n);
	if (n)
		print("io%s", text);
}

static void tick(unsigned long count, unsigned int period_ms)
{
	struct timespec pause = {period_ms / 1000, (long)(period_ms % 1000) * 1000000};
	char clocks[256];
	bool jump;

	nanosleep(&pause, NULL);
	jump = clocks_poll(period_ms, clocks, sizeof(clocks));
	kmsg_poll();
	print_io();
	print("tick %lu %s mem=%s fpu=%s bad=%lu", count, clocks,
	      memory_poll(count, jump) ? "ok" : "BAD", fpu_good() ? "ok" : "BAD",
	      atomic_load(&bad_count));
}

static void work_start(void)
{
	fio_start(getenv("FIO"));
	journal_start(getenv("JOURNAL"));
	net_start(setting("NET", 0), (unsigned int)setting("NET_MS", 20));
	vsock_start(setting("VSOCK", 0));
	if (setting("ECHO", 0))
		port_start();
}

int main(void)
{
	unsigned int cpus, period_ms;

	mount_all();
	load_modules();
	root_switch();
	cpus = (unsigned int)sysconf(_SC_NPROCESSORS_ONLN);
	period_ms = (unsigned int)setting("TICK_MS", 100);
	print_machine(cpus);
	console_start();
	button_start();
	kmsg_start();
	memory_start(setting("MEM_MIB", 64));
	fpu_start();
	clocks_start(cpus);
	work_start();
	for (unsigned long count = 1;; count++)
		tick(count, period_ms);
}
