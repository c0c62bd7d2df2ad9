/* SPDX-License-Identifier: GPL-2.0-or-later */
/* kvmclock and TSC stand still while the guest does not run: every pause takes a snapshot, and every resume
 * restores it: a cont, a failed save, a load after a kexec. The procedure is that of
 * Documentation/virt/kvm/devices/vcpu.rst, KVM_VCPU_TSC_OFFSET. */
#include "vmm/arch.h"
#include "vmm/base/log.h"
#include "vmm/vm.h"
#include "vmm/x86/x86.h"
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <x86intrin.h>

#define MSR_TSC		 0x10
#define MSR_TSC_DEADLINE 0x6e0

#define CLOCK_STATE(F, A, V, T)    \
	F(T, kvmclock_ns)          \
	F(T, host_tsc)             \
	F(T, realtime_ns)          \
	V(T, tsc, ntsc)            \
	V(T, tsc_offset, noffsets) \
	F(T, tsc_khz)              \
	F(T, valid, ST_BOOL)

static const char *clock_check(const void *st)
{
	const struct clock_state *state = st;

	if (state->noffsets && state->noffsets != state->ntsc)
		return "offsets for some vCPUs only";
	return state->tsc_khz ? NULL : "TSC rate 0";
}
STATE_DEFINE(clock_state, CLOCK_STATE, "x86-clock", clock_check);
const struct state_desc *const clock_state_table = &clock_state_desc;

static uint64_t ns_to_cycles(uint64_t ns, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)ns * khz / 1000000);
}

static uint64_t cycles_to_ns(uint64_t cycles, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)cycles * 1000000 / khz);
}

static uint64_t realtime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * CLOCK_NS_PER_S + (uint64_t)now.tv_nsec;
}

static int tsc_offset_attr(const struct vcpu *vcpu, unsigned long request, uint64_t *offset)
{
	const struct kvm_device_attr attr = {
		.group = KVM_VCPU_TSC_CTRL,
		.attr = KVM_VCPU_TSC_OFFSET,
		.addr = (uint64_t)(uintptr_t)offset,
	};

	return ioctl(vcpu->fd, request, &attr) ? -errno : 0;
}

/* Does this vCPU's TSC read as `offset` says? Some KVMs accept the attribute and ignore it, and a scaled TSC
 * does not run at the host's rate. */
static bool offset_holds(const struct vcpu *vcpu, uint64_t offset)
{
	uint64_t tsc, before = __rdtsc();

	return !msr_get(vcpu->fd, MSR_TSC, &tsc) && tsc - offset - before <= __rdtsc() - before;
}

/* kvmclock and host TSC of the same instant. */
static int read_clock(const struct vm *vm, struct kvm_clock_data *data)
{
	memset(data, 0, sizeof(*data));
	if (ioctl(vm->vm_fd, KVM_GET_CLOCK, data))
		return -errno;
	if (!(data->flags & KVM_CLOCK_HOST_TSC))
		data->host_tsc = __rdtsc();
	return 0;
}

static int read_tscs(const struct vm *vm, struct clock_state *clock)
{
	clock->ntsc = clock->noffsets = vm->nvcpus;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		const struct vcpu *vcpu = &vm->vcpu[i];
		uint64_t *offset = &clock->tsc_offset[i];

		if (!tsc_offset_attr(vcpu, KVM_GET_DEVICE_ATTR, offset) &&
		    offset_holds(vcpu, *offset)) {
			clock->tsc[i] = clock->host_tsc + *offset;
			continue;
		}
		clock->noffsets = 0;
		if (msr_get(vcpu->fd, MSR_TSC, &clock->tsc[i]))
			return -EIO;
		clock->tsc[i] -= __rdtsc() - clock->host_tsc;
	}
	if (!clock->noffsets)
		memset(clock->tsc_offset, 0, sizeof(clock->tsc_offset));
	return 0;
}

void arch_clock_stop(struct vm *vm)
{
	struct clock_state *clock = &vm->arch->clock;
	struct kvm_clock_data now;
	int khz = ioctl(vm->vcpu[0].fd, KVM_GET_TSC_KHZ, 0);

	memset(clock, 0, sizeof(*clock));
	if (!vm->has_run)
		return;
	if (!khz)
		errno = EOPNOTSUPP; /* KVM does not know the rate */
	if (khz <= 0 || read_clock(vm, &now))
		goto failed;
	clock->kvmclock_ns = now.clock;
	clock->host_tsc = now.host_tsc;
	clock->realtime_ns = now.flags & KVM_CLOCK_REALTIME ? now.realtime : realtime_ns();
	clock->tsc_khz = (uint32_t)khz;
	if (read_tscs(vm, clock) ||
	    (vm->opt->pit && ioctl(vm->vm_fd, KVM_GET_PIT2, &vm->arch->pit)))
		goto failed;
	clock->valid = 1;
	return;
failed:
	/* A resume without a snapshot lets time run on; a save is refused. */
	log_error("the guest's clocks cannot be read: %s", strerror(errno));
}

