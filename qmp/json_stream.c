/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "qmp/json_stream.h"
#include <errno.h>
#include <json-c/json_visit.h>
#include <math.h>
#include <string.h>
#include <unistd.h>

enum frame_stop { FRAME_MORE, FRAME_END, FRAME_STRAY };

/* Never in JSON text: these force the parser into a known state, whatever came before. */
static bool is_stray(unsigned char c)
{
	return (c < 0x20 && c != '\t' && c != '\r' && c != '\n') || c >= 0xfe;
}

/* Walks to the end of one message; *used is what belongs to it, without a stray byte. */
static enum frame_stop frame_scan(struct json_frame *frame, const char *data, uint32_t len,
				  uint32_t *used)
{
	for (*used = 0; *used < len; ++*used) {
		const unsigned char c = (unsigned char)data[*used];
		const bool newline = c == '\n' || c == '\r';

		if (is_stray(c) || (newline && frame->in_string && !frame->skip))
			return FRAME_STRAY;
		if (newline) {
			if (!frame->skip && !frame->in_word)
				continue;
			++*used;
			return FRAME_END;
		}
		if (frame->in_string) {
			if (frame->in_escape)
				frame->in_escape = false;
			else if (c == '\\')
				frame->in_escape = true;
			else if (c == '"')
				frame->in_string = false;
			continue;
		}
		frame->members += c == ':';
		switch (c) {
		case ' ':
		case '\t':
			break;
		case '{':
		case '[':
			if (frame->in_word)
				return FRAME_END;
			frame->depth++;
			break;
		case '}':
		case ']':
			if (frame->depth == 1) {
				++*used;
				return FRAME_END;
			}
			if (frame->depth)
				frame->depth--;
			else
				frame->in_word = true;
			break;
		default:
			frame->in_string = c == '"';
			frame->in_word = !frame->depth;
		}
	}
	return FRAME_MORE;
}

int json_stream_open(struct json_stream *stream, struct error *err)
{
	memset(stream, 0, sizeof(*stream));
	stream->tokener = json_tokener_new_ex(JSON_STREAM_MAX_DEPTH);
	if (!stream->tokener)
		return error_set(err, -ENOMEM, "QMP: no memory for the JSON parser");
	json_tokener_set_flags(stream->tokener, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8 |
							JSON_TOKENER_ALLOW_TRAILING_CHARS);
	return 0;
}

void json_stream_close(struct json_stream *stream)
{
	if (stream->tokener)
		json_tokener_free(stream->tokener);
	stream->tokener = NULL;
}

static void message_end(struct json_stream *stream)
{
	json_tokener_reset(stream->tokener);
	memset(&stream->frame, 0, sizeof(stream->frame));
	stream->message_bytes = 0;
}

void json_stream_reset(struct json_stream *stream)
{
	message_end(stream);
	stream->pos = stream->len = 0;
}

ssize_t json_stream_read(struct json_stream *stream, int fd)
{
	const uint32_t rest = stream->len - stream->pos;
	ssize_t n;

	/* At most the head of one UTF-8 sequence. */
	memmove(stream->buf, stream->buf + stream->pos, rest);
	stream->pos = 0;
	stream->len = rest;
	n = read(fd, stream->buf + rest, sizeof(stream->buf) - rest);
	if (n < 0)
		return -errno;
	stream->len += (uint32_t)n;
	return n;
}

/* Bytes at the end that begin a UTF-8 sequence but do not end it: json-c checks UTF-8 call by
 * call, so a sequence must not be torn. */
static uint32_t utf8_torn_bytes(const char *data, uint32_t len)
{
	for (uint32_t back = 1; back <= 3 && back <= len; back++) {
		const unsigned char c = (unsigned char)data[len - back];

		if (c >= 0xc0)
			return back < (c >= 0xf0 ? 4u : c >= 0xe0 ? 3u : 2u) ? back : 0;
		if (c < 0x80)
			return 0;
	}
	return 0;
}

static const char *error_text(enum json_tokener_error error)
{
	switch (error) {
	case json_tokener_error_depth:
		return "JSON nesting depth limit exceeded";
	case json_tokener_error_size:
		return "JSON token size limit exceeded";
	case json_tokener_error_parse_null:
	case json_tokener_error_parse_boolean:
		return "JSON parse error, invalid keyword";
	case json_tokener_error_parse_number:
		return "JSON parse error, invalid number";
	case json_tokener_error_parse_array:
		return "JSON parse error, expected separator in list";
	case json_tokener_error_parse_object_key_name:
		return "JSON parse error, key is not a string in object";
	case json_tokener_error_parse_object_key_sep:
		return "JSON parse error, missing : in object pair";
	case json_tokener_error_parse_object_value_sep:
		return "JSON parse error, expected separator in dict";
	case json_tokener_error_parse_string:
		return "JSON parse error, invalid escape sequence in string";
	case json_tokener_error_parse_utf8_string:
		return "JSON parse error, invalid UTF-8 sequence in string";
	default:
		return "JSON parse error, expecting value";
	}
}

