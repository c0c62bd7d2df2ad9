/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/ctl.h - what all parts of stasisctl share: its exit statuses, its messages and its JSON.
 * Threads: any; a message is one line.
 * Errors: a program that has no memory left has nothing else to do: it says so and ends. */
#ifndef QMP_CTL_CTL_H
#define QMP_CTL_CTL_H
#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

enum { CTL_OK, CTL_FAILED, CTL_TIMEOUT };

/* "stasisctl: " and the text on standard error; whatever is not safe to show is replaced. */
void ctl_complain(const char *fmt, ...) __attribute__((format(printf, 1, 2)));
void ctl_die(int status, const char *fmt, ...) __attribute__((format(printf, 2, 3), noreturn));
/* CTL_TIMEOUT for -ETIMEDOUT, CTL_FAILED for all others. */
int ctl_status(int ret);

/* A text that the caller frees. */
char *ctl_text(const char *fmt, ...) __attribute__((format(printf, 1, 2), returns_nonnull));
/* What malloc() returned; never NULL. */
void *ctl_memory(void *memory) __attribute__((returns_nonnull));

/* An object that json-c made; never NULL. */
struct json_object *ctl_made(struct json_object *object);
void ctl_add(struct json_object *object, const char *key, struct json_object *value);
void ctl_append(struct json_object *array, struct json_object *value);
void ctl_add_text(struct json_object *object, const char *key, const char *text);
void ctl_add_number(struct json_object *object, const char *key, uint64_t number);
/* The member at the end of these names, of nested objects; NULL: there is none. */
struct json_object *ctl_member(struct json_object *object, const char *path);
/* The string there, or "". */
const char *ctl_string(struct json_object *object, const char *path);
/* How many elements it has: 0 unless it is an array, for json-c ends the program then. */
size_t ctl_length(struct json_object *array);

enum ctl_text_kind { CTL_LINE, CTL_JSON };
/* At most so many bytes and a line end. A VM passes on text of files, guests and other clients; ascii: an agent is the
 * guest, so only ASCII of it is shown. Line feeds are either json-c's or replaced. */
void ctl_put_text(FILE *out, enum ctl_text_kind kind, const char *text, size_t most, bool ascii);
void ctl_print(struct json_object *value, bool ascii);

/* Removes a folder with the files in it, but no folders. 0: it is gone, or there was none; else -errno. */
int ctl_remove_folder(const char *folder);

/* CLOCK_MONOTONIC */
double ctl_now_s(void);
#endif
