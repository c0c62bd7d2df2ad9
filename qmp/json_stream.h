/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/json_stream.h - JSON values out of a byte stream, however its pieces fall.
 * Owns: json-c's tokener and one buffer of input not yet parsed.
 * Threads: main only.
 * Units: bytes.
 * Errors: garbage is one error in QEMU's words. What follows it is skipped to the end of the line,
 *	to where its braces close or to a control byte, whichever comes first; then parsing starts
 *	afresh. QEMU docs/interop/qmp-spec, "Forcing the JSON parser into known-good state". */
#ifndef QMP_JSON_STREAM_H
#define QMP_JSON_STREAM_H
#include "vmm/error.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JSON_STREAM_MAX_DEPTH 32
#define JSON_STREAM_MAX_BYTES 65536 /* of one message */

/* Where in a message the input stands, as far as braces and quotes tell. */
struct json_frame {
	uint32_t depth;	  /* open braces and brackets */
	uint32_t members; /* colons: so many has an object with all in it, if no key comes twice */
	bool in_word;	  /* depth 0: something that is no object has begun */
	bool in_string;
	bool in_escape;
	bool skip; /* the error is told: discard up to the message's end */
};

struct json_stream {
	struct json_tokener *tokener;
	struct json_frame frame;
	size_t message_bytes;
	uint32_t pos, len; /* buf[pos, len) is yet to be parsed */
	char buf[4096];
};

enum json_stream_result { JSON_STREAM_MORE, JSON_STREAM_VALUE, JSON_STREAM_ERROR };

int json_stream_open(struct json_stream *stream, struct error *err) must_check;
void json_stream_close(struct json_stream *stream);
/* Forgets all input: a new client. */
void json_stream_reset(struct json_stream *stream);
/* read(2) into the buffer: bytes, 0 at end of file, or -errno. Only after JSON_STREAM_MORE. */
ssize_t json_stream_read(struct json_stream *stream, int fd) must_check;
/* The next value, the caller's to put (JSON's null is NULL), or the next error. */
enum json_stream_result json_stream_next(struct json_stream *stream, struct json_object **value,
					 struct error *err) must_check;
#endif
