/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/loop_fixture.h - a file as a block device.
 * Owns: one loop device at a time, from loop_attach() to loop_detach(), or the test's end.
 * Threads: one.
 * Units: bytes.
 * Errors: the test fails and says what it needs. loop(4). */
#ifndef TESTS_RIG_LOOP_FIXTURE_H
#define TESTS_RIG_LOOP_FIXTURE_H
#include <check.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

static int loop_fd = -1;

/* Another process may be faster with the device that was free. */
static inline const char *loop_attach(const char *path, uint32_t block_bytes)
{
	static char device[32];
	int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
	int file = open(path, O_RDWR | O_CLOEXEC), ret = -1;

	ck_assert_msg(control >= 0, "/dev/loop-control: %s: run as root, with the module loop",
		      strerror(errno));
	for (int tries = 0; ret && tries < 100; tries++) {
		const struct loop_config backing = {
			.fd = (uint32_t)file,
			.block_size = block_bytes,
			.info.lo_flags = LO_FLAGS_AUTOCLEAR,
		};

		snprintf(device, sizeof(device), "/dev/loop%d", ioctl(control, LOOP_CTL_GET_FREE));
		loop_fd = open(device, O_RDWR | O_CLOEXEC);
		ret = ioctl(loop_fd, LOOP_CONFIGURE, &backing);
		if (ret)
			close(loop_fd);
	}
	ck_assert_msg(!ret, "%s: %s", device, strerror(errno));
	close(file);
	close(control);
	return device;
}

static inline void loop_update_size(void)
{
	ck_assert_int_eq(ioctl(loop_fd, LOOP_SET_CAPACITY), 0);
}

/* The device goes with its last user. */
static inline void loop_detach(void)
{
	close(loop_fd);
	loop_fd = -1;
}
#endif
