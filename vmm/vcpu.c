/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vm.h"
#include "vmm/base/log.h"
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define KICK_SIGNAL SIGUSR1

/* Linux 6.8; Debian 12's headers are older. */
#ifndef KVM_EXIT_MEMORY_FAULT
#define KVM_EXIT_MEMORY_FAULT 39
#endif
struct memory_fault_exit {
	uint64_t flags, gpa, size_bytes;
};

static __thread struct vcpu *self;

/* The next KVM_RUN ends at once, whatever the thread does now: no kick is lost. */
static void kick(int signal)
{
	if (self)
		self->run->immediate_exit = 1;
}

static void serve_io(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	for (uint32_t i = 0; i < run->io.count; i++, data += run->io.size)
		bus_access(&vcpu->vm->bus, BUS_PIO, run->io.port, data, run->io.size,
			   run->io.direction == KVM_EXIT_IO_OUT);
}

static void fail(struct vcpu *vcpu, const char *what)
{
	log_error("vCPU %u: %s: the VM stops as internal-error", vcpu->id, what);
	arch_log_registers(vcpu);
	vcpu->held = true;
	vm_request(vcpu->vm, VM_REQUEST_ERROR);
}

/* With the cause, if its RAM file knows one. */
static void ram_failed(struct vcpu *vcpu, const char *what)
{
	struct error why = {""};

	if (ram_fault_reason(&vcpu->vm->ram, &why))
		error_prefix(&why, "%s", what);
	fail(vcpu, *why.msg ? why.msg : what);
}

static void serve_internal_error(struct vcpu *vcpu)
{
	const struct kvm_run *run = vcpu->run;
	char what[200];
	int n;

	n = snprintf(what, sizeof(what), "KVM internal error, suberror %u, data",
		     run->internal.suberror);
	for (uint32_t i = 0; i < run->internal.ndata && i < 6; i++)
		n += snprintf(what + n, sizeof(what) - (size_t)n, " %#llx",
			      (unsigned long long)run->internal.data[i]);
	fail(vcpu, what);
}

static void serve_mmio(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char what[100];

	/* KVM's emulator asks the VMM for RAM that it cannot reach itself. */
	if (ram_ptr(&vcpu->vm->ram, run->mmio.phys_addr, 1)) {
		snprintf(what, sizeof(what), "guest RAM at GPA %#llx cannot be reached",
			 (unsigned long long)run->mmio.phys_addr);
		ram_failed(vcpu, what);
		return;
	}
	bus_access(&vcpu->vm->bus, BUS_MMIO, run->mmio.phys_addr, run->mmio.data, run->mmio.len,
		   run->mmio.is_write);
}

static void serve_exit(struct vcpu *vcpu)
{
	struct kvm_run *run = vcpu->run;
	char what[100];

	switch (run->exit_reason) {
	case KVM_EXIT_IO:
		serve_io(vcpu);
		break;
	case KVM_EXIT_MMIO:
		serve_mmio(vcpu);
		break;
	case KVM_EXIT_SHUTDOWN:
		log_guest("vCPU %u: triple fault: the guest is reset", vcpu->id);
		vcpu->held = true;
		vm_request(vcpu->vm, VM_REQUEST_TRIPLE_FAULT);
		break;
	case KVM_EXIT_INTERNAL_ERROR:
		serve_internal_error(vcpu);
		break;
	case KVM_EXIT_FAIL_ENTRY:
		snprintf(what, sizeof(what), "KVM cannot enter the guest, hardware reason %#llx",
			 (unsigned long long)run->fail_entry.hardware_entry_failure_reason);
		fail(vcpu, what);
		break;
	default:
		snprintf(what, sizeof(what), "KVM exit %u is not served", run->exit_reason);
		fail(vcpu, what);
	}
}

static void run_failed(struct vcpu *vcpu, int error)
{
	struct memory_fault_exit fault;
	char what[200];

	memcpy(&fault, &vcpu->run->internal, sizeof(fault));
	if (vcpu->run->exit_reason == KVM_EXIT_MEMORY_FAULT)
		snprintf(what, sizeof(what), "guest RAM at GPA %#llx cannot be reached: %s",
			 (unsigned long long)fault.gpa, strerror(error));
	else
		snprintf(what, sizeof(what), "KVM_RUN: %s", strerror(error));
	if (error == EFAULT)
		ram_failed(vcpu, what);
	else
		fail(vcpu, what);
}

/* A vCPU that can go on stops only here, at EINTR: only then has KVM completed the access that it reported
 * last (Documentation/virt/kvm/api.rst, kvm_run.immediate_exit), so that its state can be read. */
static void run_until_paused(struct vcpu *vcpu)
{
	while (!vcpu->held) {
		if (!ioctl(vcpu->fd, KVM_RUN, 0)) {
			serve_exit(vcpu);
		} else if (errno == EINTR) {
			vcpu->run->immediate_exit = 0;
			if (!atomic_load(&vcpu->vm->vcpus_run))
				return;
		} else if (errno != EAGAIN) {
			run_failed(vcpu, errno);
		}
	}
}

