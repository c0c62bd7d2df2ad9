/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "vmm/vm.h"
#include "devices/devices.h"
#include "devices/platform/platform.h"
#include "vmm/base/bytes.h"
#include "vmm/base/log.h"
#include "vmm/base/loop.h"
#include "vmm/base/notify.h"
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

const char *const runstate_name[RUNSTATES] = {
	[RUNSTATE_PRELAUNCH] = "prelaunch",   [RUNSTATE_INMIGRATE] = "inmigrate",
	[RUNSTATE_RUNNING] = "running",	      [RUNSTATE_PAUSED] = "paused",
	[RUNSTATE_SUSPENDED] = "suspended",   [RUNSTATE_SAVE_VM] = "save-vm",
	[RUNSTATE_RESTORE_VM] = "restore-vm", [RUNSTATE_POSTMIGRATE] = "postmigrate",
	[RUNSTATE_SHUTDOWN] = "shutdown",     [RUNSTATE_INTERNAL_ERROR] = "internal-error",
};

/* The guest's own requests: they wait while it is stopped. */
#define GUEST_REQUESTS \
	(VM_REQUEST_SHUTDOWN | VM_REQUEST_RESET | VM_REQUEST_TRIPLE_FAULT | VM_REQUEST_SUSPEND)
#define WAKE_REQUESTS (VM_REQUEST_SUSPEND | VM_REQUEST_ALARM | VM_REQUEST_WAKE)

/* Devices have this long to come to rest for a guest's own reset or wake-up. If they do not, as when the
 * host's storage hangs, it is tried again; meanwhile the main loop serves the operator. */
#define GUEST_PAUSE_NS CLOCK_NS_PER_S
#define TRY_AGAIN_NS   CLOCK_NS_PER_S

const char *const runstate_reason[RUNSTATES] = {
	[RUNSTATE_INMIGRATE] = ("the guest waits for cprload; give it one, or start with "
				"--discard-saved to boot instead"),
	[RUNSTATE_SAVE_VM] = "a cprsave is under way",
	[RUNSTATE_RESTORE_VM] = "a cprload is under way",
	[RUNSTATE_POSTMIGRATE] = "the guest is saved and belongs to its checkpoint now",
	[RUNSTATE_SHUTDOWN] = "the guest is shut down",
	[RUNSTATE_INTERNAL_ERROR] = "internal error (see the log): only quit is possible",
};

