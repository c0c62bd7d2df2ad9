/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Chaotic maps iterated in vector registers (AVX where the CPU has it, else SSE) and on the x87
 * stack, with a rounding mode that is not the default. The first round's result is the reference:
 * one lost bit anywhere on the way gives another. The thread computes a good part of the time, so
 * that a save often finds live values in the registers. */
#include "guest.h"
#include <fenv.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#define STEPS 40000
#define LANES 4

typedef double lanes __attribute__((vector_size(LANES * sizeof(double))));

struct result {
	double vector[LANES];
	double x87;
	int64_t rounding; /* as wide as the others: no padding to compare */
};

static atomic_bool good = true;

/* A macro, as the compiler chooses the registers by the function it is in. */
#define ITERATE(out)                                             \
	do {                                                     \
		lanes x = {0.11, 0.23, 0.37, 0.41}, y = 1.0 - x; \
		lanes z = x * 0.5, r = {3.99, 3.98, 3.97, 3.96}; \
		for (int i = 0; i < STEPS; i++) {                \
			x = r * x * (1.0 - x);                   \
			y = r * y * (1.0 - y);                   \
			z = 0.5 * z + 0.25 * (x + y);            \
		}                                                \
		x += y + z;                                      \
		memcpy(out, &x, sizeof(x));                      \
	} while (0)

__attribute__((noinline, target("avx"))) static void iterate_avx(double *out)
{
	ITERATE(out);
}

__attribute__((noinline)) static void iterate_sse(double *out)
{
	ITERATE(out);
}

__attribute__((noinline)) static double iterate_x87(void)
{
	long double x = 0.3L, y = 0.6L;

	for (int i = 0; i < STEPS / 4; i++) {
		x = 3.99L * x * (1.0L - x);
		y = 0.5L * (y + x);
	}
	return (double)y;
}

static struct result compute(bool avx)
{
	struct result result;

	memset(&result, 0, sizeof(result));
	if (avx)
		iterate_avx(result.vector);
	else
		iterate_sse(result.vector);
	result.x87 = iterate_x87();
	result.rounding = fegetround();
	return result;
}

static void *run(void *argument)
{
	bool avx = __builtin_cpu_supports("avx");
	struct result reference, result;

	(void)argument;
	fesetround(FE_UPWARD);
	reference = compute(avx);
	for (;;) {
		usleep(20000);
		result = compute(avx);
		/* Bit for bit. NOLINTNEXTLINE(bugprone-suspicious-memory-comparison) */
		if (memcmp(&result, &reference, sizeof(result))) {
			atomic_store(&good, false);
			bad("fpu: x87 %.17g was %.17g, vector %.17g was %.17g, rounding %lld",
			    result.x87, reference.x87, result.vector[0], reference.vector[0],
			    (long long)result.rounding);
		}
	}
	return NULL;
}

void fpu_start(void)
{
	thread_start(run, NULL);
}

bool fpu_good(void)
{
	return atomic_load(&good);
}
