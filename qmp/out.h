/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/out.h - what is yet to be sent to the client: JSON lines in ASCII, never more than a limit.
 * Owns: the buffer.
 * Threads: main only.
 * Units: bytes.
 * Errors: -ENOBUFS: the client does not read; -errno of send(2) or malloc(3).
 *	QEMU docs/interop/qmp-spec: output is ASCII, lines end in CRLF. */
#ifndef QMP_OUT_H
#define QMP_OUT_H
#include "vmm/error.h"
#include <json-c/json.h>
#include <stddef.h>

#define OUT_MAX_BYTES 262144

struct out {
	char *data;
	size_t len, size;
};

/* One line. What is no valid UTF-8 (a path, a message cut short) becomes U+FFFD. */
int out_json(struct out *out, struct json_object *object) must_check;
/* Sends without waiting. 0 even if something is left. */
int out_send(struct out *out, int fd) must_check;
void out_free(struct out *out);
#endif
