/* SPDX-License-Identifier: GPL-2.0-or-later */
/* qmp/ctl/vms.h - the VMs of this host: those with a file /etc/stasis/NAME.conf, and those that run with a socket
 * /run/stasis/NAME/qmp.
 *
 *	vms_find(&vms, &err);		// their names, by folders alone
 *	vms_look(&vms.vm[i]);		// or vms_look_all(&vms): asks stasis, the VM and the label of its RAM
 *	vms_free(&vms);
 *
 * What goes wrong with one VM is a state of that VM, with the reason in ->why; it neither fails nor holds up the others.
 * The environment variable STASIS_ROOT is put before /etc/stasis, /run/stasis and /sys, for tests.
 * Owns: a VM's texts and JSON are its own, until vms_free().
 * Threads: one at a time for each VM.
 * Units: bytes, seconds. */
#ifndef QMP_CTL_VMS_H
#define QMP_CTL_VMS_H
#include "vmm/base/error.h"
#include <json-c/json.h>
#include <stdbool.h>
#include <stdint.h>

#define VMS_LIMIT_S 3.0 /* for each answer of a VM, and for each run of stasis */

enum vms_reach {
	VMS_OFF,	 /* no process serves it */
	VMS_SERVES,	 /* it answers */
	VMS_BUSY,	 /* a process has its socket, and serves others or does something long */
	VMS_UNREACHABLE, /* nobody knows */
};
/* What the label of RAM says. It is asked only while no process serves the VM. */
enum vms_label { VMS_LABEL_UNKNOWN, VMS_LABEL_NONE, VMS_LABEL_RUNNING, VMS_LABEL_SAVED };

struct vms_ram {
	char *path;			   /* NULL: a memfd, or unknown */
	uint64_t offset_bytes, size_bytes; /* size 0: unknown */
};

struct vms_vm {
	char *name;
	char *file;   /* its configuration; NULL: it has none */
	char *socket; /* where it serves QMP if it runs */

	/* After vms_look() */
	char *options; /* the lines of `stasis --config FILE --show`, each ended by a NUL, up to an empty one; NULL: see
			  fault */
	char *fault; /* what stasis has against the file; NULL: nothing, or there is no file */
	struct vms_ram ram;	 /* that of its process if it serves, else that of its file */
	struct vms_ram file_ram; /* that of its file, which may have been edited since it started */
	uint32_t cpus;		 /* 0: unknown */
	enum vms_reach reach;
	enum vms_label label;
	char *why; /* busy, unreachable, or a label that cannot be read: the reason; else NULL */
	/* Of a VM that serves: what these commands have returned, by name: query-status, query-version, cprinfo,
	 * query-cpus-fast, query-chardev, query-cpr. One that the VM does not know is missing. */
	struct json_object *answers;
};

struct vms {
	struct vms_vm *vm; /* by name */
	size_t n;
};

int vms_find(struct vms *vms, struct error *err) must_check;
void vms_look(struct vms_vm *vm);
/* All at the same time. */
void vms_look_all(struct vms *vms);
void vms_free(struct vms *vms);

/* Calls fn for each of n, for `jobs` of them at a time. */
void vms_each(size_t n, size_t jobs, void (*fn)(void *opaque, size_t i), void *opaque);

/* One VM, looked at. It need not exist: then there is neither file nor socket. */
void vms_get(struct vms_vm *vm, const char *name);
void vms_put(struct vms_vm *vm);

/* A name that a file and a unit can have. One that begins with a dot would be a hidden file, one with a dash an option. */
#define VMS_NAME_HELP "up to 64 letters, digits and . _ - + : @, of which . and - are not the first"
bool vms_is_name(const char *name);
/* Has it a file, or a process? */
bool vms_exists(const struct vms_vm *vm);
/* One word: the run state of one that serves, else "busy", "unreachable", "faulty", "saved" or "off". */
const char *vms_state(const struct vms_vm *vm);
/* Why it is so, or NULL. */
const char *vms_reason(const struct vms_vm *vm);
/* The value of its option, such as "memory"; "" if it takes none; NULL: it is not given. *at begins with NULL and moves
 * on, for options that come more than once; at may be NULL. */
const char *vms_option(const struct vms_vm *vm, const char *name, const char **at);
/* The value of a key in a list such as "size=1G,path=/dev/dax0.0"; the caller frees it. NULL: it is not there. */
char *vms_list_value(const char *list, const char *key);
/* A path of this host below STASIS_ROOT; the caller frees it. */
char *vms_path(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

/* *options of vms_vm from any configuration file; the caller frees it. */
int vms_show(const char *file, char **options, struct error *err) must_check;
#endif
