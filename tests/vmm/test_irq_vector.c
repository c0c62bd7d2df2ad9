/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Vectors that an eventfd raises. The rig stands for KVM: what an eventfd has counted while it was attached to
 * a route is what the guest gets. */
#include "vmm/irq.h"
#include "tests/rig/device_rig.h"
#include "tests/rig/unit.h"
#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define VECTORS 3

static struct irq_vector vector[VECTORS];
static struct irq_vectors vectors;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint32_t served[VECTORS]; /* by the fallback */

static void fallback(void *opaque, uint32_t events)
{
	struct irq_vector *v = opaque;
	eventfd_t n;

	ck_assert_int_eq(pthread_mutex_trylock(&lock), EBUSY);
	ck_assert(!v->attached);
	ck_assert_int_eq(eventfd_read(v->fd, &n), 0);
	served[v - vector] += (uint32_t)n;
}

static void setup(void)
{
	rig_open();
	memset(served, 0, sizeof(served));
	for (uint32_t i = 0; i < VECTORS; i++)
		vector[i] = (struct irq_vector){.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK),
						.opaque = &vector[i]};
	vectors = (struct irq_vectors){.irq = &rig.vm.irq, .name = "fake0", .vector = vector};
}

static void with_fallback(void)
{
	vectors.fallback = fallback;
	vectors.loop = &rig.vm.loop;
	vectors.lock = &lock;
}

static uint32_t nroutes(void)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		n += rig.route[i].used;
	return n;
}

static void teardown(void)
{
	for (uint32_t i = 0; i < VECTORS; i++) {
		irq_vector_release(&vectors, i);
		if (vector[i].fd >= 0)
			close(vector[i].fd);
	}
	ck_assert_uint_eq(nroutes(), 0);
	rig_spin(); /* nothing is left in the loop */
	rig_close();
}

static void unmask(uint32_t i, uint32_t data)
{
	irq_vector_set(&vectors, i, &(struct irq_msi){0xfee00000, data});
}

static void mask(uint32_t i)
{
	irq_vector_set(&vectors, i, NULL);
}

static void commit(void)
{
	irq_vectors_commit(&vectors, 0, VECTORS);
}

/* What the guest has got, by this message, since it was last asked. */
static uint64_t got(uint32_t data)
{
	eventfd_t n;

	for (uint32_t i = 0; i < IRQ_MAX_ROUTES; i++)
		if (rig.route[i].fd && rig.route[i].msi.data == data) {
			ck_assert(rig.route[i].committed);
			return eventfd_read(rig.route[i].fd, &n) ? 0 : n;
		}
	return 0;
}

TEST(unmasked_vectors_are_sent)
{
	unmask(0, 10);
	unmask(2, 12);
	ck_assert(!vector[0].attached);
	commit();
	ck_assert_uint_eq(nroutes(), 2);
	ck_assert_uint_eq(rig.commits, 1);
	irq_vector_raise(&vector[0]);
	irq_vector_raise(&vector[2]);
	ck_assert_uint_eq(got(10), 1);
	ck_assert_uint_eq(got(12), 1);
}

TEST(masked_vectors_wait)
{
	unmask(0, 10);
	commit();
	mask(0);
	commit();
	irq_vector_raise(&vector[0]);
	ck_assert(irq_vector_pending(&vector[0]));
	ck_assert(irq_vector_pending(&vector[0])); /* still */
	ck_assert(!irq_vector_pending(&vector[1]));
	unmask(0, 10);
	commit();
	ck_assert_uint_eq(got(10), 1);
	ck_assert(!irq_vector_pending(&vector[0]));
	/* The route stayed: KVM has its message already. */
	ck_assert_uint_eq(rig.commits, 1);
}

TEST(message_changes)
{
	unmask(0, 10);
	commit();
	unmask(0, 11);
	commit();
	ck_assert_uint_eq(nroutes(), 1);
	ck_assert_uint_eq(rig.commits, 2);
	irq_vector_raise(&vector[0]);
	ck_assert_uint_eq(got(11), 1);
}

TEST(commit_of_a_part)
{
	unmask(0, 10);
	unmask(1, 11);
	irq_vectors_commit(&vectors, 1, 2);
	ck_assert(vector[1].attached && !vector[0].attached);
	commit();
	ck_assert(vector[0].attached);
}

/* A route that KVM does not have may still lead elsewhere. */
TEST(commit_fails)
{
	unmask(0, 10);
	commit();
	rig.commit_fails = true;
	unmask(0, 11);
	unmask(1, 21);
	commit();
	ck_assert_uint_eq(nroutes(), 0);
	irq_vector_raise(&vector[0]);
	ck_assert(irq_vector_pending(&vector[0]));
	rig.commit_fails = false;
	unmask(0, 11);
	mask(1);
	commit();
	ck_assert_uint_eq(got(11), 1);
}

TEST(attach_fails)
{
	rig.attach_fails = true;
	unmask(0, 10);
	irq_vector_raise(&vector[0]);
	commit();
	ck_assert(irq_vector_pending(&vector[0]));
	rig.attach_fails = false;
	commit();
	ck_assert_uint_eq(got(10), 1);
}

TEST(fallback_serves_what_kvm_does_not)
{
	with_fallback();
	commit();
	irq_vector_raise(&vector[0]);
	rig_spin();
	ck_assert_uint_eq(served[0], 1);
	unmask(0, 10);
	commit();
	irq_vector_raise(&vector[0]);
	rig_spin();
	ck_assert_uint_eq(served[0], 1);
	ck_assert_uint_eq(got(10), 1);
	mask(0);
	commit();
	irq_vector_raise(&vector[0]);
	rig_spin();
	ck_assert_uint_eq(served[0], 2);
	rig.attach_fails = true;
	unmask(0, 10);
	commit();
	irq_vector_raise(&vector[0]);
	rig_spin();
	ck_assert_uint_eq(served[0], 3);
	irq_vector_release(&vectors, 0);
	irq_vector_raise(&vector[0]);
	rig_spin();
	ck_assert_uint_eq(served[0], 3);
}

/* A device that does not use a vector yet. */
TEST(without_a_descriptor)
{
	with_fallback();
	close(vector[1].fd);
	vector[1].fd = -1;
	unmask(1, 11);
	commit();
	ck_assert(!vector[1].attached && !irq_vector_pending(&vector[1]));
	irq_vector_release(&vectors, 1);
	ck_assert_uint_eq(nroutes(), 0);
}

UNIT_MAIN(setup, teardown)
