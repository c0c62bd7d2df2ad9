/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/irq.h"
#include "vmm/base/log.h"
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

void irq_vector_raise(const struct irq_vector *vector)
{
	(void)eventfd_write(vector->fd, 1); /* fails only if it is raised already */
}

bool irq_vector_pending(const struct irq_vector *vector)
{
	struct pollfd pollfd = {.fd = vector->fd, .events = POLLIN};

	return vector->fd >= 0 && !vector->attached && poll(&pollfd, 1, 0) == 1;
}

/* The route stays when the vector is masked: guests mask and unmask often. */
static bool set_route(struct irq_vectors *vectors, struct irq_vector *v, const struct irq_msi *msi)
{
	struct error err;

	if (v->gsi && v->msi.address == msi->address && v->msi.data == msi->data)
		return true;
	if (!v->gsi && irq_route_alloc(vectors->irq, &v->gsi, &err)) {
		log_guest("%s: %s", vectors->name, err.msg);
		return false;
	}
	v->msi = *msi;
	v->changed = true;
	irq_route_set(vectors->irq, v->gsi, msi);
	return true;
}

void irq_vector_set(struct irq_vectors *vectors, uint32_t i, const struct irq_msi *msi)
{
	struct irq_vector *v = &vectors->vector[i];

	v->unmasked = msi && set_route(vectors, v, msi);
}

static void detach(struct irq_vectors *vectors, struct irq_vector *v)
{
	if (v->attached)
		irq_detach_fd(vectors->irq, v->gsi, v->fd);
	v->attached = false;
}

/* KVM sends what is pending in fd, but leaves it there: it would be pending again after the next mask. */
static void attach(struct irq_vectors *vectors, struct irq_vector *v)
{
	struct error err;
	eventfd_t n;
	bool pending;

	if (v->attached || v->fd < 0)
		return;
	pending = !eventfd_read(v->fd, &n);
	v->attached = !irq_attach_fd(vectors->irq, v->gsi, v->fd, &err);
	if (!v->attached)
		log_guest("%s: %s", vectors->name, err.msg);
	if (pending)
		irq_vector_raise(v);
}

static void free_route(struct irq_vectors *vectors, struct irq_vector *v)
{
	detach(vectors, v);
	if (v->gsi)
		irq_route_free(vectors->irq, v->gsi);
	v->gsi = 0;
	v->unmasked = v->changed = false;
}

static void serve_in_loop(struct irq_vectors *vectors, struct irq_vector *v, bool on)
{
	if (!on && v->in_loop)
		loop_del(vectors->loop, v->fd);
	if (on && !v->in_loop &&
	    loop_add(vectors->loop, v->fd, EPOLLIN, vectors->fallback, v->opaque, vectors->lock)) {
		log_error("%s: no room for one more descriptor: interrupts are lost",
			  vectors->name);
		on = false;
	}
	v->in_loop = on;
}

void irq_vectors_commit(struct irq_vectors *vectors, uint32_t first, uint32_t end)
{
	bool any = false, failed;
	struct error err;

	for (uint32_t i = first; i < end; i++)
		any |= vectors->vector[i].changed;
	failed = any && irq_route_commit(vectors->irq, &err);
	if (failed)
		log_guest("%s: %s", vectors->name, err.msg);
	for (uint32_t i = first; i < end; i++) {
		struct irq_vector *v = &vectors->vector[i];

		if (failed && v->changed)
			free_route(vectors, v);
		v->changed = false;
		if (v->unmasked)
			attach(vectors, v);
		else
			detach(vectors, v);
		serve_in_loop(vectors, v, vectors->fallback && v->fd >= 0 && !v->attached);
	}
}

void irq_vector_release(struct irq_vectors *vectors, uint32_t i)
{
	struct irq_vector *v = &vectors->vector[i];

	serve_in_loop(vectors, v, false);
	free_route(vectors, v);
}
