/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * fail_each FOLDER FILES MODE RAM_MIB STEP LIBRARY STASIS [OPTION...]: makes each call of a save and of a load fail, one
 * after another, and judges what came of it. One VM; FOLDER has its RAM, FILES its checkpoint; STEP 1 takes every call,
 * N every Nth of the kinds that have hundreds. The VMM runs with LIBRARY (fail_nth.c) before libc.
 *
 * A save that failed left the guest running, and nothing else changed; one that succeeded is a checkpoint that loads.
 * A load that failed left RAM, label and checkpoint as they were, and the next one succeeds, in the same process or, if
 * that says internal-error, in a new one; after one that succeeded the guest runs and the label says so.
 * One line for each call. What is not so is a line that begins with WRONG, and exit status 1; the sweep goes on with a
 * guest that is booted anew. The last line is for the shell: how many processes there were.
 */
#include "fail_nth.h"
#include "qmp_client.h"
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define COUNTER_GPA 0x200000ul
#define LOOK_US	    200
#define MAX_OPTIONS 64
#define MAX_BYTES   (1u << 20) /* of a checkpoint */
#define LESS_BYTES  256	       /* between one checkpoint and another of the same guest */
#define MANY	    20	       /* calls of a kind, from which on STEP counts */

#define KIND_NAME(name) #name,
static const char *const kind_name[] = {FAIL_KINDS(KIND_NAME)};

/* What is made to fail, with which error; AFTERWARDS: it is done and reported as failed all the same. */
enum when { INSTEAD, AFTERWARDS };
static const struct way {
	enum fail_kind kind;
	int error;
	enum when when;
} ways[] = {
	{FAIL_open, EMFILE, INSTEAD},	{FAIL_read, EIO, INSTEAD},
	{FAIL_write, ENOSPC, INSTEAD},	{FAIL_send, EPIPE, INSTEAD},
	{FAIL_stat, EIO, INSTEAD},	{FAIL_path, EACCES, INSTEAD},
	{FAIL_sync, EIO, INSTEAD},	{FAIL_rename, EROFS, INSTEAD},
	{FAIL_rename, EIO, AFTERWARDS}, {FAIL_memory, ENOMEM, INSTEAD},
	{FAIL_unlink, EROFS, INSTEAD},	{FAIL_unlink, EIO, AFTERWARDS},
	{FAIL_truncate, EIO, INSTEAD},	{FAIL_allocate, ENOSPC, INSTEAD},
	{FAIL_lock, ENOLCK, INSTEAD},	{FAIL_map, ENOMEM, INSTEAD},
	{FAIL_ioctl, EINVAL, INSTEAD},	{FAIL_ioctl, ENOMEM, INSTEAD},
	{FAIL_random, ENOSYS, INSTEAD}, {FAIL_socket, ENOBUFS, INSTEAD},
	{FAIL_event, ENOSPC, INSTEAD},	{FAIL_thread, EAGAIN, INSTEAD},
};

static struct {
	const char *folder, *mode, *library, *stasis;
	char page[PATH_MAX], ram[PATH_MAX], qmp[PATH_MAX], file[PATH_MAX];
	size_t ram_bytes;
	uint32_t step;
	char **options;
} given;

static struct fail_page *page;
static uint8_t *ram;	  /* the whole file, with the label after guest RAM */
static size_t file_bytes; /* of it */
static uint8_t *kept;	  /* RAM and label as they were */
static struct qmp_client qmp = {.fd = -1};
static pid_t pid;	/* of the VMM; 0: none */
static int exit_status; /* of the last one; -1: by a signal */
static uint32_t nprocesses, nwrong;
static size_t whole_bytes; /* the largest checkpoint of a save without a fault */

/* What came of it. */
enum outcome { UNDONE, DONE, UNANSWERED, WRONG, OUTCOMES };
static const char *const outcome_name[OUTCOMES] = {"undone", "done all the same",
						   "connection lost, undone", "WRONG"};
static uint32_t noutcomes[OUTCOMES];

struct attempt {
	enum qmp_answer answer;
	bool struck;
	char text[1024]; /* of an error; "": none */
};

