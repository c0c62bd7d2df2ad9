/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * stamp START: standard input to standard output, each line with the seconds since START (seconds
 * of the epoch) in front, taken when its first character came. Carriage returns are dropped.
 * stamp -k: the rate of this machine's TSC in kHz.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>
#include <x86intrin.h>

static double now_s(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static int print_tsc_khz(void)
{
	double start_s = now_s(CLOCK_MONOTONIC);
	unsigned long long start_tsc = __rdtsc();

	usleep(200000);
	printf("%.0f\n",
	       (double)(__rdtsc() - start_tsc) / (now_s(CLOCK_MONOTONIC) - start_s) / 1e3);
	return 0;
}

int main(int argc, char **argv)
{
	char buffer[4096];
	int line_start = 1;
	double start_s;
	ssize_t n;

	if (argc != 2)
		return 2;
	if (!strcmp(argv[1], "-k"))
		return print_tsc_khz();
	start_s = atof(argv[1]);
	while ((n = read(0, buffer, sizeof(buffer))) > 0) {
		double now = now_s(CLOCK_REALTIME) - start_s;

		for (ssize_t i = 0; i < n; i++) {
			if (buffer[i] == '\r')
				continue;
			if (line_start)
				printf("%9.3f ", now);
			putchar(buffer[i]);
			line_start = buffer[i] == '\n';
		}
		fflush(stdout);
	}
	return 0;
}