static int open_kvm(struct vm *vm, struct error *err)
{
	int version;

	vm->kvm_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (vm->kvm_fd < 0)
		return error_set(err, -errno, "/dev/kvm: %s; %s", strerror(errno),
				 errno == EACCES ? "add the user to group kvm"
						 : "load the module kvm_amd or kvm_intel");
	version = ioctl(vm->kvm_fd, KVM_GET_API_VERSION, 0);
	if (version != KVM_API_VERSION)
		return error_set(err, -ENOTSUP, "/dev/kvm has API version %d, not %d", version,
				 KVM_API_VERSION);
	vm->vm_fd = ioctl(vm->kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return error_set(err, -errno, "KVM_CREATE_VM: %s", strerror(errno));
	irq_init(&vm->irq, vm->vm_fd);
	memslots_init(&vm->memslots, vm->vm_fd);
	return 0;
}

static int add_memslots(struct vm *vm, struct error *err)
{
	int ret = 0;

	for (uint32_t i = 0; !ret && i < vm->ram.nregions; i++) {
		const struct ram_region *region = &vm->ram.region[i];
		uint32_t slot; /* RAM stays */

		ret = memslot_add(&vm->memslots, region->gpa, region->size_bytes, region->hva,
				  &slot, err);
	}
	return ret;
}

bool vm_awaits_guest(const struct options *opt, const struct label *label, bool file_waits)
{
	if (opt->incoming != INCOMING_NO)
		return true;
	if (opt->discard_saved)
		return false;
	return label_is_of(label, opt->uuid) ? label->state == LABEL_SAVED : file_waits;
}

/* The RAM file of a guest that waits may come back by a rename or a mount: no file is created in its place,
 * and the VM waits with a memfd. */
static int open_ram(struct vm *vm, bool file_waits, struct error *err)
{
	const struct label none = {.state = LABEL_NONE};
	struct ram_config memory = vm->opt->memory;

	memory.make_nothing |= vm_awaits_guest(vm->opt, &none, file_waits);
	return ram_open(&vm->ram, &memory, err);
}

static void handle_requests(void *opaque);
static void try_again(void *opaque, uint32_t events);

int vm_create(struct vm *vm, const struct options *opt, bool file_waits, struct error *err)
{
	/* Memslots before the interrupt controllers: the other order costs KVM more time. */
	int (*const stage[])(struct vm *, struct error *) = {
		arch_ram_layout, open_kvm,     add_memslots,
		arch_vm_create,	 vcpus_create, devices_attach,
	};
	int ret;

	vm->opt = opt;
	vm->kvm_fd = vm->vm_fd = vm->ram.fd = -1;
	vm->exit_status = 1;
	bus_init(&vm->bus);
	pthread_mutex_init(&vm->posted_lock, NULL);
	pthread_mutex_init(&vm->vcpu_lock, NULL);
	pthread_cond_init(&vm->vcpu_parked, NULL);
	pthread_cond_init(&vm->vcpu_wake, NULL);
	ret = loop_init(&vm->loop, handle_requests, vm, err);
	if (ret)
		return ret;
	ret = timer_open(&vm->again_timer, CLOCK_MONOTONIC, &vm->loop, try_again, vm, NULL, err);
	ret = ret ? ret : open_ram(vm, file_waits, err);
	ret = ret ? ret : label_read(&vm->ram, &vm->label, err);
	vm->awaits_guest = !ret && vm_awaits_guest(opt, &vm->label, file_waits);
	for (uint32_t i = 0; !ret && i < ARRAY_SIZE(stage); i++)
		ret = stage[i](vm, err);
	if (ret)
		vm_destroy(vm);
	else if (atomic_load(&vm->requests))
		loop_wake(&vm->loop); /* a signal came before there was a loop to wake */
	return ret;
}

void vm_destroy(struct vm *vm)
{
	vcpus_destroy(vm);
	devices_detach(vm);
	arch_vm_destroy(vm);
	/* A file in which no guest has run is removed: the next start would take it for one that lost its
	 * label. */
	if (vm->label.state == LABEL_NONE)
		ram_remove_new(&vm->ram);
	if (vm->vm_fd >= 0) {
		memslots_close(&vm->memslots);
		irq_close(&vm->irq);
		close(vm->vm_fd);
	}
	if (vm->kvm_fd >= 0)
		close(vm->kvm_fd);
	bus_close(&vm->bus);
	ram_close(&vm->ram);
	timer_close(&vm->again_timer);
	loop_close(&vm->loop);
	vm->kvm_fd = vm->vm_fd = -1;
}

void vm_set_runstate(struct vm *vm, enum runstate state)
{
	log_debug("run state %s -> %s", runstate_name[vm->runstate], runstate_name[state]);
	vm->runstate = state;
	notify_status(runstate_name[state]);
}

void vm_pause_vcpus(struct vm *vm)
{
	if (vm->suspended)
		return;
	vcpus_pause(vm);
	arch_clock_stop(vm);
}

void vm_resume_vcpus(struct vm *vm)
{
	if (vm->suspended)
		return;
	arch_clock_resume(vm);
	vm->has_run = true;
	vcpus_resume(vm);
	if (vm_guest_waits(vm))
		loop_wake(&vm->loop); /* requested just before the pause */
}

bool vm_guest_waits(const struct vm *vm)
{
	return atomic_load(&vm->requests) & GUEST_REQUESTS;
}

static int pause_all(struct vm *vm, uint64_t within_ns, struct error *err)
{
	int ret;

	vm_pause_vcpus(vm);
	ret = devices_pause(vm, clock_now_ns() + within_ns, err);
	if (ret)
		vm_resume_vcpus(vm);
	return ret;
}

static void resume_all(struct vm *vm)
{
	enum runstate state = vm->suspended ? RUNSTATE_SUSPENDED : RUNSTATE_RUNNING;

	devices_resume(vm);
	vm_resume_vcpus(vm);
	if (vm->runstate != state)
		vm_set_runstate(vm, state);
	if (vm->suspended)
		vm_request(vm, VM_REQUEST_WAKE); /* requested before a stop or a save */
}

void vm_go_on(struct vm *vm)
{
	resume_all(vm);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_RESUME});
}

