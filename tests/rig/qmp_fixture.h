/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/qmp_fixture.h - a VM without KVM behind a real QMP server on a real socket.
 * Owns: a temporary folder, the server's thread, one struct vm.
 * Threads: the server runs in its own thread; the test is the client. vm is the server's between
 *	fixture_start() and fixture_stop().
 * Units: ms.
 * Errors: what goes wrong fails the test. */
#ifndef TESTS_RIG_QMP_FIXTURE_H
#define TESTS_RIG_QMP_FIXTURE_H
#include "qmp/qmp.h"
#include "vmm/vm.h"
#include <check.h>
#include <json-c/json.h>
#include <pthread.h>

#define FIXTURE_TIMEOUT_MS 10000
#define OUT_LINE_MAX	   (512 * 1024)

struct fixture {
	struct vm vm;
	struct options opt;
	struct ram_backend backend;
	struct vcpu vcpu[2];
	struct device disk, console, net[2], host;
	struct qmp *qmp;
	pthread_t thread;
	bool joined;
	struct vm_event event; /* what requests stands for */
	char folder[32], socket[64];
};

/* What the fake CPR does and saw. */
extern struct fake_cpr {
	bool save_fails, needs_suspend, takes_reboot;
	atomic_bool save_is_long; /* until it is cancelled or this becomes false */
	char file[256];
	int mode;
	bool ram_check;
	uint64_t timeout_ns;
	char accepted[64]; /* "disk0 disk1 " */
} fake_cpr;

/* What the fake devices were told. */
extern struct fake_devices {
	uint64_t disk_bytes;
	bool link_up[2];
	uint32_t announced[2];
} fake_devices;

extern struct fixture f;

void fixture_start(void);
/* Ends the loop if it still runs; joins it, closes the server and removes the folder. */
void fixture_stop(void);
/* Waits until the server's loop has ended by itself and its socket is closed. */
void fixture_join(void);
/* In the loop's thread: as many STOP events as asked for. */
void fixture_events(unsigned int count);
/* In the loop's thread: this one. */
void fixture_event(const struct vm_event *event);

/* A client: connected, greeting not read yet. */
int client_connect(void);
/* JSON that begins with {' has single quotes in place of double ones, here and in client_expect(). */
void client_send(int fd, const char *text);
/* Sends a command: "NAME" or "NAME {'ARGUMENT':...}". */
void client_ask(int fd, const char *command);
/* Asks, and the answer is this return value, or this error. */
void client_answers(int fd, const char *command, const char *value);
void client_refuses(int fd, const char *command, const char *class, const char *desc);
void client_send_bytes(int fd, const void *data, size_t len);
/* The next line; NULL at the end of file. The caller's to put. */
struct json_object *client_line(int fd);
/* The next line must be this JSON (member order and white space do not matter). */
void client_expect(int fd, const char *json);
/* The next line must be an error with this class and description. */
void client_expect_error(int fd, const char *class, const char *desc);
/* Nothing comes for a while. */
void client_expect_silence(int fd);
/* Connects, reads the greeting and negotiates. */
int client_open(void);
#endif
