/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What is written to disks, and proves itself. */
#include "guest.h"
#include <errno.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

/* fio writes a disk in random order with a seed of its own each pass, then reads all of it back and
 * compares: a block that was lost, doubled or put elsewhere since the pass began does not match. */
#define OUTPUT "/tmp/fio.out"

static const char *disk;

static void print_output(void)
{
	char line[256];
	FILE *f = fopen(OUTPUT, "re");

	while (f && fgets(line, sizeof(line), f))
		print("fio: %.200s", line);
	if (f)
		fclose(f);
}

static void *run_fio(void *argument)
{
	unsigned int pass = 0;
	char command[512];
	int status;

	(void)argument;
	while (!finishing()) {
		pass++;
		print("GUEST fio pass %u", pass);
		snprintf(command, sizeof(command),
			 "fio --name=pass --filename=%s --direct=1 --ioengine=libaio --iodepth=32 "
			 "--rw=randwrite --bsrange=4k-32k --verify=crc32c --verify_fatal=1 "
			 "--randseed=%u --thread >" OUTPUT " 2>&1",
			 disk, pass);
		status = system(command);
		if (status) {
			bad("fio pass %u: status %d", pass, WEXITSTATUS(status));
			print_output();
			return NULL;
		}
	}
	print("GUEST fio finished: %u passes without an error", pass);
	return NULL;
}

void fio_start(const char *path)
{
	if (!path)
		return;
	disk = path;
	thread_start(run_fio, NULL);
}

/* How much of it is with the disk now: "reads writes". */
size_t fio_poll(char *text, size_t size)
{
	char path[64], line[64];
	unsigned long reads, writes;
	char *end;

	if (!disk)
		return 0;
	snprintf(path, sizeof(path), "/sys/block/%s/inflight", strrchr(disk, '/') + 1);
	if (!read_line(path, line, sizeof(line)))
		return 0;
	reads = strtoul(line, &end, 10);
	writes = strtoul(end, NULL, 10);
	return (size_t)snprintf(text, size, " inflight=%lu", reads + writes);
}

/* Which writes the disk has acknowledged: numbers, one a block, written past the page cache and
 * without a flush. After each tick the last one acknowledged is printed: it has to be on the disk
 * once the guest is saved. */
#define JOURNALS    4
#define BLOCK_BYTES 4096
#define BLOCKS	    256
#define PAUSE_US    10000

static struct journal {
	const char *disk;
	atomic_ulong acknowledged;
} journal[JOURNALS];
static unsigned int journals;

static void *run_journal(void *argument)
{
	struct journal *j = argument;
	char *block = aligned_alloc(BLOCK_BYTES, BLOCK_BYTES);
	int fd = open(j->disk, O_WRONLY | O_DIRECT | O_CLOEXEC);

	/* The driver may still be looking for it. */
	for (int i = 0; fd < 0 && errno == ENOENT && i < 10000; i++) {
		usleep(PAUSE_US);
		fd = open(j->disk, O_WRONLY | O_DIRECT | O_CLOEXEC);
	}
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
	for (char *path = list ? strtok(list, ",") : NULL; path && journals < JOURNALS;
	     path = strtok(NULL, ",")) {
		journal[journals].disk = path;
		thread_start(run_journal, &journal[journals++]);
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