/* A signal ends this process as soon as it has booted: better before. */
static int not_ended(void *opaque, uint64_t done_bytes, struct error *err)
{
	const struct vm *vm = opaque;

	if (atomic_load(&vm->requests) & (VM_REQUEST_SIGNAL | VM_REQUEST_QUIT))
		return error_set(err, -ECANCELED, "this process was asked to end");
	return 0;
}

/* A later reboot of the guest finds this done. */
static int claim_ram(struct vm *vm, struct error *err)
{
	const struct ram_watch watch = {not_ended, vm};
	int ret;

	if (vm->label.state == LABEL_RUNNING && label_fits(&vm->label, &vm->ram, vm->opt->uuid))
		return 0;
	ret = label_claim(&vm->ram, &vm->label, vm->opt->uuid, vm->opt->discard_saved, &watch, err);
	if (!ret && vm->on_claim)
		vm->on_claim(vm);
	return ret;
}

static int boot(struct vm *vm, struct error *err)
{
	int ret = claim_ram(vm, err);

	if (!ret && vm->needs_reset) {
		ret = arch_reset(vm, err);
		vcpus_release(vm);
		devices_reset(vm);
	}
	if (!ret)
		ret = arch_boot(vm, err);
	vm->needs_reset = ret;
	return ret;
}

int vm_cont(struct vm *vm, struct error *err)
{
	int ret = -EBUSY;

	if (vm_is_live(vm))
		return 0;
	if (runstate_reason[vm->runstate])
		return error_set(err, ret, "%s", runstate_reason[vm->runstate]);
	if (vm->runstate == RUNSTATE_PRELAUNCH) {
		ret = boot(vm, err);
		if (ret)
			return ret;
	}
	vm_go_on(vm);
	return 0;
}

int vm_stop(struct vm *vm, struct error *err)
{
	int ret;

	if (!vm_is_live(vm))
		return 0;
	ret = pause_all(vm, VM_PAUSE_NS, err);
	if (ret)
		return ret;
	vm_set_runstate(vm, RUNSTATE_PAUSED);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_STOP});
	return 0;
}

/* The guest is lost, the VMM is not: QMP answers, the log has the reason. */
static void enter_internal_error(struct vm *vm)
{
	if (vm->runstate == RUNSTATE_INTERNAL_ERROR)
		return;
	vcpus_pause(vm);
	vm_set_runstate(vm, RUNSTATE_INTERNAL_ERROR);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_STOP});
	if (!vm->opt->qmp_path)
		loop_quit(&vm->loop);
}

