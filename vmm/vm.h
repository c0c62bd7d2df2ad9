/* SPDX-License-Identifier: GPL-2.0-or-later */
/* vmm/vm.h - the virtual machine: what it is made of and its run states.
 * Life cycle: main calls vm_create(): RAM is opened and locked, KVM's VM and vCPUs are made, devices attach.
 * Then the guest boots at the first vm_cont(), or a load brings it (cpr/cpr.h). The main loop serves QMP,
 * devices and requests until vm_quit(); vm_destroy() takes all down in reverse.
 * Stop: vCPUs leave KVM_RUN, the clock's snapshot is taken, devices come to rest. Resume is the reverse. If a
 * device does not come to rest in time, those that did are resumed and the guest runs on.
 * Failure: a vCPU that cannot go on, and RAM that cannot be reached, end in run state internal-error: the
 * guest is lost, QMP still answers.
 * Threads: main only, except vcpu_stop_here(), vm_request() and vm_ram_broke() (any thread, signal handlers) and vm_post_event()
 * (any thread). Between stop and resume the main thread owns everything.
 * Lock order: a device's lock, then posted_lock, irq, memslots, bus (leaves). vcpu_lock is never held with a
 * device's lock.
 * Errors: 0 or -errno with one message. Run state names are those of QEMU's query-status. */
#ifndef VMM_VM_H
#define VMM_VM_H
#include "devices/device.h"
#include "ram/ram.h"
#include "vmm/arch.h"
#include "vmm/base/error.h"
#include "vmm/base/loop.h"
#include "vmm/bus.h"
#include "vmm/irq.h"
#include "vmm/options.h"
#include <linux/kvm.h>
#include <stdatomic.h>
#include <sys/types.h>

enum runstate {
	RUNSTATE_PRELAUNCH, /* created, the guest has not run */
	RUNSTATE_INMIGRATE, /* waits for cprload */
	RUNSTATE_RUNNING,
	RUNSTATE_PAUSED,
	RUNSTATE_SUSPENDED,   /* the guest sleeps (ACPI S3): devices run, vCPUs do not */
	RUNSTATE_SAVE_VM,     /* within cprsave */
	RUNSTATE_RESTORE_VM,  /* within cprload */
	RUNSTATE_POSTMIGRATE, /* saved, about to exit: never runs again in this process */
	RUNSTATE_SHUTDOWN,
	RUNSTATE_INTERNAL_ERROR, /* kept for diagnosis, never runs again */
	RUNSTATES
};
extern const char *const runstate_name[RUNSTATES];
/* Why a guest in this run state can neither run nor be saved; NULL: it can. One that has not run yet has nothing
 * to save either. */
extern const char *const runstate_reason[RUNSTATES];

/* Requests of vCPU threads, devices and signal handlers to the main thread; one bit each. */
enum vm_request {
	VM_REQUEST_SHUTDOWN = 1, /* the guest switched its power off */
	VM_REQUEST_RESET = 2,	 /* the guest asked for a reset (port, keyboard controller) */
	VM_REQUEST_TRIPLE_FAULT = 4,
	VM_REQUEST_ERROR = 8,	    /* a vCPU cannot go on; the log has the reason */
	VM_REQUEST_SIGNAL = 16,	    /* SIGTERM, SIGINT, SIGHUP */
	VM_REQUEST_QUIT = 32,	    /* console escape Ctrl-A X */
	VM_REQUEST_BROKEN_RAM = 64, /* see vm_ram_broke() */
	VM_REQUEST_EVENTS = 128,    /* vm_post_event() has put something into `posted` */
	VM_REQUEST_SUSPEND = 256,   /* the guest goes to sleep (ACPI S3) */
	VM_REQUEST_ALARM = 512,	    /* the RTC's alarm: for power management */
	VM_REQUEST_WAKE = 1024,	    /* a wake event may be pending */
};