/* What must be the same before and after. */
struct look {
	uint32_t descriptors;
	size_t checkpoint_bytes; /* 0: there is none */
	uint8_t checkpoint[MAX_BYTES];
};

static void give_up(const char *what)
{
	printf("WRONG: fail_each: %s: %s\n", what, strerror(errno));
	if (pid > 0) /* -1 is everybody */
		kill(pid, SIGKILL);
	exit(1);
}

static uint32_t descriptors(void)
{
	char path[64];
	uint32_t n = 0;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/fd", (int)pid);
	dir = opendir(path);
	while (dir && readdir(dir))
		n++;
	if (dir)
		closedir(dir);
	return n;
}

static size_t read_checkpoint(uint8_t *to)
{
	int fd = open(given.file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, to, MAX_BYTES);

	if (fd >= 0)
		close(fd);
	return n > 0 ? (size_t)n : 0;
}

static void look(struct look *now)
{
	now->descriptors = descriptors();
	now->checkpoint_bytes = read_checkpoint(now->checkpoint);
}

static bool has_ended(void)
{
	int status;

	if (!pid || waitpid(pid, &status, WNOHANG) != pid)
		return !pid;
	exit_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
	if (WIFSIGNALED(status))
		printf("the VMM was ended by signal %d\n", WTERMSIG(status));
	pid = 0;
	return true;
}

/* Until it is so; false: it does not come to be. */
static bool await(bool (*is_so)(void *opaque), void *opaque)
{
	for (uint64_t us = 0; !is_so(opaque); us += LOOK_US) {
		if (us > QMP_CLIENT_STALL_S * 1000000ull)
			return false;
		usleep(LOOK_US);
	}
	return true;
}

static bool ended(void *opaque)
{
	(void)opaque;
	return has_ended();
}

static bool answers_or_ended(void *opaque)
{
	(void)opaque;
	return qmp.fd >= 0 || has_ended() || qmp_client_open(&qmp, given.qmp);
}

static uint64_t counter(void)
{
	return atomic_load((_Atomic uint64_t *)(ram + COUNTER_GPA));
}

static bool moved(void *opaque)
{
	return counter() != *(uint64_t *)opaque || has_ended();
}

static bool guest_moves(void)
{
	uint64_t before = counter();

	return await(moved, &before) && pid;
}

/* The VMM hears of a connection that was lost when it comes to it. */
static bool as_before(void *opaque)
{
	const struct look *before = opaque;

	return descriptors() == before->descriptors || has_ended();
}

static bool status_is(const char *status)
{
	char member[64];

	snprintf(member, sizeof(member), "\"status\":\"%s\"", status);
	return qmp_client_execute(&qmp, "{\"execute\": \"query-status\"}") == QMP_RETURN &&
	       strstr(qmp.line, member);
}

/* What --inspect-memory makes of the label. */
static bool label_is(const char *state)
{
	char command[3 * PATH_MAX], line[1024] = "", member[64];
	FILE *pipe;

	snprintf(member, sizeof(member), "\"state\": \"%s\"", state);
	snprintf(command, sizeof(command), "'%s' --inspect-memory '%s' --json", given.stasis,
		 given.ram);
	pipe = popen(command, "r"); /* NOLINT(cert-env33-c) */
	if (!pipe || !fgets(line, sizeof(line), pipe))
		line[0] = '\0';
	if (pipe)
		pclose(pipe);
	return strstr(line, member);
}

static void disconnect(void)
{
	qmp_client_close(&qmp);
}

static void end_vmm(void)
{
	disconnect();
	if (!pid)
		return;
	kill(pid, SIGKILL);
	await(ended, NULL);
}