int vm_reset(struct vm *vm, bool guest, const char *reason, struct error *err)
{
	bool live = vm_is_live(vm);
	int ret = -EBUSY;

	if (!live && vm->runstate != RUNSTATE_PAUSED && vm->runstate != RUNSTATE_PRELAUNCH)
		return error_set(err, ret, "a VM in run state %s cannot be reset",
				 runstate_name[vm->runstate]);
	/* All checks that can refuse come before the guest's state is dropped. */
	ret = arch_boot_check(vm, err);
	if (ret)
		return ret;
	if (vm->runstate == RUNSTATE_PRELAUNCH)
		return 0; /* same state as after a reset */
	if (live) {
		ret = pause_all(vm, guest ? GUEST_PAUSE_NS : VM_PAUSE_NS, err);
		if (ret)
			return ret;
	}
	vm->suspended = vm->wake_waits = false;
	atomic_fetch_and(&vm->requests, ~(GUEST_REQUESTS | VM_REQUEST_ALARM));
	vm->needs_reset = true;
	ret = boot(vm, err);
	if (ret) {
		enter_internal_error(vm);
		return ret;
	}
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_RESET, .guest = guest, .reason = reason});
	if (live)
		resume_all(vm);
	return 0;
}

int vm_powerdown(struct vm *vm, struct error *err)
{
	if (vm->runstate == RUNSTATE_SUSPENDED)
		return vm_wakeup(vm, err);
	/* A stopped guest sees the button pressed when it goes on, also after a save and load. */
	if (vm->runstate != RUNSTATE_RUNNING && vm->runstate != RUNSTATE_PAUSED)
		return error_set(err, -EBUSY, "the guest does not run (%s): it cannot power down",
				 runstate_name[vm->runstate]);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_POWERDOWN});
	pm_notify(vm, PM_BUTTON);
	return 0;
}

void vm_quit(struct vm *vm, bool guest, const char *reason, int exit_status)
{
	vcpus_pause(vm);
	if (vm->runstate != RUNSTATE_POSTMIGRATE)
		vm_set_runstate(vm, RUNSTATE_SHUTDOWN);
	vm->exit_status = exit_status;
	vm_event(vm,
		 &(struct vm_event){.type = VM_EVENT_SHUTDOWN, .guest = guest, .reason = reason});
	loop_quit(&vm->loop);
}

static void guest_reset(struct vm *vm)
{
	struct error err;
	int ret;

	if (vm->opt->on_reset == ON_RESET_EXIT) {
		log_warn("ends: the guest was reset, and --on-reset says exit");
		vm_quit(vm, true, "guest-reset", 1);
		return;
	}
	if (arch_boot_check(vm, &err)) {
		log_error("ends: the guest was reset, and cannot be booted again: %s", err.msg);
		vm_quit(vm, true, "guest-reset", 1);
		return;
	}
	ret = vm_reset(vm, true, "guest-reset", &err);
	if (ret == -ETIMEDOUT) {
		log_guest("guest reset: %s; it is tried again", err.msg);
		atomic_fetch_or(&vm->requests, VM_REQUEST_RESET);
		vm->reset_waits = true;
		timer_set(&vm->again_timer, TRY_AGAIN_NS);
	} else if (ret) {
		log_error("guest reset: %s", err.msg);
		enter_internal_error(vm);
	}
}

/* Firmware's part of the way back from S3, ACPI 6.5, 16.3: CPUs and interrupt controllers are as at
 * power-on, devices are as they were. Interrupt levels that devices hold are raised again. */
static int wake(struct vm *vm, struct error *err)
{
	int ret = devices_pause(vm, clock_now_ns() + GUEST_PAUSE_NS, err);

	vm->wake_waits = ret == -ETIMEDOUT;
	if (vm->wake_waits) {
		error_prefix(err, "it is tried again");
		timer_set(&vm->again_timer, TRY_AGAIN_NS);
	}
	if (ret)
		return ret;
	pm_notify(vm, PM_WOKEN);
	ret = arch_wake(vm, err);
	if (ret == -EFAULT) { /* like firmware that finds no OS to return to */
		log_guest("wake-up: %s: reset", err->msg);
		guest_reset(vm);
		return 0;
	}
	if (ret) {
		enter_internal_error(vm);
		return ret;
	}
	vcpus_release(vm);
	vm->suspended = false;
	resume_all(vm);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_WAKEUP});
	return 0;
}