/* Two conditions, so that one parked thread never wakes another. Holds vcpu_lock. */
static void park(struct vcpu *vcpu)
{
	struct vm *vm = vcpu->vm;

	if (!vcpu->parked) {
		vcpu->parked = true;
		pthread_cond_signal(&vm->vcpu_parked);
	}
	pthread_cond_wait(&vm->vcpu_wake, &vm->vcpu_lock);
}

static void *vcpu_thread(void *arg)
{
	struct vcpu *vcpu = arg;
	struct vm *vm = vcpu->vm;
	sigset_t mask;

	self = vcpu;
	sigemptyset(&mask);
	sigaddset(&mask, KICK_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &mask, NULL);
	pthread_mutex_lock(&vm->vcpu_lock);
	vcpu->tid = gettid();
	while (!vm->vcpus_end) {
		if (!atomic_load(&vm->vcpus_run) || vcpu->held) {
			park(vcpu);
			continue;
		}
		vcpu->parked = false;
		pthread_mutex_unlock(&vm->vcpu_lock);
		run_until_paused(vcpu);
		pthread_mutex_lock(&vm->vcpu_lock);
	}
	pthread_mutex_unlock(&vm->vcpu_lock);
	return NULL;
}

static int vcpu_create(struct vm *vm, struct vcpu *vcpu, size_t run_bytes, struct error *err)
{
	int ret;

	vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, (unsigned long)vcpu->id);
	if (vcpu->fd < 0)
		return error_set(err, -errno, "vCPU %u: KVM_CREATE_VCPU: %s", vcpu->id,
				 strerror(errno));
	vcpu->run = mmap(NULL, run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
	if (vcpu->run == MAP_FAILED) {
		vcpu->run = NULL;
		return error_set(err, -errno, "vCPU %u: mmap: %s", vcpu->id, strerror(errno));
	}
	vcpu->run_bytes = run_bytes;
	ret = pthread_create(&vcpu->thread, NULL, vcpu_thread, vcpu);
	if (ret)
		return error_set(err, -ret, "vCPU %u: pthread_create: %s", vcpu->id, strerror(ret));
	vcpu->has_thread = true;
	return 0;
}

int vcpus_create(struct vm *vm, struct error *err)
{
	struct sigaction action = {.sa_handler = kick};
	int run_bytes = ioctl(vm->kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	int ret = -ENOMEM;

	if (run_bytes < 0)
		return error_set(err, -errno, "KVM_GET_VCPU_MMAP_SIZE: %s", strerror(errno));
	vm->vcpu = calloc(vm->opt->cpus, sizeof(*vm->vcpu));
	if (!vm->vcpu)
		return error_set(err, -ENOMEM, "no memory for %u vCPUs", vm->opt->cpus);
	sigaction(KICK_SIGNAL, &action, NULL);
	for (uint32_t i = 0; i < vm->opt->cpus; i++) {
		struct vcpu *vcpu = &vm->vcpu[i];

		vcpu->vm = vm;
		vcpu->id = i;
		vcpu->fd = -1;
		vm->nvcpus = i + 1;
		ret = vcpu_create(vm, vcpu, (size_t)run_bytes, err);
		if (ret)
			return ret;
	}
	return 0;
}

void vcpus_destroy(struct vm *vm)
{
	vcpus_pause(vm);
	pthread_mutex_lock(&vm->vcpu_lock);
	vm->vcpus_end = true;
	pthread_cond_broadcast(&vm->vcpu_wake);
	pthread_mutex_unlock(&vm->vcpu_lock);
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		struct vcpu *vcpu = &vm->vcpu[i];

		if (vcpu->has_thread)
			pthread_join(vcpu->thread, NULL);
		if (vcpu->run)
			munmap(vcpu->run, vcpu->run_bytes);
		if (vcpu->fd >= 0)
			close(vcpu->fd);
	}
	free(vm->vcpu);
	vm->vcpu = NULL;
	vm->nvcpus = 0;
}

void vcpus_pause(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpu_lock);
	atomic_store(&vm->vcpus_run, false);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (vm->vcpu[i].has_thread && !vm->vcpu[i].parked)
			pthread_kill(vm->vcpu[i].thread, KICK_SIGNAL);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		while (vm->vcpu[i].has_thread && !vm->vcpu[i].parked)
			pthread_cond_wait(&vm->vcpu_parked, &vm->vcpu_lock);
	pthread_mutex_unlock(&vm->vcpu_lock);
}

void vcpus_resume(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpu_lock);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i].parked = vm->vcpu[i].held;
	atomic_store(&vm->vcpus_run, true);
	pthread_cond_broadcast(&vm->vcpu_wake);
	pthread_mutex_unlock(&vm->vcpu_lock);
}

void vcpus_release(struct vm *vm)
{
	pthread_mutex_lock(&vm->vcpu_lock);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		vm->vcpu[i].held = false;
	pthread_mutex_unlock(&vm->vcpu_lock);
}

void vcpu_stop_here(struct vm *vm)
{
	atomic_store(&vm->vcpus_run, false);
	if (self)
		self->run->immediate_exit = 1;
}