/* A kexec does not reset the TSC, a real reboot does. Then wall clock and TSC disagree by more than a wall
 * clock that was set again after a kexec. */
static uint64_t downtime_ns(const struct clock_state *clock)
{
	uint64_t now = __rdtsc(), wall = realtime_ns(), tsc_ns, wall_ns;

	if (!clock->valid)
		return 0;
	wall_ns = wall > clock->realtime_ns ? wall - clock->realtime_ns : 0;
	if (now < clock->host_tsc)
		return wall_ns;
	tsc_ns = cycles_to_ns(now - clock->host_tsc, clock->tsc_khz);
	return wall_ns > tsc_ns + 2 * CLOCK_NS_PER_S + tsc_ns / 1000 ? wall_ns : tsc_ns;
}

uint64_t arch_state_downtime_ns(const struct arch_state *state)
{
	return downtime_ns(&state->clock);
}

/* Uses the measured difference: for KVMs whose offset cannot be computed. */
static int move_tsc(const struct vcpu *vcpu, uint64_t want_at_now, uint64_t now_tsc)
{
	uint64_t offset, have, want, before = __rdtsc();

	if (msr_get(vcpu->fd, MSR_TSC, &have))
		return -EIO;
	want = want_at_now + before - now_tsc;
	if (!tsc_offset_attr(vcpu, KVM_GET_DEVICE_ATTR, &offset)) {
		offset += want - have;
		if (!tsc_offset_attr(vcpu, KVM_SET_DEVICE_ATTR, &offset) &&
		    !msr_get(vcpu->fd, MSR_TSC, &have) && have - want <= __rdtsc() - before)
			return 0;
	}
	return msr_set(vcpu->fd, MSR_TSC, want_at_now + __rdtsc() - now_tsc);
}

/* Sets one vCPU's TSC to tsc[i] + elapsed cycles at the instant when the host's TSC is now_tsc. */
static int restore_tsc(const struct vm *vm, uint32_t i, uint64_t now_tsc, uint64_t elapsed)
{
	const struct clock_state *clock = &vm->arch->clock;
	const struct vcpu *vcpu = &vm->vcpu[i];
	uint64_t offset;

	if (clock->noffsets) {
		/* Equal offsets stay equal. */
		offset = clock->tsc_offset[i] - (now_tsc - clock->host_tsc) + elapsed;
		if (!tsc_offset_attr(vcpu, KVM_SET_DEVICE_ATTR, &offset) &&
		    offset_holds(vcpu, offset))
			return 0;
	}
	return move_tsc(vcpu, clock->tsc[i] + elapsed, now_tsc);
}

int clock_restore(struct vm *vm, struct error *err)
{
	const struct clock_state *clock = &vm->arch->clock;
	struct kvm_clock_data data = {.clock = clock->kvmclock_ns};
	uint64_t elapsed;

	if (!clock->valid)
		return 0;
	if (vm->arch->catch_up)
		data.clock += downtime_ns(clock);
	if (ioctl(vm->vm_fd, KVM_SET_CLOCK, &data) || read_clock(vm, &data))
		return error_set(err, -errno, "kvmclock cannot be set: %s", strerror(errno));
	elapsed = ns_to_cycles(data.clock - clock->kvmclock_ns, clock->tsc_khz);
	for (uint32_t i = 0; i < vm->nvcpus; i++)
		if (restore_tsc(vm, i, data.host_tsc, elapsed))
			return error_set(err, -EIO, "vCPU %u: its TSC cannot be set", i);
	/* Restarts the counters and drops ticks that wait for reinjection. */
	if (vm->opt->pit && ioctl(vm->vm_fd, KVM_SET_PIT2, &vm->arch->pit))
		return error_set(err, -EIO, "the PIT cannot be set");
	return 0;
}

void arch_clock_resume(struct vm *vm)
{
	struct error err;

	if (clock_restore(vm, &err))
		log_error("guest time may jump: %s", err.msg);
	vm->arch->catch_up = false;
	for (uint32_t i = 0; i < vm->nvcpus; i++) {
		const struct vcpu *vcpu = &vm->vcpu[i];
		uint64_t deadline;

		/* Re-arm the LAPIC timer: KVM computed its deadline from the old TSC. */
		if (!msr_get(vcpu->fd, MSR_TSC_DEADLINE, &deadline) && deadline &&
		    msr_set(vcpu->fd, MSR_TSC_DEADLINE, deadline))
			log_error("vCPU %u: its TSC deadline cannot be set", i);
		/* EINVAL: this guest does not use kvmclock, and so has no watchdog that looks at it. */
		if (ioctl(vcpu->fd, KVM_KVMCLOCK_CTRL, 0) && errno != EINVAL)
			log_warn("vCPU %u: KVM_KVMCLOCK_CTRL: %s", i, strerror(errno));
	}
}