enum vm_event_type {
	VM_EVENT_STOP,
	VM_EVENT_RESUME,
	VM_EVENT_SHUTDOWN,
	VM_EVENT_RESET,
	VM_EVENT_POWERDOWN,
	VM_EVENT_SUSPEND,
	VM_EVENT_WAKEUP,
	VM_EVENT_BLOCK_IO_ERROR,
	VM_EVENT_GUEST_PANICKED,
	VM_EVENT_GUEST_CRASHLOADED,
	VM_EVENT_VSERPORT_CHANGE,
	VM_EVENT_VFIO_DEVICE_ERROR,
};
struct vm_event {
	enum vm_event_type type;
	bool guest; /* SHUTDOWN, RESET: the guest caused it */
	bool on;    /* VSERPORT_CHANGE: open; BLOCK_IO_ERROR: nospace */
	/* Static. SHUTDOWN, RESET: QEMU's ShutdownCause, e.g. "guest-shutdown"; BLOCK_IO_ERROR:
	 * strerror's text; GUEST_PANICKED, GUEST_CRASHLOADED: QEMU's GuestPanicAction */
	const char *reason;
	const char *operation;	   /* static; BLOCK_IO_ERROR: "read" or "write" */
	char id[OPTIONS_ID_BYTES]; /* BLOCK_IO_ERROR, VSERPORT_CHANGE, VFIO_DEVICE_ERROR */
};

/* A vCPU, its descriptor, kvm_run page and thread. The thread owns the descriptor while the VM runs; between
 * vcpus_pause() and vcpus_resume() the main thread owns it, without a lock. */
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

#define VM_EVENTS_WAITING 32
/* How long a pause of the devices may take by default. */
#define VM_PAUSE_NS (10 * 1000000000ULL)

struct vm {
	const struct options *opt;
	struct ram ram;
	struct label label; /* the one in RAM now */
	struct loop loop;
	struct bus bus;
	struct irq irq;
	int kvm_fd, vm_fd;
	struct vcpu *vcpu;
	uint32_t nvcpus;
	pthread_mutex_t vcpu_lock;
	pthread_cond_t vcpu_parked; /* the main thread waits: one more vCPU is parked */
	pthread_cond_t vcpu_wake;   /* vCPU threads wait: permission to run, or the end */
	atomic_bool vcpus_run;	    /* permission to enter KVM_RUN; written under vcpu_lock */
	bool vcpus_end;		    /* under vcpu_lock: threads return */
	struct arch_vm *arch;
	struct memslots memslots;
	struct device *pm;	 /* devices/platform/pm.c's; NULL: no power management */
	struct pci *pci;	 /* devices/pci/pci.c's; NULL: no PCI */
	struct vfio_iommu *vfio; /* devices/vfio/vfio_kernel.c's; NULL: no VFIO device */
	struct device *device[DEVICES_MAX];
	uint32_t ndevices;
	enum runstate runstate;
	bool suspended; /* the guest sleeps: suspended, or was when it was paused or saved */
	/* A saved guest will be loaded, or RAM holds one: its files and devices on the host must exist,
	 * and nothing is created in their place. Set before devices attach. */
	bool awaits_guest;
	bool has_run; /* the guest has run in this process: cprload is refused, PCI slots stay */
	uint8_t loaded_id[16]; /* of the checkpoint whose guest this is; zero: it booted here */
	uint64_t
		downtime_ns; /* how long that guest stood still from the save to the end of the load */
	bool needs_reset;    /* a load failed half-way: the next boot starts from power-on */
	atomic_uint requests;
	bool reset_waits; /* a reset was refused for now; guest requests are retried at again_timer */
	bool wake_waits; /* a wake-up too */
	struct timer again_timer;
	_Atomic uint64_t broken_gpa; /* of the last vm_ram_broke() */
	int exit_status;
	/* Called when a boot claims RAM: a guest that was saved in it is discarded; may be NULL */
	void (*on_claim)(struct vm *vm);
	void (*on_event)(void *opaque, const struct vm_event *event); /* QMP; may be NULL */
	/* Called during long steps of a save or load, so that QMP can serve clients; may be NULL */
	void (*serve)(void *opaque);
	void *event_opaque;	     /* of both */
	struct cpr_job *cpr;	     /* the save or load under way, cpr/'s own; NULL: none */
	pthread_mutex_t posted_lock; /* leaf; guards posted, nposted */
	struct vm_event posted[VM_EVENTS_WAITING];
	uint32_t nposted;
};