static void exec_vmm(bool waits)
{
	char serial[PATH_MAX + 32], log[PATH_MAX + 32], *args[MAX_OPTIONS];
	uint32_t n = 0;

	snprintf(serial, sizeof(serial), "file:%s/serial.%u", given.folder, nprocesses);
	snprintf(log, sizeof(log), "%s/log.%u", given.folder, nprocesses);
	args[n++] = (char *)given.stasis;
	for (char **option = given.options; *option && n < MAX_OPTIONS - 6; option++)
		args[n++] = *option;
	args[n++] = "--serial";
	args[n++] = serial;
	if (waits) {
		args[n++] = "--incoming";
		args[n++] = "defer";
	}
	args[n] = NULL;
	if (!freopen("/dev/null", "r", stdin) || !freopen(log, "w", stderr) ||
	    dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(1);
	setenv("LD_PRELOAD", given.library, 1);
	setenv("FAIL_NTH_PAGE", given.page, 1);
	execv(given.stasis, args);
	_exit(1);
}

static void map_ram(void)
{
	int fd = open(given.ram, O_RDWR | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		give_up(given.ram);
	if (ram)
		munmap(ram, file_bytes);
	file_bytes = (size_t)st.st_size;
	ram = mmap(NULL, file_bytes, PROT_READ, MAP_SHARED, fd, 0);
	free(kept);
	kept = malloc(file_bytes);
	if (ram == MAP_FAILED || !kept)
		give_up(given.ram);
	close(fd);
}

static void start_vmm(bool waits)
{
	nprocesses++;
	fflush(stdout);
	pid = fork();
	if (!pid)
		exec_vmm(waits);
	if (pid < 0 || !await(answers_or_ended, NULL) || !pid)
		give_up("the VMM does not start");
	map_ram();
	if (waits)
		memcpy(kept, ram, file_bytes);
	if (!waits && !guest_moves())
		give_up("the guest does not boot");
}

/* Runs a command while the nth call of a kind fails; nth 0: none. */
static struct attempt attempt(const char *command, const struct way *way, uint32_t nth)
{
	struct attempt a = {.struck = false};
	char *text;

	page->nth = nth;
	page->error = way->error;
	page->done_first = way->when == AFTERWARDS;
	page->what[0] = '\0';
	atomic_store(&page->struck, 0);
	atomic_store(&page->calls, 0);
	atomic_store(&page->armed, way->kind);
	a.answer = qmp_client_execute(&qmp, command);
	/* Its own end belongs to a save. */
	if (a.answer == QMP_RETURN && strstr(command, "cprsave"))
		await(ended, NULL);
	atomic_store(&page->armed, FAIL_none);
	a.struck = atomic_load(&page->struck);
	text = a.answer == QMP_ERROR ? strstr(qmp.line, "\"desc\":") : NULL;
	if (text)
		snprintf(a.text, sizeof(a.text), "%.*s", (int)strcspn(text + 7, "}"), text + 7);
	if (a.answer != QMP_ERROR)
		disconnect();
	return a;
}

static enum outcome wrong(const char *format, ...) __attribute__((format(printf, 1, 2)));
static enum outcome wrong(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("WRONG: ");
	vprintf(format, args);
	va_end(args);
	printf(" (process %u, struck: %s)\n", nprocesses, page->what);
	nwrong++;
	return WRONG;
}

/* The file's name with a suffix is not there. */
static bool is_left(const char *suffix)
{
	char path[PATH_MAX + 8];

	snprintf(path, sizeof(path), "%s%s", given.file, suffix);
	return !access(path, F_OK);
}

static bool same_checkpoint(const struct look *before)
{
	static uint8_t now[MAX_BYTES];
	size_t bytes = read_checkpoint(now);

	return bytes == before->checkpoint_bytes && !memcmp(now, before->checkpoint, bytes);
}

/* Whichever of the two was not done: its error is one line, no descriptor is left, and the label says this. */
static enum outcome judge_undone(const char *what, const struct attempt *a,
				 const struct look *before, const char *label)
{
	if (a->answer == QMP_ERROR && (strlen(a->text) < 4 || strstr(a->text, "\\n")))
		return wrong("%s: its error is not one clear line: %s", what, a->text);
	if (memcmp(kept + given.ram_bytes, ram + given.ram_bytes, file_bytes - given.ram_bytes) &&
	    !label_is(label))
		return wrong("%s: it failed (%s), and the label does not say %s", what, a->text,
			     label);
	if (!status_is("internal-error") && (!await(as_before, (void *)before) || !pid))
		return wrong("%s: it failed (%s), and %u descriptors are %u now", what, a->text,
			     before->descriptors, descriptors());
	return a->answer == QMP_ERROR ? UNDONE : UNANSWERED;
}

static enum outcome judge_undone_save(const struct attempt *a, const struct look *before)
{
	if (!status_is("running"))
		return wrong("save: it failed (%s), and the run state is %s", a->text, qmp.line);
	if (!guest_moves())
		return wrong("save: it failed (%s), and the guest does not go on", a->text);
	/* One that was spent may be gone: the new one had taken its place. */
	if ((is_left("") && !same_checkpoint(before)) || is_left(".new"))
		return wrong("save: it failed (%s), and has changed the checkpoint's folder",
			     a->text);
	return judge_undone("save", a, before, "running");
}

/* A fault that did not fail the save has left nothing out of the checkpoint. That it loads is seen next. */
static enum outcome judge_done_save(const struct attempt *a)
{
	static uint8_t data[MAX_BYTES];
	size_t bytes = read_checkpoint(data);

	if (!a->struck && bytes > whole_bytes)
		whole_bytes = bytes;
	if (bytes + LESS_BYTES < whole_bytes)
		return wrong("save: a checkpoint of %zu bytes where others have %zu", bytes,
			     whole_bytes);
	return DONE;
}

static enum outcome judge_save(const struct attempt *a, const struct look *before)
{
	if (a->answer == QMP_RETURN || !await(answers_or_ended, NULL) || !pid) {
		disconnect();
		if (pid)
			return wrong("save: the VMM has answered, and does not end");
		if (exit_status != 0 && exit_status != 3)
			return wrong("save: the VMM ended with status %d", exit_status);
		return judge_done_save(a);
	}
	if (!a->struck && a->answer != QMP_RETURN)
		return wrong("save: it failed (%s) with no fault", a->text);
	return judge_undone_save(a, before);
}

/* The guest's RAM is compared byte by byte. */
static enum outcome judge_undone_load(const struct attempt *a, const struct look *before)
{
	enum outcome outcome;

	if (memcmp(kept, ram, given.ram_bytes))
		return wrong("load: it failed (%s), and has changed RAM", a->text);
	if (!same_checkpoint(before))
		return wrong("load: it failed (%s), and has changed the checkpoint", a->text);
	outcome = judge_undone("load", a, before, "saved");
	if (outcome == WRONG || status_is("inmigrate"))
		return outcome;
	if (!status_is("internal-error"))
		return wrong("load: it failed (%s), and the run state is %s", a->text, qmp.line);
	printf("the next one in a new process: ");
	end_vmm();
	start_vmm(true);
	return outcome;
}

static enum outcome judge_load(const struct attempt *a, const struct look *before)
{
	if (a->answer != QMP_ERROR && (!await(answers_or_ended, NULL) || !pid))
		return wrong("load: the VMM ended with status %d", exit_status);
	if (a->answer == QMP_RETURN || status_is("running")) {
		if (!status_is("running") || !guest_moves())
			return wrong("load: it was done, and the guest does not go on: %s",
				     qmp.line);
		if (!label_is("running"))
			return wrong("load: it was done, and the label does not say running");
		return DONE;
	}
	if (!a->struck)
		return wrong("load: it failed (%s) with no fault", a->text);
	return judge_undone_load(a, before);
}

enum what { SAVE, LOAD };

static enum outcome try(enum what what, const struct way *way, uint32_t nth, bool *struck)
{
	static struct look before;
	char command[PATH_MAX + 200];
	struct attempt a;
	enum outcome outcome;

	look(&before);
	if (what == SAVE) {
		memcpy(kept, ram, file_bytes);
		snprintf(command, sizeof(command),
			 "{\"execute\": \"cprsave\", \"arguments\": {\"file\": \"%s\", \"mode\": "
			 "\"%s\", \"ram-check\": \"full\", \"timeout-ms\": %d}}",
			 given.file, given.mode, QMP_CLIENT_STALL_S * 1000);
	} else {
		snprintf(command, sizeof(command),
			 "{\"execute\": \"cprload\", \"arguments\": {\"file\": \"%s\"}}",
			 given.file);
	}
	a = attempt(command, way, nth);
	*struck = a.struck;
	outcome = what == SAVE ? judge_save(&a, &before) : judge_load(&a, &before);
	if (a.struck)
		printf("%s %s %u %s: %s: %s %s\n", what == SAVE ? "save" : "load",
		       kind_name[way->kind], nth, page->what, strerror(way->error),
		       outcome_name[outcome], a.text);
	noutcomes[outcome] += a.struck;
	return outcome;
}

/* After something went wrong: a guest that begins anew. */
static void boot_anew(void)
{
	char path[PATH_MAX + 8];

	end_vmm();
	unlink(given.ram);
	unlink(given.file);
	snprintf(path, sizeof(path), "%s.new", given.file);
	unlink(path);
	snprintf(path, sizeof(path), "%s.loaded", given.file);
	unlink(path);
	start_vmm(false);
}

static const struct way no_fault = {FAIL_none, 0, INSTEAD};

/* From a guest that runs to one that is saved, or back. False: it went wrong. */
static bool save(void)
{
	bool struck;

	return try(SAVE, &no_fault, 0, &struck) == DONE;
}
static bool load(void)
{
	bool struck;

	start_vmm(true);
	return try(LOAD, &no_fault, 0, &struck) == DONE;
}

static uint32_t after(uint32_t nth)
{
	return nth + (nth < MANY ? 1 : given.step);
}

/* A guest that runs: each call of its save. It is saved at the end. */
static void fail_saves(const struct way *way)
{
	bool struck = true;

	for (uint32_t nth = 1; struck; nth = after(nth)) {
		enum outcome outcome = try(SAVE, way, nth, &struck);

		if (outcome == WRONG || (outcome == DONE && struck && !load()))
			boot_anew();
		if (outcome == WRONG && !struck && !save())
			give_up("no save without a fault");
	}
}

/* A guest that is saved: each call of its load. It runs at the end. */
static void fail_loads(const struct way *way)
{
	bool struck = true;

	start_vmm(true);
	for (uint32_t nth = 1; struck; nth = after(nth)) {
		enum outcome outcome = try(LOAD, way, nth, &struck);

		if (outcome == WRONG)
			boot_anew();
		if ((outcome != DONE && outcome != WRONG) || !struck)
			continue;
		if (!save())
			give_up("no save without a fault");
		start_vmm(true);
	}
}

static void make_page(void)
{
	int fd;

	snprintf(given.page, sizeof(given.page), "%s/fail-page", given.folder);
	fd = open(given.page, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd < 0 || ftruncate(fd, sizeof(*page)))
		give_up(given.page);
	page = mmap(NULL, sizeof(*page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (page == MAP_FAILED)
		give_up(given.page);
	close(fd);
}

int main(int argc, char **argv)
{
	uint32_t total = 0;

	if (argc < 8)
		return 2;
	given.folder = argv[1];
	given.mode = argv[3];
	given.ram_bytes = strtoul(argv[4], NULL, 0) << 20;
	given.step = (uint32_t)strtoul(argv[5], NULL, 0);
	given.library = argv[6];
	given.stasis = argv[7];
	given.options = argv + 8;
	snprintf(given.ram, sizeof(given.ram), "%s/ram", argv[2]);
	snprintf(given.file, sizeof(given.file), "%s/checkpoint", argv[2]);
	snprintf(given.qmp, sizeof(given.qmp), "%s/qmp", given.folder);
	setvbuf(stdout, NULL, _IOLBF, 0);
	make_page();
	start_vmm(false);
	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		fail_saves(&ways[i]);
		fail_loads(&ways[i]);
	}
	if (qmp_client_execute(&qmp, "{\"execute\": \"quit\"}") != QMP_RETURN ||
	    !await(ended, NULL) || exit_status)
		wrong("quit: the VMM ended with status %d", exit_status);
	for (int i = 0; i < OUTCOMES; i++)
		total += noutcomes[i];
	printf("%u calls failed:", total);
	for (int i = 0; i < OUTCOMES; i++)
		printf("%s %u %s", i ? "," : "", noutcomes[i], outcome_name[i]);
	printf("\nprocesses %u\n", nprocesses);
	end_vmm();
	return nwrong != 0;
}