static int check_one(struct json_object *value, int flags, struct json_object *parent,
		     const char *key, size_t *index, void *opaque)
{
	uint32_t *members = opaque;
	bool fits = true;

	(void)parent;
	(void)index;
	if (flags & JSON_C_VISIT_SECOND)
		return JSON_C_VISIT_RETURN_CONTINUE;
	*members += key != NULL;
	/* json-c takes what does not fit 64 bits for the greatest number that does. */
	if (json_object_is_type(value, json_type_double))
		fits = isfinite(json_object_get_double(value));
	else if (json_object_is_type(value, json_type_int))
		fits = json_object_get_uint64(value) != UINT64_MAX &&
		       json_object_get_int64(value) != INT64_MIN;
	return fits ? JSON_C_VISIT_RETURN_CONTINUE : JSON_C_VISIT_RETURN_ERROR;
}

/* What json-c takes though it cannot keep it; NULL: nothing. */
static const char *lost_in(struct json_object *value, uint32_t members)
{
	uint32_t kept = 0;

	if (json_c_visit(value, 0, check_one, &kept) < 0)
		return "number out of range";
	return kept == members ? NULL : "duplicate key";
}

/* One step of the message: data[0, len), after which it goes on, ends, or meets a stray byte. */
static enum json_stream_result parse(struct json_stream *stream, const struct json_frame *before,
				     uint32_t len, enum frame_stop stop, struct json_object **value,
				     struct error *err)
{
	const char *data = stream->buf + stream->pos;
	enum json_tokener_error error = json_tokener_error_size;
	const char *lost;
	uint32_t used = 0;

	stream->message_bytes += len;
	if (stream->message_bytes <= JSON_STREAM_MAX_BYTES) {
		*value = json_tokener_parse_ex(stream->tokener, data, (int)len);
		error = json_tokener_get_error(stream->tokener);
		used = (uint32_t)json_tokener_get_parse_end(stream->tokener);
	}
	if (error == json_tokener_success) {
		lost = lost_in(*value, stream->frame.members);
		stream->pos += used;
		message_end(stream);
		if (!lost)
			return JSON_STREAM_VALUE;
		json_object_put(*value);
		error_set(err, 0, "JSON parse error, %s", lost);
		return JSON_STREAM_ERROR;
	}
	if (error == json_tokener_continue) {
		stream->pos += len;
		if (stop == FRAME_MORE) {
			/* White space between messages is no message. */
			if (!stream->frame.depth && !stream->frame.in_word)
				stream->message_bytes = 0;
			return JSON_STREAM_MORE;
		}
		if (stop == FRAME_STRAY)
			error_set(err, 0, "JSON parse error, stray '\\u%04X'",
				  (unsigned char)data[len]);
		else
			error_set(err, 0, "%s", error_text(error));
		stream->pos += stop == FRAME_STRAY;
		message_end(stream);
		return JSON_STREAM_ERROR;
	}
	error_set(err, 0, "%s", error_text(error));
	message_end(stream);
	stream->frame = *before;
	frame_scan(&stream->frame, data, used, &used);
	stream->frame.skip = true;
	stream->pos += used;
	return JSON_STREAM_ERROR;
}

enum json_stream_result json_stream_next(struct json_stream *stream, struct json_object **value,
					 struct error *err)
{
	enum json_stream_result result = JSON_STREAM_MORE;

	while (result == JSON_STREAM_MORE) {
		const char *data = stream->buf + stream->pos;
		const struct json_frame before = stream->frame;
		uint32_t len = stream->len - stream->pos;
		enum frame_stop stop;

		len -= utf8_torn_bytes(data, len);
		if (!len)
			return JSON_STREAM_MORE;
		stop = frame_scan(&stream->frame, data, len, &len);
		if (!before.skip) {
			result = parse(stream, &before, len, stop, value, err);
			continue;
		}
		stream->pos += len + (stop == FRAME_STRAY);
		if (stop != FRAME_MORE)
			message_end(stream);
	}
	return result;
}
