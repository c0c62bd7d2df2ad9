/* SPDX-License-Identifier: GPL-2.0-or-later */
/* tests/rig/ctl_vms.h - VMs for the verbs of stasisctl: scripted ones that answer, and files of others that are off.
 * Threads: a scripted VM has one of its own.
 * Errors: what goes wrong fails the test. */
#ifndef TESTS_RIG_CTL_VMS_H
#define TESTS_RIG_CTL_VMS_H
#include "tests/rig/ctl_fixture.h"
#include "tests/rig/ctl_run.h"
#include <pthread.h>

/* --- a VM of answers; the later ones count once it was saved or loaded */

struct script {
	const char *state, *cprinfo; /* "running" if it is not given; cprinfo without its braces */
	const char *state_later, *cprinfo_later;
	const char *save_error, *load_error;
	const char *chardevs; /* NULL: the command is not known */
	const char *cpus;     /* NULL: two */
	bool dies;	      /* instead of an answer to cprsave */
};

struct scripted {
	const struct script *script;
	int fd;
	bool is_later;
	pthread_t thread;
};

static inline void scripted_answer(struct scripted *vm, int client, const char *request)
{
	const struct script *script = vm->script;
	const char *state = vm->is_later ? script->state_later : script->state;
	const char *cprinfo = vm->is_later ? script->cprinfo_later : script->cprinfo;
	const char *usual = vm->is_later ? "\"loaded\": \"x\"" : "";
	const char *error = strstr(request, "cprsave")	 ? script->save_error
			    : strstr(request, "cprload") ? script->load_error
							 : NULL;
	char reply[1024] = "{\"return\": {}}\n";

	if (script->dies && strstr(request, "cprsave")) {
		shutdown(vm->fd, SHUT_RDWR);
		shutdown(client, SHUT_RDWR);
		return;
	}
	if (error)
		snprintf(reply, sizeof(reply), "{\"error\": {\"desc\": \"%s\"}}\n", error);
	else if (strstr(request, "cprsave") || strstr(request, "cprload"))
		vm->is_later = true;
	else if (strstr(request, "query-status"))
		snprintf(reply, sizeof(reply), "{\"return\": {\"status\": \"%s\"}}\n",
			 state ? state : "running");
	else if (strstr(request, "query-version"))
		snprintf(reply, sizeof(reply), "{\"return\": {\"package\": \"stasis %s\"}}\n",
			 vm->is_later ? "2.0.0" : "1.0.0");
	else if (strstr(request, "query-cpus-fast"))
		snprintf(reply, sizeof(reply), "{\"return\": %s}\n",
			 script->cpus ? script->cpus : "[{}, {}]");
	else if (strstr(request, "cprinfo"))
		snprintf(reply, sizeof(reply), "{\"return\": {%s}}\n", cprinfo ? cprinfo : usual);
	else if (strstr(request, "query-chardev") && script->chardevs)
		snprintf(reply, sizeof(reply), "{\"return\": %s}\n", script->chardevs);
	else if (strstr(request, "query-chardev") || strstr(request, "query-cpr"))
		snprintf(reply, sizeof(reply), "{\"error\": {\"desc\": \"not known yet\"}}\n");
	client_send_bytes(client, reply, strlen(reply));
}

/* Until the listening socket is shut down. A request is one read(): a command is short. */
static inline void *scripted_serve(void *opaque)
{
	static const char greeting[] = "{\"QMP\": {}}\n";
	struct scripted *vm = opaque;
	char request[512];
	int client;
	ssize_t n;

	while ((client = accept(vm->fd, NULL, NULL)) >= 0) {
		client_send_bytes(client, greeting, strlen(greeting));
		while ((n = read(client, request, sizeof(request) - 1)) > 0) {
			request[n] = '\0';
			scripted_answer(vm, client, request);
		}
		close(client);
	}
	return NULL;
}

static inline void scripted_start(struct scripted *vm, const char *name,
				  const struct script *script)
{
	*vm = (struct scripted){.script = script, .fd = ctl_listen(name, 4)};
	ck_assert_int_eq(pthread_create(&vm->thread, NULL, scripted_serve, vm), 0);
}

static inline void scripted_stop(struct scripted *vm)
{
	shutdown(vm->fd, SHUT_RDWR);
	pthread_join(vm->thread, NULL);
	close(vm->fd);
}

/* One that can be saved, with 1G of RAM at 2M of a DAX device. */
static const struct script runs = {
	.state = "running",
	.cprinfo = "\"modes\": [\"reboot\", \"restart\"], \"refused\": [], \"ram\": {\"path\": "
		   "\"/dev/dax0.0\", \"offset\": 2097152, \"size\": 1073741824}",
	.state_later = "running",
	.cprinfo_later = "\"loaded\": \"x\", \"downtime-ms\": 12",
};
/* --- what was printed, and what systemctl was told */

/* How wide the columns of a table are depends on the root's path. */
static inline void squeeze(char *text)
{
	char *to = text;

	for (; *text; text++)
		if (*text != ' ' || text[1] != ' ')
			*to++ = *text;
	*to = '\0';
}

static inline void gives(const char *arguments, int status, const char *text)
{
	const int got = run(arguments);
	char want[4096];

	snprintf(want, sizeof(want), "%s", text);
	replace(ctl_root, "ROOT");
	squeeze(output);
	squeeze(want);
	ck_assert_str_eq(output, want);
	ck_assert_int_eq(got, status);
}

static inline const char *systemctl_log(void)
{
	static char text[1024];
	FILE *file = fopen(ctl_at("/systemctl.log"), "re");

	text[file ? fread(text, 1, sizeof(text) - 1, file) : 0] = '\0';
	if (file)
		fclose(file);
	return text;
}

static inline void file_is(const char *path, const char *text)
{
	char have[4096];
	FILE *file = fopen(path, "re");

	ck_assert_msg(file, "%s is not there", path);
	have[fread(have, 1, sizeof(have) - 1, file)] = '\0';
	fclose(file);
	ck_assert_str_eq(have, text);
}

static inline void ctl_ram(const char *name, const char *state)
{
	char text[256];

	snprintf(text, sizeof(text), "memory size=64M,path=%s\nkernel /k\n",
		 ctl_at("/%s.ram", name));
	ctl_conf(name, text);
	ctl_file(ctl_at("/%s.ram", name), "");
	snprintf(text, sizeof(text), "{\"state\": \"%s\"}", state);
	ctl_file(ctl_at("/%s.ram.label", name), text);
}

/* off: has no RAM yet; ended: has RAM without a guest; saved, odd: a label that is not known; bad: its file is faulty. */
static inline void ctl_vms_start(void)
{
	ctl_fixture_start();
	unlink(ctl_at("/run/stasis/vm1/qmp"));
	ctl_conf("off", "memory size=64M,path=/no/such,offset=2M\nkernel /k\n"
			"disk path=/dev/vg0/off,serial=x\ndisk path=/other\n");
	ctl_ram("ended", "running");
	ctl_ram("saved", "saved");
	ctl_ram("odd", "of a later version");
	ctl_conf("bad", "kernel /k\nquiet\n");
}

#endif
