/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/out.h"
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#define REPLACEMENT 0xfffd

/* One code point of text[0, len); *used bytes make it up, one if they are no valid UTF-8. */
static uint32_t utf8_decode(const char *text, size_t len, size_t *used)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	const unsigned char lead = (unsigned char)text[0];
	const size_t more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
	uint32_t code = lead & (0x3fu >> more);

	*used = 1;
	if (lead < 0xc0 || lead >= 0xf8 || len <= more)
		return REPLACEMENT;
	for (size_t i = 1; i <= more; i++) {
		if (((unsigned char)text[i] & 0xc0) != 0x80)
			return REPLACEMENT;
		code = code << 6 | ((unsigned char)text[i] & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return REPLACEMENT;
	*used = 1 + more;
	return code;
}

static size_t escape(char *to, uint32_t code)
{
	if (code < 0x10000)
		return (size_t)sprintf(to, "\\u%04x", code);
	code -= 0x10000;
	return (size_t)sprintf(to, "\\u%04x\\u%04x", 0xd800 + (code >> 10),
			       0xdc00 + (code & 0x3ff));
}

static int reserve(struct out *out, size_t more_bytes)
{
	const size_t size = out->len + more_bytes;
	char *data;

	if (size <= out->size)
		return 0;
	data = realloc(out->data, size);
	if (!data)
		return -ENOMEM;
	out->data = data;
	out->size = size;
	return 0;
}

int out_json(struct out *out, struct json_object *object)
{
	size_t len, used;
	const char *text = json_object_to_json_string_length(
		object, JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE, &len);

	if (!text)
		return -ENOMEM;
	if (out->len + len > OUT_MAX_BYTES)
		return -ENOBUFS;
	/* A byte becomes at most one \uXXXX; the last sprintf() writes a NUL behind. */
	if (reserve(out, 6 * len + sizeof("\r\n")))
		return -ENOMEM;
	for (size_t i = 0; i < len; i += used) {
		used = 1;
		if (text[i] & 0x80)
			out->len +=
				escape(out->data + out->len, utf8_decode(text + i, len - i, &used));
		else
			out->data[out->len++] = text[i];
	}
	memcpy(out->data + out->len, "\r\n", 2);
	out->len += 2;
	return 0;
}

int out_send(struct out *out, int fd)
{
	ssize_t n;

	while (out->len) {
		n = send(fd, out->data, out->len, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return errno == EAGAIN ? 0 : -errno;
		out->len -= (size_t)n;
		memmove(out->data, out->data + n, out->len);
	}
	out_free(out);
	return 0;
}

void out_free(struct out *out)
{
	free(out->data);
	memset(out, 0, sizeof(*out));
}
