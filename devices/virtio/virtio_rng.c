/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Entropy from the host's getrandom(2). virtio 1.2, 5.4. */
#include "devices/virtio/virtio.h"
#include "vmm/vm.h"
#include <linux/virtio_ids.h>
#include <sys/epoll.h>
#include <sys/random.h>

#define QUEUE	    0
#define QUEUE_SIZE  64
#define MAX_BUFFERS 64
/* Of a chain: a driver that wants more asks again. */
#define MAX_BYTES 4096

struct rng_state {
	struct virtio_state virtio;
};
#define RNG_STATE(F, A, V, T) VIRTIO_STATE_ROWS(F, A, V, T)

struct rng {
	struct virtio virtio;
	struct rng_state s;
};

static const char *rng_check(const void *state)
{
	const struct rng_state *s = state;

	return virtio_check(&s->virtio);
}
STATE_DEFINE(rng_state, RNG_STATE, "virtio-rng", rng_check);

static uint32_t fill(const struct virtq_chain *chain)
{
	uint64_t want = chain->write_bytes < MAX_BYTES ? chain->write_bytes : MAX_BYTES;
	uint8_t bytes[MAX_BYTES];
	ssize_t n = getrandom(bytes, want, GRND_NONBLOCK);

	return n > 0 ? (uint32_t)virtq_write(chain, 0, bytes, (uint64_t)n) : 0;
}

static void kicked(void *opaque, uint32_t events)
{
	struct virtio *v = opaque;
	struct virtq *q = &v->queue[QUEUE].q;
	struct iovec iov[MAX_BUFFERS];
	struct virtq_chain chain = {.iov = iov};
	struct error err;
	int ret = 0;

	virtio_take_kick(v, QUEUE);
	if (atomic_load(&v->broken))
		return;
	/* Once around the queue: the main loop has other work, too. */
	for (uint32_t i = 0; i < q->size; i++) {
		ret = virtq_pop(q, &chain, MAX_BUFFERS, &err);
		if (ret <= 0)
			break;
		virtq_push(q, chain.head, fill(&chain));
	}
	if (ret < 0)
		virtio_broken(v, QUEUE, err.msg);
	else if (virtq_want_kicks(q))
		virtio_kick(v, QUEUE);
	virtio_used(v, QUEUE);
}

static void rng_start(struct virtio *v)
{
	struct virtio_queue *queue = &v->queue[QUEUE];

	if (queue->running &&
	    loop_add(&v->dev.vm->loop, queue->kick_fd, EPOLLIN, kicked, v, &v->dev.lock))
		virtio_broken(v, QUEUE, "no room for one more descriptor");
}

static int rng_stop(struct virtio *v, uint64_t deadline_ns, struct error *err)
{
	loop_del(&v->dev.vm->loop, v->queue[QUEUE].kick_fd);
	return 0;
}

static const struct virtio_ops rng_virtio_ops = {
	.id = VIRTIO_ID_RNG,
	.class_code = 0xff0000, /* none of the defined classes */
	.start = rng_start,
	.stop = rng_stop,
};

static uint32_t rng_count(const struct options *opt)
{
	return opt->rng;
}

static int rng_attach(struct device *dev, struct vm *vm, struct error *err)
{
	struct rng *rng = container_of(dev, struct rng, virtio.dev);

	rng->virtio.ops = &rng_virtio_ops;
	rng->virtio.nqueues = 1;
	rng->virtio.queue[QUEUE].max_size = QUEUE_SIZE;
	return virtio_attach(&rng->virtio, vm, err);
}

const struct device_ops rng_ops = {
	.type = "virtio-rng",
	.name = "rng",
	.count = rng_count,
	.needs = &pci_host_ops,
	.state = &rng_state_desc,
	DEVICE_STRUCT(struct rng),
	.attach = rng_attach,
	.detach = virtio_detach,
	.reset = virtio_reset,
	.pause = virtio_pause,
	.compare = virtio_compare,
	.post_load = virtio_post_load,
	.resume = virtio_resume,
};
