/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/options.h - the command line as a struct, checked.
 * Owns: strings point into argv, which stays unchanged; they live as long as the process.
 * Threads: written once by main, read by all.
 * Units: bytes.
 * Errors: 0 or -EINVAL with one line that names the option, its value and what is allowed. */
#ifndef VMM_OPTIONS_H
#define VMM_OPTIONS_H
#include "ram/ram.h"
#include "vmm/base/error.h"
#include "vmm/option_table.h"
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

struct config_text;

#define OPTIONS_MAX_CPUS   64
#define OPTIONS_MAX_DISKS  16
#define OPTIONS_MAX_NETS   8
#define OPTIONS_MAX_VFIOS  16
#define OPTIONS_MAX_QUEUES 8
#define OPTIONS_ID_BYTES   32

/* What the process is to do. */
enum options_job {
	JOB_RUN,
	JOB_HELP,
	JOB_VERSION,
	JOB_SHOW,
	JOB_COMPARE,
	JOB_INSPECT,
	JOB_INSPECT_MEMORY
};
enum chardev_kind { CHARDEV_NONE, CHARDEV_STDIO, CHARDEV_UNIX, CHARDEV_FILE };
enum disk_cache { DISK_CACHE_NONE, DISK_CACHE_WRITEBACK };
enum net_kind { NET_TAP, NET_STREAM, NET_FD };
enum on_off_auto { AUTO_AUTO, AUTO_OFF, AUTO_ON };
enum on_reset { ON_RESET_RESET, ON_RESET_EXIT };
enum update { UPDATE_SAVE, UPDATE_SUSPEND, UPDATE_SHUTDOWN };
enum incoming { INCOMING_NO, INCOMING_DEFER, INCOMING_FILE };

struct chardev_config {
	enum chardev_kind kind;
	const char *path;
	const char *option; /* "--serial": the option, for messages */
};

/* --disk */
struct disk_config {
	char id[OPTIONS_ID_BYTES]; /* for QMP and messages; default "disk0", "disk1" ... */
	char path[4096];
	char serial[21]; /* what GET_ID answers: up to 20 bytes */
	bool readonly;
	bool only_look; /* for --check: no lock is taken, only looked for */
	bool is_raw;	/* format=raw was given: raw even if it looks like another format */
	enum disk_cache cache;
	uint32_t queues;     /* 1 to OPTIONS_MAX_QUEUES, default 1 */
	uint32_t queue_size; /* a power of two, 16 to 1024, default 256 */
};

/* --net */
struct net_config {
	char id[OPTIONS_ID_BYTES]; /* default "net0", "net1" ... */
	enum net_kind kind;
	char path[4096]; /* tap: interface name; stream: socket */
	char bridge[16]; /* IFNAMSIZ. The tap is made by this process and put into it; "": not so */
	bool only_look;	 /* for --check: no tap is made */
	int fd;		 /* NET_FD: an inherited tap or stream socket */
	/* Never zero: from the option or derived from the VM's uuid and the index. */
	uint8_t mac[6];
	uint32_t queues;	/* pairs, 1 to OPTIONS_MAX_QUEUES */
	enum on_off_auto vhost; /* auto: where the host has /dev/vhost-net */
};

/* --vfio */
struct vfio_config {
	char id[OPTIONS_ID_BYTES]; /* default "vfio0", "vfio1" ... */
	char host[16];		   /* "0000:01:00.0" */
};

struct options {
	enum options_job job;
	const char *config_path;    /* of the configuration file; NULL: none */
	const char *config_name;    /* of that file without ".conf"; NULL: none */
	struct config_text *config; /* its text; never freed */
	struct option_givens given; /* all options; never freed */
	const char *name;
	/* From --uuid, or derived from --name, or random. */
	uint8_t uuid[16];
	bool has_uuid;
	bool has_identity; /* the uuid is not random: it names this VM in every process */
	uint32_t cpus;
	struct ram_config memory;
	char memory_path[4096];		      /* what memory.path points to */
	const char *kernel, *initrd, *append; /* append is never NULL */
	struct chardev_config serial;
	struct disk_config *disk; /* allocated; never freed */
	struct net_config *net;
	struct vfio_config *vfio;
	uint32_t ndisks, nnets, nvfios;
	struct chardev_config
		console;	     /* --console: virtio-console, hvc0; CHARDEV_NONE: not given */
	struct chardev_config agent; /* --agent: port org.qemu.guest_agent.0 */
	bool has_console, has_agent;
	bool rng;
	uint32_t vsock_cid;   /* 0: no vsock */
	const char *qmp_path; /* NULL: no QMP */
	bool paused, discard_saved;
	bool check; /* check whether it would start; create, write and run nothing */
	enum incoming incoming;
	const char *incoming_file;
	const char *cpr_file;
	bool default_cpr_file; /* it follows from the configuration file's name */
	enum on_reset on_reset;
	enum update update; /* for scripts: what an update of the host does to the guest */
	bool pit;
	bool s3;	     /* --machine s3=: the guest can sleep (ACPI S3) */
	bool clock_realtime; /* --machine clock=realtime: kvmclock catches up after a load */
	int log_level;
	const char *inspect_path;
	const char *compare_path; /* of the cprinfo of a running VM; "-": stdin */
	bool json;
};

/* A row for each option. */
extern const struct option_row options_rows[];

int options_parse(struct options *opt, int argc, char **argv, struct error *err) must_check;
/* What options_parse() has allocated, whatever it returned. A VM's own are never freed. */
void options_free(struct options *opt);
/* Refuses a path that is given to two options which cannot share it, for it is clear here whose fault it is: opening
 * it would blame another process. */
int options_check_paths(const struct options *opt, struct error *err) must_check;
/* The options that count, as lines of a configuration file: "cpus 4", "rng", "append=". Each call gives the next one in
 * three pieces that belong together; *at begins with 0. False: no more. */
struct options_line {
	const char *name, *separator, *value;
};
bool options_line(const struct options *opt, uint32_t *at, struct options_line *line);
/* Prints them. */
void options_show(const struct options *opt);
/* Prints a line for each option of `now` that would refuse to load a guest which runs with `was`. Returns how many. */
uint32_t options_compare(const struct options *now, const struct options *was, FILE *out);
/* Prints the text of --help, made from the table that parses. */
void options_help(void);
#endif
