/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What the guest is told: commands typed on the serial console, one a line, and the power button. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <glob.h>
#include <linux/input.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/reboot.h>
#include <sys/wait.h>
#include <termios.h>
#include <unistd.h>

static bool write_text(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool done = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	if (!done)
		bad("%s: %s", path, strerror(errno));
	if (fd >= 0)
		close(fd);
	return done;
}

/* "reboot" as the kernel likes it; "reboot acpi|kbd|pci|triple" by that way only. */
static void do_reboot(const char *way)
{
	if (*way && !write_text("/sys/kernel/reboot/type", way))
		return;
	print("GUEST reboot %s", way);
	reboot(RB_AUTOBOOT);
}

/* ACPI S3, with the RTC's alarm so many seconds later if it is to wake the machine. */
static void do_sleep(const char *seconds)
{
	static const char alarm[] = "/sys/class/rtc/rtc0/wakealarm";
	char text[32];

	snprintf(text, sizeof(text), "+%s", seconds);
	if (*seconds && !(write_text(alarm, "0") && write_text(alarm, text)))
		return;
	print("GUEST sleep %s", seconds);
	if (write_text("/sys/power/state", "mem"))
		print("GUEST awake");
}

static void do_poweroff(const char *argument)
{
	(void)argument;
	power_off();
}

static void do_clock(const char *argument)
{
	(void)argument;
	clocks_print();
}

/* A kernel that panics: with panic=-1 it resets, without it halts. */
static void do_panic(const char *argument)
{
	(void)argument;
	write_text("/proc/sysrq-trigger", "c");
}

static void do_echo(const char *argument)
{
	print("GUEST echo %s", argument);
}

static void do_finish(const char *argument)
{
	(void)argument;
	finish();
}

/* A shell command on the root disk: its status and the first line that it prints. */
static void do_run(const char *argument)
{
	char line[256] = "";
	FILE *output = popen(argument, "re");

	if (!output) {
		bad("run %s: %s", argument, strerror(errno));
		return;
	}
	if (fgets(line, sizeof(line), output))
		line[strcspn(line, "\n")] = '\0';
	print("GUEST ran %s: status %d: %s", argument, WEXITSTATUS(pclose(output)), line);
}

static const struct {
	const char *name;
	void (*run)(const char *argument);
} commands[] = {
	{"poweroff", do_poweroff}, {"reboot", do_reboot}, {"clock", do_clock}, {"panic", do_panic},
	{"echo", do_echo},	   {"finish", do_finish}, {"run", do_run},     {"sleep", do_sleep},
};

static void obey(char *line)
{
	char *argument = strchr(line, ' ');

	if (argument)
		*argument++ = '\0';
	else
		argument = line + strlen(line);
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++) {
		if (!strcmp(line, commands[i].name)) {
			commands[i].run(argument);
			return;
		}
	}
	if (*line)
		print("GUEST no command '%s'", line);
}

static void *run_console(void *argument)
{
	char line[1024];

	(void)argument;
	while (fgets(line, sizeof(line), stdin)) {
		line[strcspn(line, "\r\n")] = '\0';
		obey(line);
	}
	print("GUEST console: end of input");
	return NULL;
}

/* No echo: what is typed must not come in the middle of a tick's line. */
void console_start(void)
{
	struct termios t;

	if (!tcgetattr(STDIN_FILENO, &t)) {
		t.c_lflag &= ~(tcflag_t)(ECHO | ECHOE | ECHOK | ECHONL);
		tcsetattr(STDIN_FILENO, TCSANOW, &t);
	}
	thread_start(run_console, NULL);
}

/* The ACPI power button is an input device of the kernel's button driver. */

static void *run_button(void *argument)
{
	int fd = (int)(intptr_t)argument;
	struct input_event event;

	while (read(fd, &event, sizeof(event)) == (ssize_t)sizeof(event)) {
		if (event.type != EV_KEY || event.code != KEY_POWER || !event.value)
			continue;
		print("POWER BUTTON");
		power_off();
	}
	return NULL;
}

static bool has_power_key(int fd)
{
	unsigned long keys[KEY_CNT / (8 * sizeof(long)) + 1] = {0};

	if (ioctl(fd, EVIOCGBIT(EV_KEY, sizeof(keys)), keys) < 0)
		return false;
	return keys[KEY_POWER / (8 * sizeof(long))] >> KEY_POWER % (8 * sizeof(long)) & 1;
}

void button_start(void)
{
	unsigned int found = 0;
	glob_t list;

	if (!glob("/dev/input/event*", 0, NULL, &list)) {
		for (size_t i = 0; i < list.gl_pathc; i++) {
			int fd = open(list.gl_pathv[i], O_RDONLY | O_CLOEXEC);

			if (fd < 0)
				continue;
			if (has_power_key(fd)) {
				thread_start(run_button, (void *)(intptr_t)fd);
				found++;
			} else {
				close(fd);
			}
		}
		globfree(&list);
	}
	print("GUEST power buttons: %u", found);
}
