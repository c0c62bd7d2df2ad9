/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/json_out.h - writes JSON text: lines in ASCII, for one client or for all.
 * Owns: the buffer.
 * Threads: main only.
 * Errors: if memory fails, `failed` is set and nothing more is added; the caller checks it once, at the end.
 * QEMU docs/interop/qmp-spec: output is ASCII, lines end in CRLF. */
#ifndef QMP_JSON_OUT_H
#define QMP_JSON_OUT_H
#include "qmp/json_in.h"
#include "vmm/base/error.h"
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct json_out {
	char *data;
	size_t len, size;
	bool comma;  /* a value precedes the next one */
	bool failed; /* out of memory: the text is not complete */
};

/* Makes room: as many bytes can be added without failing. */
int json_out_reserve(struct json_out *out, size_t bytes) must_check;
/* name: of an object's member; NULL in arrays and at the top. */
void json_out_open(struct json_out *out, const char *name, char bracket);
void json_out_close(struct json_out *out, char bracket);
/* Bytes that are not valid UTF-8 (a path, a truncated message) become U+FFFD. */
void json_out_string(struct json_out *out, const char *name, const char *value);
void json_out_int(struct json_out *out, const char *name, int64_t value);
void json_out_uint(struct json_out *out, const char *name, uint64_t value);
void json_out_bool(struct json_out *out, const char *name, bool value);
/* A received value; numbers as they were written. */
void json_out_node(struct json_out *out, const char *name, const struct json_node *node);
void json_out_end_line(struct json_out *out);
/* Drops everything that was added after out->len was this. */
void json_out_rewind(struct json_out *out, size_t len);
void json_out_append(struct json_out *out, const struct json_out *from);
/* Sends without waiting. 0 even if some bytes are left. */
int json_out_send(struct json_out *out, int fd) must_check;
void json_out_free(struct json_out *out);
#endif
