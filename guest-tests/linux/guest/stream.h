/* SPDX-License-Identifier: GPL-2.0-or-later */
/* stream.h - a byte stream that proves itself: frames with a number, a pattern made from it and a
 * sum, both ways at once. A byte lost, doubled or changed anywhere makes a frame or its number wrong.
 * Owns: nothing; the caller's socket stays open.
 * Threads: stream_run() by one; the counters may be read by any.
 * Units: frames of STREAM_BYTES; _ms.
 * Errors: 0 when the other side closed or *stop was set, else -errno. */
#ifndef STREAM_H
#define STREAM_H
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

#define STREAM_WORDS 128
#define STREAM_BYTES (STREAM_WORDS * sizeof(uint64_t))

/* STREAM_RECEIVED and STREAM_WRONG tell the other side what this one has received and found wrong. */
enum { STREAM_NUMBER, STREAM_RECEIVED, STREAM_WRONG, STREAM_BODY, STREAM_SUM = STREAM_WORDS - 1 };

struct stream {
	int fd;
	uint64_t side; /* 0 or 1, the other side the other: nobody takes an echo for a frame */
	void (*on_frame)(struct stream *s); /* after each that came; may be NULL */
	_Atomic uint64_t sent, received, wrong;
	_Atomic uint64_t peer_received, peer_wrong; /* as its latest frame says */
	uint64_t out[STREAM_WORDS], in[STREAM_WORDS];
	size_t out_bytes, in_bytes;
};

/* A frame each period_ms. */
int stream_run(struct stream *s, unsigned int period_ms, const volatile sig_atomic_t *stop);
#endif
