/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/json_in.h - JSON values out of a byte stream, however its pieces fall.
 * Owns: all memory it needs, in the struct: nothing is allocated while a client speaks. json-c 0.16 crashes or
 *	loses text where malloc(3) fails, and cannot tell numbers beyond 64 bits, lone surrogates and
 *	overlong UTF-8 from what it makes of them.
 * Threads: main only.
 * Units: bytes.
 * Errors: garbage is one error in QEMU's words. What follows it is skipped to the end of the line,
 *	to where its braces close or to a control byte, whichever comes first; then parsing starts
 *	afresh. RFC 8259; QEMU docs/interop/qmp-spec, "Forcing the JSON parser into known-good state". */
#ifndef QMP_JSON_IN_H
#define QMP_JSON_IN_H
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#define JSON_IN_MAX_DEPTH 32
#define JSON_IN_MAX_BYTES 65536 /* of one message */
#define JSON_IN_MAX_NODES 1024	/* values in one message */

enum json_kind { JSON_NULL, JSON_BOOLEAN, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value. Texts are UTF-8 and may contain NUL bytes; one follows each. */
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
	JSON_AT_VALUE,	/* one must come */
	JSON_AT_FIRST,	/* a value or ] */
	JSON_AT_MEMBER, /* a name or } */
	JSON_AT_NAME,	/* one must come */
	JSON_AT_COLON,	/* behind a name */
	JSON_BEHIND,	/* a value within an array or object: a comma or its end */
	JSON_IN_STRING, /* or a name */
	JSON_IN_ESCAPE, /* behind a backslash */
	JSON_IN_HEX,	/* of \uXXXX */
	JSON_IN_NUMBER,
	JSON_IN_LITERAL, /* true, false, null */
};

struct json_in {
	uint32_t pos, len; /* buf[pos, len) is yet to be parsed */
	char buf[4096];

	/* The message so far. */
	enum json_state state;
	uint32_t depth; /* beyond JSON_IN_MAX_DEPTH only while skipping */
	bool skip;	/* its error is told: discard up to its end */
	bool is_name;	/* the string is one */
	uint32_t bytes, ntext, nnodes;
	struct json_node *open[JSON_IN_MAX_DEPTH];
	const char *literal; /* what must follow */
	uint32_t
		utf8_more; /* so many bytes of the character must follow, the next in [low, high] */
	uint8_t utf8_low, utf8_high;
	uint32_t hex_digits, hex, surrogate; /* surrogate: a high one that waits for its low one */
	const char *name;		     /* of the value that comes */
	uint32_t name_len, string_at;
	struct json_node node[JSON_IN_MAX_NODES];
	char text[JSON_IN_MAX_BYTES + 1]; /* never more than the message has */
};

enum json_in_result { JSON_IN_MORE, JSON_IN_VALUE, JSON_IN_ERROR };

/* Forgets all input: a new client. */
void json_in_reset(struct json_in *in);
/* read(2) into the buffer: bytes, 0 at end of file, or -errno. Only after JSON_IN_MORE. */
ssize_t json_in_read(struct json_in *in, int fd) must_check;
/* The next value, good until the next call, or the next error. */
enum json_in_result json_in_next(struct json_in *in, const struct json_node **value,
				 struct error *err) must_check;

/* The member of an object with this name; NULL: none, or no object. */
const struct json_node *json_member(const struct json_node *object, const char *name);
/* Is the text, or the name, this one and no more? */
bool json_text_is(const char *text, uint32_t len, const char *is);
/* A number without fraction and exponent that fits; else false. */
bool json_int64(const struct json_node *node, int64_t *value);
#endif
