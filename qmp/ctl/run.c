/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/run.h"
#include "qmp/ctl/ctl.h"
#include "qmp/ctl/process.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

const char *run_stasis(void)
{
	const char *program = getenv("STASIS");

	return program && *program ? program : "stasis";
}

static int exit_status(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

/* All that was written to it, as text. */
static char *content(int fd)
{
	struct stat st = {0};
	char *text;
	ssize_t n;

	(void)fstat(fd, &st);
	text = ctl_memory(malloc((size_t)st.st_size + 1));
	n = pread(fd, text, (size_t)st.st_size, 0);
	text[n > 0 ? n : 0] = '\0';
	return text;
}

static int spawn(const char *const argv[], int out_fd, int err_fd, pid_t *pid, struct error *err)
{
	posix_spawn_file_actions_t actions;
	int ret = posix_spawn_file_actions_init(&actions);

	if (!ret)
		ret = posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(&actions, out_fd, 1);
	if (!ret)
		ret = posix_spawn_file_actions_adddup2(&actions, err_fd, 2);
	if (!ret)
		ret = posix_spawnp(pid, argv[0], &actions, NULL, (char *const *)argv, environ);
	posix_spawn_file_actions_destroy(&actions);
	return ret ? error_set(err, -ret, "%s: %s", argv[0], strerror(ret)) : 0;
}

int run_capture(const char *const argv[], double limit_s, struct run_output *output,
		struct error *err)
{
	const int out_fd = memfd_create("stdout", MFD_CLOEXEC);
	const int err_fd = memfd_create("stderr", MFD_CLOEXEC);
	pid_t pid = 0;
	int ret;

	*output = (struct run_output){.status = 255};
	if (out_fd < 0 || err_fd < 0)
		ret = error_set(err, -errno, "%s: memfd_create: %s", argv[0], strerror(errno));
	else
		ret = spawn(argv, out_fd, err_fd, &pid, err);
	if (!ret) {
		ret = process_await_end(pid, limit_s, err);
		if (ret) {
			kill(pid, SIGKILL);
			error_prefix(err, "%s", argv[0]);
		}
		output->status = exit_status(pid);
		output->out = content(out_fd);
		output->err = content(err_fd);
	}
	if (out_fd >= 0)
		close(out_fd);
	if (err_fd >= 0)
		close(err_fd);
	if (ret)
		run_free(output);
	return ret;
}

char *run_printed(const char *const argv[], double limit_s)
{
	struct run_output output;
	struct error err;

	if (run_capture(argv, limit_s, &output, &err))
		return NULL;
	free(output.err);
	if (!output.status)
		return output.out;
	free(output.out);
	return NULL;
}

void run_free(struct run_output *output)
{
	free(output->out);
	free(output->err);
	output->out = output->err = NULL;
}

int run_here(const char *const argv[], int *status, struct error *err)
{
	pid_t pid;
	int ret = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (ret)
		return error_set(err, -ret, "%s: %s", argv[0], strerror(ret));
	*status = exit_status(pid);
	return 0;
}

int run_refused(const char *program, const struct run_output *output, struct error *err)
{
	const size_t n = strlen(program);
	char *line = output->err + strlen(output->err);

	while (line > output->err && line[-1] == '\n')
		*--line = '\0';
	while (line > output->err && line[-1] != '\n')
		line--;
	/* "stasis: ", "stasis vm1: error: " */
	if (!strncmp(line, program, n) && strstr(line, ": "))
		line = strstr(line, ": ") + 2;
	if (!strncmp(line, "error: ", 7))
		line += 7;
	if (!*line)
		return error_set(err, -EREMOTEIO, "%s: exit status %d", program, output->status);
	text_clean(line, strlen(line));
	return error_set(err, -EREMOTEIO, "%s", line);
}
