/* SPDX-License-Identifier: GPL-2.0-or-later */
/* The ACPI power button is an input device of the kernel's button driver. */
#include "guest.h"
#include <fcntl.h>
#include <glob.h>
#include <linux/input.h>
#include <sys/ioctl.h>
#include <unistd.h>

static void *run(void *argument)
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
				thread_start(run, (void *)(intptr_t)fd);
				found++;
			} else {
				close(fd);
			}
		}
		globfree(&list);
	}
	print("GUEST power buttons: %u", found);
}
