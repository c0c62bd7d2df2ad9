/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/vcpu.h - vCPU threads: run, pause, resume.
 * Owns: the vCPU descriptor, its kvm_run page and its thread.
 * Threads: main only, except vcpu_stop_here(). A vCPU thread owns its descriptor while the VM runs; between
 * vcpus_pause() and vcpus_resume() the main thread owns it, without a lock.
 * Errors: 0 or -errno. Documentation/virt/kvm/api.rst, 5. "The kvm_run structure". */
#ifndef VMM_VCPU_H
#define VMM_VCPU_H
#include "vmm/base/error.h"
#include <linux/kvm.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vm;

struct vcpu {
	struct vm *vm;
	uint32_t id;
	int fd;
	struct kvm_run *run;
	size_t run_bytes;
	pthread_t thread;
	bool has_thread;
	pid_t tid;
	bool parked; /* under vm->vcpu_lock: out of KVM_RUN, no exit half served */
	bool held;   /* cannot go on (triple fault, error): stays parked until vcpus_release() */
};

int vcpus_create(struct vm *vm, struct error *err) must_check;
void vcpus_destroy(struct vm *vm);
/* On return every vCPU is out of KVM_RUN and all exits are served. Idempotent. */
void vcpus_pause(struct vm *vm);
void vcpus_resume(struct vm *vm);
/* After a reset: a vCPU that could not go on may run again. */
void vcpus_release(struct vm *vm);
/* On any thread, in a signal handler: if this is a vCPU's thread, the vCPU runs no further instruction. */
void vcpu_stop_here(struct vm *vm);
#endif