/* A VM that is not created yet: signal handlers may already make requests. */
#define VM_INIT                                         \
	{                                               \
		.loop.epoll_fd = -1, .loop.wake_fd = -1 \
	}
/* Opens RAM and KVM, creates vCPUs and devices; the guest does not run and RAM is untouched.
 * vm: VM_INIT. file_waits: cpr_file_waits(). */
int vm_create(struct vm *vm, const struct options *opt, bool file_waits,
	      struct error *err) must_check;
void vm_destroy(struct vm *vm);
/* The value of awaits_guest for these options, this label, and whether FILE waits for a load. */
bool vm_awaits_guest(const struct options *opt, const struct label *label, bool file_waits);

/* Boots (first time) or resumes; a guest that sleeps goes on sleeping. Refused in run states that
 * cannot run, by name. */
int vm_cont(struct vm *vm, struct error *err) must_check;
/* Stops vCPUs and devices; takes the clock's snapshot. Does nothing unless the VM is live. */
int vm_stop(struct vm *vm, struct error *err) must_check;
int vm_reset(struct vm *vm, bool guest, const char *reason, struct error *err) must_check;
/* The power button. It wakes a guest that sleeps, as on any PC, and stays pressed for one that is stopped. */
int vm_powerdown(struct vm *vm, struct error *err) must_check;
/* Wakes a guest that sleeps (run state suspended); all others are refused. */
int vm_wakeup(struct vm *vm, struct error *err) must_check;
/* Ends the main loop after a SHUTDOWN event. */
void vm_quit(struct vm *vm, bool guest, const char *reason, int exit_status);
void vm_request(struct vm *vm, enum vm_request what);
/* Reports that guest RAM at hva, or close after it, cannot be reached (SIGBUS, or EFAULT of a system call): the
 * VM stops as internal-error and cannot be saved. False: hva is not guest RAM. Any thread, signal handlers. */
static inline bool vm_ram_broke(struct vm *vm, const void *hva)
{
	uint64_t gpa;

	if (!ram_gpa_of(&vm->ram, hva, &gpa))
		return false;
	atomic_store(&vm->ram.pages_replaced, true);
	atomic_store(&vm->broken_gpa, gpa);
	vm_request(vm, VM_REQUEST_BROKEN_RAM);
	return true;
}
void vm_event(struct vm *vm, const struct vm_event *event);
/* The same from any thread: the main thread reports it soon. If too many wait, some are dropped, and the log
 * says so. */
void vm_post_event(struct vm *vm, const struct vm_event *event);
/* Reports at once what was posted: before the process ends. */
void vm_report_posted(struct vm *vm);

/* Devices run, and so do the vCPUs unless the guest sleeps. */
static inline bool vm_is_live(const struct vm *vm)
{
	return vm->runstate == RUNSTATE_RUNNING || vm->runstate == RUNSTATE_SUSPENDED;
}
/* The steps of stop and resume, for CPR; everyone else uses vm_stop() and vm_cont(). The vCPUs of a guest that
 * sleeps are paused already, with the clock's snapshot, and stay so. */
void vm_pause_vcpus(struct vm *vm);  /* vCPUs out of KVM_RUN, clock snapshot taken */
void vm_resume_vcpus(struct vm *vm); /* clock and TSC go on from the snapshot, vCPUs run */
/* Devices, then vCPUs: the guest runs, or sleeps on if it did; event RESUME. */
void vm_go_on(struct vm *vm);
/* The guest asked for power-off, reset or sleep and was stopped before that was done. Such a state is not saved:
 * the request would be lost. */
bool vm_guest_waits(const struct vm *vm);
void vm_set_runstate(struct vm *vm, enum runstate state);

/* vcpu.c. Documentation/virt/kvm/api.rst, 5. "The kvm_run structure" */
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
