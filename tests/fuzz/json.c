/* SPDX-License-Identifier: GPL-2.0-or-later */
/* A QMP client that sends any bytes, in pieces of any size. However they are cut, the same values and errors come
 * out, and each value written again is the same value. */
#include "qmp/json.h"
#include "tests/fuzz/fuzz.h"
#include "vmm/base/log.h"
#include <check.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

#define MAX_BYTES 4096 /* a pipe takes as many without waiting */

static struct json_in in;

/* Adds a line for each value or error that is in what was read. */
static void take_all(struct json_out *out)
{
	const struct json_node *value;
	enum json_in_result result;
	struct error err = {""};

	while ((result = json_in_next(&in, &value, &err)) != JSON_IN_MORE) {
		if (result == JSON_IN_VALUE)
			json_out_node(out, value);
		else
			json_out_add(out, "'%s'", err.msg);
		json_out_add(out, "\r\n");
	}
}

/* All of data, in pieces of piece_bytes. */
static void parse(struct json_out *out, const uint8_t *data, size_t size, size_t piece_bytes)
{
	int fd[2];

	ck_assert_int_eq(pipe2(fd, O_NONBLOCK | O_CLOEXEC), 0);
	json_in_reset(&in);
	for (size_t at = 0, n; at < size; at += n) {
		n = size - at < piece_bytes ? size - at : piece_bytes;
		ck_assert_int_eq(write(fd[1], data + at, n), (ssize_t)n);
		ck_assert_int_eq(json_in_read(&in, fd[0]), (ssize_t)n);
		take_all(out);
	}
	close(fd[0]);
	close(fd[1]);
}

static void assert_same(const struct json_out *a, const struct json_out *b)
{
	ck_assert(!a->failed && !b->failed);
	ck_assert_uint_eq(a->len, b->len);
	ck_assert(!a->len || !memcmp(a->data, b->data, a->len));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct json_out whole = {0}, pieces = {0}, again = {0};
	struct fuzz fuzz = {data, size < MAX_BYTES ? size : MAX_BYTES};
	size_t piece_bytes = 1 + fuzz_take(&fuzz, 1) % 16;

	log_init(LOG_ERROR, "fuzz");
	parse(&whole, fuzz.data, fuzz.left, MAX_BYTES);
	parse(&pieces, fuzz.data, fuzz.left, piece_bytes);
	assert_same(&whole, &pieces);
	/* What was written is JSON, whose parts are the same: an error's text is a string there. */
	if (whole.len <= MAX_BYTES) {
		parse(&again, (const uint8_t *)whole.data, whole.len, MAX_BYTES);
		assert_same(&whole, &again);
	}
	json_out_free(&whole);
	json_out_free(&pieces);
	json_out_free(&again);
	return 0;
}
