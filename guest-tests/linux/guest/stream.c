/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "stream.h"
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9e3779b97f4a7c15U;
	return x ^ x >> 29;
}

static void fill(uint64_t *frame, uint64_t number, uint64_t side)
{
	uint64_t sum = side;

	frame[STREAM_NUMBER] = number;
	for (uint64_t i = STREAM_BODY; i < STREAM_SUM; i++)
		frame[i] = mix(number * STREAM_WORDS + i + (side << 60));
	for (int i = 0; i < STREAM_SUM; i++)
		sum = mix(sum ^ frame[i]) + (uint64_t)i;
	frame[STREAM_SUM] = sum;
}

/* As it must look, with the two words that only its sender knows. */
static void take_frame(struct stream *s)
{
	uint64_t expected[STREAM_WORDS], number = atomic_load(&s->received);

	expected[STREAM_RECEIVED] = s->in[STREAM_RECEIVED];
	expected[STREAM_WRONG] = s->in[STREAM_WRONG];
	fill(expected, number, !s->side);
	if (memcmp(expected, s->in, STREAM_BYTES)) {
		atomic_fetch_add(&s->wrong, 1);
		atomic_store(&s->received, s->in[STREAM_NUMBER]);
	}
	atomic_fetch_add(&s->received, 1);
	atomic_store(&s->peer_received, s->in[STREAM_RECEIVED]);
	atomic_store(&s->peer_wrong, s->in[STREAM_WRONG]);
	if (s->on_frame)
		s->on_frame(s);
}

static void make_frame(struct stream *s)
{
	s->out[STREAM_RECEIVED] = atomic_load(&s->received);
	s->out[STREAM_WRONG] = atomic_load(&s->wrong);
	fill(s->out, atomic_load(&s->sent), s->side);
	s->out_bytes = 0;
}

static int transient(void)
{
	return errno == EAGAIN || errno == EINTR;
}

static int send_some(struct stream *s)
{
	ssize_t n = send(s->fd, (char *)s->out + s->out_bytes, STREAM_BYTES - s->out_bytes,
			 MSG_NOSIGNAL);

	if (n < 0)
		return transient() ? 0 : -errno;
	s->out_bytes += (size_t)n;
	if (s->out_bytes == STREAM_BYTES)
		atomic_fetch_add(&s->sent, 1);
	return 0;
}

/* *open: false when the other side has closed. */
static int receive_all(struct stream *s, int *open)
{
	ssize_t n;

	while ((n = recv(s->fd, (char *)s->in + s->in_bytes, STREAM_BYTES - s->in_bytes, 0)) > 0) {
		s->in_bytes += (size_t)n;
		if (s->in_bytes == STREAM_BYTES) {
			s->in_bytes = 0;
			take_frame(s);
		}
	}
	*open = n != 0;
	return n < 0 && !transient() ? -errno : 0;
}

static int64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000 + t.tv_nsec / 1000000;
}

int stream_run(struct stream *s, unsigned int period_ms, const volatile sig_atomic_t *stop)
{
	int64_t next_ms = now_ms(), wait_ms;
	int ret = 0, open = 1, one = 1;

	setsockopt(s->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
	fcntl(s->fd, F_SETFL, O_NONBLOCK);
	s->out_bytes = STREAM_BYTES;
	while (!ret && open && !*stop) {
		struct pollfd event = {.fd = s->fd, .events = POLLIN};

		wait_ms = next_ms - now_ms();
		if (s->out_bytes == STREAM_BYTES && wait_ms <= 0) {
			make_frame(s);
			next_ms += period_ms - (wait_ms < -1000 ? wait_ms : 0);
		}
		if (s->out_bytes < STREAM_BYTES) {
			event.events |= POLLOUT;
			wait_ms = 1000;
		}
		poll(&event, 1, (int)wait_ms);
		if (s->out_bytes < STREAM_BYTES)
			ret = send_some(s);
		if (!ret)
			ret = receive_all(s, &open);
	}
	return ret;
}
