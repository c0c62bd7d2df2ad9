/* SPDX-License-Identifier: GPL-2.0-or-later */
/* fio writes a disk in random order with a seed of its own each pass, then reads all of it back and
 * compares: a block that was lost, doubled or put elsewhere since the pass began does not match. */
#include "guest.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

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

static void *run(void *argument)
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
	thread_start(run, NULL);
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