int vm_wakeup(struct vm *vm, struct error *err)
{
	if (!vm->opt->s3)
		return error_set(err, -ENOTSUP,
				 "wake-up from suspend is not supported by this guest: it has "
				 "--machine s3=off");
	if (vm->runstate != RUNSTATE_SUSPENDED)
		return error_set(err, -EBUSY,
				 "Unable to wake up: guest is not in suspended state, but %s%s",
				 runstate_name[vm->runstate],
				 vm->suspended ? " while it sleeps: cont it first" : "");
	pm_notify(vm, PM_BUTTON);
	return wake(vm, err); /* the button wakes always: ACPI 6.5, 4.8.3.1 */
}

static void wake_if_due(struct vm *vm)
{
	struct error err;

	if ((vm->wake_waits || pm_notify(vm, PM_NOTHING)) && wake(vm, &err))
		log_guest("wake-up: %s", err.msg);
}

static void suspend(struct vm *vm)
{
	vm_pause_vcpus(vm);
	atomic_fetch_and(&vm->requests, ~(unsigned int)VM_REQUEST_SUSPEND); /* by a second vCPU */
	if (vm_guest_waits(
		    vm)) { /* another vCPU requested something else meanwhile: serve that first */
		vm_resume_vcpus(vm);
		return;
	}
	vm->suspended = true;
	vm_set_runstate(vm, RUNSTATE_SUSPENDED);
	vm_event(vm, &(struct vm_event){.type = VM_EVENT_SUSPEND});
}

static void report_broken_ram(struct vm *vm)
{
	uint64_t gpa = atomic_load(&vm->broken_gpa);
	struct error reason;

	if (ram_fault_reason(&vm->ram, &reason))
		log_error("%s", reason.msg);
	log_error("%s: guest RAM at GPA %#llx cannot be reached (SIGBUS)", ram_where(&vm->ram),
		  (unsigned long long)gpa);
	vcpus_pause(vm);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		arch_log_registers(&vm->vcpu[i]);
}

static void handle_requests(void *opaque)
{
	struct vm *vm = opaque;
	bool listens = vm->runstate == RUNSTATE_RUNNING && !vm->reset_waits;
	unsigned int what;

	if (vm->runstate == RUNSTATE_POSTMIGRATE || vm->loop.stop)
		return;
	what = atomic_fetch_and(&vm->requests, listens ? 0 : GUEST_REQUESTS);
	if (what & VM_REQUEST_EVENTS)
		vm_report_posted(vm);
	if (what & VM_REQUEST_ALARM)
		pm_notify(vm, PM_ALARM);
	if (what & VM_REQUEST_BROKEN_RAM)
		report_broken_ram(vm);
	if (what & (VM_REQUEST_ERROR | VM_REQUEST_BROKEN_RAM)) {
		enter_internal_error(vm);
		listens = false;
	}
	if (what & VM_REQUEST_QUIT) {
		vm_quit(vm, false, "host-ui", 0);
	} else if (what & VM_REQUEST_SIGNAL) {
		log_warn("ends: asked to by a signal, without a save");
		vm_quit(vm, false, "host-signal", 1);
	} else if (listens && what & VM_REQUEST_SHUTDOWN) {
		vm_quit(vm, true, "guest-shutdown", 0);
	} else if (listens && what & GUEST_REQUESTS & ~(unsigned int)VM_REQUEST_SUSPEND) {
		guest_reset(vm);
	} else if (listens && what & VM_REQUEST_SUSPEND) {
		suspend(vm);
	}
	if (vm->runstate == RUNSTATE_SUSPENDED && what & WAKE_REQUESTS)
		wake_if_due(vm);
}

static void try_again(void *opaque, uint32_t events)
{
	struct vm *vm = opaque;

	if (!timer_take(&vm->again_timer))
		return;
	vm->reset_waits = false;
	if (vm->wake_waits)
		atomic_fetch_or(&vm->requests, VM_REQUEST_WAKE);
	handle_requests(vm);
}
