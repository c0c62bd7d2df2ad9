/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/json.h - parses JSON values from a byte stream, however it is cut into pieces, and writes JSON lines.
 * json-c 0.16 crashes or loses text if malloc(3) fails, and cannot distinguish numbers beyond 64 bits, lone
 * surrogates and overlong UTF-8 from what it makes of them.
 * Owns: json_in has all its memory in the struct: nothing is allocated while a client speaks. json_out: its
 * buffer.
 * Threads: main only.
 * Errors: invalid input is one error in QEMU's words. Then bytes are skipped to the end of the line, to the
 * end of the broken object or to a control byte, whichever comes first, and parsing starts again. RFC 8259;
 * QEMU docs/interop/qmp-spec, "Forcing the JSON parser into known-good state". If memory fails for output,
 * `failed` is set and nothing more is added; the caller checks it once, at the end. */
#ifndef QMP_JSON_H
#define QMP_JSON_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#define JSON_IN_MAX_DEPTH 32
#define JSON_IN_MAX_BYTES 65536 /* of one message */
#define JSON_IN_MAX_NODES 1024	/* values in one message */

enum json_kind { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value. Texts are UTF-8 and may contain NUL bytes; a NUL byte follows each. */
struct json_node {
	enum json_kind kind;
	bool boolean;
	uint32_t name_len, text_len;
	const char *name;		/* of an object's member; else NULL */
	const char *text;		/* of a string; of a number as it was written */
	struct json_node *first, *last; /* of an array's or object's values */
	struct json_node *next;		/* in the same array or object */
};

enum json_state {
	JSON_AT_VALUE,	  /* a value is required */
	JSON_AT_FIRST,	  /* a value or ] */
	JSON_AT_MEMBER,	  /* a name or } */
	JSON_AT_NAME,	  /* a name is required */
	JSON_AT_COLON,	  /* after a name */
	JSON_AFTER_VALUE, /* after a value in an array or object: a comma or the end */
	JSON_IN_STRING,	  /* a string or a name */
	JSON_IN_ESCAPE,	  /* after a backslash */
	JSON_IN_HEX,	  /* of \uXXXX */
	JSON_IN_NUMBER,
	JSON_IN_LITERAL, /* true, false, null */
};

struct json_in {
	uint32_t pos, len; /* buf[pos, len) is not parsed yet */
	char buf[4096];

	/* The message so far. */
	enum json_state state;
	uint32_t depth; /* beyond JSON_IN_MAX_DEPTH only while skipping */
	bool skip;	/* its error was returned: discard the rest */
	bool is_name;	/* the string is a name */
	uint32_t bytes, ntext, nnodes;
	struct json_node *open[JSON_IN_MAX_DEPTH];
	const char *literal; /* the rest of it */
	uint32_t
		utf8_more; /* bytes of the character that are missing; the next one is within [low, high] */
	uint8_t utf8_low, utf8_high;
	uint32_t hex_digits, hex, surrogate; /* surrogate: a high one whose low one is missing */
	const char *name;		     /* of the next value */
	uint32_t name_len, string_at;
	struct json_node node[JSON_IN_MAX_NODES];
	char text[JSON_IN_MAX_BYTES + 1]; /* never more than the message has */
};

enum json_in_result { JSON_IN_MORE, JSON_IN_VALUE, JSON_IN_ERROR };

/* Drops all input: for a new client. */
void json_in_reset(struct json_in *in);
/* read(2) into the buffer: bytes, 0 at end of file, or -errno. Only after JSON_IN_MORE. */
ssize_t json_in_read(struct json_in *in, int fd) must_check;
/* The next value, valid until the next call, or the next error. */
enum json_in_result json_in_next(struct json_in *in, const struct json_node **value,
				 struct error *err) must_check;

/* The member of an object with this name; NULL: none, or no object. */
const struct json_node *json_member(const struct json_node *object, const char *name);
/* Is the text, or the name, exactly this? */
bool json_text_is(const char *text, uint32_t len, const char *is);
/* False: the number has a fraction or an exponent, or does not fit. */
bool json_int64(const struct json_node *node, int64_t *value);

struct json_out {
	char *data;
	size_t len, size;
	bool comma;  /* a value precedes the next one */
	bool failed; /* out of memory: the text is not complete */
};

/* Makes room: as many bytes can be added without failing. */
int json_out_reserve(struct json_out *out, size_t bytes) must_check;
/* Adds JSON in which ' stands for ", after a comma if one is due. Conversions: %s within quotes, where bytes that
 * are not valid UTF-8 (a path, a truncated message) become U+FFFD; %i a boolean; %d, %u, %ld, %lu. The output
 * is ASCII; a line ends in "\r\n". */
void json_out_add(struct json_out *out, const char *text, ...)
	__attribute__((format(printf, 2, 3)));
/* A received value; numbers as they were written. */
void json_out_node(struct json_out *out, const struct json_node *node);
/* Drops everything that was added after out->len was this. */
void json_out_rewind(struct json_out *out, size_t len);
void json_out_append(struct json_out *out, const struct json_out *from);
/* Sends without waiting. 0 even if some bytes are left. */
int json_out_send(struct json_out *out, int fd) must_check;
void json_out_free(struct json_out *out);
#endif
