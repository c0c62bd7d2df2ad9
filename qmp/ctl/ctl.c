/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/ctl/ctl.h"
#include "vmm/base/log.h"
#include <dirent.h>
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define OUT_OF_MEMORY "stasisctl: out of memory\n"

static void vcomplain(const char *fmt, va_list ap)
{
	char *text = NULL;

	if (vasprintf(&text, fmt, ap) < 0) {
		fputs(OUT_OF_MEMORY, stderr);
		exit(CTL_FAILED);
	}
	text_clean(text, strlen(text));
	fprintf(stderr, "stasisctl: %s\n", text);
	free(text);
}

void ctl_complain(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
}

void ctl_die(int status, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vcomplain(fmt, ap);
	va_end(ap);
	exit(status);
}

int ctl_status(int ret)
{
	return !ret ? CTL_OK : ret == -ETIMEDOUT ? CTL_TIMEOUT : CTL_FAILED;
}

void *ctl_memory(void *memory)
{
	if (!memory) {
		fputs(OUT_OF_MEMORY, stderr);
		exit(CTL_FAILED);
	}
	return memory;
}

char *ctl_text(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	return ctl_memory(text);
}

struct json_object *ctl_made(struct json_object *object)
{
	return ctl_memory(object);
}

void ctl_add(struct json_object *object, const char *key, struct json_object *value)
{
	if (json_object_object_add(object, key, value))
		ctl_memory(NULL);
}

void ctl_append(struct json_object *array, struct json_object *value)
{
	if (json_object_array_add(array, value))
		ctl_memory(NULL);
}

void ctl_add_text(struct json_object *object, const char *key, const char *text)
{
	ctl_add(object, key, ctl_made(json_object_new_string(text)));
}

void ctl_add_number(struct json_object *object, const char *key, uint64_t number)
{
	ctl_add(object, key, ctl_made(json_object_new_uint64(number)));
}

struct json_object *ctl_member(struct json_object *object, const char *path)
{
	struct json_object *value;

	return json_pointer_get(object, path, &value) ? NULL : value;
}

const char *ctl_string(struct json_object *object, const char *path)
{
	struct json_object *value = ctl_member(object, path);

	return json_object_is_type(value, json_type_string) ? json_object_get_string(value) : "";
}

size_t ctl_length(struct json_object *array)
{
	return json_object_is_type(array, json_type_array) ? json_object_array_length(array) : 0;
}

void ctl_put_text(FILE *out, enum ctl_text_kind kind, const char *text, size_t most, bool ascii)
{
	size_t len = strnlen(text, most);

	for (size_t i = 0, n; i < len; i += n ? n : 1) {
		n = ascii && (text[i] & 0x80) ? 0 : text_safe_bytes(text + i, len - i);
		if (n)
			fwrite(text + i, 1, n, out);
		else
			putc(kind == CTL_JSON && text[i] == '\n' ? '\n' : '?', out);
	}
	putc('\n', out);
}

void ctl_print(struct json_object *value, bool ascii)
{
	const int style =
		JSON_C_TO_STRING_PRETTY | JSON_C_TO_STRING_SPACED | JSON_C_TO_STRING_NOSLASHESCAPE;

	/* json-c would print these on two lines. */
	if (json_object_is_type(value, json_type_object) && !json_object_object_length(value))
		puts("{}");
	else if (json_object_is_type(value, json_type_array) && !json_object_array_length(value))
		puts("[]");
	else
		ctl_put_text(stdout, CTL_JSON, json_object_to_json_string_ext(value, style),
			     SIZE_MAX, ascii);
}

int ctl_remove_folder(const char *folder)
{
	DIR *dir = opendir(folder);
	struct dirent *entry;
	int ret = dir || errno == ENOENT ? 0 : -errno;

	while (dir && !ret && (entry = readdir(dir)))
		if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
			ret = unlinkat(dirfd(dir), entry->d_name, 0) ? -errno : 0;
	if (dir)
		closedir(dir);
	if (!ret && dir && rmdir(folder))
		ret = -errno;
	return ret;
}

double ctl_now_s(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}
