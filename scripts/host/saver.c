/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stasis-saver - saves all guests before systemd shuts the host down, and stops the request if a save fails.
 *
 * It holds a delay lock of systemd-logind. On PrepareForShutdown(true), when every unit is still up, it runs
 * "stasis-guests save TYPE" and lets go of the lock: the host goes down. If that fails the request has to go away:
 * CancelScheduledShutdown does it on newer versions of logind (257). Older ones (252) say yes and go on, so the target
 * of the request is masked before the lock is let go of; logind finds it masked, gives up and sends
 * PrepareForShutdown(false). Then the lock is taken again first, and the target unmasked after that: no request comes
 * between them.
 * A request that goes away by itself while guests are saved brings them back, too.
 *
 * It ends when the bus does. systemd starts it again: a new process takes the lock anew, and ends what the last one had
 * begun if the host stays up.
 * Source: systemd's "Inhibitor Locks", org.freedesktop.login1(5). */
#include <errno.h>
#include <spawn.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <systemd/sd-bus.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#define LOGIND	   "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
#define MASKED	   "/run/stasis-masked" /* names the target that is masked, also for the next process */
#define USEC_PER_S 1000000ULL

struct saver {
	sd_bus *bus;
	int lock_fd;	      /* of the delay lock; -1: let go of */
	const char *guests;   /* the program stasis-guests */
	uint64_t delay_max_s; /* logind waits no longer for the lock */
	bool logind_ended;
};

static void say(const char *priority, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
static void say(const char *priority, const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "%sstasis-saver: ", priority);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

/* Runs a program to its end. Returns its exit status, 255 for one that a signal ended. */
static int run(const char *const argv[])
{
	pid_t pid;
	int status, ret = posix_spawnp(&pid, argv[0], NULL, NULL, (char *const *)argv, environ);

	if (ret) {
		say(SD_ERR, "%s: %s", argv[0], strerror(ret));
		return 255;
	}
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return 255;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

static int failed(const char *what, const sd_bus_error *error, int ret)
{
	say(SD_ERR, "%s: %s", what, error->message ? error->message : strerror(-ret));
	return ret;
}

static int take_lock(struct saver *saver)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	int fd, ret;

	if (saver->lock_fd >= 0)
		return 0;
	ret = sd_bus_call_method(saver->bus, LOGIND, "Inhibit", &error, &reply, "ssss", "shutdown",
				 "stasis-saver", "guests are saved first", "delay");
	if (ret >= 0)
		ret = sd_bus_message_read(reply, "h", &fd);
	if (ret < 0)
		failed("logind gives no delay lock", &error, ret);
	else
		saver->lock_fd = dup(fd); /* that of the message is closed with it */
	sd_bus_message_unref(reply);
	sd_bus_error_free(&error);
	return ret < 0 ? ret : saver->lock_fd < 0 ? -errno : 0;
}

static void let_go(struct saver *saver)
{
	if (saver->lock_fd >= 0)
		close(saver->lock_fd);
	saver->lock_fd = -1;
}

/* Is logind still at it? If it cannot be asked: yes. */
static bool is_preparing(struct saver *saver)
{
	int preparing = 1;

	(void)sd_bus_get_property_trivial(saver->bus, LOGIND, "PreparingForShutdown", NULL, 'b',
					  &preparing);
	return preparing;
}

/* "kexec", "reboot", "poweroff", "soft-reboot" ...: it tells that of requests without a time as well. */
static void read_type(struct saver *saver, char type[32])
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	sd_bus_message *reply = NULL;
	const char *text = "";
	uint64_t at_us;
	int ret = sd_bus_get_property(saver->bus, LOGIND, "ScheduledShutdown", &error, &reply,
				      "(st)");

	if (ret >= 0)
		ret = sd_bus_message_read(reply, "(st)", &text, &at_us);
	if (ret < 0)
		failed("logind does not say what is coming", &error, ret);
	snprintf(type, 32, "%s", ret < 0 ? "" : text);
	sd_bus_message_unref(reply);
	sd_bus_error_free(&error);
}

static bool is_masked(struct saver *saver, const char *unit)
{
	sd_bus_message *reply = NULL;
	const char *path = NULL;
	char *state = NULL;
	bool masked = false;

	if (sd_bus_call_method(saver->bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
			       "org.freedesktop.systemd1.Manager", "LoadUnit", NULL, &reply, "s",
			       unit) >= 0 &&
	    sd_bus_message_read(reply, "o", &path) >= 0 &&
	    sd_bus_get_property_string(saver->bus, "org.freedesktop.systemd1", path,
				       "org.freedesktop.systemd1.Unit", "LoadState", NULL,
				       &state) >= 0)
		masked = !strcmp(state, "masked");
	free(state);
	sd_bus_message_unref(reply);
	return masked;
}

/* Makes the request go away that logind is preparing for. True: the lock can stay. */
static bool cancel(struct saver *saver)
{
	sd_bus_error error = SD_BUS_ERROR_NULL;
	int ret =
		sd_bus_call_method(saver->bus, LOGIND, "CancelScheduledShutdown", &error, NULL, "");

	if (ret < 0)
		failed("CancelScheduledShutdown", &error, ret);
	sd_bus_error_free(&error);
	return !is_preparing(saver);
}

/* Before it is masked, so that it is not masked for ever. */
static int note_masked(const char *target)
{
	FILE *file = fopen(MASKED, "we");

	if (file && fputs(target, file) < 0)
		say(SD_WARNING, "%s: %s", MASKED, strerror(errno));
	return file && !fclose(file) ? 0 : -errno;
}

