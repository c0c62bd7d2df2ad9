/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/json_out.h"
#include "vmm/base/text.h"
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REPLACEMENT 0xfffd
#define GROWTH	    1024

int json_out_reserve(struct json_out *out, size_t bytes)
{
	const size_t need = out->len + bytes;
	size_t size = need > 2 * out->size ? need : 2 * out->size;
	char *data;

	if (out->failed)
		return -ENOMEM;
	if (need <= out->size)
		return 0;
	data = realloc(out->data, size < GROWTH ? GROWTH : size);
	if (!data) {
		out->failed = true;
		return -ENOMEM;
	}
	out->data = data;
	out->size = size < GROWTH ? GROWTH : size;
	return 0;
}

static void put(struct json_out *out, const char *text, size_t len)
{
	if (!len || json_out_reserve(out, len))
		return;
	memcpy(out->data + out->len, text, len);
	out->len += len;
}

static void put_text(struct json_out *out, const char *text)
{
	put(out, text, strlen(text));
}

static void put_escaped(struct json_out *out, uint32_t code)
{
	char text[16];

	if (code < 0x10000)
		snprintf(text, sizeof(text), "\\u%04x", code);
	else
		snprintf(text, sizeof(text), "\\u%04x\\u%04x", 0xd800 + ((code - 0x10000) >> 10),
			 0xdc00 + ((code - 0x10000) & 0x3ff));
	put_text(out, text);
}

/* Returns the bytes of the character; one that is not valid UTF-8 becomes U+FFFD. */
static size_t put_unicode(struct json_out *out, const char *text, size_t len)
{
	uint32_t code = REPLACEMENT;
	size_t n = text_utf8(text, len, &code);

	put_escaped(out, code);
	return n ? n : 1;
}

static void put_string(struct json_out *out, const char *text, size_t len)
{
	static const char meant[] = "\"\\\b\f\n\r\t", names[] = "\"\\bfnrt";
	size_t used;

	put(out, "\"", 1);
	for (size_t i = 0; i < len; i += used) {
		const char *special = text[i] ? strchr(meant, text[i]) : NULL;

		used = 1;
		if (special)
			put(out, (const char[]){'\\', names[special - meant]}, 2);
		else if (text[i] & 0x80)
			used = put_unicode(out, text + i, len - i);
		else if (text[i] < 0x20 || text[i] == 0x7f)
			put_escaped(out, (uint32_t)text[i]);
		else
			put(out, text + i, 1);
	}
	put(out, "\"", 1);
}

static void begin(struct json_out *out, const char *name)
{
	if (out->comma)
		put(out, ",", 1);
	out->comma = true;
	if (!name)
		return;
	put_string(out, name, strlen(name));
	put(out, ":", 1);
}

void json_out_open(struct json_out *out, const char *name, char bracket)
{
	begin(out, name);
	put(out, &bracket, 1);
	out->comma = false;
}

void json_out_close(struct json_out *out, char bracket)
{
	put(out, &bracket, 1);
	out->comma = true;
}

void json_out_string(struct json_out *out, const char *name, const char *value)
{
	begin(out, name);
	put_string(out, value, strlen(value));
}

void json_out_int(struct json_out *out, const char *name, int64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRId64, value);
	begin(out, name);
	put_text(out, text);
}

void json_out_uint(struct json_out *out, const char *name, uint64_t value)
{
	char text[24];

	snprintf(text, sizeof(text), "%" PRIu64, value);
	begin(out, name);
	put_text(out, text);
}

void json_out_bool(struct json_out *out, const char *name, bool value)
{
	begin(out, name);
	put_text(out, value ? "true" : "false");
}

static bool is_nest(const struct json_node *node)
{
	return node->kind == JSON_ARRAY || node->kind == JSON_OBJECT;
}

static void put_scalar(struct json_out *out, const struct json_node *node)
{
	if (node->kind == JSON_STRING)
		put_string(out, node->text, node->text_len);
	else if (node->kind == JSON_NUMBER)
		put(out, node->text, node->text_len);
	else if (node->kind == JSON_BOOLEAN)
		put_text(out, node->boolean ? "true" : "false");
	else
		put_text(out, "null");
}

static void put_bracket(struct json_out *out, const struct json_node *node, const char *of_array,
			const char *of_object)
{
	put_text(out, node->kind == JSON_ARRAY ? of_array : of_object);
}

/* With everything in it; json_out_node() adds its name. */
static void put_node(struct json_out *out, const struct json_node *node)
{
	const struct json_node *open[JSON_IN_MAX_DEPTH] = {NULL};
	uint32_t depth = 0;

	for (;;) {
		if (depth && node->name) {
			put_string(out, node->name, node->name_len);
			put(out, ":", 1);
		}
		if (is_nest(node)) {
			put_bracket(out, node, "[", "{");
			if (node->first) {
				open[depth++] = node;
				node = node->first;
				continue;
			}
			put_bracket(out, node, "]", "}");
		} else {
			put_scalar(out, node);
		}
		while (depth && !node->next) {
			node = open[--depth];
			put_bracket(out, node, "]", "}");
		}
		if (!depth)
			return;
		put(out, ",", 1);
		node = node->next;
	}
}

void json_out_node(struct json_out *out, const char *name, const struct json_node *node)
{
	begin(out, name);
	put_node(out, node);
}

void json_out_end_line(struct json_out *out)
{
	put(out, "\r\n", 2);
	out->comma = false;
}

void json_out_rewind(struct json_out *out, size_t len)
{
	out->len = len;
	out->comma = false;
	out->failed = false;
}

void json_out_append(struct json_out *out, const struct json_out *from)
{
	if (from->failed)
		out->failed = true;
	put(out, from->data, from->len);
}

int json_out_send(struct json_out *out, int fd)
{
	size_t sent = 0;
	ssize_t n;

	while (sent < out->len) {
		n = send(fd, out->data + sent, out->len - sent, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno != EAGAIN)
			return -errno;
		if (n < 0)
			break;
		sent += (size_t)n;
	}
	out->len -= sent;
	if (out->len)
		memmove(out->data, out->data + sent, out->len);
	else
		json_out_free(out);
	return 0;
}

void json_out_free(struct json_out *out)
{
	free(out->data);
	memset(out, 0, sizeof(*out));
}
