/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Which writes the disk has acknowledged: numbers, one a block, written past the page cache and
 * without a flush. After each tick the last one acknowledged is printed: it has to be on the disk
 * once the guest is saved. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define JOURNALS    4
#define BLOCK_BYTES 4096
#define BLOCKS	    256
#define PAUSE_US    10000

static struct journal {
	const char *disk;
	atomic_ulong acknowledged;
} journal[JOURNALS];
static unsigned int journals;

static void *run(void *argument)
{
	struct journal *j = argument;
	int fd = open(j->disk, O_WRONLY | O_DIRECT | O_CLOEXEC);
	char *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);

	if (fd < 0 || !block) {
		bad("journal: %s: %s", j->disk, strerror(errno));
		return NULL;
	}
	for (unsigned long number = 1; !finishing(); number++) {
		memset(block, 0, BLOCK_BYTES);
		snprintf(block, BLOCK_BYTES, "journal %lu\n", number);
		if (pwrite(fd, block, BLOCK_BYTES, (off_t)(number % BLOCKS) * BLOCK_BYTES) !=
		    BLOCK_BYTES)
			bad("journal: %s: %s", j->disk, strerror(errno));
		else
			atomic_store(&j->acknowledged, number);
		usleep(PAUSE_US);
	}
	close(fd);
	return NULL;
}

void journal_start(const char *disks)
{
	static char *list; /* journal[] points into it */

	list = disks ? strdup(disks) : NULL;
	for (char *disk = list ? strtok(list, ",") : NULL; disk && journals < JOURNALS;
	     disk = strtok(NULL, ",")) {
		journal[journals].disk = disk;
		thread_start(run, &journal[journals++]);
	}
}

size_t journal_poll(char *text, size_t size)
{
	size_t n = 0;

	for (unsigned int i = 0; i < journals && n < size; i++)
		n += (size_t)snprintf(text + n, size - n, " %s=%lu", journal[i].disk,
				      atomic_load(&journal[i].acknowledged));
	return n;
}