static void unmask(void)
{
	char target[64] = "";
	const char *const words[] = {"systemctl", "unmask", "--runtime", target, NULL};
	FILE *file = fopen(MASKED, "re");

	if (!file)
		return;
	if (!fgets(target, sizeof(target), file))
		target[0] = '\0';
	fclose(file);
	if (target[0] && run(words))
		say(SD_ERR, "%s stays masked: systemctl unmask --runtime %s", target, target);
	else
		unlink(MASKED);
}

static void refuse(struct saver *saver, const char *type)
{
	char target[64];
	const char *const mask[] = {"systemctl", "mask", "--runtime", target, NULL};

	if (cancel(saver)) {
		say(SD_NOTICE, "the request (%s) was cancelled, the host stays up", type);
		sd_notify(0, "STATUS=armed");
		return;
	}
	snprintf(target, sizeof(target), "%s.target", type);
	if (note_masked(target) || run(mask) || !is_masked(saver, target)) {
		say(SD_CRIT,
		    "%s cannot be masked: the host goes down in at most %llu s, without the guests",
		    target, (unsigned long long)saver->delay_max_s);
		return; /* with the lock: every second counts */
	}
	say(SD_NOTICE, "%s is masked, so that this request fails and the host stays up", target);
	let_go(saver);
}

/* The host stays up: no request is under way any more. */
static int stay(struct saver *saver)
{
	const char *const restore[] = {saver->guests, "restore", NULL};
	int ret = take_lock(saver);

	if (ret < 0)
		return ret;
	unmask();
	if (run(restore))
		say(SD_ERR, "not all guests are back, see above");
	sd_notify(0, "STATUS=armed");
	return 0;
}

static int on_prepare(sd_bus_message *message, void *opaque, sd_bus_error *error)
{
	struct saver *saver = opaque;
	char type[32];
	const char *const save[] = {saver->guests, "save", type, NULL};
	int begins, status;

	(void)error;
	if (sd_bus_message_read(message, "b", &begins) < 0)
		return 0;
	if (!begins)
		return stay(saver);
	read_type(saver, type);
	if (strcmp(type, "kexec") != 0 && strcmp(type, "soft-reboot") != 0) {
		let_go(saver); /* each unit shuts its guest down as it is stopped */
		return 0;
	}
	sd_notifyf(0, "STATUS=saves guests before %s", type);
	status = run(save);
	sd_notifyf(0, "STATUS=%s", status ? "a save failed" : "guests are saved");
	if (status) {
		refuse(saver, type);
		return 0;
	}
	if (!is_preparing(saver))
		return stay(saver); /* it went away by itself */
	let_go(saver);
	return 0;
}

/* A logind that ends forgets the request, and sends no PrepareForShutdown(false); the next one may wait for another time:
 * begin anew. What this returns goes nowhere: the bus has no use for it. */
static int on_owner(sd_bus_message *message, void *opaque, sd_bus_error *error)
{
	struct saver *saver = opaque;
	const char *name, *old, *new;

	(void)error;
	if (sd_bus_message_read(message, "sss", &name, &old, &new) >= 0 && *old)
		saver->logind_ended = true;
	return 0;
}

/* How long logind waits bounds how long a save may take; half of it is left for bringing guests back. */
static int read_delay(struct saver *saver)
{
	uint64_t delay_us = 0;
	char text[32];
	int ret = sd_bus_get_property_trivial(saver->bus, LOGIND, "InhibitDelayMaxUSec", NULL, 't',
					      &delay_us);

	if (ret < 0)
		return ret;
	saver->delay_max_s = delay_us / USEC_PER_S;
	if (saver->delay_max_s < 60)
		say(SD_WARNING,
		    "logind waits only %llu s for saves (InhibitDelayMaxSec in logind.conf): after "
		    "that the host goes "
		    "down without guests that are not saved yet; 900 is a good value",
		    (unsigned long long)saver->delay_max_s);
	snprintf(text, sizeof(text), "%llu", (unsigned long long)(saver->delay_max_s + 1) / 2);
	return setenv("STASIS_SAVE_TIMEOUT", text, 1) ? -errno : 0;
}

static int serve(struct saver *saver)
{
	int ret = sd_bus_open_system(&saver->bus);

	if (ret >= 0)
		ret = sd_bus_match_signal(saver->bus, NULL, LOGIND, "PrepareForShutdown",
					  on_prepare, saver);
	if (ret >= 0)
		ret = sd_bus_add_match(saver->bus, NULL,
				       "type='signal',sender='org.freedesktop.DBus',"
				       "member='NameOwnerChanged',arg0='org.freedesktop.login1'",
				       on_owner, saver);
	if (ret >= 0)
		ret = read_delay(saver);
	if (ret >= 0)
		ret = take_lock(saver);
	/* Units of VMs start after this one: none would come back before it is ready. */
	if (ret >= 0)
		sd_notify(0, "READY=1\nSTATUS=armed");
	if (ret >= 0 && !is_preparing(saver))
		ret = stay(saver);
	while (ret >= 0 && !saver->logind_ended) {
		ret = sd_bus_process(saver->bus, NULL);
		if (!ret && !saver->logind_ended)
			ret = sd_bus_wait(saver->bus, UINT64_MAX);
		if (ret == -EINTR)
			ret = 0;
	}
	if (saver->logind_ended)
		say(SD_NOTICE, "systemd-logind has ended: begins anew");
	else
		say(SD_ERR, "D-Bus: %s", strerror(-ret));
	return EXIT_FAILURE;
}

int main(int argc, char **argv)
{
	struct saver saver = {.lock_fd = -1, .guests = argv[1]};

	if (argc != 2) {
		fprintf(stderr,
			"usage: stasis-saver STASIS-GUESTS\n"
			"Runs as stasis-saver.service. STASIS-GUESTS is the program that saves.\n");
		return EXIT_FAILURE;
	}
	return serve(&saver);
}
